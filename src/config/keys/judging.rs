//! The keys of how a bot is judged by what its platform says.

use super::{Key, key};
use crate::config::kind::Kind;

pub(super) const JUDGING: &[Key] = &[
    key(
        "judge",
        Kind::Words(&["on", "off"]),
        Some("on"),
        "Whether the bot is held when its platform refuses it: its token, its account, or because another program \
         polls with the same token. What counts as a sign is in multibot-lifecycle(7). off restarts it like any other.",
    ),
    key(
        "errors.classes",
        Kind::Classes,
        None,
        "More signs that hold the bot, beside those of its platform: a list of {match: PATTERN, class: CLASS} for lines \
         of its output and {exit: CODE, class: CLASS} for exit codes. Classes: credentials, conflict, banned, rejected.",
    ),
];
