//! What a supervisor must not hand on from whoever started it.

/// Variables that a bot or a service manager gives its own children. A supervisor that was started
/// from among them must not hand them on, nor be taken for one of their processes.
pub const FOREIGN_VARIABLES: [&str; 14] = [
    "MULTIBOT_RUN_ID",
    "MULTIBOT_HOME_ID",
    "MULTIBOT_INBOX",
    "MULTIBOT_OUTBOX",
    "MULTIBOT_HEARTBEAT",
    "MULTIBOT_MEDIA",
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
