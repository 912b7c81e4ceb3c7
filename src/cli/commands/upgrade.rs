//! `multibot upgrade`

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::stop::signal;
use crate::cli::args::Upgrade;
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::clock;
use crate::model::bot::BotId;
use crate::output::{self, Progress};
use crate::run::handover::{CHECK_VERB, CheckReport, Handover, RESUME_VERB};
use crate::run::identity::Identity;
use crate::run::inheritance::keep_open_files_from_children;
use crate::run::record::RunRecord;
use crate::supervisor::snapshot::{Snapshot, Stage};

const LOOK_EVERY: Duration = Duration::from_millis(15);
/// A program needs milliseconds to look at a home.
const CHECK_TIME_MAX: Duration = Duration::from_secs(20);
/// The supervisor answers its last commands and waits for starts that it has ordered.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(25);
/// How much longer than the next program's own guard this command waits before it steps in.
const GUARD_MARGIN: Duration = Duration::from_secs(5);

/// Has the supervisor become another program, and says what became of the bots. This command is the guard
/// behind the guard: where the next program dies or hangs before it can come back by itself, the previous
/// one is started anew from here.
pub(in crate::cli) fn run(client: &Client, upgrade: &Upgrade) -> Result<Exit, Failure> {
    let supervisor = client.need_supervisor()?;
    let program = program_of(upgrade)?;
    let report = check(client, &program)?;
    let before = client
        .snapshot_of(&supervisor)
        .filter(|it| it.supervisor.stage == Stage::Running)
        .ok_or_else(|| Failure::Refused("the supervisor is not ready, or is stopping: try again".to_owned()))?;
    let previous = File::open(format!("/proc/{}/exe", supervisor.pid))
        .map_err(Failure::io("cannot open the program of the supervisor"))?;
    let runs = living(client);
    let (from, to) = (before.supervisor.version.clone(), report.version.clone());
    let entry = format!("{from} to {to}, {}", program.display());
    // Only one of the two may know the schema as it is now: the one that asks, or the one that is to come.
    let audited = audit(client, &entry);
    if report.breaks {
        let (found, newest) = (&report.found, &report.newest);
        output::note(&format!(
            "the database goes from schema {found} to {newest}, which {from} cannot read; a copy is made first"
        ));
    }
    let patience_ms = u64::try_from(upgrade.timeout.as_millis()).unwrap_or(u64::MAX);
    client.call(
        &supervisor,
        "upgrade",
        json!({"program": program, "patience_ms": patience_ms}),
    )?;
    let after = match wait(client, &supervisor, &before, upgrade.timeout) {
        Some(after) => after,
        None => step_in(client, &supervisor, &previous, &before)?,
    };
    if let Err(failure) = audited.or_else(|_| audit(client, &entry)) {
        output::note(&format!("this upgrade is not in the audit: {failure}"));
    }
    let is_whole = tell(&runs);
    let pid = after.supervisor.identity.pid;
    if let Some(why) = after.supervisor.came_back {
        let version = after.supervisor.version;
        return Err(Failure::Refused(format!(
            "{} did not take over: {why}; version {version} runs on (pid {pid})",
            program.display()
        )));
    }
    output::note(&format!(
        "upgraded: supervisor (pid {pid}) from {from} to {}",
        after.supervisor.version
    ));
    Ok(if is_whole { Exit::Done } else { Exit::Failed })
}

fn program_of(upgrade: &Upgrade) -> Result<PathBuf, Failure> {
    let path = match &upgrade.binary {
        Some(path) => path.clone(),
        None => {
            std::env::current_exe().map_err(Failure::io("cannot tell which program this is; name it by --binary"))?
        }
    };
    std::fs::canonicalize(&path).map_err(Failure::io(format!("cannot find {}", path.display())))
}

/// Has the program say whether it can take the home over.
fn check(client: &Client, program: &Path) -> Result<CheckReport, Failure> {
    let refuse = |why: String| {
        Failure::Refused(format!(
            "{} cannot take over: {why}; nothing was changed",
            program.display()
        ))
    };
    let mut child = Command::new(program)
        .arg(CHECK_VERB)
        .arg(client.home.dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|source| refuse(source.to_string()))?;
    let begun = clock::now();
    // What it says fits into the pipe, so it need not be read before the end.
    while child
        .try_wait()
        .map_err(Failure::io("cannot wait for the check"))?
        .is_none()
    {
        if clock::now().since(begun) >= CHECK_TIME_MAX {
            let _ = child.kill();
            let _ = child.wait();
            return Err(refuse("its check of the home does not end".to_owned()));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let said = said_by(&mut child);
    let report: CheckReport =
        serde_json::from_str(&said).map_err(|_| refuse("it is not a multibot that knows how to".to_owned()))?;
    match report.fault {
        Some(fault) => Err(refuse(fault)),
        None => Ok(report),
    }
}

fn said_by(child: &mut Child) -> String {
    let mut text = String::new();
    if let Some(out) = &mut child.stdout {
        // What is no text is no report either.
        let _ = out.take(64 * 1024).read_to_string(&mut text);
    }
    text
}

/// The snapshot of the program that has the home under its care; None when none came in time, or the
/// process has died.
fn wait(client: &Client, supervisor: &Identity, before: &Snapshot, patience: Duration) -> Option<Snapshot> {
    let progress = Progress::start("upgrading", 1);
    let begun = clock::now();
    let mut left_at = None;
    loop {
        let snapshot = client.snapshot_of(supervisor);
        let stage = snapshot.as_ref().map(|it| it.supervisor.stage);
        let is_next =
            |it: &Snapshot| it.supervisor.image > before.supervisor.image && it.supervisor.stage == Stage::Running;
        if let Some(snapshot) = snapshot.filter(is_next) {
            progress.finish();
            return Some(snapshot);
        }
        let now = clock::now();
        if stage != Some(Stage::Leaving) && stage != Some(Stage::Running) {
            left_at.get_or_insert(now);
        }
        let is_late = match left_at {
            Some(at) => now.since(at) >= patience + GUARD_MARGIN,
            None => now.since(begun) >= LEAVE_TIME_MAX + patience,
        };
        if is_late || !supervisor.is_alive() {
            return None;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Starts the previous program anew: the process of the supervisor has died, or does nothing.
fn step_in(client: &Client, supervisor: &Identity, previous: &File, before: &Snapshot) -> Result<Snapshot, Failure> {
    let why = if supervisor.is_alive() {
        signal(supervisor, Signal::KILL);
        "it did nothing and was killed"
    } else {
        "it ended at once"
    };
    let handover = Handover {
        image: before.supervisor.image + 2,
        came_back: Some(why.to_owned()),
        ..Handover::default()
    };
    let words = serde_json::to_string(&handover).unwrap_or_default();
    keep_open_files_from_children();
    Command::new(format!("/proc/self/fd/{}", previous.as_raw_fd()))
        .arg(RESUME_VERB)
        .arg(client.home.dir())
        .arg(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Failure::io(
            "the next program died, and the previous one cannot be started; run multibot start",
        ))?;
    let begun = clock::now();
    while clock::now().since(begun) < LEAVE_TIME_MAX {
        let snapshot = client.supervisor().and_then(|it| client.snapshot_of(&it));
        if let Some(snapshot) = snapshot.filter(|it| it.supervisor.stage == Stage::Running) {
            // A service manager may have been faster than this command.
            let came_back = snapshot.supervisor.came_back.clone().or(Some(why.to_owned()));
            let supervisor = crate::supervisor::snapshot::Supervisor {
                came_back,
                ..snapshot.supervisor
            };
            return Ok(Snapshot { supervisor, ..snapshot });
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Err(Failure::Refused(format!(
        "the next program failed ({why}) and the previous one does not come up: look at logs/supervisor.log, then multibot start"
    )))
}

fn audit(client: &Client, entry: &str) -> Result<(), Failure> {
    client.audit(&client.store()?, "upgrade", None, entry)
}

/// The runs that live now. The store is not asked: its schema may be older than this program's.
fn living(client: &Client) -> Vec<RunRecord> {
    let dirs = std::fs::read_dir(client.home.dir().join("run"))
        .into_iter()
        .flatten()
        .flatten();
    let bots = dirs.filter_map(|dir| dir.file_name().to_str()?.parse::<BotId>().ok());
    let runs = bots.filter_map(|bot| client.last_run(&bot));
    runs.filter(|run| run.process.is_alive()).collect()
}

/// Says how many bots are the very processes that they were (pid, start and keeper), and names the others.
fn tell(runs: &[RunRecord]) -> bool {
    let is_same = |run: &&RunRecord| run.process.is_alive() && run.shim.is_alive();
    let (kept, lost): (Vec<&RunRecord>, Vec<&RunRecord>) = runs.iter().partition(is_same);
    for run in &lost {
        output::note(&format!("{} ended meanwhile (pid {})", run.bot, run.process.pid));
    }
    match kept.len() {
        0 => {}
        1 => output::note("1 bot is the same process as before"),
        count => output::note(&format!("{count} bots are the same processes as before")),
    }
    lost.is_empty()
}
