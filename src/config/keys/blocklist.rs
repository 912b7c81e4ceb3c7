//! The keys of how a bot's targets are blocked.

use super::{Key, LONG, SHORT, SOME_LENGTH, key};
use crate::config::kind::Kind;

pub(super) const BLOCKLIST: &[Key] = &[
    key(
        "blocklist.max_failures",
        Kind::Integer { min: 1, max: 1_000_000 },
        Some("3"),
        "So many connection_failed events about a target in a row, with no connected between them, block it.",
    ),
    key(
        "blocklist.duration",
        SOME_LENGTH,
        Some("1h"),
        "How long it is blocked then.",
    ),
    key(
        "blocklist.kicked",
        Kind::DurationOr {
            word: "forever",
            min: SHORT,
            max: LONG,
        },
        Some("forever"),
        "How long a target is blocked that has thrown the bot out, has blocked it, or is there no more (events kicked and \
         delivery_failed).",
    ),
];
