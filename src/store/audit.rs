//! `audit_log`: who asked for what. Rows are added and read, never changed.
//!
//! Each row bears a hash over the one before it and itself, and `meta` knows the last one: an edit, a row that is missing
//! and an end that was cut off show. Whoever may write the file can compute all anew; it is a seal, not a lock. Rows of
//! before there were hashes have none.

use rusqlite::{Row, params};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::db::bot_id;
use super::{Error, Store};
use crate::model::bot::BotId;
use crate::model::units::Stamp;

/// Where `meta` keeps the number and the hash of the newest row.
const HEAD: &str = "audit_head";

/// The audit of one home.
#[derive(Clone, Copy, Debug)]
pub struct Audit<'a> {
    pub(super) store: &'a Store,
}

/// One action that an operator, a bot or the supervisor asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    pub at: Stamp,
    /// A user's name or number, a bot's id, or `supervisor`.
    pub actor: String,
    pub action: String,
    pub bot: Option<BotId>,
    /// One line for people; secrets are already masked.
    pub detail: String,
}

/// What is asked of the audit. None: whatever it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct AuditQuery<'a> {
    pub bot: Option<&'a BotId>,
    pub since: Option<Stamp>,
    /// A part of the actor's name.
    pub actor: Option<&'a str>,
}

/// What the hashes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chain {
    /// So many rows are as they were written; so many others are older than the hashes.
    Whole { sealed: u64, unsealed: u64 },
    /// The row of this number, and when it says that it was written.
    Broken { row: i64, at: Stamp, why: &'static str },
    /// Rows are missing at the end.
    Cut { last: i64, expected: i64 },
}

struct Sealed {
    id: i64,
    entry: AuditEntry,
    hash: Option<String>,
}

impl Audit<'_> {
    /// Adds an entry. Its time is cut to milliseconds.
    pub fn append(&self, entry: &AuditEntry) -> Result<(), Error> {
        self.store.transaction(|store| {
            let sql = "SELECT hash FROM audit_log ORDER BY id DESC LIMIT 1";
            let last = store.row("read the audit", sql, [], |row| row.get::<_, Option<String>>(0))?;
            let hash = seal(last.flatten().as_deref().unwrap_or_default(), entry);
            let sql = "INSERT INTO audit_log (at, actor, action, bot, detail, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let bot = entry.bot.as_ref().map(BotId::as_str);
            let params = params![entry.at.unix_ms(), entry.actor, entry.action, bot, entry.detail, hash];
            store.change("add to the audit", sql, params)?;
            let sql = "INSERT INTO meta (key, value) SELECT ?1, max(id) || ' ' || ?2 FROM audit_log WHERE true \
                       ON CONFLICT (key) DO UPDATE SET value = excluded.value";
            store.change("seal the audit", sql, params![HEAD, hash])?;
            Ok(())
        })
    }

    /// The newest `limit` entries that are asked for, newest last.
    pub fn recent(&self, query: &AuditQuery<'_>, limit: u32) -> Result<Vec<AuditEntry>, Error> {
        let sql = "SELECT at, actor, action, bot, detail FROM audit_log WHERE (?2 IS NULL OR bot = ?2) \
                   AND at >= ?3 AND (?4 IS NULL OR instr(lower(actor), lower(?4)) > 0) ORDER BY id DESC LIMIT ?1";
        let since = query.since.map_or(i64::MIN, Stamp::unix_ms);
        let params = params![limit, query.bot.map(BotId::as_str), since, query.actor];
        let mut entries = self.store.rows("read the audit", sql, params, entry)?;
        entries.reverse();
        Ok(entries)
    }

    /// Whether every row is as it was written.
    pub fn verify(&self) -> Result<Chain, Error> {
        let sql = "SELECT at, actor, action, bot, detail, id, hash FROM audit_log ORDER BY id";
        let rows = self.store.rows("read the audit", sql, [], |row| {
            Ok(Sealed {
                entry: entry(row)?,
                id: row.get(5)?,
                hash: row.get(6)?,
            })
        })?;
        let sql = "SELECT value FROM meta WHERE key = ?1";
        let head = self
            .store
            .row("read meta", sql, [HEAD], |row| row.get::<_, String>(0))?;
        Ok(chain(&rows, head.as_deref()))
    }
}

fn chain(rows: &[Sealed], head: Option<&str>) -> Chain {
    let (mut sealed, mut unsealed, mut last) = (0, 0, "");
    let mut last_id = 0;
    for row in rows {
        let broken = |why| Chain::Broken {
            row: row.id,
            at: row.entry.at,
            why,
        };
        match &row.hash {
            None if sealed > 0 => return broken("it has no hash"),
            None => unsealed += 1,
            Some(_) if sealed > 0 && row.id != last_id + 1 => return broken("a row before it is missing"),
            Some(hash) if *hash != seal(last, &row.entry) => return broken("it is not as it was written"),
            Some(hash) => {
                sealed += 1;
                last = hash;
            }
        }
        last_id = row.id;
    }
    let Some((expected, hash)) = head.and_then(|head| head.split_once(' ')) else {
        return Chain::Whole { sealed, unsealed };
    };
    if hash == last {
        return Chain::Whole { sealed, unsealed };
    }
    Chain::Cut {
        last: last_id,
        expected: expected.parse().unwrap_or(0),
    }
}

/// The hash of a row that follows the row of that hash.
fn seal(before: &str, entry: &AuditEntry) -> String {
    let AuditEntry {
        at,
        actor,
        action,
        bot,
        detail,
    } = entry;
    // A list tells its parts apart, whatever they hold.
    let row = json!([
        before,
        at.unix_ms(),
        actor,
        action,
        bot.as_ref().map(BotId::as_str),
        detail
    ]);
    let digest = Sha256::digest(row.to_string().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    let has_bot = row.get::<_, Option<String>>(3)?.is_some();
    Ok(AuditEntry {
        at: Stamp::from_unix_ms(row.get(0)?),
        actor: row.get(1)?,
        action: row.get(2)?,
        bot: if has_bot { Some(bot_id(row, 3)?) } else { None },
        detail: row.get(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Access;

    fn entry(at_ms: i64, actor: &str, bot: Option<&str>) -> AuditEntry {
        AuditEntry {
            at: Stamp::from_unix_ms(at_ms),
            actor: actor.into(),
            action: "bot stop".into(),
            bot: bot.map(|bot| bot.parse().unwrap()),
            detail: "forced; 'now'".into(),
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("multibot.db"), Access::Write).unwrap();
        (home, store)
    }

    #[test]
    fn the_newest_entries_come_last_and_as_they_were() {
        let (_home, store) = store();
        let entries = [
            entry(1, "cli:ann", Some("a")),
            entry(2, "cli:bob", None),
            entry(3, "42 (@Ann)", Some("b")),
        ];
        for entry in &entries {
            store.audit().append(entry).unwrap();
        }
        let a = "a".parse().unwrap();
        let recent = |query: AuditQuery<'_>, limit| store.audit().recent(&query, limit).unwrap();
        let all = AuditQuery::default();
        assert_eq!(recent(all, 10), entries);
        assert_eq!(recent(all, 2), entries[1..]);
        assert_eq!(recent(AuditQuery { bot: Some(&a), ..all }, 10), entries[..1]);
        let since = Some(Stamp::from_unix_ms(2));
        assert_eq!(recent(AuditQuery { since, ..all }, 10), entries[1..]);
        let by_ann = AuditQuery {
            actor: Some("ann"),
            ..all
        };
        assert_eq!(recent(by_ann, 10), [entries[0].clone(), entries[2].clone()]);
    }

    #[test]
    fn an_edit_a_gap_and_a_cut_show() {
        let broken = |sql: &str| {
            let (_home, store) = store();
            for number in 1..=5 {
                store.audit().append(&entry(number, "ann", None)).unwrap();
            }
            store.change("tamper", sql, []).unwrap();
            store.audit().verify().unwrap()
        };
        let whole = Chain::Whole { sealed: 5, unsealed: 0 };
        assert_eq!(broken("UPDATE audit_log SET id = id"), whole);
        let at = |row: i64, why| Chain::Broken {
            row,
            at: Stamp::from_unix_ms(row),
            why,
        };
        assert_eq!(
            broken("UPDATE audit_log SET detail = 'x' WHERE id = 3"),
            at(3, "it is not as it was written")
        );
        assert_eq!(
            broken("DELETE FROM audit_log WHERE id = 3"),
            at(4, "a row before it is missing")
        );
        assert_eq!(
            broken("DELETE FROM audit_log WHERE id = 1"),
            at(2, "it is not as it was written")
        );
        assert_eq!(
            broken("UPDATE audit_log SET hash = NULL WHERE id = 4"),
            at(4, "it has no hash")
        );
        assert_eq!(
            broken("DELETE FROM audit_log WHERE id > 3"),
            Chain::Cut { last: 3, expected: 5 }
        );
        assert_eq!(broken("DELETE FROM audit_log"), Chain::Cut { last: 0, expected: 5 });
        let before_hashes = "UPDATE audit_log SET hash = NULL";
        assert_eq!(broken(before_hashes), Chain::Cut { last: 5, expected: 5 });
    }
}
