//! Carries messages from outboxes into inboxes on a thread of its own, so that nobody else waits for a disk. What
//! has queued up for one inbox goes into one file with one sync.
//!
//! Invariant: the file in the outbox is finished only after everything in it is durable somewhere else, in an inbox
//! or among the sender's dead letters; a crash before that delivers again.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::Result;
use super::claimed::Shared;
use super::dead_letters::DeadLetters;
use super::envelope::to_line;
use super::mailbox::{Mailbox, Poster};
use super::name::FileName;
use super::recovery::Grave;
use super::submit::Submitted;
use crate::model::limits::{ENVELOPES_PER_FILE_MAX, MAILBOX_FILE_BYTES_MAX};
use crate::model::message::Envelope;
use crate::model::queue::{Durability, QueuePolicy};
use crate::model::units::Stamp;

/// What one file of an outbox has for others.
pub struct Parcel {
    /// The file; None for messages that stand in no file any more.
    pub claimed: Option<Shared>,
    pub deliveries: Vec<Delivery>,
    /// What goes nowhere, and why.
    pub refused: Vec<(Envelope, String)>,
    /// The sender's dead letters.
    pub dead: DeadLetters,
    pub now: Stamp,
}

/// One message and the inbox that it is for.
pub struct Delivery {
    pub inbox: Mailbox,
    pub policy: QueuePolicy,
    pub envelope: Envelope,
}

/// Delivers until it is dropped; dropping it waits until everything is delivered.
pub struct Writer {
    sender: Option<Sender<Parcel>>,
    thread: Option<JoinHandle<()>>,
}

/// A delivery on its way, and the parcel that it is of.
struct Open {
    parcel: usize,
    delivery: Delivery,
    bytes: u64,
}

impl Writer {
    /// Starts the thread; `tell` gets a line for everything that went wrong.
    pub fn start(tell: impl Fn(&str) + Send + 'static) -> io::Result<Writer> {
        let (sender, queue) = channel();
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || deliver_all(&queue, &tell))?;
        Ok(Writer {
            sender: Some(sender),
            thread: Some(thread),
        })
    }

    /// Takes a parcel; it is delivered in the order in which it came.
    pub fn deliver(&self, parcel: Parcel) {
        if let Some(sender) = &self.sender {
            // The thread ends only when this sender is dropped.
            let _ = sender.send(parcel);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn deliver_all(queue: &Receiver<Parcel>, tell: &impl Fn(&str)) {
    let mut poster = Poster::new();
    while let Ok(first) = queue.recv() {
        let more = queue.try_iter().take(ENVELOPES_PER_FILE_MAX - 1);
        let mut parcels: Vec<Parcel> = std::iter::once(first).chain(more).collect();
        for batch in batches(&mut parcels) {
            deliver(&mut poster, batch, &mut parcels);
        }
        for parcel in parcels {
            if let Err(error) = close(parcel, tell) {
                tell(&error.to_string());
            }
        }
    }
}

/// The deliveries of these parcels by inbox, in their order, each batch as much as a file may hold.
fn batches(parcels: &mut [Parcel]) -> Vec<Vec<Open>> {
    let mut by_inbox: BTreeMap<PathBuf, Vec<Vec<Open>>> = BTreeMap::new();
    for (number, parcel) in parcels.iter_mut().enumerate() {
        for delivery in std::mem::take(&mut parcel.deliveries) {
            let bytes = to_line(&delivery.envelope).len() as u64 + 1;
            let own = by_inbox.entry(delivery.inbox.dir().to_owned()).or_default();
            // One priority a file: the most urgent message decides for all in it.
            let fits = own.last().is_some_and(|batch: &Vec<Open>| {
                let filled: u64 = batch.iter().map(|open| open.bytes).sum();
                batch.len() < ENVELOPES_PER_FILE_MAX
                    && filled + bytes <= MAILBOX_FILE_BYTES_MAX
                    && batch[0].delivery.envelope.priority == delivery.envelope.priority
            });
            if !fits {
                own.push(Vec::new());
            }
            if let Some(batch) = own.last_mut() {
                let parcel = number;
                batch.push(Open {
                    parcel,
                    delivery,
                    bytes,
                });
            }
        }
    }
    by_inbox.into_values().flatten().collect()
}

/// Posts a batch; where it is refused, each message alone, so that one does not refuse the others.
fn deliver(poster: &mut Poster, batch: Vec<Open>, parcels: &mut [Parcel]) {
    let Some(first) = batch.first() else { return };
    let (now, inbox) = (parcels[first.parcel].now, first.delivery.inbox.clone());
    let mut policy = first.delivery.policy.clone();
    if policy.durability == Durability::None {
        // The file in the outbox was promised to last until then.
        policy.durability = Durability::Batch;
    }
    let inbox = inbox.bounded(&policy);
    let envelopes: Vec<Envelope> = batch.iter().map(|open| open.delivery.envelope.clone()).collect();
    let mut done = Submitted::default();
    if inbox.submit(poster, &envelopes, &policy, now, &mut done).is_ok() {
        return;
    }
    for open in batch {
        let envelope = open.delivery.envelope;
        if done.accepted.contains(&envelope.id) {
            continue;
        }
        let one = std::slice::from_ref(&envelope);
        if let Err(error) = inbox.submit(poster, one, &policy, now, &mut Submitted::default()) {
            parcels[open.parcel].refused.push((envelope, error.to_string()));
        }
    }
}

/// Keeps what was refused, then finishes the file that it came in.
fn close(parcel: Parcel, tell: &impl Fn(&str)) -> Result<()> {
    let base = parcel.claimed.as_ref().and_then(Shared::base_name);
    let base = base.unwrap_or_else(|| FileName::of("outbox".as_ref(), parcel.now));
    for (envelope, reason) in parcel.refused {
        tell(&format!(
            "{} from {} to {} became a dead letter: {reason}",
            envelope.id, envelope.from, envelope.to
        ));
        // A name that stands for this message, also when its file is delivered once more.
        let name = FileName::of(format!("{} {}", envelope.id, envelope.to).as_ref(), base.posted_at());
        let grave = Grave { name, envelope, reason };
        if let Err(error) = parcel.dead.keep(&grave, "outbox", parcel.now) {
            parcel.claimed.iter().for_each(Shared::keep);
            return Err(error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::message::Kind;
    use crate::spool::envelope::tests::{DEFAULTS, NOW};
    use crate::spool::retry::tests::RULES;
    use crate::spool::{Census, new_id};

    fn message(to: &str) -> Envelope {
        Envelope::new(new_id(NOW), Kind::Command, "dance", "desk", to, NOW)
    }

    #[test]
    fn what_queues_up_goes_into_one_file_and_ends_in_an_inbox_or_a_dead_letter() {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = |name: &str| Mailbox::new(dir.path().join(name));
        let (inbox, small, outbox) = (mailbox("a/inbox"), mailbox("b/inbox"), mailbox("desk/outbox"));
        for mailbox in [&inbox, &small, &outbox] {
            mailbox.create_inbox().unwrap();
        }
        let dead = DeadLetters::new(dir.path().join("desk/dead"));
        let mut poster = Poster::new();
        let tight = QueuePolicy {
            max_messages: 1,
            ..RULES
        };
        let mut parcels = Vec::new();
        for _ in 0..3 {
            let sent = [message("a"), message("b"), message("ghost")];
            outbox.post(&mut poster, &sent, Durability::None, NOW).unwrap();
            let entry = outbox.scan().unwrap().remove(0);
            let claimed = outbox.claim(&entry, "supervisor").unwrap().unwrap();
            let [to_a, to_b, refused] = sent;
            let to = |inbox: &Mailbox, policy: &QueuePolicy, envelope| Delivery {
                inbox: inbox.clone(),
                policy: policy.clone(),
                envelope,
            };
            parcels.push(Parcel {
                claimed: Some(Shared::new(claimed)),
                deliveries: vec![to(&inbox, &RULES, to_a), to(&small, &tight, to_b)],
                refused: vec![(refused, "no bot ghost".to_owned())],
                dead: dead.clone(),
                now: NOW,
            });
        }
        let (sender, queue) = channel();
        parcels.into_iter().for_each(|parcel| sender.send(parcel).unwrap());
        drop(sender);
        deliver_all(&queue, &|_| {});
        assert_eq!(inbox.counts().unwrap().new, 1);
        let entry = inbox.scan().unwrap().remove(0);
        assert_eq!(
            inbox
                .claim(&entry, "R")
                .unwrap()
                .unwrap()
                .read(&DEFAULTS)
                .unwrap()
                .len(),
            3
        );
        assert_eq!(small.counts().unwrap().new, 1);
        assert_eq!(outbox.census().unwrap(), Census::default());
        let reasons: Vec<String> = dead
            .list()
            .unwrap()
            .into_iter()
            .filter_map(|letter| letter.reason)
            .collect();
        assert_eq!(reasons.iter().filter(|reason| *reason == "no bot ghost").count(), 3);
        assert_eq!(
            reasons
                .iter()
                .filter(|reason| reason.starts_with("queue full: "))
                .count(),
            2
        );
    }
}
