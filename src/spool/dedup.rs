//! Which dedup keys an inbox has seen: `ipc/<bot>/dedup/<sha256 of the key>`, one JSON object
//! `{"v":1,"id","file","expires_at","state":"pending"|"posted"}`.
//!
//! A key is taken before its message is posted, so that of two senders one posts. A sender that dies between the
//! two steps leaves a pending key: it counts while its message is somewhere, or while it may still be on its way.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::mailbox::Mailbox;
use super::{Error, Result, file};
use crate::model::units::Stamp;

/// The dedup keys that lie beside an inbox; the value is only its path.
pub(super) struct Dedup<'a> {
    inbox: &'a Mailbox,
    dir: PathBuf,
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is this sender's.
    New,
    /// A message of this id has it.
    By(String),
}

/// A sender needs milliseconds from taking its key to posting.
const PENDING_TIME_MAX: Duration = Duration::from_secs(5);
const KEY_BYTES_MAX: u64 = 4096;

impl Dedup<'_> {
    pub(super) fn of(inbox: &Mailbox) -> Dedup<'_> {
        Dedup {
            dir: inbox.dir().with_file_name("dedup"),
            inbox,
        }
    }

    /// Takes a key for the message `id`, which is about to be posted as `file_name`. Errors while another sender
    /// may be doing the same.
    pub(super) fn take(&self, key: &str, id: &str, file_name: &str, window: Duration, now: Stamp) -> Result<Taken> {
        file::make_dir(&self.dir)?;
        let path = self.path(key);
        let expires_at = Stamp(
            now.0
                .saturating_add(i64::try_from(window.as_micros()).unwrap_or(i64::MAX)),
        );
        let entry =
            json!({"v": 1, "id": id, "file": file_name, "expires_at": expires_at.to_string(), "state": "pending"});
        let bytes = entry.to_string().into_bytes();
        match file::write_new(&path, &bytes, false) {
            Ok(()) => return Ok(Taken::New),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io("write", &path)(error)),
        }
        let known = self.read(&path)?;
        let is_over = |known: &Value| {
            known["expires_at"]
                .as_str()
                .and_then(Stamp::parse)
                .is_some_and(|at| at < now)
        };
        if let Some(known) = known.filter(|known| !is_over(known)) {
            let holder = known["id"].as_str().unwrap_or_default().to_owned();
            let is_posted =
                known["state"] == "posted" || self.is_somewhere(known["file"].as_str().unwrap_or_default())?;
            if is_posted {
                return Ok(Taken::By(holder));
            }
            if age(&path, now) <= PENDING_TIME_MAX {
                return Err(Error::DedupPending { path });
            }
        }
        // Whoever replaces it last has it; two that do so at once are told by their id.
        file::replace(&self.dir.join(format!(".{id}.tmp")), &path, &bytes)?;
        match self.read(&path)? {
            Some(known) if known["id"] != id => Ok(Taken::By(known["id"].as_str().unwrap_or_default().to_owned())),
            Some(_) | None => Ok(Taken::New),
        }
    }

    /// The message that took this key is posted.
    pub(super) fn confirm(&self, key: &str) -> Result<()> {
        let path = self.path(key);
        let Some(mut entry) = self.read(&path)? else {
            return Ok(());
        };
        entry["state"] = "posted".into();
        let tmp = self
            .dir
            .join(format!(".{}.tmp", entry["id"].as_str().unwrap_or_default()));
        file::replace(&tmp, &path, entry.to_string().as_bytes())
    }

    /// The message that took this key was not posted.
    pub(super) fn release(&self, key: &str) -> Result<()> {
        file::remove(&self.path(key))
    }

    /// Forgets the keys whose time is over; returns how many.
    pub(super) fn sweep(&self, now: Stamp) -> Result<usize> {
        let mut removed = 0;
        for name in file::entries(&self.dir)? {
            let path = self.dir.join(name);
            let expires_at = self
                .read(&path)?
                .and_then(|entry| Stamp::parse(entry["expires_at"].as_str()?));
            if expires_at.is_some_and(|at| at < now) {
                file::remove(&path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn path(&self, key: &str) -> PathBuf {
        let digest = Sha256::digest(key.as_bytes());
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.dir.join(name)
    }

    /// None for one that is gone, or not complete yet.
    fn read(&self, path: &Path) -> Result<Option<Value>> {
        match file::open(path).and_then(|opened| file::read_up_to(&opened, KEY_BYTES_MAX)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).unwrap_or(Value::Null))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    /// Whether a message was posted under this name and is not done yet.
    fn is_somewhere(&self, file_name: &str) -> Result<bool> {
        if file_name.is_empty() || file_name.contains('/') {
            return Ok(false);
        }
        let dir = self.inbox.dir();
        for place in [
            dir.join("new"),
            dir.join("cur"),
            dir.join("later"),
            dir.join("held"),
            dir.with_file_name("dead"),
        ] {
            let names = file::entries(&place)?;
            if names.iter().any(|name| name.to_string_lossy().ends_with(file_name)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn age(path: &Path, now: Stamp) -> Duration {
    fs::symlink_metadata(path).map_or(Duration::MAX, |found| {
        now.since(file::micros(found.mtime(), found.mtime_nsec()))
    })
}
