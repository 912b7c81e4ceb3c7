//! The keys of how a built-in bot behaves in its chats, and of its media.

use super::{Key, key};
use crate::config::kind::Kind;

pub(super) const CHAT: &[Key] = &[
    key(
        "prefixes",
        Kind::Texts { what: "prefix" },
        None,
        "What a command of a built-in bot begins with; the first one stands in its help. Without it: ? and /.",
    ),
    key(
        "allowed_users",
        Kind::Texts { what: "user" },
        None,
        "The users that a built-in bot listens to, by id or @name; admins are always heard. Without it: all.",
    ),
    key(
        "strangers",
        Kind::Text,
        None,
        "What everybody else hears, once in each run of the bot. Without it: nothing.",
    ),
    key(
        "commands",
        Kind::Commands,
        None,
        "Commands of a built-in bot beside ?help ?ping ?status and those of admins, each under a name of its own; see \
         COMMANDS below.",
    ),
    key(
        "media.max_file",
        Kind::Size { min: 1 },
        Some("20MiB"),
        "The longest file that a built-in bot takes from a chat.",
    ),
    key(
        "media.quota",
        Kind::SizeOr {
            words: &["off"],
            min: 4096,
        },
        Some("off"),
        "Bytes that a built-in bot keeps in received and sent; past this the oldest files are removed.",
    ),
];
