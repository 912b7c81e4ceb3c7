//! The thread that writes `run/status.json` and the answers that wait for it, so that the loop never
//! waits for a disk. When snapshots come faster than the disk takes them, only the newest is written.

use std::fs;
use std::io;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock;
use crate::model::limits::REPLY_AGE_MAX;
use crate::model::message::Envelope;
use crate::spool::envelope::to_value;
use crate::spool::replies::{sweep_replies, write_reply};

use super::snapshot::Snapshot;

/// A snapshot and the answers that may be given once it can be read.
struct Issue {
    snapshot: Snapshot,
    replies: Vec<Envelope>,
}

/// Publishes until it is dropped; dropping it waits until everything is written.
pub struct Publisher {
    sender: Option<Sender<Issue>>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Starts the thread. Snapshots go to `snapshot`, answers into `replies`.
    pub fn start(snapshot: PathBuf, replies: PathBuf) -> io::Result<Publisher> {
        let (sender, queue) = channel();
        let thread = std::thread::Builder::new()
            .name("publisher".to_owned())
            .spawn(move || publish_all(&queue, &snapshot, &replies))?;
        Ok(Publisher {
            sender: Some(sender),
            thread: Some(thread),
        })
    }

    pub fn publish(&self, snapshot: Snapshot, replies: Vec<Envelope>) {
        if let Some(sender) = &self.sender {
            // The thread ends only when this sender is dropped.
            let _ = sender.send(Issue { snapshot, replies });
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers that nobody waited for are looked for whenever so many were written.
const SWEEP_EVERY: usize = 256;

/// How soon a snapshot that could not be written is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

fn publish_all(queue: &Receiver<Issue>, path: &Path, replies_dir: &Path) {
    let mut since_sweep = 0;
    // The newest snapshot, while it could not be written.
    let mut unwritten: Option<Snapshot> = None;
    while let Some(mut issue) = next(queue, unwritten.take()) {
        let mut replies = std::mem::take(&mut issue.replies);
        while let Ok(newer) = queue.try_recv() {
            replies.extend(newer.replies);
            issue.snapshot = newer.snapshot;
        }
        if let Err(source) = write_snapshot(path, &issue.snapshot) {
            tracing::error!("cannot write {}: {source}", path.display());
            unwritten = Some(issue.snapshot);
        }
        since_sweep += replies.len();
        if since_sweep >= SWEEP_EVERY {
            since_sweep = 0;
            if let Err(error) = sweep_replies(replies_dir, clock::stamp(), REPLY_AGE_MAX) {
                tracing::warn!("{error}");
            }
        }
        for reply in replies {
            let Some(id) = reply.correlation_id.clone() else {
                continue;
            };
            if let Err(error) = write_reply(replies_dir, &id, &to_value(&reply)) {
                tracing::error!("cannot answer {id}: {error}");
            }
        }
    }
}

/// The next thing to publish; a snapshot that waits is tried again when nothing newer comes. None when
/// nothing more will come.
fn next(queue: &Receiver<Issue>, unwritten: Option<Snapshot>) -> Option<Issue> {
    let Some(snapshot) = unwritten else {
        return queue.recv().ok();
    };
    match queue.recv_timeout(RETRY_AFTER) {
        Ok(issue) => Some(issue),
        Err(RecvTimeoutError::Timeout) => Some(Issue {
            snapshot,
            replies: Vec::new(),
        }),
        Err(RecvTimeoutError::Disconnected) => None,
    }
}

/// Readers see the old or the new snapshot, never half of one. Not synced: after a power loss it
/// would be void anyway.
///
/// On a full disk the old one makes room for the new one. Where that does not help there is none: no
/// word is better than one that is no longer true.
fn write_snapshot(path: &Path, snapshot: &Snapshot) -> io::Result<()> {
    let bytes = serde_json::to_vec(snapshot)?;
    let temporary = path.with_extension("json.new");
    let write = || {
        let mut file = fs::File::create(&temporary)?;
        file.write_all(&bytes)
    };
    if write().is_err() {
        // Both may be missing; what matters is the second attempt.
        let _ = fs::remove_file(&temporary);
        let _ = fs::remove_file(path);
        write().inspect_err(|_| drop(fs::remove_file(&temporary)))?;
    }
    fs::rename(&temporary, path)
}
