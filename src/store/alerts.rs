//! `alerts` and `alert_silences`: what operators were told of, what they answered, and what they do not want to hear.
//!
//! Two programs write one row: the supervisor its course, the command line its acknowledgement. Neither touches what
//! is the other's.

use rusqlite::{Row, params};

use super::db::{bad_value, bot_id};
use super::{Error, Store};
use crate::model::alert::{Acked, Alert, Level, Rule, Silence, Told};
use crate::model::bot::BotId;
use crate::model::units::Stamp;

/// The alerts of one home.
#[derive(Clone, Copy, Debug)]
pub struct Alerts<'a> {
    pub(super) store: &'a Store,
}

const COLUMNS: &str = "id, rule, bot, level, text, raised_at, recovered_at, reminded_at, told, acked_at, acked_by, told_level FROM alerts";

impl Alerts<'_> {
    /// Writes the course of an alert, new or known; its acknowledgement stays as it is.
    pub fn put(&self, alert: &Alert) -> Result<(), Error> {
        let sql = "INSERT INTO alerts (id, rule, bot, level, text, raised_at, recovered_at, reminded_at, told, \
                   told_level) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (id) DO UPDATE SET \
                   level = excluded.level, text = excluded.text, recovered_at = excluded.recovered_at, \
                   reminded_at = excluded.reminded_at, told = excluded.told, told_level = excluded.told_level";
        let params = params![
            alert.id,
            alert.rule.word(),
            alert.bot.as_ref().map(BotId::as_str),
            alert.level.word(),
            alert.text,
            alert.raised_at.unix_ms(),
            alert.recovered_at.map(Stamp::unix_ms),
            alert.reminded_at.map(Stamp::unix_ms),
            alert.told.word(),
            alert.told_level.map(Level::word),
        ];
        self.store
            .transaction(|store| store.execute("write an alert", sql, params).map(|_| ()))
    }

    /// What is not over, and what is over and was not told to the end; oldest first.
    pub fn unfinished(&self) -> Result<Vec<Alert>, Error> {
        let sql = format!("SELECT {COLUMNS} WHERE recovered_at IS NULL OR told = 'raised' ORDER BY raised_at, id");
        self.read(&sql, [])
    }

    /// What is not over, oldest first.
    pub fn open(&self) -> Result<Vec<Alert>, Error> {
        self.read(
            &format!("SELECT {COLUMNS} WHERE recovered_at IS NULL ORDER BY raised_at, id"),
            [],
        )
    }

    /// The newest `limit` of those that were raised at `since` or later, oldest first.
    pub fn recent(&self, since: Stamp, limit: u32) -> Result<Vec<Alert>, Error> {
        let sql = format!("SELECT {COLUMNS} WHERE raised_at >= ?1 ORDER BY raised_at DESC, id DESC LIMIT ?2");
        let mut alerts = self.read(&sql, params![since.unix_ms(), limit])?;
        alerts.reverse();
        Ok(alerts)
    }

    /// Notes that somebody knows of these open alerts. Returns how many that concerned.
    pub fn acknowledge(&self, ids: &[String], by: &str, at: Stamp) -> Result<usize, Error> {
        let sql = "UPDATE alerts SET acked_at = ?1, acked_by = ?2 WHERE id = ?3 AND recovered_at IS NULL";
        self.store.transaction(|store| {
            let mut count = 0;
            for id in ids {
                count += store.change("acknowledge an alert", sql, params![at.unix_ms(), by, id])?;
            }
            Ok(count)
        })
    }

    /// Takes an acknowledgement back: the alert has become worse since.
    pub fn forget_ack(&self, id: &str) -> Result<(), Error> {
        let sql = "UPDATE alerts SET acked_at = NULL, acked_by = NULL WHERE id = ?1";
        self.store
            .transaction(|store| store.execute("write an alert", sql, [id]).map(|_| ()))
    }

    /// Adds a silence; those that are over are forgotten.
    pub fn add_silence(&self, silence: &Silence) -> Result<(), Error> {
        let sql = "INSERT INTO alert_silences (bot, rule, until, created_at, created_by, reason) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let params = params![
            silence.bot.as_ref().map(BotId::as_str),
            silence.rule.map(Rule::word),
            silence.until.unix_ms(),
            silence.created_at.unix_ms(),
            silence.by,
            silence.reason,
        ];
        self.store.transaction(|store| {
            let over = "DELETE FROM alert_silences WHERE until <= ?1";
            store.change("remove old silences", over, [silence.created_at.unix_ms()])?;
            store.change("add a silence", sql, params).map(|_| ())
        })
    }

    /// Silences that are not over, in the order of their ends.
    pub fn silences(&self, now: Stamp) -> Result<Vec<Silence>, Error> {
        let sql = "SELECT bot, rule, until, created_at, created_by, reason FROM alert_silences \
                   WHERE until > ?1 ORDER BY until, id";
        self.store.rows("read silences", sql, [now.unix_ms()], silence)
    }

    /// Ends the silences of exactly this bot and rule; all of them where neither is named. Returns how many.
    pub fn clear_silences(&self, bot: Option<&BotId>, rule: Option<Rule>) -> Result<usize, Error> {
        let sql = "DELETE FROM alert_silences WHERE (?1 IS NULL OR bot = ?1) AND (?2 IS NULL OR rule = ?2)";
        let params = params![bot.map(BotId::as_str), rule.map(Rule::word)];
        self.store
            .transaction(|store| store.change("clear silences", sql, params))
    }

    /// Forgets what was over before this moment, and the oldest of what is more than `keep_max`. What is open stays.
    pub fn prune(&self, before: Stamp, keep_max: u32) -> Result<usize, Error> {
        let sql = "DELETE FROM alerts WHERE recovered_at IS NOT NULL AND (recovered_at < ?1 OR id NOT IN \
                   (SELECT id FROM alerts ORDER BY raised_at DESC, id DESC LIMIT ?2))";
        self.store
            .transaction(|store| store.execute("prune alerts", sql, params![before.unix_ms(), keep_max]))
    }

    fn read(&self, sql: &str, params: impl rusqlite::Params) -> Result<Vec<Alert>, Error> {
        self.store.rows("read alerts", sql, params, alert)
    }
}

fn alert(row: &Row<'_>) -> rusqlite::Result<Alert> {
    let stamp =
        |index| -> rusqlite::Result<Option<Stamp>> { Ok(row.get::<_, Option<i64>>(index)?.map(Stamp::from_unix_ms)) };
    let has_told_level = row.get::<_, Option<String>>(11)?.is_some();
    let acked = stamp(9)?.zip(row.get::<_, Option<String>>(10)?);
    Ok(Alert {
        id: row.get(0)?,
        rule: word(row, 1, Rule::from_word)?,
        bot: optional_bot(row, 2)?,
        level: word(row, 3, Level::from_word)?,
        text: row.get(4)?,
        raised_at: Stamp::from_unix_ms(row.get(5)?),
        recovered_at: stamp(6)?,
        reminded_at: stamp(7)?,
        told: word(row, 8, Told::from_word)?,
        told_level: has_told_level.then(|| word(row, 11, Level::from_word)).transpose()?,
        acked: acked.map(|(at, by)| Acked { at, by }),
    })
}

fn silence(row: &Row<'_>) -> rusqlite::Result<Silence> {
    let has_rule = row.get::<_, Option<String>>(1)?.is_some();
    Ok(Silence {
        bot: optional_bot(row, 0)?,
        rule: has_rule.then(|| word(row, 1, Rule::from_word)).transpose()?,
        until: Stamp::from_unix_ms(row.get(2)?),
        created_at: Stamp::from_unix_ms(row.get(3)?),
        by: row.get(4)?,
        reason: row.get(5)?,
    })
}

fn optional_bot(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<BotId>> {
    let has_bot = row.get::<_, Option<String>>(index)?.is_some();
    has_bot.then(|| bot_id(row, index)).transpose()
}

fn word<T>(row: &Row<'_>, index: usize, read: impl Fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    let text: String = row.get(index)?;
    read(&text).ok_or_else(|| bad_value(index, format!("{text:?} is not a word of this version")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Access;

    fn store() -> (tempfile::TempDir, Store) {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("multibot.db"), Access::Write).unwrap();
        (home, store)
    }

    fn alert(id: &str, raised_ms: i64) -> Alert {
        Alert {
            id: id.to_owned(),
            rule: Rule::Down,
            bot: Some("shop".parse().unwrap()),
            level: Level::Critical,
            text: "shop is not \"up\"; it's backoff".to_owned(),
            raised_at: Stamp::from_unix_ms(raised_ms),
            recovered_at: None,
            reminded_at: None,
            told: Told::Nothing,
            told_level: None,
            acked: None,
        }
    }

    #[test]
    fn the_course_and_the_acknowledgement_do_not_touch_each_other() {
        let (_home, store) = store();
        let alerts = store.alerts();
        let mut one = alert("A", 10);
        alerts.put(&one).unwrap();
        assert_eq!(alerts.open().unwrap(), [one.clone()]);
        let at = Stamp::from_unix_ms(11);
        assert_eq!(alerts.acknowledge(&["A".into(), "X".into()], "cli:ann", at).unwrap(), 1);
        (one.told, one.text) = (Told::Raised, "worse".to_owned());
        one.told_level = Some(Level::Warning);
        alerts.put(&one).unwrap();
        let by = "cli:ann".to_owned();
        one.acked = Some(Acked { at, by });
        assert_eq!(alerts.open().unwrap(), [one.clone()]);
        one.recovered_at = Some(Stamp::from_unix_ms(20));
        alerts.put(&one).unwrap();
        assert_eq!(alerts.open().unwrap(), []);
        // Its recovery is not told yet.
        assert_eq!(alerts.unfinished().unwrap(), [one.clone()]);
        one.told = Told::Recovered;
        alerts.put(&one).unwrap();
        assert_eq!(alerts.unfinished().unwrap(), []);
        assert_eq!(alerts.acknowledge(&["A".into()], "cli:ann", at).unwrap(), 0);
        assert_eq!(alerts.recent(Stamp::from_unix_ms(0), 10).unwrap(), [one.clone()]);
        alerts.forget_ack("A").unwrap();
        assert_eq!(alerts.recent(Stamp::from_unix_ms(0), 10).unwrap()[0].acked, None);
        assert_eq!(alerts.recent(Stamp::from_unix_ms(11), 10).unwrap(), []);
    }

    #[test]
    fn what_is_open_is_never_pruned() {
        let (_home, store) = store();
        let alerts = store.alerts();
        for at in 1..=5 {
            let mut one = alert(&format!("A{at}"), at);
            one.recovered_at = (at != 1).then(|| Stamp::from_unix_ms(at * 10));
            alerts.put(&one).unwrap();
        }
        let ids = || -> Vec<String> {
            let all = alerts.recent(Stamp::from_unix_ms(0), 100).unwrap();
            all.into_iter().map(|alert| alert.id).collect()
        };
        assert_eq!(alerts.prune(Stamp::from_unix_ms(25), 100).unwrap(), 1);
        assert_eq!(ids(), ["A1", "A3", "A4", "A5"]);
        assert_eq!(alerts.prune(Stamp::from_unix_ms(0), 1).unwrap(), 2);
        assert_eq!(ids(), ["A1", "A5"]);
    }

    #[test]
    fn silences_end_by_time_or_are_cleared_by_what_they_name() {
        let (_home, store) = store();
        let alerts = store.alerts();
        let shop: BotId = "shop".parse().unwrap();
        let silence = |bot: Option<&BotId>, rule, until_ms| Silence {
            bot: bot.cloned(),
            rule,
            until: Stamp::from_unix_ms(until_ms),
            created_at: Stamp::from_unix_ms(1),
            by: "cli:ann".to_owned(),
            reason: Some("moving".to_owned()),
        };
        let all = [
            silence(None, Some(Rule::Down), 10),
            silence(Some(&shop), None, 20),
            silence(Some(&shop), Some(Rule::Held), 30),
        ];
        for one in &all {
            alerts.add_silence(one).unwrap();
        }
        let now = Stamp::from_unix_ms;
        assert_eq!(alerts.silences(now(9)).unwrap(), all);
        assert_eq!(alerts.silences(now(10)).unwrap(), all[1..]);
        assert_eq!(alerts.clear_silences(Some(&shop), Some(Rule::Held)).unwrap(), 1);
        assert_eq!(alerts.clear_silences(None, Some(Rule::Held)).unwrap(), 0);
        assert_eq!(alerts.clear_silences(Some(&shop), None).unwrap(), 1);
        assert_eq!(alerts.silences(now(9)).unwrap(), all[..1]);
        assert_eq!(alerts.clear_silences(None, None).unwrap(), 1);
    }
}
