//! `blocklist`: targets that a bot no longer talks to, each for a while or for ever, and how often in a row others
//! could not be reached. A row of the latter has a time 0 as its end.

use rusqlite::{Row, params};

use super::db::bot_id;
use super::{Error, Store};
use crate::model::blocking::{BlockingPolicy, Heard, Standing, TargetEntry, hear};
use crate::model::bot::BotId;
use crate::model::units::Stamp;

/// The blocked targets of one home's bots.
#[derive(Clone, Copy, Debug)]
pub struct Blocklist<'a> {
    pub(super) store: &'a Store,
}

/// How many targets are blocked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct BlockedCounts {
    /// All of them.
    pub blocked: u32,
    /// Those among them that are blocked for ever.
    pub permanent: u32,
}

/// A target that a bot does not talk to now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockedTarget {
    pub bot: BotId,
    pub target: String,
    pub entry: TargetEntry,
}

const SELECT: &str = "SELECT bot, target, reason, blocked_at, until, failures FROM blocklist";

impl Blocklist<'_> {
    /// Counts the entries that have not expired.
    pub fn counts(&self, now: Stamp) -> Result<BlockedCounts, Error> {
        let sql = "SELECT COUNT(*), COUNT(*) - COUNT(until) FROM blocklist WHERE until IS NULL OR until > ?1";
        let counts = self.store.row("count blocked targets", sql, [now.unix_ms()], |row| {
            Ok(BlockedCounts {
                blocked: row.get(0)?,
                permanent: row.get(1)?,
            })
        })?;
        Ok(counts.unwrap_or_default())
    }

    /// The targets that are blocked now, of one bot or of all.
    pub fn blocked(&self, bot: Option<&BotId>, now: Stamp) -> Result<Vec<BlockedTarget>, Error> {
        let sql = format!("{SELECT} WHERE until IS NULL OR until > ?1 ORDER BY bot, target");
        let mut all = self.store.rows("read the blocklist", &sql, [now.unix_ms()], blocked)?;
        all.retain(|it| bot.is_none_or(|bot| it.bot == *bot));
        Ok(all)
    }

    /// What is known of a target; also where it is not blocked, or no more.
    pub fn entry(&self, bot: &BotId, target: &str) -> Result<Option<TargetEntry>, Error> {
        let sql = format!("{SELECT} WHERE bot = ?1 AND target = ?2");
        let row = self
            .store
            .row("read the blocklist", &sql, [bot.as_str(), target], blocked)?;
        Ok(row.map(|it| it.entry))
    }

    /// Takes what was said of a target; the entry that it made, if that changes whether it is blocked.
    pub fn hear(
        &self,
        bot: &BotId,
        target: &str,
        heard: Heard,
        policy: &BlockingPolicy,
        now: Stamp,
    ) -> Result<Option<TargetEntry>, Error> {
        self.store.transaction(|_| {
            let known = self.entry(bot, target)?;
            let was_blocked = known.as_ref().is_some_and(|entry| entry.is_blocked(now));
            let new = hear(known.clone(), heard, policy, now);
            if new == known {
                return Ok(None);
            }
            match &new {
                None => drop(self.remove(bot, target)?),
                Some(entry) => self.put(bot, target, entry)?,
            }
            Ok(new.filter(|entry| entry.is_blocked(now) && (!was_blocked || Some(entry) != known.as_ref())))
        })
    }

    /// Writes an entry in place of an earlier one.
    pub fn put(&self, bot: &BotId, target: &str, entry: &TargetEntry) -> Result<(), Error> {
        let until = match entry.standing {
            Standing::Counted => Some(0),
            Standing::Until(until) => Some(until.unix_ms()),
            Standing::ForEver => None,
        };
        let sql = "INSERT INTO blocklist (bot, target, reason, blocked_at, until, failures) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                   ON CONFLICT (bot, target) DO UPDATE SET reason = excluded.reason, \
                   blocked_at = excluded.blocked_at, until = excluded.until, failures = excluded.failures";
        let (at, failures) = (entry.blocked_at.unix_ms(), entry.failures);
        let params = params![bot.as_str(), target, entry.reason, at, until, failures];
        self.store
            .transaction(|store| store.change("block a target", sql, params).map(|_| ()))
    }

    /// Takes an entry away; whether there was one.
    pub fn remove(&self, bot: &BotId, target: &str) -> Result<bool, Error> {
        let sql = "DELETE FROM blocklist WHERE bot = ?1 AND target = ?2";
        self.store
            .transaction(|store| store.change("let a target go", sql, [bot.as_str(), target]))
            .map(|gone| gone > 0)
    }

    /// Takes away what has expired; says what that was.
    pub fn sweep(&self, now: Stamp) -> Result<Vec<(BotId, String)>, Error> {
        self.store.transaction(|store| {
            let sql = "DELETE FROM blocklist WHERE until > 0 AND until <= ?1 RETURNING bot, target";
            store.rows("sweep the blocklist", sql, [now.unix_ms()], |row| {
                Ok((bot_id(row, 0)?, row.get(1)?))
            })
        })
    }
}

fn blocked(row: &Row<'_>) -> rusqlite::Result<BlockedTarget> {
    let until: Option<i64> = row.get(4)?;
    Ok(BlockedTarget {
        bot: bot_id(row, 0)?,
        target: row.get(1)?,
        entry: TargetEntry {
            reason: row.get(2)?,
            blocked_at: Stamp::from_unix_ms(row.get(3)?),
            standing: match until {
                None => Standing::ForEver,
                Some(0) => Standing::Counted,
                Some(ms) => Standing::Until(Stamp::from_unix_ms(ms)),
            },
            failures: row.get(5)?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Access;
    use std::time::Duration;

    const POLICY: BlockingPolicy = BlockingPolicy {
        max_failures: 2,
        duration: Duration::from_secs(10),
        kicked: None,
    };

    #[test]
    fn strikes_blocks_and_their_end_are_kept() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("multibot.db"), Access::Write).unwrap();
        let list = store.blocklist();
        let bot: BotId = "a".parse().unwrap();
        let at = |s: i64| Stamp::from_unix_ms(s * 1000);
        let hear = |target: &str, heard, s| list.hear(&bot, target, heard, &POLICY, at(s)).unwrap();
        assert_eq!(hear("x", Heard::ConnectionFailed, 1), None);
        assert_eq!(list.counts(at(1)).unwrap(), BlockedCounts::default());
        let entry = hear("x", Heard::ConnectionFailed, 2).unwrap();
        assert_eq!((entry.standing, entry.failures), (Standing::Until(at(12)), 2));
        assert!(hear("y", Heard::Unwanted("kicked"), 3).is_some());
        assert_eq!(hear("y", Heard::Unwanted("kicked"), 4), None, "it is known already");
        assert_eq!(hear("z", Heard::Connected, 4), None);
        for (second, blocked) in [(11, 2), (12, 1)] {
            assert_eq!(
                list.counts(at(second)).unwrap(),
                BlockedCounts { blocked, permanent: 1 }
            );
            assert_eq!(list.blocked(Some(&bot), at(second)).unwrap().len(), blocked as usize);
        }
        assert_eq!(list.sweep(at(11)).unwrap(), []);
        assert_eq!(list.sweep(at(12)).unwrap(), [(bot.clone(), "x".to_owned())]);
        assert_eq!(list.entry(&bot, "x").unwrap(), None);
        assert!(list.remove(&bot, "y").unwrap() && !list.remove(&bot, "y").unwrap());
    }
}
