//! Every bound of multibot in one place, each with its reason. Settings that a user may change have
//! their defaults in `config`; what stands here is fixed.

use std::time::Duration;

/// A bot's id is a file name and part of a socket path: short enough for both.
pub const BOT_NAME_BYTES_MAX: usize = 63;
/// A target's name before it is percent-encoded.
pub const TARGET_BYTES_MAX: usize = 128;

/// One envelope on one line; larger content belongs into the media folder.
pub const ENVELOPE_BYTES_MAX: usize = 256 * 1024;
/// An envelope's id: a UUID and a prefix fit.
pub const ID_BYTES_MAX: usize = 64;
/// Setbacks that an envelope remembers: enough to see the pattern.
pub const HISTORY_LEN_MAX: usize = 20;
/// A reason in an envelope's history.
pub const WHY_CHARS_MAX: usize = 500;
/// Every so many claims a consumer takes the oldest file of the lowest class, so that nothing starves.
pub const FAIR_CLAIM_EVERY: u64 = 16;
/// Envelopes in one mailbox file: past this a batch gains nothing and costs latency.
pub const ENVELOPES_PER_FILE_MAX: usize = 512;
/// One mailbox file; a larger one is foreign and set aside unread.
pub const MAILBOX_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Files waiting in one mailbox; past this a sender is told `queue full`.
pub const MAILBOX_FILES_MAX: usize = 100_000;
/// Free disk below which a mailbox takes no more: what is accepted must still be handled and answered.
pub const DISK_FREE_BYTES_MIN: u64 = 4 * 1024 * 1024;
/// The same for what bots answer. It lies below what senders leave free, so that a bot can still work off and
/// answer what they have filled the disk with.
pub const OUTBOX_DISK_FREE_BYTES_MIN: u64 = 1024 * 1024;
const _: () = assert!(OUTBOX_DISK_FREE_BYTES_MIN < DISK_FREE_BYTES_MIN);
/// A writer needs seconds; what lies in tmp/ longer than this belongs to nobody.
pub const TMP_AGE_MAX: Duration = Duration::from_secs(36 * 3600);
/// A caller waits seconds for its reply; older ones belong to nobody.
pub const REPLY_AGE_MAX: Duration = Duration::from_secs(3600);

/// One line of a bot's log; longer ones are split, so that a bot without newlines cannot eat memory.
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;

/// How long a shim hunts descendants that do not die before it reports them as survivors.
pub const SWEEP_TIME_MAX: Duration = Duration::from_secs(5);
/// How much longer than the grace the supervisor waits for a shim before it says who survives.
pub const STOP_MARGIN: Duration = Duration::from_secs(7);
const _: () = assert!(
    STOP_MARGIN.as_secs() > SWEEP_TIME_MAX.as_secs(),
    "a shim must have had its sweep"
);

/// A shim reports within milliseconds of its start; one that does not is stuck.
pub const SPAWN_TIME_MAX: Duration = Duration::from_secs(20);
/// The snapshot is written at most this often.
pub const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(100);
/// What was done for a limit is shown at least this long, so that whoever reads snapshots has seen it.
pub const LIMIT_ACTION_KEPT_MIN: Duration = Duration::from_secs(5);
/// News that wait for the loop; a sender blocks when it is full, nothing is dropped.
pub const QUEUE_LEN_MAX: usize = 4096;
/// A loop that wakes this late has slept with the machine: it must not judge bots by what it missed.
pub const LATE_WAKE: Duration = Duration::from_secs(5);
/// `start` tries this long to become the supervisor before it waits for the one that won.
pub const LOCK_RETRY_TIME: Duration = Duration::from_secs(1);
/// Orders for a shim: environment and arguments. The kernel's own bound for both is of this size.
pub const ORDERS_BYTES_MAX: usize = 128 * 1024;
/// Missed answers to `status_request` that make a bot unhealthy.
pub const MISSED_ANSWERS_MAX: u32 = 3;
/// A program that has taken a home over answers for its bots within a second; one that does not in this
/// time is not well, and the one before it comes back.
pub const UPGRADE_TIME_MAX: Duration = Duration::from_secs(30);
/// What a bot says of itself in one line; more would not fit into a table.
pub const STATUS_CHARS_MAX: usize = 200;
/// One request for more time moves a deadline at most this far: a bot that is lost must not wait for ever.
pub const EXTENSION_MAX: Duration = Duration::from_secs(3600);
/// Questions of probes that may be under way at once, each in a thread of its own. Threads cost little and are
/// started on demand; the bound is for a host on which everything hangs. Past it probes are asked late, and the
/// status says so; no bot is ever held up.
pub const PROBERS_MAX: usize = 512;
/// So many of them are kept for probes that were answered quickly the last time.
pub const PROBERS_RESERVED: usize = 32;
const _: () = assert!(PROBERS_RESERVED < PROBERS_MAX);
/// So much of one bot's log is read for errors and probes at a time; of more only the newest part.
pub const LOG_WATCH_BYTES_MAX: u64 = 8 * 1024 * 1024;
