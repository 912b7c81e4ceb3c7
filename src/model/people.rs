//! Who may do what in chats: the admins of all bots, and who may use which command.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// Who may use a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Admin,
    User,
}

impl Level {
    pub fn word(self) -> &'static str {
        match self {
            Level::Admin => "admin",
            Level::User => "user",
        }
    }

    pub fn from_word(word: &str) -> Option<Level> {
        [Level::Admin, Level::User]
            .into_iter()
            .find(|level| level.word() == word)
    }
}

/// The commands that are an admin's, whatever anybody says.
pub const ADMIN_COMMANDS: [&str; 6] = ["admin", "refresh", "setperm", "removeperm", "listperms", "relogin"];
/// The command that tells bots who is an admin: `{"admins":[id]}`, the whole list.
pub const REFRESH_ADMINS: &str = "refresh_admins";
/// The command that tells bots who may use what: `{"permissions":{command:"admin"|"user"}}`, all of them.
pub const REFRESH_PERMISSIONS: &str = "refresh_permissions";

/// The longest id of a user, and the longest name of a command.
const USER_BYTES_MAX: usize = 64;
const COMMAND_BYTES_MAX: usize = 32;

/// The admins, by the ids that platforms give them, and the commands that differ from their defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People {
    pub admins: BTreeSet<String>,
    pub permissions: BTreeMap<String, Level>,
}

impl People {
    pub fn is_admin(&self, user: &str) -> bool {
        self.admins.contains(user)
    }

    /// Whether a user may use a command that is `default`'s where nobody has said otherwise.
    pub fn allowed(&self, command: &str, user: &str, default: Level) -> bool {
        let level = if ADMIN_COMMANDS.contains(&command) {
            Level::Admin
        } else {
            self.permissions.get(command).copied().unwrap_or(default)
        };
        level == Level::User || self.is_admin(user)
    }

    pub fn admins_payload(&self) -> Value {
        json!({"admins": self.admins})
    }

    pub fn permissions_payload(&self) -> Value {
        let levels = self.permissions.iter();
        let words: BTreeMap<&String, &str> = levels.map(|(command, level)| (command, level.word())).collect();
        json!({"permissions": words})
    }
}

/// A change that an operator or an admin asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    AddAdmin(UserRef),
    RemoveAdmin(UserRef),
    SetPermission {
        command: String,
        level: Level,
    },
    /// Gives a command its default back.
    RemovePermission {
        command: String,
    },
}

/// A user as people write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserRef {
    Id(String),
    /// Without the @, in small letters.
    Name(String),
}

/// Why a change makes no sense, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error(
        "{text:?} is no user: write the number that the platform gives, or @name of somebody who has written to a bot"
    )]
    User { text: String },
    #[error("{text:?} is no command: write at most {COMMAND_BYTES_MAX} of a-z 0-9 _ -")]
    Command { text: String },
    #[error("{command} is for admins only and stays so")]
    Fixed { command: String },
}

impl UserRef {
    pub fn parse(text: &str) -> Result<UserRef, ChangeError> {
        let name = text.strip_prefix('@');
        let word = name.unwrap_or(text);
        let is_word =
            (1..=USER_BYTES_MAX).contains(&word.len()) && !word.contains(char::is_whitespace) && !word.contains('@');
        match name {
            _ if !is_word || word.contains(char::is_control) => Err(ChangeError::User { text: text.to_owned() }),
            Some(name) => Ok(UserRef::Name(name.to_lowercase())),
            None => Ok(UserRef::Id(text.to_owned())),
        }
    }
}

impl Change {
    /// The level of a command from now on. Errors where that cannot be changed.
    pub fn set_permission(command: &str, level: Level) -> Result<Change, ChangeError> {
        let command = command_name(command)?;
        if ADMIN_COMMANDS.contains(&command.as_str()) {
            return Err(ChangeError::Fixed { command });
        }
        Ok(Change::SetPermission { command, level })
    }

    pub fn remove_permission(command: &str) -> Result<Change, ChangeError> {
        // The default of a fixed one is what it has: there is nothing to refuse.
        let command = command_name(command)?;
        Ok(Change::RemovePermission { command })
    }
}

/// The name of a command, with or without a prefix before it.
fn command_name(text: &str) -> Result<String, ChangeError> {
    let bare = text.trim_start_matches(|c: char| c.is_ascii_punctuation() && c != '_' && c != '-');
    let name = bare.to_ascii_lowercase();
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    // Every text that is no command has permissions of its own.
    if text == "*" {
        return Ok(text.to_owned());
    }
    if (1..=COMMAND_BYTES_MAX).contains(&name.len()) && name.bytes().all(inner) {
        Ok(name)
    } else {
        Err(ChangeError::Command { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_wins_over_a_default_and_nothing_over_what_is_fixed() {
        let people = People {
            admins: BTreeSet::from(["1".to_owned()]),
            permissions: [("hours", Level::Admin), ("deploy", Level::User), ("admin", Level::User)]
                .map(|(command, level)| (command.to_owned(), level))
                .into(),
        };
        for (command, user, default, allowed) in [
            ("hours", "2", Level::User, false),
            ("hours", "1", Level::User, true),
            ("deploy", "2", Level::Admin, true),
            ("other", "2", Level::User, true),
            ("other", "2", Level::Admin, false),
            ("admin", "2", Level::User, false),
            ("admin", "1", Level::User, true),
        ] {
            assert_eq!(people.allowed(command, user, default), allowed, "{command} {user}");
        }
        assert_eq!(people.admins_payload(), json!({"admins": ["1"]}));
        let levels = json!({"permissions": {"admin": "user", "deploy": "user", "hours": "admin"}});
        assert_eq!(people.permissions_payload(), levels);
    }

    #[test]
    fn changes_are_read_as_people_write_them() {
        assert_eq!(UserRef::parse("@Ann"), Ok(UserRef::Name("ann".into())));
        assert_eq!(UserRef::parse("4917012345"), Ok(UserRef::Id("4917012345".into())));
        for text in ["", "@", "a b", "@a@b", "a\u{7}", &"1".repeat(65)] {
            assert!(UserRef::parse(text).is_err(), "{text:?}");
        }
        let command = "deploy".to_owned();
        let level = Level::Admin;
        assert_eq!(
            Change::set_permission("?Deploy", level),
            Ok(Change::SetPermission { command, level })
        );
        for name in ADMIN_COMMANDS {
            assert!(Change::set_permission(name, Level::User).is_err());
            assert!(Change::remove_permission(name).is_ok());
        }
        for text in ["", "?", "a b", &"a".repeat(33)] {
            assert!(Change::remove_permission(text).is_err(), "{text:?}");
        }
    }
}
