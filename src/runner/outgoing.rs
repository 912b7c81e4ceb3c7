//! Files that somebody puts into `media/<bot>/outgoing/<chat>/`: found when they are complete, and moved on when they are
//! sent.
//!
//! A file is complete when its writer has closed it or moved it in. Where nobody has seen that, as of files that lay
//! there before, it is complete when it was left alone for a while. Hidden files and those that end in `.part` or `.tmp`
//! are not there yet.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RenameMode};
use notify::{INotifyWatcher, RecursiveMode, Watcher};

use crate::model::units::Stamp;
use crate::spool::Waker;

/// How long a file must be left alone whose end nobody has seen.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// The same for one that somebody seems to be writing: he may have died, or never close it.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);

pub(super) struct OutgoingFiles {
    /// `media/<bot>`; None where the bot has no media.
    root: Option<PathBuf>,
    /// None where the kernel gives no watch: then all is found by its age.
    _watcher: Option<INotifyWatcher>,
    seen: Arc<Mutex<HashMap<PathBuf, Sign>>>,
    in_work: HashSet<PathBuf>,
}

/// What was seen last of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Opened,
    Complete,
}

/// A file that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) chat: String,
    pub(super) path: PathBuf,
}

impl OutgoingFiles {
    /// Watches the folder of these media from now on and wakes the bot for what comes. Errors where the folder cannot
    /// be made.
    pub(super) fn open(root: &Path, waker: Waker) -> io::Result<OutgoingFiles> {
        let seen = Arc::new(Mutex::new(HashMap::new()));
        if root.as_os_str().is_empty() {
            return Ok(OutgoingFiles {
                root: None,
                _watcher: None,
                seen,
                in_work: HashSet::new(),
            });
        }
        let dir = root.join("outgoing");
        fs::create_dir_all(&dir)?;
        let noted = Arc::clone(&seen);
        let heard = move |news: notify::Result<notify::Event>| {
            if let Ok(event) = news
                && let Some(sign) = sign(&event.kind)
            {
                let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                noted.extend(event.paths.into_iter().map(|path| (path, sign)));
                drop(noted);
                waker.wake();
            }
        };
        let watcher = INotifyWatcher::new(heard, notify::Config::default())
            .and_then(|mut watcher| watcher.watch(&dir, RecursiveMode::Recursive).map(|()| watcher));
        Ok(OutgoingFiles {
            root: Some(root.to_owned()),
            _watcher: watcher.ok(),
            seen,
            in_work: HashSet::new(),
        })
    }

    /// The complete files that nobody works on, by chat and name, and when to look again if some are not complete.
    pub(super) fn look(&mut self, now: Stamp) -> (Vec<Found>, Option<Duration>) {
        let Some(root) = &self.root else {
            return (Vec::new(), None);
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut found, mut again): (Vec<Found>, Option<Duration>) = (Vec::new(), None);
        let mut there = HashSet::new();
        for (chat, path, changed_at) in files(&root.join("outgoing")) {
            there.insert(path.clone());
            if self.in_work.contains(&path) {
                continue;
            }
            let age = now.since(changed_at);
            match wait(seen.get(&path).copied(), age) {
                None => found.push(Found { chat, path }),
                Some(wait) => again = Some(again.map_or(wait, |earlier| earlier.min(wait))),
            }
        }
        seen.retain(|path, _| there.contains(path));
        found.sort();
        (found, again)
    }

    pub(super) fn begin(&mut self, path: &Path) {
        self.in_work.insert(path.to_owned());
    }

    /// Moves a file to where it belongs from now on, `sent` or `refused`, under its chat.
    pub(super) fn end(&mut self, found: &Found, folder: &str) -> io::Result<PathBuf> {
        self.in_work.remove(&found.path);
        let root = self.root.clone().unwrap_or_default();
        let chat = found.path.parent().and_then(Path::file_name).unwrap_or_default();
        let dir = root.join(folder).join(chat);
        fs::create_dir_all(&dir)?;
        let name = found.path.file_name().unwrap_or_default();
        let mut target = dir.join(name);
        // What was sent before under the same name stays.
        for number in 1.. {
            if target.symlink_metadata().is_err() {
                break;
            }
            let mut numbered = std::ffi::OsString::from(format!("{number}-"));
            numbered.push(name);
            target = dir.join(numbered);
        }
        fs::rename(&found.path, &target)?;
        Ok(target)
    }
}

/// How long to wait for a file; None when it is complete.
fn wait(sign: Option<Sign>, age: Duration) -> Option<Duration> {
    let enough = match sign {
        Some(Sign::Complete) => Duration::ZERO,
        Some(Sign::Opened) => ABANDONED_AFTER,
        None => SETTLED_AFTER,
    };
    enough.checked_sub(age).filter(|left| !left.is_zero())
}

fn sign(kind: &EventKind) -> Option<Sign> {
    match kind {
        EventKind::Create(CreateKind::File) => Some(Sign::Opened),
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Sign::Complete),
        EventKind::Create(_) => Some(Sign::Opened),
        _ => None,
    }
}

/// The chat, the path and the last change of every file that may be sent.
fn files(outgoing: &Path) -> Vec<(String, PathBuf, Stamp)> {
    let list = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for folder in list(outgoing) {
        // A chat whose name is no text can be no chat.
        let Ok(chat) = folder.file_name().into_string() else {
            continue;
        };
        for file in list(&folder.path()) {
            let name = file.file_name();
            let name = name.to_string_lossy();
            let is_unfinished = name.starts_with('.') || name.ends_with(".part") || name.ends_with(".tmp");
            // A link may lead anywhere.
            let Some(meta) = file.metadata().ok().filter(|meta| meta.is_file() && !is_unfinished) else {
                continue;
            };
            let changed_at = Stamp(meta.ctime().saturating_mul(1_000_000) + meta.ctime_nsec() / 1000);
            found.push((chat.clone(), file.path(), changed_at));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::spool::{Mailbox, Watch};
    use std::io::Write;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_file_is_waited_for_as_its_signs_say() {
        let seconds = Duration::from_secs;
        for (sign, age, left) in [
            (Some(Sign::Complete), 0, None),
            (None, 0, Some(2)),
            (None, 2, None),
            (Some(Sign::Opened), 10, Some(50)),
            (Some(Sign::Opened), 60, None),
        ] {
            assert_eq!(wait(sign, seconds(age)), left.map(seconds), "{sign:?} {age}");
        }
    }

    #[test]
    fn a_file_is_found_when_it_was_closed_and_leaves_for_where_it_was_sent() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Mailbox::new(dir.path().join("inbox"));
        inbox.create().unwrap();
        let watch = Watch::new(&inbox);
        assert!(watch.wait(LONG), "the first wait returns at once");
        let chat = dir.path().join("outgoing/42");
        fs::create_dir_all(&chat).unwrap();
        let mut outgoing = OutgoingFiles::open(dir.path(), watch.waker()).unwrap();
        let mut file = fs::File::create(chat.join("a.txt")).unwrap();
        file.write_all(b"half").unwrap();
        fs::write(chat.join("b.part"), "not yet").unwrap();
        let found = |outgoing: &mut OutgoingFiles| outgoing.look(clock::stamp()).0;
        while !outgoing.seen.lock().unwrap().contains_key(&chat.join("a.txt")) {
            assert!(watch.wait(LONG));
        }
        assert!(found(&mut outgoing).is_empty());
        drop(file);
        let mut all = found(&mut outgoing);
        while all.is_empty() {
            assert!(watch.wait(LONG));
            all = found(&mut outgoing);
        }
        let [one] = all.try_into().unwrap();
        assert_eq!((one.chat.as_str(), one.path.clone()), ("42", chat.join("a.txt")));
        outgoing.begin(&one.path);
        assert!(found(&mut outgoing).is_empty());
        assert_eq!(outgoing.end(&one, "sent").unwrap(), dir.path().join("sent/42/a.txt"));
        fs::write(&one.path, "again").unwrap();
        assert_eq!(outgoing.end(&one, "sent").unwrap(), dir.path().join("sent/42/1-a.txt"));
    }
}
