//! Examples of the verbs around the settings of a fleet.

use super::{Example, example};

pub(super) const TABLE: &[(&str, &[Example])] = &[
    (
        "apply",
        &[
            example(
                "What would change, and be removed",
                "multibot apply bots.yaml --dry-run --prune",
            ),
            example("Create and update all bots of a folder", "multibot apply bot_configs"),
            example("One file", "multibot apply bot_configs/shop.yaml"),
        ],
    ),
    (
        "explain",
        &[
            example("Why it does not run", "multibot explain shop"),
            example("For a script", "multibot explain shop --json"),
        ],
    ),
    (
        "export",
        &[example(
            "The whole fleet as one file, for git",
            "multibot export > bots.yaml",
        )],
    ),
    (
        "schema",
        &[example(
            "For the completion of editors that speak yaml-language-server",
            "multibot schema > multibot.schema.json",
        )],
    ),
    (
        "bot edit",
        &[example("With the editor that $EDITOR names", "multibot bot edit shop")],
    ),
    (
        "bot unset",
        &[example(
            "The built-in delay again, and no such variable any more",
            "multibot bot unset shop restart.delay env.PORT",
        )],
    ),
    (
        "audit verify",
        &[example("Whether somebody has changed it", "multibot audit verify")],
    ),
    (
        "import",
        &[example(
            "What an .env file would become",
            "multibot import dotenv .env --dry-run",
        )],
    ),
    (
        "import dotenv",
        &[
            example("The built-in bot for each token", "multibot import dotenv .env"),
            example(
                "A program of your own for each",
                "multibot import dotenv .env --name shop -- node worker.js",
            ),
        ],
    ),
];
