//! Examples of the steps of bots that are shell scripts.

use super::{Example, example};

pub(super) const TABLE: &[(&str, &[Example])] = &[
    (
        "ipc",
        &[
            example("A bot begins with", "multibot ipc ready"),
            example("and goes on with", "multibot ipc receive --timeout 10s"),
        ],
    ),
    ("ipc ready", &[example("The first word of a bot", "multibot ipc ready")]),
    (
        "ipc heartbeat",
        &[example("Once in each turn of the bot's loop", "multibot ipc heartbeat")],
    ),
    (
        "ipc event",
        &[
            example("The platform is reached", "multibot ipc event connected"),
            example(
                "Something of your own",
                "multibot ipc event order_placed --json '{\"number\": 4711}'",
            ),
        ],
    ),
    (
        "ipc receive",
        &[
            example(
                "Wait for ten seconds, so that there is time for a heartbeat in between",
                "multibot ipc receive --timeout 10s",
            ),
            example("For jq", "multibot ipc receive --json"),
        ],
    ),
    (
        "ipc ack",
        &[example(
            "Done, and nobody waits for an answer",
            "multibot ipc ack 01KEXAMPE0000000000000000C",
        )],
    ),
    (
        "ipc credentials",
        &[
            example(
                "All of them, for eval \"$(...)\" when refresh_credentials came",
                "multibot ipc credentials",
            ),
            example("One of them", "multibot ipc credentials app_secret"),
            example("For programs", "multibot ipc credentials --json"),
        ],
    ),
    (
        "ipc fail",
        &[
            example(
                "Not now: once more, later",
                "multibot ipc fail 01KEXAMPE0000000000000000C --message 'the shop is closed'",
            ),
            example(
                "The platform said when",
                "multibot ipc fail 01KEXAMPE0000000000000000C --retry-after 30s",
            ),
            example(
                "Never",
                "multibot ipc fail 01KEXAMPE0000000000000000C --permanent --message 'unknown command'",
            ),
        ],
    ),
    (
        "ipc reply",
        &[
            example(
                "Answer a text",
                "multibot ipc reply 01KEXAMPE0000000000000000C --text 'hello yourself'",
            ),
            example(
                "Answer a command of your own",
                "multibot ipc reply 01KEXAMPE0000000000000000C --json '{\"prices\": 12}'",
            ),
        ],
    ),
];
