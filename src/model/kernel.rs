//! What of a bot's limits the kernel itself is to enforce, beside the thresholds that are measured.

use super::bot::{LimitAction, Limits};

/// What the kernel is asked for. None: nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KernelPolicy {
    pub group: GroupWhen,
    pub memory_max: MemoryMax,
    /// Bytes above which the kernel slows the bot down and takes its memory back.
    pub memory_high: Option<u64>,
    /// Percent of one core.
    pub cpu_max: Option<f64>,
    /// Processes and threads together.
    pub pids_max: Option<u32>,
    /// Files that each process may have open.
    pub open_files: Option<u32>,
    /// -20 (first) to 19 (last).
    pub nice: Option<i32>,
    /// Share of the CPU against other bots, 1 to 10000; 100 is the kernel's own.
    pub weight: Option<u32>,
}

/// When a run has a group of processes of its own. To move a process into one takes the kernel some
/// milliseconds, and each restart would wait for that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupWhen {
    /// Where a limit needs one.
    #[default]
    Auto,
    Always,
}

/// The memory at which the kernel kills the bot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryMax {
    /// A net for leaks that are faster than the sampling: twice a limit that ends the bot.
    #[default]
    Auto,
    Off,
    Bytes(u64),
}

/// How far the net hangs below the limit: a bot that passes its limit slowly must meet the supervisor
/// first, which asks it to end instead of killing it.
const NET_FACTOR: f64 = 2.0;

impl KernelPolicy {
    /// Bytes at which the kernel kills the bot; None: it does not.
    pub fn memory_max_bytes(&self, limits: &Limits) -> Option<u64> {
        match self.memory_max {
            MemoryMax::Off => None,
            MemoryMax::Bytes(bytes) => Some(bytes),
            MemoryMax::Auto => {
                let max = limits.memory.max?;
                match limits.memory.action {
                    LimitAction::Alert => None,
                    LimitAction::Restart | LimitAction::Stop => Some((max * NET_FACTOR) as u64),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::usage::Limit;

    #[test]
    fn the_net_hangs_below_a_limit_that_ends_the_bot() {
        let limits = |action| Limits {
            memory: Limit {
                max: Some(1000.0),
                action,
                ..Limit::default()
            },
            ..Limits::default()
        };
        let net = |memory_max, limits: &Limits| {
            let policy = KernelPolicy {
                memory_max,
                ..KernelPolicy::default()
            };
            policy.memory_max_bytes(limits)
        };
        for (memory_max, limits, bytes) in [
            (MemoryMax::Auto, limits(LimitAction::Restart), Some(2000)),
            (MemoryMax::Auto, limits(LimitAction::Stop), Some(2000)),
            (MemoryMax::Auto, limits(LimitAction::Alert), None),
            (MemoryMax::Auto, Limits::default(), None),
            (MemoryMax::Off, limits(LimitAction::Restart), None),
            (MemoryMax::Bytes(7), limits(LimitAction::Alert), Some(7)),
            (MemoryMax::Bytes(7), Limits::default(), Some(7)),
        ] {
            assert_eq!(net(memory_max, &limits), bytes, "{memory_max:?} {limits:?}");
        }
    }
}
