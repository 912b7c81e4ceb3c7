//! Starts the bot: the one place where a bot's process comes into being.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::limits::{self, InForce};
use crate::clock;
use crate::run::SELF;
use crate::run::identity::Identity;
use crate::run::orders::{Orders, Report};
use crate::run::record::{RECORD_VERSION, RunRecord, write_run};

/// What a bot may create is readable by others unless it says otherwise, as from a shell.
const BOT_UMASK: u32 = 0o022;

/// Starts the bot with these ends of its pipes. The child records itself in `run.json` before it
/// becomes the bot, so there is no moment in which a bot runs and no record names it.
pub(super) fn spawn(orders: &Orders, in_force: &InForce, out: OwnedFd, err: OwnedFd) -> Result<u32, Report> {
    if let Err(source) = std::fs::read_dir(&orders.cwd) {
        return Err(Report::CommandFailed {
            why: format!("cannot enter cwd {}: {}", orders.cwd.display(), words(&source)),
        });
    }
    let Some((program, arguments)) = orders.argv.split_first() else {
        return Err(Report::CommandFailed {
            why: "the command is empty".to_owned(),
        });
    };
    let null = File::open("/dev/null").map_err(|source| passing(program, &source))?;
    let mut command = Command::new(program);
    if program == SELF {
        command.arg0("multibot");
    }
    command
        .args(arguments)
        .env_clear()
        .envs(orders.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&orders.cwd)
        .stdin(Stdio::from(null))
        .stdout(Stdio::from(out))
        .stderr(Stdio::from(err));
    before_exec(&mut command, orders, in_force)?;
    match command.spawn() {
        Ok(child) => Ok(child.id()),
        Err(source) if is_lasting(&source) => Err(Report::CommandFailed {
            why: format!("cannot run {program}: {}", words(&source)),
        }),
        Err(source) => Err(passing(program, &source)),
    }
}

/// Has the child lead its own process group, forget the shim's signal settings, take its limits upon itself and
/// record itself.
#[expect(
    unsafe_code,
    reason = "pre_exec runs between fork and exec, for which there is no safe wrapper"
)]
fn before_exec(command: &mut Command, orders: &Orders, in_force: &InForce) -> Result<(), Report> {
    let Some(shim) = Identity::me() else {
        return Err(Report::SpawnFailed {
            why: "cannot read /proc/self/stat".to_owned(),
        });
    };
    let run_dir = orders.run_dir.clone();
    let kernel = orders.kernel.clone();
    let mut in_force = in_force.clone();
    let mut record = RunRecord {
        v: RECORD_VERSION,
        run_id: orders.run_id.clone(),
        bot: orders.bot.clone(),
        process: shim.clone(),
        shim,
        started_at: 0,
        recipe: orders.recipe.clone(),
        leaf: None,
        kernel: Vec::new(),
    };
    let in_child = move || -> io::Result<()> {
        rustix::process::setpgid(None, None)?;
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(BOT_UMASK));
        default_signals();
        limits::enter(&kernel, &mut in_force);
        record.leaf = in_force.leaf.take();
        record.kernel = std::mem::take(&mut in_force.said);
        record_myself(&run_dir, &mut record)
    };
    // SAFETY: the shim has one thread, so after the fork no lock can be held by a thread that is
    // gone; allocating and writing a file are as safe in this child as in the parent.
    unsafe {
        command.pre_exec(in_child);
    }
    Ok(())
}

/// Ignored signals outlive an exec; a bot starts with none ignored, whoever started the supervisor.
#[expect(unsafe_code, reason = "neither std nor rustix can set a disposition to its default")]
fn default_signals() {
    for number in 1..=31 {
        // SAFETY: SIG_DFL installs no handler; SIGKILL and SIGSTOP are refused harmlessly.
        unsafe {
            libc::signal(number, libc::SIG_DFL);
        }
    }
}

/// Only this process knows who it is, and when it begins.
fn record_myself(run_dir: &Path, record: &mut RunRecord) -> io::Result<()> {
    record.process = Identity::me().ok_or_else(|| io::Error::other("cannot read /proc/self/stat"))?;
    record.started_at = clock::stamp().unix_ms();
    // Only a number crosses from the child to the shim.
    write_run(run_dir, record).map_err(|error| io::Error::from_raw_os_error(error.errno().unwrap_or(libc::EIO)))
}

/// Whether trying again cannot help before somebody mends the command.
fn is_lasting(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ENOENT
                | libc::EACCES
                | libc::ENOEXEC
                | libc::ENOTDIR
                | libc::ELOOP
                | libc::EISDIR
                | libc::EINVAL
                | libc::EPERM
                | libc::ENAMETOOLONG
                | libc::E2BIG
        )
    )
}

fn passing(program: &str, source: &io::Error) -> Report {
    Report::SpawnFailed {
        why: format!("cannot start {program}: {}", words(source)),
    }
}

/// An operating error without its number, which says nothing more to people.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
