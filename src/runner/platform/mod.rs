//! What a platform is to a bot. A new one is a file beside this one and an arm in [`open`].
//!
//! Never touches the spool: the bot decides what is said of a message and to whom.

mod loopback;

use crate::model::bot;

/// One connection to the place where a bot's chats are.
pub(super) trait Platform {
    /// Its name in configurations.
    fn word(&self) -> &'static str;

    /// Connects, or connects anew.
    fn connect(&mut self) -> Result<(), Error>;

    /// Sends a text to a chat, or to the bot's main chat. What comes back from the chat in the same moment
    /// is handed to the bot.
    fn send(&mut self, chat: Option<&str>, text: &str) -> Result<Option<Incoming>, Error>;
}

/// A message that somebody wrote in a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Incoming {
    pub(super) chat: String,
    pub(super) text: String,
}

/// What a platform refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("platform {word:?} has no built-in bot: known is loopback")]
    NotBuiltIn { word: String },
    #[error("no chat {chat:?} on {platform}: its only chat is {only:?}")]
    NoChat {
        platform: &'static str,
        chat: String,
        only: &'static str,
    },
}

/// The platform of this word, not connected yet.
pub(super) fn open(word: &str) -> Result<Box<dyn Platform>, Error> {
    match bot::Platform::from_word(word) {
        Some(bot::Platform::Loopback) => Ok(Box::new(loopback::Loopback)),
        Some(
            bot::Platform::None
            | bot::Platform::Telegram
            | bot::Platform::WhatsappCloud
            | bot::Platform::Discord
            | bot::Platform::Whatsapp,
        )
        | None => Err(Error::NotBuiltIn { word: word.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_opens_is_what_was_asked_for() {
        for platform in bot::Platform::ALL {
            match open(platform.word()) {
                Ok(opened) => assert_eq!(opened.word(), platform.word()),
                Err(error) => assert_eq!(
                    error.to_string(),
                    format!("platform {:?} has no built-in bot: known is loopback", platform.word())
                ),
            }
        }
        assert!(open("loopback").is_ok());
        for word in ["", "none", "Loopback", "carrier-pigeon"] {
            assert!(open(word).is_err(), "{word}");
        }
    }
}
