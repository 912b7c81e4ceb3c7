//! Examples of `multibot admin` and `multibot permission`.

use super::{Example, example};

pub(super) const TABLE: &[(&str, &[Example])] = &[
    (
        "admin",
        &[
            example(
                "Make yourself an admin, by the number that Telegram gives you",
                "multibot admin add 42",
            ),
            example("Who else is one", "multibot admin list"),
        ],
    ),
    ("admin list", &[example("For scripts", "multibot admin list --json")]),
    (
        "admin add",
        &[
            example("By number", "multibot admin add 42"),
            example(
                "By the name of somebody who has written to a bot",
                "multibot admin add @ann",
            ),
        ],
    ),
    ("admin remove", &[example("Take it away", "multibot admin remove @ann")]),
    (
        "permission",
        &[
            example("A command for admins alone", "multibot permission set deploy admin"),
            example("What differs from the defaults", "multibot permission list"),
        ],
    ),
    (
        "permission list",
        &[example("For scripts", "multibot permission list --json")],
    ),
    (
        "permission set",
        &[example(
            "For everybody, in all bots",
            "multibot permission set hours user",
        )],
    ),
    (
        "permission remove",
        &[example("As the bot's settings say", "multibot permission remove hours")],
    ),
];
