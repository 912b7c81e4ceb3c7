//! The words of the machine: what a bot may be in, what may happen to it, and what may be done. Each
//! phase carries only what exists then.
#![deny(clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use crate::model::bot::{BotSpec, End, ReadyPolicy, ReadyWhen, RestartPolicy, RunId, State, Wanted};
use crate::model::judging::Judgement;
use crate::model::units::{Moment, Stamp};

use super::backoff::Failures;

/// Everything that decides what a bot does next.
#[derive(Clone, Debug, PartialEq)]
pub struct Bot {
    pub wanted: Wanted,
    pub phase: Phase,
    pub failures: Failures,
    /// Runs that were started unasked since the supervisor knows this bot.
    pub restarts: u32,
}

/// What is so. Each phase carries only what exists then.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    Down(Rest),
    /// A spawn was ordered; its host answers with `Spawned`, `SpawnFailed` or `Exited`.
    Spawning {
        run: RunId,
    },
    Starting {
        run: RunId,
        since: Moment,
        /// The bot has asked for time until then.
        extended_to: Option<Moment>,
        heard_at: Option<Moment>,
    },
    Running {
        run: RunId,
        ready_at: Moment,
        heard_at: Option<Moment>,
    },
    Stopping {
        run: RunId,
        because: Because,
        stage: Stage,
    },
    /// A failure is waited out.
    Waiting {
        until: Moment,
        why: String,
    },
    /// Too many failures: tried again slowly, or when an operator asks.
    GaveUp {
        until: Option<Moment>,
        why: String,
    },
    /// Waiting would not mend it: something outside must change first.
    Held {
        hold: Hold,
        until: Option<Moment>,
    },
}

/// Why a bot that is down is at rest.
#[derive(Clone, Debug, PartialEq)]
pub enum Rest {
    /// Nobody has asked for it yet.
    Never,
    Asked,
    /// It ended and its policy does not bring it back.
    Finished(End),
}

/// Why a run is being stopped.
#[derive(Clone, Debug, PartialEq)]
pub enum Because {
    Asked,
    Unhealthy {
        why: String,
        then: Then,
    },
    /// Its platform has refused it, in words: it is held afterwards.
    Judged(String),
}

/// What follows a stop that nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Restart,
    GiveUp,
}

/// How far a stop has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The stop signal was sent; the shim itself kills after the grace, so this deadline lies behind it.
    Asked {
        until: Moment,
    },
    Killed {
        until: Moment,
    },
    /// Nothing more can be done: what survives is named by the host.
    Stuck,
}

/// What a held bot waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum Hold {
    /// Its configuration asks for what this version cannot do.
    Unsupported(String),
    /// Processes of the previous run cannot be proven gone.
    PreviousAlive { pid: u32 },
    /// Somebody holds the bot's lock, and who that is cannot be made out.
    Unproven(String),
    /// The home's budget has no room for it.
    NoCapacity(String),
    /// Its platform has refused it, in words: only an operator can mend that.
    Judged(String),
}

/// What a shim could not do.
#[derive(Clone, Debug, PartialEq)]
pub enum SpawnFailure {
    /// The command cannot be executed, now or in a second: the reason names it.
    Command(String),
    /// Something that may pass, such as too many processes.
    Passing(String),
    /// Another shim holds this bot: its run is the one that lives.
    Locked {
        run: RunId,
        pid: u32,
        started_at: Stamp,
    },
    /// Somebody holds this bot, and who that is cannot be made out.
    Unproven(String),
    PreviousAlive {
        pid: u32,
    },
    /// It was called back before it was started.
    Cancelled,
}

/// How hard a stop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    Graceful,
    Forced,
}

/// News that may change a bot.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    WantUp,
    WantDown(StopMode),
    WantRestart(StopMode),
    Spawned {
        run: RunId,
    },
    SpawnFailed {
        run: RunId,
        failure: SpawnFailure,
    },
    Ready {
        run: RunId,
    },
    Heartbeat {
        run: RunId,
    },
    Unhealthy {
        run: RunId,
        why: String,
        then: Then,
    },
    /// The bot says that its start, or its end, takes so much longer from now on.
    Extend {
        run: RunId,
        length: Duration,
    },
    Exited {
        run: RunId,
        end: End,
    },
    /// A supervisor has started, and this bot is wanted up: what an earlier one counted still counts.
    Resume,
    /// There may be room for a bot that was held for want of it.
    Room,
    /// Its platform has refused it: `Policy::judged` says how.
    Judged,
    /// The machine slept or the loop was late: nothing heard meanwhile must count against the bot.
    ClockJumped,
    DeadlinePassed,
}

/// What is to be done to the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Spawn {
        run: RunId,
    },
    /// Stop signal, grace, then kill: the shim keeps the time.
    Terminate {
        run: RunId,
    },
    Kill {
        run: RunId,
    },
}

/// A bot's read-only limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub spec: BotSpec,
    /// Why this version cannot run the bot at all.
    pub unsupported: Option<String>,
    /// Why its platform has refused it, until an operator lets it go.
    pub judged: Option<Judgement>,
}

impl Policy {
    /// Why the bot may not run, as an operator reads it.
    pub(super) fn refusal(&self) -> Option<String> {
        self.judged.as_ref().map(|it| it.reason(self.spec.id.as_str()))
    }

    pub(super) fn restart(&self) -> &RestartPolicy {
        &self.spec.restart
    }

    pub(super) fn ready(&self) -> &ReadyPolicy {
        &self.spec.ready
    }
}

/// The moment of a step, the id that a spawn in it will use, and whether there is room for one.
#[derive(Clone, Debug)]
pub struct Tick {
    pub now: Moment,
    pub next_run: RunId,
    /// The error is why a run may not start now, in one line.
    pub room: Result<(), String>,
    /// Most bots fail together: failures do not count, and no restart comes sooner than this.
    pub outage: Option<Duration>,
}

impl Bot {
    /// A bot at rest.
    pub fn new(wanted: Wanted) -> Bot {
        Bot {
            wanted,
            phase: Phase::Down(Rest::Never),
            failures: Failures::default(),
            restarts: 0,
        }
    }

    /// The run that is, or may be, alive.
    pub fn live_run(&self) -> Option<&RunId> {
        match &self.phase {
            Phase::Spawning { run }
            | Phase::Starting { run, .. }
            | Phase::Running { run, .. }
            | Phase::Stopping { run, .. } => Some(run),
            Phase::Down(_) | Phase::Waiting { .. } | Phase::GaveUp { .. } | Phase::Held { .. } => None,
        }
    }

    /// Whether it is held until the home's budget has room for it.
    pub fn is_without_room(&self) -> bool {
        matches!(
            &self.phase,
            Phase::Held {
                hold: Hold::NoCapacity(_),
                ..
            }
        )
    }

    /// The word that tables and JSON show.
    pub fn state(&self) -> State {
        match &self.phase {
            Phase::Down(_) => State::Stopped,
            Phase::Spawning { .. } | Phase::Starting { .. } => State::Starting,
            Phase::Running { .. } => State::Running,
            Phase::Stopping {
                because: Because::Asked,
                ..
            } => State::Stopping,
            Phase::Stopping {
                because: Because::Unhealthy { .. } | Because::Judged(_),
                ..
            } => State::Unhealthy,
            Phase::Waiting { .. } => State::Backoff,
            Phase::GaveUp { .. } => State::Failed,
            Phase::Held { .. } => State::Held,
        }
    }

    /// Why it is in this state, in one line; None where the state says it all.
    pub fn reason(&self, policy: &Policy) -> Option<String> {
        match &self.phase {
            Phase::Down(Rest::Never | Rest::Asked) if !policy.spec.enabled => Some("disabled".to_owned()),
            Phase::Down(Rest::Finished(end)) => Some(format!("{end}; restart.policy does not bring it back")),
            Phase::Down(Rest::Never | Rest::Asked) => policy.refusal().map(|why| format!("held when started: {why}")),
            Phase::Spawning { .. } | Phase::Running { .. } => None,
            Phase::Starting { extended_to, .. } => match policy.ready().when {
                ReadyWhen::Alive => None,
                ReadyWhen::Signal if extended_to.is_some() => {
                    Some("waits for its ready event, and was asked for more time".to_owned())
                }
                ReadyWhen::Signal => Some("waits for its ready event".to_owned()),
            },
            Phase::Stopping { because, .. } => match because {
                Because::Asked => None,
                Because::Unhealthy { why, .. } | Because::Judged(why) => Some(why.clone()),
            },
            Phase::Waiting { why, .. } | Phase::GaveUp { why, .. } => Some(why.clone()),
            Phase::Held { hold, .. } => Some(match hold {
                Hold::Unsupported(why) | Hold::Unproven(why) | Hold::NoCapacity(why) | Hold::Judged(why) => why.clone(),
                Hold::PreviousAlive { pid } => format!("previous run still alive (pid {pid})"),
            }),
        }
    }
}
