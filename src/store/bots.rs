//! `bot_configs`: what bots there are, their settings and what the operator wants of them.
//!
//! Never reads the settings: they are JSON text that only `config` understands.

use rusqlite::{Row, params};

use super::db::{bad_value, bot_id};
use super::{Error, Store};
use crate::model::bot::{BotId, Platform, Secret, Wanted};
use crate::model::nearest::nearest;
use crate::model::units::Stamp;

/// The bots of one home.
#[derive(Clone, Copy, Debug)]
pub struct Bots<'a> {
    pub(super) store: &'a Store,
}

/// A bot as an operator or a file describes it.
#[derive(Clone, Debug)]
pub struct NewBot {
    pub id: BotId,
    /// None: the operator left it open.
    pub platform: Option<Platform>,
    pub settings_json: String,
    pub wanted: Wanted,
    pub token: Option<Secret>,
}

/// A bot as it is stored. Times are whole milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BotRecord {
    pub id: BotId,
    /// BOT_INDEX: given at creation, never changed.
    pub index: u32,
    pub settings_json: String,
    pub wanted: Wanted,
    pub created_at: Stamp,
    pub updated_at: Stamp,
    pub has_token: bool,
}

/// What `put` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    Created,
    Updated,
    Unchanged,
}

/// The bots that a change is meant for.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    All,
    Only(&'a [BotId]),
}

const SELECT: &str = "\
SELECT b.id, b.bot_index, b.settings, b.wanted, b.created_at, b.updated_at, c.bot IS NOT NULL
FROM bot_configs b LEFT JOIN credentials c ON c.bot = b.id AND c.name = 'token'";

impl Bots<'_> {
    /// Adds a bot under the smallest free index.
    pub fn create(&self, bot: &NewBot, now: Stamp) -> Result<BotRecord, Error> {
        self.store.transaction(|_| {
            if self.find(&bot.id)?.is_some() {
                return Err(Error::BotExists { id: bot.id.clone() });
            }
            self.insert(bot, now)?;
            self.get(&bot.id)
        })
    }

    /// Adds a bot, or gives an existing one these settings; an existing one keeps its index and what
    /// is wanted of it, and its token where `bot` brings none.
    pub fn put(&self, bot: &NewBot, now: Stamp) -> Result<Put, Error> {
        let sql = "SELECT platform, settings FROM bot_configs WHERE id = ?1";
        let platform = bot.platform.map(Platform::word);
        self.store.transaction(|store| {
            let stored = store.row("read a bot", sql, [bot.id.as_str()], |row| {
                let stored_platform: Option<String> = row.get(0)?;
                Ok((stored_platform, row.get::<_, String>(1)?))
            })?;
            let Some((stored_platform, settings)) = stored else {
                self.insert(bot, now)?;
                return Ok(Put::Created);
            };
            let mut put = Put::Unchanged;
            if stored_platform.as_deref() != platform || settings != bot.settings_json {
                self.update_settings(&bot.id, bot.platform, &bot.settings_json, now)?;
                put = Put::Updated;
            }
            let credentials = store.credentials();
            if bot.token.is_some() && credentials.token(&bot.id)? != bot.token {
                credentials.set_token(&bot.id, bot.token.as_ref(), now)?;
                put = Put::Updated;
            }
            Ok(put)
        })
    }

    /// The bot of this id, or `NoSuchBot`.
    pub fn get(&self, id: &BotId) -> Result<BotRecord, Error> {
        match self.find(id)? {
            Some(record) => Ok(record),
            None => Err(self.no_such_bot(id)?),
        }
    }

    /// All bots, by index.
    pub fn list(&self) -> Result<Vec<BotRecord>, Error> {
        let sql = format!("{SELECT} ORDER BY b.bot_index");
        self.store.rows("list bots", &sql, [], record)
    }

    pub fn count(&self) -> Result<u32, Error> {
        let sql = "SELECT COUNT(*) FROM bot_configs";
        let count = self.store.row("count bots", sql, [], |row| row.get(0))?;
        Ok(count.unwrap_or(0))
    }

    /// Replaces platform and settings.
    pub fn update_settings(
        &self,
        id: &BotId,
        platform: Option<Platform>,
        settings_json: &str,
        now: Stamp,
    ) -> Result<(), Error> {
        let sql = "UPDATE bot_configs SET platform = ?2, settings = ?3, updated_at = ?4 WHERE id = ?1";
        let platform = platform.map(Platform::word);
        self.store.transaction(|store| {
            let params = params![id.as_str(), platform, settings_json, now.unix_ms()];
            match store.change("update a bot", sql, params)? {
                0 => Err(self.no_such_bot(id)?),
                _ => Ok(()),
            }
        })
    }

    /// Stores what is wanted and returns the bots for which it was something else before. One
    /// unknown id and nothing changes.
    pub fn set_wanted(&self, which: Which<'_>, wanted: Wanted, now: Stamp) -> Result<Vec<BotId>, Error> {
        self.store.transaction(|_| {
            let records = match which {
                Which::All => self.list()?,
                Which::Only(ids) => ids.iter().map(|id| self.get(id)).collect::<Result<_, _>>()?,
            };
            let mut changed = Vec::new();
            for bot in records {
                if bot.wanted != wanted && !changed.contains(&bot.id) {
                    self.write_wanted(&bot.id, wanted, now)?;
                    changed.push(bot.id);
                }
            }
            Ok(changed)
        })
    }

    /// Removes a bot with its credentials and its blocklist. Its events and audit rows stay.
    pub fn remove(&self, id: &BotId) -> Result<(), Error> {
        self.store.transaction(|store| {
            let doing = "remove a bot";
            if store.change(doing, "DELETE FROM bot_configs WHERE id = ?1", [id.as_str()])? == 0 {
                return Err(self.no_such_bot(id)?);
            }
            store.change(doing, "DELETE FROM credentials WHERE bot = ?1", [id.as_str()])?;
            store.change(doing, "DELETE FROM blocklist WHERE bot = ?1", [id.as_str()])?;
            store.change(doing, "DELETE FROM holds WHERE bot = ?1", [id.as_str()])?;
            Ok(())
        })
    }

    fn find(&self, id: &BotId) -> Result<Option<BotRecord>, Error> {
        let sql = format!("{SELECT} WHERE b.id = ?1");
        self.store.row("read a bot", &sql, [id.as_str()], record)
    }

    fn insert(&self, bot: &NewBot, now: Stamp) -> Result<(), Error> {
        let sql = "INSERT INTO bot_configs (id, bot_index, platform, settings, wanted, created_at, updated_at) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)";
        let params = params![
            bot.id.as_str(),
            self.free_index()?,
            bot.platform.map(Platform::word),
            bot.settings_json,
            bot.wanted.word(),
            now.unix_ms()
        ];
        self.store.change("add a bot", sql, params)?;
        match &bot.token {
            Some(token) => self.store.credentials().set_token(&bot.id, Some(token), now),
            None => Ok(()),
        }
    }

    fn free_index(&self) -> Result<u32, Error> {
        let sql = "SELECT bot_index FROM bot_configs ORDER BY bot_index";
        let used: Vec<u32> = self.store.rows("find a free index", sql, [], |row| row.get(0))?;
        let free = (0..).zip(&used).find(|(index, used)| index != *used);
        Ok(free.map_or(used.len() as u32, |(index, _)| index))
    }

    fn write_wanted(&self, id: &BotId, wanted: Wanted, now: Stamp) -> Result<(), Error> {
        let sql = "UPDATE bot_configs SET wanted = ?2, updated_at = ?3 WHERE id = ?1";
        let params = params![id.as_str(), wanted.word(), now.unix_ms()];
        self.store.change("store what is wanted", sql, params).map(|_| ())
    }

    pub(super) fn no_such_bot(&self, id: &BotId) -> Result<Error, Error> {
        let sql = "SELECT id FROM bot_configs ORDER BY id";
        let ids = self
            .store
            .rows("look for a bot of a similar name", sql, [], |row| bot_id(row, 0))?;
        Ok(Error::NoSuchBot {
            id: id.clone(),
            nearest: nearest(id.as_str(), ids.iter().map(BotId::as_str)).and_then(|near| near.parse().ok()),
        })
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<BotRecord> {
    let wanted: String = row.get(3)?;
    Ok(BotRecord {
        id: bot_id(row, 0)?,
        index: row.get(1)?,
        settings_json: row.get(2)?,
        wanted: Wanted::from_word(&wanted)
            .ok_or_else(|| bad_value(3, format!("wanted is {wanted:?}, not up or down")))?,
        created_at: Stamp::from_unix_ms(row.get(4)?),
        updated_at: Stamp::from_unix_ms(row.get(5)?),
        has_token: row.get(6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Access;

    const NOW: Stamp = Stamp(1_700_000_000_123_000);
    const LATER: Stamp = Stamp(1_700_000_009_000_000);

    fn store() -> (tempfile::TempDir, Store) {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("multibot.db"), Access::Write).unwrap();
        (home, store)
    }

    fn id(text: &str) -> BotId {
        text.parse().unwrap()
    }

    fn bot(name: &str, token: Option<&str>) -> NewBot {
        NewBot {
            id: id(name),
            platform: Some(Platform::Loopback),
            settings_json: format!("{{\"cwd\":\"/{name}\"}}"),
            wanted: Wanted::Up,
            token: token.map(|token| Secret::new(token.into())),
        }
    }

    fn ids(store: &Store) -> Vec<String> {
        let list = store.bots().list().unwrap();
        list.iter().map(|bot| format!("{} {}", bot.index, bot.id)).collect()
    }

    #[test]
    fn a_created_bot_is_stored_as_it_was_given() {
        let (_home, store) = store();
        let created = store.bots().create(&bot("shop", Some("1:a")), NOW).unwrap();
        assert_eq!(
            created,
            BotRecord {
                id: id("shop"),
                index: 0,
                settings_json: "{\"cwd\":\"/shop\"}".into(),
                wanted: Wanted::Up,
                created_at: NOW,
                updated_at: NOW,
                has_token: true,
            }
        );
        assert_eq!(store.bots().get(&id("shop")).unwrap(), created);
        let plain = store.bots().create(&bot("plain", None), LATER).unwrap();
        assert!(!plain.has_token);
        assert_eq!(store.bots().list().unwrap(), [created, plain]);
        assert_eq!(store.bots().count().unwrap(), 2);
    }

    #[test]
    fn an_id_is_taken_once() {
        let (_home, store) = store();
        store.bots().create(&bot("shop", Some("1:a")), NOW).unwrap();
        let again = store.bots().create(&bot("shop", Some("2:b")), NOW).unwrap_err();
        assert_eq!(
            again.to_string(),
            "bot shop exists already: choose another id, or change it with multibot bot set shop"
        );
        let token = store.credentials().token(&id("shop")).unwrap();
        assert_eq!(token, Some(Secret::new("1:a".into())));
    }

    #[test]
    fn indexes_fill_gaps_and_stay() {
        let (_home, store) = store();
        for name in ["c", "a", "b", "d"] {
            store.bots().create(&bot(name, None), NOW).unwrap();
        }
        assert_eq!(ids(&store), ["0 c", "1 a", "2 b", "3 d"]);
        store.bots().remove(&id("c")).unwrap();
        store.bots().remove(&id("b")).unwrap();
        assert_eq!(ids(&store), ["1 a", "3 d"]);
        for name in ["e", "f", "g"] {
            store.bots().create(&bot(name, None), NOW).unwrap();
        }
        assert_eq!(ids(&store), ["0 e", "1 a", "2 f", "3 d", "4 g"]);
    }

    #[test]
    fn a_removed_bot_leaves_neither_token_nor_blocklist() {
        let (_home, store) = store();
        store.bots().create(&bot("shop", Some("1:a")), NOW).unwrap();
        let sql = "INSERT INTO blocklist (bot, target, reason, blocked_at, failures) VALUES ('shop', 'x', '', 1, 1)";
        store.change("block", sql, []).unwrap();
        assert_eq!(store.blocklist().counts(NOW).unwrap().blocked, 1);
        store.bots().remove(&id("shop")).unwrap();
        assert_eq!(store.blocklist().counts(NOW).unwrap().blocked, 0);
        assert_eq!(store.credentials().tokens().unwrap(), []);
        let other = store.bots().create(&bot("other", Some("1:a")), NOW).unwrap();
        assert!(other.has_token);
    }

    #[test]
    fn settings_are_replaced() {
        let (_home, store) = store();
        let created = store.bots().create(&bot("shop", None), NOW).unwrap();
        store.bots().update_settings(&id("shop"), None, "{}", LATER).unwrap();
        let expected = BotRecord {
            settings_json: "{}".into(),
            updated_at: LATER,
            ..created
        };
        assert_eq!(store.bots().get(&id("shop")).unwrap(), expected);
    }

    #[test]
    fn put_says_what_it_did_and_keeps_index_wanted_and_token() {
        let (_home, store) = store();
        store.bots().create(&bot("first", None), NOW).unwrap();
        let mut shop = bot("shop", Some("1:a"));
        let put = |shop: &NewBot| store.bots().put(shop, LATER).unwrap();
        assert_eq!(put(&shop), Put::Created);
        assert_eq!(put(&shop), Put::Unchanged);
        store
            .bots()
            .set_wanted(Which::Only(&[id("shop")]), Wanted::Down, NOW)
            .unwrap();
        shop.token = None;
        assert_eq!(put(&shop), Put::Unchanged);
        shop.settings_json = "{}".into();
        assert_eq!(put(&shop), Put::Updated);
        shop.platform = None;
        assert_eq!(put(&shop), Put::Updated);
        assert_eq!(put(&shop), Put::Unchanged);
        shop.token = Some(Secret::new("2:b".into()));
        assert_eq!(put(&shop), Put::Updated);
        assert_eq!(store.credentials().token(&id("shop")).unwrap(), shop.token);
        let record = store.bots().get(&id("shop")).unwrap();
        assert_eq!((record.index, record.wanted), (1, Wanted::Down));
    }

    #[test]
    fn wanted_changes_where_it_was_something_else() {
        let (_home, store) = store();
        for name in ["a", "b", "c"] {
            store.bots().create(&bot(name, None), NOW).unwrap();
        }
        let set = |which: Which<'_>, wanted| store.bots().set_wanted(which, wanted, LATER);
        assert_eq!(set(Which::Only(&[id("b"), id("b")]), Wanted::Down).unwrap(), [id("b")]);
        assert_eq!(set(Which::All, Wanted::Down).unwrap(), [id("a"), id("c")]);
        assert_eq!(set(Which::All, Wanted::Down).unwrap(), []);
        assert!(set(Which::Only(&[id("a"), id("x")]), Wanted::Up).is_err());
        let list = store.bots().list().unwrap();
        assert!(
            list.iter()
                .all(|bot| bot.wanted == Wanted::Down && bot.updated_at == LATER)
        );
    }

    #[test]
    fn an_unknown_bot_is_named_with_its_nearest() {
        let (_home, store) = store();
        store.bots().create(&bot("shop", None), NOW).unwrap();
        store.bots().create(&bot("news", None), NOW).unwrap();
        let shpo = id("shpo");
        let faults = [
            store.bots().get(&shpo).unwrap_err(),
            store.bots().remove(&shpo).unwrap_err(),
            store.bots().update_settings(&shpo, None, "{}", NOW).unwrap_err(),
            store
                .bots()
                .set_wanted(Which::Only(&[id("shpo")]), Wanted::Up, NOW)
                .unwrap_err(),
            store.credentials().set_token(&shpo, None, NOW).unwrap_err(),
        ];
        for fault in faults {
            assert_eq!(
                fault.to_string(),
                "no bot shpo, nearest is shop: multibot list shows all"
            );
        }
        let far = store.bots().get(&id("weather")).unwrap_err();
        assert_eq!(far.to_string(), "no bot weather: multibot list shows all");
    }

    #[test]
    fn a_folder_is_applied_whole_or_not_at_all() {
        let (_home, store) = store();
        store.bots().create(&bot("old", Some("1:a")), NOW).unwrap();
        let folder = [bot("new", None), bot("thief", Some("1:a")), bot("last", None)];
        let outcome: Result<(), Error> = store.transaction(|store| {
            for bot in &folder {
                store.bots().put(bot, LATER)?;
            }
            Ok(())
        });
        assert!(matches!(outcome, Err(Error::TokenTaken { by }) if by == id("old")));
        assert_eq!(ids(&store), ["0 old"]);
    }

    #[test]
    fn a_step_that_failed_leaves_nothing_in_a_transaction_that_goes_on() {
        let (_home, store) = store();
        store.bots().create(&bot("old", Some("1:a")), NOW).unwrap();
        let outcome: Result<(), Error> = store.transaction(|store| {
            store.bots().create(&bot("new", None), NOW)?;
            assert!(store.bots().create(&bot("thief", Some("1:a")), NOW).is_err());
            Ok(())
        });
        outcome.unwrap();
        assert_eq!(ids(&store), ["0 old", "1 new"]);
    }

    #[test]
    fn a_value_from_elsewhere_is_a_clear_fault() {
        let (home, store) = store();
        store.bots().create(&bot("shop", None), NOW).unwrap();
        for (sql, what) in [
            (
                "UPDATE bot_configs SET wanted = 'sideways'",
                "wanted is \"sideways\", not up or down",
            ),
            (
                "UPDATE bot_configs SET wanted = 'up', id = 'Not An Id'",
                "\"Not An Id\" is not a bot id",
            ),
        ] {
            store.change("spoil", sql, []).unwrap();
            let fault = store.bots().list().unwrap_err().to_string();
            let place = home.path().join("multibot.db");
            assert!(
                fault.starts_with(&format!("list bots in {}: ", place.display())),
                "{fault}"
            );
            assert!(fault.contains(what), "{fault}");
        }
    }
}
