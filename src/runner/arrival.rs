//! What came from a platform, in words that fit every one. The payload of a stored arrival.

use serde::{Deserialize, Serialize};

/// One message or change in one chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Arrival {
    /// The platform's own number of it: what comes twice has the same.
    pub(super) id: String,
    pub(super) chat: String,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    Message(Message),
    /// The bot may no longer be in the chat, or its user has blocked it.
    Kicked,
    /// The bot was let into the chat, or its user has let it in again.
    Joined,
    /// What became of something that was sent before: it was not delivered.
    Undelivered {
        class: String,
        text: String,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Message {
    /// The platform's number of the message in its chat.
    pub(super) message: Option<String>,
    /// Who wrote it; None where a channel did.
    pub(super) user: Option<String>,
    /// The name under which others address the user, without an @.
    pub(super) username: Option<String>,
    pub(super) text: String,
    /// Whether others read along.
    pub(super) is_group: bool,
    pub(super) file: Option<File>,
}

/// A file that lies with the platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct File {
    /// What the platform gives it out for.
    pub(super) id: String,
    /// As its sender calls it: trusted with nothing.
    pub(super) name: String,
    pub(super) bytes: Option<u64>,
}
