//! `alerts` of multibot.yaml: the rules, and the sinks under names of the operator's choice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::alert_keys::{ALERT_KEYS, RULE_KEYS, SINK_KEYS};
use super::bot::full_dir;
use super::fault::Fault;
use super::flatten::Reading;
use super::keys::{Key, find};
use super::settings::{Settings, full_path};
use super::yaml::{Entry, Place, Shape};
use crate::model::alert::{
    Address, AlertSettings, Level, OutagePolicy, Rule, RulePolicy, SinkKind, SinkPolicy, TokenFrom,
};
use crate::model::bot::{BotId, Secret};
use crate::model::nearest::nearest;
use crate::model::units::parse_duration;

/// A sink is a folder of this name as well.
const SINK_NAME_BYTES_MAX: usize = 32;

/// Reads the value of `alerts`. Relative paths are seen from the folder of the file.
pub(super) fn read_alerts(entry: &Entry, file: &Path, faults: &mut Vec<Fault>) -> AlertSettings {
    let mut settings = AlertSettings::default();
    let entries = match &entry.node.shape {
        Shape::Map(entries) => entries.as_slice(),
        Shape::Null => &[],
        Shape::Scalar(_) | Shape::List(_) => {
            let said = "alerts: write a mapping with rules, sinks, remind_after, recover_after, outage";
            faults.push(Fault::at(entry.node.place, said));
            &[]
        }
    };
    let mut own = Reading::new(ALERT_KEYS, &["rules", "sinks"], "alerts.");
    for entry in entries {
        match entry.name.as_str() {
            "rules" => read_rules(entry, &mut settings.rules, faults),
            "sinks" => read_sinks(entry, file, &mut settings.sinks, faults),
            _ => own.take(entry),
        }
    }
    faults.append(&mut own.faults);
    let values = Values {
        table: ALERT_KEYS,
        settings: &own.settings,
    };
    settings.remind_after = values.duration("remind_after");
    settings.recover_after = values.duration("recover_after").unwrap_or_default();
    settings.outage = OutagePolicy {
        window: values.duration("outage.window").unwrap_or_default(),
        min_bots: values.number("outage.min_bots").unwrap_or_default(),
        recover_after: values.duration("outage.recover_after").unwrap_or_default(),
        restart_delay: values.duration("outage.restart_delay").unwrap_or_default(),
    };
    settings
}

/// Values of one mapping over the defaults of its table. What was written was read by its kind before.
struct Values<'a> {
    table: &'static [Key],
    settings: &'a Settings,
}

impl Values<'_> {
    fn text(&self, name: &str) -> Option<String> {
        let written = self.settings.get(name).map(Settings::show);
        written.or_else(|| find(self.table, name)?.default.map(str::to_owned))
    }

    fn duration(&self, name: &str) -> Option<Duration> {
        parse_duration(&self.text(name)?).ok()
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.text(name)?.parse().ok()
    }

    fn level(&self, name: &str) -> Option<Level> {
        Level::from_word(&self.text(name)?)
    }

    fn list<T>(&self, name: &str, read: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let items = self.settings.get(name).and_then(serde_json::Value::as_array);
        let words = items.into_iter().flatten().filter_map(serde_json::Value::as_str);
        words.filter_map(read).collect()
    }
}

/// The mapping behind `entry`; a fault where it is something else.
fn mapping<'a>(entry: &'a Entry, shown: &str, what: &str, faults: &mut Vec<Fault>) -> &'a [Entry] {
    match &entry.node.shape {
        Shape::Map(entries) => entries,
        Shape::Null => &[],
        Shape::Scalar(_) | Shape::List(_) => {
            faults.push(Fault::at(entry.node.place, format!("{shown}: write a mapping {what}")));
            &[]
        }
    }
}

fn read_rules(entry: &Entry, rules: &mut BTreeMap<Rule, RulePolicy>, faults: &mut Vec<Fault>) {
    for entry in mapping(entry, "alerts.rules", "of rules to their settings", faults) {
        let Some(rule) = Rule::from_word(&entry.name) else {
            let near = nearest(&entry.name, Rule::ALL.map(Rule::word));
            let said = match near {
                Some(near) => format!(
                    "unknown key \"alerts.rules.{}\", nearest is \"alerts.rules.{near}\"",
                    entry.name
                ),
                None => format!(
                    "unknown key \"alerts.rules.{}\"; alerts.rules has {}",
                    entry.name,
                    Rule::ALL.map(Rule::word).join(", ")
                ),
            };
            faults.push(Fault::at(entry.place, said));
            continue;
        };
        let shown = format!("alerts.rules.{}", rule.word());
        let reading = read_mapping(RULE_KEYS, &shown, entry, "with enabled, level, for, threshold", faults);
        let values = Values {
            table: RULE_KEYS,
            settings: &reading.settings,
        };
        let mut policy = rule.policy();
        if let Some(is_enabled) = values.text("enabled") {
            policy.enabled = is_enabled == "true";
        }
        policy.level = values.level("level").unwrap_or(policy.level);
        policy.lasting = values.duration("for").unwrap_or(policy.lasting);
        if let Some(place) = reading.places.get("threshold") {
            if policy.threshold.is_none() {
                let said = format!("{shown}.threshold: {} counts nothing; remove the key", rule.word());
                faults.push(Fault::at(*place, said));
            }
            policy.threshold = values.number("threshold").map(u64::from).or(policy.threshold);
        }
        rules.insert(rule, policy);
    }
}

fn read_mapping(table: &'static [Key], shown: &str, entry: &Entry, what: &str, faults: &mut Vec<Fault>) -> Reading {
    let mut reading = Reading::new(table, &[], &format!("{shown}."));
    for below in mapping(entry, shown, what, faults) {
        reading.take(below);
    }
    faults.append(&mut reading.faults);
    reading
}

fn read_sinks(entry: &Entry, file: &Path, sinks: &mut BTreeMap<String, SinkPolicy>, faults: &mut Vec<Fault>) {
    for entry in mapping(entry, "alerts.sinks", "of names to sinks", faults) {
        let shown = format!("alerts.sinks.{}", entry.name);
        if !is_sink_name(&entry.name) {
            let said = format!("{shown}: the name of a sink has 1 to {SINK_NAME_BYTES_MAX} of a-z 0-9 - _");
            faults.push(Fault::at(entry.place, said));
            continue;
        }
        let reading = read_mapping(SINK_KEYS, &shown, entry, "with type and what it needs", faults);
        if SINK_KEYS.iter().any(|key| reading.is_faulty(key.name)) {
            continue;
        }
        let sink = Sink {
            shown: &shown,
            reading: &reading,
            file,
            place: entry.place,
        };
        match sink.policy(&entry.name) {
            Ok(policy) => {
                sinks.insert(entry.name.clone(), policy);
            }
            Err(fault) => faults.push(fault),
        }
    }
}

fn is_sink_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    !name.is_empty() && name.len() <= SINK_NAME_BYTES_MAX && name.chars().all(is_plain)
}

/// One sink while it is typed.
struct Sink<'a> {
    shown: &'a str,
    reading: &'a Reading,
    file: &'a Path,
    place: Place,
}

impl Sink<'_> {
    fn policy(&self, name: &str) -> Result<SinkPolicy, Fault> {
        let values = Values {
            table: SINK_KEYS,
            settings: &self.reading.settings,
        };
        // The one that is always there need not say what it is.
        let word = values
            .text("type")
            .or_else(|| (name == "log").then(|| "log".to_owned()));
        let Some(word) = word else {
            return Err(self.fault("type is missing: write log, exec, webhook, slack, discord or telegram"));
        };
        let kind = match word.as_str() {
            "exec" => SinkKind::Exec(self.command()?),
            "webhook" => SinkKind::Webhook(self.address()?),
            "slack" => SinkKind::Slack(self.address()?),
            "discord" => SinkKind::Discord(self.address()?),
            "telegram" => SinkKind::Telegram {
                sender: self.sender()?,
                chat: values
                    .text("chat")
                    .ok_or_else(|| self.fault("chat is missing: write the chat's number or @name"))?,
                api_root: values.text("api_root").unwrap_or_default(),
            },
            _ => SinkKind::Log,
        };
        self.only_its_keys(&word)?;
        let plain = SinkPolicy::of(kind);
        Ok(SinkPolicy {
            enabled: values.text("enabled").is_none_or(|word| word == "true"),
            min_level: values.level("min_level").unwrap_or(plain.min_level),
            rules: values.list("rules", Rule::from_word),
            // `*` is every bot, as no list is.
            bots: values.list("bots", |word| word.parse::<BotId>().ok()),
            rate: values.number("rate").or(plain.rate),
            timeout: values.duration("timeout").unwrap_or(plain.timeout),
            retry_delay: values.duration("retry_delay").unwrap_or(plain.retry_delay),
            max_retry_delay: values.duration("max_retry_delay").unwrap_or(plain.max_retry_delay),
            expire_after: values.duration("expire_after").unwrap_or(plain.expire_after),
            kind: plain.kind,
        })
    }

    /// A key of another type is a slip that would go unnoticed.
    fn only_its_keys(&self, word: &str) -> Result<(), Fault> {
        let own: &[&str] = match word {
            "exec" => &["command"],
            "webhook" | "slack" | "discord" => &["url", "url_file"],
            "telegram" => &["bot", "token_file", "chat", "api_root"],
            _ => &[],
        };
        for key in ["command", "url", "url_file", "bot", "token_file", "chat", "api_root"] {
            if let Some(place) = self.reading.places.get(key)
                && !own.contains(&key)
            {
                let said = format!("{}.{key}: a sink of type {word} has no {key}", self.shown);
                return Err(Fault::at(*place, said));
            }
        }
        Ok(())
    }

    fn fault(&self, said: &str) -> Fault {
        Fault::at(self.place, format!("{}: {said}", self.shown))
    }

    fn text(&self, name: &str) -> Option<String> {
        self.reading.settings.get(name).map(Settings::show)
    }

    fn path(&self, name: &str) -> Result<Option<PathBuf>, Fault> {
        self.text(name)
            .map(|text| full_path(name, &full_dir(self.file), &text).map(PathBuf::from))
            .transpose()
    }

    fn command(&self) -> Result<Vec<String>, Fault> {
        let argv = self.reading.settings.get("command").and_then(|value| value.as_array());
        let words = argv.into_iter().flatten().filter_map(|word| word.as_str());
        let mut words: Vec<String> = words.map(str::to_owned).collect();
        let Some(program) = words.first_mut() else {
            return Err(self.fault("command is missing: write a list of the program and its arguments"));
        };
        if program.contains('/') {
            *program = full_path("command", &full_dir(self.file), program)?;
        }
        Ok(words)
    }

    fn address(&self) -> Result<Address, Fault> {
        match (self.text("url"), self.path("url_file")?) {
            (Some(url), None) => Ok(Address::Url(Secret::new(url))),
            (None, Some(file)) => Ok(Address::File(file)),
            (None, None) => Err(self.fault("url or url_file is missing")),
            (Some(_), Some(_)) => Err(self.fault("write url or url_file, not both")),
        }
    }

    fn sender(&self) -> Result<TokenFrom, Fault> {
        match (self.text("bot"), self.path("token_file")?) {
            (Some(bot), None) => match bot.parse() {
                Ok(bot) => Ok(TokenFrom::Bot(bot)),
                // What stands there may be a token in the wrong place.
                Err(_) => Err(self.fault("bot is not the id of a bot; a token belongs into token_file")),
            },
            (None, Some(file)) => Ok(TokenFrom::File(file)),
            (None, None) => Err(self.fault("bot or token_file is missing: whose token is it sent with")),
            (Some(_), Some(_)) => Err(self.fault("write bot or token_file, not both")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read_supervisor;

    fn read(text: &str) -> Result<AlertSettings, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("multibot.yaml");
        std::fs::write(&file, text).unwrap();
        let shown = |text: String| text.replace(&dir.path().display().to_string(), ".");
        read_supervisor(&file)
            .map(|settings| settings.alerts)
            .map_err(|faults| shown(faults.to_string()))
    }

    #[test]
    fn every_key_reaches_its_field() {
        let settings = read(
            "alerts:\n  remind_after: never\n  recover_after: 1s\n  \
             outage: {window: 2s, min_bots: 4, recover_after: 3s, restart_delay: 5s}\n  \
             rules:\n    errors: {enabled: false, level: critical, for: 7s, threshold: 9}\n  \
             sinks:\n    log: {enabled: false}\n    \
             a: {type: exec, command: [/bin/x, y], timeout: 2s, rate: 3, retry_delay: 4s, max_retry_delay: 5s, expire_after: 6s}\n    \
             b: {type: webhook, url: \"https://h/s3cret\", min_level: warning, rules: [down, held], bots: [shop]}\n    \
             c: {type: slack, url_file: /u}\n    d: {type: discord, url_file: /v}\n    \
             e: {type: telegram, bot: shop, chat: \"-1\", api_root: \"http://h\"}\n    \
             f: {type: telegram, token_file: /t, chat: \"@x\"}\n",
        )
        .unwrap();
        let s = Duration::from_secs;
        assert_eq!((settings.remind_after, settings.recover_after), (None, s(1)));
        let outage = OutagePolicy {
            window: s(2),
            min_bots: 4,
            recover_after: s(3),
            restart_delay: s(5),
        };
        assert_eq!(settings.outage, outage);
        let errors = RulePolicy {
            enabled: false,
            level: Level::Critical,
            lasting: s(7),
            threshold: Some(9),
        };
        assert_eq!(settings.rule(Rule::Errors), errors);
        assert_eq!(settings.rule(Rule::Down), Rule::Down.policy());
        let sink = |name: &str| settings.sinks[name].clone();
        assert!(!sink("log").enabled);
        let argv = vec!["/bin/x".to_owned(), "y".to_owned()];
        let exec = SinkPolicy {
            timeout: s(2),
            rate: Some(3),
            retry_delay: s(4),
            max_retry_delay: s(5),
            expire_after: s(6),
            ..SinkPolicy::of(SinkKind::Exec(argv))
        };
        assert_eq!(sink("a"), exec);
        let url = Address::Url(Secret::new("https://h/s3cret".to_owned()));
        let webhook = SinkPolicy {
            min_level: Level::Warning,
            rules: vec![Rule::Down, Rule::Held],
            bots: vec!["shop".parse().unwrap()],
            ..SinkPolicy::of(SinkKind::Webhook(url))
        };
        assert_eq!(sink("b"), webhook);
        assert_eq!(sink("c").kind, SinkKind::Slack(Address::File("/u".into())));
        assert_eq!(sink("d").kind, SinkKind::Discord(Address::File("/v".into())));
        for (name, sender, chat, api_root) in [
            ("e", TokenFrom::Bot("shop".parse().unwrap()), "-1", "http://h"),
            ("f", TokenFrom::File("/t".into()), "@x", "https://api.telegram.org"),
        ] {
            let (chat, api_root) = (chat.to_owned(), api_root.to_owned());
            let kind = SinkKind::Telegram { sender, chat, api_root };
            assert_eq!(sink(name).kind, kind);
        }
        assert!(!format!("{settings:?}").contains("s3cret"));
    }

    #[test]
    fn every_fault_is_told_with_its_place_and_without_secrets() {
        for (text, said) in [
            (
                "alerts:\n  remind_aftr: 1h\n  rules:\n    dwon: {for: 1m}\n    held: {threshold: 3, fro: 1s}\n",
                "./multibot.yaml:2:3: unknown key \"alerts.remind_aftr\", nearest is \"alerts.remind_after\"\n\
                 ./multibot.yaml:4:5: unknown key \"alerts.rules.dwon\", nearest is \"alerts.rules.down\"\n\
                 ./multibot.yaml:5:23: alerts.rules.held.threshold: held counts nothing; remove the key\n\
                 ./multibot.yaml:5:26: unknown key \"alerts.rules.held.fro\", nearest is \"alerts.rules.held.for\"",
            ),
            (
                "alerts:\n  sinks:\n    a: {type: webhok}\n    B: {type: log}\n    c: {url: \"https://h/s\"}\n    \
                 d: {type: webhook}\n    e: {type: log, url: \"https://h/s\"}\n    f: {type: slack, url: s3cret}\n",
                "./multibot.yaml:3:15: alerts.sinks.a.type: \"webhok\" is none of log, exec, webhook, slack, discord, \
                 telegram; nearest is \"webhook\"\n\
                 ./multibot.yaml:4:5: alerts.sinks.B: the name of a sink has 1 to 32 of a-z 0-9 - _\n\
                 ./multibot.yaml:5:5: alerts.sinks.c: type is missing: write log, exec, webhook, slack, discord or telegram\n\
                 ./multibot.yaml:6:5: alerts.sinks.d: url or url_file is missing\n\
                 ./multibot.yaml:7:25: alerts.sinks.e.url: a sink of type log has no url\n\
                 ./multibot.yaml:8:27: alerts.sinks.f.url: it is no address: write https://… or http://…",
            ),
            (
                "alerts: [1]\n",
                "./multibot.yaml:1:9: alerts: write a mapping with rules, sinks, remind_after, recover_after, outage",
            ),
        ] {
            assert_eq!(read(text), Err(said.to_owned()), "{text}");
        }
    }
}
