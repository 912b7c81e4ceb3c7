//! The one thread of the supervisor that writes to the store: what happened, into `process_events`, and
//! what the supervisor did by itself, into `audit_log`. What is recorded while a transaction runs goes
//! into the next one together.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::model::fact::Fact;
use crate::model::units::Stamp;
use crate::spool::Shared;
use crate::store::{Access, AuditEntry, Store};

/// Events older than this are dropped.
const EVENT_AGE_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
/// Events that are kept at the most.
const EVENTS_MAX: u32 = 500_000;
/// How many recorded events lie between two clean-ups.
const PRUNE_EVERY: usize = 10_000;

/// One thing to be written.
enum Entry {
    /// With the files that they came in.
    Facts(Vec<Fact>, Vec<Shared>),
    Audit(AuditEntry),
}

/// Records until it is dropped; dropping it waits until everything is written.
pub struct Recorder {
    sender: Option<Sender<Entry>>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    pub fn start(database: &Path) -> Result<Recorder, RecorderError> {
        let history = Store::open(database, Access::History)?;
        let audit = Store::open(database, Access::Write)?;
        let (sender, queue) = channel();
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || record_all(&queue, &history, &audit))
            .map_err(RecorderError::Thread)?;
        Ok(Recorder {
            sender: Some(sender),
            thread: Some(thread),
        })
    }

    pub fn record(&self, facts: Vec<Fact>, claims: Vec<Shared>) {
        self.send(Entry::Facts(facts, claims));
    }

    pub fn audit(&self, entry: AuditEntry) {
        self.send(Entry::Audit(entry));
    }

    fn send(&self, entry: Entry) {
        if let Some(sender) = &self.sender {
            // The thread ends only when this sender is dropped.
            let _ = sender.send(entry);
        }
    }
}

/// Why nothing can be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How soon a history that could not be written is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Facts that are kept while the history cannot be written; what is older is then lost to it.
const WAITING_MAX: usize = 50_000;

/// What is not in the store yet.
#[derive(Default)]
struct Waiting {
    facts: Vec<Fact>,
    claims: Vec<Shared>,
}

fn record_all(queue: &Receiver<Entry>, history: &Store, audit: &Store) {
    let mut until_prune = 0;
    let mut waiting = Waiting::default();
    while let Some(first) = next(queue, !waiting.facts.is_empty()) {
        let is_told = !waiting.facts.is_empty();
        for entry in first.into_iter().chain(queue.try_iter()) {
            match entry {
                Entry::Facts(facts, claims) => {
                    waiting.facts.extend(facts);
                    waiting.claims.extend(claims);
                }
                Entry::Audit(entry) => {
                    if let Err(error) = audit.audit().append(&entry) {
                        tracing::error!("{} is not in the audit: {error}", entry.action);
                    }
                }
            }
        }
        if let Some(newest) = waiting.facts.last().map(|fact| fact.at) {
            if let Err(error) = history.events().append(&waiting.facts) {
                if !is_told {
                    tracing::error!("{} events are not in the history yet: {error}", waiting.facts.len());
                }
                waiting.give_up_oldest();
                continue;
            }
            if until_prune == 0 {
                prune(history, newest);
                until_prune = PRUNE_EVERY;
            }
            until_prune = until_prune.saturating_sub(waiting.facts.len());
        }
        // The files of what is recorded are let go with it.
        waiting = Waiting::default();
    }
    waiting.claims.iter().for_each(Shared::keep);
}

/// The next entry; without one what waits is tried again. None when nothing more will come.
fn next(queue: &Receiver<Entry>, is_waiting: bool) -> Option<Option<Entry>> {
    if !is_waiting {
        return queue.recv().ok().map(Some);
    }
    match queue.recv_timeout(RETRY_AFTER) {
        Ok(entry) => Some(Some(entry)),
        Err(RecvTimeoutError::Timeout) => Some(None),
        Err(RecvTimeoutError::Disconnected) => None,
    }
}

impl Waiting {
    fn give_up_oldest(&mut self) {
        let surplus = self.facts.len().saturating_sub(WAITING_MAX);
        if surplus > 0 {
            tracing::error!("{surplus} events are given up: the history cannot be written");
            self.facts.drain(..surplus);
        }
    }
}

fn prune(history: &Store, newest: Stamp) {
    let before = Stamp(newest.0 - i64::try_from(EVENT_AGE_MAX.as_micros()).unwrap_or(0));
    if let Err(error) = history.events().prune_events(before, EVENTS_MAX) {
        tracing::warn!("old events are not dropped: {error}");
    }
}
