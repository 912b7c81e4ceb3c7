//! The keys of what a bot may use: for each measure the same four.

use super::{ANY_LENGTH, Key, key};
use crate::config::kind::Kind;

const ACTION: Kind = Kind::Words(&["alert", "restart", "stop"]);
const ACTION_DOC: &str = "What happens then: only tell, restart the bot, or stop it.";
/// More than any process can have.
const COUNT: Kind = Kind::Integer {
    min: 1,
    max: 1_000_000_000,
};
const SIZE: Kind = Kind::Size { min: 1 };
/// No process lives with less; a smaller number has lost its unit.
const MEMORY_SIZE: Kind = Kind::Size { min: 1 << 20 };

/// The four keys of one measure. The lengths are those that the manual and multibot-lifecycle(7) name.
macro_rules! limit {
    ($what:literal, $unit:expr, $max:expr, $lasting:literal, $action:literal, $doc:literal) => {
        [
            key(concat!("limits.", $what, ".max"), $unit, $max, $doc),
            key(
                concat!("limits.", $what, ".warn"),
                Kind::OrShare {
                    unit: &$unit,
                    of: "max",
                },
                Some("80%"),
                "Above this, as long as for says, it is told. A percent sign means a share of max, of a count rounded up.",
            ),
            key(
                concat!("limits.", $what, ".for"),
                ANY_LENGTH,
                Some($lasting),
                "How long it must stay above max, or warn, without a break.",
            ),
            key(concat!("limits.", $what, ".action"), ACTION, Some($action), ACTION_DOC),
        ]
    };
}

const MEMORY: [Key; 4] = limit!(
    "memory",
    MEMORY_SIZE,
    None,
    "10s",
    "restart",
    "Resident memory of the bot and all that it started. Without it there is no limit, and it is told when the bot \
     has 80 % of the memory of the host or container."
);
const CPU: [Key; 4] = limit!(
    "cpu",
    Kind::Percent,
    None,
    "1m",
    "alert",
    "CPU of the bot and all that it started, in percent of one core; without it there is no limit."
);
const OPEN_FILES: [Key; 4] = limit!(
    "open_files",
    COUNT,
    None,
    "30s",
    "alert",
    "Open files of the bot and all that it started, pipes and sockets among them; without it there is no limit."
);
const THREADS: [Key; 4] = limit!(
    "threads",
    COUNT,
    None,
    "30s",
    "alert",
    "Threads of the bot and all that it started, at least one for each process; without it there is no limit."
);
const PROCESSES: [Key; 4] = limit!(
    "processes",
    COUNT,
    None,
    "30s",
    "alert",
    "Processes of the bot, the first one included; without it there is no limit."
);
const CONNECTIONS: [Key; 4] = limit!(
    "connections",
    COUNT,
    None,
    "30s",
    "alert",
    "Established TCP connections of the bot and all that it started, incoming and outgoing, over IPv4 and IPv6, in \
     the supervisor's own network namespace; without it there is no limit."
);
const OUTPUT: [Key; 4] = limit!(
    "output",
    SIZE,
    Some("5MiB"),
    "30s",
    "alert",
    "Bytes a second that the bot writes on its output, and so into its log."
);
const HALTED: [Key; 2] = [
    key(
        "limits.halted.for",
        ANY_LENGTH,
        Some("30s"),
        "How long the bot's first process may be stopped by a signal, or hang in the kernel (state D) without using CPU.",
    ),
    key("limits.halted.action", ACTION, Some("restart"), ACTION_DOC),
];

pub(super) const LIMITS: &[Key] = &all();

const fn all() -> [Key; 30] {
    let groups = [MEMORY, CPU, OPEN_FILES, THREADS, PROCESSES, CONNECTIONS, OUTPUT];
    let mut keys = [HALTED[0]; 30];
    let mut index = 0;
    while index < 28 {
        keys[index] = groups[index / 4][index % 4];
        index += 1;
    }
    keys[29] = HALTED[1];
    keys[28] = HALTED[0];
    keys
}
