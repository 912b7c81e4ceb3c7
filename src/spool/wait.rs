//! Waiting for files, for clients that have nothing else to do: the CLI and the built-in runner.
//!
//! A watch only hints; what is there is found by looking. Invariant: the watch is armed before the first
//! look, so nothing falls between the two. Where the kernel gives no watch (its limits, a network file
//! system), a look every 100 ms takes its place.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RemoveKind, RenameMode};
use notify::{INotifyWatcher, RecursiveMode, Watcher};

use super::file::entries;
use super::mailbox::Mailbox;

/// Wakes when files come into a mailbox.
pub struct Watch {
    new_dir: PathBuf,
    hints: Hints,
}

/// Ends the current or the next wait of a [`Watch`], from any thread.
#[derive(Clone)]
pub struct Waker(SyncSender<()>);

/// Waits until something is at `path`, at most `timeout`; whether it is.
pub fn wait_for_file(path: &Path, timeout: Duration) -> bool {
    let wanted = path.to_owned();
    let dir = path.parent().unwrap_or(Path::new("."));
    let hints = Hints::arm(dir, move |found| found == wanted);
    let mut left = timeout;
    loop {
        if path.symlink_metadata().is_ok() {
            return true;
        }
        let Some(rest) = hints.next(left) else {
            return path.symlink_metadata().is_ok();
        };
        left = rest;
    }
}

impl Watch {
    /// Watches `new/` of a mailbox from now on.
    pub fn new(mailbox: &Mailbox) -> Watch {
        let new_dir = mailbox.new_dir();
        let hints = Hints::arm(&new_dir, |_| true);
        // What came before the watch is news too: the first wait returns at once.
        Waker(hints.sender.clone()).wake();
        Watch { new_dir, hints }
    }

    /// For somebody who has other news than files.
    pub fn waker(&self) -> Waker {
        Waker(self.hints.sender.clone())
    }

    /// Returns true as soon as a scan may find something or a [`Waker`] was used, at once on the first call;
    /// false after `timeout`. Scan in both cases, since a watch may miss what it should see.
    pub fn wait(&self, timeout: Duration) -> bool {
        let mut left = timeout;
        while let Some(rest) = self.hints.next(left) {
            let looking = self.hints.watcher.is_none() && rest < left;
            if !looking || entries(&self.new_dir).is_ok_and(|names| !names.is_empty()) {
                return true;
            }
            left = rest;
        }
        false
    }
}

impl Waker {
    pub fn wake(&self) {
        // Full: a hint is pending already. Closed: nobody waits any more.
        let _ = self.0.try_send(());
    }
}

/// How often a folder without a watch is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// At most one pending hint: any number of changes is one reason to look.
struct Hints {
    /// None where the kernel gives no watch.
    watcher: Option<INotifyWatcher>,
    sender: SyncSender<()>,
    receiver: Receiver<()>,
}

impl Hints {
    fn arm(dir: &Path, wanted: impl Fn(&Path) -> bool + Send + 'static) -> Hints {
        let (sender, receiver) = mpsc::sync_channel(1);
        let hint = Waker(sender.clone());
        let heard = move |news: notify::Result<notify::Event>| {
            let look = match news {
                Ok(event) => event.need_rescan() || is_arrival(&event.kind) && event.paths.iter().any(|p| wanted(p)),
                Err(_) => true,
            };
            if look {
                hint.wake();
            }
        };
        let watcher = INotifyWatcher::new(heard, notify::Config::default())
            .and_then(|mut watcher| watcher.watch(dir, RecursiveMode::NonRecursive).map(|()| watcher));
        Hints {
            watcher: watcher.ok(),
            sender,
            receiver,
        }
    }

    /// Waits for one reason to look and returns what is left of `left`; None when nothing is. A hint costs no
    /// time, so that a caller needs no clock; there are only as many as there are arrivals.
    fn next(&self, left: Duration) -> Option<Duration> {
        let slice = if self.watcher.is_some() {
            left
        } else {
            left.min(LOOK_INTERVAL)
        };
        match self.receiver.recv_timeout(slice) {
            Ok(()) => Some(left),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                left.checked_sub(slice).filter(|rest| !rest.is_zero())
            }
        }
    }
}

/// Whether a file may have become complete, or the watch itself may be gone. Everything else, such as the
/// opening of a folder by our own scan, must not wake anybody.
fn is_arrival(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Modify(ModifyKind::Name(RenameMode::To))
            | EventKind::Create(CreateKind::File)
            | EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Remove(RemoveKind::Folder)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::thread;

    const LONG: Duration = Duration::from_secs(20);
    const NOW: Duration = Duration::ZERO;

    fn mailbox(dir: &Path) -> Mailbox {
        let mailbox = Mailbox::new(dir.join("inbox"));
        mailbox.create().unwrap();
        mailbox
    }

    fn unwatched(mailbox: &Mailbox) -> Watch {
        let mut watch = Watch::new(mailbox);
        watch.hints.watcher = None;
        watch
    }

    #[test]
    fn the_first_wait_returns_at_once_and_scans_wake_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = mailbox(dir.path());
        let watch = Watch::new(&mailbox);
        assert!(watch.hints.watcher.is_some());
        assert!(watch.wait(LONG));
        for _ in 0..3 {
            mailbox.scan().unwrap();
            assert!(!watch.wait(Duration::from_millis(20)));
        }
    }

    #[test]
    fn a_watch_wakes_for_files_written_and_files_moved_in() {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = mailbox(dir.path());
        let watch = Watch::new(&mailbox);
        assert!(watch.wait(NOW));
        fs::write(dir.path().join("aside"), "x").unwrap();
        fs::rename(dir.path().join("aside"), mailbox.new_dir().join("moved")).unwrap();
        assert!(watch.wait(LONG));
        fs::write(mailbox.new_dir().join("written"), "x").unwrap();
        assert!(watch.wait(LONG));
    }

    #[test]
    fn a_waker_ends_a_wait_that_has_begun_or_will_begin() {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = mailbox(dir.path());
        for watch in [Watch::new(&mailbox), unwatched(&mailbox)] {
            assert!(watch.wait(NOW));
            let waker = watch.waker();
            waker.wake();
            waker.wake();
            assert!(watch.wait(LONG));
            assert!(!watch.wait(Duration::from_millis(20)));
            thread::scope(|scope| {
                scope.spawn(|| waker.wake());
                assert!(watch.wait(LONG));
            });
        }
    }

    #[test]
    fn without_a_watch_a_look_finds_what_came() {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = mailbox(dir.path());
        let watch = unwatched(&mailbox);
        assert!(watch.wait(LONG));
        assert!(!watch.wait(Duration::from_millis(150)));
        fs::write(mailbox.new_dir().join("written"), "x").unwrap();
        assert!(watch.wait(LONG));
    }

    #[test]
    fn a_file_is_waited_for_from_before_and_from_after() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reply.json");
        assert!(!wait_for_file(&path, Duration::from_millis(20)));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| wait_for_file(&path, LONG));
            fs::write(dir.path().join("other"), "x").unwrap();
            fs::rename(dir.path().join("other"), &path).unwrap();
            assert!(waiting.join().unwrap());
        });
        assert!(wait_for_file(&path, NOW));
    }

    #[test]
    fn a_file_in_a_folder_that_comes_later_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("replies").join("reply.json");
        thread::scope(|scope| {
            let waiting = scope.spawn(|| wait_for_file(&path, LONG));
            fs::create_dir(dir.path().join("replies")).unwrap();
            fs::write(&path, "x").unwrap();
            assert!(waiting.join().unwrap());
        });
    }
}
