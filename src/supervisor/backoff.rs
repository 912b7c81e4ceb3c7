//! Decides when a bot that failed is tried again. Pure: no clock, no randomness.
//!
//! Invariant: the same bot at the same failure gets the same delay, so that a restart is explained
//! by its numbers; the jitter comes from the bot's name and keeps many bots from rising together.

use std::time::Duration;

use super::ledger::FailureCount;
use crate::model::bot::{BotId, RestartPolicy};
use crate::model::units::Moment;

/// How a bot's recent failures are remembered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Failures {
    /// Failures within the policy's window, oldest first.
    recent: Vec<Moment>,
    /// Failures since the bot was last healthy for `reset_after`.
    streak: u32,
    standing: Standing,
}

/// Whether one more failure is judged by the window or ends the matter at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Trusted,
    /// Tried again after it had been given up; the next failure gives it up again.
    Probation,
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    RestartAfter(Duration),
    GiveUp,
}

impl Failures {
    /// Failures since the bot was last healthy.
    pub fn streak(&self) -> u32 {
        self.streak
    }

    /// Failures that the window still holds.
    pub fn recent(&self) -> usize {
        self.recent.len()
    }

    /// What must outlive the supervisor.
    pub fn count(&self) -> FailureCount {
        FailureCount {
            recent: self.recent.iter().map(|at| at.0).collect(),
            streak: self.streak,
            on_probation: self.standing == Standing::Probation,
        }
    }

    /// As an earlier supervisor counted them.
    pub fn of(count: &FailureCount) -> Failures {
        Failures {
            recent: count.recent.iter().copied().map(Moment).collect(),
            streak: count.streak,
            standing: if count.on_probation {
                Standing::Probation
            } else {
                Standing::Trusted
            },
        }
    }

    /// Notes a failure at `now` and says what follows.
    pub fn note(&mut self, policy: &RestartPolicy, bot: &BotId, now: Moment) -> Verdict {
        self.recent.retain(|at| now.since(*at) < policy.window);
        self.recent.push(now);
        self.streak = self.streak.saturating_add(1);
        if self.standing == Standing::Probation || self.recent.len() > policy.max_restarts as usize {
            // What led here is told by the verdict; the list stays bounded however long it goes on.
            self.recent.truncate(policy.max_restarts as usize + 1);
            return Verdict::GiveUp;
        }
        Verdict::RestartAfter(delay(policy, bot, self.streak))
    }

    /// How long a bot waits that failed while most bots do: its failure is not its own and does not count. At least
    /// `least`, and up to half as long again, so that they do not all return to a platform at one moment.
    pub fn bear(&self, policy: &RestartPolicy, bot: &BotId, least: Duration) -> Duration {
        let spread = least.mul_f64(1.0 + 0.5 * fraction(bot, self.streak));
        spread.max(delay(policy, bot, self.streak))
    }

    /// The bot was healthy for `reset_after`.
    pub fn forgive(&mut self) {
        if self.standing == Standing::Probation {
            self.recent.clear();
        }
        self.streak = 0;
        self.standing = Standing::Trusted;
    }

    /// A bot that was given up is tried once more.
    pub fn put_on_probation(&mut self) {
        self.standing = Standing::Probation;
    }
}

/// The delay before the restart that follows failure number `streak` (from 1).
///
/// A factor of 1 asks for a fixed delay and gets exactly that, from the first failure on. Otherwise
/// the first restart comes at once and the later ones grow, spread by up to a fifth either way.
fn delay(policy: &RestartPolicy, bot: &BotId, streak: u32) -> Duration {
    if policy.factor <= 1.0 {
        return policy.delay;
    }
    if streak <= 1 {
        return Duration::ZERO;
    }
    let exponent = i32::try_from(streak - 2).unwrap_or(i32::MAX).min(1000);
    let longest_s = policy.max_delay.as_secs_f64();
    let grown_s = (policy.delay.as_secs_f64() * policy.factor.powi(exponent)).min(longest_s);
    let spread_s = grown_s * (0.8 + 0.4 * fraction(bot, streak));
    Duration::from_secs_f64(spread_s.min(longest_s))
}

/// A number in 0..1 that depends on the bot and the attempt alone (FNV-1a).
fn fraction(bot: &BotId, attempt: u32) -> f64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in bot.as_str().bytes().chain(attempt.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    // The low bits of FNV mix best after folding the high ones in.
    let mixed = (hash ^ (hash >> 32)) & 0xffff_ffff;
    mixed as f64 / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bot::RestartWhen;

    fn policy() -> RestartPolicy {
        RestartPolicy {
            when: RestartWhen::Always,
            delay: Duration::from_secs(1),
            factor: 2.0,
            max_delay: Duration::from_secs(60),
            max_restarts: 5,
            window: Duration::from_secs(600),
            reset_after: Duration::from_secs(60),
            retry_failed: Some(Duration::from_secs(600)),
        }
    }

    fn at(s: u64) -> Moment {
        Moment(s * 1_000_000)
    }

    fn bot() -> BotId {
        "shop".parse().unwrap()
    }

    #[test]
    fn the_first_restart_is_at_once_and_the_next_ones_grow_to_the_cap() {
        let policy = RestartPolicy {
            max_restarts: 100,
            ..policy()
        };
        let mut failures = Failures::default();
        let mut delays_s = Vec::new();
        for second in 0..12 {
            match failures.note(&policy, &bot(), at(second)) {
                Verdict::RestartAfter(length) => delays_s.push(length.as_secs_f64()),
                Verdict::GiveUp => panic!("gave up early"),
            }
        }
        assert_eq!(delays_s[0], 0.0);
        for (step, seconds) in delays_s[1..].iter().enumerate() {
            let middle = 2f64.powi(i32::try_from(step).unwrap()).min(60.0);
            assert!(
                *seconds >= middle * 0.8 && *seconds <= (middle * 1.2).min(60.0),
                "{step}: {seconds}"
            );
        }
    }

    #[test]
    fn five_failures_in_the_window_are_borne_and_the_sixth_is_not() {
        let mut failures = Failures::default();
        for second in 0..5 {
            assert!(matches!(
                failures.note(&policy(), &bot(), at(second)),
                Verdict::RestartAfter(_)
            ));
        }
        assert_eq!(failures.note(&policy(), &bot(), at(5)), Verdict::GiveUp);
    }

    #[test]
    fn failures_older_than_the_window_do_not_count() {
        let mut failures = Failures::default();
        for round in 0..50 {
            assert!(
                matches!(
                    failures.note(&policy(), &bot(), at(round * 130)),
                    Verdict::RestartAfter(_)
                ),
                "{round}"
            );
        }
    }

    #[test]
    fn a_factor_of_one_is_a_fixed_delay() {
        let fixed = RestartPolicy {
            delay: Duration::from_secs(5),
            factor: 1.0,
            ..policy()
        };
        let mut failures = Failures::default();
        for second in 0..5 {
            let verdict = failures.note(&fixed, &bot(), at(second));
            assert_eq!(verdict, Verdict::RestartAfter(Duration::from_secs(5)));
        }
    }

    #[test]
    fn probation_ends_with_the_next_failure_or_with_health() {
        let mut failures = Failures::default();
        failures.put_on_probation();
        assert_eq!(failures.note(&policy(), &bot(), at(10_000)), Verdict::GiveUp);
        failures.forgive();
        assert_eq!(failures.streak(), 0);
        assert!(matches!(
            failures.note(&policy(), &bot(), at(10_001)),
            Verdict::RestartAfter(_)
        ));
    }

    #[test]
    fn a_failure_that_most_share_is_not_counted_and_waits_longer() {
        let mut failures = Failures::default();
        for _ in 0..4 {
            failures.note(&policy(), &bot(), at(1));
        }
        let before = failures.clone();
        let least = Duration::from_secs(30);
        for name in ["shop", "desk", "news"] {
            let wait = failures.bear(&policy(), &name.parse().unwrap(), least);
            assert!(wait >= least && wait <= Duration::from_secs(45), "{wait:?}");
        }
        // Its own delay may be longer still.
        let mut slow = policy();
        (slow.delay, slow.factor) = (Duration::from_secs(300), 1.0);
        assert_eq!(failures.bear(&slow, &bot(), least), Duration::from_secs(300));
        assert_eq!(failures, before);
    }

    #[test]
    fn bots_do_not_rise_together() {
        let mut delays: Vec<Duration> = (0..100)
            .map(|n| delay(&policy(), &format!("bot-{n}").parse().unwrap(), 6))
            .collect();
        delays.sort();
        delays.dedup();
        assert!(delays.len() > 90, "only {} different delays", delays.len());
    }
}
