//! Posting into an inbox by the rules of its bot: bounded, without duplicates, as durable as its owner wants it.

use super::Result;
use super::bounds::Bounds;
use super::dedup::{Dedup, Taken};
use super::mailbox::{Mailbox, Poster};
use crate::model::message::Envelope;
use crate::model::queue::{Durability, QueuePolicy};
use crate::model::units::Stamp;

/// What became of the messages, by their ids, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submitted {
    pub accepted: Vec<String>,
    /// Not posted, because the second one was, which has the same dedup key.
    pub duplicates: Vec<(String, String)>,
}

impl Mailbox {
    /// The same mailbox, which takes no more than its bot's settings allow.
    pub fn bounded(mut self, policy: &QueuePolicy) -> Mailbox {
        self.bounds = Some(Bounds::of(policy));
        self
    }

    /// Posts 1 to 512 messages. An error means that none of them was accepted, except with durability `each`,
    /// where those before the faulty one were: `done` has them in any case.
    pub fn submit(
        &self,
        poster: &mut Poster,
        envelopes: &[Envelope],
        policy: &QueuePolicy,
        now: Stamp,
        done: &mut Submitted,
    ) -> Result<()> {
        if policy.durability == Durability::Each {
            return envelopes
                .iter()
                .try_for_each(|envelope| self.submit_file(poster, std::slice::from_ref(envelope), policy, now, done));
        }
        self.submit_file(poster, envelopes, policy, now, done)
    }

    fn submit_file(
        &self,
        poster: &mut Poster,
        envelopes: &[Envelope],
        policy: &QueuePolicy,
        now: Stamp,
        done: &mut Submitted,
    ) -> Result<()> {
        let name = poster.name(envelopes, now);
        let dedup = Dedup::of(self);
        let mut fresh = Vec::with_capacity(envelopes.len());
        let mut duplicates = Vec::new();
        let mut keys: Vec<(&str, &str)> = Vec::new();
        let mut post = || -> Result<()> {
            for envelope in envelopes {
                if let Some(key) = &envelope.dedup_key {
                    if let Some((_, first)) = keys.iter().find(|(known, _)| known == key) {
                        duplicates.push((envelope.id.clone(), (*first).to_owned()));
                        continue;
                    }
                    match dedup.take(key, &envelope.id, &name.to_string(), policy.dedup_window, now)? {
                        Taken::New => keys.push((key, &envelope.id)),
                        Taken::By(other) => {
                            duplicates.push((envelope.id.clone(), other));
                            continue;
                        }
                    }
                }
                fresh.push(envelope.clone());
            }
            if fresh.is_empty() {
                return Ok(());
            }
            self.post_as(&name, poster, &fresh, policy.durability, now).map(|_| ())
        };
        if let Err(error) = post() {
            for (key, _) in keys {
                // The first error is the one to tell; a key that stays counts for seconds only.
                let _ = dedup.release(key);
            }
            return Err(error);
        }
        for (key, _) in keys {
            // They are posted: an error would say otherwise. A key that stays pending counts as long as its
            // message is somewhere.
            let _ = dedup.confirm(key);
        }
        done.accepted.extend(fresh.into_iter().map(|envelope| envelope.id));
        done.duplicates.extend(duplicates);
        Ok(())
    }

    /// Forgets dedup keys whose time is over, and what senders left in `tmp/` when they died.
    pub fn sweep(&self, now: Stamp) -> Result<usize> {
        Ok(self.sweep_tmp(now)? + Dedup::of(self).sweep(now)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::message::Kind;
    use crate::spool::envelope::tests::NOW;
    use crate::spool::retry::tests::RULES;
    use crate::spool::{Census, Error, new_id};
    use std::time::Duration;

    fn inbox(dir: &std::path::Path) -> Mailbox {
        let inbox = Mailbox::new(dir.join("inbox"));
        inbox.create_inbox().unwrap();
        inbox
    }

    fn command(key: Option<&str>) -> Envelope {
        let mut envelope = Envelope::new(new_id(NOW), Kind::Command, "dance", "cli", "shop", NOW);
        envelope.dedup_key = key.map(str::to_owned);
        envelope
    }

    fn submit(inbox: &Mailbox, envelopes: &[Envelope], policy: &QueuePolicy, now: Stamp) -> Result<Submitted> {
        let mut done = Submitted::default();
        inbox
            .clone()
            .bounded(policy)
            .submit(&mut Poster::new(), envelopes, policy, now, &mut done)?;
        Ok(done)
    }

    #[test]
    fn a_second_message_with_one_key_is_told_as_duplicate_within_its_window() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = inbox(dir.path());
        let (first, second, other) = (command(Some("k")), command(Some("k")), command(Some("l")));
        let done = submit(&inbox, &[first.clone(), second.clone(), other], &RULES, NOW).unwrap();
        assert_eq!(
            (done.accepted.len(), done.duplicates),
            (2, vec![(second.id, first.id.clone())])
        );
        let third = command(Some("k"));
        let done = submit(&inbox, std::slice::from_ref(&third), &RULES, NOW).unwrap();
        assert_eq!(
            (done.accepted.len(), done.duplicates),
            (0, vec![(third.id.clone(), first.id)])
        );
        let later = Stamp(NOW.0 + 3_600_000_001);
        assert_eq!(submit(&inbox, &[third], &RULES, later).unwrap().accepted.len(), 1);
        assert_eq!(inbox.sweep(Stamp(later.0 + 3_500_000_000)).unwrap(), 1);
    }

    #[test]
    fn a_key_whose_sender_died_counts_while_its_message_is_there_and_for_seconds_else() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = inbox(dir.path());
        let dedup = Dedup::of(&inbox);
        let window = Duration::from_secs(3600);
        let now = Stamp(i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap());
        assert_eq!(dedup.take("k", "a", "x.ndjson", window, now).unwrap(), Taken::New);
        let again = dedup.take("k", "b", "y.ndjson", window, now);
        assert!(matches!(again, Err(Error::DedupPending { .. })), "{again:?}");
        std::fs::write(inbox.cur_dir().join("RUN,x.ndjson"), "").unwrap();
        assert_eq!(
            dedup.take("k", "b", "y.ndjson", window, now).unwrap(),
            Taken::By("a".to_owned())
        );
        std::fs::remove_file(inbox.cur_dir().join("RUN,x.ndjson")).unwrap();
        let later = Stamp(now.0 + 6_000_000);
        assert_eq!(dedup.take("k", "b", "y.ndjson", window, later).unwrap(), Taken::New);
    }

    #[test]
    fn what_was_refused_leaves_no_key_behind() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = inbox(dir.path());
        let rules = QueuePolicy {
            max_messages: 1,
            ..RULES
        };
        let error = submit(&inbox, &[command(Some("k")), command(None)], &rules, NOW).unwrap_err();
        assert!(error.to_string().starts_with("queue full: "), "{error}");
        assert_eq!(inbox.census().unwrap(), Census::default());
        assert_eq!(
            submit(&inbox, &[command(Some("k"))], &rules, NOW)
                .unwrap()
                .accepted
                .len(),
            1
        );
    }

    #[test]
    fn each_bound_is_kept_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = inbox(dir.path());
        submit(&inbox, &[command(None), command(None), command(None)], &RULES, NOW).unwrap();
        let rules = |messages, bytes, message| QueuePolicy {
            max_messages: messages,
            max_bytes: bytes,
            max_message: message,
            ..RULES
        };
        for (rules, said) in [
            (
                rules(3, 1 << 20, 1024),
                "holds 3 messages of 3: start what reads it, or raise queue.max_messages",
            ),
            (
                rules(10, 500, 1024),
                "of 500 B: start what reads it, or raise queue.max_bytes",
            ),
            (
                rules(10, 1 << 20, 64),
                "bytes long, at most 64 are taken: make it shorter, or raise queue.max_message",
            ),
        ] {
            let error = submit(&inbox, &[command(None)], &rules, NOW).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        assert_eq!(
            submit(&inbox, &[command(None)], &rules(4, 1 << 20, 1024), NOW)
                .unwrap()
                .accepted
                .len(),
            1
        );
    }

    #[test]
    fn each_message_is_a_file_of_its_own_if_that_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        for (durability, files) in [(Durability::Batch, 1), (Durability::None, 2), (Durability::Each, 4)] {
            let rules = QueuePolicy { durability, ..RULES };
            let inbox = inbox(dir.path());
            submit(&inbox, &[command(None), command(None)], &rules, NOW).unwrap();
            assert_eq!(inbox.counts().unwrap().new, files, "{durability:?}");
        }
    }
}
