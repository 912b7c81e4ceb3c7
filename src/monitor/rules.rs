//! Decides when a threshold has been passed for long enough. Pure.

use std::time::Duration;

use crate::model::bot::{Limit, LimitAction, Limits};
use crate::model::units::{Moment, show_duration, show_size};

/// One look at a bot's whole process tree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub memory_bytes: u64,
    /// Of one core: 250.0 is two and a half cores.
    pub cpu_percent: f64,
}

/// A threshold that was passed for its whole time.
#[derive(Clone, Debug, PartialEq)]
pub struct Passed {
    pub why: String,
    pub action: LimitAction,
}

/// What is remembered of one run between two samples.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    memory: Excess,
    cpu: Excess,
}

/// How long one threshold has been passed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Excess {
    #[default]
    Below,
    Since(Moment),
    /// Told once; told again only after it was below.
    Told,
}

impl Watch {
    /// Judges one sample. Each threshold is told once until the bot was below it again.
    pub fn judge(&mut self, limits: &Limits, sample: Sample, now: Moment) -> Vec<Passed> {
        let memory = limits.memory.as_ref().and_then(|limit| {
            let value = sample.memory_bytes as f64;
            let lasted = self.memory.note(limit, value, now)?;
            let (is, max) = (show_size(sample.memory_bytes), show_size(limit.max as u64));
            Some(passed(
                limit,
                format!("memory {is} over limits.memory.max {max}"),
                lasted,
            ))
        });
        let cpu = limits.cpu.as_ref().and_then(|limit| {
            let lasted = self.cpu.note(limit, sample.cpu_percent, now)?;
            let why = format!("cpu {:.0} % over limits.cpu.max {:.0} %", sample.cpu_percent, limit.max);
            Some(passed(limit, why, lasted))
        });
        memory.into_iter().chain(cpu).collect()
    }
}

fn passed(limit: &Limit, why: String, lasted: Duration) -> Passed {
    Passed {
        why: format!("{why} for {}", show_duration(Duration::from_secs(lasted.as_secs()))),
        action: limit.action,
    }
}

impl Excess {
    /// Says how long the limit has been passed, at the moment when that is first long enough.
    fn note(&mut self, limit: &Limit, value: f64, now: Moment) -> Option<Duration> {
        if value <= limit.max {
            *self = Excess::Below;
            return None;
        }
        if *self == Excess::Below {
            *self = Excess::Since(now);
        }
        match *self {
            Excess::Since(at) if now.since(at) >= limit.lasting => {
                *self = Excess::Told;
                Some(now.since(at))
            }
            Excess::Since(_) | Excess::Told | Excess::Below => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(max: f64, lasting_s: u64) -> Limits {
        let limit = Limit {
            max,
            lasting: Duration::from_secs(lasting_s),
            action: LimitAction::Restart,
        };
        Limits {
            memory: Some(limit),
            cpu: None,
        }
    }

    fn told(limits: &Limits, samples: &[(u64, u64)]) -> Vec<u64> {
        let mut watch = Watch::default();
        samples
            .iter()
            .filter(|(second, bytes)| {
                let sample = Sample {
                    memory_bytes: *bytes,
                    cpu_percent: 0.0,
                };
                !watch.judge(limits, sample, Moment(second * 1_000_000)).is_empty()
            })
            .map(|(second, _)| *second)
            .collect()
    }

    #[test]
    fn a_threshold_must_be_passed_without_a_break() {
        let limits = limits(100.0, 10);
        assert_eq!(told(&limits, &[(0, 101), (5, 101), (10, 101)]), [10]);
        assert_eq!(
            told(&limits, &[(0, 101), (5, 99), (10, 101), (15, 101)]),
            Vec::<u64>::new()
        );
        assert_eq!(told(&limits, &[(0, 100), (60, 100)]), Vec::<u64>::new());
    }

    #[test]
    fn it_is_told_once_until_it_was_below() {
        let limits = limits(100.0, 0);
        assert_eq!(told(&limits, &[(0, 101), (5, 102), (10, 50), (15, 101)]), [0, 15]);
    }

    #[test]
    fn the_words_name_value_limit_and_time() {
        let mut watch = Watch::default();
        let limits = Limits {
            memory: None,
            cpu: Some(Limit {
                max: 80.0,
                lasting: Duration::ZERO,
                action: LimitAction::Alert,
            }),
        };
        let sample = Sample {
            memory_bytes: 0,
            cpu_percent: 99.6,
        };
        let passed = watch.judge(&limits, sample, Moment(0));
        let why = "cpu 100 % over limits.cpu.max 80 % for 0s".to_owned();
        assert_eq!(
            passed,
            [Passed {
                why,
                action: LimitAction::Alert
            }]
        );
    }
}
