//! Why a command did not do what it was asked, and with which code the program then ends.

use std::io;
use std::time::Duration;

use super::exit::Exit;
use crate::config::{Fault, Faults};
use crate::home::HomeError;
use crate::model::bot::BotId;
use crate::model::units::show_duration;
use crate::runner::script;
use crate::{daemon, log, output, spool, store};

/// A command that failed. Its text is what the operator reads, without the program's name.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error("{0}")]
    Config(#[from] Faults),
    #[error("{0}")]
    Setting(#[from] Fault),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Spool(#[from] spool::Error),
    #[error(transparent)]
    Script(#[from] script::Error),
    #[error(transparent)]
    Log(#[from] log::Error),
    #[error(transparent)]
    Daemon(#[from] daemon::Error),
    #[error(transparent)]
    Output(#[from] output::Error),
    #[error("no supervisor runs for {home}: multibot start")]
    NoSupervisor { home: String },
    #[error("no bot {id}{}", nearest.as_ref().map(|near| format!(", nearest is {near}")).unwrap_or_default())]
    NoSuchBot { id: BotId, nearest: Option<BotId> },
    #[error("{0}")]
    Refused(String),
    #[error("{what} after {}; it goes on, look with: multibot status", show_duration(*after))]
    TimedOut { what: String, after: Duration },
    #[error("{bot} has not answered within {}; where the message is, says: multibot queue {bot}", show_duration(*after))]
    Unanswered { bot: BotId, after: Duration },
    #[error(
        "the supervisor (pid {pid}) does not answer: what was stored holds as soon as it does; look at logs/supervisor.log, or end it with: multibot stop --force"
    )]
    NoAnswer { pid: u32 },
    #[error("the supervisor refused: {0}")]
    Supervisor(String),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{0}")]
    Usage(String),
}

impl Failure {
    /// For `map_err`: what was tried.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Failure {
        let what = what.into();
        move |source| Failure::Io { what, source }
    }

    /// The code that scripts see.
    pub(super) fn exit(&self) -> Exit {
        match self {
            // Nobody reads on: everything that was wanted was printed.
            Failure::Output(output::Error::Closed) => Exit::Done,
            Failure::NoSupervisor { .. } => Exit::NoSupervisor,
            Failure::NoSuchBot { .. } | Failure::Store(store::Error::NoSuchBot { .. }) => Exit::NoSuchBot,
            Failure::TimedOut { .. }
            | Failure::Unanswered { .. }
            | Failure::NoAnswer { .. }
            | Failure::Store(store::Error::Busy { .. }) => Exit::Busy,
            Failure::Usage(_) | Failure::Script(script::Error::NotABot { .. } | script::Error::Identity(_)) => {
                Exit::Usage
            }
            Failure::Home(_)
            | Failure::Config(_)
            | Failure::Setting(_)
            | Failure::Store(_)
            | Failure::Spool(_)
            | Failure::Script(_)
            | Failure::Log(_)
            | Failure::Daemon(_)
            | Failure::Output(_)
            | Failure::Refused(_)
            | Failure::Supervisor(_)
            | Failure::Io { .. } => Exit::Failed,
        }
    }
}
