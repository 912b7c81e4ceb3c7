//! What a supervisor must not hand on from whoever started it, and what it must to the program that it
//! becomes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};

/// Variables that a bot or a service manager gives its own children. A supervisor that was started
/// from among them must not hand them on, nor be taken for one of their processes.
pub const FOREIGN_VARIABLES: [&str; 15] = [
    "MULTIBOT_RUN_ID",
    "MULTIBOT_HOME_ID",
    "MULTIBOT_INBOX",
    "MULTIBOT_OUTBOX",
    "MULTIBOT_HEARTBEAT",
    "MULTIBOT_MEDIA",
    "MULTIBOT_PROGRAM",
    "BOT_ID",
    "BOT_INDEX",
    "BOT_TOKEN",
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
];

/// The first file that is not one of the three standard ones.
const FIRST_EXTRA_FILE: libc::c_uint = 3;

/// Keeps every open file but the standard three from programs that are started from now on. A pipe
/// that a shell or a script left open would else stay open for as long as any bot runs, and its
/// reader would wait for ever. A kernel that cannot do this leaves all as it was.
#[expect(unsafe_code, reason = "no safe wrapper sets a flag on files that nobody here owns")]
pub fn keep_open_files_from_children() {
    let flags = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
    // SAFETY: with this flag the call closes nothing; it only marks files to be closed by an exec.
    unsafe {
        libc::close_range(FIRST_EXTRA_FILE, libc::c_uint::MAX, flags);
    }
}

/// Lets every signal through again. Blocked signals outlive an exec: a starter that blocks SIGTERM
/// would else make a supervisor and bots that no stop signal reaches.
#[expect(unsafe_code, reason = "neither std nor rustix can set the signal mask")]
pub fn receive_all_signals() {
    // SAFETY: the set is initialised by sigemptyset before it is read; no handler runs that was not
    // registered for it.
    unsafe {
        let mut none = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Lets an open file survive an exec; returns its number, by which the next program finds it.
pub fn hand_on(file: impl AsFd) -> io::Result<RawFd> {
    fcntl_setfd(&file, FdFlags::empty())?;
    Ok(file.as_fd().as_raw_fd())
}

/// Takes over an open file that the program before this one has handed on. None where nothing is open
/// under that number, or one of the standard three.
#[expect(unsafe_code, reason = "a number from outside has no safe way to an owned file")]
pub fn take_over(number: RawFd) -> Option<OwnedFd> {
    std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).ok()?;
    if number < FIRST_EXTRA_FILE.cast_signed() {
        return None;
    }
    // SAFETY: the number is open, and nobody in this program owns it: it is called first of all, before
    // anything else was opened, and once for each number that was handed on.
    let file = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl_setfd(&file, FdFlags::CLOEXEC).ok()?;
    Some(file)
}
