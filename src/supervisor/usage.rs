//! What becomes of a pass of the sampler, and of room that has appeared in the home's budget.

use std::collections::BTreeSet;

use crate::model::bot::{BotId, LimitAction, RunId};
use crate::model::usage::{Level, LevelChange, Sample};

use super::capacity::{Promise, has_place};
use super::event_loop::Supervisor;
use super::host::{Host, UsageTarget};
use super::machine::{Event, Phase, Then};
use super::snapshot::Stage;

impl<H: Host> Supervisor<H> {
    /// One pass of the sampler, with all that it found.
    pub(super) fn sampled(&mut self, samples: Vec<Sample>) {
        for sample in samples {
            let Sample {
                bot,
                run,
                usage,
                standings,
                changes,
            } = sample;
            let live = self.fleet.get_mut(&bot).filter(|it| it.bot.live_run() == Some(&run));
            let Some(member) = live else { continue };
            member.seen.usage = Some(usage);
            member.seen.standings = standings;
            let is_ending = matches!(member.bot.phase, Phase::Stopping { .. });
            // What is being stopped already is judged no more, and the next supervisor finds the rest as well.
            if is_ending || self.stage == Stage::Leaving {
                continue;
            }
            for change in changes {
                self.level_changed(&bot, &run, change);
            }
        }
        self.record_sampled();
        self.touch();
        self.look_after_at_times();
    }

    /// A limit has a level that it had not before: told, and acted upon where it is the max.
    fn level_changed(&mut self, bot: &BotId, run: &RunId, change: LevelChange) {
        let LevelChange { from, to, why, .. } = change;
        if to < from {
            self.fact(bot, Some(run.clone()), "limit_recovered", &why);
            self.host.log(&format!("{bot}: {why}"));
            return;
        }
        if to == Level::Warn {
            self.fact(bot, Some(run.clone()), "limit_warning", &why);
            self.host.warn(&format!("{bot}: {why}"));
            return;
        }
        let action = change.action;
        let told = format!("{why}; action {}", action.word());
        self.fact(bot, Some(run.clone()), "limit", &told);
        self.host.warn(&format!("{bot}: {told}"));
        self.host.audit(&format!("limit {}", action.word()), bot, &why);
        let then = match action {
            LimitAction::Alert => return,
            LimitAction::Restart => Then::Restart,
            LimitAction::Stop => Then::GiveUp,
        };
        let run = run.clone();
        self.apply(bot, Event::Unhealthy { run, why, then });
    }

    pub(super) fn usage_targets(&self) -> Vec<UsageTarget> {
        self.fleet
            .members()
            .filter_map(|(bot, member)| {
                let (run, pid) = (member.bot.live_run()?, member.seen.pid?);
                Some(UsageTarget {
                    bot: bot.clone(),
                    run: run.clone(),
                    pid,
                    limits: member.policy.spec.limits.clone(),
                })
            })
            .collect()
    }

    /// What the bots that have their place are promised together.
    pub(super) fn promised(&self) -> Promise {
        let placed = self.fleet.members().filter(|(_, member)| has_place(&member.bot));
        placed.fold(Promise::default(), |sum, (_, member)| {
            sum.and(Promise::of(&member.policy.spec))
        })
    }

    /// Whether a run of this bot may start now: the one place that is asked. The error is why not.
    pub(super) fn room_for(&self, bot: &BotId) -> Result<(), String> {
        match self.fleet.get(bot) {
            Some(member) if self.budget.is_bounded() && !has_place(&member.bot) => {
                self.budget.fits(self.promised(), Promise::of(&member.policy.spec))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Starts what fits of the bots that wait for room, in the order in which they were created; the others
    /// say anew what is missing.
    pub(super) fn admit(&mut self) {
        if !std::mem::take(&mut self.room_changed) || self.stage != Stage::Running {
            return;
        }
        let waiting = self.fleet.members().filter(|(_, member)| member.bot.is_without_room());
        let waiting: BTreeSet<(u32, BotId)> = waiting.map(|(bot, member)| (member.index, bot.clone())).collect();
        for (_, bot) in waiting {
            self.apply(&bot, Event::Room);
        }
        self.room_changed = false;
    }
}
