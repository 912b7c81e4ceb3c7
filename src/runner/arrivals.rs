//! What has come from the platform and is not answered yet: a mailbox of the bot's own, `ipc/<bot>/arrivals`.
//!
//! Invariants: what was stored is handed out until it is done, by this run or the next one; what the platform tells
//! twice is stored once.

use std::time::Duration;

use super::arrival::Arrival;
use crate::model::message::{Envelope, Kind};
use crate::model::queue::{Durability, QueuePolicy};
use crate::model::units::Stamp;
use crate::spool::{self, Consumer, Mailbox, Poster, Received, Submitted, new_id};

/// Longer than any platform repeats itself.
const DEDUP_WINDOW: Duration = Duration::from_secs(7 * 86_400);
/// One reader after the other: each takes up what the last one has left.
const CLAIMANT: &str = "runner";

pub(super) struct Arrivals {
    mailbox: Mailbox,
    consumer: Consumer,
    poster: Poster,
    policy: QueuePolicy,
    bot: String,
}

/// What the mailbox has for the bot.
pub(super) enum Stored {
    /// To be handled; then say [`Arrivals::done`] of this id.
    Arrival(String, Arrival),
    /// It cannot be read, and lies among the dead letters.
    SetAside { name: String, why: String },
}

impl Arrivals {
    /// The arrivals of the bot with this inbox.
    pub(super) fn open(inbox: &Mailbox, bot: &str, now: Stamp) -> spool::Result<Arrivals> {
        let mailbox = Mailbox::new(inbox.dir().with_file_name("arrivals"));
        mailbox.create()?;
        let mut consumer = Consumer::new(mailbox.clone(), bot, CLAIMANT);
        consumer.resume(now)?;
        Ok(Arrivals {
            mailbox,
            consumer,
            poster: Poster::new(),
            policy: policy(),
            bot: bot.to_owned(),
        })
    }

    /// Keeps these; when it returns, they survive a power cut.
    pub(super) fn store(&mut self, arrivals: &[Arrival], now: Stamp) -> spool::Result<()> {
        let envelopes: Vec<Envelope> = arrivals.iter().map(|arrival| self.envelope(arrival, now)).collect();
        let mut done = Submitted::default();
        self.mailbox
            .submit(&mut self.poster, &envelopes, &self.policy, now, &mut done)
    }

    pub(super) fn next(&mut self, now: Stamp) -> spool::Result<Option<Stored>> {
        while let Some(received) = self.consumer.receive(now)? {
            match received {
                Received::Message(envelope) => match serde_json::from_value(envelope.payload) {
                    Ok(arrival) => return Ok(Some(Stored::Arrival(envelope.id, arrival))),
                    // Written by a later version, or by nobody who knows how.
                    Err(_) => drop(self.consumer.ack(&envelope.id)?),
                },
                Received::Refused { envelope, .. } => drop(self.consumer.ack(&envelope.id)?),
                Received::SetAside { name, why } => return Ok(Some(Stored::SetAside { name, why })),
            }
        }
        Ok(None)
    }

    pub(super) fn done(&mut self, id: &str) -> spool::Result<()> {
        self.consumer.ack(id).map(drop)
    }

    fn envelope(&self, arrival: &Arrival, now: Stamp) -> Envelope {
        let payload = serde_json::to_value(arrival).unwrap_or_default();
        let mut envelope = Envelope::new(new_id(now), Kind::Event, "arrival", &self.bot, &self.bot, now);
        envelope.dedup_key = Some(format!("arrival {}", arrival.id));
        envelope.with_payload(payload)
    }
}

fn policy() -> QueuePolicy {
    QueuePolicy {
        // What a platform has given out it gives out no more: there is no refusing it for want of room.
        max_messages: u64::MAX,
        max_bytes: u64::MAX,
        max_message: u64::MAX,
        retry_delay: Duration::from_secs(1),
        max_retry_delay: Duration::from_secs(1),
        max_crashes: u32::MAX,
        dedup_window: DEDUP_WINDOW,
        durability: Durability::Batch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::runner::arrival::{Message, What};

    fn arrival(id: &str) -> Arrival {
        let text = format!("text {id}");
        Arrival {
            id: id.to_owned(),
            chat: "42".to_owned(),
            what: What::Message(Message {
                text,
                ..Message::default()
            }),
        }
    }

    fn open(dir: &std::path::Path) -> Arrivals {
        Arrivals::open(&Mailbox::new(dir.join("inbox")), "shop", clock::stamp()).unwrap()
    }

    fn next(arrivals: &mut Arrivals) -> Option<(String, String)> {
        match arrivals.next(clock::stamp()).unwrap()? {
            Stored::Arrival(id, arrival) => Some((id, arrival.id)),
            Stored::SetAside { why, .. } => panic!("{why}"),
        }
    }

    #[test]
    fn what_is_stored_is_handed_out_until_it_is_done_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = open(dir.path());
        first
            .store(&[arrival("1"), arrival("2"), arrival("2")], clock::stamp())
            .unwrap();
        let (id, number) = next(&mut first).unwrap();
        assert_eq!(number, "1");
        first.done(&id).unwrap();
        assert_eq!(next(&mut first).unwrap().1, "2");
        // It dies, and the platform tells all of it again.
        drop(first);
        let mut second = open(dir.path());
        second
            .store(&[arrival("1"), arrival("2"), arrival("3")], clock::stamp())
            .unwrap();
        let mut numbers = Vec::new();
        while let Some((id, number)) = next(&mut second) {
            second.done(&id).unwrap();
            numbers.push(number);
        }
        assert_eq!(numbers, ["2", "3"]);
        assert!(next(&mut open(dir.path())).is_none());
    }
}
