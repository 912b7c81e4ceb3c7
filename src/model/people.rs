//! Who may do what in chats.

use std::collections::{BTreeMap, BTreeSet};

/// Who may use a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Admin,
    User,
}

/// The commands that are an admin's, whatever anybody says.
pub const ADMIN_COMMANDS: [&str; 6] = ["admin", "refresh", "setperm", "removeperm", "listperms", "relogin"];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People {
    pub admins: BTreeSet<String>,
    pub permissions: BTreeMap<String, Level>,
}

impl People {
    pub fn is_admin(&self, user: &str) -> bool {
        self.admins.contains(user)
    }

    pub fn allowed(&self, command: &str, user: &str, default: Level) -> bool {
        let level = if ADMIN_COMMANDS.contains(&command) {
            Level::Admin
        } else {
            self.permissions.get(command).copied().unwrap_or(default)
        };
        level == Level::User || self.is_admin(user)
    }
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
