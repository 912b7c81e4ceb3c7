//! Examples of `multibot credentials`.

use super::{Example, example};

pub(super) const TABLE: &[(&str, &[Example])] = &[
    (
        "credentials",
        &[
            example("Which fields there are", "multibot credentials list"),
            example(
                "A secret of one bot, asked for and not shown",
                "multibot credentials set app_secret --bot shop",
            ),
        ],
    ),
    (
        "credentials list",
        &[
            example(
                "What one bot has, with what all share",
                "multibot credentials list shop",
            ),
            example("For scripts", "multibot credentials list --json"),
        ],
    ),
    (
        "credentials set",
        &[
            example(
                "From a file",
                "multibot credentials set app_secret --bot shop --file app.secret",
            ),
            example(
                "From a pipe, for all bots",
                "pass show ai | multibot credentials set ai_key --shared",
            ),
        ],
    ),
    (
        "credentials remove",
        &[example(
            "A key that all bots had",
            "multibot credentials remove ai_key --shared",
        )],
    ),
    (
        "credentials import",
        &[
            example(
                "What would change",
                "multibot credentials import secrets.json --dry-run",
            ),
            example("Take it over", "multibot credentials import secrets.json"),
        ],
    ),
    (
        "credentials export",
        &[example(
            "Into a file that only you can read",
            "multibot credentials export secrets.json",
        )],
    ),
    (
        "credentials sync",
        &[
            example(
                "Both ways, the newer side wins",
                "multibot credentials sync secrets.json",
            ),
            example(
                "Decide a conflict",
                "multibot credentials sync secrets.json --prefer store",
            ),
        ],
    ),
];
