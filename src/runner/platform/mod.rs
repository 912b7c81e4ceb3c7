//! What a platform is to a bot. A new one is a file beside this one and an arm in [`open`].
//!
//! Never touches the spool and never keeps the bot waiting: whatever takes time happens in threads of the platform's
//! own, and what came of it is news, of which the bot's [`Waker`] tells.

mod form;
mod hub;
mod loopback;
mod split;
mod telegram;
mod whatsapp;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;

use super::arrival::{Arrival, File, Message};
use crate::model::bot::{self, Secret};
use crate::run::brief::Brief;
use crate::spool::Waker;

/// One connection to the place where a bot's chats are.
pub(super) trait Platform {
    /// Its name in configurations.
    fn word(&self) -> &'static str;

    /// What becomes of a text that is no command.
    fn plain_texts(&self) -> PlainTexts;

    /// Connects, or connects anew with these credentials. What comes of it is news.
    fn connect(&mut self, credentials: &Credentials);

    /// Takes nothing more from the chats; what was sent before goes on.
    fn leave(&mut self);

    /// Sends to a chat. [`News::Settled`] with this ticket follows; of one chat in the order of sending.
    fn send(&mut self, ticket: Ticket, outgoing: Outgoing);

    /// Fetches a file into this folder, likewise.
    fn fetch(&mut self, ticket: Ticket, file: &File, into: PathBuf);

    fn news(&mut self) -> Option<News>;
}

/// The fields that a platform may ask for, by their names: `token`, `phone_id`.
pub(super) type Credentials = BTreeMap<String, Secret>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlainTexts {
    ComeBack,
    AreLeft,
}

/// The bot's number for something that it asked of its platform.
pub(super) type Ticket = u64;

#[derive(Debug)]
pub(super) enum News {
    /// Under this name, where the platform gives one to its bots.
    Connected {
        name: Option<String>,
    },
    /// The platform cannot be reached. It is tried again until [`News::Connected`].
    Unreachable {
        why: String,
    },
    /// The credentials are worth nothing.
    Unauthorized {
        why: String,
    },
    /// Another program has taken the place of this one.
    Conflict {
        why: String,
    },
    /// Kept for the bot by its platform until the receipt says what became of it.
    Arrived {
        arrivals: Vec<Arrival>,
        receipt: Receipt,
    },
    Settled {
        ticket: Ticket,
        outcome: Outcome,
    },
    /// A chat has a new name.
    Moved {
        from: String,
        to: String,
    },
}

/// Answers a platform: whether all that has arrived was stored.
#[derive(Debug)]
pub(super) struct Receipt(pub(super) SyncSender<bool>);

impl Receipt {
    pub(super) fn give(self, is_stored: bool) {
        // A connection that is gone keeps what it had.
        let _ = self.0.try_send(is_stored);
    }
}

/// What came of something that the bot asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Accepted, under these numbers of the platform.
    Sent {
        messages: Vec<String>,
    },
    /// It came back in the same moment, as if a user had written it.
    CameBack(Message),
    Fetched {
        path: PathBuf,
        bytes: u64,
    },
    /// Asked once more, the platform would say the same.
    Refused {
        class: Class,
        why: String,
    },
}

/// Why a platform refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Blocked,
    Kicked,
    Deactivated,
    NoChat,
    NoRights,
    BadRequest,
    Other,
}

impl Class {
    /// The word in events and answers.
    pub(super) fn word(self) -> &'static str {
        match self {
            Class::Blocked => "blocked",
            Class::Kicked => "kicked",
            Class::Deactivated => "deactivated",
            Class::NoChat => "no_chat",
            Class::NoRights => "no_rights",
            Class::BadRequest => "bad_request",
            Class::Other => "other",
        }
    }
}

/// Something for a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    /// None: the bot's only chat, where there is such a one.
    pub(super) chat: Option<String>,
    /// Who is to be taken for the writer, where texts come back.
    pub(super) user: Option<String>,
    pub(super) content: Content,
    /// The message that it answers.
    pub(super) reply_to: Option<String>,
    /// How the platform is to read the text; None: as the bot's settings say.
    pub(super) parse_mode: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Text(String),
    Photo {
        source: Source,
        caption: String,
    },
    Document {
        source: Source,
        caption: String,
    },
    /// The new text of a message that was sent before.
    Edit {
        message: String,
        text: String,
    },
    /// What the bot shows to be doing, such as `typing`.
    Action(String),
    /// A message that the platform has approved before, in its own words.
    Template(serde_json::Value),
}

/// Where a photo or document is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Path(PathBuf),
    /// An address, or the number of a file that the platform has already.
    Remote(String),
}

impl Outgoing {
    pub(super) fn text(chat: Option<&str>, text: &str) -> Outgoing {
        Outgoing {
            chat: chat.map(str::to_owned),
            user: None,
            content: Content::Text(text.to_owned()),
            reply_to: None,
            parse_mode: None,
        }
    }
}

/// Why there is no such platform for a built-in bot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("platform {word:?} has no built-in bot: known are loopback, telegram and whatsapp-cloud")]
    NotBuiltIn { word: String },
}

/// The platform of this word, not connected yet.
pub(super) fn open(word: &str, brief: &Brief, waker: Waker) -> Result<Box<dyn Platform>, Error> {
    match bot::Platform::from_word(word) {
        Some(bot::Platform::Loopback) => Ok(Box::new(loopback::Loopback::default())),
        Some(bot::Platform::Telegram) => Ok(Box::new(telegram::Telegram::new(brief, waker))),
        Some(bot::Platform::WhatsappCloud) => Ok(Box::new(whatsapp::Whatsapp::new(brief, waker))),
        Some(bot::Platform::None | bot::Platform::Discord | bot::Platform::Whatsapp) | None => {
            Err(Error::NotBuiltIn { word: word.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{Mailbox, Watch};

    #[test]
    fn what_opens_is_what_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let watch = Watch::new(&Mailbox::new(dir.path().to_owned()));
        let open = |word: &str| open(word, &Brief::default(), watch.waker());
        for platform in bot::Platform::ALL {
            match open(platform.word()) {
                Ok(opened) => assert_eq!(opened.word(), platform.word()),
                Err(error) => assert_eq!(
                    error.to_string(),
                    format!(
                        "platform {:?} has no built-in bot: known are loopback, telegram and whatsapp-cloud",
                        platform.word()
                    )
                ),
            }
        }
        assert!(open("loopback").is_ok() && open("telegram").is_ok());
        for word in ["", "none", "Loopback", "carrier-pigeon"] {
            assert!(open(word).is_err(), "{word}");
        }
    }
}
