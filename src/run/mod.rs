//! What the supervisor and the shim agree on: orders, records, locks, and how a process is told apart
//! from a later one with the same pid. Neither side sees the other; both see this.

pub mod brief;
pub mod delegation;
pub mod handover;
pub mod host_memory;
pub mod identity;
pub mod inheritance;
pub mod leaf;
pub mod lock;
pub mod names;
pub mod orders;
pub mod process_tree;
pub mod program;
pub mod record;
pub mod remains;
pub mod rivals;
pub mod strays;

/// This very program, also when its file was replaced or removed meanwhile.
pub const SELF: &str = "/proc/self/exe";

/// The hidden verb under which multibot starts itself as a shim.
pub const SHIM_VERB: &str = "__shim";
/// The hidden verb under which multibot starts itself as a built-in bot; the platform follows.
pub const RUNNER_VERB: &str = "__runner";
