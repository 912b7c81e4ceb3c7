//! The one thread of the supervisor that writes to the store: what happened, into `process_events`, what was
//! measured, into `process_metrics`, and what the supervisor did by itself, into `audit_log`. What is recorded while
//! a transaction runs goes into the next one together.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::upkeep::Upkeep;
use crate::model::fact::Fact;
use crate::model::metric::{MetricRow, Retention};
use crate::spool::Shared;
use crate::store::{Access, AuditEntry, Error, Store};

/// One thing to be written.
enum Entry {
    /// With the files that they came in.
    Facts(Vec<Fact>, Vec<Shared>),
    /// One pass.
    Metrics(Vec<MetricRow>),
    Audit(AuditEntry),
    /// From now on history is kept for so long.
    Keep(Retention),
}

/// Records until it is dropped; dropping it waits until everything is written.
pub struct Recorder {
    sender: Option<Sender<Entry>>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    pub fn start(database: &Path, retention: Retention) -> Result<Recorder, RecorderError> {
        let history = Store::open(database, Access::History)?;
        let audit = Store::open(database, Access::Write)?;
        let (sender, queue) = channel();
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || record_all(&queue, &history, &audit, Upkeep::new(retention)))
            .map_err(RecorderError::Thread)?;
        Ok(Recorder {
            sender: Some(sender),
            thread: Some(thread),
        })
    }

    pub fn record(&self, facts: Vec<Fact>, claims: Vec<Shared>) {
        self.send(Entry::Facts(facts, claims));
    }

    pub fn measure(&self, rows: Vec<MetricRow>) {
        self.send(Entry::Metrics(rows));
    }

    pub fn audit(&self, entry: AuditEntry) {
        self.send(Entry::Audit(entry));
    }

    pub fn keep(&self, retention: Retention) {
        self.send(Entry::Keep(retention));
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
    Store(#[from] Error),
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
/// Facts, and rows of measurements, that are kept while the history cannot be written; what is older is then lost
/// to it.
const WAITING_MAX: usize = 50_000;

/// What is not in the store yet.
#[derive(Default)]
struct Waiting {
    facts: Vec<Fact>,
    claims: Vec<Shared>,
    rows: Vec<MetricRow>,
}

fn record_all(queue: &Receiver<Entry>, history: &Store, audit: &Store, mut upkeep: Upkeep) {
    let mut waiting = Waiting::default();
    while let Some(first) = next(queue, !waiting.is_empty()) {
        let is_told = !waiting.is_empty();
        for entry in first.into_iter().chain(queue.try_iter()) {
            match entry {
                Entry::Facts(facts, claims) => {
                    waiting.facts.extend(facts);
                    waiting.claims.extend(claims);
                }
                Entry::Metrics(rows) => waiting.rows.extend(rows),
                Entry::Audit(entry) => {
                    if let Err(error) = audit.audit().append(&entry) {
                        tracing::error!("{} is not in the audit: {error}", entry.action);
                    }
                }
                Entry::Keep(retention) => upkeep.keep(retention),
            }
        }
        if !waiting.is_empty()
            && let Err(error) = waiting.write(history)
        {
            if !is_told {
                let (facts, rows) = (waiting.facts.len(), waiting.rows.len());
                tracing::error!("{facts} events and {rows} measurements are not in the history yet: {error}");
            }
            waiting.give_up_oldest();
            continue;
        }
        // The files of what is recorded are let go with it.
        let Waiting { facts, rows, claims } = std::mem::take(&mut waiting);
        drop(claims);
        upkeep.after(history, &facts, &rows);
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
    fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.rows.is_empty()
    }

    /// All of it in one transaction.
    fn write(&self, history: &Store) -> Result<(), Error> {
        history.transaction(|history| {
            if !self.facts.is_empty() {
                history.events().append(&self.facts)?;
            }
            if !self.rows.is_empty() {
                history.metrics().append(&self.rows)?;
            }
            Ok(())
        })
    }

    fn give_up_oldest(&mut self) {
        let surplus = self.facts.len().saturating_sub(WAITING_MAX);
        if surplus > 0 {
            tracing::error!("{surplus} events are given up: the history cannot be written");
            self.facts.drain(..surplus);
        }
        let surplus = self.rows.len().saturating_sub(WAITING_MAX);
        self.rows.drain(..surplus);
    }
}
