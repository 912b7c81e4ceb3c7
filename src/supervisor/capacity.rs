//! Whether a run may start beside those that live: the home's budget, what each bot is promised of it, and
//! what is left. Pure.
//!
//! A bot is promised its `limits.memory.max` and `limits.cpu.max`, and nothing where it has none. The promise
//! holds while a run lives and while a failure is waited out, so that a bot that crashed does not lose its
//! place to one that waits for room.

use super::machine::{Bot, Phase};
use super::snapshot;
use crate::model::bot::BotSpec;
use crate::model::units::show_size;

/// What all bots together may be promised; None: no bound.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Budget {
    pub memory_bytes: Option<u64>,
    /// Of one core.
    pub cpu_percent: Option<f64>,
    /// Bots that run at once.
    pub max_bots: Option<u32>,
}

/// What is promised, to one bot or to all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Promise {
    pub memory_bytes: u64,
    pub cpu_percent: f64,
    pub bots: u32,
}

impl Promise {
    /// What a bot is promised while it has a place.
    pub fn of(spec: &BotSpec) -> Promise {
        Promise {
            memory_bytes: spec.limits.memory.max.unwrap_or_default() as u64,
            cpu_percent: spec.limits.cpu.max.unwrap_or_default(),
            bots: 1,
        }
    }

    pub fn and(self, other: Promise) -> Promise {
        Promise {
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            cpu_percent: self.cpu_percent + other.cpu_percent,
            bots: self.bots + other.bots,
        }
    }
}

/// Whether this bot has its place already.
pub fn has_place(bot: &Bot) -> bool {
    match &bot.phase {
        Phase::Spawning { .. }
        | Phase::Starting { .. }
        | Phase::Running { .. }
        | Phase::Stopping { .. }
        | Phase::Waiting { .. } => true,
        Phase::Down(_) | Phase::GaveUp { .. } | Phase::Held { .. } => false,
    }
}

impl Budget {
    pub fn is_bounded(&self) -> bool {
        *self != Budget::default()
    }

    /// Whether a bot that needs so much fits beside what is promised. The error is why not, in one line.
    pub fn fits(&self, promised: Promise, need: Promise) -> Result<(), String> {
        if let Some(budget) = self.max_bots
            && promised.bots + need.bots > budget
        {
            return Err(format!(
                "no capacity: {} of {budget} bots run (max_bots)",
                promised.bots
            ));
        }
        if let Some(budget) = self.memory_bytes.filter(|_| need.memory_bytes > 0) {
            let free = budget.saturating_sub(promised.memory_bytes);
            refuse(
                "memory",
                need.memory_bytes > free,
                need.memory_bytes > budget,
                [need.memory_bytes, free, budget].map(show_size),
            )?;
        }
        if let Some(budget) = self.cpu_percent.filter(|_| need.cpu_percent > 0.0) {
            let free = (budget - promised.cpu_percent).max(0.0);
            refuse(
                "cpu",
                need.cpu_percent > free,
                need.cpu_percent > budget,
                [need.cpu_percent, free, budget].map(|percent| format!("{percent:.0} %")),
            )?;
        }
        Ok(())
    }

    /// As the snapshot shows it; None without a budget.
    pub fn shown(&self, promised: Promise) -> Option<snapshot::Capacity> {
        self.is_bounded().then_some(snapshot::Capacity {
            memory_bytes: self.memory_bytes,
            memory_reserved_bytes: promised.memory_bytes,
            cpu_percent: self.cpu_percent,
            cpu_reserved_percent: promised.cpu_percent,
            max_bots: self.max_bots,
            live_bots: promised.bots,
        })
    }
}

fn refuse(what: &str, is_short: bool, is_hopeless: bool, [need, free, budget]: [String; 3]) -> Result<(), String> {
    if is_hopeless {
        Err(format!(
            "no capacity: needs {need} of {what}, budget.{what} is {budget}: it can never fit; lower limits.{what}.max"
        ))
    } else if is_short {
        Err(format!(
            "no capacity: needs {need} of {what}, {free} of {budget} are free"
        ))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bot::{RunId, Wanted};
    use crate::model::units::Moment;
    use crate::supervisor::machine::{Because, Hold, Rest, Stage};

    const MIB: u64 = 1 << 20;

    fn promise(memory_mib: u64, cpu_percent: f64, bots: u32) -> Promise {
        Promise {
            memory_bytes: memory_mib * MIB,
            cpu_percent,
            bots,
        }
    }

    #[test]
    fn a_bot_fits_or_is_told_what_is_missing() {
        let budget = Budget {
            memory_bytes: Some(1024 * MIB),
            cpu_percent: Some(400.0),
            max_bots: Some(5),
        };
        let none = promise(0, 0.0, 0);
        for (promised, need, why) in [
            (none, promise(1024, 400.0, 1), None),
            (promise(724, 100.0, 4), promise(300, 300.0, 1), None),
            (
                promise(904, 0.0, 4),
                promise(300, 0.0, 1),
                Some("no capacity: needs 300.0 MiB of memory, 120.0 MiB of 1.0 GiB are free"),
            ),
            (
                promise(0, 350.0, 4),
                promise(0, 150.0, 1),
                Some("no capacity: needs 150 % of cpu, 50 % of 400 % are free"),
            ),
            (
                promise(0, 0.0, 5),
                promise(0, 0.0, 1),
                Some("no capacity: 5 of 5 bots run (max_bots)"),
            ),
            (
                none,
                promise(2048, 0.0, 1),
                Some(
                    "no capacity: needs 2.0 GiB of memory, budget.memory is 1.0 GiB: it can never fit; \
                     lower limits.memory.max",
                ),
            ),
            // More is promised than there is, as after a budget was lowered: what needs nothing fits.
            (promise(4000, 900.0, 2), promise(0, 0.0, 1), None),
            (
                promise(4000, 0.0, 2),
                promise(1, 0.0, 1),
                Some("no capacity: needs 1.0 MiB of memory, 0 B of 1.0 GiB are free"),
            ),
        ] {
            assert_eq!(
                budget.fits(promised, need).err().as_deref(),
                why,
                "{promised:?} {need:?}"
            );
        }
        let unbounded = Budget::default();
        assert_eq!(
            unbounded.fits(promise(1 << 40, 1e9, 9999), promise(1 << 40, 1e9, 1)),
            Ok(())
        );
        assert_eq!(unbounded.shown(none), None);
    }

    #[test]
    fn a_place_is_kept_while_a_run_lives_or_a_failure_is_waited_out() {
        let run = RunId::parse(&"0".repeat(26)).unwrap();
        let (now, why) = (Moment(0), String::new);
        for (phase, has) in [
            (Phase::Down(Rest::Never), false),
            (Phase::Spawning { run: run.clone() }, true),
            (
                Phase::Stopping {
                    run,
                    because: Because::Asked,
                    stage: Stage::Stuck,
                },
                true,
            ),
            (Phase::Waiting { until: now, why: why() }, true),
            (
                Phase::GaveUp {
                    until: None,
                    why: why(),
                },
                false,
            ),
            (
                Phase::Held {
                    hold: Hold::NoCapacity(why()),
                    until: None,
                },
                false,
            ),
        ] {
            let bot = Bot {
                phase,
                ..Bot::new(Wanted::Up)
            };
            assert_eq!(has_place(&bot), has, "{:?}", bot.phase);
        }
    }
}
