//! What the supervisor tells a new shim, and the one line that the shim answers.
//!
//! Both travel over a socket pair, one JSON object a line, never by arguments or environment: the
//! orders hold secrets. The supervisor keeps its end open until the answer has come; a shim whose
//! peer is gone before the exec leaves without spawning.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything that a shim needs for one run.
#[derive(Clone, Serialize, Deserialize)]
pub struct Orders {
    pub v: u32,
    pub run_id: String,
    pub bot: String,
    /// Where `run.json` and `exit.json` of this bot lie.
    pub run_dir: PathBuf,
    pub lock: PathBuf,
    pub log: LogOrders,
    pub argv: Vec<String>,
    /// The bot's whole environment: nothing is inherited.
    pub env: Vec<(String, String)>,
    pub cwd: PathBuf,
    /// Values that must not reach the log.
    pub secrets: Vec<String>,
    pub stop_signal: i32,
    pub grace_ms: u64,
    /// A name for what the run is started with; see the record.
    #[serde(default)]
    pub recipe: Option<String>,
    /// The media folder to create, if the bot has one.
    pub media: Option<MediaOrders>,
    /// What the kernel is to enforce.
    #[serde(default)]
    pub kernel: KernelOrders,
    /// The socket for sd_notify; None: the bot has one of its own.
    #[serde(default)]
    pub notify: Option<NotifyOrders>,
}

/// What the kernel is to enforce of a run. Nothing of it keeps a bot from being started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KernelOrders {
    /// Where an earlier run may have left its group.
    pub old_leaf: Option<PathBuf>,
    /// The group to make for the run; None where none is needed, or none can be made.
    pub leaf: Option<PathBuf>,
    /// What to set in that group.
    pub limits: Vec<LeafLimit>,
    /// The `memory.max` among them, in bytes.
    pub memory_max: Option<u64>,
    /// RLIMIT_NOFILE.
    pub open_files: Option<u32>,
    pub nice: Option<i32>,
    /// What the operator asked for and cannot be had here, each in words.
    pub refused: Vec<String>,
}

impl KernelOrders {
    /// Whether anything is to be told of what is in force.
    pub fn asks(&self) -> bool {
        self.leaf.is_some() || !self.refused.is_empty() || self.open_files.is_some() || self.nice.is_some()
    }
}

/// One limit of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafLimit {
    /// The kernel's file, such as `memory.max`.
    pub file: String,
    pub value: String,
    /// The limit in words: `memory.max 512.0 MiB`.
    pub said: String,
}

/// What a run's own group is called among the limits.
pub const GROUP: &str = "group";

/// Stands behind a limit that was asked for, before the reason why the kernel does not enforce it.
pub const NOT_IN_FORCE: &str = ": not in force: ";

/// Stands as `via` in the payload of what a shim has translated: such a bot need not know the spool.
pub const VIA_NOTIFY: &str = "sd_notify";

/// Where the bot's words of sd_notify arrive, and what they become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifyOrders {
    /// The path of the socket, as in `NOTIFY_SOCKET`.
    pub address: String,
    pub outbox: PathBuf,
    pub heartbeat: PathBuf,
    /// Silence after which the bot is unhealthy, in milliseconds.
    pub watchdog_ms: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogOrders {
    pub path: PathBuf,
    pub max_size: u64,
    pub keep: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MediaOrders {
    pub dir: PathBuf,
    pub clean_on_start: bool,
}

/// Version of [`Orders`] and [`Report`]; both only ever gain fields.
pub const ORDERS_VERSION: u32 = 1;

impl fmt::Debug for Orders {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Orders")
            .field("run_id", &self.run_id)
            .field("bot", &self.bot)
            .finish_non_exhaustive()
    }
}

/// What became of the orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    Spawned {
        pid: u32,
        /// What the kernel enforces, and what it does not; as in the run's record.
        #[serde(default)]
        kernel: Vec<String>,
    },
    /// The command cannot be executed: missing, no permission, not a program.
    CommandFailed { why: String },
    /// Something that may pass.
    SpawnFailed { why: String },
    /// Another shim holds the bot.
    Locked,
    /// A process of the previous run does not die.
    PreviousAlive { pid: u32 },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_do_not_show_their_secrets() {
        let orders = Orders {
            v: ORDERS_VERSION,
            run_id: "01".into(),
            bot: "shop".into(),
            run_dir: "/r".into(),
            lock: "/l".into(),
            log: LogOrders {
                path: "/g".into(),
                max_size: 1,
                keep: 1,
            },
            argv: vec![],
            env: vec![("BOT_TOKEN".into(), "hush".into())],
            cwd: "/".into(),
            secrets: vec!["hush".into()],
            stop_signal: 15,
            grace_ms: 1,
            recipe: None,
            media: None,
            kernel: KernelOrders::default(),
            notify: None,
        };
        assert!(!format!("{orders:?}").contains("hush"));
    }

    #[test]
    fn reports_read_back() {
        for report in [
            Report::Spawned {
                pid: 4,
                kernel: vec!["nice 5".into()],
            },
            Report::Locked,
            Report::CommandFailed { why: "no".into() },
        ] {
            let line = serde_json::to_string(&report).unwrap();
            assert_eq!(serde_json::from_str::<Report>(&line).unwrap(), report);
        }
    }
}
