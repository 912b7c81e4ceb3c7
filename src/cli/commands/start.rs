//! `multibot start`

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use super::resume;
use crate::cli::args::Start;
use crate::cli::client::{Client, is_well};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::view::view_of;
use crate::clock;
use crate::daemon::{self, Hangup, Options, Outcome};
use crate::home::Home;
use crate::model::limits::{DISK_FREE_BYTES_MIN, LOCK_RETRY_TIME};
use crate::model::units::{Moment, show_size};
use crate::output;
use crate::run::identity::Identity;
use crate::run::inheritance::{FOREIGN_VARIABLES, keep_open_files_from_children};
use crate::spool;
use crate::supervisor::process::Observer;
use crate::supervisor::snapshot::{BotStatus, Stage};

/// The hidden verb of the process that becomes the background supervisor; the home's path follows.
pub const SUPERVISE_VERB: &str = "__supervise";

/// A status line is printed when it has changed, but not more often than this.
const STATUS_EVERY: Duration = Duration::from_secs(30);
/// What a supervisor needs to open its home at the most, beside the time it waits for the lock.
const OPEN_TIME_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(10);

pub(in crate::cli) fn run(client: &Client, start: &Start, verbose: u8) -> Result<Exit, Failure> {
    if start.foreground {
        return foreground(client, verbose);
    }
    let begun = clock::now();
    let (supervisor, how, bots) = loop {
        let (supervisor, how) = match lasting(client, start.timeout)? {
            // One that has just been killed is there for a moment more: only an answer is a sign of life.
            Some(supervisor) => match client.call(&supervisor, "ping", Value::Null) {
                Ok(_) => (supervisor, "already runs"),
                // It is just opening its home; what is waited for below tells whether it comes to that.
                Err(Failure::Spool(spool::Error::NoMailbox { .. })) => (supervisor, "already runs"),
                Err(Failure::NoSupervisor { .. }) if clock::now().since(begun) < start.timeout => continue,
                Err(failure) => return Err(failure),
            },
            None => (launch(client, start.timeout)?, "started"),
        };
        let concerns = |bot: &BotStatus| bot.wanted == "up" && bot.enabled;
        match client.settle(&supervisor, "starting", concerns, Some(start.timeout)) {
            Ok(bots) if !is_leaving(client, &supervisor) => break (supervisor, how, bots),
            // Somebody has stopped it meanwhile: the start that came last counts.
            Ok(_) | Err(Failure::NoSupervisor { .. }) if clock::now().since(begun) < start.timeout => {}
            Ok(bots) => break (supervisor, how, bots),
            Err(failure) => return Err(failure),
        }
    };
    let well = bots.iter().filter(|bot| is_well(bot)).count();
    output::note(&format!(
        "supervisor {how} (pid {}), {well} of {} wanted bots running",
        supervisor.pid,
        bots.len()
    ));
    tell_unwell(&bots);
    Ok(if well == bots.len() { Exit::Done } else { Exit::Failed })
}

/// The supervisor that runs and goes on. One that is just stopping is waited for: it is no answer to
/// somebody who wants the bots up.
fn lasting(client: &Client, timeout: Duration) -> Result<Option<Identity>, Failure> {
    let begun = clock::now();
    while let Some(supervisor) = client.supervisor() {
        if !is_leaving(client, &supervisor) {
            return Ok(Some(supervisor));
        }
        if clock::now().since(begun) >= timeout {
            let what = format!("the supervisor (pid {}) is still stopping", supervisor.pid);
            return Err(Failure::TimedOut { what, after: timeout });
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(None)
}

/// Whether a supervisor has ended or is about to.
fn is_leaving(client: &Client, supervisor: &Identity) -> bool {
    let stage = client.snapshot_of(supervisor).map(|snapshot| snapshot.supervisor.stage);
    let is_ending = |stage| match stage {
        Stage::Stopping | Stage::Stopped | Stage::Leaving | Stage::Left => true,
        Stage::Adopting | Stage::Running => false,
    };
    !supervisor.is_alive() || stage.is_some_and(is_ending)
}

/// One line for each bot that is not as it is wanted.
pub(in crate::cli) fn tell_unwell(bots: &[BotStatus]) {
    for bot in bots.iter().filter(|bot| !is_well(bot)) {
        let reason = bot
            .reason
            .as_deref()
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        output::note(&format!("{} is {}{reason}", bot.id, bot.state));
    }
}

/// Runs the supervisor in this very process.
fn foreground(client: &Client, verbose: u8) -> Result<Exit, Failure> {
    let home = client.home.clone();
    let observer = status_observer(home, output::note);
    let options = Options {
        verbose,
        hangup: Hangup::Reload,
        listener: Some(listener()),
        observer: Some(observer),
        succession: None,
        in_terminal: false,
    };
    Ok(resume::end(
        &client.home,
        daemon::run(&client.home, options)?,
        true,
        verbose,
    ))
}

/// Shows the supervisor's log on the terminal, or to the service manager.
pub(super) fn listener() -> crate::trace::Listener {
    Box::new(|line: &str| output::note(line))
}

/// How a foreground supervisor's end is told.
pub(in crate::cli) fn ended(outcome: Outcome) -> Result<Exit, Failure> {
    match outcome {
        // Where another program could take over, it has by now.
        Outcome::Stopped | Outcome::Left | Outcome::Upgrade { .. } => Ok(Exit::Done),
        Outcome::AlreadyRunning { pid } => {
            let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            Err(Failure::Refused(format!(
                "a supervisor already runs for this home{pid}; stop it with: multibot stop"
            )))
        }
    }
}

/// Tells the status line whenever it has changed, at most every 30 s.
pub(in crate::cli) fn status_observer(home: Home, tell: impl Fn(&str) + 'static) -> Observer {
    let told: Mutex<(String, Option<Moment>)> = Mutex::default();
    Box::new(move |snapshot| {
        if snapshot.supervisor.stage == Stage::Adopting {
            return;
        }
        let client = Client { home: home.clone() };
        let view = view_of(&client, snapshot, clock::stamp());
        let line = view.status_line();
        let Ok(mut told) = told.lock() else { return };
        let now = clock::now();
        let is_due = match told.1 {
            // The first line waits until the start is over: before, it would be out of date at once.
            None => view.summary.starting == 0,
            Some(at) => now.since(at) >= STATUS_EVERY,
        };
        let is_last = matches!(snapshot.supervisor.stage, Stage::Stopped | Stage::Left);
        if (is_due || is_last) && told.0 != line {
            tell(&line);
            *told = (line, Some(now));
        }
    })
}

/// Starts a supervisor in the background and waits until it, or the one that was faster, is there.
fn launch(client: &Client, timeout: Duration) -> Result<Identity, Failure> {
    client.settings()?;
    client.home.create()?;
    keep_open_files_from_children();
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("multibot")
        .arg(SUPERVISE_VERB)
        .arg(client.home.dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    // What a bot or a service manager was told is not for the supervisor or its bots.
    for name in FOREIGN_VARIABLES {
        command.env_remove(name);
    }
    let mut child = command.spawn().map_err(Failure::io("cannot start the supervisor"))?;
    let begun = clock::now();
    loop {
        let supervisor = client.supervisor();
        let is_open = |it: &Identity| {
            client
                .snapshot_of(it)
                .is_some_and(|snapshot| snapshot.supervisor.stage != Stage::Adopting)
        };
        if let Some(supervisor) = supervisor.filter(is_open) {
            if supervisor.pid != child.id() {
                // Ours still waits for the lock: it must not come up when the one that won is stopped.
                let _ = child.kill();
                let _ = child.wait();
            }
            return Ok(supervisor);
        }
        let status = child
            .try_wait()
            .map_err(Failure::io("cannot wait for the supervisor"))?;
        let waited = clock::now().since(begun);
        let has_time = waited < timeout.min(LOCK_RETRY_TIME + OPEN_TIME_MAX);
        match status {
            // It was the supervisor, and somebody has stopped it already.
            Some(status)
                if status.success()
                    && let Some(ended) = published_by(client, child.id()) =>
            {
                return Ok(ended);
            }
            // It left the home to another one, which may need a moment more.
            Some(status) if status.success() && has_time => {}
            Some(_) => return Err(Failure::Refused(last_words(&mut child))),
            None if has_time => {}
            None => return Err(not_ready(client, waited)),
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A supervisor that says nothing can most often not write.
fn not_ready(client: &Client, waited: Duration) -> Failure {
    let home = client.home.dir();
    let disk = match fs2::available_space(home) {
        Ok(free) if free < DISK_FREE_BYTES_MIN => {
            format!(
                "the disk of {} is full ({} free): make room there",
                home.display(),
                show_size(free)
            )
        }
        Ok(_) | Err(_) => "look at logs/supervisor.log".to_owned(),
    };
    Failure::TimedOut {
        what: format!("the supervisor is not ready; {disk}"),
        after: waited,
    }
}

/// The supervisor of this pid, if it came so far as to publish anything.
fn published_by(client: &Client, pid: u32) -> Option<Identity> {
    let published = client.snapshot().map(|snapshot| snapshot.supervisor.identity);
    published.filter(|identity| identity.pid == pid && identity.is_of_this_boot())
}

/// What a supervisor that could not start has said.
fn last_words(child: &mut Child) -> String {
    let mut text = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        // What can be read is told; a supervisor that said nothing is named below.
        let _ = stderr.read_to_string(&mut text);
    }
    let words: Vec<&str> = text
        .lines()
        .map(|line| line.strip_prefix("multibot: ").unwrap_or(line))
        .collect();
    if words.is_empty() {
        "the supervisor ended at once: look at logs/supervisor.log".to_owned()
    } else {
        words.join("\n")
    }
}

/// The body of the background process: leaves the terminal's session, then supervises. Until it is
/// ready its faults go to the stderr that its starter reads.
pub(in crate::cli) fn supervise(home: &Home) -> Exit {
    let _ = rustix::process::setsid();
    let observer: Observer = Box::new(|snapshot| {
        if snapshot.supervisor.stage == Stage::Running {
            silence();
        }
    });
    let options = Options {
        verbose: 0,
        hangup: Hangup::Reload,
        listener: None,
        observer: Some(observer),
        succession: None,
        in_terminal: false,
    };
    match daemon::run(home, options) {
        Ok(outcome) => resume::end(home, outcome, false, 0),
        Err(error) => {
            tracing::error!("{error}");
            crate::cli::ended(&error.into())
        }
    }
}

/// Lets go of the starter's pipe: it may be read until its end.
fn silence() {
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stderr(null.as_fd());
    }
}
