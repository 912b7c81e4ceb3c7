//! The keys of `multibot.yaml`.

use std::time::Duration;

use super::{ANY_LENGTH, KEPT, Key, LOG_FILES, LOG_SIZE, LONG, SHORT, SOME_LENGTH, key};
use crate::config::kind::Kind;

/// The keys of `multibot.yaml`, beside `defaults`, which holds keys of [`KEYS`](super::KEYS).
pub const SUPERVISOR_KEYS: &[Key] = &[
    key(
        "start_delay",
        ANY_LENGTH,
        Some("100ms"),
        "Pause between two starts, so that many bots do not start at the same moment.",
    ),
    key(
        "status_poll_interval",
        SOME_LENGTH,
        Some("30s"),
        "How often bots that have sent ready are asked for their status.",
    ),
    key(
        "sampling.period",
        Kind::DurationOr {
            word: "off",
            min: Duration::from_millis(100),
            max: LONG,
        },
        Some("5s"),
        "How often it is measured what the bots use; off also switches limits and log probes off.",
    ),
    key(
        "budget.memory",
        Kind::OrShare {
            unit: &Kind::Size { min: 1 },
            of: "the memory of the host or container",
        },
        None,
        "Memory that all bots together may be promised: a bot is started only while its limits.memory.max fits \
         beside those of the bots that run. Without it there is no bound.",
    ),
    key(
        "budget.cpu",
        Kind::Percent,
        None,
        "The same for limits.cpu.max. A bot without such a limit is promised nothing, and always fits.",
    ),
    key(
        "max_bots",
        Kind::Integer { min: 1, max: 100_000 },
        None,
        "Bots that may run at once. Those that do not fit are held, and start by themselves when others have ended.",
    ),
    key(
        "platform.probe_period",
        Kind::DurationOr {
            word: "off",
            min: Duration::from_millis(100),
            max: LONG,
        },
        Some("1m"),
        "How often telegram is asked about each bot that runs there and whose token multibot has: whether the token still \
         holds, and how many updates wait. It does not disturb the bot. off asks never.",
    ),
    key(
        "platform.backlog_for",
        Kind::DurationOr {
            word: "off",
            min: SHORT,
            max: LONG,
        },
        Some("5m"),
        "A bot that runs while updates wait at its platform, and have not become fewer for so long, is unhealthy and \
         restarted; off only shows them.",
    ),
    key(
        "platform.calls_per_second",
        Kind::Integer { min: 1, max: 30 },
        Some("5"),
        "Questions to platforms in a second, for all bots together. More bots than that are asked less often. When the \
         platform asks to wait, or cannot be reached, all of them wait.",
    ),
    key(
        "history.raw",
        KEPT,
        Some("1d"),
        "How long the figures of every sampling pass are kept; then one row a minute is left of them.",
    ),
    key(
        "history.minute",
        KEPT,
        Some("7d"),
        "How long the rows of a minute are kept; then one row an hour is left of them.",
    ),
    key(
        "history.hour",
        KEPT,
        Some("90d"),
        "How long the rows of an hour are kept.",
    ),
    key(
        "history.events",
        KEPT,
        Some("90d"),
        "How long is remembered what happened to bots; at most 500000 events.",
    ),
    key(
        "history.max_size",
        Kind::Size { min: 1 << 20 },
        Some("1GiB"),
        "Size that the pages in use of the database may reach; past it the oldest measurements are dropped, those of \
         single passes first, then those of minutes and of hours, and then the oldest events. That is looked at each \
         minute. Its file is then cut to this size too; one that an earlier version created keeps its size and fills \
         free pages first. The write-ahead log beside it (multibot.db-wal) is not counted: it is cut to 4 MiB, and may \
         be longer while a program reads the database for long.",
    ),
    key(
        "log.level",
        Kind::Words(&["error", "warn", "info", "debug", "trace"]),
        Some("info"),
        "How much the supervisor writes into its own log.",
    ),
    key(
        "log.max_size",
        LOG_SIZE,
        Some("10MiB"),
        "Size at which the supervisor's log is rotated.",
    ),
    key(
        "log.keep",
        LOG_FILES,
        Some("5"),
        "Number of its log files that are kept, the current one included.",
    ),
    key(
        "env",
        Kind::Variables,
        None,
        "Base environment that every bot gets, such as PATH, HOME, LANG or TZ.",
    ),
];
