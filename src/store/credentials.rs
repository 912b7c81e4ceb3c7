//! `credentials`: the tokens of the bots, and what else their platforms ask for.
//!
//! A field belongs to one bot, or to `*`, which is all of them. Tokens are compared by a keyed hash that only this database can compute, and its column is
//! unique: two bots on one token would fight over every message.

use hmac::{Hmac, KeyInit, Mac};
use rusqlite::{Row, params};
use sha2::Sha256;

use super::audit::AuditEntry;
use super::db::{bad_value, bot_id};
use super::people::By;
use super::{Error, Store};
use crate::model::bot::{BotId, Secret};
use crate::model::credential::{Field, FieldName, Fields, Owner, SHARED};
use crate::model::units::Stamp;

/// The secrets of one home's bots.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    pub(super) store: &'a Store,
}

impl Credentials<'_> {
    /// A bot's token; None where it has none, or where there is no such bot.
    pub fn token(&self, id: &BotId) -> Result<Option<Secret>, Error> {
        let sql = "SELECT value FROM credentials WHERE bot = ?1 AND name = 'token'";
        self.store
            .row("read a token", sql, [id.as_str()], |row| row.get(0).map(Secret::new))
    }

    /// All tokens, by bot.
    pub fn tokens(&self) -> Result<Vec<(BotId, Secret)>, Error> {
        let sql = "SELECT bot, value FROM credentials WHERE name = 'token' ORDER BY bot";
        self.store.rows("read tokens", sql, [], |row| {
            Ok((bot_id(row, 0)?, row.get(1).map(Secret::new)?))
        })
    }

    /// The bot that holds this token.
    pub fn holder(&self, token: &Secret) -> Result<Option<BotId>, Error> {
        let sql = "SELECT bot FROM credentials WHERE digest = ?1";
        let digest = self.digest(token)?;
        self.store.row("compare tokens", sql, [&digest], |row| bot_id(row, 0))
    }

    /// Gives a bot this token, or takes away the one it has. Another one than before ends a hold: what the platform
    /// said of the old one is not said of it.
    pub fn set_token(&self, id: &BotId, token: Option<&Secret>, now: Stamp) -> Result<(), Error> {
        self.store.transaction(|store| {
            store.bots().get(id)?;
            if self.token(id)?.as_ref() != token {
                store.holds().release(id)?;
            }
            let Some(token) = token else {
                let sql = "DELETE FROM credentials WHERE bot = ?1 AND name = 'token'";
                return store.change("remove a token", sql, [id.as_str()]).map(|_| ());
            };
            let digest = self.digest(token)?;
            if let Some(by) = self.holder(token)?.filter(|holder| holder != id) {
                return Err(Error::TokenTaken { by });
            }
            let sql = "INSERT INTO credentials (bot, name, value, digest, updated_at) VALUES (?1, 'token', ?2, ?3, ?4) \
                       ON CONFLICT (bot, name) DO UPDATE \
                       SET value = excluded.value, digest = excluded.digest, updated_at = excluded.updated_at";
            let params = params![id.as_str(), token.reveal(), digest, now.unix_ms()];
            store.change("store a token", sql, params).map(|_| ())
        })
    }

    /// Every field of every bot and the shared ones, tokens included, by owner and name.
    pub fn fields(&self) -> Result<Vec<Field>, Error> {
        let sql = "SELECT bot, name, value, updated_at FROM credentials ORDER BY bot, name";
        self.store.rows("read credentials", sql, [], |row| {
            Ok(Field {
                owner: owner(row)?,
                name: row.get::<_, String>(1)?.parse().map_err(|error| bad_value(1, error))?,
                value: row.get(2).map(Secret::new)?,
                updated_at: Stamp::from_unix_ms(row.get(3)?),
            })
        })
    }

    /// What each bot has beside its token: its own fields, and of the shared ones those that it has not itself.
    pub fn of_bot(fields: &[Field], id: &BotId) -> Fields {
        let of = |owner: &Owner| {
            let own = fields
                .iter()
                .filter(|field| field.owner == *owner && !field.name.is_token());
            own.map(|field| (field.name.clone(), field.value.clone())).collect()
        };
        let mut all: Fields = of(&Owner::Shared);
        all.extend::<Fields>(of(&Owner::Bot(id.clone())));
        all
    }

    /// Stores a field; a token goes through the comparison of tokens. A shared token is refused: two bots on one
    /// token fight over its messages.
    pub fn set(&self, field: &Field) -> Result<(), Error> {
        let id = match &field.owner {
            Owner::Shared if field.name.is_token() => return Err(Error::SharedToken),
            Owner::Shared => None,
            Owner::Bot(id) => Some(id),
        };
        self.store.transaction(|store| {
            if let Some(id) = id {
                store.bots().get(id)?;
                if field.name.is_token() {
                    return self.set_token(id, Some(&field.value), field.updated_at);
                }
            }
            let sql = "INSERT INTO credentials (bot, name, value, digest, updated_at) VALUES (?1, ?2, ?3, NULL, ?4) \
                       ON CONFLICT (bot, name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at";
            let (owner, name) = (field.owner.word(), field.name.as_str());
            let params = params![owner, name, field.value.reveal(), field.updated_at.unix_ms()];
            store.change("store a credential", sql, params).map(|_| ())
        })
    }

    /// Stores what a login has given a bot, and notes whose it was.
    pub fn log_in(&self, id: &BotId, given: &[(FieldName, Secret)], by: &By, now: Stamp) -> Result<(), Error> {
        self.store.transaction(|store| {
            for (name, value) in given {
                self.set(&Field {
                    owner: Owner::Bot(id.clone()),
                    name: name.clone(),
                    value: value.clone(),
                    updated_at: now,
                })?;
            }
            let names: Vec<&str> = given.iter().map(|(name, _)| name.as_str()).collect();
            store.audit().append(&AuditEntry {
                at: now,
                actor: by.actor.clone(),
                action: "bot login".to_owned(),
                bot: Some(id.clone()),
                detail: format!("{}{}", names.join(", "), by.place()),
            })
        })
    }

    /// Takes a field away; whether it was there.
    pub fn remove(&self, owner: &Owner, name: &FieldName) -> Result<bool, Error> {
        let sql = "DELETE FROM credentials WHERE bot = ?1 AND name = ?2";
        self.store.transaction(|store| {
            if let Owner::Bot(id) = owner {
                store.bots().get(id)?;
            }
            let gone = store.change("remove a credential", sql, [owner.word(), name.as_str()])?;
            Ok(gone > 0)
        })
    }

    /// HMAC-SHA256 in hex under the text of `token_key`, which creation wrote.
    fn digest(&self, token: &Secret) -> Result<String, Error> {
        let key = self.store.meta("token_key")?;
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_err(|why| Error::BadValue {
            doing: "read meta",
            path: self.store.path().to_owned(),
            message: format!("token_key: {why}"),
        })?;
        mac.update(token.reveal().as_bytes());
        let bytes = mac.finalize().into_bytes();
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

fn owner(row: &Row<'_>) -> rusqlite::Result<Owner> {
    if row.get::<_, String>(0)? == SHARED {
        return Ok(Owner::Shared);
    }
    bot_id(row, 0).map(Owner::Bot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bot::Wanted;
    use crate::store::{Access, NewBot};

    const NOW: Stamp = Stamp(1_700_000_000_123_000);

    fn store_with(names: &[&str]) -> (tempfile::TempDir, Store) {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("multibot.db"), Access::Write).unwrap();
        for name in names {
            let bot = NewBot {
                id: id(name),
                platform: None,
                settings_json: "{}".into(),
                wanted: Wanted::Up,
                token: None,
            };
            store.bots().create(&bot, NOW).unwrap();
        }
        (home, store)
    }

    fn id(text: &str) -> BotId {
        text.parse().unwrap()
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.into())
    }

    #[test]
    fn tokens_are_given_replaced_and_taken_away() {
        let (_home, store) = store_with(&["b", "a"]);
        let credentials = store.credentials();
        assert_eq!(credentials.token(&id("a")).unwrap(), None);
        for (bot, token) in [("a", "1:a"), ("b", "2:b"), ("a", "3:c"), ("a", "3:c")] {
            credentials.set_token(&id(bot), Some(&secret(token)), NOW).unwrap();
        }
        assert_eq!(credentials.token(&id("a")).unwrap(), Some(secret("3:c")));
        assert_eq!(
            credentials.tokens().unwrap(),
            [(id("a"), secret("3:c")), (id("b"), secret("2:b"))]
        );
        // The one that `a` gave back is free again.
        credentials.set_token(&id("b"), Some(&secret("1:a")), NOW).unwrap();
        credentials.set_token(&id("a"), None, NOW).unwrap();
        assert_eq!(credentials.tokens().unwrap(), [(id("b"), secret("1:a"))]);
    }

    #[test]
    fn a_token_has_one_holder_and_no_error_shows_it() {
        let (_home, store) = store_with(&["a", "b"]);
        let token = secret("123456:very-secret");
        store.credentials().set_token(&id("a"), Some(&token), NOW).unwrap();
        let taken = store.credentials().set_token(&id("b"), Some(&token), NOW).unwrap_err();
        assert_eq!(
            taken.to_string(),
            "bot a holds this token already: give this bot its own, or remove a first"
        );
        assert!(!format!("{taken:?}").contains("very-secret"));
        assert_eq!(store.credentials().token(&id("b")).unwrap(), None);
        // Where the comparison is passed by, the column still refuses, without showing the value.
        let sql = "INSERT INTO credentials SELECT 'b', name, value, digest, updated_at FROM credentials";
        let refused = store.change("copy a token", sql, []).unwrap_err();
        let shown = format!("{refused} {refused:?}");
        assert!(shown.contains("UNIQUE") && !shown.contains("very-secret"), "{shown}");
    }

    #[test]
    fn own_fields_win_over_shared_ones_and_tokens_stay_apart() {
        let (_home, store) = store_with(&["a", "b"]);
        let credentials = store.credentials();
        let field = |owner: &Owner, name: &str, value: &str| Field {
            owner: owner.clone(),
            name: name.parse().unwrap(),
            value: secret(value),
            updated_at: Stamp::from_unix_ms(NOW.unix_ms()),
        };
        let a = Owner::Bot(id("a"));
        let stored = [
            field(&Owner::Shared, "app_secret", "all"),
            field(&Owner::Shared, "phone_id", "all"),
            field(&a, "phone_id", "own"),
            field(&a, "token", "1:a"),
        ];
        for field in &stored {
            credentials.set(field).unwrap();
        }
        assert_eq!(credentials.fields().unwrap(), stored);
        let of = |bot: &str| {
            let fields = Credentials::of_bot(&stored, &id(bot));
            let shown = fields.iter().map(|(name, value)| format!("{name}={}", value.reveal()));
            shown.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of("a"), "app_secret=all phone_id=own");
        assert_eq!(of("b"), "app_secret=all phone_id=all");
        assert_eq!(credentials.token(&id("a")).unwrap(), Some(secret("1:a")));
        assert_eq!(credentials.tokens().unwrap().len(), 1);
        assert!(matches!(
            credentials.set(&field(&Owner::Bot(id("b")), "token", "1:a")),
            Err(Error::TokenTaken { .. })
        ));
        assert!(matches!(
            credentials.set(&field(&Owner::Shared, "token", "x")),
            Err(Error::SharedToken)
        ));
        assert!(credentials.set(&field(&Owner::Bot(id("c")), "x", "x")).is_err());
        assert!(credentials.remove(&a, &"phone_id".parse().unwrap()).unwrap());
        assert!(!credentials.remove(&a, &"phone_id".parse().unwrap()).unwrap());
        store.bots().remove(&id("a")).unwrap();
        assert_eq!(credentials.fields().unwrap(), stored[..2]);
    }

    #[test]
    fn a_digest_is_the_keyed_hash_and_differs_between_homes() {
        let (_home, store) = store_with(&[]);
        let (_other_home, other) = store_with(&[]);
        let token = secret("what do ya want for nothing?");
        let digest = |store: &Store| store.credentials().digest(&token).unwrap();
        assert_ne!(digest(&store), digest(&other));
        // Test case 2 of RFC 4231.
        let sql = "UPDATE meta SET value = 'Jefe' WHERE key = 'token_key'";
        store.change("set a known key", sql, []).unwrap();
        assert_eq!(
            digest(&store),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
