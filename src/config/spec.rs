//! Layers settings over the built-in defaults, checks what single keys cannot show, and types the result.

mod limits;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::fault::{Fault, Faults};
use super::keys::{KEYS, find};
use super::probe::probes_of;
use super::settings::{ENV, Settings};
use super::yaml::Node;
use crate::model::bot::{
    BotId, BotSpec, LogPolicy, MediaPolicy, Platform, ReadyPolicy, ReadyWhen, RestartPolicy, RestartWhen, StopPolicy,
    signal_number,
};
use crate::model::kernel::{GroupWhen, KernelPolicy, MemoryMax};
use crate::model::limits::ENVELOPE_BYTES_MAX;
use crate::model::probe::Check;
use crate::model::queue::{Durability, QueuePolicy};
use crate::model::units::{parse_duration, parse_size, show_duration, show_size};
use crate::model::usage::Measure;

/// The effective configuration of a bot: the first layer wins over the later ones, the built-in defaults
/// come last. Stored keys that this version does not know are ignored.
///
/// Errors with every fault of every value and of what values mean together.
pub fn bot_spec(id: &BotId, layers: &[&Settings]) -> Result<BotSpec, Faults> {
    assemble(id, layers).map_err(|complaints| {
        let faults = complaints.into_iter().map(|complaint| Fault::new(complaint.message));
        Faults(faults.collect())
    })
}

/// What can be read of settings that [`bot_spec`] refuses: a value that is at fault is as if nobody had written
/// it. Nothing is started by it, but it can be shown.
pub fn legible_spec(id: &BotId, layers: &[&Settings]) -> BotSpec {
    merge(id, layers).0
}

/// Whether somebody asked for what only sampling can see: a limit beside the built-in ones, or a log probe.
pub fn needs_sampling(spec: &BotSpec) -> bool {
    let built_in = merge(&spec.id, &[]).0.limits;
    let has_limit = Measure::ALL
        .into_iter()
        .any(|measure| spec.limits.of(measure).max != built_in.of(measure).max);
    has_limit || spec.probes.iter().any(|probe| matches!(probe.check, Check::Log(_)))
}

/// A fault of the merged settings.
pub(super) struct Complaint {
    /// The keys that it is about, the one to correct first.
    pub(super) keys: Vec<&'static str>,
    pub(super) message: String,
}

pub(super) fn assemble(id: &BotId, layers: &[&Settings]) -> Result<BotSpec, Vec<Complaint>> {
    match merge(id, layers) {
        (spec, complaints) if complaints.is_empty() => Ok(spec),
        (_, mut complaints) => {
            complaints
                .iter_mut()
                .for_each(|complaint| complaint.name_defaults(layers));
            Err(complaints)
        }
    }
}

/// What the defaults of all bots mean together, whatever a bot adds to them. That a bot needs something to run
/// is its own business.
pub(super) fn complaints_of_defaults(defaults: &Settings) -> Vec<Complaint> {
    let Ok(nobody) = "defaults".parse() else {
        return Vec::new();
    };
    let (_, mut complaints) = merge(&nobody, &[&Settings::new(), defaults]);
    complaints.retain(|complaint| !complaint.keys.contains(&"platform"));
    complaints
}

fn merge(id: &BotId, layers: &[&Settings]) -> (BotSpec, Vec<Complaint>) {
    let mut merged = Effective::new(layers);
    let command = merged.texts("command");
    let platform = merged.text("platform").and_then(|word| Platform::from_word(&word));
    let spec = BotSpec {
        id: id.clone(),
        platform: platform.unwrap_or(if command.is_empty() {
            Platform::Loopback
        } else {
            Platform::None
        }),
        cwd: merged.path("cwd"),
        env: merged.variables(),
        env_file: merged.path("env_file"),
        env_inherit: merged.texts("env_inherit"),
        token_env: merged.texts("token_env"),
        enabled: merged.flag("enabled"),
        restart: merged.restart(),
        stop: merged.stop(),
        ready: merged.ready(command.is_empty()),
        heartbeat_timeout: merged.duration("heartbeat_timeout"),
        kernel: merged.kernel(),
        limits: merged.limits(),
        probes: probes_of(merged.value("probes")),
        errors_pattern: merged.text("errors.pattern"),
        log: LogPolicy {
            max_size: merged.size("log.max_size"),
            keep: merged.integer("log.keep"),
        },
        queue: merged.queue(),
        accept_from: merged.texts("accept_from"),
        media: MediaPolicy {
            dir: merged.path("media.dir"),
            clean_on_start: merged.flag("media.clean_on_start"),
        },
        command,
    };
    merged.check(&spec, layers);
    (spec, merged.complaints)
}

impl Complaint {
    /// Says which of its keys do not stand in the bot's own settings: nobody would find them there.
    fn name_defaults(&mut self, layers: &[&Settings]) {
        let Some((own, lower)) = layers.split_first() else {
            return;
        };
        let is_default = |key: &&&str| own.get(key).is_none() && lower.iter().any(|layer| layer.get(key).is_some());
        let is_bots = self.keys.iter().any(|key| own.get(key).is_some());
        let keys: Vec<&str> = self.keys.iter().filter(is_default).copied().collect();
        match keys.as_slice() {
            [] => {}
            [key] if is_bots => self
                .message
                .push_str(&format!(" ({key} stands in defaults of multibot.yaml)")),
            _ => self.message.push_str(" (written in defaults of multibot.yaml)"),
        }
    }
}

/// All layers as one, each value read by its kind once more: a stored one may stem from an older version.
struct Effective {
    merged: Settings,
    complaints: Vec<Complaint>,
}

impl Effective {
    fn new(layers: &[&Settings]) -> Effective {
        let merged = layers
            .iter()
            .rev()
            .fold(Settings::new(), |below, layer| layer.over(&below));
        Effective {
            merged,
            complaints: Vec::new(),
        }
    }

    /// The canonical value of a key; None where there is none or it was refused.
    fn value(&mut self, name: &'static str) -> Option<Value> {
        let key = find(KEYS, name)?;
        let node = match (self.merged.get(name), key.default) {
            (Some(value), _) => Node::from_json(value),
            (None, Some(default)) => Node::scalar(default),
            (None, None) => return None,
        };
        let mut faults = Vec::new();
        let value = key.kind.read(name, &node, &mut faults);
        self.complaints.extend(faults.into_iter().map(|fault| Complaint {
            keys: vec![name],
            message: fault.message,
        }));
        value
    }

    fn text(&mut self, name: &'static str) -> Option<String> {
        match self.value(name)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    fn texts(&mut self, name: &'static str) -> Vec<String> {
        let Some(Value::Array(items)) = self.value(name) else {
            return Vec::new();
        };
        items
            .into_iter()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect()
    }

    fn variables(&mut self) -> BTreeMap<String, String> {
        variables(self.value(ENV))
    }

    fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(name)?);
        if path.is_relative() {
            self.complain(&[name], format!("{name}: {:?} is relative: write the full path", path));
        }
        Some(path)
    }

    fn flag(&mut self, name: &'static str) -> bool {
        self.value(name).and_then(|value| value.as_bool()).unwrap_or_default()
    }

    fn integer(&mut self, name: &'static str) -> u32 {
        self.integer_or_none(name).unwrap_or_default()
    }

    fn integer_or_none(&mut self, name: &'static str) -> Option<u32> {
        let number = self.value(name).and_then(|value| value.as_u64());
        number.and_then(|number| u32::try_from(number).ok())
    }

    fn number(&mut self, name: &'static str) -> Option<f64> {
        self.value(name).and_then(|value| value.as_f64())
    }

    fn duration(&mut self, name: &'static str) -> Duration {
        self.duration_or_none(name).unwrap_or_default()
    }

    /// None for the word that a key takes instead of a duration.
    fn duration_or_none(&mut self, name: &'static str) -> Option<Duration> {
        self.text(name).and_then(|text| parse_duration(&text).ok())
    }

    fn size(&mut self, name: &'static str) -> u64 {
        self.text(name)
            .and_then(|text| parse_size(&text).ok())
            .unwrap_or_default()
    }

    fn restart(&mut self) -> RestartPolicy {
        RestartPolicy {
            when: match self.text("restart.policy").as_deref() {
                Some("never") => RestartWhen::Never,
                Some("on-failure") => RestartWhen::OnFailure,
                _ => RestartWhen::Always,
            },
            delay: self.duration("restart.delay"),
            factor: self.number("restart.factor").unwrap_or(1.0),
            max_delay: self.duration("restart.max_delay"),
            max_restarts: self.integer("restart.max_restarts"),
            window: self.duration("restart.window"),
            reset_after: self.duration("restart.reset_after"),
            retry_failed: self.duration_or_none("restart.retry_failed"),
        }
    }

    fn queue(&mut self) -> QueuePolicy {
        let durability = self
            .text("queue.durability")
            .and_then(|word| Durability::from_word(&word));
        QueuePolicy {
            max_messages: u64::from(self.integer("queue.max_messages")),
            max_bytes: self.size("queue.max_bytes"),
            max_message: self.size("queue.max_message"),
            retry_delay: self.duration("queue.retry_delay"),
            max_retry_delay: self.duration("queue.max_retry_delay"),
            max_crashes: self.integer("queue.max_crashes"),
            dedup_window: self.duration("queue.dedup_window"),
            durability: durability.unwrap_or(Durability::Batch),
        }
    }

    fn stop(&mut self) -> StopPolicy {
        let signal = self.text("stop.signal").and_then(|text| signal_number(&text));
        StopPolicy {
            signal: signal.unwrap_or_default(),
            grace: self.duration("stop.grace"),
        }
    }

    fn ready(&mut self, is_built_in: bool) -> ReadyPolicy {
        ReadyPolicy {
            when: match self.text("ready.when").as_deref() {
                Some("alive") => ReadyWhen::Alive,
                Some("signal") => ReadyWhen::Signal,
                _ if is_built_in => ReadyWhen::Signal,
                _ => ReadyWhen::Alive,
            },
            timeout: self.duration("ready.timeout"),
            min_uptime: self.duration("ready.min_uptime"),
        }
    }

    fn kernel(&mut self) -> KernelPolicy {
        KernelPolicy {
            group: match self.text("kernel.group").as_deref() {
                Some("always") => GroupWhen::Always,
                _ => GroupWhen::Auto,
            },
            memory_max: match self.text("kernel.memory_max").as_deref() {
                Some("off") => MemoryMax::Off,
                Some("auto") | None => MemoryMax::Auto,
                Some(size) => parse_size(size).map_or(MemoryMax::Auto, MemoryMax::Bytes),
            },
            memory_high: self.text("kernel.memory_high").and_then(|text| parse_size(&text).ok()),
            cpu_max: self.number("kernel.cpu_max"),
            pids_max: self.integer_or_none("kernel.pids_max"),
            open_files: self.integer_or_none("kernel.open_files"),
            nice: self
                .value("nice")
                .and_then(|value| value.as_i64())
                .and_then(|number| i32::try_from(number).ok()),
            weight: self.integer_or_none("weight"),
        }
    }

    fn complain(&mut self, keys: &[&'static str], message: String) {
        self.complaints.push(Complaint {
            keys: keys.to_vec(),
            message,
        });
    }

    /// What no single key can show.
    fn check(&mut self, spec: &BotSpec, layers: &[&Settings]) {
        let delays = ["restart.max_delay", "restart.delay"];
        let is_sound = |known: &Effective, keys: &[&str]| {
            let mut faulty = known.complaints.iter().flat_map(|complaint| &complaint.keys);
            !faulty.any(|faulty| keys.contains(faulty))
        };
        if spec.restart.max_delay < spec.restart.delay && is_sound(self, &delays) {
            let message = format!(
                "restart.max_delay: {} is shorter than restart.delay, {}",
                show_duration(spec.restart.max_delay),
                show_duration(spec.restart.delay)
            );
            self.complain(&delays, message);
        }
        if spec.queue.max_message > ENVELOPE_BYTES_MAX as u64 {
            let message = format!(
                "queue.max_message: {} is more than an envelope may have: 256KiB at most; put large content into the media folder",
                show_size(spec.queue.max_message)
            );
            self.complain(&["queue.max_message"], message);
        }
        if spec.platform == Platform::None && spec.is_built_in() && is_sound(self, &["platform", "command"]) {
            let message = "platform: none runs nothing by itself; write a command, or another platform";
            self.complain(&["platform", "command"], message.to_owned());
        }
        if let (MemoryMax::Bytes(kill), Some(max)) = (spec.kernel.memory_max, spec.limits.memory.max)
            && (kill as f64) < max
        {
            let message = format!(
                "kernel.memory_max: {} is less than limits.memory.max, {}: the kernel would kill the bot before that \
                 limit is reached",
                show_size(kill),
                show_size(max as u64)
            );
            self.complain(&["kernel.memory_max", "limits.memory.max"], message);
        }
        self.check_limits(&spec.limits, layers);
    }
}

pub(super) fn variables(value: Option<Value>) -> BTreeMap<String, String> {
    let Some(Value::Object(map)) = value else {
        return BTreeMap::new();
    };
    map.into_iter()
        .filter_map(|(name, value)| value.as_str().map(|text| (name, text.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::usage::{HALTED_MAX, Limit, LimitAction, Limits, Warn};

    fn spec(layers: &[&str]) -> Result<BotSpec, String> {
        let layers: Vec<Settings> = layers.iter().map(|text| Settings::from_json(text).unwrap()).collect();
        let layers: Vec<&Settings> = layers.iter().collect();
        bot_spec(&"shop".parse().unwrap(), &layers).map_err(|faults| faults.to_string())
    }

    fn limit(max: Option<f64>, seconds: u64, action: LimitAction) -> Limit {
        Limit {
            max,
            warn: Warn::Share(0.8),
            lasting: Duration::from_secs(seconds),
            action,
        }
    }

    #[test]
    fn nothing_written_is_the_built_in_loopback_bot() {
        let seconds = Duration::from_secs;
        let expected = BotSpec {
            id: "shop".parse().unwrap(),
            platform: Platform::Loopback,
            command: Vec::new(),
            cwd: None,
            env: BTreeMap::new(),
            env_file: None,
            env_inherit: Vec::new(),
            token_env: Vec::new(),
            enabled: true,
            restart: RestartPolicy {
                when: RestartWhen::Always,
                delay: seconds(1),
                factor: 2.0,
                max_delay: seconds(60),
                max_restarts: 5,
                window: seconds(600),
                reset_after: seconds(60),
                retry_failed: Some(seconds(600)),
            },
            stop: StopPolicy {
                signal: 15,
                grace: seconds(10),
            },
            ready: ReadyPolicy {
                when: ReadyWhen::Signal,
                timeout: seconds(30),
                min_uptime: seconds(1),
            },
            heartbeat_timeout: seconds(60),
            kernel: KernelPolicy::default(),
            limits: Limits {
                memory: limit(None, 10, LimitAction::Restart),
                cpu: limit(None, 60, LimitAction::Alert),
                open_files: limit(None, 30, LimitAction::Alert),
                threads: limit(None, 30, LimitAction::Alert),
                processes: limit(None, 30, LimitAction::Alert),
                connections: limit(None, 30, LimitAction::Alert),
                output: limit(Some(5.0 * 1024.0 * 1024.0), 30, LimitAction::Alert),
                halted: Limit {
                    warn: Warn::At(HALTED_MAX),
                    ..limit(Some(HALTED_MAX), 30, LimitAction::Restart)
                },
            },
            probes: Vec::new(),
            errors_pattern: None,
            log: LogPolicy {
                max_size: 10 * 1024 * 1024,
                keep: 5,
            },
            queue: QueuePolicy::default(),
            accept_from: Vec::new(),
            media: MediaPolicy::default(),
        };
        assert_eq!(spec(&["{}"]), Ok(expected.clone()));
        assert_eq!(spec(&[]), Ok(expected));
    }

    #[test]
    fn every_key_reaches_its_field() {
        let own = r#"{"platform":"telegram","command":["a","b"],"cwd":"/c","env":{"A":"1"},"env_file":"/e",
            "env_inherit":["B"],"token_env":["C"],"enabled":false,"restart.policy":"on-failure","restart.delay":"2s",
            "restart.factor":1.5,"restart.max_delay":"3s","restart.max_restarts":7,"restart.window":"4s",
            "restart.reset_after":"5s","restart.retry_failed":"never","stop.signal":"INT","stop.grace":"6s",
            "ready.when":"signal","ready.timeout":"7s","ready.min_uptime":"8s","heartbeat_timeout":"9s",
            "kernel.group":"always","kernel.memory_max":"3MiB","kernel.memory_high":"2MiB",
            "kernel.cpu_max":70,"kernel.pids_max":17,"kernel.open_files":18,"nice":-5,"weight":19,
            "limits.memory.max":"2MiB","limits.memory.warn":"1500000","limits.memory.for":"11s","limits.memory.action":"stop",
            "limits.cpu.max":80,"limits.cpu.warn":"50%","limits.cpu.for":"12s","limits.cpu.action":"restart",
            "limits.open_files.max":101,"limits.open_files.warn":"51%","limits.open_files.for":"21s","limits.open_files.action":"restart",
            "limits.threads.max":102,"limits.threads.warn":"52%","limits.threads.for":"22s","limits.threads.action":"restart",
            "limits.processes.max":103,"limits.processes.warn":"53%","limits.processes.for":"23s","limits.processes.action":"stop",
            "limits.connections.max":104,"limits.connections.warn":54,"limits.connections.for":"24s","limits.connections.action":"stop",
            "limits.output.max":"2KiB","limits.output.warn":"55%","limits.output.for":"25s","limits.output.action":"restart",
            "limits.halted.for":"26s","limits.halted.action":"stop","log.max_size":"4KiB","log.keep":2,
            "queue.max_messages":5,"queue.max_bytes":"8KiB","queue.max_message":"1KiB","queue.retry_delay":"13s",
            "queue.max_retry_delay":"14s","queue.max_crashes":4,"queue.dedup_window":"15s","queue.durability":"each",
            "probes":{"api":{"tcp":"8080","period":"9s"}},"errors.pattern":"E[0-9]",
            "accept_from":["desk","*"],"media.dir":"/m","media.clean_on_start":true}"#;
        let written = Settings::from_json(own).unwrap();
        for key in KEYS {
            assert!(written.get(key.name).is_some(), "{} is not part of this test", key.name);
        }
        let spec = spec(&[own]).unwrap();
        let seconds = Duration::from_secs;
        assert_eq!(spec.platform, Platform::Telegram);
        assert_eq!((spec.command.join(" "), spec.cwd), ("a b".into(), Some("/c".into())));
        assert_eq!((spec.env["A"].as_str(), spec.env_file), ("1", Some("/e".into())));
        assert_eq!(
            (spec.env_inherit.concat(), spec.token_env.concat()),
            ("B".into(), "C".into())
        );
        assert!(!spec.enabled);
        let restart = RestartPolicy {
            when: RestartWhen::OnFailure,
            delay: seconds(2),
            factor: 1.5,
            max_delay: seconds(3),
            max_restarts: 7,
            window: seconds(4),
            reset_after: seconds(5),
            retry_failed: None,
        };
        assert_eq!(spec.restart, restart);
        assert_eq!((spec.stop.signal, spec.stop.grace), (2, seconds(6)));
        assert_eq!(spec.ready.when, ReadyWhen::Signal);
        assert_eq!((spec.ready.timeout, spec.ready.min_uptime), (seconds(7), seconds(8)));
        assert_eq!(spec.heartbeat_timeout, seconds(9));
        assert_eq!(
            (spec.probes[0].name.as_str(), spec.probes[0].period),
            ("api", seconds(9))
        );
        assert_eq!(spec.errors_pattern.as_deref(), Some("E[0-9]"));
        let with = |max, warn, lasting, action| Limit {
            warn,
            ..limit(Some(max), lasting, action)
        };
        let kernel = KernelPolicy {
            group: GroupWhen::Always,
            memory_max: MemoryMax::Bytes(3 << 20),
            memory_high: Some(2 << 20),
            cpu_max: Some(70.0),
            pids_max: Some(17),
            open_files: Some(18),
            nice: Some(-5),
            weight: Some(19),
        };
        assert_eq!(spec.kernel, kernel);
        let expected = Limits {
            memory: with(2_097_152.0, Warn::At(1_500_000.0), 11, LimitAction::Stop),
            cpu: with(80.0, Warn::Share(0.5), 12, LimitAction::Restart),
            open_files: with(101.0, Warn::Share(0.51), 21, LimitAction::Restart),
            threads: with(102.0, Warn::Share(0.52), 22, LimitAction::Restart),
            processes: with(103.0, Warn::Share(0.53), 23, LimitAction::Stop),
            connections: with(104.0, Warn::At(54.0), 24, LimitAction::Stop),
            output: with(2048.0, Warn::Share(0.55), 25, LimitAction::Restart),
            halted: with(HALTED_MAX, Warn::At(HALTED_MAX), 26, LimitAction::Stop),
        };
        assert_eq!(spec.limits, expected);
        assert_eq!((spec.log.max_size, spec.log.keep), (4096, 2));
        let queue = QueuePolicy {
            max_messages: 5,
            max_bytes: 8192,
            max_message: 1024,
            retry_delay: seconds(13),
            max_retry_delay: seconds(14),
            max_crashes: 4,
            dedup_window: seconds(15),
            durability: Durability::Each,
        };
        assert_eq!((spec.queue, spec.accept_from.concat()), (queue, "desk*".to_owned()));
        assert_eq!((spec.media.dir, spec.media.clean_on_start), (Some("/m".into()), true));
    }

    #[test]
    fn the_first_layer_wins_and_a_command_changes_what_is_usual() {
        let spec = spec(&[
            r#"{"command":["x"],"env":{"A":"1"},"limits.memory.max":"1MiB","from.newer":[1]}"#,
            r#"{"stop.grace":"3s","env":{"A":"0","B":"2"},"limits.memory.action":"stop","limits.cpu.for":"5s"}"#,
            r#"{"stop.grace":"4s","log.keep":9}"#,
        ])
        .unwrap();
        assert_eq!((spec.platform, spec.ready.when), (Platform::None, ReadyWhen::Alive));
        assert_eq!((spec.stop.grace.as_secs(), spec.log.keep), (3, 9));
        assert_eq!(
            spec.env,
            BTreeMap::from([("A".into(), "1".into()), ("B".into(), "2".into())])
        );
        let memory = &spec.limits.memory;
        assert_eq!((memory.action, memory.max), (LimitAction::Stop, Some(1_048_576.0)));
        assert_eq!(spec.limits.cpu.max, None);
    }

    #[test]
    fn what_keys_mean_together_is_checked() {
        for (own, said) in [
            (
                r#"{"restart.delay":"2m"}"#,
                "restart.max_delay: 1m is shorter than restart.delay, 2m",
            ),
            (
                r#"{"platform":"none"}"#,
                "platform: none runs nothing by itself; write a command, or another platform",
            ),
            (
                r#"{"limits.memory.for":"5s","limits.cpu.action":"stop"}"#,
                "limits.memory.for: there is no limit; write limits.memory.max too\n\
                 limits.cpu.action: there is no limit; write limits.cpu.max too",
            ),
            (
                r#"{"limits.output.warn":"6MiB","limits.threads.warn":"50%","limits.processes.warn":7,"limits.processes.for":"1s"}"#,
                "limits.threads.warn: there is no limit; write limits.threads.max too\n\
                 limits.output.warn: 6.0 MiB/s is more than limits.output.max, 5.0 MiB/s",
            ),
            (
                r#"{"kernel.memory_max":"100MiB","limits.memory.max":"200MiB"}"#,
                "kernel.memory_max: 100.0 MiB is less than limits.memory.max, 200.0 MiB: the kernel would kill the bot \
                 before that limit is reached",
            ),
            (
                r#"{"limits.memory.max":"200"}"#,
                "limits.memory.max: \"200\" is a number of bytes, less than 1.0 MiB: write a unit, such as 200MiB",
            ),
            (
                r#"{"queue.max_message":"1MiB"}"#,
                "queue.max_message: 1.0 MiB is more than an envelope may have: 256KiB at most; \
                 put large content into the media folder",
            ),
            (
                r#"{"accept_from":["Desk"]}"#,
                "accept_from: entry 1 is not the id of a bot, nor \"*\"",
            ),
            (r#"{"cwd":"work"}"#, "cwd: \"work\" is relative: write the full path"),
            (
                r#"{"restart.delay":"soon","log.keep":0,"env":{"BOT_ID":"s3cret"}}"#,
                "env: BOT_ID is set by multibot itself; choose another name\n\
                 restart.delay: \"soon\" is not a duration: write 500ms, 5s, 10m, 2h or 7d\n\
                 log.keep: \"0\" is not a whole number from 1 to 1000",
            ),
        ] {
            assert_eq!(spec(&[own]), Err(said.to_owned()), "{own}");
        }
    }
}
