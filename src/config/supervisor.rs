//! `multibot.yaml`: the supervisor's own settings, and the defaults of all bots.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::alerts::read_alerts;
use super::bot::full_dir;
use super::fault::{Fault, Faults};
use super::flatten::Reading;
use super::keys::{KEYS, SUPERVISOR_KEYS, find};
use super::settings::Settings;
use super::source::{SourceError, read_tree};
use super::spec::{complaints_of_defaults, variables};
use super::yaml::{Entry, Shape};
use crate::model::alert::AlertSettings;
use crate::model::asking::AskingPolicy;
use crate::model::bot::LogPolicy;
use crate::model::metric::Retention;
use crate::model::units::{parse_duration, parse_size};

/// The effective settings of one supervisor.
#[derive(Clone, PartialEq)]
pub struct SupervisorSettings {
    pub start_delay: Duration,
    pub status_poll_interval: Duration,
    /// None: what the bots use is not measured.
    pub sampling_period: Option<Duration>,
    pub asking: AskingPolicy,
    pub history: Retention,
    pub budget: BudgetSettings,
    pub log_level: tracing::Level,
    pub log: LogPolicy,
    /// The environment that every bot starts from.
    pub env: BTreeMap<String, String>,
    /// The layer below every bot's own settings.
    pub defaults: Settings,
    pub alerts: AlertSettings,
}

/// What all bots together may be promised; None: no bound.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BudgetSettings {
    pub memory: Option<Memory>,
    /// Percent of one core.
    pub cpu_percent: Option<f64>,
    /// Bots that run at once.
    pub max_bots: Option<u32>,
}

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Memory {
    Bytes(u64),
    /// Of the memory of the host or container: 0.5 is half of it.
    Share(f64),
}

/// Reads `multibot.yaml`. A file that does not exist is one in which nothing is written. Errors with
/// every fault of it.
pub fn read_supervisor(path: &Path) -> Result<SupervisorSettings, Faults> {
    let tree = match read_tree(path) {
        Ok(tree) => Some(tree),
        Err(SourceError::Missing(_)) => None,
        Err(SourceError::Bad(fault)) => return Err(fault.into()),
    };
    let mut own = Reading::new(SUPERVISOR_KEYS, &["defaults", "alerts"], "");
    let mut alerts = AlertSettings::default();
    let mut defaults = Reading::new(KEYS, &[], "defaults.");
    match tree.map(|tree| (tree.place, tree.shape)) {
        None | Some((_, Shape::Null)) => {}
        Some((_, Shape::Map(entries))) => {
            for entry in &entries {
                if entry.name == "defaults" {
                    take_defaults(entry, &mut defaults);
                } else if entry.name == "alerts" {
                    alerts = read_alerts(entry, path, &mut own.faults);
                } else {
                    own.take(entry);
                }
            }
        }
        Some((place, Shape::Scalar(_) | Shape::List(_))) => {
            own.faults.push(Fault::at(place, "expected a mapping of keys"));
        }
    }
    if let Err(fault) = defaults.settings.resolve_paths(&full_dir(path)) {
        defaults.faults.push(fault);
    }
    check_defaults(&mut defaults);
    let mut faults = own.faults;
    faults.append(&mut defaults.faults);
    if faults.is_empty() {
        Ok(typed(&own.settings, defaults.settings, alerts))
    } else {
        Err(Faults(Faults::of_file(faults, path)))
    }
}

fn take_defaults(entry: &Entry, defaults: &mut Reading) {
    match &entry.node.shape {
        Shape::Map(entries) => entries.iter().for_each(|below| defaults.take(below)),
        Shape::Null => {}
        Shape::Scalar(_) | Shape::List(_) => {
            let said = "defaults: write a mapping with keys of a bot";
            defaults.faults.push(Fault::at(entry.node.place, said));
        }
    }
}

/// What keys mean together: a slip here would be one of every bot.
fn check_defaults(defaults: &mut Reading) {
    for complaint in complaints_of_defaults(&defaults.settings) {
        // A refused value leaves its default behind, and complaints about that would mislead.
        if complaint.keys.iter().any(|key| defaults.is_faulty(key)) {
            continue;
        }
        let place = complaint.keys.iter().find_map(|key| defaults.places.get(key));
        let place = place.copied().unwrap_or_default();
        let message = format!("defaults.{}", complaint.message);
        defaults.faults.push(Fault::at(place, message));
    }
}

/// Every value was read by its kind before, so what is left to do cannot fail.
fn typed(own: &Settings, defaults: Settings, alerts: AlertSettings) -> SupervisorSettings {
    let text = |name: &str| {
        let written = own.get(name).map(Settings::show);
        written
            .or_else(|| find(SUPERVISOR_KEYS, name)?.default.map(str::to_owned))
            .unwrap_or_default()
    };
    let duration = |name: &str| parse_duration(&text(name)).ok();
    let share = |text: &str| {
        text.strip_suffix('%')?
            .parse::<f64>()
            .ok()
            .map(|percent| percent / 100.0)
    };
    let memory = |text: String| {
        let bytes = || parse_size(&text).ok().map(Memory::Bytes);
        share(&text).map(Memory::Share).or_else(bytes)
    };
    SupervisorSettings {
        start_delay: duration("start_delay").unwrap_or_default(),
        status_poll_interval: duration("status_poll_interval").unwrap_or_default(),
        sampling_period: duration("sampling.period"),
        asking: AskingPolicy {
            period: duration("platform.probe_period"),
            backlog_for: duration("platform.backlog_for"),
            calls_per_second: text("platform.calls_per_second").parse().unwrap_or(1),
        },
        history: Retention {
            raw: duration("history.raw").unwrap_or_default(),
            minute: duration("history.minute").unwrap_or_default(),
            hour: duration("history.hour").unwrap_or_default(),
            events: duration("history.events").unwrap_or_default(),
            size_max: parse_size(&text("history.max_size")).unwrap_or_default(),
        },
        budget: BudgetSettings {
            memory: memory(text("budget.memory")),
            cpu_percent: text("budget.cpu").parse().ok(),
            max_bots: text("max_bots").parse().ok(),
        },
        log_level: text("log.level").parse().unwrap_or(tracing::Level::INFO),
        log: LogPolicy {
            max_size: parse_size(&text("log.max_size")).unwrap_or_default(),
            keep: text("log.keep").parse().unwrap_or_default(),
        },
        env: variables(own.get("env").cloned()),
        defaults,
        alerts,
    }
}

/// Shows no value of a variable.
impl std::fmt::Debug for SupervisorSettings {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SupervisorSettings")
            .field("start_delay", &self.start_delay)
            .field("status_poll_interval", &self.status_poll_interval)
            .field("sampling_period", &self.sampling_period)
            .field("asking", &self.asking)
            .field("history", &self.history)
            .field("budget", &self.budget)
            .field("log_level", &self.log_level)
            .field("log", &self.log)
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .field("defaults", &self.defaults)
            .field("alerts", &self.alerts)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SupervisorSettings, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("multibot.yaml");
        std::fs::write(&file, text).unwrap();
        read_supervisor(&file).map_err(|faults| faults.to_string().replace(&dir.path().display().to_string(), "."))
    }

    #[test]
    fn a_missing_or_empty_file_is_all_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let missing = read_supervisor(&dir.path().join("multibot.yaml")).unwrap();
        let expected = SupervisorSettings {
            start_delay: Duration::from_millis(100),
            status_poll_interval: Duration::from_secs(30),
            sampling_period: Some(Duration::from_secs(5)),
            asking: AskingPolicy {
                period: Some(Duration::from_secs(60)),
                backlog_for: Some(Duration::from_secs(300)),
                calls_per_second: 5,
            },
            history: Retention {
                raw: Duration::from_secs(86_400),
                minute: Duration::from_secs(7 * 86_400),
                hour: Duration::from_secs(90 * 86_400),
                events: Duration::from_secs(90 * 86_400),
                size_max: 1 << 30,
            },
            budget: BudgetSettings::default(),
            log_level: tracing::Level::INFO,
            log: LogPolicy {
                max_size: 10 * 1024 * 1024,
                keep: 5,
            },
            env: BTreeMap::new(),
            defaults: Settings::new(),
            alerts: AlertSettings::default(),
        };
        assert_eq!(missing, expected);
        for text in [
            "",
            "# nothing yet\n",
            "defaults:\nlog:\nenv:\nalerts:\n",
            "x-note: {a: 1}\n",
        ] {
            assert_eq!(read(text).as_ref(), Ok(&expected), "{text:?}");
        }
    }

    #[test]
    fn every_key_reaches_its_field() {
        let settings = read(
            "start_delay: 0\nstatus_poll_interval: 1m\nsampling: {period: off}\n\
             history: {raw: 1h, minute: 2h, hour: 3h, events: 4h, max_size: 5MiB}\n\
             budget: {memory: 50%, cpu: 150.5%}\nmax_bots: 7\n\
             log: {level: debug, max_size: 1MiB, keep: 2}\nenv: {TZ: UTC, N: 007}\n\
             defaults:\n  restart: {delay: 5s}\n  media: {dir: m}\n",
        )
        .unwrap();
        assert_eq!(
            (settings.start_delay.as_secs(), settings.status_poll_interval.as_secs()),
            (0, 60)
        );
        assert_eq!(
            (settings.sampling_period, settings.log_level),
            (None, tracing::Level::DEBUG)
        );
        let hours = |count: u64| Duration::from_secs(count * 3600);
        let history = Retention {
            raw: hours(1),
            minute: hours(2),
            hour: hours(3),
            events: hours(4),
            size_max: 5 << 20,
        };
        assert_eq!(settings.history, history);
        let budget = BudgetSettings {
            memory: Some(Memory::Share(0.5)),
            cpu_percent: Some(150.5),
            max_bots: Some(7),
        };
        assert_eq!(settings.budget, budget);
        let sized = read("budget.memory: 2GiB\n").map(|settings| settings.budget.memory);
        assert_eq!(sized, Ok(Some(Memory::Bytes(2 << 30))));
        assert_eq!((settings.log.max_size, settings.log.keep), (1024 * 1024, 2));
        assert_eq!(
            settings.env,
            BTreeMap::from([("TZ".into(), "UTC".into()), ("N".into(), "007".into())])
        );
        assert_eq!(settings.defaults.get("restart.delay"), Some(&"5s".into()));
        let dir = settings
            .defaults
            .get("media.dir")
            .and_then(|dir| dir.as_str().map(str::to_owned));
        assert!(
            dir.as_deref()
                .is_some_and(|dir| dir.starts_with('/') && dir.ends_with("/m")),
            "{dir:?}"
        );
        assert!(format!("{settings:?}").contains("TZ") && !format!("{settings:?}").contains("007"));
    }

    #[test]
    fn defaults_need_not_be_a_bot_of_their_own() {
        for text in [
            "defaults: {platform: none}\n",
            "defaults: {platform: telegram, limits: {memory: {for: 1m, action: stop, warn: 10MiB}}}\n",
        ] {
            assert!(read(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        for (text, said) in [
            (
                "start_dely: 1s\nlog:\n  level: verbose\n  keep: many\ndefaults:\n  restrat: {}\n  stop: {grace: 2h}\n",
                "./multibot.yaml:1:1: unknown key \"start_dely\", nearest is \"start_delay\"\n\
                 ./multibot.yaml:3:10: log.level: \"verbose\" is none of error, warn, info, debug, trace\n\
                 ./multibot.yaml:4:9: log.keep: \"many\" is not a whole number from 1 to 1000\n\
                 ./multibot.yaml:6:3: unknown key \"defaults.restrat\", nearest is \"defaults.restart\"\n\
                 ./multibot.yaml:7:17: defaults.stop.grace: \"2h\" is too long: write at most 1h",
            ),
            (
                "sampling: 5s\ndefaults: [1]\n",
                "./multibot.yaml:1:11: sampling: write a mapping with period\n\
                 ./multibot.yaml:2:11: defaults: write a mapping with keys of a bot",
            ),
            (
                "sampling.period: 1ms\n",
                "./multibot.yaml:1:18: sampling.period: \"1ms\" is too short: write at least 100ms, or off",
            ),
            (
                "defaults: {limits: {memory: {max: 100MiB, warn: 200MiB}}}\n",
                "./multibot.yaml:1:49: defaults.limits.memory.warn: 200.0 MiB is more than limits.memory.max, 100.0 MiB",
            ),
            (
                "defaults:\n  restart: {delay: 2m}\n  queue:\n    max_message: 1MiB\n",
                "./multibot.yaml:2:20: defaults.restart.max_delay: 1m is shorter than restart.delay, 2m\n\
                 ./multibot.yaml:4:18: defaults.queue.max_message: 1.0 MiB is more than an envelope may have: 256KiB at \
                 most; put large content into the media folder",
            ),
            ("- a\n", "./multibot.yaml:1:1: expected a mapping of keys"),
            ("a: [\n", "./multibot.yaml:1:4: not valid YAML: unclosed bracket '['"),
        ] {
            assert_eq!(read(text).map(|_| ()), Err(said.to_owned()), "{text:?}");
        }
    }
}
