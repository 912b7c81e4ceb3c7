//! The log files of bots and of the supervisor: how a line looks, how secrets are kept out, how files rotate,
//! how they are read and followed. It never reads a clock, never prints and starts no thread.
//!
//! A file holds lines of the form `2026-11-23T22:33:01.000000Z out text`, where the second word is `out` or `err`.
//! Older lines stand in `<file>.1`, `<file>.2` and so on; the higher the number, the older the lines.
//!
//! Writing: [`Capture`] turns the bytes of a pipe into masked lines, [`LogFile`] puts them on the disk.
//! Reading: [`tail`] and [`tail_and_follow`] deliver [`LogLine`]s of one file, [`merge`] interleaves several;
//! [`Tap`] hands raw lines to who counts them.

mod capture;
mod chain;
mod follow;
mod line;
mod mask;
mod read;
mod rotate;
mod tap;

pub use capture::Capture;
pub use follow::{Follower, tail_and_follow};
pub use line::{LogLine, Stream, merge};
pub use mask::Mask;
pub use read::{Query, tail};
pub use rotate::LogFile;
pub use tap::{Gap, RawLine, Tap};

use std::io;
use std::path::PathBuf;

/// What can go wrong with a log file. Errors of writing are kept by [`LogFile`] and become a line of the log itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("open log {}: {}", path.display(), reason(source))]
    Open { path: PathBuf, source: io::Error },
    #[error("open log {}: it is not a regular file, move it away", path.display())]
    NotAFile { path: PathBuf },
    #[error("read log {}: {}", path.display(), reason(source))]
    Read { path: PathBuf, source: io::Error },
    #[error("write log {}: {}", path.display(), reason(source))]
    Write { path: PathBuf, source: io::Error },
    #[error("rotate log {}: {}", path.display(), reason(source))]
    Rotate { path: PathBuf, source: io::Error },
}

impl Error {
    /// The bare reason, without what was tried on which path: `No space left on device`.
    fn reason(&self) -> String {
        match self {
            Error::NotAFile { .. } => "not a regular file".to_owned(),
            Error::Open { source, .. }
            | Error::Read { source, .. }
            | Error::Write { source, .. }
            | Error::Rotate { source, .. } => reason(source),
        }
    }
}

/// An operating error in words alone; its number says nothing more to people.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}
