//! `audit_log`: who asked for what. Rows are added and read, never changed.

use rusqlite::{Row, params};

use super::db::bot_id;
use super::{Error, Store};
use crate::model::bot::BotId;
use crate::model::units::Stamp;

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

impl Audit<'_> {
    /// Adds an entry. Its time is cut to milliseconds.
    pub fn append(&self, entry: &AuditEntry) -> Result<(), Error> {
        let sql = "INSERT INTO audit_log (at, actor, action, bot, detail) VALUES (?1, ?2, ?3, ?4, ?5)";
        let bot = entry.bot.as_ref().map(BotId::as_str);
        let params = params![entry.at.unix_ms(), entry.actor, entry.action, bot, entry.detail];
        self.store
            .transaction(|store| store.change("add to the audit", sql, params).map(|_| ()))
    }

    /// The newest `limit` entries, of one bot or of all, newest last.
    pub fn recent(&self, bot: Option<&BotId>, limit: u32) -> Result<Vec<AuditEntry>, Error> {
        let doing = "read the audit";
        let columns = "SELECT at, actor, action, bot, detail FROM audit_log";
        let newest = "ORDER BY id DESC LIMIT ?1";
        let mut entries = match bot {
            None => self.store.rows(doing, &format!("{columns} {newest}"), [limit], entry)?,
            Some(bot) => {
                let sql = format!("{columns} WHERE bot = ?2 {newest}");
                self.store.rows(doing, &sql, params![limit, bot.as_str()], entry)?
            }
        };
        entries.reverse();
        Ok(entries)
    }
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

    #[test]
    fn the_newest_entries_come_last_and_as_they_were() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("multibot.db"), Access::Write).unwrap();
        let entry = |at_ms, bot: Option<&str>| AuditEntry {
            at: Stamp::from_unix_ms(at_ms),
            actor: "ann".into(),
            action: "bot stop".into(),
            bot: bot.map(|bot| bot.parse().unwrap()),
            detail: "forced; 'now'".into(),
        };
        let entries = [entry(1, Some("a")), entry(2, None), entry(3, Some("b"))];
        for entry in &entries {
            store.audit().append(entry).unwrap();
        }
        let a = "a".parse().unwrap();
        assert_eq!(store.audit().recent(None, 10).unwrap(), entries);
        assert_eq!(store.audit().recent(None, 2).unwrap(), entries[1..]);
        assert_eq!(store.audit().recent(Some(&a), 10).unwrap(), entries[..1]);
    }
}
