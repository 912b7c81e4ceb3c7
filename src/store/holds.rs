//! `holds`: bots that are held by what their platforms said of them, until an operator lets them go.

use rusqlite::{Row, params};

use super::db::{bad_value, bot_id};
use super::{Error, Store};
use crate::model::bot::BotId;
use crate::model::judging::{Class, Judgement};
use crate::model::units::Stamp;

/// The held bots of one home.
#[derive(Clone, Copy, Debug)]
pub struct Holds<'a> {
    pub(super) store: &'a Store,
}

impl Holds<'_> {
    /// Holds a bot from now on, in place of an earlier judgement. A bot that is not stored any more is not held.
    pub fn put(&self, bot: &BotId, judgement: &Judgement) -> Result<(), Error> {
        let sql = "INSERT INTO holds (bot, class, evidence, held_at) \
                   SELECT id, ?2, ?3, ?4 FROM bot_configs WHERE id = ?1 \
                   ON CONFLICT (bot) DO UPDATE \
                   SET class = excluded.class, evidence = excluded.evidence, held_at = excluded.held_at";
        let (class, at) = (judgement.class.word(), judgement.at.unix_ms());
        let params = params![bot.as_str(), class, judgement.evidence, at];
        self.store
            .transaction(|store| store.change("hold a bot", sql, params).map(|_| ()))
    }

    /// Lets a bot go; says by what it was held.
    pub fn release(&self, bot: &BotId) -> Result<Option<Judgement>, Error> {
        self.store.transaction(|store| {
            let held = self.of(bot)?;
            store.change("let a bot go", "DELETE FROM holds WHERE bot = ?1", [bot.as_str()])?;
            Ok(held)
        })
    }

    pub fn of(&self, bot: &BotId) -> Result<Option<Judgement>, Error> {
        let sql = "SELECT bot, class, evidence, held_at FROM holds WHERE bot = ?1";
        let row = self.store.row("read a hold", sql, [bot.as_str()], judgement)?;
        Ok(row.map(|(_, judgement)| judgement))
    }

    /// All of them, by bot.
    pub fn list(&self) -> Result<Vec<(BotId, Judgement)>, Error> {
        let sql = "SELECT bot, class, evidence, held_at FROM holds ORDER BY bot";
        self.store.rows("read the holds", sql, [], judgement)
    }
}

fn judgement(row: &Row<'_>) -> rusqlite::Result<(BotId, Judgement)> {
    let word: String = row.get(1)?;
    let class = Class::from_word(&word).ok_or_else(|| bad_value(1, format!("{word:?} is no class of a hold")))?;
    let judgement = Judgement {
        class,
        evidence: row.get(2)?,
        at: Stamp::from_unix_ms(row.get(3)?),
    };
    Ok((bot_id(row, 0)?, judgement))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bot::{Secret, Wanted};
    use crate::store::{Access, NewBot};

    fn store() -> (tempfile::TempDir, Store) {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("multibot.db"), Access::Write).unwrap();
        for name in ["shop", "desk"] {
            let bot = NewBot {
                id: name.parse().unwrap(),
                platform: None,
                settings_json: "{}".into(),
                wanted: Wanted::Up,
                token: Some(Secret::new(format!("1:{name}"))),
            };
            store.bots().create(&bot, Stamp(0)).unwrap();
        }
        (home, store)
    }

    fn judged(class: Class, ms: i64) -> Judgement {
        Judgement {
            class,
            evidence: "exited with code 77".into(),
            at: Stamp::from_unix_ms(ms),
        }
    }

    #[test]
    fn a_hold_stays_until_it_is_released() {
        let (_home, store) = store();
        let (shop, desk, gone) = (
            "shop".parse().unwrap(),
            "desk".parse().unwrap(),
            "gone".parse().unwrap(),
        );
        assert_eq!(store.holds().of(&shop).unwrap(), None);
        store.holds().put(&shop, &judged(Class::Conflict, 1)).unwrap();
        store.holds().put(&shop, &judged(Class::Credentials, 2)).unwrap();
        store.holds().put(&desk, &judged(Class::Banned, 3)).unwrap();
        store.holds().put(&gone, &judged(Class::Banned, 3)).unwrap();
        let expected = [
            (desk.clone(), judged(Class::Banned, 3)),
            (shop.clone(), judged(Class::Credentials, 2)),
        ];
        assert_eq!(store.holds().list().unwrap(), expected);
        assert_eq!(
            store.holds().release(&shop).unwrap(),
            Some(judged(Class::Credentials, 2))
        );
        assert_eq!(store.holds().release(&shop).unwrap(), None);
        store.bots().remove(&desk).unwrap();
        assert_eq!(store.holds().list().unwrap(), []);
    }

    #[test]
    fn another_token_lets_go_what_was_held_for_the_old_one() {
        let (_home, store) = store();
        let shop: BotId = "shop".parse().unwrap();
        let set = |text: &str| {
            let token = Secret::new(text.to_owned());
            store.credentials().set_token(&shop, Some(&token), Stamp(0)).unwrap();
        };
        for (class, is_let_go) in [
            (Class::Credentials, true),
            (Class::Conflict, true),
            (Class::Banned, true),
        ] {
            store.holds().put(&shop, &judged(class, 2)).unwrap();
            set("1:shop");
            assert!(
                store.holds().of(&shop).unwrap().is_some(),
                "the same token changes nothing"
            );
            set("2:shop");
            assert_eq!(
                store.holds().of(&shop).unwrap().is_none(),
                is_let_go,
                "{}",
                class.word()
            );
            set("1:shop");
        }
    }
}
