//! The tables of all keys: name, kind, default and one line of documentation for each.
//!
//! Invariant: every default reads as its key's kind. A name that is the beginning of another one up to
//! a dot is a group and has no value of its own.

mod blocklist;
mod chat;
mod credentials;
mod judging;
mod limits;
mod supervisor;
mod telegram;
mod whatsapp;

use std::time::Duration;

use self::blocklist::BLOCKLIST;
use self::chat::CHAT;
use self::credentials::CREDENTIALS;
use self::judging::JUDGING;
use self::limits::LIMITS;
pub use self::supervisor::SUPERVISOR_KEYS;
use self::telegram::TELEGRAM;
use self::whatsapp::WHATSAPP;
use super::kind::Kind;
use crate::model::nearest::nearest;

/// One key that an operator may write.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Dotted: `restart.delay` is `delay` in the mapping `restart`.
    pub name: &'static str,
    pub kind: Kind,
    /// As an operator would write it; None: `doc` says what holds.
    pub default: Option<&'static str>,
    /// One line for the manual.
    pub doc: &'static str,
}

impl Key {
    /// Whether its entries are laid over those of the layers below, each by itself.
    pub fn is_mapping(&self) -> bool {
        matches!(self.kind, Kind::Variables | Kind::Probes | Kind::Commands)
    }
}

const INSTANT: Duration = Duration::ZERO;
/// The shortest length that still is one.
pub(super) const SHORT: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
/// Longer than any host stays up, and far from any overflow.
pub(super) const LONG: Duration = Duration::from_secs(3650 * 86_400);

const ANY_LENGTH: Kind = Kind::Duration {
    min: INSTANT,
    max: LONG,
};
const SOME_LENGTH: Kind = Kind::Duration { min: SHORT, max: LONG };
/// A row of a minute or an hour is made when that time is over.
const KEPT: Kind = Kind::Duration {
    min: Duration::from_secs(60),
    max: LONG,
};
/// A smaller log would hold less than one long line after a rotation.
const LOG_SIZE: Kind = Kind::Size { min: 4096 };
const LOG_FILES: Kind = Kind::Integer { min: 1, max: 1000 };

pub(super) const fn key(name: &'static str, kind: Kind, default: Option<&'static str>, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        default,
        doc,
    }
}

/// The keys of a bot, in the order of the manual.
pub const KEYS: &[Key] = &joined::<
    {
        GENERAL.len()
            + CREDENTIALS.len()
            + CHAT.len()
            + BLOCKLIST.len()
            + JUDGING.len()
            + TELEGRAM.len()
            + WHATSAPP.len()
            + LIMITS.len()
    },
>(&[
    GENERAL,
    CREDENTIALS,
    CHAT,
    BLOCKLIST,
    JUDGING,
    TELEGRAM,
    WHATSAPP,
    LIMITS,
]);

/// The tables as one.
const fn joined<const LEN: usize>(tables: &[&[Key]]) -> [Key; LEN] {
    let mut all = [GENERAL[0]; LEN];
    let (mut filled, mut table) = (0, 0);
    while table < tables.len() {
        let mut index = 0;
        while index < tables[table].len() {
            all[filled] = tables[table][index];
            (filled, index) = (filled + 1, index + 1);
        }
        table += 1;
    }
    assert!(filled == LEN);
    all
}

const PLATFORMS: &[&str] = &["none", "telegram", "whatsapp-cloud", "loopback", "discord", "whatsapp"];

const GENERAL: &[Key] = &[
    key(
        "platform",
        Kind::Words(PLATFORMS),
        None,
        "What the bot talks to. Without it: none for a bot with a command, loopback for a built-in one. A bot with a \
         command is judged by what that platform says of it, see judge; discord and whatsapp, the protocol of \
         WhatsApp's own apps, are known for that alone.",
    ),
    key(
        "command",
        Kind::Argv,
        None,
        "Program and arguments. Without it multibot's built-in runner of the platform plays the bot.",
    ),
    key(
        "cwd",
        Kind::Path,
        None,
        "Working directory. Without it: the directory of the YAML file, or where `bot create` was run.",
    ),
    key("env", Kind::Variables, None, "Environment variables of the bot."),
    key(
        "env_file",
        Kind::Path,
        None,
        "File with NAME=value lines, read at every start; env wins over it.",
    ),
    key(
        "env_inherit",
        Kind::Names,
        None,
        "Variables that are handed through from the supervisor's own environment.",
    ),
    key(
        "token_env",
        Kind::Names,
        None,
        "More variables, beside BOT_TOKEN, in which the bot finds its token.",
    ),
    key(
        "enabled",
        Kind::Bool,
        Some("true"),
        "Whether the bot may run; false keeps it configured but down.",
    ),
    key(
        "restart.policy",
        Kind::Words(&["always", "on-failure", "never"]),
        Some("always"),
        "When a bot that ended by itself is started again: always, unless it ended with code 0, or never.",
    ),
    key(
        "restart.delay",
        ANY_LENGTH,
        Some("1s"),
        "First delay before a restart. The first failure after a healthy time restarts at once, unless factor is 1.",
    ),
    key(
        "restart.factor",
        Kind::Factor,
        Some("2"),
        "Each further delay is this many times the last; 1 keeps the delay fixed.",
    ),
    key(
        "restart.max_delay",
        ANY_LENGTH,
        Some("1m"),
        "No delay grows beyond this.",
    ),
    key(
        "restart.max_restarts",
        Kind::Integer { min: 0, max: 1_000_000 },
        Some("5"),
        "More failures than this within restart.window make the bot failed.",
    ),
    key(
        "restart.window",
        SOME_LENGTH,
        Some("10m"),
        "Time in which failures are counted.",
    ),
    key(
        "restart.reset_after",
        ANY_LENGTH,
        Some("1m"),
        "A bot that was healthy this long starts again from the first delay.",
    ),
    key(
        "restart.retry_failed",
        Kind::DurationOr {
            word: "never",
            min: SHORT,
            max: LONG,
        },
        Some("10m"),
        "How often a failed bot is tried again.",
    ),
    key(
        "stop.signal",
        Kind::Signal,
        Some("TERM"),
        "Signal that asks the bot to end.",
    ),
    key(
        "stop.grace",
        Kind::Duration {
            min: INSTANT,
            max: HOUR,
        },
        Some("10s"),
        "Time from that signal to SIGKILL for the bot and all that it started.",
    ),
    key(
        "ready.when",
        Kind::Words(&["alive", "signal"]),
        None,
        "alive: still there after ready.min_uptime; signal: it sent a ready event. \
         Without it: alive for a bot with a command, signal for a built-in one.",
    ),
    key(
        "ready.timeout",
        SOME_LENGTH,
        Some("30s"),
        "A bot that is not ready after this time has failed.",
    ),
    key(
        "ready.min_uptime",
        ANY_LENGTH,
        Some("1s"),
        "How long a bot must live to be ready, where ready.when is alive.",
    ),
    key(
        "heartbeat_timeout",
        SOME_LENGTH,
        Some("1m"),
        "Silence after which a bot that has sent heartbeats is unhealthy and restarted. The bot is told it at its \
         start, in microseconds, as WATCHDOG_USEC.",
    ),
    key(
        "probes",
        Kind::Probes,
        None,
        "Ways to ask whether the bot works, each under a name of its own; see PROBES below.",
    ),
    key(
        "errors.pattern",
        Kind::Pattern,
        None,
        "Lines of its output that count as errors. Without it: the words ERROR, CRITICAL, FATAL and panic, and the \
         first line of a Python traceback.",
    ),
    key(
        "kernel.group",
        Kind::Words(&["auto", "always"]),
        Some("auto"),
        "When a run has a cgroup of its own: where a limit needs one, or always. It costs a start some milliseconds, \
         and nothing that the bot has started can then outlive it unseen. Needs a writable cgroup v2.",
    ),
    key(
        "kernel.memory_max",
        Kind::SizeOr {
            words: &["auto", "off"],
            min: 1 << 20,
        },
        Some("auto"),
        "Memory at which the kernel kills the bot, a net for leaks that are faster than the sampling. auto: twice \
         limits.memory.max where that limit restarts or stops the bot, else nothing. Needs a writable cgroup v2.",
    ),
    key(
        "kernel.memory_high",
        Kind::Size { min: 1 << 20 },
        None,
        "Memory above which the kernel slows the bot down and takes memory back. Needs a writable cgroup v2.",
    ),
    key(
        "kernel.cpu_max",
        Kind::Percent,
        None,
        "CPU that the kernel gives the bot at most, in percent of one core. Needs a writable cgroup v2.",
    ),
    key(
        "kernel.pids_max",
        Kind::Integer { min: 1, max: 4_194_304 },
        None,
        "Processes and threads of the bot, beyond which it cannot start more. Needs a writable cgroup v2.",
    ),
    key(
        "kernel.open_files",
        Kind::Integer {
            min: 16,
            max: 1_048_576,
        },
        None,
        "Files and sockets that each process of the bot may have open (RLIMIT_NOFILE).",
    ),
    key(
        "nice",
        Kind::Signed { min: -20, max: 19 },
        None,
        "Priority of the bot's processes, from -20 (first) to 19 (last); below the supervisor's own needs root.",
    ),
    key(
        "weight",
        Kind::Integer { min: 1, max: 10_000 },
        None,
        "Share of the CPU against other bots when there is not enough; 100 is usual. Needs a writable cgroup v2.",
    ),
    key(
        "log.max_size",
        LOG_SIZE,
        Some("10MiB"),
        "Size at which the bot's log is rotated.",
    ),
    key(
        "log.keep",
        LOG_FILES,
        Some("5"),
        "Number of log files that are kept, the current one included.",
    ),
    key(
        "queue.max_messages",
        Kind::Integer { min: 1, max: 1_000_000 },
        Some("10000"),
        "Messages that may wait for the bot; past this senders are refused with: queue full.",
    ),
    key(
        "queue.max_bytes",
        Kind::Size { min: 4096 },
        Some("256MiB"),
        "Bytes that may wait for the bot, likewise.",
    ),
    key(
        "queue.max_message",
        Kind::Size { min: 256 },
        Some("256KiB"),
        "Length of one message; 256KiB at most.",
    ),
    key(
        "queue.retry_delay",
        SOME_LENGTH,
        Some("1s"),
        "First wait of a message that the bot answered with an error; it doubles from attempt to attempt.",
    ),
    key(
        "queue.max_retry_delay",
        SOME_LENGTH,
        Some("5m"),
        "No wait grows beyond this.",
    ),
    key(
        "queue.max_crashes",
        Kind::Integer { min: 1, max: 20 },
        Some("3"),
        "A message over which so many runs of the bot failed becomes a dead letter.",
    ),
    key(
        "queue.dedup_window",
        SOME_LENGTH,
        Some("1h"),
        "How long a second message with the same dedup key is taken for the first one.",
    ),
    key(
        "queue.durability",
        Kind::Words(&["batch", "each", "none"]),
        Some("batch"),
        "When a message counts as accepted: on the disk with all that were sent together, each by itself, or \
         as soon as it is written, which a power cut may undo.",
    ),
    key(
        "accept_from",
        Kind::Senders,
        None,
        "Bots that may send messages to this one; \"*\" lets all. Without it: none.",
    ),
    key(
        "media.dir",
        Kind::Path,
        None,
        "Folder of the bot's media. Without it: media/<bot> in the home.",
    ),
    key(
        "media.clean_on_start",
        Kind::Bool,
        Some("false"),
        "Empties received, outgoing and sent in the media folder before each run.",
    ),
];

pub(super) fn find(table: &'static [Key], name: &str) -> Option<&'static Key> {
    table.iter().find(|key| key.name == name)
}

/// Whether `name` is a mapping that holds keys: `restart`, `limits.memory`.
pub(super) fn is_group(table: &'static [Key], name: &str) -> bool {
    table
        .iter()
        .any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// The names one level below `group`, in order; the top level for an empty one.
pub(super) fn names_below(table: &'static [Key], group: &str) -> Vec<&'static str> {
    let mut names = Vec::new();
    for key in table {
        let rest = if group.is_empty() {
            Some(key.name)
        } else {
            key.name.strip_prefix(group).and_then(|rest| rest.strip_prefix('.'))
        };
        let first = rest.and_then(|rest| rest.split('.').next());
        if let Some(first) = first
            && !names.contains(&first)
        {
            names.push(first);
        }
    }
    names
}

/// What to say of a name that is no key: the nearest one, else what would be possible. `more` are words
/// that are allowed beside the table, `shown` stands before every name.
pub(super) fn unknown(table: &'static [Key], name: &str, more: &[&'static str], shown: &str) -> String {
    let mut known: Vec<&str> = more.to_vec();
    for key in table {
        let ends = key.name.match_indices('.').map(|(end, _)| &key.name[..end]);
        for name in ends.chain([key.name]) {
            if !known.contains(&name) {
                known.push(name);
            }
        }
    }
    let wrong = format!("unknown key {:?}", format!("{shown}{name}"));
    if let Some(near) = nearest(name, known.iter().copied()) {
        return format!("{wrong}, nearest is {:?}", format!("{shown}{near}"));
    }
    let mut ends = name.match_indices('.').map(|(end, _)| &name[..end]);
    match ends.rfind(|group| is_group(table, group)) {
        Some(group) => format!("{wrong}; {shown}{group} has {}", names_below(table, group).join(", ")),
        None => {
            let mut top = more.to_vec();
            top.extend(names_below(table, ""));
            format!("{wrong}; known are {}", top.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml::Node;
    use crate::config::{ALERT_KEYS, RULE_KEYS, SINK_KEYS};
    use crate::model::bot::Platform;

    #[test]
    fn every_default_reads_as_its_kind_and_is_canonical() {
        let of_alerts = ALERT_KEYS.iter().chain(RULE_KEYS).chain(SINK_KEYS);
        for key in KEYS.iter().chain(SUPERVISOR_KEYS).chain(of_alerts) {
            let Some(default) = key.default else { continue };
            let mut faults = Vec::new();
            let value = key.kind.read(key.name, &Node::scalar(default), &mut faults);
            assert_eq!(faults, [], "{}", key.name);
            let shown = value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            assert_eq!(shown.as_deref(), Some(default), "{}", key.name);
        }
    }

    #[test]
    fn names_are_unique_and_no_key_is_a_group() {
        for table in [KEYS, SUPERVISOR_KEYS, ALERT_KEYS, RULE_KEYS, SINK_KEYS] {
            for (index, key) in table.iter().enumerate() {
                assert!(!is_group(table, key.name), "{}", key.name);
                assert!(
                    table[..index].iter().all(|other| other.name != key.name),
                    "{}",
                    key.name
                );
                assert!(key.doc.ends_with('.') && !key.doc.contains('\n'), "{}", key.name);
            }
        }
    }

    #[test]
    fn platform_words_are_those_of_the_model() {
        let words: Vec<&str> = Platform::ALL.into_iter().map(Platform::word).collect();
        assert_eq!(find(KEYS, "platform").map(|key| key.kind), Some(Kind::Words(PLATFORMS)));
        assert_eq!(words, PLATFORMS);
    }

    #[test]
    fn unknown_names_are_answered_with_what_was_meant() {
        for (name, said) in [
            ("restrat", "unknown key \"restrat\", nearest is \"restart\""),
            (
                "restart.dealy",
                "unknown key \"restart.dealy\", nearest is \"restart.delay\"",
            ),
            (
                "max_restarts",
                "unknown key \"max_restarts\", nearest is \"restart.max_restarts\"",
            ),
            (
                "limits.memory.xyzxyz",
                "unknown key \"limits.memory.xyzxyz\"; limits.memory has max, warn, for, action",
            ),
            ("tokne", "unknown key \"tokne\", nearest is \"token\""),
        ] {
            assert_eq!(unknown(KEYS, name, &["id", "token"], ""), said);
        }
        assert_eq!(
            unknown(SUPERVISOR_KEYS, "xyzzy", &["defaults"], ""),
            "unknown key \"xyzzy\"; known are defaults, start_delay, status_poll_interval, sampling, budget, max_bots, \
             platform, history, log, env"
        );
    }
}
