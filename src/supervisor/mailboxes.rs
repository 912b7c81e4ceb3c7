//! The real host's mailboxes: folders and watches of a bot, its outbox as it is read, its inbox as it is mended.

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock;
use crate::model::bot::{BotId, RunId};
use crate::model::message::Envelope;
use crate::model::queue::QueuePolicy;
use crate::model::units::Stamp;
use crate::spool::{
    Buried, DeadLetters, Defaults, Delivery, Failure, Mailbox, Parcel, ReadError, RunEnd, Settled, Shared,
};

use super::host::{BoxCounts, Mail};
use super::mail::SUPERVISOR;
use super::process::ProcessHost;
use super::routes::Outgoing;

/// Before the ULID with which an operator's command claims.
pub const QUEUE_CLAIMANT: &str = "cli-";

/// Files that are read between two scans of one mailbox: urgent ones that come meanwhile wait so long.
const BACKLOG_LEN_MAX: usize = 4096;

/// The folders whose changes matter for one bot.
pub(super) type Inodes = [u64; 7];

impl ProcessHost {
    /// Makes what is missing and watches it. What an earlier supervisor had claimed in the outbox comes back, as
    /// nobody else reads there.
    pub(super) fn make_mailboxes(&mut self, bot: &BotId) -> Result<(), String> {
        let home = &self.parts.home;
        let (inbox, outbox) = (Mailbox::new(home.inbox_of(bot)), Mailbox::new(home.outbox_of(bot)));
        inbox.create_inbox().map_err(|error| error.to_string())?;
        outbox.create().map_err(|error| error.to_string())?;
        for dir in [home.run_of(bot), home.dead_of(bot)] {
            crate::home::make_private(&dir).map_err(|source| format!("cannot make {}: {source}", dir.display()))?;
        }
        self.watch(bot);
        if let Some(inodes) = self.inodes(bot) {
            self.prepared.insert(bot.clone(), inodes);
        }
        self.backlog.remove(&Some(bot.clone()));
        outbox.give_back(SUPERVISOR).map_err(|error| error.to_string())?;
        self.sweep_mailboxes(bot);
        Ok(())
    }

    /// Removes what senders that died have left, and dedup keys whose time is over.
    pub(super) fn sweep_mailboxes(&self, bot: &BotId) {
        let (home, now) = (&self.parts.home, clock::stamp());
        for swept in [
            Mailbox::new(home.inbox_of(bot)).sweep(now),
            Mailbox::new(home.outbox_of(bot)).sweep_tmp(now),
        ] {
            if let Err(error) = swept {
                tracing::warn!("{bot}: {error}");
            }
        }
    }

    /// Watches a bot's mailboxes. Where that cannot be, its bot runs all the same and everything is
    /// looked at again and again.
    fn watch(&mut self, bot: &BotId) {
        let dirs = self.watched(bot);
        let Ok(watches) = &mut self.parts.watches else { return };
        for dir in dirs {
            if let Err(error) = watches.add(&dir)
                && self.blindness.is_none()
            {
                let why = format!("cannot watch {}: {error}", dir.display());
                tracing::error!("{why}");
                self.blindness = Some(why);
            }
        }
    }

    /// Watches anew what could not be watched; the limit of the kernel may have been raised meanwhile.
    pub(super) fn watch_anew(&mut self) {
        let Ok(watches) = &mut self.parts.watches else { return };
        self.blindness = None;
        let own = self.parts.home.supervisor_inbox().join("new");
        if let Err(error) = watches.add(&own) {
            self.blindness = Some(format!("cannot watch {}: {error}", own.display()));
        }
        let bots: Vec<BotId> = self.prepared.keys().cloned().collect();
        bots.iter().for_each(|bot| self.watch(bot));
    }

    /// Makes the supervisor's own mailbox anew where somebody has removed it; whether that was so.
    pub(super) fn mend_own(&mut self) -> Result<bool, String> {
        let inbox = Mailbox::new(self.parts.home.supervisor_inbox());
        let folders = ["tmp", "new", "cur"].map(|name| inbox.dir().join(name));
        if folders.iter().all(|dir| dir.is_dir()) && inode_of(&inbox.new_dir()) == self.own_inode {
            return Ok(false);
        }
        inbox.create().map_err(|error| error.to_string())?;
        self.own_inode = inode_of(&inbox.new_dir());
        self.watch_anew();
        let what = "the supervisor's mailbox was removed and made anew".to_owned();
        self.incidents.insert(what, clock::stamp());
        Ok(true)
    }

    /// The inodes of a bot's watched folders; None where one is missing, or one that needs no watch.
    pub(super) fn inodes(&self, bot: &BotId) -> Option<Inodes> {
        let home = &self.parts.home;
        let (inbox, outbox) = (home.inbox_of(bot), home.outbox_of(bot));
        if ![inbox.join("tmp"), outbox.join("tmp"), outbox.join("cur")]
            .iter()
            .all(|dir| dir.is_dir())
        {
            return None;
        }
        let mut inodes = Inodes::default();
        for (inode, dir) in inodes.iter_mut().zip(self.watched(bot)) {
            *inode = inode_of(&dir)?;
        }
        Some(inodes)
    }

    pub(super) fn watched(&self, bot: &BotId) -> [PathBuf; 7] {
        let home = &self.parts.home;
        let inbox = Mailbox::new(home.inbox_of(bot));
        [
            home.outbox_of(bot).join("new"),
            home.ipc_of(bot),
            inbox.new_dir(),
            inbox.cur_dir(),
            inbox.later_dir(),
            inbox.held_dir(),
            home.dead_of(bot),
        ]
    }

    fn mailbox_of(&self, bot: Option<&BotId>) -> (Mailbox, DeadLetters) {
        let home = &self.parts.home;
        match bot {
            Some(bot) => (Mailbox::new(home.outbox_of(bot)), DeadLetters::new(home.dead_of(bot))),
            None => (
                Mailbox::new(home.supervisor_inbox()),
                DeadLetters::new(home.supervisor_dead()),
            ),
        }
    }

    /// The next file of a bot's outbox, or of the supervisor's inbox; what is no message is set aside.
    pub(super) fn read_next(&mut self, bot: Option<&BotId>) -> Option<Mail<Shared>> {
        let (mailbox, dead) = self.mailbox_of(bot);
        if self.backlog.get(&bot.cloned()).is_none_or(VecDeque::is_empty) {
            let entries = mailbox.scan().unwrap_or_else(|error| {
                tracing::error!("{error}");
                Vec::new()
            });
            let first = entries.into_iter().take(BACKLOG_LEN_MAX).collect();
            self.backlog.insert(bot.cloned(), first);
        }
        while let Some(entry) = self.backlog.get_mut(&bot.cloned()).and_then(VecDeque::pop_front) {
            let claimed = match mailbox.claim(&entry, SUPERVISOR) {
                Ok(Some(claimed)) => claimed,
                Ok(None) => continue,
                Err(error) => {
                    tracing::error!("{error}");
                    continue;
                }
            };
            let from = bot.map_or("cli", BotId::as_str);
            let read = claimed.read(&Defaults {
                from,
                to: SUPERVISOR,
                now: clock::stamp(),
            });
            match read {
                Ok(envelopes) => {
                    let names: Vec<&str> = envelopes.iter().map(|envelope| envelope.name.as_str()).collect();
                    tracing::debug!("from {from}: {}", names.join(", "));
                    return Some(Mail {
                        envelopes,
                        claim: Shared::new(claimed),
                    });
                }
                Err(ReadError::Unreadable(why)) => {
                    tracing::warn!("set aside {}: {why}", claimed.path().display());
                    if let Err(error) = dead.bury(claimed, &why.to_string(), clock::stamp()) {
                        tracing::error!("{error}");
                    }
                }
                Err(error) => tracing::error!("{error}"),
            }
        }
        None
    }

    fn inbox_of(&self, bot: &BotId) -> (Mailbox, DeadLetters) {
        let home = &self.parts.home;
        (Mailbox::new(home.inbox_of(bot)), DeadLetters::new(home.dead_of(bot)))
    }

    pub(super) fn settle_negative(
        &self,
        bot: &BotId,
        rules: &QueuePolicy,
        answer: &Envelope,
        is_over: bool,
    ) -> Result<Settled, String> {
        let (inbox, dead) = self.inbox_of(bot);
        let id = answer.correlation_id.as_deref().unwrap_or_default();
        let failure = Failure::read(&answer.payload);
        inbox
            .settle(&dead, id, &failure, is_over, rules, &in_inbox(bot))
            .map_err(|error| error.to_string())
    }

    pub(super) fn recover_claims(
        &self,
        bot: &BotId,
        rules: &QueuePolicy,
        live: Option<&RunId>,
        ended: Option<(&RunId, RunEnd)>,
    ) -> (usize, Vec<Buried>) {
        let (inbox, dead) = self.inbox_of(bot);
        let end_of = |claimant: &str| match &ended {
            _ if live.is_some_and(|run| run.as_str() == claimant) => None,
            // An operator's command works on it at this moment, or died before it was done.
            _ if is_recent_command(claimant) => None,
            Some((run, end)) if run.as_str() == claimant => Some(end.clone()),
            Some(_) | None => Some(RunEnd::Unseen),
        };
        match inbox.recover(&dead, &in_inbox(bot), rules, &end_of) {
            Ok(done) => {
                for error in done.errors {
                    tracing::error!("{bot}: what a run had claimed stays claimed: {error}");
                }
                (done.back, done.buried)
            }
            Err(error) => {
                tracing::error!("{bot}: {error}");
                (0, Vec::new())
            }
        }
    }

    pub(super) fn release_from_later(&self, bot: &BotId) -> Result<(Vec<Buried>, Option<Stamp>), String> {
        let (inbox, dead) = self.inbox_of(bot);
        let done = inbox
            .release_due(&dead, &in_inbox(bot))
            .map_err(|error| error.to_string())?;
        Ok((done.buried, done.next_due))
    }

    pub(super) fn send_on(&self, sender: &BotId, claimed: Option<Shared>, outgoing: Outgoing) {
        let home = &self.parts.home;
        let deliveries = outgoing.deliveries.into_iter().map(|(bot, policy, envelope)| Delivery {
            inbox: Mailbox::new(home.inbox_of(&bot)),
            policy,
            envelope,
        });
        self.parts.writer.deliver(Parcel {
            claimed,
            deliveries: deliveries.collect(),
            refused: outgoing.refused,
            dead: DeadLetters::new(home.dead_of(sender)),
            now: clock::stamp(),
        });
    }

    pub(super) fn count(&mut self, bot: &BotId) -> BoxCounts {
        let (inbox, dead) = self.inbox_of(bot);
        let census = inbox.census().unwrap_or_default();
        let known = self.waiting.entry(bot.clone()).or_default();
        BoxCounts {
            inbox_new: inbox.waiting(known).unwrap_or(census.new as u64),
            inbox_cur: census.cur as u64,
            inbox_later: census.later as u64,
            inbox_held: census.held as u64,
            inbox_oldest: census.oldest,
            next_due: census.next_due,
            dead: dead.count().unwrap_or_default() as u64,
        }
    }
}

/// Which folder stands at a path now.
pub(super) fn inode_of(dir: &Path) -> Option<u64> {
    std::fs::metadata(dir).map(|found| found.ino()).ok()
}

/// What an envelope in a bot's inbox need not say.
fn in_inbox(bot: &BotId) -> Defaults<'_> {
    Defaults {
        from: SUPERVISOR,
        to: bot.as_str(),
        now: clock::stamp(),
    }
}

/// Whether this is the name under which `multibot queue` has claimed something just now.
fn is_recent_command(claimant: &str) -> bool {
    let begun = claimant
        .strip_prefix(QUEUE_CLAIMANT)
        .and_then(|id| ulid::Ulid::from_string(id).ok());
    begun.is_some_and(|id| {
        let at = Stamp::from_unix_ms(i64::try_from(id.timestamp_ms()).unwrap_or(0));
        clock::stamp().since(at) < COMMAND_TIME_MAX
    })
}

/// A command of an operator needs milliseconds for one message.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(60);
