//! What the sources tell the loop, and the settings of the loop itself.

use std::time::Duration;

use crate::model::alert::OpenInHome;
use crate::model::asking::{AskingPolicy, Word};
use crate::model::bot::{BotId, End, RunId};
use crate::model::probe::Answer;
use crate::model::units::Stamp;
use crate::model::usage::Sample;

use super::login::Given;
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
        /// What the kernel enforces of it.
        kernel: Vec<String>,
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
    /// One pass of the sampler, with all that it found.
    Sampled(Vec<Sample>),
    /// A bot was asked by one of its probes.
    Probed {
        bot: BotId,
        run: RunId,
        probe: String,
        answer: Answer,
    },
    /// The platform of a run was asked about it.
    Platform {
        bot: BotId,
        run: RunId,
        word: Word,
    },
    /// A login program of a bot has ended.
    LoggedIn {
        bot: BotId,
        outcome: Result<Given, String>,
    },
    /// The logs were read once more; bots of which nothing is to be told are left out.
    LogsRead(Vec<LogFinding>),
    /// The open alerts of the bots and of the home.
    Alerts(OpenInHome),
    /// Most bots fail together, or do so no more.
    Outage(Option<Trouble>),
    Reload,
    Stop(StopMode),
    /// A shim has something to be looked at.
    Shim(Token),
}

/// What one look into a bot's log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFinding {
    pub bot: BotId,
    /// The newest run that was being watched.
    pub run: RunId,
    pub errors: u64,
    /// Those of them that were written within the last minute.
    pub recent: u64,
    /// The newest line that matched, for each probe that had one.
    pub matched: Vec<LogMatch>,
    /// Lines that may be signs of what the platform says of the bot, oldest first.
    pub signs: Vec<(Stamp, String)>,
    /// What of the log was not read, in words.
    pub unread: Option<String>,
}

/// A line that a probe waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogMatch {
    pub probe: String,
    pub line: String,
    /// When it was written; None where that cannot be told.
    pub at: Option<Stamp>,
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
    /// How often bots are measured, and the figures recorded; None: never.
    pub sampling_period: Option<Duration>,
    /// How platforms are asked about bots.
    pub asking: AskingPolicy,
}
