//! The keys of bots that talk to Telegram.

use std::time::Duration;

use super::{Key, key};
use crate::config::kind::Kind;

pub(super) const TELEGRAM: &[Key] = &[
    key(
        "telegram.api_root",
        Kind::Url,
        Some("https://api.telegram.org"),
        "Where the Bot API is; another address is that of a Bot API server of your own.",
    ),
    key(
        "telegram.parse_mode",
        Kind::Words(&["HTML", "MarkdownV2", "Markdown"]),
        None,
        "How Telegram reads the texts of a built-in bot; a message may say it otherwise. Without it: as they are.",
    ),
    key(
        "telegram.poll_timeout",
        Kind::Duration {
            min: Duration::from_secs(1),
            max: Duration::from_secs(300),
        },
        Some("30s"),
        "How long a built-in bot's question for updates waits for one.",
    ),
];
