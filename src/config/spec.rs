//! Layers settings over the built-in defaults, checks what single keys cannot show, and types the result.

mod limits;
mod policies;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::classes::signs_of;
use super::fault::{Fault, Faults};
use super::keys::{KEYS, find};
use super::probe::probes_of;
use super::settings::{ENV, Settings};
use super::yaml::Node;
use crate::model::blocking::BlockingPolicy;
use crate::model::bot::{BotId, BotSpec, LogPolicy, MediaPolicy, Platform};
use crate::model::judging::{JudgingPolicy, Mode};
use crate::model::kernel::MemoryMax;
use crate::model::limits::ENVELOPE_BYTES_MAX;
use crate::model::probe::Check;
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
        credentials_env: merged.credentials_env(),
        credentials_refresh: merged.credentials_refresh(),
        login: merged.login(),
        blocking: BlockingPolicy {
            max_failures: merged.integer("blocklist.max_failures"),
            duration: merged.duration("blocklist.duration"),
            kicked: merged.duration_or_none("blocklist.kicked"),
        },
        enabled: merged.flag("enabled"),
        restart: merged.restart(),
        stop: merged.stop(),
        ready: merged.ready(command.is_empty()),
        heartbeat_timeout: merged.duration("heartbeat_timeout"),
        kernel: merged.kernel(),
        limits: merged.limits(),
        probes: probes_of(merged.value("probes")),
        errors_pattern: merged.text("errors.pattern"),
        judging: JudgingPolicy {
            mode: match merged.text("judge").as_deref() {
                Some("off") => Mode::Off,
                _ => Mode::On,
            },
            own: signs_of(merged.value("errors.classes")),
        },
        telegram: merged.telegram(),
        log: LogPolicy {
            max_size: merged.size("log.max_size"),
            keep: merged.integer("log.keep"),
        },
        queue: merged.queue(),
        accept_from: merged.texts("accept_from"),
        whatsapp: merged.whatsapp(),
        chat: merged.chat(),
        media: MediaPolicy {
            max_file: merged.size("media.max_file"),
            quota: merged.size_or_none("media.quota"),
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

    /// None for the word that stands for no bound.
    fn size_or_none(&mut self, name: &'static str) -> Option<u64> {
        self.text(name).and_then(|text| parse_size(&text).ok())
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
        let is_only_judged = matches!(spec.platform, Platform::Discord | Platform::Whatsapp);
        if is_only_judged && spec.is_built_in() && is_sound(self, &["platform", "command"]) {
            let message = format!(
                "platform: {} has no built-in bot: write a command, or another platform",
                spec.platform.word()
            );
            self.complain(&["platform", "command"], message);
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
mod tests;
