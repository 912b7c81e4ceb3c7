//! What the sources tell the loop, and the settings of the loop itself.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::alert::OpenAlerts;
use crate::model::bot::{BotId, End, LimitAction, RunId};

use super::machine::{SpawnFailure, StopMode};
use super::shims::Token;
use super::snapshot::Outage;

/// What sources tell the loop.
#[derive(Debug)]
pub enum News {
    /// A command may wait in the supervisor's inbox.
    Inbox,
    /// A bot may have posted something.
    Outbox(BotId),
    Heartbeat(BotId),
    /// A bot's mailboxes hold more or less than before.
    Counts(BotId),
    /// A bot's folders were removed or made anew.
    Folders(BotId),
    /// Hints were lost: look everywhere.
    HintsLost,
    /// What a run's shim did, as the host understood it.
    Spawned {
        bot: BotId,
        run: RunId,
        pid: u32,
    },
    SpawnFailed {
        bot: BotId,
        run: RunId,
        failure: SpawnFailure,
    },
    Ended {
        bot: BotId,
        run: RunId,
        end: End,
    },
    Usage {
        bot: BotId,
        run: RunId,
        memory_bytes: u64,
        cpu_percent: f64,
    },
    LimitPassed {
        bot: BotId,
        run: RunId,
        why: String,
        action: LimitAction,
    },
    /// The open alerts of each bot that has some.
    Alerts(BTreeMap<BotId, OpenAlerts>),
    /// Most bots fail together, or do so no more.
    Outage(Option<Trouble>),
    Reload,
    Stop(StopMode),
    /// A shim has something to be looked at.
    Shim(Token),
}

/// Most bots fail together: it is neither counted against each of them, nor made worse by haste.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    pub outage: Outage,
    /// The shortest wait before a restart.
    pub restart_delay: Duration,
}

/// Settings of the loop itself.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// Least time between two starts; zero: none.
    pub start_delay: Duration,
    /// How often a bot that sent `ready` is asked for its status.
    pub status_poll_interval: Duration,
}
