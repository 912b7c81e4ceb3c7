//! What the bot has to say: kept in order until the outbox takes it.
//!
//! Invariant: nothing that was said is lost or overtaken while the process lives. What no file could hold is
//! replaced by an error, so that one answer never stops the others.

use serde_json::Value;

use crate::model::bot::BotId;
use crate::model::limits::{ENVELOPE_BYTES_MAX, ENVELOPES_PER_FILE_MAX, MAILBOX_FILE_BYTES_MAX};
use crate::model::message::{Envelope, Kind};
use crate::model::units::{Stamp, show_size};
use crate::spool::envelope::to_line;
use crate::spool::failure::Then;
use crate::spool::{self, Durability, Failure, Mailbox, Poster};

/// The name under which the supervisor is addressed.
pub(super) const SUPERVISOR: &str = "supervisor";

/// The bot's side of its outbox.
pub(super) struct Outbox {
    mailbox: Mailbox,
    bot: BotId,
    poster: Poster,
    waiting: Vec<Envelope>,
    /// Bytes of each waiting envelope on the wire.
    lengths: Vec<usize>,
    /// Whether an answer waits that must survive a power cut: what it answers is gone once it is posted.
    must_last: bool,
}

impl Outbox {
    pub(super) fn new(mailbox: Mailbox, bot: BotId) -> Outbox {
        Outbox {
            mailbox,
            bot,
            poster: Poster::new(),
            waiting: Vec::new(),
            lengths: Vec::new(),
            must_last: false,
        }
    }

    pub(super) fn tell(&mut self, event: &str, payload: Value, now: Stamp) {
        let id = spool::new_id(now);
        let envelope = Envelope::new(id, Kind::Event, event, self.bot.as_str(), SUPERVISOR, now);
        self.push(envelope.with_payload(payload));
    }

    /// Something that must not be lost, for the supervisor or another bot; returns its id.
    pub(super) fn forward(&mut self, kind: Kind, name: &str, to: &str, payload: Value, now: Stamp) -> String {
        let id = spool::new_id(now);
        let envelope = Envelope::new(id.clone(), kind, name, self.bot.as_str(), to, now);
        self.must_last = true;
        self.push(envelope.with_payload(payload));
        id
    }

    /// The answer to a question for status. It is worth nothing after a power cut.
    pub(super) fn report(&mut self, question: &Envelope, payload: Value, now: Stamp) {
        let mut answer = self.response(question, payload, now);
        "status_response".clone_into(&mut answer.name);
        self.push(answer);
    }

    pub(super) fn answer(&mut self, command: &Envelope, payload: Value, now: Stamp) {
        let answer = self.response(command, payload, now);
        let length = to_line(&answer).len();
        if length > ENVELOPE_BYTES_MAX {
            let (length, max) = (show_size(length as u64), show_size(ENVELOPE_BYTES_MAX as u64));
            let message = format!("the answer is {length} long, at most {max} can be sent");
            return self.give_back(command, &Failure::new(message, Then::Bury), now);
        }
        self.must_last = true;
        self.push(answer);
    }

    /// Answers a command negatively: why, and what is to become of it.
    pub(super) fn give_back(&mut self, command: &Envelope, failure: &Failure, now: Stamp) {
        self.must_last = true;
        self.push(failure.answer(command, self.bot.as_str(), spool::new_id(now), now));
    }

    /// Posts all that waits. After an error the rest goes on waiting, and the next call tries again.
    pub(super) fn flush(&mut self, now: Stamp) -> spool::Result<()> {
        let durability = if self.must_last {
            Durability::Batch
        } else {
            Durability::None
        };
        while !self.waiting.is_empty() {
            let count = fitting(&self.lengths);
            self.mailbox
                .post(&mut self.poster, &self.waiting[..count], durability, now)?;
            self.waiting.drain(..count);
            self.lengths.drain(..count);
        }
        self.must_last = false;
        Ok(())
    }

    /// The bot signs with its own name, whatever name it was called by.
    fn response(&self, command: &Envelope, payload: Value, now: Stamp) -> Envelope {
        let mut answer = command.response(spool::new_id(now), now).with_payload(payload);
        self.bot.as_str().clone_into(&mut answer.from);
        answer
    }

    fn push(&mut self, envelope: Envelope) {
        self.lengths.push(to_line(&envelope).len());
        self.waiting.push(envelope);
    }
}

/// How many of the first envelopes go into one file, at least one.
fn fitting(lengths: &[usize]) -> usize {
    let mut bytes = 0;
    let fits = |length: &&usize| {
        bytes += **length as u64 + 1;
        bytes <= MAILBOX_FILE_BYTES_MAX
    };
    let count = lengths.iter().take(ENVELOPES_PER_FILE_MAX).take_while(fits).count();
    count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Defaults;
    use serde_json::json;

    const NOW: Stamp = Stamp(1_700_000_000_000_000);

    #[test]
    fn a_file_is_filled_up_to_its_bounds() {
        let large = ENVELOPE_BYTES_MAX;
        for (lengths, count) in [
            (vec![1; 3], 3),
            (vec![1; 600], 512),
            (vec![large; 512], 63),
            (vec![large - 1; 512], 64),
            (vec![1], 1),
        ] {
            assert_eq!(fitting(&lengths), count);
        }
    }

    fn outbox(dir: &std::path::Path) -> Outbox {
        let mailbox = Mailbox::new(dir.join("outbox"));
        mailbox.create().unwrap();
        Outbox::new(mailbox, "shop".parse().unwrap())
    }

    fn posted(outbox: &Outbox) -> Vec<Envelope> {
        let defaults = Defaults {
            from: "nobody",
            to: "nobody",
            now: NOW,
        };
        let mut found = Vec::new();
        for entry in outbox.mailbox.scan().unwrap() {
            let claimed = outbox.mailbox.claim(&entry, "supervisor").unwrap().unwrap();
            found.extend(claimed.read(&defaults).unwrap());
            claimed.finish().unwrap();
        }
        found
    }

    #[test]
    fn what_was_said_arrives_in_order_even_when_it_takes_several_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut outbox = outbox(dir.path());
        for number in 0..1100 {
            outbox.tell("count", json!({"number": number}), NOW);
        }
        outbox.flush(NOW).unwrap();
        assert_eq!(outbox.mailbox.counts().unwrap().new, 3);
        let numbers: Vec<u64> = posted(&outbox)
            .iter()
            .map(|envelope| envelope.payload["number"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, (0..1100).collect::<Vec<u64>>());
        outbox.flush(NOW).unwrap();
        assert!(posted(&outbox).is_empty());
    }

    #[test]
    fn what_could_not_be_posted_waits() {
        let dir = tempfile::tempdir().unwrap();
        let mut outbox = outbox(dir.path());
        std::fs::remove_dir(outbox.mailbox.new_dir()).unwrap();
        outbox.tell("first", json!({}), NOW);
        assert!(outbox.flush(NOW).is_err());
        outbox.tell("second", json!({}), NOW);
        outbox.mailbox.create().unwrap();
        outbox.flush(NOW).unwrap();
        let names: Vec<String> = posted(&outbox).into_iter().map(|envelope| envelope.name).collect();
        assert_eq!(names, ["first", "second"]);
    }

    #[test]
    fn an_answer_that_no_envelope_holds_becomes_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut outbox = outbox(dir.path());
        let command = Envelope::new("c-1".into(), Kind::Command, "send_message", "cli", "nobody", NOW);
        outbox.answer(&command, json!({"text": "x".repeat(ENVELOPE_BYTES_MAX)}), NOW);
        outbox.answer(&command, json!({"text": "short"}), NOW);
        outbox.flush(NOW).unwrap();
        let [error, answer] = posted(&outbox).try_into().unwrap();
        assert_eq!((error.kind, error.name.as_str()), (Kind::Error, "send_message"));
        let said = error.payload["message"].as_str().unwrap();
        assert!(
            said.starts_with("the answer is 256.2 KiB long, at most 256.0 KiB"),
            "{said}"
        );
        assert_eq!(answer.payload, json!({"text": "short"}));
        for envelope in [error, answer] {
            assert_eq!(envelope.correlation_id.as_deref(), Some("c-1"));
            assert_eq!((envelope.from.as_str(), envelope.to.as_str()), ("shop", "cli"));
        }
    }
}
