//! The keys below `alerts` in multibot.yaml, in tables like those of `keys.rs`: of all alerts, of each rule under its
//! name, and of each sink under a name of the operator's choice.

use std::time::Duration;

use super::keys::{Key, LONG, SHORT, key};
use super::kind::Kind;

const LEVEL: Kind = Kind::Words(&["info", "warning", "critical"]);
const ANY_LENGTH: Kind = Kind::Duration {
    min: Duration::ZERO,
    max: LONG,
};
const SOME_LENGTH: Kind = Kind::Duration { min: SHORT, max: LONG };

/// Below `alerts`.
pub const ALERT_KEYS: &[Key] = &[
    key(
        "remind_after",
        Kind::DurationOr {
            word: "never",
            min: Duration::from_secs(1),
            max: LONG,
        },
        Some("4h"),
        "How often an alert that is open and not acknowledged is told again.",
    ),
    key(
        "recover_after",
        ANY_LENGTH,
        Some("10s"),
        "How long the cause of an alert must be gone before it is over.",
    ),
    key(
        "outage.window",
        SOME_LENGTH,
        Some("1m"),
        "Failures of more than half of the wanted bots, of one platform or of all, within this time are one outage.",
    ),
    key(
        "outage.min_bots",
        Kind::Integer { min: 2, max: 100_000 },
        Some("3"),
        "The fewest bots whose failures can be an outage.",
    ),
    key(
        "outage.recover_after",
        ANY_LENGTH,
        Some("30s"),
        "How long most of them must run again before the outage is over.",
    ),
    key(
        "outage.restart_delay",
        ANY_LENGTH,
        Some("30s"),
        "The shortest wait before a restart during an outage, in which failures do not count.",
    ),
];

/// Below `alerts.rules.<rule>`. The defaults differ from rule to rule.
pub const RULE_KEYS: &[Key] = &[
    key("enabled", Kind::Bool, None, "Whether the rule is looked at."),
    key("level", LEVEL, None, "How much its alerts matter."),
    key("for", ANY_LENGTH, None, "How long its cause must last."),
    key(
        "threshold",
        Kind::Integer {
            min: 1,
            max: 1_000_000_000,
        },
        None,
        "What must be passed: errors in a minute, messages that wait, failures in a row.",
    ),
];

/// Below `alerts.sinks.<name>`.
pub const SINK_KEYS: &[Key] = &[
    key(
        "type",
        Kind::Words(&["log", "exec", "webhook", "slack", "discord", "telegram"]),
        None,
        "What the sink is; it must be written.",
    ),
    key("enabled", Kind::Bool, Some("true"), "Whether it is told of anything."),
    key(
        "command",
        Kind::Argv,
        None,
        "exec: program and arguments. The alert stands in variables and, as JSON, on its standard input.",
    ),
    key(
        "url",
        Kind::Url,
        None,
        "webhook, slack, discord: where to post to. It is a secret and never shown.",
    ),
    key(
        "url_file",
        Kind::Path,
        None,
        "The same in a file, which is read at each delivery.",
    ),
    key(
        "bot",
        Kind::Text,
        None,
        "telegram: the bot of this home whose token is used.",
    ),
    key(
        "token_file",
        Kind::Path,
        None,
        "telegram: a file with the token of any other bot.",
    ),
    key(
        "chat",
        Kind::Text,
        None,
        "telegram: the chat that is written to, by number or @name.",
    ),
    key(
        "api_root",
        Kind::Url,
        Some("https://api.telegram.org"),
        "telegram: the root of the Bot API.",
    ),
    key(
        "min_level",
        LEVEL,
        Some("info"),
        "Alerts below this level are not for it.",
    ),
    key("rules", Kind::Rules, None, "Only alerts of these rules are for it."),
    key("bots", Kind::Senders, None, "Only alerts of these bots are for it."),
    key(
        "rate",
        Kind::Integer { min: 1, max: 100_000 },
        None,
        "Messages a minute, 30 without it and any number for log; what is more comes as one summary.",
    ),
    key("timeout", SOME_LENGTH, Some("10s"), "How long one delivery may take."),
    key(
        "retry_delay",
        SOME_LENGTH,
        Some("5s"),
        "The wait after a delivery that failed; it doubles from one to the next.",
    ),
    key("max_retry_delay", SOME_LENGTH, Some("5m"), "The longest such wait."),
    key(
        "expire_after",
        SOME_LENGTH,
        Some("2d"),
        "What could not be delivered for so long is set aside.",
    ),
];
