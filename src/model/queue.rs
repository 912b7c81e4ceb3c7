//! How a bot's inbox treats the messages in it.

use std::time::Duration;

/// A bot's settings for its inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuePolicy {
    /// Messages that may wait; past this a sender is told `queue full`.
    pub max_messages: u64,
    pub max_bytes: u64,
    /// The longest single message.
    pub max_message: u64,
    /// The first wait after a negative answer; it doubles from attempt to attempt.
    pub retry_delay: Duration,
    pub max_retry_delay: Duration,
    /// Runs that may fail over one message before it is set aside.
    pub max_crashes: u32,
    /// How long a dedup key is remembered.
    pub dedup_window: Duration,
    pub durability: Durability,
}

impl Default for QueuePolicy {
    /// What holds where nothing is configured.
    fn default() -> QueuePolicy {
        QueuePolicy {
            max_messages: 10_000,
            max_bytes: 256 * 1024 * 1024,
            max_message: 256 * 1024,
            retry_delay: Duration::from_secs(1),
            max_retry_delay: Duration::from_secs(300),
            max_crashes: 3,
            dedup_window: Duration::from_secs(3600),
            durability: Durability::Batch,
        }
    }
}

/// How much of a post must be on the disk before it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The file and its name, one sync for all that one file holds.
    Batch,
    /// The same, and each message is a file of its own.
    Each,
    /// Nothing: it survives the end of any process, not of the host.
    None,
}

impl Durability {
    pub const ALL: [Durability; 3] = [Durability::Batch, Durability::Each, Durability::None];

    pub fn word(self) -> &'static str {
        match self {
            Durability::Batch => "batch",
            Durability::Each => "each",
            Durability::None => "none",
        }
    }

    pub fn from_word(word: &str) -> Option<Durability> {
        Durability::ALL.into_iter().find(|durability| durability.word() == word)
    }

    pub fn is_durable(self) -> bool {
        self != Durability::None
    }
}
