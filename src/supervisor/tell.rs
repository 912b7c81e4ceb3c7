//! What the loop tells the world of itself: the snapshot, and the history.

use crate::config::needs_sampling;
use crate::model::bot::{BotId, RunId, State};
use crate::model::fact::Fact;
use crate::model::limits::SNAPSHOT_INTERVAL;

use super::event_loop::Supervisor;
use super::fleet::Member;
use super::health::SAMPLING_OFF;
use super::host::Host;
use super::snapshot::{SNAPSHOT_VERSION, Snapshot, Stage};

/// The history explains; it does not archive what bots say.
const FACT_CHARS_MAX: usize = 2000;

impl<H: Host> Supervisor<H> {
    /// Notes that a snapshot is due.
    pub(super) fn touch(&mut self) {
        if self.publish_at.is_none() {
            self.publish_at = Some(self.host.now().max(self.published_at + SNAPSHOT_INTERVAL));
        }
    }

    pub(super) fn publish_now(&mut self) {
        let (now, stamp) = (self.host.now(), self.host.stamp());
        self.published_at = now;
        self.publish_at = None;
        let mut bots: Vec<_> = self
            .fleet
            .members()
            .map(|(_, member)| member.status(now, stamp))
            .collect();
        bots.sort_by_key(|bot| bot.index);
        self.show_alerts(&mut bots);
        if self.stage == Stage::Adopting {
            for bot in &mut bots {
                bot.state = State::Adopting.word().to_owned();
            }
        }
        self.identity.stage = self.stage;
        self.identity.notes = self.host.notes();
        self.identity.notes.extend(self.unmeasured());
        self.identity.capacity = self.budget.shown(self.promised());
        let snapshot = Snapshot {
            schema: SNAPSHOT_VERSION,
            generated_at: stamp.unix_ms(),
            supervisor: self.identity.clone(),
            blocked: self.blocked.0,
            blocked_permanent: self.blocked.1,
            bots,
        };
        let replies = std::mem::take(&mut self.replies);
        let claims = std::mem::take(&mut self.answering);
        self.host.publish(snapshot, replies, claims);
    }

    /// Says that nothing is measured where settings of bots count on it.
    fn unmeasured(&self) -> Option<String> {
        if self.pace.sampling_period.is_some() {
            return None;
        }
        let is_counted_on = |member: &&Member<H::Posted>| needs_sampling(&member.policy.spec);
        let bots = self
            .fleet
            .members()
            .map(|(_, member)| member)
            .filter(is_counted_on)
            .count();
        (bots > 0).then(|| format!("{SAMPLING_OFF}: limits and log probes do nothing; bots that have some: {bots}"))
    }

    /// Something that happened to a bot, for the history.
    pub(super) fn fact(&mut self, bot: &BotId, run: Option<RunId>, name: &str, detail: &str) {
        let at = self.host.stamp();
        // Masked before it is cut: half a secret is found by no mask.
        let masked = self
            .fleet
            .get(bot)
            .map_or_else(|| detail.to_owned(), |member| member.discretion.masked(detail));
        let detail = match masked.char_indices().nth(FACT_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &masked[..end]),
            None => masked,
        };
        self.facts.push(Fact {
            at,
            bot: bot.clone(),
            run,
            name: name.to_owned(),
            detail,
        });
    }

    /// Hands the facts since the last time to the history.
    pub(super) fn record(&mut self) {
        if !self.facts.is_empty() || !self.recording.is_empty() {
            let (facts, claims) = (std::mem::take(&mut self.facts), std::mem::take(&mut self.recording));
            self.host.record(facts, claims);
        }
    }

    /// Hands on what bots answered. It says nothing of what the supervisor does, so it need not wait for a snapshot.
    pub(super) fn pass_on(&mut self) {
        if !self.passing.is_empty() {
            self.host.pass_on(std::mem::take(&mut self.passing));
        }
    }
}
