//! Process 1 of a container: reaps whoever is left to it, hands signals on, and starts the program proper
//! as its child. A supervisor must not be process 1 itself: signals that it does not handle would be lost
//! on it, and when it died the kernel would end every bot with it.
//!
//! It has one thread and knows no home. A child that is killed is started anew, and adopts the bots.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::clock;
use crate::model::units::Moment;
use crate::run::SELF;

/// The pid that the kernel gives to the first process of a container.
pub const FIRST_PID: u32 = 1;

/// A child that is killed sooner than this is not worth another try.
const LIFE_TIME_MIN: Duration = Duration::from_secs(1);
/// What a shell says of a process that a signal has ended.
const SIGNAL_CODE: i32 = 128;

/// Runs this program with the same arguments as a child, and ends with its code.
pub fn main() -> ExitCode {
    // Before the child is there, so that none of its life is missed.
    let Ok(mut signals) = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGCHLD]) else {
        return ExitCode::FAILURE;
    };
    let Some(mut child) = Child::start() else {
        return ExitCode::FAILURE;
    };
    let mut ended = None;
    for signal in signals.forever() {
        if signal != SIGCHLD {
            let is_last = hand_on(signal, ended.is_none().then_some(child.pid));
            if is_last {
                break;
            }
            continue;
        }
        let others = reap(child.pid, &mut ended);
        match ended {
            Some(status) if status.signaled() && clock::now().since(child.since) >= LIFE_TIME_MIN => {
                match Child::start() {
                    Some(next) => (child, ended) = (next, None),
                    None => break,
                }
            }
            // It has left its bots, or another supervisor was started for them: they need their process 1.
            Some(_) if others => {}
            Some(_) => break,
            None => {}
        }
    }
    ended.map_or(ExitCode::SUCCESS, code_of)
}

struct Child {
    pid: Pid,
    since: Moment,
}

impl Child {
    /// In a process group of its own: what a terminal sends comes once, from here.
    fn start() -> Option<Child> {
        let mut command = Command::new(SELF);
        let child = command
            .arg0("multibot")
            .args(std::env::args_os().skip(1))
            .process_group(0)
            .spawn()
            .ok()?;
        Some(Child {
            pid: Pid::from_raw(i32::try_from(child.id()).ok()?)?,
            since: clock::now(),
        })
    }
}

/// Hands a signal to the child. Where it has left, everybody is asked to end: shims stop their bots. Says
/// whether there is nobody to hand it to.
fn hand_on(signal: i32, child: Option<Pid>) -> bool {
    let Some(signal) = Signal::from_named_raw(signal) else {
        return false;
    };
    match child {
        Some(pid) => {
            let _ = kill_process(pid, signal);
            false
        }
        None if signal == Signal::HUP => false,
        None => !ask_all(),
    }
}

/// Asks every process but this one to end; says whether there was any.
fn ask_all() -> bool {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    let asked = pids.filter(|pid| *pid != Pid::INIT && kill_process(*pid, Signal::TERM).is_ok());
    asked.count() > 0
}

/// Reaps all who have ended, notes the child's own end, and says whether anybody is left.
fn reap(child: Pid, ended: &mut Option<WaitStatus>) -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => *ended = Some(status),
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

fn code_of(status: WaitStatus) -> ExitCode {
    let signal = status.terminating_signal().map(|number| SIGNAL_CODE + number);
    let code = status.exit_status().or(signal).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
