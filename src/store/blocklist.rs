//! `blocklist`: targets that a bot no longer talks to, each for a while or for ever.

use super::{Error, Store};
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Access;

    #[test]
    fn expired_entries_do_not_count() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("multibot.db"), Access::Write).unwrap();
        let counts = |now_ms| store.blocklist().counts(Stamp::from_unix_ms(now_ms)).unwrap();
        assert_eq!(counts(0), BlockedCounts::default());
        let sql = "INSERT INTO blocklist (bot, target, reason, blocked_at, until, failures) \
                   VALUES ('a', ?1, 'kicked', 1, ?2, 3)";
        for (target, until) in [("x", None), ("y", Some(10)), ("z", Some(20))] {
            store.change("block", sql, rusqlite::params![target, until]).unwrap();
        }
        for (now_ms, blocked) in [(9, 3), (10, 2), (19, 2), (20, 1)] {
            assert_eq!(counts(now_ms), BlockedCounts { blocked, permanent: 1 }, "{now_ms}");
        }
    }
}
