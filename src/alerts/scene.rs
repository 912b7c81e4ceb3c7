//! What the rules look at: one home at one moment, as plain values.

use crate::model::bot::{BotId, LimitAction, State};
use crate::model::units::{Moment, Stamp};

/// The home while its supervisor looks after its bots.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scene {
    /// Bots of a supervisor that had died, found when this one started.
    pub adopted: u32,
    /// The disk of the home; None where it was not looked at.
    pub disk: Option<Disk>,
    pub bots: Vec<BotScene>,
}

/// Bytes of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    pub free: u64,
    pub total: u64,
}

/// One bot.
#[derive(Clone, Debug, PartialEq)]
pub struct BotScene {
    pub id: BotId,
    pub platform: String,
    /// The operator wants it up, and it is enabled.
    pub is_wanted: bool,
    pub state: State,
    pub reason: Option<String>,
    /// In a row.
    pub failures: u32,
    /// Why its last run ended.
    pub last_exit: Option<String>,
    /// Its last run was ended by a signal of the kind that people and the kernel send.
    pub was_struck: bool,
    pub limits: Vec<LimitScene>,
    /// A limit whose action has ended a run, until a later one is well.
    pub passed: Option<PassedLimit>,
    pub errors_per_minute: Option<u64>,
    /// Messages in its inbox that are not done.
    pub waiting: u64,
    /// None: this run has not beaten.
    pub heartbeat_at: Option<Stamp>,
    /// None: it has no readiness probe.
    pub ready: Option<bool>,
    /// What its readiness probe said last.
    pub not_ready_because: Option<String>,
}

/// One threshold of a bot that is passed.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitScene {
    pub what: String,
    pub reach: Reach,
    pub why: String,
}

/// How far a threshold is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Warn,
    Max,
}

/// The maximum of a limit was passed, and the run was ended for it.
#[derive(Clone, Debug, PartialEq)]
pub struct PassedLimit {
    pub why: String,
    pub action: LimitAction,
}

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    pub now: Moment,
    pub stamp: Stamp,
}
