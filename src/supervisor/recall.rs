//! From a bot to its ledger and back: what the next supervisor makes of what the last one has left and of
//! what became of the bot meanwhile. Pure.

use std::time::Duration;

use super::backoff::Failures;
use super::fleet::{Member, Speaks};
use super::host::{Found, Remnant};
use super::ledger::{self, Ledger, Live};
use super::machine::{Because, Bot, HOLD_RETRY, Phase, Policy, Rest, Stage, Then};
use crate::model::bot::{End, ReadyWhen, RunId, State, Wanted};
use crate::model::limits::STOP_MARGIN;
use crate::model::units::{Moment, Stamp};

impl<P> Member<P> {
    /// What the next supervisor must know of this bot.
    pub fn ledger(&self) -> Ledger {
        Ledger {
            restarts: self.bot.restarts,
            failures: self.bot.failures.count(),
            ended: self.counted.ended.as_ref().map(RunId::to_string),
            refused: self.counted.refused.as_ref().map(RunId::to_string),
            rest: rest_of(&self.bot.phase),
            live: self.live().filter(|live| *live != Live::of(&live.run_id)),
            limit_action: self.seen.limit_action.clone(),
        }
    }

    fn live(&self) -> Option<Live> {
        let run = self.bot.live_run()?;
        let speaks = self.seen.speaks;
        let mut live = Live {
            beats: self.seen.heartbeat_at.is_some(),
            uses_spool: speaks >= Speaks::Spool,
            said_ready: speaks == Speaks::Ready,
            suits: self.seen.suits.clone(),
            ..Live::of(run.as_str())
        };
        match &self.bot.phase {
            // One that is ready because it lives needs no note: its age will tell.
            Phase::Running { ready_at, .. } if self.policy.ready().when == ReadyWhen::Signal => {
                live.ready_at = Some(ready_at.0);
            }
            Phase::Starting { extended_to, .. } => live.extended_to = extended_to.map(|at| at.0),
            Phase::Stopping { because, stage, .. } => live.stop = Some(stop_of(because, *stage)),
            Phase::Running { .. }
            | Phase::Down(_)
            | Phase::Spawning { .. }
            | Phase::Waiting { .. }
            | Phase::GaveUp { .. }
            | Phase::Held { .. } => {}
        }
        Some(live)
    }
}

impl Live {
    /// A run that has shown nothing yet.
    fn of(run_id: &str) -> Live {
        Live {
            run_id: run_id.to_owned(),
            ..Live::default()
        }
    }

    pub(super) fn speaks(&self) -> Speaks {
        match (self.said_ready, self.uses_spool) {
            (true, _) => Speaks::Ready,
            (false, true) => Speaks::Spool,
            (false, false) => Speaks::Nothing,
        }
    }
}

fn rest_of(phase: &Phase) -> ledger::Rest {
    match phase {
        Phase::Waiting { until, why } => ledger::Rest::Waiting {
            until: until.0,
            why: why.clone(),
        },
        Phase::GaveUp { until, why } => ledger::Rest::GaveUp {
            until: until.map(|at| at.0),
            why: why.clone(),
        },
        Phase::Down(Rest::Finished(End::Code(code))) => ledger::Rest::Finished { code: *code },
        Phase::Down(_)
        | Phase::Spawning { .. }
        | Phase::Starting { .. }
        | Phase::Running { .. }
        | Phase::Stopping { .. }
        | Phase::Held { .. } => ledger::Rest::Wish,
    }
}

fn stop_of(because: &Because, stage: Stage) -> ledger::Stop {
    ledger::Stop {
        forced: !matches!(stage, Stage::Asked { .. }),
        until: match stage {
            Stage::Asked { until } => Some(until.0),
            Stage::Killed { .. } | Stage::Stuck => None,
        },
        unhealthy: match because {
            // What it was judged for is stored, and holds it again.
            Because::Asked | Because::Judged(_) => None,
            Because::Unhealthy { why, then } => Some(ledger::Unhealthy {
                why: why.clone(),
                give_up: *then == Then::GiveUp,
            }),
        },
    }
}

/// A bot as it is now, by what was left of it and by what became of it since. An end that is not counted
/// yet leaves it in the phase in which it came: the machine is told of it next.
pub(super) fn recall(policy: &Policy, wanted: Wanted, found: &Found, now: Moment, stamp: Stamp) -> Bot {
    let ledger = &found.ledger;
    let at_rest = || phase_at_rest(&ledger.rest);
    let phase = match &found.remnant {
        Remnant::Nothing => at_rest(),
        Remnant::Ended { .. } if found.is_counted() => at_rest(),
        Remnant::Ended { run, asked, .. } => ended_phase(policy, live_of(ledger, run), run, *asked, now),
        Remnant::Alive {
            run,
            started_at,
            ending,
            ..
        } => {
            let live = live_of(ledger, run);
            match ending {
                Some((end, asked)) => ending_phase(policy, live, run, end, *asked, now),
                None => live_phase(policy, live, run, found.was_running(), stamp.since(*started_at), now),
            }
        }
        Remnant::Unclear(hold) => Phase::Held {
            hold: hold.clone(),
            until: Some(now + HOLD_RETRY),
        },
    };
    Bot {
        wanted,
        phase,
        failures: Failures::of(&ledger.failures),
        restarts: ledger.restarts,
    }
}

impl Found {
    /// Whether the last supervisor has dealt with the end of this run already.
    pub fn is_counted(&self) -> bool {
        let Remnant::Ended { run, .. } = &self.remnant else {
            return false;
        };
        let is_this = |counted: &Option<String>| counted.as_deref() == Some(run.as_str());
        is_this(&self.ledger.ended) || is_this(&self.ledger.refused)
    }

    /// What the last snapshot says of the run that lives. A release that kept no ledger has left only that;
    /// it may be late, but never says too much.
    fn was_running(&self) -> bool {
        self.shown
            .as_ref()
            .is_some_and(|line| line.state == State::Running.word())
    }

    /// What the last supervisor knew of the run that was found.
    pub fn live(&self) -> Option<&Live> {
        match &self.remnant {
            Remnant::Alive { run, .. } | Remnant::Ended { run, .. } => live_of(&self.ledger, run),
            Remnant::Nothing | Remnant::Unclear(_) => None,
        }
    }
}

fn live_of<'a>(ledger: &'a Ledger, run: &RunId) -> Option<&'a Live> {
    ledger.live.as_ref().filter(|live| live.run_id == run.as_str())
}

fn phase_at_rest(rest: &ledger::Rest) -> Phase {
    match rest {
        ledger::Rest::Wish => Phase::Down(Rest::Never),
        ledger::Rest::Waiting { until, why } => Phase::Waiting {
            until: Moment(*until),
            why: why.clone(),
        },
        ledger::Rest::GaveUp { until, why } => Phase::GaveUp {
            until: until.map(Moment),
            why: why.clone(),
        },
        ledger::Rest::Finished { code } => Phase::Down(Rest::Finished(End::Code(*code))),
    }
}

/// A run that lives. Whatever was not heard while nobody listened does not count against it: its deadlines
/// begin anew. Only what it had reached before, or has reached by its age, is not asked of it again.
fn live_phase(
    policy: &Policy,
    live: Option<&Live>,
    run: &RunId,
    was_running: bool,
    age: Duration,
    now: Moment,
) -> Phase {
    if let Some(stop) = live.and_then(|live| live.stop.as_ref()) {
        return stopping_phase(policy, run, stop, now);
    }
    let run = run.clone();
    let heard_at = live.filter(|live| live.beats).map(|_| now);
    let is_grown = policy.ready().when == ReadyWhen::Alive && age >= policy.ready().min_uptime;
    let ready_at = live.and_then(|live| live.ready_at).map(Moment);
    match ready_at.or(was_running.then_some(now)) {
        Some(ready_at) => Phase::Running {
            run,
            ready_at,
            heard_at,
        },
        None if is_grown => Phase::Running {
            run,
            ready_at: Moment(
                now.0
                    .saturating_sub(micros(age.saturating_sub(policy.ready().min_uptime))),
            ),
            heard_at,
        },
        None => Phase::Starting {
            run,
            since: now,
            extended_to: live.and_then(|live| live.extended_to).map(Moment),
            heard_at,
        },
    }
}

fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}

fn stopping_phase(policy: &Policy, run: &RunId, stop: &ledger::Stop, now: Moment) -> Phase {
    let because = match &stop.unhealthy {
        None => Because::Asked,
        Some(unhealthy) => Because::Unhealthy {
            why: unhealthy.why.clone(),
            then: if unhealthy.give_up { Then::GiveUp } else { Then::Restart },
        },
    };
    let stage = if stop.forced {
        Stage::Killed {
            until: now + STOP_MARGIN,
        }
    } else {
        Stage::Asked {
            // The bot may have asked for more time than its grace.
            until: (now + policy.spec.stop.grace + STOP_MARGIN).max(Moment(stop.until.unwrap_or(0))),
        }
    };
    Phase::Stopping {
        run: run.clone(),
        because,
        stage,
    }
}

/// The phase in which an end came that nobody has counted yet.
fn ended_phase(policy: &Policy, live: Option<&Live>, run: &RunId, asked: bool, now: Moment) -> Phase {
    match live.and_then(|live| live.stop.as_ref()) {
        Some(stop) => stopping_phase(policy, run, stop, now),
        None if asked => stopping_phase(policy, run, &ASKED, now),
        None => Phase::Running {
            run: run.clone(),
            ready_at: now,
            heard_at: None,
        },
    }
}

const ASKED: ledger::Stop = ledger::Stop {
    forced: false,
    until: None,
    unhealthy: None,
};

/// The bot's process has ended, and its shim still hunts what that left behind.
fn ending_phase(policy: &Policy, live: Option<&Live>, run: &RunId, end: &End, asked: bool, now: Moment) -> Phase {
    let known = live.and_then(|live| live.stop.as_ref());
    let unhealthy = (!asked).then(|| ledger::Unhealthy {
        why: end.to_string(),
        give_up: false,
    });
    let stop = ledger::Stop {
        forced: true,
        until: None,
        unhealthy: known.map_or(unhealthy, |stop| stop.unhealthy.clone()),
    };
    stopping_phase(policy, run, &stop, now)
}
