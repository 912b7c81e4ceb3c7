//! Ends every descendant of a run. The shim is their subreaper: whoever loses its parent becomes a
//! child of the shim, however often it forked, so none can escape by descent.

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group, wait};

use crate::run::process_tree::descendants;

/// A reaped child.
pub(super) struct Reaped {
    pub(super) pid: u32,
    pub(super) status: WaitStatus,
}

/// What a look at the children found.
pub(super) enum Children {
    /// One has ended; there may be more.
    Ended(Reaped),
    /// Some live, none has ended.
    Living,
    None,
}

/// Reaps one ended child, whoever it is.
pub(super) fn reap() -> Children {
    match wait(WaitOptions::NOHANG) {
        Ok(Some((pid, status))) => Children::Ended(Reaped {
            pid: u32::try_from(pid.as_raw_nonzero().get()).unwrap_or(0),
            status,
        }),
        Ok(None) => Children::Living,
        Err(rustix::io::Errno::INTR) => Children::Living,
        Err(_) => Children::None,
    }
}

/// Sends a signal to the bot's process group, and wakes it if it is stopped so that it can obey.
pub(super) fn signal_group(leader: u32, signal: i32) {
    let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) else {
        return;
    };
    let Some(signal) = Signal::from_named_raw(signal) else {
        return;
    };
    // The group may be empty by now.
    let _ = kill_process_group(group, signal);
    let _ = kill_process_group(group, Signal::CONT);
}

/// Kills all descendants of this process that live now; returns them.
pub(super) fn kill_descendants() -> Vec<u32> {
    let living = descendants(std::process::id());
    for pid in &living {
        if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    living
}
