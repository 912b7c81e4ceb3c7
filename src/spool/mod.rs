//! The file spool: mailboxes of envelopes that survive any crash, and the few single files beside them.
//!
//! Owns the bytes and names under `ipc/` as `ipc/README.md` describes them to people who write bots.
//! Never knows what an envelope means, never reads a clock, never waits for a lock.
//!
//! Invariants: a file is in exactly one folder, and every change of its state is one rename or one
//! unlink. Nothing that this module did not write is ever followed, trusted or deleted: what cannot be
//! read goes to `dead/` with its reason.

mod bounds;
mod census;
mod claimed;
pub mod consumer;
pub mod dead_letters;
mod dedup;
pub mod envelope;
pub mod failure;
mod file;
pub mod heartbeat;
pub mod items;
pub mod later;
pub mod mailbox;
pub mod name;
mod progress;
mod recovery;
pub mod replies;
mod requeue;
mod retry;
pub mod scan;
mod settle;
mod submit;
pub mod wait;
mod writer;

#[cfg(test)]
mod consumer_tests;
#[cfg(test)]
mod recovery_tests;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::model::units::{Stamp, show_size};

pub use crate::model::queue::Durability;
pub use census::Census;
pub use claimed::{Claimed, ReadError, Shared, Unreadable};
pub use consumer::{Consumer, Received};
pub use dead_letters::{DeadLetter, DeadLetters};
pub use envelope::{Defaults, Fault};
pub use failure::Failure;
pub use items::{Item, Place};
pub use later::{LaterName, OrderKey};
pub use mailbox::{Counts, Mailbox, Posted, Poster};
pub use name::{FileName, is_ulid};
pub use recovery::RunEnd;
pub use requeue::{Buried, Recovered, Released};
pub use scan::Entry;
pub use settle::Settled;
pub use submit::Submitted;
pub use wait::{Waker, Watch, wait_for_file};
pub use writer::{Delivery, Parcel, Writer};

/// What the spool could not do, and where.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no mailbox at {}: check the bot's name and --home", path.display())]
    NoMailbox { path: PathBuf },
    #[error("queue full: {} holds {files} files: start what reads it, or move files out", path.display())]
    QueueFull { path: PathBuf, files: usize },
    #[error("queue full: {} holds {messages} messages of {max}: start what reads it, or raise queue.max_messages", path.display())]
    QueueMessages { path: PathBuf, messages: u64, max: u64 },
    #[error("queue full: {} holds {} of {}: start what reads it, or raise queue.max_bytes", path.display(), show_size(*bytes), show_size(*max))]
    QueueBytes { path: PathBuf, bytes: u64, max: u64 },
    #[error("post to {}: the message is {bytes} bytes long, at most {max} are taken: make it shorter, or raise queue.max_message", path.display())]
    MessageTooLong { path: PathBuf, bytes: u64, max: u64 },
    #[error("dedup key {}: another sender is posting its message at this moment: try again", path.display())]
    DedupPending { path: PathBuf },
    #[error("disk full: {} has {} free and needs {}: make room there", path.display(), show_size(*free), show_size(*needed))]
    DiskFull { path: PathBuf, free: u64, needed: u64 },
    #[error("post to {}: {count} envelopes in one file: send 1 to {max}", path.display())]
    Batch { path: PathBuf, count: usize, max: usize },
    #[error("post to {}: {} of envelopes in one file: send at most {} at once", path.display(), show_size(*bytes), show_size(*max))]
    BatchBytes { path: PathBuf, bytes: u64, max: u64 },
    #[error("post to {}: envelope {id:?}: {fault}", path.display())]
    Envelope { path: PathBuf, id: String, fault: Fault },
    #[error("claim in {}: {claimant:?} is no name for a claimant: use 1 to 64 of a-z A-Z 0-9 . _ @ % -", path.display())]
    Claimant { path: PathBuf, claimant: String },
    #[error("reply in {}: {id:?} is not a ULID, so it names no file", path.display())]
    ReplyId { path: PathBuf, id: String },
    #[error("reply {}: {why}", path.display())]
    Reply { path: PathBuf, why: String },
    #[error("{verb} {}: {source}", path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: what was tried on which path.
    fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { verb, path, source }
    }
}

pub type Result<T> = std::result::Result<T, Error>;

/// A new ULID of this time: 26 characters that sort by the millisecond.
pub fn new_id(now: Stamp) -> String {
    let since_1970 = Duration::from_micros(u64::try_from(now.0).unwrap_or(0));
    ulid::Ulid::from_datetime(UNIX_EPOCH + since_1970).to_string()
}
