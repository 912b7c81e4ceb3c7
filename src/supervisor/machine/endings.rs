//! What follows the end of a run: rest, another run, a wait, or giving up.
#![deny(clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use super::super::backoff::Verdict;
use super::{Because, Phase, Rest, Then, Turn};
use crate::model::bot::{End, RestartWhen, RunId, Wanted};
use crate::model::units::show_duration;

impl Turn<'_> {
    pub(super) fn exited(&mut self, run: &RunId, end: End) {
        if !self.is_live(run) {
            return;
        }
        if self.bot.wanted == Wanted::Down {
            self.bot.phase = Phase::Down(Rest::Asked);
            return;
        }
        match &self.bot.phase {
            Phase::Stopping {
                because: Because::Asked,
                ..
            } => self.start_fresh(),
            // Held now, or started anew where an operator has let it go meanwhile.
            Phase::Stopping {
                because: Because::Judged(_),
                ..
            } => self.start_fresh(),
            Phase::Stopping {
                because: Because::Unhealthy { why, then },
                ..
            } => {
                let why = why.clone();
                match (then, self.policy.restart().when) {
                    (Then::GiveUp, _) => self.bot.phase = Phase::GaveUp { until: None, why },
                    (Then::Restart, RestartWhen::Never) => self.give_up_for_good(why),
                    (Then::Restart, RestartWhen::Always | RestartWhen::OnFailure) => self.fail(why),
                }
            }
            Phase::Spawning { .. } | Phase::Starting { .. } | Phase::Running { .. } => self.ended_unasked(end),
            Phase::Down(_) | Phase::Waiting { .. } | Phase::GaveUp { .. } | Phase::Held { .. } => {}
        }
    }

    pub(super) fn ended_unasked(&mut self, end: End) {
        // With its end it was judged: that is no failure like others, and no restart mends it.
        if self.policy.judged.is_some() {
            return self.start_fresh();
        }
        match self.policy.restart().when {
            RestartWhen::Always => self.fail(end.to_string()),
            RestartWhen::OnFailure | RestartWhen::Never if end.is_success() => {
                self.bot.phase = Phase::Down(Rest::Finished(end));
            }
            RestartWhen::OnFailure => self.fail(end.to_string()),
            RestartWhen::Never => {
                self.bot.phase = Phase::GaveUp {
                    until: None,
                    why: format!("{end}; restart.policy is never"),
                };
            }
        }
    }

    pub(super) fn fail(&mut self, why: String) {
        let now = self.tick.now;
        if let Some(least) = self.tick.outage {
            let length = self
                .bot
                .failures
                .bear(self.policy.restart(), &self.policy.spec.id, least);
            let until = now + length;
            let why = format!("{why}; most bots fail together");
            self.bot.phase = Phase::Waiting { until, why };
            return;
        }
        match self.bot.failures.note(self.policy.restart(), &self.policy.spec.id, now) {
            Verdict::RestartAfter(Duration::ZERO) => self.respawn(),
            Verdict::RestartAfter(length) => {
                self.bot.phase = Phase::Waiting {
                    until: now + length,
                    why,
                }
            }
            Verdict::GiveUp => {
                let window = show_duration(self.policy.restart().window);
                let count = self.bot.failures.recent();
                let why = if count > 1 {
                    format!("{why}; {count} failures in {window}")
                } else {
                    why
                };
                self.give_up(why);
            }
        }
    }

    pub(super) fn give_up(&mut self, why: String) {
        let until = self.policy.restart().retry_failed.map(|length| self.tick.now + length);
        self.bot.phase = Phase::GaveUp { until, why };
    }

    pub(super) fn give_up_for_good(&mut self, why: String) {
        self.bot.phase = Phase::GaveUp {
            until: None,
            why: format!("{why}; restart.policy is never"),
        };
    }
}
