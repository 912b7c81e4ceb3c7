//! Ends what is left of a run whose shim died before it could. This is the guard against the worst
//! fault, two runs of one bot, so it fails closed: what cannot be proven gone is reported.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::leaf;
use super::process_tree::{descendants, marked};
use super::record::RunRecord;

/// Names the run of a bot in the environment of all its processes.
pub const RUN_MARK: &str = "MULTIBOT_RUN_ID";

/// Marks the programs that ask for a probe, and all that they started, by the question.
pub const QUESTION_MARK: &str = "MULTIBOT_PROBE";

/// Marks a login program and all that it started, by an id of its own.
pub const LOGIN_MARK: &str = "MULTIBOT_LOGIN";

/// Kills every process of this run that can be found and waits for them to be gone, at most
/// `patience`. The error is the pid of a process that survives.
///
/// A record of another boot or pid namespace names nobody here.
pub fn clear(record: &RunRecord, patience: Duration) -> Result<(), u32> {
    if !record.process.is_of_this_boot() {
        return Ok(());
    }
    clear_all(|| living(record), patience)?;
    match &record.leaf {
        Some(leaf) => leaf::clear(leaf, patience),
        None => Ok(()),
    }
}

/// Kills every process that bears the mark of this run, whatever has become of its record.
pub fn clear_marked(run_id: &str, patience: Duration) -> Result<(), u32> {
    clear_all(|| marked_living(run_id), patience)
}

/// Kills every process that bears the mark of this login.
pub fn clear_login(id: &str, patience: Duration) -> Result<(), u32> {
    clear_all(|| bearing(&format!("{LOGIN_MARK}={id}")), patience)
}

/// Kills everybody whom `find` finds, again and again until there is nobody, at most for `patience`. The error is
/// the pid of a process that survives.
pub fn clear_all(find: impl Fn() -> Vec<u32>, patience: Duration) -> Result<(), u32> {
    let step = Duration::from_millis(10);
    let mut waited = Duration::ZERO;
    loop {
        let alive = find();
        let Some(first) = alive.first().copied() else {
            return Ok(());
        };
        if waited >= patience {
            return Err(first);
        }
        for pid in alive {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // It may end by itself between the look and the blow.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        std::thread::sleep(step);
        waited += step;
    }
}

/// The bot's first process if it is still that one, its descendants, and everybody who bears the mark or is in
/// the run's group.
pub fn living(record: &RunRecord) -> Vec<u32> {
    let mut pids = Vec::new();
    if record.process.is_alive() {
        pids.push(record.process.pid);
        pids.extend(descendants(record.process.pid));
    }
    let in_leaf = record.leaf.as_deref().map(leaf::members).unwrap_or_default();
    for pid in marked_living(&record.run_id).into_iter().chain(in_leaf) {
        if !pids.contains(&pid) {
            pids.push(pid);
        }
    }
    pids
}

fn marked_living(run_id: &str) -> Vec<u32> {
    bearing(&format!("{RUN_MARK}={run_id}"))
}

/// Everybody who bears a mark (`NAME=value`), and whoever descends from them.
fn bearing(mark: &str) -> Vec<u32> {
    let mut pids = Vec::new();
    for pid in marked(mark) {
        let gone = super::identity::Stat::of(pid).is_none_or(|stat| stat.is_zombie());
        if !gone && !pids.contains(&pid) {
            pids.extend(descendants(pid));
            pids.push(pid);
        }
    }
    pids
}
