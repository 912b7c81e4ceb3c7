//! The thread that writes `run/status.json`, the answers that wait for it and those of bots, which do not, so that
//! the loop never waits for a disk. When snapshots come faster than the disk takes them, only the newest is written.

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
use crate::spool::Shared;
use crate::spool::envelope::to_value;
use crate::spool::replies::{sweep_replies, write_reply};

use super::snapshot::Snapshot;

/// What the thread is given.
enum Order {
    Publish(Box<Issue>),
    /// Answers of bots, each with the file in which it came.
    PassOn(Vec<(Envelope, Option<Shared>)>),
    /// Answered when everything before it is written.
    Flush(Sender<()>),
}

/// A snapshot and the answers that may be given once it can be read.
struct Issue {
    snapshot: Snapshot,
    replies: Vec<Envelope>,
    /// The files that the answers came in.
    claims: Vec<Shared>,
}

/// Publishes until it is dropped; dropping it waits until everything is written.
pub struct Publisher {
    sender: Option<Sender<Order>>,
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

    pub fn publish(&self, snapshot: Snapshot, replies: Vec<Envelope>, claims: Vec<Shared>) {
        if let Some(sender) = &self.sender {
            // The thread ends only when this sender is dropped.
            let _ = sender.send(Order::Publish(Box::new(Issue {
                snapshot,
                replies,
                claims,
            })));
        }
    }

    pub fn pass_on(&self, answers: Vec<(Envelope, Option<Shared>)>) {
        if let Some(sender) = &self.sender {
            let _ = sender.send(Order::PassOn(answers));
        }
    }

    /// Waits until everything that was published can be read.
    pub fn flush(&self) {
        let (done, wait) = channel();
        if let Some(sender) = &self.sender
            && sender.send(Order::Flush(done)).is_ok()
        {
            // An error says that the thread has ended, and with it everything that was to be written.
            let _ = wait.recv();
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

/// Answers that are kept while they cannot be written; what is older stays in the file that it came in.
const WAITING_MAX: usize = 10_000;

/// What is not written yet.
#[derive(Default)]
struct Waiting {
    snapshot: Option<Snapshot>,
    replies: Vec<Envelope>,
    claims: Vec<Shared>,
}

fn publish_all(queue: &Receiver<Order>, path: &Path, replies_dir: &Path) {
    let mut since_sweep = 0;
    let mut waiting = Waiting::default();
    while let Some(first) = next(queue, waiting.is_any()) {
        let mut flushed = Vec::new();
        let is_told = waiting.is_any();
        for order in first.into_iter().chain(queue.try_iter()) {
            match order {
                Order::Publish(issue) => waiting.add(*issue),
                Order::PassOn(answers) => {
                    for (answer, claim) in answers {
                        waiting.replies.push(answer);
                        waiting.claims.extend(claim);
                    }
                }
                Order::Flush(done) => flushed.push(done),
            }
        }
        since_sweep += waiting.replies.len();
        if since_sweep >= SWEEP_EVERY {
            since_sweep = 0;
            if let Err(error) = sweep_replies(replies_dir, clock::stamp(), REPLY_AGE_MAX) {
                tracing::warn!("{error}");
            }
        }
        if let Err(why) = waiting.write(path, replies_dir)
            && !is_told
        {
            tracing::error!("{why}");
        }
        for done in flushed {
            let _ = done.send(());
        }
    }
    waiting.claims.iter().for_each(Shared::keep);
}

impl Waiting {
    fn is_any(&self) -> bool {
        self.snapshot.is_some() || !self.replies.is_empty()
    }

    fn add(&mut self, issue: Issue) {
        self.snapshot = Some(issue.snapshot);
        self.replies.extend(issue.replies);
        self.claims.extend(issue.claims);
    }

    /// Writes the snapshot and then the answers that had to wait for it; what cannot be written stays.
    fn write(&mut self, path: &Path, replies_dir: &Path) -> Result<(), String> {
        if let Some(snapshot) = &self.snapshot {
            write_snapshot(path, snapshot).map_err(|source| format!("cannot write {}: {source}", path.display()))?;
            self.snapshot = None;
        }
        let replies = std::mem::take(&mut self.replies);
        let mut outcome = Ok(());
        for reply in replies {
            let Some(id) = reply.correlation_id.as_deref() else {
                continue;
            };
            if let Err(error) = write_reply(replies_dir, id, &to_value(&reply)) {
                outcome = Err(format!("cannot answer {id} yet: {error}"));
                self.replies.push(reply);
            }
        }
        if self.replies.is_empty() {
            self.claims.clear();
        } else if self.replies.len() > WAITING_MAX {
            self.claims.iter().for_each(Shared::keep);
            self.replies.drain(..self.replies.len() - WAITING_MAX);
        }
        outcome
    }
}

/// The next order; without one a snapshot that waits is tried again. None when nothing more will come.
fn next(queue: &Receiver<Order>, is_waiting: bool) -> Option<Option<Order>> {
    if !is_waiting {
        return queue.recv().ok().map(Some);
    }
    match queue.recv_timeout(RETRY_AFTER) {
        Ok(order) => Some(Some(order)),
        Err(RecvTimeoutError::Timeout) => Some(None),
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
