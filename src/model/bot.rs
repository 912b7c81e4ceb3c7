//! A bot: what the operator configured, and the words for its state.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::blocking::BlockingPolicy;
use super::chat::ChatPolicy;
use super::credential::login::LoginPolicy;
use super::credential::{FieldName, Refresh};
pub use super::end::{End, Oom, signal_name, signal_number};
use super::judging::JudgingPolicy;
use super::kernel::KernelPolicy;
use super::limits::{BOT_NAME_BYTES_MAX, TARGET_BYTES_MAX};
use super::probe::Probe;
use super::queue::QueuePolicy;
use super::telegram::TelegramPolicy;
pub use super::usage::{Limit, LimitAction, Limits};
use super::whatsapp::WhatsappPolicy;

/// A bot's id: `[a-z0-9][a-z0-9._-]{0,62}`, optionally followed by `@target`. The target is
/// percent-encoded where it holds anything but letters, digits and `._-`, so an id is always one
/// safe file name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BotId(String);

/// Names that stand for something else: an address, or a file beside the bots' own in the home.
const RESERVED: [&str; 6] = [
    "supervisor",
    "cli",
    "locks",
    "status.json",
    "status.json.new",
    "supervisor.lock",
];

/// Why a text is no bot id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a bot id: {why}")]
pub struct BotIdError {
    text: String,
    why: &'static str,
}

impl BotId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BotId {
    type Err = BotIdError;

    fn from_str(text: &str) -> Result<BotId, BotIdError> {
        let refuse = |why| {
            Err(BotIdError {
                text: text.to_owned(),
                why,
            })
        };
        let (name, target) = match text.split_once('@') {
            Some((name, target)) => (name, Some(target)),
            None => (text, None),
        };
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        match name.chars().next() {
            None => return refuse("it is empty"),
            Some(first) if !(first.is_ascii_lowercase() || first.is_ascii_digit()) => {
                return refuse("it must start with a-z or 0-9");
            }
            Some(_) => {}
        }
        if !name.chars().all(inner) {
            return refuse("only a-z 0-9 . _ - are allowed");
        }
        if name.len() > BOT_NAME_BYTES_MAX {
            return refuse("it is longer than 63 characters");
        }
        if RESERVED.contains(&name) {
            return refuse("the name is reserved");
        }
        if let Some(target) = target {
            if target.is_empty() {
                return refuse("nothing follows the @");
            }
            if target.len() > TARGET_BYTES_MAX {
                return refuse("its target is longer than 128 bytes");
            }
            if !target.chars().all(|c| c.is_ascii_alphanumeric() || "._-%".contains(c)) {
                return refuse("its target must be percent-encoded");
            }
        }
        Ok(BotId(text.to_owned()))
    }
}

impl fmt::Display for BotId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

impl fmt::Debug for BotId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// One life of a bot's process: a ULID, so that ids sort by the time of their start.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(String);

impl RunId {
    /// Takes a ULID's 26 characters; None for anything else.
    pub fn parse(text: &str) -> Option<RunId> {
        let valid = text.len() == 26 && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
        valid.then(|| RunId(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A value that must not be seen: its `Debug` prints nothing, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: String) -> Secret {
        Secret(value)
    }

    /// The value itself, for the one place that hands it on.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[secret]")
    }
}

/// What a bot talks to. A bot with a command of its own is judged by its platform; one without is
/// run by the built-in runner of that platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    None,
    Telegram,
    WhatsappCloud,
    Loopback,
    /// Only judged: nothing built in speaks it.
    Discord,
    /// WhatsApp as its own apps speak it; only judged as well.
    Whatsapp,
}

impl Platform {
    pub const ALL: [Platform; 6] = [
        Platform::None,
        Platform::Telegram,
        Platform::WhatsappCloud,
        Platform::Loopback,
        Platform::Discord,
        Platform::Whatsapp,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Platform::None => "none",
            Platform::Telegram => "telegram",
            Platform::WhatsappCloud => "whatsapp-cloud",
            Platform::Loopback => "loopback",
            Platform::Discord => "discord",
            Platform::Whatsapp => "whatsapp",
        }
    }

    pub fn from_word(word: &str) -> Option<Platform> {
        Platform::ALL.into_iter().find(|platform| platform.word() == word)
    }
}

/// The operator's intent, durable and never changed by crash logic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Up,
    Down,
}

impl Wanted {
    pub fn word(self) -> &'static str {
        match self {
            Wanted::Up => "up",
            Wanted::Down => "down",
        }
    }

    pub fn from_word(word: &str) -> Option<Wanted> {
        [Wanted::Up, Wanted::Down]
            .into_iter()
            .find(|wanted| wanted.word() == word)
    }
}

/// A bot's state as tables and JSON name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    Adopting,
    Stopped,
    Starting,
    Running,
    Unhealthy,
    Stopping,
    Backoff,
    Failed,
    Held,
}

impl State {
    pub const ALL: [State; 9] = [
        State::Adopting,
        State::Stopped,
        State::Starting,
        State::Running,
        State::Unhealthy,
        State::Stopping,
        State::Backoff,
        State::Failed,
        State::Held,
    ];

    pub fn word(self) -> &'static str {
        match self {
            State::Adopting => "adopting",
            State::Stopped => "stopped",
            State::Starting => "starting",
            State::Running => "running",
            State::Unhealthy => "unhealthy",
            State::Stopping => "stopping",
            State::Backoff => "backoff",
            State::Failed => "failed",
            State::Held => "held",
        }
    }

    pub fn from_word(word: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// When a bot whose process ended is started again without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartWhen {
    /// Whatever its exit was: a bot that ends with 0 is still a bot that is gone.
    Always,
    /// Unless it ended with code 0.
    OnFailure,
    Never,
}

/// How restarts are spaced and when they stop.
#[derive(Clone, Debug, PartialEq)]
pub struct RestartPolicy {
    pub when: RestartWhen,
    /// First delay. The first failure after `reset_after` without one restarts at once, unless
    /// `factor` is 1: then every restart waits exactly `delay`.
    pub delay: Duration,
    pub factor: f64,
    pub max_delay: Duration,
    /// More failures than this within `window` make the bot `failed`.
    pub max_restarts: u32,
    pub window: Duration,
    /// A bot that was healthy this long starts again from the first delay.
    pub reset_after: Duration,
    /// How often a `failed` bot is tried again; None: never.
    pub retry_failed: Option<Duration>,
}

/// How a bot is asked to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopPolicy {
    /// The signal's number, sent to the bot's process group.
    pub signal: i32,
    /// Time from the signal to SIGKILL for the whole tree.
    pub grace: Duration,
}

/// What counts as ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyWhen {
    /// Still there after `min_uptime`.
    Alive,
    /// The bot sent a `ready` event.
    Signal,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyPolicy {
    pub when: ReadyWhen,
    pub timeout: Duration,
    pub min_uptime: Duration,
}

/// How much of a bot's log is kept: `keep` files of `max_size` bytes, the current one included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPolicy {
    pub max_size: u64,
    pub keep: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaPolicy {
    /// The folder that holds `received`, `outgoing` and `sent`; None: `media/<bot>` in the home.
    pub dir: Option<PathBuf>,
    /// Empties and recreates the folder before each run.
    pub clean_on_start: bool,
    /// The longest file that a built-in bot takes from a chat, in bytes.
    pub max_file: u64,
    /// Bytes that `received` and `sent` may hold together; None: any number.
    pub quota: Option<u64>,
}

impl Default for MediaPolicy {
    /// What holds where nothing is configured.
    fn default() -> MediaPolicy {
        MediaPolicy {
            dir: None,
            clean_on_start: false,
            max_file: 20 << 20,
            quota: None,
        }
    }
}

/// A bot's effective configuration: what the operator wrote over the defaults. Its token is not in
/// here; it lives in the store's `credentials`. Its `Debug` names the bot alone: environment and
/// arguments may hold secrets.
#[derive(Clone, PartialEq)]
pub struct BotSpec {
    pub id: BotId,
    pub platform: Platform,
    /// Program and arguments; empty: the built-in runner of the platform.
    pub command: Vec<String>,
    pub cwd: Option<PathBuf>,
    pub env: BTreeMap<String, String>,
    pub env_file: Option<PathBuf>,
    /// Names of variables handed through from the supervisor's own environment.
    pub env_inherit: Vec<String>,
    /// More names under which the child finds its token.
    pub token_env: Vec<String>,
    /// More variables with credentials: the variable's name and the field's.
    pub credentials_env: BTreeMap<String, FieldName>,
    pub credentials_refresh: Refresh,
    pub login: LoginPolicy,
    pub blocking: BlockingPolicy,
    pub enabled: bool,
    pub restart: RestartPolicy,
    pub stop: StopPolicy,
    pub ready: ReadyPolicy,
    pub heartbeat_timeout: Duration,
    pub probes: Vec<Probe>,
    /// Lines of its log that count as errors; None: the usual ones.
    pub errors_pattern: Option<String>,
    pub judging: JudgingPolicy,
    pub telegram: TelegramPolicy,
    pub whatsapp: WhatsappPolicy,
    pub chat: ChatPolicy,
    pub limits: Limits,
    pub kernel: KernelPolicy,
    pub log: LogPolicy,
    pub media: MediaPolicy,
    pub queue: QueuePolicy,
    /// Bots whose messages it takes; `*` is every one.
    pub accept_from: Vec<String>,
}

impl fmt::Debug for BotSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("BotSpec")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl BotSpec {
    /// Whether multibot's own runner plays this bot.
    pub fn is_built_in(&self) -> bool {
        self.command.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for good in [
            "a",
            "0",
            "shop",
            "shop-1.test_x",
            "rave@mesh-1",
            "rave@%2Fx",
            &"a".repeat(63),
        ] {
            assert!(good.parse::<BotId>().is_ok(), "{good}");
        }
        let long = "a".repeat(64);
        for bad in [
            "",
            "-a",
            ".a",
            "A",
            "a b",
            "a/b",
            "ä",
            "..",
            "a@",
            "a@b/c",
            "@b",
            "supervisor",
            "cli",
            "locks",
            "status.json",
            "supervisor.lock",
            &long,
        ] {
            assert!(bad.parse::<BotId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_not_in_its_debug() {
        assert_eq!(format!("{:?}", Secret::new("123:abc".into())), "[secret]");
    }
}
