//! Kills a process right before a system call that changes what is on the disk: each rename, unlink and
//! fsync of the spool is a point at which a crash must lose nothing. The process is watched through
//! ptrace, so it needs no hooks of its own and is the very binary that ships.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The calls by which a file changes its state or becomes durable.
#[cfg(target_arch = "x86_64")]
const POINTS: [i64; 7] = [
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
];
#[cfg(not(target_arch = "x86_64"))]
const POINTS: [i64; 5] = [
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
];

/// Blows that fell at their point, in all rounds.
pub(crate) static HITS: AtomicU32 = AtomicU32::new(0);

/// A process whose threads are all watched by the thread that made this.
pub(crate) struct Strike {
    pid: i32,
    left: u32,
}

impl Strike {
    /// Takes hold of a process, to kill it before its `nth` point from now. None where it is gone or the
    /// kernel does not let this process trace it.
    pub(crate) fn prepare(pid: u32, nth: u32) -> Option<Strike> {
        let pid = i32::try_from(pid).ok()?;
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
        let mut is_held = false;
        for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            let Some(tid) = task.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            is_held |= ask(libc::PTRACE_SEIZE, tid, options as usize) == 0;
            ask(libc::PTRACE_INTERRUPT, tid, 0);
        }
        is_held.then_some(Strike { pid, left: nth })
    }

    /// Lets it run to its point and kills it there, or when `patience` is over. Says whether it came to
    /// the point.
    pub(crate) fn carry_out(mut self, patience: Duration) -> bool {
        let begun = Instant::now();
        let mut has_struck = false;
        loop {
            let mut status = 0;
            let flags = libc::__WALL | libc::__WNOTHREAD | libc::WNOHANG;
            match wait_any(&mut status, flags) {
                Waited::Nobody => return has_struck,
                Waited::NotYet => {
                    if begun.elapsed() > patience {
                        self.kill();
                    }
                    std::thread::sleep(Duration::from_micros(50));
                }
                Waited::Stopped(tid) if libc::WIFSTOPPED(status) => has_struck |= self.go_on(tid, status),
                Waited::Stopped(_) => {}
            }
        }
    }

    /// One stop of one thread. True when this was the point.
    fn go_on(&mut self, tid: i32, status: i32) -> bool {
        let signal = libc::WSTOPSIG(status);
        let is_call = signal == libc::SIGTRAP | 0x80;
        if is_call && entered(tid).is_some_and(|call| POINTS.contains(&call)) {
            self.left = self.left.saturating_sub(1);
            if self.left == 0 {
                self.kill();
                HITS.fetch_add(1, Ordering::Relaxed);
                return true;
            }
        }
        // What is no signal of its own must not be handed on as one.
        let is_event = is_call || status >> 16 != 0 || signal == libc::SIGTRAP;
        ask(libc::PTRACE_SYSCALL, tid, if is_event { 0 } else { signal as usize });
        false
    }

    #[expect(unsafe_code, reason = "the pid is held through ptrace and cannot be another's")]
    fn kill(&self) {
        // SAFETY: plain system call without pointers.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
        }
    }
}

enum Waited {
    Stopped(i32),
    NotYet,
    Nobody,
}

#[expect(unsafe_code, reason = "no safe wrapper waits for the tracees of one thread")]
fn wait_any(status: &mut i32, flags: i32) -> Waited {
    // SAFETY: `status` is a valid place for the whole call.
    match unsafe { libc::waitpid(-1, status, flags) } {
        0 => Waited::NotYet,
        tid if tid > 0 => Waited::Stopped(tid),
        _ => Waited::Nobody,
    }
}

/// The number of the system call that a stopped thread is about to do; None when it leaves one.
#[expect(unsafe_code, reason = "no safe wrapper for ptrace")]
fn entered(tid: i32) -> Option<i64> {
    // SAFETY: the structure is plain data, and the kernel is told its size.
    unsafe {
        let mut info = std::mem::zeroed::<libc::ptrace_syscall_info>();
        let size = std::mem::size_of_val(&info);
        let wrote = libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, tid, size, &raw mut info);
        (wrote > 0 && info.op == libc::PTRACE_SYSCALL_INFO_ENTRY).then_some(info.u.entry.nr as i64)
    }
}

#[expect(unsafe_code, reason = "no safe wrapper for ptrace")]
fn ask(request: libc::c_uint, tid: i32, data: usize) -> i64 {
    // SAFETY: none of the requests used here takes a pointer.
    unsafe { libc::ptrace(request, tid, 0usize, data) }
}
