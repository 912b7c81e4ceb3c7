//! A file in the hands of one claimant: read, then finished or buried.
//!
//! Trusts nothing: the file is opened without following a link or waiting for a writer, and judged by what
//! was opened. What is wrong with the file is apart from what is wrong with the host: only the first is a
//! reason to bury it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::consumer::base_name;
use super::envelope::{Defaults, Fault, from_line};
use super::mailbox::Mailbox;
use super::name::FileName;
use super::{Error, Result, file};
use crate::model::limits::{ENVELOPES_PER_FILE_MAX, MAILBOX_FILE_BYTES_MAX};
use crate::model::message::Envelope;

/// A claimed file, at `cur/<claimant>,<name>`.
#[derive(Debug)]
pub struct Claimed {
    mailbox: PathBuf,
    path: PathBuf,
    name: OsString,
}

/// Why a file in a mailbox is no message: the reason that is kept beside it in `dead/`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("its name ends in neither .ndjson nor .json")]
    Name,
    #[error("it is a {0}, not a regular file")]
    Type(&'static str),
    #[error("it has {0} hard links, not one")]
    Links(u64),
    #[error("it belongs to uid {uid}, neither to root nor to the mailbox's owner (uid {owner})")]
    Owner { uid: u32, owner: u32 },
    #[error("its permissions do not let uid {owner} read it")]
    Permission { owner: u32 },
    #[error("it is {bytes} bytes long, at most {MAILBOX_FILE_BYTES_MAX} are read")]
    TooLong { bytes: u64 },
    #[error("it is empty")]
    Empty,
    #[error("it is not UTF-8 from byte {0}")]
    Encoding(usize),
    #[error("it holds more than {ENVELOPES_PER_FILE_MAX} envelopes")]
    TooMany,
    #[error("envelope {number}: {fault}")]
    Envelope { number: usize, fault: Fault },
}

/// Why reading gave no envelopes.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file's own fault: bury it.
    #[error("{0}")]
    Unreadable(Unreadable),
    /// The host's fault: the file stays claimed and may be read again.
    #[error(transparent)]
    Failed(Error),
}

impl Claimed {
    pub(super) fn new(mailbox: &Path, path: PathBuf, name: OsString) -> Claimed {
        Claimed {
            mailbox: mailbox.to_owned(),
            path,
            name,
        }
    }

    /// A file of this name in `cur/`, that was posted under the other name.
    pub(super) fn found(mailbox: &Mailbox, name: &OsStr, posted: &OsStr) -> Claimed {
        Claimed::new(mailbox.dir(), mailbox.cur_dir().join(name), posted.to_owned())
    }

    /// A file that waits elsewhere in the mailbox, to be read as if it were claimed.
    pub(super) fn at(mailbox: &Mailbox, path: PathBuf, posted: OsString) -> Claimed {
        Claimed::new(mailbox.dir(), path, posted)
    }

    /// Where it lies now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name that it was posted under.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// The mailbox that it was claimed from.
    pub fn mailbox(&self) -> &Path {
        &self.mailbox
    }

    /// The envelopes inside, in order; at least one. One faulty envelope makes the whole file unreadable.
    pub fn read(&self, defaults: &Defaults<'_>) -> std::result::Result<Vec<Envelope>, ReadError> {
        let layout = Layout::of(&self.name).ok_or(ReadError::Unreadable(Unreadable::Name))?;
        let bytes = self.bytes()?;
        parse(&bytes, layout, defaults).map_err(ReadError::Unreadable)
    }

    /// Done: the file is unlinked. That is not synced; after a power cut it may be seen again.
    pub fn finish(self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &self.path)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn bytes(&self) -> std::result::Result<Vec<u8>, ReadError> {
        let failed = |verb, path: &Path, error: io::Error| ReadError::Failed(Error::io(verb, path)(error));
        let owner = fs::metadata(&self.mailbox)
            .map_err(|error| failed("look at", &self.mailbox, error))?
            .uid();
        let opened = file::open(&self.path).map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::LOOP) => ReadError::Unreadable(Unreadable::Type("symbolic link")),
            Some(Errno::NXIO | Errno::NODEV) => ReadError::Unreadable(Unreadable::Type("socket or device")),
            Some(Errno::ACCESS | Errno::PERM) => ReadError::Unreadable(Unreadable::Permission { owner }),
            _ => failed("open", &self.path, error),
        })?;
        let found = opened
            .metadata()
            .map_err(|error| failed("look at", &self.path, error))?;
        check(&found, owner).map_err(ReadError::Unreadable)?;
        let bytes =
            file::read_up_to(&opened, MAILBOX_FILE_BYTES_MAX).map_err(|error| failed("read", &self.path, error))?;
        match bytes.len() as u64 {
            0 => Err(ReadError::Unreadable(Unreadable::Empty)),
            length if length > MAILBOX_FILE_BYTES_MAX => {
                let bytes = found.len().max(length);
                Err(ReadError::Unreadable(Unreadable::TooLong { bytes }))
            }
            _ => Ok(bytes),
        }
    }
}

/// A claimed file in the hands of several who each see to a part of what it holds: history, answers, mail for
/// others. It is finished when the last of them lets go of it. A process that is killed lets go of nothing, so
/// the file comes again.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Held>);

#[derive(Debug)]
struct Held(Mutex<Option<Claimed>>);

impl Shared {
    pub fn new(claimed: Claimed) -> Shared {
        Shared(Arc::new(Held(Mutex::new(Some(claimed)))))
    }

    /// A part could not be done: the file stays claimed and is read again by the next start, whatever the
    /// others do.
    pub fn keep(&self) {
        if let Ok(mut claimed) = self.0.0.lock() {
            claimed.take();
        }
    }

    /// The name under which it came, in multibot's own form; None for one that is kept.
    pub(super) fn base_name(&self) -> Option<FileName> {
        self.0.0.lock().ok()?.as_ref().map(base_name)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Ok(Some(claimed)) = self.0.get_mut().map(Option::take) {
            // What cannot be removed now is handled once more; nothing is lost by that.
            let _ = claimed.finish();
        }
    }
}

/// How the envelopes lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// `.ndjson`: one a line.
    Lines,
    /// `.json`: one in the whole file, spread as its author likes.
    Whole,
}

impl Layout {
    fn of(name: &OsStr) -> Option<Layout> {
        let name = std::str::from_utf8(name.as_bytes()).ok()?;
        if name.ends_with(".ndjson") {
            Some(Layout::Lines)
        } else {
            name.ends_with(".json").then_some(Layout::Whole)
        }
    }
}

/// Whether an opened file may be a message at all.
fn check(found: &fs::Metadata, owner: u32) -> std::result::Result<(), Unreadable> {
    let kind = found.file_type();
    let uid = found.uid();
    if kind.is_dir() {
        Err(Unreadable::Type("folder"))
    } else if kind.is_fifo() {
        Err(Unreadable::Type("named pipe"))
    } else if !kind.is_file() {
        Err(Unreadable::Type("special file"))
    } else if found.nlink() != 1 {
        Err(Unreadable::Links(found.nlink()))
    } else if uid != owner && uid != 0 {
        Err(Unreadable::Owner { uid, owner })
    } else {
        Ok(())
    }
}

fn parse(bytes: &[u8], layout: Layout, defaults: &Defaults<'_>) -> std::result::Result<Vec<Envelope>, Unreadable> {
    let text = std::str::from_utf8(bytes).map_err(|error| Unreadable::Encoding(error.valid_up_to()))?;
    let texts: Vec<&str> = match layout {
        Layout::Whole => vec![text],
        Layout::Lines => text.lines().filter(|line| !line.trim().is_empty()).collect(),
    };
    if text.trim().is_empty() {
        return Err(Unreadable::Empty);
    }
    if texts.len() > ENVELOPES_PER_FILE_MAX {
        return Err(Unreadable::TooMany);
    }
    let read = |(index, text)| {
        from_line(text, defaults).map_err(|fault| Unreadable::Envelope {
            number: index + 1,
            fault,
        })
    };
    texts.into_iter().enumerate().map(read).collect()
}
