//! `process_events`: what happened to bots, for as long as it is kept.

use rusqlite::{Row, params};

use super::db::bot_id;
use super::room::drop_step;
use super::{Error, Store};
use crate::model::bot::{BotId, RunId};
use crate::model::fact::Fact;
use crate::model::units::Stamp;

/// The history of one home's bots.
#[derive(Clone, Copy, Debug)]
pub struct Events<'a> {
    pub(super) store: &'a Store,
}

/// What is asked of the history. None: whatever it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Period<'a> {
    pub bot: Option<&'a BotId>,
    pub since: Option<Stamp>,
    pub until: Option<Stamp>,
    pub name: Option<&'a str>,
}

/// A fact and its number, by which what comes after it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    pub number: i64,
    pub fact: Fact,
}

const STATES: &str =
    "'adopting', 'stopped', 'starting', 'running', 'unhealthy', 'stopping', 'backoff', 'failed', 'held'";
/// Most facts with their places in the indexes take less than this, so that a step seldom drops too much.
const FACT_BYTES: u64 = 400;
const FACT: &str = "at, bot, run_id, name, detail, id";
const MATCHES: &str = "(?1 IS NULL OR bot = ?1) AND (?2 IS NULL OR at >= ?2) AND (?3 IS NULL OR at < ?3) \
    AND (?4 IS NULL OR name = ?4)";

impl Events<'_> {
    /// Adds facts in their order, all or none. Times are cut to milliseconds.
    pub fn append(&self, facts: &[Fact]) -> Result<(), Error> {
        let sql = "INSERT INTO process_events (at, bot, run_id, name, detail) VALUES (?1, ?2, ?3, ?4, ?5)";
        self.store.transaction(|store| {
            for fact in facts {
                let run = fact.run.as_ref().map(RunId::as_str);
                let params = params![fact.at.unix_ms(), fact.bot.as_str(), run, fact.name, fact.detail];
                store.execute("add an event", sql, params)?;
            }
            Ok(())
        })
    }

    /// The newest `limit` facts, of one bot or of all, newest last.
    pub fn recent(&self, bot: Option<&BotId>, limit: u32) -> Result<Vec<Fact>, Error> {
        let doing = "read events";
        let columns = "SELECT at, bot, run_id, name, detail FROM process_events";
        let newest = "ORDER BY id DESC LIMIT ?1";
        let mut facts = match bot {
            None => self.store.rows(doing, &format!("{columns} {newest}"), [limit], fact)?,
            Some(bot) => {
                let sql = format!("{columns} WHERE bot = ?2 {newest}");
                self.store.rows(doing, &sql, params![limit, bot.as_str()], fact)?
            }
        };
        facts.reverse();
        Ok(facts)
    }

    /// The newest `limit` facts that a question is about, newest last.
    pub fn matching(&self, period: &Period<'_>, limit: u32) -> Result<Vec<Numbered>, Error> {
        let sql = format!("SELECT {FACT} FROM process_events WHERE {MATCHES} ORDER BY id DESC LIMIT ?5");
        let mut facts = self.facts(&sql, period, i64::from(limit))?;
        facts.reverse();
        Ok(facts)
    }

    /// What was added after `last`, oldest first. Numbers are given anew where the newest facts were forgotten:
    /// then what is newer than `last` counts, whatever its number.
    pub fn after(&self, period: &Period<'_>, last: Option<&Numbered>) -> Result<Vec<Numbered>, Error> {
        let Some(last) = last else {
            let sql = format!("SELECT {FACT} FROM process_events WHERE {MATCHES} AND id > ?5 ORDER BY id");
            return self.facts(&sql, period, 0);
        };
        let sql = "SELECT at, bot, run_id, name, detail, id FROM process_events WHERE id = ?1";
        let known = self.store.row("read events", sql, [last.number], numbered)?;
        if known.is_none_or(|known| known == *last) && self.newest()? >= last.number {
            let sql = format!("SELECT {FACT} FROM process_events WHERE {MATCHES} AND id > ?5 ORDER BY id");
            return self.facts(&sql, period, last.number);
        }
        let sql = format!("SELECT {FACT} FROM process_events WHERE {MATCHES} AND at > ?5 ORDER BY id");
        self.facts(&sql, period, last.fact.at.unix_ms())
    }

    /// How bots changed their states and how their runs ended, from `since` to `until`, oldest first.
    pub fn states(&self, bot: Option<&BotId>, since: Stamp, until: Stamp) -> Result<Vec<Fact>, Error> {
        let sql = format!(
            "SELECT {FACT} FROM process_events WHERE at >= ?1 AND at < ?2 AND (?3 IS NULL OR bot = ?3) \
             AND name IN ({STATES}, 'exited', 'spawn_failed') ORDER BY id"
        );
        let params = params![since.unix_ms(), until.unix_ms(), bot.map(BotId::as_str)];
        self.store.rows("read events", &sql, params, fact)
    }

    /// The last change of a bot's state before `before`.
    pub fn last_state(&self, bot: &BotId, before: Stamp) -> Result<Option<Fact>, Error> {
        let sql = format!(
            "SELECT {FACT} FROM process_events WHERE bot = ?1 AND at < ?2 AND name IN ({STATES}) \
             ORDER BY id DESC LIMIT 1"
        );
        self.store
            .row("read events", &sql, params![bot.as_str(), before.unix_ms()], fact)
    }

    /// The newest fact of all.
    pub fn last(&self) -> Result<Option<Numbered>, Error> {
        let sql = format!("SELECT {FACT} FROM process_events ORDER BY id DESC LIMIT 1");
        self.store.row("read events", &sql, [], numbered)
    }

    fn newest(&self) -> Result<i64, Error> {
        let sql = "SELECT COALESCE(MAX(id), 0) FROM process_events";
        Ok(self
            .store
            .row("read events", sql, [], |row| row.get(0))?
            .unwrap_or_default())
    }

    fn facts(&self, sql: &str, period: &Period<'_>, last: i64) -> Result<Vec<Numbered>, Error> {
        let params = params![
            period.bot.map(BotId::as_str),
            period.since.map(Stamp::unix_ms),
            period.until.map(Stamp::unix_ms),
            period.name,
            last
        ];
        self.store.rows("read events", sql, params, numbered)
    }

    /// Forgets all facts of one bot.
    pub fn forget(&self, bot: &BotId) -> Result<(), Error> {
        let sql = "DELETE FROM process_events WHERE bot = ?1";
        self.store.execute("forget events", sql, params![bot.as_str()])?;
        Ok(())
    }

    /// Forgets the oldest facts, so many at the most; returns how many went.
    pub fn drop_oldest(&self, count_max: u32) -> Result<usize, Error> {
        let sql = "DELETE FROM process_events WHERE id IN (SELECT id FROM process_events ORDER BY id LIMIT ?1)";
        self.store
            .transaction(|store| store.execute("drop events", sql, [count_max]))
    }

    /// Forgets the oldest facts until no more than `size_max` bytes of the database are in use or none is left;
    /// returns how many went.
    pub fn drop_surplus(&self, size_max: u64) -> Result<usize, Error> {
        let mut dropped = 0;
        loop {
            let surplus = self.store.used_bytes()?.saturating_sub(size_max);
            if surplus == 0 {
                return Ok(dropped);
            }
            let count = u32::try_from(drop_step(surplus, FACT_BYTES)).unwrap_or(u32::MAX);
            let gone = self.drop_oldest(count)?;
            if gone == 0 {
                return Ok(dropped);
            }
            dropped += gone;
        }
    }

    /// Forgets what is older than `before`, and the oldest of what is more than `keep_max`. Returns
    /// how many facts went.
    pub fn prune_events(&self, before: Stamp, keep_max: u32) -> Result<usize, Error> {
        let sql = "DELETE FROM process_events WHERE at < ?1 \
                   OR id <= (SELECT id FROM process_events ORDER BY id DESC LIMIT 1 OFFSET ?2)";
        self.store
            .transaction(|store| store.execute("prune events", sql, params![before.unix_ms(), keep_max]))
    }
}

fn numbered(row: &Row<'_>) -> rusqlite::Result<Numbered> {
    Ok(Numbered {
        number: row.get(5)?,
        fact: fact(row)?,
    })
}

fn fact(row: &Row<'_>) -> rusqlite::Result<Fact> {
    let run: Option<String> = row.get(2)?;
    Ok(Fact {
        at: Stamp::from_unix_ms(row.get(0)?),
        bot: bot_id(row, 1)?,
        run: run.as_deref().and_then(RunId::parse),
        name: row.get(3)?,
        detail: row.get(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bot::State;
    use crate::store::Access;

    fn fact(at_ms: i64, bot: &str, run: Option<&str>) -> Fact {
        Fact {
            at: Stamp::from_unix_ms(at_ms),
            bot: bot.parse().unwrap(),
            run: run.map(|run| RunId::parse(run).unwrap()),
            name: "running".into(),
            detail: format!("at {at_ms}, it's \"up\""),
        }
    }

    fn history() -> (tempfile::TempDir, Store) {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("multibot.db"), Access::History).unwrap();
        (home, store)
    }

    #[test]
    fn the_newest_facts_come_last_and_as_they_were() {
        let (_home, store) = history();
        let run = Some("01ARZ3NDEKTSV4RRFFQ69G5FAV");
        // Order is that of arrival: a wall clock may be set back.
        let facts = [
            fact(5, "a", run),
            fact(3, "b", None),
            fact(9, "a", None),
            fact(4, "b", run),
        ];
        store.events().append(&facts[..3]).unwrap();
        store.events().append(&facts[3..]).unwrap();
        let recent = |bot: Option<&str>, limit| {
            let bot = bot.map(|bot| bot.parse().unwrap());
            store.events().recent(bot.as_ref(), limit).unwrap()
        };
        assert_eq!(recent(None, 10), facts);
        assert_eq!(recent(None, 2), facts[2..]);
        assert_eq!(recent(Some("a"), 10), [facts[0].clone(), facts[2].clone()]);
        assert_eq!(recent(Some("b"), 1), facts[3..]);
        assert_eq!(recent(Some("c"), 10), []);
    }

    #[test]
    fn the_oldest_can_be_dropped() {
        let (_home, store) = history();
        let facts: Vec<Fact> = (1..=5).map(|at| fact(at, "a", None)).collect();
        store.events().append(&facts).unwrap();
        assert_eq!(store.events().drop_oldest(2).unwrap(), 2);
        assert_eq!(store.events().recent(None, 10).unwrap(), facts[2..]);
        assert_eq!(store.events().drop_oldest(9).unwrap(), 3);
        assert_eq!(store.events().drop_oldest(9).unwrap(), 0);
    }

    #[test]
    fn a_question_may_be_about_a_bot_a_time_and_a_name() {
        let (_home, store) = history();
        let facts: Vec<Fact> = (1..=6)
            .map(|at| Fact {
                name: if at % 3 == 0 { "exited" } else { "running" }.into(),
                ..fact(at, if at % 2 == 0 { "a" } else { "b" }, None)
            })
            .collect();
        store.events().append(&facts).unwrap();
        let a = "a".parse().unwrap();
        let ats = |period: Period<'_>, limit| -> Vec<i64> {
            let found = store.events().matching(&period, limit).unwrap();
            found.iter().map(|it| it.fact.at.unix_ms()).collect()
        };
        let since = Some(Stamp::from_unix_ms(3));
        let until = Some(Stamp::from_unix_ms(6));
        let all = Period::default();
        assert_eq!(ats(all, 10), [1, 2, 3, 4, 5, 6]);
        assert_eq!(ats(Period { since, until, ..all }, 10), [3, 4, 5]);
        assert_eq!(
            ats(
                Period {
                    since,
                    bot: Some(&a),
                    ..all
                },
                10
            ),
            [4, 6]
        );
        assert_eq!(
            ats(
                Period {
                    name: Some("exited"),
                    ..all
                },
                10
            ),
            [3, 6]
        );
        assert_eq!(ats(all, 2), [5, 6]);
    }

    #[test]
    fn changes_of_states_are_found_among_all_else() {
        for state in State::ALL {
            assert!(STATES.contains(&format!("'{}'", state.word())), "{state:?}");
        }
        let (_home, store) = history();
        let named = |at, bot, name: &str| Fact {
            name: name.into(),
            ..fact(at, bot, None)
        };
        let facts = [
            named(1, "a", "running"),
            named(2, "a", "connected"),
            named(3, "b", "held"),
            named(4, "a", "exited"),
            named(5, "a", "backoff"),
        ];
        store.events().append(&facts).unwrap();
        let a = "a".parse().unwrap();
        let (from, to) = (Stamp::from_unix_ms(2), Stamp::from_unix_ms(9));
        assert_eq!(store.events().states(Some(&a), from, to).unwrap(), facts[3..]);
        assert_eq!(store.events().states(None, from, to).unwrap(), facts[2..]);
        assert_eq!(store.events().last_state(&a, to).unwrap().as_ref(), Some(&facts[4]));
        assert_eq!(
            store.events().last_state(&a, Stamp::from_unix_ms(5)).unwrap().as_ref(),
            Some(&facts[0])
        );
        assert_eq!(store.events().last_state(&a, Stamp::from_unix_ms(1)).unwrap(), None);
    }

    #[test]
    fn what_comes_after_is_told_once_also_where_the_newest_was_forgotten() {
        let (_home, store) = history();
        let events = store.events();
        let all = Period::default();
        events.append(&[fact(1, "a", None), fact(2, "b", None)]).unwrap();
        assert_eq!(events.after(&all, None).unwrap().len(), 2);
        let last = events.last().unwrap().unwrap();
        assert_eq!(events.after(&all, Some(&last)).unwrap(), []);
        events.append(&[fact(3, "a", None)]).unwrap();
        let told = events.after(&all, Some(&last)).unwrap();
        assert_eq!(told.iter().map(|it| it.fact.at.unix_ms()).collect::<Vec<_>>(), [3]);
        // Those that are forgotten leave their numbers to the next ones.
        let last = told.last().unwrap().clone();
        events.forget(&"a".parse().unwrap()).unwrap();
        assert_eq!(events.after(&all, Some(&last)).unwrap(), []);
        for count in 1..4 {
            events.append(&[fact(9 + count, "b", None)]).unwrap();
            let told = events.after(&all, Some(&last)).unwrap();
            assert_eq!(told.len() as i64, count, "{told:?}");
        }
        // What was pruned from the front is no reason to tell anything again.
        let last = events.last().unwrap().unwrap();
        events.prune_events(Stamp::from_unix_ms(100), 0).unwrap();
        assert_eq!(events.after(&all, Some(&last)).unwrap(), []);
    }

    #[test]
    fn pruning_goes_by_age_and_by_number() {
        let ats = |store: &Store| {
            let facts = store.events().recent(None, 100).unwrap();
            facts.iter().map(|fact| fact.at.unix_ms()).collect::<Vec<_>>()
        };
        for (before, keep_max, gone, left) in [
            (0, 5, 0, vec![1, 2, 3, 4, 5]),
            (0, 100, 0, vec![1, 2, 3, 4, 5]),
            (3, 100, 2, vec![3, 4, 5]),
            (0, 2, 3, vec![4, 5]),
            (5, 2, 4, vec![5]),
            (0, 0, 5, vec![]),
        ] {
            let (_home, store) = history();
            let facts: Vec<Fact> = (1..=5).map(|at| fact(at, "a", None)).collect();
            store.events().append(&facts).unwrap();
            let pruned = store
                .events()
                .prune_events(Stamp::from_unix_ms(before), keep_max)
                .unwrap();
            assert_eq!((pruned, ats(&store)), (gone, left), "before {before}, keep {keep_max}");
        }
    }
}
