//! What becomes of the messages in a bot's inbox: those that it answered negatively, those that a run had in hand
//! when it ended, and those whose time has come.
//!
//! Invariants: what a run had claimed is back before the next run is spawned; whoever waits for an answer gets the
//! final word only.

use std::time::Duration;

use crate::model::bot::{BotId, End, RunId};
use crate::model::message::{Envelope, Kind};
use crate::model::units::{Moment, Stamp};
use crate::spool::{Buried, RunEnd, Settled, is_ulid};

use super::event_loop::Supervisor;
use super::fleet::Member;
use super::host::Host;
use super::machine::{Because, Phase};
use super::routes::Outgoing;

/// How soon the disk is asked again after it refused.
const RETRY_DELAY: Duration = Duration::from_secs(1);
const SWEEP_EVERY: Duration = Duration::from_secs(24 * 3600);
/// Answers of one bot that wait for its word whether it is done with the message.
const UNDECIDED_MAX: usize = 1024;

/// How often everything is looked after although nothing asks for it; with sampling off, only while something
/// is not watched.
const LOOK_AFTER_EVERY: Duration = Duration::from_secs(30);

impl<H: Host> Supervisor<H> {
    /// A bot answered a message negatively. While it holds the message without a mark, it has not said yet whether
    /// it wants to be rid of it.
    pub(super) fn given_back(&mut self, bot: &BotId, answer: Envelope) {
        self.hear_refusal(bot, &answer);
        let is_over = self.fleet.get(bot).is_none_or(|member| member.bot.live_run().is_none());
        if let Some(answer) = self.settle_answer(bot, answer, is_over)
            && let Some(member) = self.fleet.get_mut(bot)
        {
            if member.undecided.len() >= UNDECIDED_MAX {
                let oldest = member.undecided.remove(0);
                self.reply_to_asker(bot, oldest);
            }
            if let Some(member) = self.fleet.get_mut(bot) {
                member.undecided.push(answer);
            }
        }
    }

    /// Looks again at the answers that wait; `is_over`: the run that gave them has ended.
    pub(super) fn decide(&mut self, bot: &BotId, is_over: bool) {
        let Some(member) = self.fleet.get_mut(bot) else { return };
        let waiting = std::mem::take(&mut member.undecided);
        let mut left = Vec::new();
        for answer in waiting {
            left.extend(self.settle_answer(bot, answer, is_over));
        }
        if let Some(member) = self.fleet.get_mut(bot) {
            member.undecided = left;
        }
    }

    /// Moves the message on; returns an answer that must wait.
    fn settle_answer(&mut self, bot: &BotId, mut answer: Envelope, is_over: bool) -> Option<Envelope> {
        let rules = self.fleet.get(bot)?.policy.spec.queue.clone();
        match self.host.settle(bot, &rules, &answer, is_over) {
            // Nobody waits for what has no id of ours; the history has it.
            Ok(Settled::Absent) if !answer.correlation_id.as_deref().is_some_and(is_ulid) => {
                let run = self.fleet.get(bot).and_then(Member::speaker).cloned();
                self.told(bot, run, &answer);
            }
            Ok(Settled::Absent) => self.reply_to_asker(bot, answer),
            Ok(Settled::Undecided) => return Some(answer),
            Ok(Settled::Later { due }) => self.wake_for(bot, due),
            Ok(Settled::Back | Settled::Dropped) => {}
            Ok(Settled::Buried { reason }) => {
                self.tell_death(bot, answer.correlation_id.as_deref().unwrap_or_default(), &reason);
                if let Some(payload) = answer.payload.as_object_mut() {
                    payload.insert("message".to_owned(), reason.into());
                }
                self.reply_to_asker(bot, answer);
            }
            Err(error) => {
                self.host.warn(&format!("{bot}: {error}"));
                return Some(answer);
            }
        }
        self.recount(bot);
        None
    }

    /// Brings back what ended runs had claimed; `ended` is one that ended just now, and how.
    pub(super) fn recover(&mut self, bot: &BotId, ended: Option<(&RunId, RunEnd)>) {
        let Some(member) = self.fleet.get(bot) else { return };
        let rules = member.policy.spec.queue.clone();
        let live = member
            .bot
            .live_run()
            .filter(|run| ended.as_ref().is_none_or(|(ended, _)| ended != run));
        let live = live.cloned();
        let (back, buried) = self.host.recover(bot, &rules, live.as_ref(), ended);
        if back > 0 {
            self.host.log(&format!("{bot}: {back} messages are delivered again"));
        }
        for letter in buried {
            self.bury(bot, letter);
        }
        self.recount(bot);
    }

    /// How the live run of a bot has ended, for what it had in hand.
    pub(super) fn end_for_mail(&self, bot: &BotId, end: &End) -> RunEnd {
        let is_asked = self.fleet.get(bot).is_some_and(|member| {
            let because = Because::Asked;
            matches!(&member.bot.phase, Phase::Stopping { because: known, .. } if *known == because)
        });
        match end {
            _ if is_asked => RunEnd::Stopped,
            End::Code(_) | End::Signal { .. } | End::OutOfMemory(_) => RunEnd::Failed(end.to_string()),
            End::Unknown(_) => RunEnd::Unseen,
        }
    }

    /// Puts what is due back into the inbox.
    pub(super) fn release(&mut self, bot: &BotId) {
        let (now, stamp) = (self.host.now(), self.host.stamp());
        let outcome = self.host.release_due(bot);
        let Some(member) = self.fleet.get_mut(bot) else { return };
        match outcome {
            Ok((buried, next_due)) => {
                member.seen.later_at = next_due.map(|due| on_clock(due, now, stamp));
                for letter in buried {
                    self.bury(bot, letter);
                }
            }
            Err(error) => {
                member.seen.later_at = Some(now + RETRY_DELAY);
                self.host.warn(&format!("{bot}: {error}"));
            }
        }
        self.fleet.refresh(bot);
        self.recount(bot);
    }

    /// A bot's mailboxes hold more or less than before: counted before the next snapshot.
    pub(super) fn recount(&mut self, bot: &BotId) {
        self.recount.insert(bot.clone());
        self.touch();
    }

    /// Counts what has changed since the last snapshot.
    pub(super) fn count_all(&mut self) {
        for bot in std::mem::take(&mut self.recount) {
            let (now, stamp) = (self.host.now(), self.host.stamp());
            let counts = self.host.counts(&bot);
            if let Some(member) = self.fleet.get_mut(&bot) {
                member.seen.counts = counts;
                member.seen.later_at = counts.next_due.map(|due| on_clock(due, now, stamp));
            }
            self.fleet.refresh(&bot);
        }
    }

    /// Hints of a bot's mailboxes: answers may be decided now, and what waits is counted anew.
    pub(super) fn inbox_changed(&mut self, bot: &BotId) {
        if self.fleet.get(bot).is_some_and(|member| !member.undecided.is_empty()) {
            self.decide(bot, false);
        }
        self.recount(bot);
    }

    /// Folders of a bot were removed or made anew: whatever is in them now was not heard of.
    pub(super) fn folders_changed(&mut self, bot: &BotId) {
        if self.fleet.get(bot).is_none() {
            return;
        }
        match self.host.mend(bot) {
            Ok(false) => {}
            Ok(true) => {
                self.host
                    .warn(&format!("{bot}: its mailboxes were made anew and read again"));
                self.unread.insert(Some(bot.clone()));
                self.recount(bot);
            }
            Err(error) => self.host.warn(&format!("{bot}: {error}")),
        }
    }

    /// What is not watched is looked at again and again.
    pub(super) fn rescan_if_blind(&mut self) {
        let Some(every) = self.host.rescan_every() else { return };
        if self.host.now().since(self.rescanned_at) >= every {
            self.look_after_at_times();
            self.rescan();
        }
    }

    /// Looks after everything at a moment when the loop is awake anyway, if the last time is long ago: not every
    /// lost hint and not every removed folder is told.
    pub(super) fn look_after_at_times(&mut self) {
        if self.host.now().since(self.looked_at) >= LOOK_AFTER_EVERY {
            self.look_after();
        }
    }

    /// Mends what was removed of any mailbox, and reads them all.
    pub(super) fn look_after(&mut self) {
        self.looked_at = self.host.now();
        let free = self.host.disk_free();
        if self.identity.disk_free_bytes != free {
            self.identity.disk_free_bytes = free;
            self.touch();
        }
        match self.host.look_after() {
            Ok(false) => {}
            Ok(true) => self.host.warn("the supervisor's mailbox was made anew and read again"),
            Err(error) => self.host.warn(&error),
        }
        for bot in self.fleet.ids() {
            self.folders_changed(&bot);
        }
        self.rescan();
    }

    pub(super) fn rescan(&mut self) {
        self.rescanned_at = self.host.now();
        self.unread.insert(None);
        for bot in self.fleet.ids() {
            self.inbox_changed(&bot);
            self.unread.insert(Some(bot));
        }
    }

    /// Once a day, at an hour at which the loop is awake anyway.
    pub(super) fn sweep_daily(&mut self) {
        let now = self.host.now();
        if now.since(self.swept_at) < SWEEP_EVERY {
            return;
        }
        self.swept_at = now;
        for bot in self.fleet.ids() {
            self.host.sweep(&bot);
        }
    }

    fn wake_for(&mut self, bot: &BotId, due: Stamp) {
        let at = on_clock(due, self.host.now(), self.host.stamp());
        if let Some(member) = self.fleet.get_mut(bot) {
            let known = member.seen.later_at;
            member.seen.later_at = Some(known.map_or(at, |known| known.min(at)));
        }
        self.fleet.refresh(bot);
    }

    /// A message became a dead letter, and nobody answered it.
    fn bury(&mut self, bot: &BotId, letter: Buried) {
        let Buried { id, from, reason } = letter;
        self.tell_death(bot, &id, &reason);
        let Some(from) = from else { return };
        let (new_id, stamp) = (self.host.new_id(), self.host.stamp());
        let mut answer = Envelope::new(new_id, Kind::Error, "dead_letter", bot.as_str(), &from, stamp)
            .with_payload(serde_json::json!({"message": reason, "permanent": true}));
        answer.correlation_id = Some(id);
        self.reply_to_asker(bot, answer);
    }

    fn tell_death(&mut self, bot: &BotId, id: &str, reason: &str) {
        let run = self.fleet.get(bot).and_then(|member| member.bot.live_run()).cloned();
        self.fact(bot, run, "dead_letter", &format!("{id}: {reason}"));
        self.host.warn(&format!("{bot}: {id} became a dead letter: {reason}"));
    }

    /// The final word on a message, for whoever may wait for it.
    pub(super) fn reply_to_asker(&mut self, bot: &BotId, answer: Envelope) {
        if answer.to != bot.as_str() && self.is_bot(&answer.to) {
            let mut outgoing = Outgoing::default();
            self.route(bot, answer, &mut outgoing);
            self.host.deliver(bot, self.in_hand.clone(), outgoing);
            return;
        }
        if answer.correlation_id.as_deref().is_some_and(is_ulid) {
            self.passing.push((answer, self.in_hand.clone()));
        }
        self.touch();
    }
}

/// A time of the wall clock on the monotonic one; what is past is now.
fn on_clock(due: Stamp, now: Moment, stamp: Stamp) -> Moment {
    now + due.since(stamp)
}
