//! Decides what one bot does next. Pure: no clock, no process, no store.
//!
//! ```text
//!                 WantUp                 Spawned            ready
//!        Down ─────────────▶ Spawning ─────────▶ Starting ────────▶ Running
//!         ▲  ▲                  ▲  │                 │                 │
//!         │  │          deadline│  │spawn failed     │ ended, unhealthy│
//!         │  │                  │  ▼                 ▼                 │
//!         │  └── WantDown ── Waiting ◀── failure ── Stopping ◀─────────┤
//!         │                  GaveUp ◀── too many ──────┘               │
//!         │                  Held   ◀── a reason that waiting cannot mend
//!         └────────────────── Stopping ◀────────── WantDown ───────────┘
//! ```
//!
//! Invariants, asserted by seeded walks below: at most one live run; signals go only to the live
//! run; news of an older run changes nothing; a spawn that nobody asked for comes only from
//! `Waiting`, or from `GaveUp` and `Held` when their deadline or condition has come, and only where there
//! is room for it; what is wanted
//! down is never `Starting`, `Running` or `Waiting`; a run that ends unasked, or is stopped because
//! it is unhealthy, goes through `Failures` like any other failure.
#![deny(clippy::wildcard_enum_match_arm)]

mod endings;

use std::time::Duration;

use super::backoff::Failures;
pub use super::deadline::deadline;
pub use super::phase::*;
use crate::model::alert::NO_HEARTBEAT;
use crate::model::bot::{ReadyWhen, RunId, Wanted};
use crate::model::limits::{EXTENSION_MAX, STOP_MARGIN};
use crate::model::units::show_duration;

/// How long a bot whose previous run cannot be proven gone waits before it is looked at again.
pub(super) const HOLD_RETRY: Duration = Duration::from_secs(5);

/// One step: the bot after `event`, and what is to be done.
pub fn step(bot: Bot, policy: &Policy, event: Event, tick: &Tick) -> (Bot, Vec<Effect>) {
    let mut turn = Turn {
        bot,
        policy,
        tick,
        effects: Vec::new(),
    };
    match event {
        Event::WantUp => turn.want_up(),
        Event::WantDown(mode) => {
            turn.bot.wanted = Wanted::Down;
            turn.stop(mode);
        }
        Event::WantRestart(mode) => {
            turn.bot.wanted = Wanted::Up;
            turn.stop(mode);
            if turn.bot.live_run().is_none() {
                turn.want_up();
            }
        }
        Event::Spawned { run } => turn.spawned(&run),
        Event::SpawnFailed { run, failure } => turn.spawn_failed(&run, failure),
        Event::Ready { run } => turn.ready(&run),
        Event::Heartbeat { run } => turn.heard(&run),
        Event::Unhealthy { run, why, then } => turn.unhealthy(&run, why, then),
        Event::Extend { run, length } => turn.extend(&run, length),
        Event::Exited { run, end } => turn.exited(&run, end),
        Event::Resume => turn.resume(),
        Event::Room => turn.room(),
        Event::Judged => turn.judged(),
        Event::ClockJumped => turn.clock_jumped(),
        Event::DeadlinePassed => turn.deadline_passed(),
    }
    (turn.bot, turn.effects)
}

/// One step in progress.
struct Turn<'a> {
    bot: Bot,
    policy: &'a Policy,
    tick: &'a Tick,
    effects: Vec<Effect>,
}

impl Turn<'_> {
    /// An operator wants the bot up: old failures are forgiven, a wait is over.
    fn want_up(&mut self) {
        self.bot.wanted = Wanted::Up;
        match &self.bot.phase {
            Phase::Down(_) | Phase::Waiting { .. } | Phase::GaveUp { .. } | Phase::Held { .. } => self.start_fresh(),
            // A live run goes on; one that is being stopped is followed by a new one when it has ended.
            Phase::Spawning { .. } | Phase::Starting { .. } | Phase::Running { .. } | Phase::Stopping { .. } => {}
        }
    }

    /// As `want_up`, but nobody has asked: nothing is forgiven, and whoever waits goes on waiting.
    fn resume(&mut self) {
        self.bot.wanted = Wanted::Up;
        // The last supervisor may have died between the judgement and the stop.
        self.judged();
        match &self.bot.phase {
            Phase::Down(Rest::Never | Rest::Asked) => self.spawn(),
            Phase::Down(Rest::Finished(_))
            | Phase::Waiting { .. }
            | Phase::GaveUp { .. }
            | Phase::Held { .. }
            | Phase::Spawning { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping { .. } => {}
        }
    }

    /// Who waits for room asks for it again.
    fn room(&mut self) {
        if self.bot.is_without_room() {
            self.spawn();
        }
    }

    /// Its platform has refused it: whatever it does, it goes on as held.
    fn judged(&mut self) {
        let Some(why) = self.policy.refusal() else { return };
        match &mut self.bot.phase {
            Phase::Spawning { run } | Phase::Starting { run, .. } | Phase::Running { run, .. } => {
                let run = run.clone();
                self.begin_stop(run, Because::Judged(why), StopMode::Graceful);
            }
            Phase::Stopping { because, .. } => {
                if *because != Because::Asked {
                    *because = Because::Judged(why);
                }
            }
            Phase::Waiting { .. } | Phase::GaveUp { .. } => self.spawn(),
            Phase::Held {
                hold: Hold::NoCapacity(_) | Hold::Judged(_),
                ..
            } => self.spawn(),
            // What it waits for comes first, and then it is asked again.
            Phase::Held {
                hold: Hold::Unsupported(_) | Hold::PreviousAlive { .. } | Hold::Unproven(_),
                ..
            }
            | Phase::Down(_) => {}
        }
    }

    fn start_fresh(&mut self) {
        self.bot.failures = Failures::default();
        self.spawn();
    }

    fn spawn(&mut self) {
        if let Some(why) = &self.policy.unsupported {
            self.bot.phase = Phase::Held {
                hold: Hold::Unsupported(why.clone()),
                until: None,
            };
            return;
        }
        if let Some(why) = self.policy.refusal() {
            self.bot.phase = Phase::Held {
                hold: Hold::Judged(why),
                until: None,
            };
            return;
        }
        if let Err(why) = &self.tick.room {
            self.bot.phase = Phase::Held {
                hold: Hold::NoCapacity(why.clone()),
                until: None,
            };
            return;
        }
        let run = self.tick.next_run.clone();
        self.effects.push(Effect::Spawn { run: run.clone() });
        self.bot.phase = Phase::Spawning { run };
    }

    fn respawn(&mut self) {
        self.spawn();
        if let Phase::Spawning { .. } = self.bot.phase {
            self.bot.restarts = self.bot.restarts.saturating_add(1);
        }
    }

    /// Ends whatever is alive because somebody asked.
    fn stop(&mut self, mode: StopMode) {
        match &mut self.bot.phase {
            Phase::Down(_) => {}
            Phase::Waiting { .. } | Phase::GaveUp { .. } => self.bot.phase = Phase::Down(Rest::Asked),
            Phase::Held {
                hold: Hold::Unsupported(_) | Hold::PreviousAlive { .. } | Hold::NoCapacity(_) | Hold::Judged(_),
                ..
            } => {
                self.bot.phase = Phase::Down(Rest::Asked);
            }
            // Nobody can be told to end, and calling it down would be a guess.
            Phase::Held {
                hold: Hold::Unproven(_),
                until,
            } => *until = None,
            Phase::Spawning { run } | Phase::Starting { run, .. } | Phase::Running { run, .. } => {
                let run = run.clone();
                self.begin_stop(run, Because::Asked, mode);
            }
            Phase::Stopping { run, because, stage } => {
                *because = Because::Asked;
                match (mode, &stage) {
                    (StopMode::Forced, Stage::Asked { .. }) => {
                        *stage = Stage::Killed {
                            until: self.tick.now + STOP_MARGIN,
                        };
                        self.effects.push(Effect::Kill { run: run.clone() });
                    }
                    (StopMode::Forced, Stage::Killed { .. } | Stage::Stuck) => {
                        self.effects.push(Effect::Kill { run: run.clone() });
                    }
                    (StopMode::Graceful, Stage::Asked { .. } | Stage::Killed { .. } | Stage::Stuck) => {}
                }
            }
        }
    }

    fn begin_stop(&mut self, run: RunId, because: Because, mode: StopMode) {
        let now = self.tick.now;
        let stage = match mode {
            StopMode::Graceful => {
                self.effects.push(Effect::Terminate { run: run.clone() });
                Stage::Asked {
                    until: now + self.policy.spec.stop.grace + STOP_MARGIN,
                }
            }
            StopMode::Forced => {
                self.effects.push(Effect::Kill { run: run.clone() });
                Stage::Killed {
                    until: now + STOP_MARGIN,
                }
            }
        };
        self.bot.phase = Phase::Stopping { run, because, stage };
    }

    fn is_live(&self, run: &RunId) -> bool {
        self.bot.live_run() == Some(run)
    }

    fn spawned(&mut self, run: &RunId) {
        if self.bot.phase == (Phase::Spawning { run: run.clone() }) {
            self.bot.phase = Phase::Starting {
                run: run.clone(),
                since: self.tick.now,
                extended_to: None,
                heard_at: None,
            };
        }
    }

    fn spawn_failed(&mut self, run: &RunId, failure: SpawnFailure) {
        if !self.is_live(run) {
            return;
        }
        if self.bot.wanted == Wanted::Down {
            match failure {
                // What is to end is then the run that holds the bot.
                SpawnFailure::Locked { run, .. } => self.begin_stop(run, Because::Asked, StopMode::Graceful),
                SpawnFailure::Command(_)
                | SpawnFailure::Passing(_)
                | SpawnFailure::PreviousAlive { .. }
                | SpawnFailure::Cancelled => self.bot.phase = Phase::Down(Rest::Asked),
                SpawnFailure::Unproven(why) => {
                    self.bot.phase = Phase::Held {
                        hold: Hold::Unproven(why),
                        until: None,
                    };
                }
            }
            return;
        }
        let now = self.tick.now;
        match failure {
            // Trying again cannot help before somebody mends the command: straight to the slow retry.
            SpawnFailure::Command(why) => self.give_up(why),
            SpawnFailure::Passing(why) => self.fail(why),
            // The run that holds the bot is adopted.
            SpawnFailure::Locked { run, .. } => {
                self.bot.phase = Phase::Starting {
                    run,
                    since: now,
                    extended_to: None,
                    heard_at: None,
                };
            }
            SpawnFailure::Unproven(why) => {
                self.bot.phase = Phase::Held {
                    hold: Hold::Unproven(why),
                    until: Some(now + HOLD_RETRY),
                };
            }
            SpawnFailure::PreviousAlive { pid } => {
                self.bot.phase = Phase::Held {
                    hold: Hold::PreviousAlive { pid },
                    until: Some(now + HOLD_RETRY),
                };
            }
            SpawnFailure::Cancelled => self.spawn(),
        }
    }

    fn ready(&mut self, run: &RunId) {
        let now = self.tick.now;
        match &self.bot.phase {
            Phase::Starting {
                run: live, heard_at, ..
            } if live == run => {
                self.bot.phase = Phase::Running {
                    run: run.clone(),
                    ready_at: now,
                    heard_at: *heard_at,
                };
            }
            // A quick bot's word may overtake its shim's report.
            Phase::Spawning { run: live } if live == run => {
                self.bot.phase = Phase::Running {
                    run: run.clone(),
                    ready_at: now,
                    heard_at: None,
                };
            }
            Phase::Starting { .. }
            | Phase::Down(_)
            | Phase::Spawning { .. }
            | Phase::Running { .. }
            | Phase::Stopping { .. }
            | Phase::Waiting { .. }
            | Phase::GaveUp { .. }
            | Phase::Held { .. } => {}
        }
    }

    fn heard(&mut self, run: &RunId) {
        let now = self.tick.now;
        match &mut self.bot.phase {
            Phase::Starting {
                run: live, heard_at, ..
            }
            | Phase::Running {
                run: live, heard_at, ..
            } => {
                if live == run {
                    *heard_at = Some(now);
                }
            }
            Phase::Down(_)
            | Phase::Spawning { .. }
            | Phase::Stopping { .. }
            | Phase::Waiting { .. }
            | Phase::GaveUp { .. }
            | Phase::Held { .. } => {}
        }
    }

    fn unhealthy(&mut self, run: &RunId, why: String, then: Then) {
        match &self.bot.phase {
            Phase::Starting { run: live, .. } | Phase::Running { run: live, .. } if live == run => {
                self.begin_stop(run.clone(), Because::Unhealthy { why, then }, StopMode::Graceful);
            }
            Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Down(_)
            | Phase::Spawning { .. }
            | Phase::Stopping { .. }
            | Phase::Waiting { .. }
            | Phase::GaveUp { .. }
            | Phase::Held { .. } => {}
        }
    }

    /// A bot that works on its start or its end is given the time that it asks for, within bounds and never
    /// less than it has.
    fn extend(&mut self, run: &RunId, length: Duration) {
        let wished = self.tick.now + length.min(EXTENSION_MAX);
        match &mut self.bot.phase {
            Phase::Starting {
                run: live, extended_to, ..
            } if live == run => *extended_to = (*extended_to).max(Some(wished)),
            // The shim moves its own deadline, and has its sweep after it.
            Phase::Stopping {
                run: live,
                stage: Stage::Asked { until },
                ..
            } if live == run => *until = (*until).max(wished + STOP_MARGIN),
            Phase::Starting { .. }
            | Phase::Stopping { .. }
            | Phase::Down(_)
            | Phase::Spawning { .. }
            | Phase::Running { .. }
            | Phase::Waiting { .. }
            | Phase::GaveUp { .. }
            | Phase::Held { .. } => {}
        }
    }

    /// Liveness gets one whole period of grace, counted from now.
    fn clock_jumped(&mut self) {
        let now = self.tick.now;
        match &mut self.bot.phase {
            Phase::Running { heard_at: Some(at), .. } => *at = now,
            Phase::Starting { since, .. } => *since = now,
            Phase::Running { heard_at: None, .. }
            | Phase::Down(_)
            | Phase::Spawning { .. }
            | Phase::Stopping { .. }
            | Phase::Waiting { .. }
            | Phase::GaveUp { .. }
            | Phase::Held { .. } => {}
        }
    }

    fn deadline_passed(&mut self) {
        let now = self.tick.now;
        if deadline(&self.bot, self.policy).is_none_or(|at| at > now) {
            return;
        }
        match &self.bot.phase {
            Phase::Starting { run, extended_to, .. } => {
                let (run, extended_to) = (run.clone(), *extended_to);
                match self.policy.ready().when {
                    ReadyWhen::Alive => self.ready(&run),
                    ReadyWhen::Signal => {
                        let timeout = show_duration(self.policy.ready().timeout);
                        let why = match extended_to {
                            None => format!("not ready within {timeout}"),
                            Some(_) => format!("not ready within {timeout} and the time that it asked for"),
                        };
                        self.unhealthy(&run, why, Then::Restart);
                    }
                }
            }
            Phase::Running { run, heard_at, .. } => {
                let timeout = self.policy.spec.heartbeat_timeout;
                if heard_at.is_some_and(|at| at + timeout <= now) {
                    let why = format!("{NO_HEARTBEAT} for {}", show_duration(timeout));
                    self.unhealthy(&run.clone(), why, Then::Restart);
                } else {
                    self.bot.failures.forgive();
                }
            }
            Phase::Stopping { run, because, stage } => {
                let (run, because) = (run.clone(), because.clone());
                let stage = match stage {
                    Stage::Asked { .. } => {
                        self.effects.push(Effect::Kill { run: run.clone() });
                        Stage::Killed {
                            until: now + STOP_MARGIN,
                        }
                    }
                    Stage::Killed { .. } | Stage::Stuck => Stage::Stuck,
                };
                self.bot.phase = Phase::Stopping { run, because, stage };
            }
            Phase::Waiting { .. } => self.respawn(),
            Phase::GaveUp { .. } => {
                self.bot.failures.put_on_probation();
                self.respawn();
            }
            Phase::Held { .. } => self.spawn(),
            Phase::Down(_) | Phase::Spawning { .. } => {}
        }
    }
}
