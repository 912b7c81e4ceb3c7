//! What a bot of Telegram is told of its platform.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings of a bot that talks to Telegram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TelegramPolicy {
    /// Where the Bot API is, without a slash at the end.
    pub api_root: String,
    /// How the Bot API is to read texts: `HTML`, `MarkdownV2` or `Markdown`; None: as they are.
    pub parse_mode: Option<String>,
    /// How long a question for updates waits for one.
    pub poll_timeout: Duration,
}

impl Default for TelegramPolicy {
    fn default() -> TelegramPolicy {
        TelegramPolicy {
            api_root: "https://api.telegram.org".to_owned(),
            parse_mode: None,
            poll_timeout: Duration::from_secs(30),
        }
    }
}
