//! `admin_users`, `command_permissions` and `seen_users`: who may do what in the chats of all bots, and under which
//! names users were seen. The one way to change the first two, for operators and for admins in chats.

use rusqlite::{Row, params};

use super::audit::AuditEntry;
use super::db::bad_value;
use super::{Error, Store};
use crate::model::bot::BotId;
use crate::model::people::{self, Change, Level, UserRef};
use crate::model::units::Stamp;

/// Names of users that are remembered; the ones that were not seen for the longest time go first.
const SEEN_MAX: u32 = 10_000;

/// The people of one home.
#[derive(Clone, Copy, Debug)]
pub struct People<'a> {
    pub(super) store: &'a Store,
}

/// Who asks for a change, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    pub actor: String,
    /// The bot in whose chat it was asked; None for the command line.
    pub bot: Option<BotId>,
    pub chat: Option<String>,
}

/// An admin as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    pub user: String,
    /// The last name that was seen, without an @.
    pub name: Option<String>,
    pub added_by: String,
    pub added_at: Stamp,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("nobody called @{0} was seen: let them write to a bot first, or give their number")]
    Unseen(String),
    #[error("@{name} is {}: give the number of the one that you mean", .ids.join(" and "))]
    Ambiguous { name: String, ids: Vec<String> },
    #[error(transparent)]
    Store(#[from] Error),
}

impl People<'_> {
    /// What bots are told.
    pub fn load(&self) -> Result<people::People, Error> {
        let admins = self.admins()?.into_iter().map(|admin| admin.user);
        Ok(people::People {
            admins: admins.collect(),
            permissions: self.permissions()?.into_iter().collect(),
        })
    }

    /// The admins, by their ids.
    pub fn admins(&self) -> Result<Vec<Admin>, Error> {
        let sql = "SELECT user_id, (SELECT username FROM seen_users WHERE seen_users.user_id = admin_users.user_id \
                   ORDER BY seen_at DESC LIMIT 1), added_by, added_at FROM admin_users ORDER BY user_id";
        self.store.rows("read the admins", sql, [], |row| {
            Ok(Admin {
                user: row.get(0)?,
                name: row.get(1)?,
                added_by: row.get(2)?,
                added_at: Stamp::from_unix_ms(row.get(3)?),
            })
        })
    }

    /// The commands that differ from their defaults, by name.
    pub fn permissions(&self) -> Result<Vec<(String, Level)>, Error> {
        let sql = "SELECT command, level FROM command_permissions ORDER BY command";
        self.store.rows("read the permissions", sql, [], permission)
    }

    /// Makes a change and says in one line what is so now. Also writes the audit.
    pub fn change(&self, change: &Change, by: &By, now: Stamp) -> Result<String, Refusal> {
        self.store.transaction(|store| {
            let (action, subject, is_changed, said) = match change {
                Change::AddAdmin(user) => {
                    let user = self.resolve(user)?;
                    let sql = "INSERT INTO admin_users (user_id, added_by, added_at) VALUES (?1, ?2, ?3) \
                               ON CONFLICT (user_id) DO NOTHING";
                    let params = params![user.id, by.shown(), now.unix_ms()];
                    let changed = store.change("add an admin", sql, params)? > 0;
                    let said = if changed { "is an admin now" } else { "is an admin already" };
                    ("admin add", user.shown(), changed, format!("{} {said}", user.shown()))
                }
                Change::RemoveAdmin(user) => {
                    let user = self.resolve(user)?;
                    let sql = "DELETE FROM admin_users WHERE user_id = ?1";
                    let changed = store.change("remove an admin", sql, [&user.id])? > 0;
                    let said = if changed { "is no admin any more" } else { "is no admin" };
                    ("admin remove", user.shown(), changed, format!("{} {said}", user.shown()))
                }
                Change::SetPermission { command, level } => {
                    let sql = "INSERT INTO command_permissions (command, level, set_by, set_at) VALUES (?1, ?2, ?3, ?4) \
                               ON CONFLICT (command) DO UPDATE SET level = excluded.level, set_by = excluded.set_by, \
                               set_at = excluded.set_at";
                    let params = params![command, level.word(), by.shown(), now.unix_ms()];
                    store.change("set a permission", sql, params)?;
                    let whose = match level {
                        Level::Admin => "admins only",
                        Level::User => "everybody",
                    };
                    ("permission set", format!("{command} {}", level.word()), true, format!("{command} is for {whose} now"))
                }
                Change::RemovePermission { command } => {
                    let sql = "DELETE FROM command_permissions WHERE command = ?1";
                    let changed = store.change("remove a permission", sql, [command])? > 0;
                    let said = if changed { "has its default again" } else { "has its default" };
                    ("permission remove", command.clone(), changed, format!("{command} {said}"))
                }
            };
            if is_changed {
                store.audit().append(&AuditEntry {
                    at: now,
                    actor: by.actor.clone(),
                    action: action.to_owned(),
                    bot: by.bot.clone(),
                    detail: format!("{subject}{}", by.place()),
                })?;
            }
            Ok(said)
        })
    }

    /// Remembers under which name a user was seen.
    pub fn see(&self, bot: &BotId, user: &str, username: &str, now: Stamp) -> Result<(), Error> {
        self.store.transaction(|store| {
            let sql = "INSERT INTO seen_users (user_id, username, bot, seen_at) VALUES (?1, ?2, ?3, ?4) \
                       ON CONFLICT (user_id, bot) DO UPDATE SET username = excluded.username, seen_at = excluded.seen_at";
            let username = username.trim_start_matches('@').to_lowercase();
            store.change("remember a user", sql, params![user, username, bot.as_str(), now.unix_ms()])?;
            let sql = "DELETE FROM seen_users WHERE rowid IN \
                       (SELECT rowid FROM seen_users ORDER BY seen_at DESC LIMIT -1 OFFSET ?1)";
            store.change("forget users", sql, [SEEN_MAX])?;
            Ok(())
        })
    }

    fn resolve(&self, user: &UserRef) -> Result<Found, Refusal> {
        let name = match user {
            UserRef::Id(id) => {
                return Ok(Found {
                    id: id.clone(),
                    name: None,
                });
            }
            UserRef::Name(name) => name,
        };
        // A name may have gone from one to another: each counts by the last name that it was seen with.
        let sql = "SELECT DISTINCT user_id FROM seen_users AS seen WHERE username = ?1 AND NOT EXISTS \
                   (SELECT 1 FROM seen_users AS later WHERE later.user_id = seen.user_id AND later.seen_at > seen.seen_at \
                   AND later.username <> seen.username) ORDER BY user_id";
        let mut ids: Vec<String> = self.store.rows("look for a user", sql, [name], |row| row.get(0))?;
        let name = name.clone();
        match (ids.pop(), ids.is_empty()) {
            (None, _) => Err(Refusal::Unseen(name)),
            (Some(id), true) => Ok(Found { id, name: Some(name) }),
            (Some(id), false) => {
                ids.push(id);
                Err(Refusal::Ambiguous { name, ids })
            }
        }
    }
}

struct Found {
    id: String,
    name: Option<String>,
}

impl Found {
    fn shown(&self) -> String {
        match &self.name {
            Some(name) => format!("{} (@{name})", self.id),
            None => self.id.clone(),
        }
    }
}

impl By {
    fn shown(&self) -> String {
        format!("{}{}", self.actor, self.place())
    }

    /// Behind what was done: where it was asked.
    pub(super) fn place(&self) -> String {
        match (&self.bot, &self.chat) {
            (Some(bot), Some(chat)) => format!(", in chat {chat} of {bot}"),
            (Some(bot), None) => format!(", by {bot}"),
            (None, _) => String::new(),
        }
    }
}

fn permission(row: &Row<'_>) -> rusqlite::Result<(String, Level)> {
    let word: String = row.get(1)?;
    let level = Level::from_word(&word).ok_or_else(|| bad_value(1, format!("{word:?} is no level")))?;
    Ok((row.get(0)?, level))
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

    fn cli() -> By {
        By {
            actor: "root".into(),
            bot: None,
            chat: None,
        }
    }

    #[test]
    fn changes_are_made_once_and_told_with_who_and_where() {
        let (_home, store) = store();
        let people = store.people();
        let shop: BotId = "shop".parse().unwrap();
        people.see(&shop, "77", "@Bob", Stamp(1)).unwrap();
        let chat = By {
            actor: "42".into(),
            bot: Some(shop),
            chat: Some("-100".into()),
        };
        let bob = UserRef::Name("bob".into());
        let add = Change::AddAdmin(bob.clone());
        assert_eq!(
            people.change(&add, &chat, Stamp(5_000_000)).unwrap(),
            "77 (@bob) is an admin now"
        );
        assert_eq!(
            people.change(&add, &cli(), Stamp(6_000_000)).unwrap(),
            "77 (@bob) is an admin already"
        );
        let admins = people.admins().unwrap();
        assert_eq!(
            (admins[0].user.as_str(), admins[0].name.as_deref()),
            ("77", Some("bob"))
        );
        assert_eq!(admins[0].added_by, "42, in chat -100 of shop");
        let set = Change::set_permission("deploy", Level::Admin).unwrap();
        assert_eq!(
            people.change(&set, &cli(), Stamp(0)).unwrap(),
            "deploy is for admins only now"
        );
        let told = people.load().unwrap();
        assert!(told.is_admin("77") && !told.allowed("deploy", "1", Level::User));
        let unset = Change::remove_permission("deploy").unwrap();
        assert_eq!(
            people.change(&unset, &cli(), Stamp(0)).unwrap(),
            "deploy has its default again"
        );
        assert_eq!(
            people.change(&unset, &cli(), Stamp(0)).unwrap(),
            "deploy has its default"
        );
        let gone = Change::RemoveAdmin(bob);
        assert_eq!(
            people.change(&gone, &cli(), Stamp(0)).unwrap(),
            "77 (@bob) is no admin any more"
        );
        assert_eq!(people.load().unwrap(), people::People::default());
        let audit = store.audit().recent(&crate::store::AuditQuery::default(), 10).unwrap();
        let lines: Vec<String> = audit
            .iter()
            .map(|it| format!("{} {} {}", it.actor, it.action, it.detail))
            .collect();
        assert_eq!(
            lines,
            [
                "42 admin add 77 (@bob), in chat -100 of shop",
                "root permission set deploy admin",
                "root permission remove deploy",
                "root admin remove 77 (@bob)",
            ]
        );
    }

    #[test]
    fn a_name_is_the_one_who_has_it_now() {
        let (_home, store) = store();
        let people = store.people();
        let (shop, desk): (BotId, BotId) = ("shop".parse().unwrap(), "desk".parse().unwrap());
        let add = |name: &str| people.change(&Change::AddAdmin(UserRef::Name(name.into())), &cli(), Stamp(0));
        assert!(matches!(add("bob"), Err(Refusal::Unseen(_))));
        people.see(&shop, "1", "bob", Stamp(1_000_000)).unwrap();
        people.see(&desk, "1", "bob", Stamp(1_000_000)).unwrap();
        people.see(&shop, "2", "bob", Stamp(2_000_000)).unwrap();
        let error = add("bob").unwrap_err().to_string();
        assert_eq!(error, "@bob is 1 and 2: give the number of the one that you mean");
        people.see(&desk, "1", "robert", Stamp(3_000_000)).unwrap();
        assert_eq!(add("bob").unwrap(), "2 (@bob) is an admin now");
    }
}
