//! What the supervisor publishes of itself in `run/status.json`: times, never ages, so that a
//! snapshot that is minutes old still tells the truth about them. Readers compute the ages.
//!
//! Fields are only ever added.

use serde::{Deserialize, Serialize};

use crate::run::identity::Identity;

pub const SNAPSHOT_VERSION: u32 = 1;

/// The whole home at one moment. All times are unix milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub schema: u32,
    pub generated_at: i64,
    pub supervisor: Supervisor,
    /// Blocked targets, and those of them that are blocked for ever.
    pub blocked: u64,
    pub blocked_permanent: u64,
    pub bots: Vec<BotStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Supervisor {
    pub identity: Identity,
    pub version: String,
    pub started_at: i64,
    /// What the supervisor is doing.
    pub stage: Stage,
    /// What an operator should know, such as a missing watch.
    #[serde(default)]
    pub notes: Vec<String>,
    /// How many programs its process has been before this one.
    #[serde(default)]
    pub image: u32,
    /// Why this program runs on although another one was to take over.
    #[serde(default)]
    pub came_back: Option<String>,
    /// It ends with the terminal in which it was started.
    #[serde(default)]
    pub in_terminal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Adopting,
    Running,
    Stopping,
    Stopped,
    /// It goes, and its bots go on.
    Leaving,
    Left,
}

/// One bot. What is unknown is None.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BotStatus {
    pub id: String,
    pub index: u32,
    pub platform: String,
    pub wanted: String,
    pub enabled: bool,
    pub state: String,
    pub reason: Option<String>,
    pub pid: Option<u32>,
    pub run_id: Option<String>,
    pub started_at: Option<i64>,
    pub restarts: u32,
    pub last_exit: Option<LastExit>,
    pub next_restart_at: Option<i64>,
    pub memory_bytes: Option<u64>,
    pub cpu_percent: Option<f64>,
    pub heartbeat_at: Option<i64>,
    pub inbox_new: Option<u64>,
    pub inbox_cur: Option<u64>,
    #[serde(default)]
    pub inbox_later: Option<u64>,
    #[serde(default)]
    pub inbox_held: Option<u64>,
    /// When the oldest message was posted that is neither done nor held.
    #[serde(default)]
    pub inbox_oldest_at: Option<i64>,
    pub dead: Option<u64>,
    pub connected: Option<bool>,
}

/// How the last run ended; code and signal are both None where nobody saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastExit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub at: i64,
}
