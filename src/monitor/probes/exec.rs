//! Asks by a program: it is well where that ends with 0. Its first line of output is the answer.
//!
//! The program leads a process group of its own, which is killed when it has ended, when it takes too long,
//! and when nobody wants to know any more. What has left that group is found by its mark, see `questions.rs`.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::words;
use crate::clock;
use crate::model::end::signal_name;
use crate::model::probe::Answer;
use crate::model::units::{Moment, show_duration};
use crate::run::remains::QUESTION_MARK;

/// More than a line of an answer is not wanted.
const OUTPUT_BYTES_MAX: usize = 4096;
/// A killed process is gone at once, unless the kernel holds it.
const REAP_TIME_MAX: Duration = Duration::from_secs(5);

/// Killed programs that the kernel still held when they were waited for.
static UNREAPED: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Calls a question back.
pub(super) struct Cancel(Option<OwnedFd>);

impl Cancel {
    /// Without a descriptor left, a question is answered and thrown away.
    pub(super) fn new() -> Cancel {
        Cancel(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok())
    }

    pub(super) fn call(&self) {
        if let Some(fd) = &self.0 {
            // It is written once, so there is always room.
            let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
        }
    }
}

/// None where the question was called back.
pub(super) fn ask(
    argv: &[String],
    env: &[(String, String)],
    cwd: &Path,
    timeout: Duration,
    cancel: &Cancel,
    question: &str,
) -> Option<Answer> {
    reap_late();
    let (program, arguments) = argv.split_first()?;
    let until = clock::now() + timeout;
    let (reader, writer) = match std::io::pipe() {
        Ok(ends) => ends,
        Err(error) => return Some(Answer::failure(format!("cannot run {program}: {}", words(&error)))),
    };
    let copy = match writer.try_clone() {
        Ok(copy) => copy,
        Err(error) => return Some(Answer::failure(format!("cannot run {program}: {}", words(&error)))),
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(env.iter().map(|(name, value)| (name, value)))
        .env(QUESTION_MARK, question)
        .current_dir(cwd)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(copy);
    let started = command.spawn();
    // The writing ends must be the program's alone.
    drop(command);
    let child = match started {
        Ok(child) => child,
        Err(error) => return Some(Answer::failure(format!("cannot run {program}: {}", words(&error)))),
    };
    let mut run = Run {
        child,
        reader,
        output: Vec::new(),
    };
    let outcome = run.wait(until, cancel);
    let line = first_line(&run.output);
    let status = end(run.child);
    match outcome {
        Outcome::Cancelled => None,
        Outcome::Late => Some(Answer::failure(with(
            format!("no end within {}", show_duration(timeout)),
            &line,
        ))),
        Outcome::Ended => Some(judge(status, &line)),
    }
}

fn judge(status: Option<ExitStatus>, line: &str) -> Answer {
    let Some(status) = status else {
        return Answer::failure("its end is not known");
    };
    if status.success() {
        return Answer::success(if line.is_empty() { "exited with code 0" } else { line });
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("killed by {}", signal_name(signal)),
        (None, None) => "ended".to_owned(),
    };
    Answer::failure(with(how, line))
}

fn with(how: String, line: &str) -> String {
    if line.is_empty() { how } else { format!("{how}: {line}") }
}

fn first_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let first = text.lines().find(|line| !line.trim().is_empty());
    first.unwrap_or_default().trim().to_owned()
}

enum Outcome {
    Ended,
    Late,
    Cancelled,
}

/// A program under way.
struct Run {
    child: Child,
    reader: std::io::PipeReader,
    output: Vec<u8>,
}

impl Run {
    /// Waits for its end, and keeps the beginning of what it prints. Output that goes on does not hold it up:
    /// whatever it started in the background may have the pipe open.
    fn wait(&mut self, until: Moment, cancel: &Cancel) -> Outcome {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let Some(Ok(pidfd)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
            return Outcome::Late;
        };
        let mut is_open = true;
        loop {
            let left = until.since(clock::now());
            if left.is_zero() {
                return Outcome::Late;
            }
            let mut fds = vec![PollFd::new(&pidfd, PollFlags::IN)];
            let cancel_at = cancel.0.as_ref().map(|fd| {
                fds.push(PollFd::new(fd, PollFlags::IN));
                fds.len() - 1
            });
            let output_at = is_open.then(|| {
                fds.push(PollFd::from_borrowed_fd(self.reader.as_fd(), PollFlags::IN));
                fds.len() - 1
            });
            let Ok(wait) = Timespec::try_from(left) else {
                return Outcome::Late;
            };
            match poll(&mut fds, Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Outcome::Late,
            }
            let is_set = |at: usize| !fds[at].revents().is_empty();
            let (has_ended, is_cancelled) = (is_set(0), cancel_at.is_some_and(is_set));
            let has_output = output_at.is_some_and(is_set);
            drop(fds);
            if is_cancelled {
                return Outcome::Cancelled;
            }
            if has_output {
                is_open = self.read_some();
            } else if has_ended {
                return Outcome::Ended;
            }
        }
    }

    /// One read of what is there; false when nothing more comes, or is wanted.
    fn read_some(&mut self) -> bool {
        let mut block = [0; 1024];
        match self.reader.read(&mut block) {
            Ok(0) | Err(_) => false,
            Ok(length) => {
                let room = OUTPUT_BYTES_MAX.saturating_sub(self.output.len());
                self.output.extend_from_slice(&block[..length.min(room)]);
                // A program that prints on is not slowed down by a full pipe before its time is over.
                true
            }
        }
    }
}

/// Kills what is left of its group and reaps it. What the kernel still holds is left to later questions.
fn end(mut child: Child) -> Option<ExitStatus> {
    // The program is not reaped yet, so that its number is still its own.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let until = clock::now() + REAP_TIME_MAX;
    let mut pause = Duration::from_micros(100);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if clock::now() < until => std::thread::sleep(pause),
            Ok(None) | Err(_) => {
                UNREAPED.lock().unwrap_or_else(PoisonError::into_inner).push(child);
                return None;
            }
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn reap_late() {
    let mut unreaped = UNREAPED.lock().unwrap_or_else(PoisonError::into_inner);
    unreaped.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}
