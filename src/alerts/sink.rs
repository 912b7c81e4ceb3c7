//! One sink: a mailbox of words that are safe there, and the thread that passes them on in their order.
//!
//! Invariant: a word leaves the mailbox only when it was delivered, has expired, or was refused for good; then it lies
//! among the dead letters with its reason. While one waits for its retry, those behind it wait too.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use serde_json::Value;

use crate::clock;
use crate::home::Home;
use crate::model::alert::SinkPolicy;
use crate::model::bot::{BotId, Secret};
use crate::model::message::Envelope;
use crate::model::queue::QueuePolicy;
use crate::model::units::{Moment, Stamp};
use crate::spool::{
    self, Claimed, DeadLetters, Defaults, Durability, Failure, Item, Mailbox, Place, Poster, ReadError, Settled,
};
use crate::store::{Access, Store};

use super::delivery::{Means, deliver};
use super::notice;

/// The name that sinks claim with.
const CLAIMANT: &str = "sink";
/// The rate is one of so long.
const MINUTE: Duration = Duration::from_secs(60);
/// Words that one summary holds.
const SUMMARY_MAX: usize = 200;
/// A mailbox that cannot be read or written is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How long the end of a supervisor waits for a delivery under way.
const LEAVE_TIME: Duration = Duration::from_secs(1);

/// The mailbox of one sink of a home, with or without a thread that reads it.
#[derive(Clone)]
pub struct SinkBox {
    name: String,
    mailbox: Mailbox,
    dead: DeadLetters,
}

/// What became of a word, as far as it can be seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It waits; why its last try failed, if there was one.
    Waiting(Option<String>),
    Dead(String),
    /// It is in none of the folders any more.
    Delivered,
}

/// What has not gone out of a mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    pub waiting: usize,
    /// When the oldest of them was posted.
    pub since: Option<Stamp>,
    /// Since when deliveries of the first one fail; None: none has failed.
    pub failing_since: Option<Stamp>,
    /// Why its last one failed.
    pub reason: Option<String>,
    /// Words that were refused for good, or are too old.
    pub dead: usize,
}

impl SinkBox {
    pub fn new(home: &Home, name: &str) -> SinkBox {
        let dir = home.sink_of(name);
        SinkBox {
            name: name.to_owned(),
            mailbox: Mailbox::new(dir.join("inbox")),
            dead: DeadLetters::new(dir.join("dead")),
        }
    }

    /// Posts a word so that it survives a power loss.
    pub fn post(&self, id: String, content: Value, policy: &SinkPolicy) -> spool::Result<()> {
        let now = clock::stamp();
        self.mailbox.create_inbox()?;
        let envelope = notice::envelope(id, &self.name, content, policy, now);
        self.mailbox
            .post(&mut Poster::new(), &[envelope], Durability::Each, now)
            .map(|_| ())
    }

    /// Where a word is now.
    pub fn fate(&self, id: &str) -> spool::Result<Fate> {
        let items = self.mailbox.items(&self.dead, &self.defaults())?;
        let Some(item) = items.iter().find(|item| item.id() == id) else {
            return Ok(Fate::Delivered);
        };
        let last = item.envelope.as_ref().and_then(|envelope| envelope.history.last());
        Ok(match &item.reason {
            Some(reason) => Fate::Dead(reason.clone()),
            None => Fate::Waiting(last.map(|setback| setback.why.clone())),
        })
    }

    /// Whether a word of this alert waits to be delivered.
    pub fn has_word_of(&self, alert: &str) -> spool::Result<bool> {
        let items = self.mailbox.items(&self.dead, &self.defaults())?;
        let is_of = |item: &Item| item.id().strip_prefix(alert).is_some_and(|rest| rest.starts_with('-'));
        Ok(items.iter().any(|item| item.place != Place::Dead && is_of(item)))
    }

    /// What waits, and why.
    pub fn backlog(&self) -> spool::Result<Backlog> {
        let items = self.mailbox.items(&self.dead, &self.defaults())?;
        let (dead, waiting): (Vec<&Item>, Vec<&Item>) = items.iter().partition(|item| item.place == Place::Dead);
        // Only the first is tried, and all others wait behind it.
        let histories = waiting.iter().filter_map(|item| Some(&item.envelope.as_ref()?.history));
        let tried = histories.filter(|history| !history.is_empty());
        let head = tried.max_by_key(|history| history.last().map(|setback| setback.at));
        Ok(Backlog {
            waiting: waiting.len(),
            since: waiting.iter().map(|item| item.posted_at).min(),
            failing_since: head.and_then(|history| history.first()).map(|setback| setback.at),
            reason: head
                .and_then(|history| history.last())
                .map(|setback| setback.why.clone()),
            dead: dead.len(),
        })
    }

    fn defaults(&self) -> Defaults<'_> {
        Defaults {
            from: "supervisor",
            to: &self.name,
            now: clock::stamp(),
        }
    }
}

/// A sink with its thread; it ends when this is dropped.
pub struct Sink {
    pub policy: SinkPolicy,
    pub mailbox: SinkBox,
    wake: Option<SyncSender<()>>,
    stopped: Arc<AtomicBool>,
    ended: Receiver<()>,
}

impl Sink {
    /// Starts the thread, which first takes up what an earlier one has left.
    pub fn start(home: &Home, name: &str, policy: &SinkPolicy) -> std::io::Result<Sink> {
        let mailbox = SinkBox::new(home, name);
        let (wake, wakes) = sync_channel(1);
        let (ending, ended) = sync_channel(1);
        let stopped = Arc::new(AtomicBool::new(false));
        let mut carrier = Carrier {
            sink: mailbox.clone(),
            policy: policy.clone(),
            database: home.database(),
            stopped: Arc::clone(&stopped),
            sent: VecDeque::new(),
            failing: false,
            is_crowded: false,
        };
        std::thread::Builder::new()
            .name(format!("sink {name}"))
            .spawn(move || {
                carrier.run(&wakes);
                // Nobody may wait for it any more.
                let _ = ending.try_send(());
            })?;
        Ok(Sink {
            policy: policy.clone(),
            mailbox,
            wake: Some(wake),
            stopped,
            ended,
        })
    }

    /// Something may lie in its mailbox.
    pub fn wake(&self) {
        if let Some(wake) = &self.wake {
            // Full: it will look anyway.
            let _ = wake.try_send(());
        }
    }
}

impl Sink {
    /// Begins to end: what is under way is cut short.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.wake();
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.wake = None;
        // A delivery that takes longer is cut off by the end of the process, and done again by the next.
        let _ = self.ended.recv_timeout(LEAVE_TIME);
    }
}

/// The thread's own.
struct Carrier {
    sink: SinkBox,
    policy: SinkPolicy,
    database: PathBuf,
    stopped: Arc<AtomicBool>,
    /// When the deliveries of the last minute were done.
    sent: VecDeque<Moment>,
    /// The last delivery failed: told once.
    failing: bool,
    /// It had its share of this minute: what waits comes as one.
    is_crowded: bool,
}

/// What to do after one look.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Look,
    Wait(Option<Duration>),
}

impl Carrier {
    fn run(&mut self, wakes: &Receiver<()>) {
        if let Err(error) = self.take_up() {
            tracing::warn!("sink {}: {error}", self.sink.name);
        }
        while !self.stopped.load(Ordering::Relaxed) {
            let next = self.look().unwrap_or_else(|error| {
                tracing::warn!("sink {}: {error}", self.sink.name);
                Next::Wait(Some(RETRY_AFTER))
            });
            let woken = match next {
                Next::Look => continue,
                Next::Wait(Some(length)) => wakes.recv_timeout(length),
                Next::Wait(None) => wakes.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            if woken == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    /// What was being delivered when the last supervisor ended is delivered again.
    fn take_up(&self) -> spool::Result<()> {
        self.sink.mailbox.create_inbox()?;
        self.sink.mailbox.give_back(CLAIMANT)?;
        self.sink.mailbox.sweep_tmp(clock::stamp()).map(|_| ())
    }

    fn look(&mut self) -> spool::Result<Next> {
        let now = clock::stamp();
        let released = self.sink.mailbox.release_due(&self.sink.dead, &self.sink.defaults())?;
        for buried in &released.buried {
            tracing::error!("sink {}: {} is given up: {}", self.sink.name, buried.id, buried.reason);
        }
        if let Some(due) = released.next_due {
            return Ok(Next::Wait(Some(due.since(now))));
        }
        let waiting = self.sink.mailbox.scan()?;
        if waiting.is_empty() {
            self.is_crowded = false;
            return Ok(Next::Wait(None));
        }
        if let Some(wait) = self.wait_for_turn() {
            self.is_crowded = true;
            return Ok(Next::Wait(Some(wait)));
        }
        let take = if self.is_crowded { SUMMARY_MAX } else { 1 };
        let mut claims = Vec::new();
        for entry in waiting.iter().take(take) {
            if let Some(claimed) = self.sink.mailbox.claim(entry, CLAIMANT)? {
                claims.push(claimed);
            }
        }
        self.is_crowded = false;
        self.carry(claims)?;
        Ok(Next::Look)
    }

    /// How long until another word may go out.
    fn wait_for_turn(&mut self) -> Option<Duration> {
        let rate = self.policy.rate? as usize;
        let now = clock::now();
        self.sent.retain(|at| now.since(*at) < MINUTE);
        let place = self.sent.len().checked_sub(rate)?;
        self.sent.get(place).map(|at| (*at + MINUTE).since(now))
    }

    /// Delivers what was claimed, as one word.
    fn carry(&mut self, claims: Vec<Claimed>) -> spool::Result<()> {
        let mut words: Vec<(Claimed, Envelope)> = Vec::new();
        for claimed in claims {
            match claimed.read(&self.sink.defaults()) {
                Ok(mut envelopes) if envelopes.len() == 1 => words.push((claimed, envelopes.remove(0))),
                Ok(_) => self.bury(claimed, "it holds more than one word")?,
                Err(ReadError::Unreadable(why)) => self.bury(claimed, &why.to_string())?,
                Err(ReadError::Failed(error)) => return Err(error),
            }
        }
        let contents: Vec<Value> = words.iter().map(|(_, envelope)| envelope.payload.clone()).collect();
        let content = match contents.as_slice() {
            [] => return Ok(()),
            [content] => content.clone(),
            all => notice::summary(all),
        };
        let database = self.database.clone();
        let token_of = |bot: &BotId| -> Result<Option<Secret>, String> {
            let store = Store::open(&database, Access::Read).map_err(|error| error.to_string())?;
            store.credentials().token(bot).map_err(|error| error.to_string())
        };
        let means = Means {
            timeout: self.policy.timeout,
            stopped: &self.stopped,
            token_of: &token_of,
        };
        match deliver(&self.policy.kind, &content, &means) {
            Ok(()) => {
                self.sent.push_back(clock::now());
                if std::mem::take(&mut self.failing) {
                    tracing::info!("sink {}: delivers again", self.sink.name);
                }
                for (claimed, _) in words {
                    claimed.finish()?;
                }
                Ok(())
            }
            Err(failure) => self.put_off(words, &failure),
        }
    }

    /// The first of them waits for its retry, and the others behind it, in their old places.
    fn put_off(&mut self, words: Vec<(Claimed, Envelope)>, failure: &Failure) -> spool::Result<()> {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!("sink {}: {}; it is tried again", self.sink.name, failure.message);
        }
        let rules = QueuePolicy {
            retry_delay: self.policy.retry_delay,
            max_retry_delay: self.policy.max_retry_delay,
            ..QueuePolicy::default()
        };
        if let Some((_, envelope)) = words.first() {
            let (mailbox, dead) = (&self.sink.mailbox, &self.sink.dead);
            let settled = mailbox.settle(dead, &envelope.id, failure, true, &rules, &self.sink.defaults())?;
            if let Settled::Buried { reason } = settled {
                tracing::error!("sink {}: {} is given up: {reason}", self.sink.name, envelope.id);
            }
        }
        self.sink.mailbox.give_back(CLAIMANT)?;
        Ok(())
    }

    fn bury(&self, claimed: Claimed, why: &str) -> spool::Result<()> {
        self.sink.dead.bury(claimed, why, clock::stamp()).map(|_| ())
    }
}
