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
    /// Bots that it found running when it started.
    #[serde(default)]
    pub adopted: u32,
    /// Free bytes of the home's disk when that was looked at last.
    #[serde(default)]
    pub disk_free_bytes: Option<u64>,
    /// Most bots fail together since this moment.
    #[serde(default)]
    pub outage: Option<Outage>,
    /// Open alerts about the home itself.
    #[serde(default)]
    pub alerts: Vec<HomeAlert>,
    /// What sinks of alerts need and the home does not have.
    #[serde(default)]
    pub sinks_miss: Vec<String>,
    /// What of the home's budget is spoken for; None without a budget.
    #[serde(default)]
    pub capacity: Option<Capacity>,
}

impl Supervisor {
    /// What it tells of itself before anything is known.
    pub fn new(identity: Identity, version: &str, started_at: i64) -> Supervisor {
        Supervisor {
            identity,
            version: version.to_owned(),
            started_at,
            stage: Stage::Adopting,
            notes: Vec::new(),
            image: 0,
            came_back: None,
            in_terminal: false,
            adopted: 0,
            disk_free_bytes: None,
            outage: None,
            alerts: Vec::new(),
            sinks_miss: Vec::new(),
            capacity: None,
        }
    }
}

/// One open alert about the home itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HomeAlert {
    pub rule: String,
    /// `info`, `warning` or `critical`.
    pub level: String,
    pub text: String,
}

/// Most bots fail together: the platform or the network, not each of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outage {
    pub since: i64,
    /// Whose bots fail; None: those of all platforms.
    #[serde(default)]
    pub platform: Option<String>,
    pub failing: u32,
    pub of: u32,
}

/// The home's budget and what live bots have reserved of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capacity {
    pub memory_bytes: Option<u64>,
    pub memory_reserved_bytes: u64,
    /// Of one core.
    pub cpu_percent: Option<f64>,
    pub cpu_reserved_percent: f64,
    pub max_bots: Option<u32>,
    pub live_bots: u32,
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// Since when it is in its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_since: Option<i64>,
    /// Failures in a row.
    #[serde(default)]
    pub failures: u32,
    /// What its readiness probes say; None without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<ProbeStatus>,
    /// What it says of itself in one line (`STATUS=` of sd_notify).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// What it writes to its log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bytes_per_s: Option<u64>,
    /// The thresholds in force, and how far each is passed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitStatus>,
    /// A limit that was passed and acted upon, until a later run is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_action: Option<LimitActionStatus>,
    /// What the kernel enforces, as written (`memory.max 512.0 MiB`), and what it was asked for and does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel: Vec<String>,
    /// Why its platform has refused it, until an operator lets it go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldStatus>,
    /// What its platform answered when it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<AskedStatus>,
    /// Error lines and `error` events of the last minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_per_minute: Option<u64>,
    /// Open alerts, and the worst level among them.
    #[serde(default)]
    pub alerts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert_level: Option<String>,
}

/// One probe of a live run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProbeStatus {
    pub name: String,
    /// `liveness` or `readiness`.
    pub role: String,
    /// `exec`, `http`, `tcp`, …
    pub kind: String,
    /// `passing`, `failing`, or `unknown` before its first answer counts.
    pub state: String,
    /// Since when it is in this state.
    pub since: Option<i64>,
    /// Its last answer in one line, and when that came.
    pub answer: Option<String>,
    pub answered_at: Option<i64>,
    /// Answers in a row that were failures.
    pub failures: u32,
}

/// What a platform has said against a bot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HoldStatus {
    /// `credentials`, `conflict`, `banned` or `rejected`.
    pub class: String,
    /// What was said, in one line.
    pub evidence: String,
    pub at: i64,
}

/// What a platform answered last about a bot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AskedStatus {
    /// The bot's own name there.
    pub name: Option<String>,
    /// Updates that wait there.
    pub pending: Option<u64>,
    /// When that was heard.
    pub at: Option<i64>,
    /// Why nothing was heard since then.
    pub unreachable: Option<String>,
    /// A run was restarted for this, and it has not become better since.
    pub stalled: Option<String>,
}

/// One threshold of a live run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitStatus {
    /// `memory`, `cpu`, `open_files`, …
    pub what: String,
    pub warn: Option<f64>,
    pub max: Option<f64>,
    /// `ok`, `warn` or `max`.
    pub level: String,
    /// Since when it is at this level.
    pub since: Option<i64>,
    /// In words, where it is passed.
    pub why: Option<String>,
}

/// What was done to a run that had passed the maximum of a limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitActionStatus {
    pub why: String,
    /// `restart` or `stop`.
    pub action: String,
    pub at: i64,
}

/// How the last run ended; code and signal are both None where nobody saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastExit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub at: i64,
    /// The kernel killed it because its memory was used up.
    #[serde(default)]
    pub oom: bool,
    /// Why it was ended where nobody had asked for it, else the end in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
