//! The keys of a bot's secret fields: where it finds them, how it learns of new ones, and what gets them.

use super::{HOUR, Key, SHORT, key};
use crate::config::kind::Kind;

pub(super) const CREDENTIALS: &[Key] = &[
    key(
        "credentials.env",
        Kind::Variables,
        None,
        "More variables in which the bot finds its credentials: NAME: field, as in DISCORD_TOKEN: token. Without it a \
         field is found in BOT_ and its name in capitals.",
    ),
    key(
        "credentials.refresh",
        Kind::Words(&["restart", "command"]),
        Some("restart"),
        "What a changed token or field means for a bot that runs: restart, or a command refresh_credentials with the names \
         of the fields; the bot then reads them with `multibot ipc credentials`. One that refuses the command is \
         restarted. What a run learns so is not masked in its log, unless it has the shape of a token.",
    ),
    key(
        "login.exec",
        Kind::Argv,
        None,
        "Program and arguments that get the bot's credentials, for `multibot bot login` and ?relogin in a chat. It has \
         the bot's environment and prints one JSON object, with a text for each field.",
    ),
    key(
        "login.timeout",
        Kind::Duration { min: SHORT, max: HOUR },
        Some("5m"),
        "How long that program may take; then it is killed with all that it started.",
    ),
];
