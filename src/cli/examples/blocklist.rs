//! Examples of `multibot blocklist`.

use super::{Example, example};

pub(super) const TABLE: &[(&str, &[Example])] = &[
    (
        "blocklist",
        &[
            example("Who is blocked, until when and why", "multibot blocklist list"),
            example("How many, bot by bot", "multibot blocklist stats"),
        ],
    ),
    (
        "blocklist list",
        &[
            example("Those of one bot", "multibot blocklist list shop"),
            example("For scripts", "multibot blocklist list --json"),
        ],
    ),
    (
        "blocklist add",
        &[
            example(
                "Away from a group for a day",
                "multibot blocklist add shop -100123 --for 1d",
            ),
            example(
                "For ever, and why",
                "multibot blocklist add shop 42 --reason 'asked us to stop'",
            ),
        ],
    ),
    (
        "blocklist remove",
        &[example("Talk to it again", "multibot blocklist remove shop -100123")],
    ),
    ("blocklist stats", &[example("In figures", "multibot blocklist stats")]),
];
