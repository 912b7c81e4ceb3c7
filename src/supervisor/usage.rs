//! What becomes of a pass of the sampler, and of room that has appeared in the home's budget.

use std::collections::BTreeSet;

use crate::model::bot::{BotId, LimitAction, RunId};
use crate::model::limits::LIMIT_ACTION_KEPT_MIN;
use crate::model::units::{Moment, Stamp};
use crate::model::usage::{Level, LevelChange, Measure, Sample, Standing};

use super::capacity::{Promise, has_place};
use super::event_loop::Supervisor;
use super::fleet::Member;
use super::host::{Host, UsageTarget};
use super::ledger;
use super::machine::{Bot, Event, Phase, Then};
use super::snapshot::{LimitStatus, Stage};

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
        self.remember_limit_action(bot, run, &why, action);
        let run = run.clone();
        self.apply(bot, Event::Unhealthy { run, why, then });
    }

    /// Shown until a later run is well: the run that is ended for it may be gone before anybody has looked.
    fn remember_limit_action(&mut self, bot: &BotId, run: &RunId, why: &str, action: LimitAction) {
        let at = self.host.stamp().unix_ms();
        if let Some(member) = self.fleet.get_mut(bot)
            && matches!(&member.bot.phase, Phase::Starting { .. } | Phase::Running { .. })
        {
            member.seen.limit_action = Some(ledger::ActedLimit {
                run_id: run.to_string(),
                why: why.to_owned(),
                action: action.word().to_owned(),
                at,
            });
        }
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
                    standings: member.seen.standings.clone(),
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

impl<P> Member<P> {
    /// When a run that came after a limit's action will have been well for long enough.
    pub(super) fn limit_action_until(&self) -> Option<Moment> {
        let acted = self.seen.limit_action.as_ref()?;
        match &self.bot.phase {
            Phase::Running { run, ready_at, .. } if run.as_str() != acted.run_id => {
                Some(*ready_at + self.policy.restart().reset_after.max(LIMIT_ACTION_KEPT_MIN))
            }
            _ => None,
        }
    }

    /// Forgets a limit's action that is over; says whether it was. A bot that was stopped is begun again by any
    /// later run, one that was restarted has to be well for a while.
    pub(super) fn forget_limit_action(&mut self, is_asked: bool, now: Moment) -> bool {
        let Some(acted) = &self.seen.limit_action else {
            return false;
        };
        let is_stopped = acted.action == LimitAction::Stop.word();
        let is_begun = self.bot.live_run().is_some_and(|run| run.as_str() != acted.run_id);
        let is_over = is_asked || (is_stopped && is_begun) || self.limit_action_until().is_some_and(|at| at <= now);
        if is_over {
            self.seen.limit_action = None;
        }
        is_over
    }
}

/// What the last snapshot says of one limit. `now` and `stamp` are the same moment on both clocks.
pub(super) fn standing_of(shown: &LimitStatus, now: Moment, stamp: Stamp) -> Option<Standing> {
    let since = |at: i64| {
        let lasted = stamp.since(Stamp::from_unix_ms(at)).as_micros();
        Moment(now.0.saturating_sub(u64::try_from(lasted).unwrap_or(u64::MAX)))
    };
    Some(Standing {
        measure: Measure::from_word(&shown.what)?,
        warn: shown.warn,
        max: shown.max,
        level: Level::from_word(&shown.level)?,
        since: shown.since.map(since),
        why: shown.why.clone(),
    })
}

/// Whether an operator says anew what a bot shall do: what was done to it before is past.
pub(super) fn is_asked_anew(event: &Event, before: &Bot) -> bool {
    match event {
        Event::WantDown(_) | Event::WantRestart(_) => true,
        // One that lives, or is being ended, goes on as it is.
        Event::WantUp => before.live_run().is_none(),
        _ => false,
    }
}
