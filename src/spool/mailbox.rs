//! A mailbox: a folder of `tmp/`, `new/` and `cur/` through which one side posts and the other claims. An inbox
//! has `later/` and `held/` as well, for what waits.
//!
//! Owns posting, claiming and counting; `claimed.rs` reads what was claimed. Never decides what is done with
//! a message. Invariants: a file in `new/` is complete, because it was written in `tmp/` and renamed; of all
//! who claim one file, one gets it.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::bounds::{Bounds, Load};
use super::claimed::Claimed;
use super::envelope::{Defaults, Fault, from_line, to_line};
use super::name::{FileName, MICROS_MAX, is_ulid};
use super::progress::is_progress;
use super::scan::Entry;
use super::{Error, Result, file, new_id};
use crate::model::limits::{
    DISK_FREE_BYTES_MIN, ENVELOPES_PER_FILE_MAX, MAILBOX_FILE_BYTES_MAX, MAILBOX_FILES_MAX, OUTBOX_DISK_FREE_BYTES_MIN,
    TMP_AGE_MAX,
};
use crate::model::message::Envelope;
use crate::model::queue::Durability;
use crate::model::units::Stamp;

/// One folder of messages in one direction; the value is only its path and its bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    dir: PathBuf,
    pub(super) files_max: usize,
    /// What its bot's settings allow; None where no bot owns it.
    pub(super) bounds: Option<Bounds>,
}

/// What one sender remembers from post to post: its last time, so that its names never go back, and how many
/// posts each mailbox may take before it is counted again.
#[derive(Debug, Default)]
pub struct Poster {
    last_micros: u64,
    room: HashMap<PathBuf, usize>,
    /// The same for mailboxes that are bounded.
    slack: HashMap<PathBuf, Load>,
}

/// A file that was posted; it may be claimed at any moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    path: PathBuf,
}

/// Files waiting and files being worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    pub new: usize,
    pub cur: usize,
}

impl Mailbox {
    /// The mailbox at `dir`, such as `ipc/shop/inbox`; nothing is touched.
    pub fn new(dir: PathBuf) -> Mailbox {
        Mailbox {
            dir,
            files_max: MAILBOX_FILES_MAX,
            bounds: None,
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where posted files lie: what a watch looks at.
    pub fn new_dir(&self) -> PathBuf {
        self.dir.join("new")
    }

    pub fn cur_dir(&self) -> PathBuf {
        self.dir.join("cur")
    }

    pub fn later_dir(&self) -> PathBuf {
        self.dir.join("later")
    }

    pub fn held_dir(&self) -> PathBuf {
        self.dir.join("held")
    }

    /// Makes the folders that are missing, mode 0700.
    pub fn create(&self) -> Result<()> {
        for name in ["tmp", "new", "cur"] {
            file::make_dir(&self.dir.join(name))?;
        }
        Ok(())
    }

    /// The same for an inbox, where messages may wait.
    pub fn create_inbox(&self) -> Result<()> {
        self.create()?;
        file::make_dir(&self.later_dir())?;
        file::make_dir(&self.held_dir())
    }

    /// Posts 1 to 512 envelopes as one file, which is delivered by the most urgent of them. Errors when the
    /// mailbox is missing or full, when the disk is nearly full, and for an envelope that no reader would take;
    /// nothing is posted then. An error of `sync` may leave the file posted: senders may repeat, ids tell.
    pub fn post(
        &self,
        poster: &mut Poster,
        envelopes: &[Envelope],
        durability: Durability,
        now: Stamp,
    ) -> Result<Posted> {
        let name = poster.name(envelopes, now);
        self.post_as(&name, poster, envelopes, durability, now)
    }

    /// The same under a name that this poster has made.
    pub(super) fn post_as(
        &self,
        name: &FileName,
        poster: &mut Poster,
        envelopes: &[Envelope],
        durability: Durability,
        now: Stamp,
    ) -> Result<Posted> {
        let lines = self.lines(envelopes, now)?;
        self.check_lengths(&lines)?;
        let name = name.to_string();
        let sync = durability.is_durable();
        let room = self.room(poster, sync)?;
        let slack = self.slack(poster, envelopes.len(), lines.len())?;
        // What is not promised to last is an order to act now, perhaps the one that makes room.
        if sync || self.bounds.is_some() {
            let free = fs2::available_space(&self.dir).map_err(|error| self.missing_or("look at", &self.dir, error))?;
            self.check_disk(free, lines.len() as u64)?;
        }

        let (tmp, path) = (self.dir.join("tmp").join(&name), self.new_dir().join(&name));
        file::checkpoint(&tmp)?;
        file::write_new(&tmp, lines.as_bytes(), sync).map_err(|error| self.missing_or("write", &tmp, error))?;
        file::checkpoint(&path)?;
        fs::rename(&tmp, &path).map_err(|error| {
            // Its own error is the one to tell; what stays in tmp/ is swept later.
            let _ = fs::remove_file(&tmp);
            self.missing_or("post", &path, error)
        })?;
        if sync {
            file::sync_dir(&self.new_dir())?;
        }
        poster.room.insert(self.dir.clone(), room);
        poster.slack.insert(self.dir.clone(), slack);
        Ok(Posted { path })
    }

    /// Takes back what nobody has claimed yet; false when somebody has.
    pub fn retract(&self, posted: &Posted) -> Result<bool> {
        match fs::remove_file(&posted.path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("remove", &posted.path)(error)),
        }
    }

    /// Makes a file this claimant's own, whatever it is; None when somebody else was faster. The claimant is
    /// a run's id or `supervisor`.
    pub fn claim(&self, entry: &Entry, claimant: &str) -> Result<Option<Claimed>> {
        let safe = |c: char| c.is_ascii_alphanumeric() || "._@%-".contains(c);
        if claimant.is_empty() || claimant.len() > 64 || claimant.starts_with('.') || !claimant.chars().all(safe) {
            return Err(Error::Claimant {
                path: self.dir.clone(),
                claimant: claimant.to_owned(),
            });
        }
        let named = |number| {
            let mut name = OsString::from(format!("{claimant},"));
            name.push(file::fitted(entry.name(), number, claimant.len() + 1 + "_.acked".len()));
            if is_progress(&name) {
                name.push("_");
            }
            name
        };
        let cur = self.cur_dir();
        let moved = file::move_into(&self.new_dir().join(entry.name()), &cur, named)?;
        Ok(moved.map(|name| Claimed::new(&self.dir, cur.join(name), entry.name().to_owned())))
    }

    /// How many files wait and are worked on; reads only the names.
    pub fn counts(&self) -> Result<Counts> {
        let cur = file::entries(&self.cur_dir())?;
        Ok(Counts {
            new: file::entries(&self.new_dir())?.len(),
            cur: cur.iter().filter(|name| !is_progress(name)).count(),
        })
    }

    /// Removes what senders left in `tmp/` when they died; returns how many files.
    pub fn sweep_tmp(&self, now: Stamp) -> Result<usize> {
        file::sweep(&self.dir.join("tmp"), now, TMP_AGE_MAX)
    }

    /// The bytes of the file. Every line is read back first, so that no post is ever unreadable.
    fn lines(&self, envelopes: &[Envelope], now: Stamp) -> Result<String> {
        let path = || self.dir.clone();
        if envelopes.is_empty() || envelopes.len() > ENVELOPES_PER_FILE_MAX {
            return Err(Error::Batch {
                path: path(),
                count: envelopes.len(),
                max: ENVELOPES_PER_FILE_MAX,
            });
        }
        let mut lines = String::new();
        let mut ids = HashSet::new();
        for envelope in envelopes {
            // What became of each in a file is told by its id.
            if !ids.insert(envelope.id.as_str()) {
                let rule = "another one in each line of a file";
                return Err(Error::Envelope {
                    path: path(),
                    id: envelope.id.clone(),
                    fault: Fault::Field { field: "id", rule },
                });
            }
            let line = to_line(envelope);
            let defaults = Defaults {
                from: &envelope.from,
                to: &envelope.to,
                now,
            };
            from_line(&line, &defaults).map_err(|fault| Error::Envelope {
                path: path(),
                id: envelope.id.clone(),
                fault,
            })?;
            lines.push_str(&line);
            lines.push('\n');
        }
        let bytes = lines.len() as u64;
        if bytes > MAILBOX_FILE_BYTES_MAX {
            return Err(Error::BatchBytes {
                path: path(),
                bytes,
                max: MAILBOX_FILE_BYTES_MAX,
            });
        }
        Ok(lines)
    }

    /// How many more posts this poster may do before the mailbox is counted again. Counting costs as much as
    /// the mailbox is long, so a sender counts once per sixteenth of the room that it saw. The first durable
    /// post also makes the folders above durable, or the file could be lost together with them.
    fn room(&self, poster: &Poster, sync: bool) -> Result<usize> {
        match poster.room.get(&self.dir) {
            Some(room) if *room > 0 => Ok(room - 1),
            known => {
                if sync && known.is_none() {
                    for folder in self.dir.ancestors().take(3) {
                        file::sync_dir(folder).map_err(|error| self.missing(error))?;
                    }
                }
                let files = file::entries(&self.new_dir())?.len();
                let free = self.files_max.saturating_sub(files);
                if free == 0 {
                    let path = self.dir.clone();
                    return Err(Error::QueueFull { path, files });
                }
                Ok(free / 16)
            }
        }
    }

    /// What this poster may add after this post before what waits is counted again.
    fn slack(&self, poster: &Poster, messages: usize, bytes: usize) -> Result<Load> {
        let (messages, bytes) = (messages as u64, bytes as u64);
        if let Some(known) = poster.slack.get(&self.dir)
            && let (Some(messages), Some(bytes)) =
                (known.messages.checked_sub(messages), known.bytes.checked_sub(bytes))
        {
            return Ok(Load { messages, bytes });
        }
        self.check_room(Load { messages, bytes })
    }

    pub(super) fn check_disk(&self, free: u64, bytes: u64) -> Result<()> {
        let reserve = if self.dir.file_name().is_some_and(|name| name == "outbox") {
            OUTBOX_DISK_FREE_BYTES_MIN
        } else {
            DISK_FREE_BYTES_MIN
        };
        let needed = bytes.saturating_add(reserve);
        if free < needed {
            let path = self.dir.clone();
            return Err(Error::DiskFull { path, free, needed });
        }
        Ok(())
    }

    fn missing_or(&self, verb: &'static str, path: &Path, error: io::Error) -> Error {
        self.missing(Error::io(verb, path)(error))
    }

    /// What is not found is the mailbox itself.
    fn missing(&self, error: Error) -> Error {
        match error {
            Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Error::NoMailbox { path: self.dir.clone() }
            }
            other => other,
        }
    }
}

impl Poster {
    pub fn new() -> Poster {
        Poster::default()
    }

    /// The next name: later than every name before it, even when the clock was set back.
    pub(super) fn name(&mut self, envelopes: &[Envelope], now: Stamp) -> FileName {
        let clock = u64::try_from(now.0).unwrap_or(0);
        self.last_micros = clock.max(self.last_micros.saturating_add(1)).min(MICROS_MAX);
        let first = envelopes.first().map(|envelope| &envelope.id).filter(|id| is_ulid(id));
        FileName {
            priority: envelopes.iter().map(|envelope| envelope.priority).min().unwrap_or(9),
            micros: self.last_micros,
            id: first.cloned().unwrap_or_else(|| new_id(now)),
            attempt: envelopes.iter().map(|envelope| envelope.attempt).max().unwrap_or(1),
        }
    }
}

impl Posted {
    pub fn path(&self) -> &Path {
        &self.path
    }
}
