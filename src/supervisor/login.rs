//! Runs a bot's login program, which gets its credentials, and understands what it prints.
//!
//! The program may ask a person, on the terminal that it shares with the command that runs it; its stdout is the answer.
//! What takes too long is killed with all that it started, which is found by a mark.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::environment::Secrets;
use super::launch::Ground;
use crate::clock;
use crate::log::Mask;
use crate::model::bot::{BotSpec, Secret};
use crate::model::credential::FieldName;
use crate::model::credential::login::{OUTPUT_BYTES_MAX, parse_output};
use crate::model::end::signal_name;
use crate::model::units::{Moment, show_duration};
use crate::run::remains::{LOGIN_MARK, clear_login};

/// A killed process is gone at once, unless the kernel holds it.
const KILL_TIME_MAX: Duration = Duration::from_secs(5);

/// What a login program is started with.
pub struct Login {
    /// Names this login in the environment of all its processes.
    id: String,
    exec: Vec<String>,
    env: BTreeMap<String, String>,
    cwd: PathBuf,
    timeout: Duration,
    /// The bot's own command, which no credential may stand in.
    command: Vec<String>,
}

/// Whom the program may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    /// Whoever sits at stdin and stderr of this process.
    Person,
    Nobody,
}

/// The fields that a login program gave, by name.
pub type Given = Vec<(FieldName, Secret)>;

impl Login {
    /// The login of one bot. Errors where it has no program for that, or its `env_file` cannot be read.
    pub fn of(spec: &BotSpec, index: u32, ground: &Ground<'_>, secrets: &Secrets<'_>) -> Result<Login, String> {
        if spec.login.exec.is_empty() {
            return Err(format!(
                "{} has no login program: give it one with: multibot bot set {} 'login.exec=[\"PROGRAM\"]'",
                spec.id, spec.id
            ));
        }
        Ok(Login {
            id: crate::spool::new_id(clock::stamp()),
            exec: spec.login.exec.clone(),
            env: ground.environment(spec, index, None, secrets)?,
            cwd: spec.cwd.clone().unwrap_or_else(|| ground.home.dir().to_owned()),
            timeout: spec.login.timeout,
            command: spec.command.clone(),
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Runs the program to its end. The error is one line and shows nothing of what it printed.
    pub fn run(&self, talk: Talk) -> Result<Given, String> {
        let program = self.exec.first().map_or("", String::as_str);
        let cannot = |error: std::io::Error| format!("cannot run the login program {program}: {error}");
        let (mut reader, mut child) = self.spawn(talk).map_err(cannot)?;
        let outcome = collect(&child, &mut reader, clock::now() + self.timeout);
        if outcome.is_err() {
            clear_login(&self.id, KILL_TIME_MAX)
                .map_err(|pid| format!("the login program {program} cannot be killed: pid {pid}"))?;
        }
        let status = child.wait().map_err(cannot)?;
        let output = match outcome {
            Ok(output) => output,
            Err(Stop::Late) => {
                let timeout = show_duration(self.timeout);
                return Err(format!(
                    "the login program {program} has not ended within {timeout} and was killed; see login.timeout"
                ));
            }
            Err(Stop::TooLong) => return Err(format!("the login program {program}: its output is longer than 64 KiB")),
        };
        if !status.success() {
            return Err(format!(
                "the login program {program} {}; nothing was stored",
                how(status)
            ));
        }
        let fields = parse_output(&output).map_err(|why| format!("the login program {program}: {why}"))?;
        for (name, value) in &fields {
            let mask = Mask::new([value.reveal()]);
            if let Some(place) = self.command.iter().position(|word| mask.masked(word) != *word) {
                let word = place + 1;
                return Err(format!(
                    "word {word} of the bot's command holds {name}, which every user of this host could read"
                ));
            }
        }
        Ok(fields)
    }

    fn spawn(&self, talk: Talk) -> std::io::Result<(PipeReader, Child)> {
        let (reader, writer) = std::io::pipe()?;
        let mut command = Command::new(self.exec.first().map_or("", String::as_str));
        command
            .args(self.exec.iter().skip(1))
            .env_clear()
            .envs(&self.env)
            .env(LOGIN_MARK, &self.id)
            .current_dir(&self.cwd)
            .stdout(writer);
        if talk == Talk::Nobody {
            command.stdin(Stdio::null()).stderr(Stdio::null());
        }
        let child = command.spawn()?;
        Ok((reader, child))
    }
}

/// The logins that run without a person. Whatever of them runs when the supervisor ends is ended with it.
#[derive(Default)]
pub(super) struct Logins(Arc<Mutex<BTreeSet<String>>>);

/// One of them, until it is dropped.
pub(super) struct Ticket {
    id: String,
    all: Arc<Mutex<BTreeSet<String>>>,
}

impl Logins {
    pub(super) fn begin(&self, id: &str) -> Ticket {
        lock(&self.0).insert(id.to_owned());
        Ticket {
            id: id.to_owned(),
            all: Arc::clone(&self.0),
        }
    }
}

impl Drop for Logins {
    fn drop(&mut self) {
        for id in lock(&self.0).iter() {
            // What the kernel holds is not waited for twice.
            let _ = clear_login(id, KILL_TIME_MAX);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        lock(&self.all).remove(&self.id);
    }
}

fn lock(all: &Mutex<BTreeSet<String>>) -> MutexGuard<'_, BTreeSet<String>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was killed by {}", signal_name(signal)),
        (None, None) => "ended".to_owned(),
    }
}

/// Why a program is not waited for any longer.
enum Stop {
    Late,
    TooLong,
}

/// What it prints until it ends. What it leaves in the background may have the pipe open, and is not waited for.
fn collect(child: &Child, reader: &mut PipeReader, until: Moment) -> Result<Vec<u8>, Stop> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(Stop::Late)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| Stop::Late)?;
    let (mut output, mut block, mut is_open) = (Vec::new(), [0; 4096], true);
    loop {
        let left = until.since(clock::now());
        let wait = Timespec::try_from(left).map_err(|_| Stop::Late)?;
        if left.is_zero() {
            return Err(Stop::Late);
        }
        let mut fds = vec![PollFd::new(&pidfd, PollFlags::IN)];
        if is_open {
            fds.push(PollFd::from_borrowed_fd(reader.as_fd(), PollFlags::IN));
        }
        match poll(&mut fds, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Err(Stop::Late),
        }
        let has_ended = !fds[0].revents().is_empty();
        let has_output = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        drop(fds);
        if has_output {
            let length = reader.read(&mut block).unwrap_or(0);
            is_open = length > 0;
            output.extend_from_slice(&block[..length]);
            if output.len() > OUTPUT_BYTES_MAX {
                return Err(Stop::TooLong);
            }
        } else if has_ended {
            return Ok(output);
        }
    }
}
