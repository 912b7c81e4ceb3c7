//! What this host does when a bot is judged: reads its last words, and keeps the judgement in the store.

use super::{Given, ProcessHost};
use crate::clock;
use crate::log::{RawLine, Tap};
use crate::model::blocking::{BlockingPolicy, Heard, TargetEntry};
use crate::model::bot::BotId;
use crate::model::judging::Judgement;
use crate::model::people::Change;
use crate::model::units::Stamp;
use crate::store::{Access, By, Error, Refusal, Store};

/// What a program says when it gives up is no longer.
const LAST_BYTES: u64 = 64 * 1024;

impl ProcessHost {
    /// Writes a judgement down at once: a supervisor that is killed after it must not start the bot again. What the
    /// store does not take is written with the next look into it, and holds until then all the same.
    pub(super) fn keep_judgement(&mut self, bot: &BotId, judgement: &Judgement) {
        if let Err(error) = self.store_judgement(bot, judgement) {
            tracing::error!("{bot}: that it is held is not in the store yet: {error}");
            self.unstored.insert(bot.clone(), judgement.clone());
        }
    }

    fn store_judgement(&self, bot: &BotId, judgement: &Judgement) -> Result<(), Error> {
        let store = Store::open(&self.parts.home.database(), Access::Write)?;
        store.holds().put(bot, judgement)
    }

    pub(super) fn store_word_of_target(
        &self,
        bot: &BotId,
        target: &str,
        heard: Heard,
        policy: &BlockingPolicy,
    ) -> Result<Option<TargetEntry>, Error> {
        let store = Store::open(&self.parts.home.database(), Access::Write)?;
        store.blocklist().hear(bot, target, heard, policy, clock::stamp())
    }

    pub(super) fn forget_expired_targets(&self) -> Result<Vec<(BotId, String)>, Error> {
        let store = Store::open(&self.parts.home.database(), Access::Write)?;
        store.blocklist().sweep(clock::stamp())
    }

    pub(super) fn store_people(&self, change: &Change, by: &By) -> Result<String, Refusal> {
        let store = Store::open(&self.parts.home.database(), Access::Write)?;
        store.people().change(change, by, clock::stamp())
    }

    pub(super) fn store_login(&self, bot: &BotId, given: &Given, by: &By) -> Result<(), Error> {
        let store = Store::open(&self.parts.home.database(), Access::Write)?;
        store.credentials().log_in(bot, given, by, clock::stamp())
    }

    pub(super) fn store_user(&self, bot: &BotId, user: &str, username: &str) -> Result<(), Error> {
        let store = Store::open(&self.parts.home.database(), Access::Write)?;
        store.people().see(bot, user, username, clock::stamp())
    }

    pub(super) fn has_admin(&self, user: &str) -> Result<bool, Error> {
        let store = Store::open(&self.parts.home.database(), Access::Read)?;
        Ok(store.people().load()?.is_admin(user))
    }

    /// Tries again what the store had not taken.
    pub(super) fn store_the_unstored(&mut self) {
        for (bot, judgement) in std::mem::take(&mut self.unstored) {
            self.keep_judgement(&bot, &judgement);
        }
    }

    pub(super) fn last_lines(&self, bot: &BotId, since: Stamp) -> Vec<(Stamp, String)> {
        let mut lines = Vec::new();
        let mut take = |line: RawLine<'_>| {
            if let Some(at) = line.at().filter(|at| *at >= since) {
                lines.push((at, String::from_utf8_lossy(line.text).into_owned()));
            }
        };
        let read =
            Tap::new(&self.parts.home.log_of(bot), LAST_BYTES).and_then(|mut tap| tap.read(LAST_BYTES, &mut take));
        if let Err(error) = read {
            tracing::warn!("{bot}: what it wrote last cannot be read: {error}");
        }
        lines
    }
}
