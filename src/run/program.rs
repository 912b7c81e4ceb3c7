//! A program of the operator's that is run for its answer: in a process group of its own that is ended with it, with
//! bounds on its time and its output.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// What is to be run, and how far it may go.
pub struct Program<'a> {
    /// The program and its arguments; at least the program.
    pub argv: &'a [String],
    /// Its whole environment.
    pub env: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    /// What it reads on its standard input.
    pub input: Vec<u8>,
    pub timeout: Duration,
    /// Bytes of its standard output that are kept; the rest is read and dropped.
    pub output_max: u64,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// None: it was killed after its time.
    pub status: Option<ExitStatus>,
    pub output: Vec<u8>,
    pub is_cut: bool,
}

/// What was started by the program may hold its output open after it: that is waited for no longer than this.
const REST_TIMEOUT: Duration = Duration::from_millis(500);

impl Program<'_> {
    /// Runs it to its end; what it writes to standard error goes where this process's own goes. Errors when it cannot
    /// be started.
    pub fn run(self) -> io::Result<Ended> {
        let mut child = self.spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let body = self.input;
        // A program that does not read must not hold up the one who waits for it: the pipe ends with it.
        thread::Builder::new()
            .name("program input".to_owned())
            .spawn(move || input.map(|mut input| input.write_all(&body)))?;
        let (sender, heard) = mpsc::sync_channel(1);
        let output_max = self.output_max;
        thread::Builder::new()
            .name("program output".to_owned())
            .spawn(move || sender.send(output.map(|mut output| keep(&mut output, output_max))))?;
        let group = Pid::from_child(&child);
        let is_over = wait(group, self.timeout);
        // Before it is reaped, so that its number is nobody else's: what it has started ends with it.
        let _ = kill_process_group(group, Signal::KILL);
        let status = child.wait()?;
        let kept = heard.recv_timeout(REST_TIMEOUT).ok().flatten();
        let (output, is_cut) = kept.unwrap_or_default();
        Ok(Ended {
            status: is_over.then_some(status),
            output,
            is_cut,
        })
    }

    fn spawn(&self) -> io::Result<Child> {
        let (program, arguments) = self.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
    }
}

/// Reads to the end; the first bytes, and whether there were more.
fn keep(output: &mut impl Read, max: u64) -> (Vec<u8>, bool) {
    let mut kept = Vec::new();
    // What was read before an error is still an answer.
    let _ = output.by_ref().take(max).read_to_end(&mut kept);
    let rest = io::copy(output, &mut io::sink()).unwrap_or(0);
    (kept, rest > 0)
}

/// Waits for the end; false when the time is over.
fn wait(pid: Pid, timeout: Duration) -> bool {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return false;
    };
    let timeout = Timespec::try_from(timeout).ok();
    loop {
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(count) => return count > 0,
            // A signal that this process takes: the time begins anew, which is no harm.
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: Duration) -> Ended {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned);
        let program = Program {
            argv: &argv,
            env: vec![("WORD".into(), "known".into())],
            input: b"hello\n".to_vec(),
            timeout,
            output_max: 8,
        };
        program.run().unwrap()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_program_is_answered_with_its_output_and_its_code() {
        let ended = shell("read line; echo \"$line $WORD\" | cut -c1-7; exit 3", LONG);
        assert_eq!(ended.status.and_then(|status| status.code()), Some(3));
        assert_eq!(
            (String::from_utf8(ended.output).unwrap().as_str(), ended.is_cut),
            ("hello k\n", false)
        );
    }

    #[test]
    fn what_is_too_long_is_cut_and_what_takes_too_long_is_ended() {
        let ended = shell("seq 100000", LONG);
        assert!(ended.status.unwrap().success() && ended.is_cut);
        assert_eq!(ended.output.len(), 8);
        let ended = shell("echo a; sleep 1000", Duration::from_millis(50));
        assert!(ended.status.is_none());
        let nobody = ["/nonexistent/program".to_owned()];
        let program = Program {
            argv: &nobody,
            env: Vec::new(),
            input: Vec::new(),
            timeout: LONG,
            output_max: 1,
        };
        assert!(program.run().is_err());
    }
}
