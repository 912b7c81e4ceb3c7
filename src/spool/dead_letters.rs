//! What could not be delivered or read: kept with its reason until an operator decides.
//!
//! Never opens what it keeps and never deletes it. Beside each file `X` stands `X.reason`, one JSON object
//! `{"v":1,"reason":text,"at":RFC 3339,"from_box":"inbox"}`. A file whose reason is missing (a crash between
//! the two steps) is listed all the same.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::claimed::Claimed;
use super::envelope::to_line;
use super::recovery::Grave;
use super::{Result, file};
use crate::model::units::Stamp;

/// The folder of one bot's dead letters; the value is only its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetters {
    dir: PathBuf,
}

/// One dead letter; what its reason file does not tell is None.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    pub path: PathBuf,
    pub reason: Option<String>,
    pub at: Option<Stamp>,
    /// The mailbox that it came from: `inbox` or `outbox`.
    pub from_box: Option<String>,
}

/// A reason file is a few hundred bytes; more is not ours.
const REASON_BYTES_MAX: u64 = 64 * 1024;

impl DeadLetters {
    /// The dead letters at `dir`, such as `ipc/shop/dead`; nothing is touched.
    pub fn new(dir: PathBuf) -> DeadLetters {
        DeadLetters { dir }
    }

    /// Sets a claimed file aside with its reason and returns where it lies now; None when it is gone. The
    /// folder is made where it is missing. An error of `write` leaves the file set aside, without its reason.
    pub fn bury(&self, claimed: Claimed, reason: &str, now: Stamp) -> Result<Option<PathBuf>> {
        file::make_dir(&self.dir)?;
        let named = |number| grave(claimed.name(), number);
        let Some(name) = file::move_into(claimed.path(), &self.dir, named)? else {
            return Ok(None);
        };
        let from_box = claimed.mailbox().file_name().map(OsStr::to_string_lossy);
        let path = self.dir.join(&name);
        let (tmp, beside) = (reason_path(&self.hidden(&name)), reason_path(&path));
        file::replace(&tmp, &beside, &reason_bytes(reason, from_box.as_deref(), now))?;
        Ok(Some(path))
    }

    /// Keeps a message that was taken out of its file, durably, under a name that stands for it alone. Safe to
    /// repeat. The reason comes first: a letter without one explains nothing.
    pub(super) fn keep(&self, grave: &Grave, from_box: &str, now: Stamp) -> Result<()> {
        file::make_dir(&self.dir)?;
        let name = OsString::from(grave.name.to_string());
        let (hidden, path) = (self.hidden(&name), self.dir.join(&name));
        let reason = reason_bytes(&grave.reason, Some(from_box), now);
        file::put_durably(&reason_path(&hidden), &reason_path(&path), &reason)?;
        file::put_durably(&hidden, &path, format!("{}\n", to_line(&grave.envelope)).as_bytes())?;
        file::sync_dir(&self.dir)
    }

    fn hidden(&self, name: &OsStr) -> PathBuf {
        let mut hidden = OsString::from(".");
        hidden.push(name);
        self.dir.join(hidden)
    }

    /// How many there are; reads only the names.
    pub fn count(&self) -> Result<usize> {
        Ok(self.names()?.len())
    }

    /// All of them, sorted by name.
    pub fn list(&self) -> Result<Vec<DeadLetter>> {
        let mut names = self.names()?;
        names.sort_unstable();
        Ok(names.iter().map(|name| read_letter(self.dir.join(name))).collect())
    }

    pub(super) fn names(&self) -> Result<Vec<OsString>> {
        let mut names = file::entries(&self.dir)?;
        names.retain(|name| !is_reason(name));
        Ok(names)
    }
}

fn reason_bytes(reason: &str, from_box: Option<&str>, now: Stamp) -> Vec<u8> {
    let content = json!({ "v": 1, "reason": reason, "at": now.to_string(), "from_box": from_box });
    format!("{content}\n").into_bytes()
}

/// The name in `dead/`: the posted one with room for `.` before and `_.reason` behind, and never one that
/// looks like a reason.
fn grave(name: &OsStr, number: u32) -> OsString {
    let mut fitted = file::fitted(name, number, "._.reason".len());
    if is_reason(&fitted) {
        fitted.push("_");
    }
    fitted
}

fn is_reason(name: &OsStr) -> bool {
    name.as_bytes().ends_with(b".reason")
}

pub(super) fn reason_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".reason");
    PathBuf::from(name)
}

fn read_letter(path: PathBuf) -> DeadLetter {
    let read = |path: &Path| -> io::Result<Vec<u8>> { file::read_up_to(&file::open(path)?, REASON_BYTES_MAX) };
    let content: Option<Value> = read(&reason_path(&path))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let text = |key: &str| content.as_ref()?.get(key)?.as_str().map(str::to_owned);
    DeadLetter {
        reason: text("reason"),
        at: text("at").and_then(|at| Stamp::parse(&at)),
        from_box: text("from_box"),
        path,
    }
}
