//! What an operator wrote for one bot, and nothing else: a sparse map of dotted keys to canonical values.
//!
//! It knows no defaults, so layers of it can be laid over each other. Keys that a newer version stored
//! are kept and written back, and mean nothing here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde_json::{Map, Value};

use super::fault::Fault;
use super::keys::{KEYS, Key, find, is_group, names_below, unknown};
use super::kind::Kind;
use super::yaml::Node;
use crate::model::bot::Platform;

pub(super) const ENV: &str = "env";
/// The keys whose entries can be written one by one, as `env.NAME` and `probes.NAME`.
const MAPPINGS: [(&str, Kind); 3] = [
    (ENV, Kind::Variables),
    ("probes", Kind::Probes),
    ("commands", Kind::Commands),
];

/// The mapping and the entry that a key such as `env.NAME` names.
fn entry_of(key: &str) -> Option<(&'static str, Kind, &str)> {
    MAPPINGS.iter().find_map(|(mapping, kind)| {
        let name = key.strip_prefix(mapping)?.strip_prefix('.')?;
        Some((*mapping, *kind, name))
    })
}

#[derive(Clone, Default, PartialEq)]
pub struct Settings {
    values: BTreeMap<String, Value>,
}

impl Settings {
    pub fn new() -> Settings {
        Settings::default()
    }

    /// Reads what [`to_json`](Settings::to_json) wrote. Errors when the text is no JSON object; what its
    /// values mean is checked by [`bot_spec`](super::bot_spec).
    pub fn from_json(text: &str) -> Result<Settings, Fault> {
        // Only the place is told: the text of the error can quote a value.
        match serde_json::from_str(text) {
            Ok(Value::Object(map)) => Ok(Settings {
                values: map.into_iter().collect(),
            }),
            Ok(_) => Err(Fault::new("stored settings: not a JSON object")),
            Err(error) => Err(Fault::new(format!(
                "stored settings: not JSON at line {}, column {}",
                error.line(),
                error.column()
            ))),
        }
    }

    /// One JSON object, its keys dotted and sorted.
    pub fn to_json(&self) -> String {
        let map: Map<String, Value> = self
            .values
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        Value::Object(map).to_string()
    }

    /// The value of a key or of one entry, `env.NAME` or `probes.NAME`; None where the operator wrote none.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match entry_of(key) {
            Some((mapping, _, name)) => self.values.get(mapping)?.get(name),
            None => self.values.get(key),
        }
    }

    /// Everything that was written, sorted by key; `env` is one value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// A value as [`set`](Settings::set) takes it.
    pub fn show(value: &Value) -> String {
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    }

    /// Sets one key, or one entry as `env.NAME` or `probes.NAME`. Lists of names are separated by commas or a JSON
    /// array, `command` is a JSON array, `env` and `probes` JSON objects. Errors on an unknown key, naming the
    /// nearest one, and on a value that the key does not take.
    pub fn set(&mut self, key: &str, text: &str) -> Result<(), Fault> {
        if let Some((mapping, kind, name)) = entry_of(key) {
            let value = match kind {
                // The value of a variable is its text, whatever it looks like.
                Kind::Variables => Value::from(text),
                _ => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
            };
            return self.set_entry(mapping, kind, name, value);
        }
        let known = find(KEYS, key).ok_or_else(|| no_such_key(key))?;
        self.put(known, &known.kind.node_of_text(text))
    }

    /// Whether an empty text is a value of this key, as it is of a variable. Of any other it can only mean that
    /// the key is to be taken away.
    pub fn may_be_empty(key: &str) -> bool {
        entry_of(key).is_some_and(|(mapping, ..)| mapping == ENV)
    }

    /// Removes a key or one entry of a mapping; tells whether it was there. Errors on an unknown key.
    pub fn unset(&mut self, key: &str) -> Result<bool, Fault> {
        if let Some((mapping, _, name)) = entry_of(key) {
            let Some(Value::Object(entries)) = self.values.get_mut(mapping) else {
                return Ok(false);
            };
            let was_there = entries.shift_remove(name).is_some();
            if entries.is_empty() {
                self.values.remove(mapping);
            }
            return Ok(was_there);
        }
        let was_there = self.values.remove(key).is_some();
        if !was_there && find(KEYS, key).is_none() {
            return Err(no_such_key(key));
        }
        Ok(was_there)
    }

    /// Sets one environment variable.
    pub fn set_variable(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        self.set_entry(ENV, Kind::Variables, name, Value::from(value))
    }

    fn set_entry(&mut self, mapping: &str, kind: Kind, name: &str, value: Value) -> Result<(), Fault> {
        let node = Node::from_json(&serde_json::json!({ name: value }));
        let Some(Value::Object(new)) = read(mapping, kind, &node)? else {
            return Ok(());
        };
        match self.values.get_mut(mapping) {
            Some(Value::Object(entries)) => entries.extend(new),
            _ => self.insert(mapping, Value::Object(new)),
        }
        Ok(())
    }

    pub fn set_command(&mut self, argv: &[String]) -> Result<(), Fault> {
        self.put_list("command", argv)
    }

    pub fn set_token_env(&mut self, names: &[String]) -> Result<(), Fault> {
        self.put_list("token_env", names)
    }

    pub fn set_platform(&mut self, platform: Platform) {
        self.insert("platform", Value::from(platform.word()));
    }

    /// Sets `cwd`, `env_file` or `media.dir`. Errors also on a path that is not UTF-8.
    pub fn set_path(&mut self, key: &str, path: &Path) -> Result<(), Fault> {
        match path.to_str() {
            Some(text) => self.set(key, text),
            None => Err(Fault::new(format!("{key}: {} is not UTF-8", path.display()))),
        }
    }

    /// Makes relative paths full, as seen from the directory `base`: every path, and a program that is
    /// named with a slash. A program without one is looked up in PATH. Errors when `base` is not UTF-8.
    pub fn resolve_paths(&mut self, base: &Path) -> Result<(), Fault> {
        for (name, value) in &mut self.values {
            match (find(KEYS, name).map(|key| key.kind), value) {
                (Some(Kind::Path), Value::String(path)) => *path = full_path(name, base, path)?,
                (Some(Kind::Argv), argv) => resolve_program(name, base, argv)?,
                (Some(Kind::Probes | Kind::Commands), Value::Object(probes)) => {
                    for argv in probes.values_mut().filter_map(|probe| probe.get_mut("exec")) {
                        resolve_program(name, base, argv)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// These settings over others: a key of these wins; of `env` and `probes`, each entry does.
    pub fn over(&self, below: &Settings) -> Settings {
        let mut merged = below.clone();
        for (key, value) in &self.values {
            match (merged.values.get_mut(key), value) {
                (Some(Value::Object(under)), Value::Object(upper)) => {
                    under.extend(upper.iter().map(|(name, value)| (name.clone(), value.clone())));
                }
                _ => {
                    merged.values.insert(key.clone(), value.clone());
                }
            }
        }
        merged
    }

    pub(super) fn insert(&mut self, key: &str, value: Value) {
        self.values.insert(key.to_owned(), value);
    }

    fn put(&mut self, key: &Key, node: &Node) -> Result<(), Fault> {
        match read(key.name, key.kind, node)? {
            Some(value) => self.insert(key.name, value),
            None => {
                self.values.remove(key.name);
            }
        }
        Ok(())
    }

    fn put_list(&mut self, name: &str, items: &[String]) -> Result<(), Fault> {
        let known = find(KEYS, name).ok_or_else(|| no_such_key(name))?;
        self.put(known, &Node::list(items.iter().map(String::as_str)))
    }
}

/// Shows no value of a variable and no argument of a command: both may be secret.
impl fmt::Debug for Settings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = out.debug_map();
        for (key, value) in &self.values {
            match value {
                Value::Object(entries) => map.entry(key, &entries.keys().collect::<Vec<_>>()),
                Value::Array(items) => map.entry(key, &format_args!("[{} entries]", items.len())),
                _ => map.entry(key, &format_args!("{value}")),
            };
        }
        map.finish()
    }
}

/// The canonical value, or the first fault of it.
fn read(key: &str, kind: Kind, node: &Node) -> Result<Option<Value>, Fault> {
    let mut faults = Vec::new();
    let value = kind.read(key, node, &mut faults);
    match faults.into_iter().next() {
        Some(fault) => Err(fault),
        None => Ok(value),
    }
}

fn resolve_program(name: &str, base: &Path, argv: &mut Value) -> Result<(), Fault> {
    match argv.get_mut(0) {
        Some(Value::String(program)) if program.contains('/') => *program = full_path(name, base, program)?,
        _ => {}
    }
    Ok(())
}

pub(super) fn full_path(name: &str, base: &Path, text: &str) -> Result<String, Fault> {
    let joined = base.join(text);
    let full = std::path::absolute(&joined).unwrap_or(joined);
    match full.into_os_string().into_string() {
        Ok(text) => Ok(text),
        Err(_) => Err(Fault::new(format!(
            "{name}: the directory {} is not UTF-8",
            base.display()
        ))),
    }
}

fn no_such_key(name: &str) -> Fault {
    Fault::new(match name {
        "id" => "unknown key \"id\": a bot's id is not one of its settings".to_owned(),
        "token" => "unknown key \"token\": write token.file=PATH or token.env=NAME, so that it is not seen".to_owned(),
        _ if is_group(KEYS, name) => {
            let below: Vec<String> = names_below(KEYS, name)
                .into_iter()
                .map(|last| format!("{name}.{last}"))
                .collect();
            format!("{name:?} is a group of keys: write {}", below.join(", "))
        }
        _ => unknown(KEYS, name, &[], ""),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn set_takes_texts_and_keeps_them_canonical() {
        for (key, text, stored) in [
            ("restart.delay", "1500ms", "\"1s500ms\""),
            ("restart.factor", "1.5", "1.5"),
            ("restart.factor", "2.0", "2"),
            ("restart.retry_failed", "never", "\"never\""),
            ("restart.max_restarts", "0", "0"),
            ("limits.cpu.max", "80%", "80"),
            ("limits.cpu.max", "150.5", "150.5"),
            ("limits.memory.max", "100MiB", "\"100MiB\""),
            ("stop.signal", "sigint", "\"INT\""),
            ("enabled", "false", "false"),
            ("token_env", "A, B", "[\"A\",\"B\"]"),
            ("token_env", "[\"A\"]", "[\"A\"]"),
            ("token_env", "", "[]"),
            ("command", "[\"sh\", \"-c\", \"a b\"]", "[\"sh\",\"-c\",\"a b\"]"),
            ("env", "{\"A\": 1}", "{\"A\":\"1\"}"),
            ("env.A", "x=y", "\"x=y\""),
        ] {
            let mut settings = Settings::new();
            assert_eq!(settings.set(key, text), Ok(()), "{key}={text}");
            assert_eq!(
                settings.get(key).map(Value::to_string).as_deref(),
                Some(stored),
                "{key}={text}"
            );
        }
    }

    #[test]
    fn set_refuses_in_one_line_and_changes_nothing() {
        for (key, text, said) in [
            (
                "restart.dealy",
                "5s",
                "unknown key \"restart.dealy\", nearest is \"restart.delay\"",
            ),
            (
                "token",
                "1:a",
                "unknown key \"token\": write token.file=PATH or token.env=NAME, so that it is not seen",
            ),
            (
                "stop",
                "5s",
                "\"stop\" is a group of keys: write stop.signal, stop.grace",
            ),
            (
                "restart.delay",
                "5",
                "restart.delay: \"5\" is not a duration: write 500ms, 5s, 10m, 2h or 7d",
            ),
            (
                "command",
                "python3 shop.py",
                "command: write a list: [\"python3\", \"shop.py\"]",
            ),
            (
                "command",
                "[]",
                "command: the list is empty; without a command, remove the key",
            ),
            (
                "env.MULTIBOT_X",
                "1",
                "env: MULTIBOT_X is set by multibot itself; choose another name",
            ),
            (
                "env.A B",
                "1",
                "env: \"A B\" is not a variable name: write letters, digits and _, the first no digit",
            ),
            ("env.A", "\0", "env.A: the value holds a NUL character"),
            ("env", "A=1", "env: write a mapping: {NAME: value}"),
        ] {
            let mut settings = Settings::new();
            let fault = settings.set(key, text).expect_err(key);
            assert_eq!(fault.to_string(), said);
            assert_eq!(settings, Settings::new());
        }
    }

    #[test]
    fn unset_removes_and_tells() {
        let mut settings =
            Settings::from_json(r#"{"env":{"A":"1","B":"2"},"from.newer":[1],"enabled":false}"#).unwrap();
        assert_eq!(settings.unset("env.A"), Ok(true));
        assert_eq!(settings.unset("env.A"), Ok(false));
        assert_eq!(settings.unset("enabled"), Ok(true));
        assert_eq!(settings.unset("enabled"), Ok(false));
        assert_eq!(settings.to_json(), r#"{"env":{"B":"2"},"from.newer":[1]}"#);
        assert_eq!(settings.unset("from.newer"), Ok(true));
        assert_eq!(settings.unset("env.B"), Ok(true));
        assert_eq!(settings.to_json(), "{}");
        assert!(Settings::may_be_empty("env.A") && !Settings::may_be_empty("env") && !Settings::may_be_empty("cwd"));
        assert!(settings.unset("from.newer").is_err());
    }

    #[test]
    fn stored_text_that_is_no_object_is_refused_without_quoting_it() {
        for text in ["", "[]", "\"s3cret\"", "{\"a\": s3cret}"] {
            let said = Settings::from_json(text).expect_err(text).to_string();
            assert!(
                said.starts_with("stored settings: not ") && !said.contains("s3cret"),
                "{said}"
            );
        }
    }

    #[test]
    fn layers_merge_by_key_and_by_variable() {
        let upper = Settings::from_json(r#"{"env":{"A":"1"},"restart.delay":"5s","token_env":["X"]}"#).unwrap();
        let lower =
            Settings::from_json(r#"{"env":{"A":"0","B":"2"},"restart.delay":"1s","token_env":["Y"],"enabled":false}"#)
                .unwrap();
        assert_eq!(
            upper.over(&lower).to_json(),
            r#"{"enabled":false,"env":{"A":"1","B":"2"},"restart.delay":"5s","token_env":["X"]}"#
        );
    }

    #[test]
    fn relative_paths_become_full_ones() {
        let mut settings = Settings::new();
        settings.set_command(&["./run.sh".into(), "./data".into()]).unwrap();
        settings.set_path("cwd", Path::new("work")).unwrap();
        settings.set("env_file", "/etc/bot.env").unwrap();
        settings.resolve_paths(Path::new("/srv/bots")).unwrap();
        assert_eq!(
            settings.to_json(),
            r#"{"command":["/srv/bots/run.sh","./data"],"cwd":"/srv/bots/work","env_file":"/etc/bot.env"}"#
        );
        settings.set_command(&["python3".into()]).unwrap();
        settings.resolve_paths(Path::new("/")).unwrap();
        assert_eq!(settings.get("command"), Some(&serde_json::json!(["python3"])));
    }

    #[test]
    fn debug_shows_no_value_of_a_variable_and_no_argument() {
        let mut settings = Settings::new();
        settings.set("env.API_KEY", "s3cret").unwrap();
        settings.set_command(&["bot".into(), "--pass=s3cret".into()]).unwrap();
        assert_eq!(
            format!("{settings:?}"),
            r#"{"command": [2 entries], "env": ["API_KEY"]}"#
        );
    }

    /// A text that each kind takes, drawn from two numbers and a word.
    fn good_text(kind: Kind, a: u64, b: u64, word: &str) -> String {
        use crate::model::units::show_duration;
        use std::time::Duration;
        match kind {
            Kind::Bool => a.is_multiple_of(2).to_string(),
            Kind::Integer { min, max } => (min + a % (max - min + 1)).to_string(),
            Kind::Factor => format!("{}.{}", 1 + a % 99, b % 1000),
            Kind::Percent => format!("{}.{}%", 1 + a % 9000, b % 1000),
            Kind::DurationOr { word, .. } if a.is_multiple_of(3) => word.to_owned(),
            Kind::Duration { min, max } | Kind::DurationOr { min, max, .. } => {
                let spread = u64::try_from((max - min).as_micros()).unwrap();
                show_duration(min + Duration::from_micros(a % (spread + 1)))
            }
            Kind::Size { min } => format!(" {}.{}KiB ", min + a % 5000, b % 10),
            Kind::Signed { min, max } => (min + (a % 1000) as i64 % (max - min + 1)).to_string(),
            Kind::SizeOr { words, .. } if a.is_multiple_of(3) => words[b as usize % words.len()].to_owned(),
            Kind::SizeOr { min, .. } => format!("{}.{}KiB", min + a % 5000, b % 10),
            Kind::OrShare { unit, .. } if b.is_multiple_of(2) => {
                // There a percent sign is a share.
                good_text(*unit, a, b, word).replace('%', "")
            }
            Kind::OrShare { .. } => format!("{}.{}%", 1 + a % 99, b % 1000),
            Kind::Signal => (1 + a % 15).to_string(),
            Kind::Words(words) => words[usize::try_from(a).unwrap() % words.len()].to_owned(),
            Kind::Path => format!("/{word}"),
            Kind::Argv => serde_json::json!(["x", word, b.to_string()]).to_string(),
            Kind::Names => format!("N{a}, N{b}"),
            Kind::Senders => format!("*, b{b}"),
            Kind::Text => format!("x{}", word.replace('\n', " ")).trim().to_owned(),
            Kind::Url => format!("https://host/{b}"),
            Kind::Rules => "down, held".to_owned(),
            Kind::Classes => serde_json::json!([{"exit": b % 200, "class": "banned"}]).to_string(),
            Kind::Variables => serde_json::json!({ format!("N{a}"): word, format!("M{b}"): "" }).to_string(),
            Kind::Pattern => format!("x{}", regex_lite::escape(word)),
            Kind::Probes => serde_json::json!({ format!("p{a}"): {"tcp": 1 + b % 60_000} }).to_string(),
            Kind::Texts { .. } => format!("a{a}, @b{b}"),
            Kind::Commands => serde_json::json!({ format!("c{a}"): {"reply": format!("x{b}")} }).to_string(),
        }
    }

    proptest! {
        #[test]
        fn valid_settings_survive_the_store_and_their_shown_text(
            picks in proptest::collection::vec((0..KEYS.len(), 0u64..u64::MAX / 2, 0u64..u64::MAX / 2, "[^\0]{0,12}"), 0..12),
        ) {
            let mut settings = Settings::new();
            for (index, a, b, word) in picks {
                let key = &KEYS[index];
                let text = good_text(key.kind, a, b, &word);
                prop_assert_eq!(settings.set(key.name, &text), Ok(()), "{}={}", key.name, text);
            }
            prop_assert_eq!(Settings::from_json(&settings.to_json()), Ok(settings.clone()));
            let mut again = Settings::new();
            for (key, value) in settings.iter() {
                prop_assert_eq!(again.set(key, &Settings::show(value)), Ok(()));
            }
            prop_assert_eq!(again, settings);
        }

        #[test]
        fn no_text_panics(index in 0..KEYS.len(), key in "[a-z.]{0,20}", text in "(?s).{0,40}") {
            let mut settings = Settings::new();
            let _ = settings.set(KEYS[index].name, &text);
            let _ = settings.set(&key, &text);
            let _ = settings.set(&format!("env.{key}"), &text);
            let _ = Settings::from_json(&text);
        }
    }
}
