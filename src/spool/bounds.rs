//! How much an inbox may hold. A sender is refused, with everything that was accepted before untouched.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::file::{self, entries};
use super::mailbox::Mailbox;
use super::{Error, Result};
use crate::model::limits::MAILBOX_FILE_BYTES_MAX;
use crate::model::queue::QueuePolicy;

/// The bounds of one mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    messages: u64,
    bytes: u64,
    message: u64,
}

/// Messages and bytes: what waits, what is to be added, or what may still be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// The shortest line that is an envelope, with its end.
const LINE_BYTES_MIN: u64 = 37;

impl Bounds {
    pub(super) fn of(policy: &QueuePolicy) -> Bounds {
        Bounds {
            messages: policy.max_messages,
            bytes: policy.max_bytes,
            message: policy.max_message,
        }
    }
}

impl Mailbox {
    /// Refuses lines of which one is too long.
    pub(super) fn check_lengths(&self, lines: &str) -> Result<()> {
        let Some(bounds) = self.bounds else { return Ok(()) };
        match lines
            .lines()
            .map(|line| line.len() as u64)
            .find(|bytes| *bytes > bounds.message)
        {
            Some(bytes) => Err(Error::MessageTooLong {
                path: self.dir().to_owned(),
                bytes,
                max: bounds.message,
            }),
            None => Ok(()),
        }
    }

    /// How much a sender may add before it must ask again, when it adds this much now: a sixteenth of what is
    /// free, as counting costs as much as the mailbox is long.
    pub(super) fn check_room(&self, added: Load) -> Result<Load> {
        let Some(bounds) = self.bounds else {
            return Ok(Load::default());
        };
        let found = self.load(bounds.messages.saturating_sub(added.messages))?;
        let path = || self.dir().to_owned();
        if found.messages + added.messages > bounds.messages {
            let (path, messages, max) = (path(), found.messages, bounds.messages);
            return Err(Error::QueueMessages { path, messages, max });
        }
        if found.bytes + added.bytes > bounds.bytes {
            let (path, bytes, max) = (path(), found.bytes, bounds.bytes);
            return Err(Error::QueueBytes { path, bytes, max });
        }
        Ok(Load {
            messages: (bounds.messages - found.messages - added.messages) / 16,
            bytes: (bounds.bytes - found.bytes - added.bytes) / 16,
        })
    }

    /// What waits. As long as there cannot be more than `enough` messages, files of several may count for more
    /// than they hold: looking into them is what costs.
    fn load(&self, enough: u64) -> Result<Load> {
        let mut bytes = 0;
        let mut most = 0;
        let mut files: Vec<(PathBuf, u64)> = Vec::new();
        for dir in [self.new_dir(), self.later_dir()] {
            for name in entries(&dir)? {
                let path = dir.join(name);
                let Ok(found) = fs::symlink_metadata(&path) else {
                    continue;
                };
                bytes += found.size();
                most += (found.size() / LINE_BYTES_MIN).max(1);
                files.push((path, found.size()));
            }
        }
        if most <= enough {
            return Ok(Load { messages: most, bytes });
        }
        let messages = files.iter().map(|(path, size)| messages_of(path, *size)).sum();
        Ok(Load { messages, bytes })
    }

    /// How many messages wait in `new/`. `known` remembers what each file holds, so that none is looked into twice.
    pub fn waiting(&self, known: &mut HashMap<OsString, u64>) -> Result<u64> {
        let mut found = HashMap::new();
        for name in entries(&self.new_dir())? {
            let count = known.remove(&name).unwrap_or_else(|| {
                let path = self.new_dir().join(&name);
                fs::symlink_metadata(&path).map_or(1, |meta| messages_of(&path, meta.size()))
            });
            found.insert(name, count);
        }
        *known = found;
        Ok(known.values().sum())
    }
}

fn messages_of(path: &Path, size: u64) -> u64 {
    let is_one = size < 2 * LINE_BYTES_MIN || path.extension().is_none_or(|it| it != "ndjson");
    if is_one { 1 } else { lines_of(path) }
}

/// The messages in a file; what cannot be read is one.
fn lines_of(path: &Path) -> u64 {
    let read = file::open(path).and_then(|opened| file::read_up_to(&opened, MAILBOX_FILE_BYTES_MAX));
    let lines = read.map_or(1, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count());
    lines.max(1) as u64
}
