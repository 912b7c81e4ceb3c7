//! Settles a negative answer: finds the message among what the bot has claimed and moves it to where the answer
//! sends it. The supervisor's part.
//!
//! Invariant: the message is in its new place, synced, before its old one is marked.

use std::collections::HashSet;

use super::claimed::{Claimed, ReadError};
use super::consumer::base_name;
use super::dead_letters::DeadLetters;
use super::envelope::Defaults;
use super::failure::Failure;
use super::later::{LaterName, OrderKey};
use super::mailbox::Mailbox;
use super::name::FileName;
use super::progress::{Mark, Progress, is_progress};
use super::recovery::Grave;
use super::requeue::split;
use super::retry::{Verdict, judge, later_by};
use super::{Result, file};
use crate::model::message::Envelope;
use crate::model::queue::QueuePolicy;
use crate::model::units::Stamp;

/// What became of a message that was answered negatively.
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    /// Nobody has claimed it: its reader is done with it, and the answer is final.
    Absent,
    /// It is claimed, and its reader has not said yet whether it is done with it.
    Undecided,
    /// It waits and will be delivered again.
    Later { due: Stamp },
    /// It is delivered again at once.
    Back,
    /// It became a dead letter.
    Buried { reason: String },
    /// It meant nothing to any other run.
    Dropped,
}

/// A claimed message: its file, its place in it, and the ids of all in the file.
struct Found {
    claimed: Claimed,
    run: String,
    name: FileName,
    envelope: Envelope,
    is_marked: bool,
    ids: HashSet<String>,
}

impl Mailbox {
    /// Settles the negative answer to the message of this id. While its reader lives, `is_over` is false and
    /// only a message that is marked as failed is moved; afterwards an answer stands for itself.
    pub fn settle(
        &self,
        dead: &DeadLetters,
        id: &str,
        failure: &Failure,
        is_over: bool,
        rules: &QueuePolicy,
        defaults: &Defaults<'_>,
    ) -> Result<Settled> {
        let Some(found) = self.find_claimed(id, defaults)? else {
            return Ok(Settled::Absent);
        };
        if !found.is_marked && !is_over {
            return Ok(Settled::Undecided);
        }
        let verdict = judge(found.envelope.clone(), failure, &found.run, rules, defaults.now);
        let settled = self.move_on(dead, &found.name, verdict, rules, defaults)?;
        let path = found.claimed.path();
        if found.ids.len() <= 1 {
            Progress::end(path)?;
            return Ok(settled);
        }
        Progress::append(path, id, Mark::Acked)?;
        let progress = Progress::read(path)?;
        if found.ids.iter().all(|id| progress.is_acked(id)) {
            Progress::end(path)?;
        }
        Ok(settled)
    }

    fn move_on(
        &self,
        dead: &DeadLetters,
        name: &FileName,
        verdict: Verdict,
        rules: &QueuePolicy,
        defaults: &Defaults<'_>,
    ) -> Result<Settled> {
        match verdict {
            Verdict::Later { envelope, due } => self.put_later(name, envelope, due),
            Verdict::Behind(envelope) => self.put_behind(name, envelope, rules, defaults),
            Verdict::Bury { envelope, reason } => {
                let grave = Grave {
                    name: name.clone(),
                    envelope,
                    reason: reason.clone(),
                };
                dead.keep(&grave, "inbox", defaults.now)?;
                Ok(Settled::Buried { reason })
            }
            Verdict::Drop => Ok(Settled::Dropped),
        }
    }

    /// Puts a message behind what it must not overtake: due with it, or soon where that was not moved on yet, or
    /// back at once where nothing of its key waits any more.
    fn put_behind(
        &self,
        name: &FileName,
        envelope: Envelope,
        rules: &QueuePolicy,
        defaults: &Defaults<'_>,
    ) -> Result<Settled> {
        let Some(key) = OrderKey::of(&envelope) else {
            return self.put_later(name, envelope, later_by(defaults.now, rules.retry_delay));
        };
        let is_earlier = |other: &FileName| other.place() < name.place();
        let later = self.later()?;
        let earlier = later
            .iter()
            .filter(|later| later.key.as_ref() == Some(&key) && is_earlier(&later.name));
        if let Some(due) = earlier.map(LaterName::due).max() {
            return self.put_later(name, envelope, due);
        }
        if self.unsettled(&key, defaults)?.iter().any(is_earlier) {
            return self.put_later(name, envelope, later_by(defaults.now, rules.retry_delay));
        }
        self.put_back(name, std::slice::from_ref(&envelope))?;
        file::sync_dir(&self.new_dir())?;
        Ok(Settled::Back)
    }

    /// The places of messages of this key that are marked as failed and not moved on.
    fn unsettled(&self, key: &OrderKey, defaults: &Defaults<'_>) -> Result<Vec<FileName>> {
        let mut found = Vec::new();
        for file_name in file::entries(&self.cur_dir())? {
            let Some((_, posted)) = split(&file_name).filter(|_| !is_progress(&file_name)) else {
                continue;
            };
            let claimed = Claimed::found(self, &file_name, posted);
            let progress = Progress::read(claimed.path())?;
            if !progress.has_unsettled() {
                continue;
            }
            let base = base_name(&claimed);
            for (place, envelope) in claimed.read(defaults).unwrap_or_default().iter().enumerate() {
                if progress.of(&envelope.id) == Some(Mark::Failed) && OrderKey::of(envelope).as_ref() == Some(key) {
                    found.push(base.piece(place, envelope.attempt));
                }
            }
        }
        Ok(found)
    }

    fn put_later(&self, name: &FileName, envelope: Envelope, due: Stamp) -> Result<Settled> {
        // The supervisor may have died after it had moved this message.
        if let Some(known) = self.later()?.iter().find(|later| later.name.place() == name.place()) {
            return Ok(Settled::Later { due: known.due() });
        }
        let name = name.piece(0, envelope.attempt);
        let later = LaterName::new(due, OrderKey::of(&envelope), name);
        file::make_dir(&self.later_dir())?;
        self.put(
            &self.later_dir().join(later.to_string()),
            std::slice::from_ref(&envelope),
        )?;
        file::sync_dir(&self.later_dir())?;
        Ok(Settled::Later { due })
    }

    /// The claimed message of this id that is not acked; one that is marked as failed before any other.
    fn find_claimed(&self, id: &str, defaults: &Defaults<'_>) -> Result<Option<Found>> {
        let mut unmarked = None;
        for file_name in file::entries(&self.cur_dir())? {
            let Some((run, posted)) = split(&file_name).filter(|_| !is_progress(&file_name)) else {
                continue;
            };
            let run = run.to_owned();
            let claimed = Claimed::found(self, &file_name, posted);
            let progress = Progress::read(claimed.path())?;
            let envelopes = match claimed.read(defaults) {
                Ok(envelopes) => envelopes,
                Err(ReadError::Unreadable(_)) => continue,
                // Gone since it was listed: its reader is done with it.
                Err(ReadError::Failed(_)) if claimed.path().symlink_metadata().is_err() => continue,
                Err(ReadError::Failed(error)) => return Err(error),
            };
            if envelopes.iter().all(|envelope| progress.is_acked(&envelope.id)) {
                // Whoever wrote the last line died before it could end the file.
                Progress::end(claimed.path())?;
                continue;
            }
            let Some(place) = envelopes.iter().position(|envelope| envelope.id == id) else {
                continue;
            };
            if progress.is_acked(id) {
                continue;
            }
            let base = base_name(&claimed);
            let mut envelope = envelopes[place].clone();
            envelope.attempt = envelope.attempt.max(base.attempt);
            let found = Found {
                run,
                name: base.piece(place, envelope.attempt),
                envelope,
                is_marked: progress.of(id) == Some(Mark::Failed),
                ids: envelopes.into_iter().map(|envelope| envelope.id).collect(),
                claimed,
            };
            if found.is_marked {
                return Ok(Some(found));
            }
            unmarked = Some(found);
        }
        Ok(unmarked)
    }
}
