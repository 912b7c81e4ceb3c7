//! What the supervisor tells a built-in bot beside its environment: one JSON object in one variable. It holds no secret.
//!
//! Unknown fields are ignored and missing ones have their defaults, as the runner may be of another release than the
//! supervisor that started it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::chat::ChatPolicy;
use crate::model::telegram::TelegramPolicy;
use crate::model::whatsapp::WhatsappPolicy;

/// The variable that carries the brief.
pub const BRIEF: &str = "MULTIBOT_BRIEF";
/// The longest brief: the kernel lets one variable have no more than 128 KiB, name included.
pub const BRIEF_BYTES_MAX: usize = 120 << 10;

/// The settings of a built-in bot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Brief {
    /// Where the bot's media lie: `received`, `outgoing` and `sent`.
    pub media: PathBuf,
    /// The longest file that is taken from a chat, in bytes.
    pub media_max_file: u64,
    /// Bytes that `received` and `sent` may hold together; None: any number.
    pub media_quota: Option<u64>,
    pub chat: ChatPolicy,
    pub telegram: TelegramPolicy,
    pub whatsapp: WhatsappPolicy,
}

impl Brief {
    /// Reads what [`to_text`](Brief::to_text) wrote. The error never quotes the text.
    pub fn parse(text: &str) -> Result<Brief, String> {
        serde_json::from_str(text).map_err(|error| format!("{BRIEF}: not understood at column {}", error.column()))
    }

    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_ignored_and_what_is_missing_has_its_default() {
        assert_eq!(Brief::parse("{\"later\":1}"), Ok(Brief::default()));
        let brief = Brief {
            media: "/m".into(),
            ..Brief::default()
        };
        assert_eq!(Brief::parse(&brief.to_text()), Ok(brief));
        assert_eq!(
            Brief::parse("{"),
            Err("MULTIBOT_BRIEF: not understood at column 1".to_owned())
        );
    }
}
