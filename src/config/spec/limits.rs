//! The thresholds of a bot, from their keys, and what is wrong with them together.

use serde_json::Value;

use super::{Effective, KEYS, Settings, find};
use crate::model::units::parse_size;
use crate::model::usage::{HALTED_MAX, Limit, LimitAction, Limits, Measure, Warn};

/// The table's own name of one key of a measure; None where it has no such key.
fn name(measure: Measure, part: &str) -> Option<&'static str> {
    find(KEYS, &format!("limits.{}.{part}", measure.word())).map(|key| key.name)
}

impl Effective {
    pub(super) fn limits(&mut self) -> Limits {
        Limits {
            memory: self.limit(Measure::Memory),
            cpu: self.limit(Measure::Cpu),
            open_files: self.limit(Measure::OpenFiles),
            threads: self.limit(Measure::Threads),
            processes: self.limit(Measure::Processes),
            connections: self.limit(Measure::Connections),
            output: self.limit(Measure::Output),
            halted: Limit {
                max: Some(HALTED_MAX),
                warn: Warn::At(HALTED_MAX),
                ..self.limit(Measure::Halted)
            },
        }
    }

    fn limit(&mut self, measure: Measure) -> Limit {
        let mut value = |part| name(measure, part).and_then(|name| self.value(name));
        let max = value("max").as_ref().and_then(quantity);
        let warn = match value("warn") {
            Some(Value::String(text)) if text.ends_with('%') => {
                Some(Warn::Share(text.trim_end_matches('%').parse().unwrap_or(100.0) / 100.0))
            }
            other => other.as_ref().and_then(quantity).map(Warn::At),
        };
        Limit {
            max,
            warn: warn.unwrap_or(Limit::default().warn),
            lasting: name(measure, "for").map(|name| self.duration(name)).unwrap_or_default(),
            action: name(measure, "action")
                .map(|name| self.action(name))
                .unwrap_or_default(),
        }
    }

    fn action(&mut self, name: &'static str) -> LimitAction {
        match self.text(name).as_deref() {
            Some("restart") => LimitAction::Restart,
            Some("stop") => LimitAction::Stop,
            _ => LimitAction::Alert,
        }
    }

    pub(super) fn check_limits(&mut self, limits: &Limits, layers: &[&Settings]) {
        // In the lower layers they are defaults for those bots that do set a limit.
        let written = |key: &str| layers.first().is_some_and(|own| own.get(key).is_some());
        for measure in Measure::ALL {
            let limit = limits.of(measure);
            let (Some(max), Some(warn)) = (name(measure, "max"), name(measure, "warn")) else {
                continue;
            };
            if let (Warn::At(at), Some(bound)) = (limit.warn, limit.max)
                && at > bound
            {
                let (at, bound) = (measure.show(at), measure.show(bound));
                self.complain(&[warn, max], format!("{warn}: {at} is more than {max}, {bound}"));
            }
            if limit.max.is_some() {
                continue;
            }
            // A level in its own unit holds without a max, and is judged by the same length of time.
            let needless = match limit.warn {
                Warn::At(_) => &["action"][..],
                Warn::Share(_) => &["for", "warn", "action"],
            };
            for key in needless.iter().filter_map(|part| name(measure, part)) {
                if written(key) {
                    self.complain(&[key, max], format!("{key}: there is no limit; write {max} too"));
                }
            }
        }
    }
}

/// A canonical number, or a size in bytes.
fn quantity(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => parse_size(text).ok().map(|bytes| bytes as f64),
        other => other.as_f64(),
    }
}
