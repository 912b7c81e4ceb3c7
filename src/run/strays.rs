//! Finds processes by what no record can lose: the lock that a shim holds, and the marks that its bot
//! and all that it started carry in their environment. The last resort of a supervisor that starts, for
//! it looks at every process of the host.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::identity::{Identity, Stat};
use super::process_tree::{all_pids, descendants};
use super::record::{RECORD_VERSION, RunRecord};
use super::remains::{QUESTION_MARK, RUN_MARK};
use super::{RUNNER_VERB, SHIM_VERB};

/// A process that bears the marks of a bot of one home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    pub pid: u32,
    pub bot: String,
    pub run_id: String,
    /// The question of a probe that it was started for; None: it belongs to the bot itself.
    pub question: Option<String>,
}

/// Everybody who was started by, or descends from, a bot of this home. A copied home has the same id,
/// so the place of its mailboxes must be the same as well: what is not proven ours is left alone.
///
/// Left out are this process, its ancestors, and multibot's own commands: a bot may well have called one.
pub fn of_home(home_id: &str, ipc: &Path) -> Vec<Marked> {
    let ancestors = with_ancestors(std::process::id());
    all_pids()
        .filter(|pid| !ancestors.contains(pid))
        .filter_map(|pid| marked(pid, home_id, ipc))
        .filter(|it| Stat::of(it.pid).is_some_and(|stat| !stat.is_zombie()) && !is_command(it.pid))
        .collect()
}

fn marked(pid: u32, home_id: &str, ipc: &Path) -> Option<Marked> {
    let environ = Environ::of(pid)?;
    let is_ours =
        environ.get("MULTIBOT_HOME_ID")? == home_id && Path::new(environ.get("MULTIBOT_INBOX")?).starts_with(ipc);
    is_ours.then_some(())?;
    Some(Marked {
        pid,
        bot: environ.get("BOT_ID")?.to_owned(),
        run_id: environ.get(RUN_MARK)?.to_owned(),
        question: environ.get(QUESTION_MARK).map(str::to_owned),
    })
}

/// Whom questions of probes have started, whatever the home: the question and the pid of each. Multibot's own
/// commands are left out.
pub fn of_questions() -> Vec<(String, u32)> {
    all_pids()
        .filter_map(|pid| Some((Environ::of(pid)?.get(QUESTION_MARK)?.to_owned(), pid)))
        .filter(|(_, pid)| Stat::of(*pid).is_some_and(|stat| !stat.is_zombie()) && !is_command(*pid))
        .collect()
}

/// The environment that a process was started with, as far as this user may read it.
#[derive(Default)]
pub(super) struct Environ(String);

impl Environ {
    pub(super) fn of(pid: u32) -> Option<Environ> {
        let bytes = fs::read(format!("/proc/{pid}/environ")).ok()?;
        Some(Environ(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Whether a variable has this value.
    pub(super) fn holds(&self, value: &str) -> bool {
        let mut entries = self.0.split('\0');
        entries.any(|entry| entry.split_once('=').is_some_and(|(_, it)| it == value))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut entries = self.0.split('\0');
        entries.find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }
}

pub(super) fn with_ancestors(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = Stat::of(pid).map(|stat| stat.parent);
    while let Some(parent) = next.filter(|parent| *parent != 0 && !found.contains(parent)) {
        found.push(parent);
        next = Stat::of(parent).map(|stat| stat.parent);
    }
    found
}

/// Whether this is multibot itself as somebody calls it, not a bot that is built in.
pub(super) fn is_command(pid: u32) -> bool {
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let is_multibot = program
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("multibot"));
    is_multibot && arguments(pid).get(1).is_none_or(|verb| verb != RUNNER_VERB)
}

pub(super) fn arguments(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = bytes.split(|byte| *byte == 0);
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// Makes out the run of a bot whose record cannot be read: the shim that has the bot's lock open, and
/// below it the bot. None where that cannot be proven.
pub fn trace(lock: &Path, bot: &str) -> Option<RunRecord> {
    let file = fs::metadata(lock).ok()?;
    let file = (file.dev(), file.ino());
    let shims = all_pids().filter(|pid| {
        let words = arguments(*pid);
        words.get(1).is_some_and(|verb| verb == SHIM_VERB) && words.get(2).is_some_and(|name| name == bot)
    });
    shims
        .filter(|pid| has_open(*pid, file))
        .find_map(|pid| record_of(pid, bot))
}

fn has_open(pid: u32, file: (u64, u64)) -> bool {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.filter_map(|fd| fs::metadata(fd.path()).ok())
        .any(|found| (found.dev(), found.ino()) == file)
}

fn record_of(shim: u32, bot: &str) -> Option<RunRecord> {
    let shim = Identity::of(shim)?;
    let leaders = descendants(shim.pid).into_iter().filter(|pid| {
        let stat = Stat::of(*pid);
        stat.is_some_and(|stat| stat.parent == shim.pid && stat.group == *pid)
    });
    let (process, run_id) = leaders.into_iter().find_map(|pid| {
        let environ = Environ::of(pid)?;
        let run_id = environ.get(RUN_MARK)?.to_owned();
        (environ.get("BOT_ID")? == bot).then_some(())?;
        Some((Identity::of(pid)?, run_id))
    })?;
    let started_at = started_at_ms(&process)?;
    shim.is_alive().then_some(RunRecord {
        v: RECORD_VERSION,
        run_id,
        bot: bot.to_owned(),
        shim,
        process,
        started_at,
        recipe: None,
        leaf: None,
        kernel: Vec::new(),
    })
}

/// The kernel tells times of `/proc/PID/stat` in hundredths of a second, whatever its own tick is.
const TICK_MS: u64 = 10;

fn started_at_ms(process: &Identity) -> Option<i64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let booted_s: u64 = stat
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    i64::try_from(booted_s * 1000 + process.start_ticks * TICK_MS).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn only_what_bears_all_marks_of_this_very_home_is_found() {
        let home_id = format!("test-{}", std::process::id());
        let ipc = Path::new("/nowhere/ipc");
        let start = |inbox: &str| {
            let mut command = Command::new("sleep");
            command.arg("100").stdin(Stdio::null());
            command.env("MULTIBOT_HOME_ID", &home_id).env("MULTIBOT_INBOX", inbox);
            command.env("BOT_ID", "shop").env(RUN_MARK, "01").spawn().unwrap()
        };
        let mut ours = start("/nowhere/ipc/shop/inbox");
        let mut copy = start("/elsewhere/ipc/shop/inbox");
        let found = of_home(&home_id, ipc);
        let others = of_home("another", ipc);
        for child in [&mut ours, &mut copy] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let expected = Marked {
            pid: ours.id(),
            bot: "shop".to_owned(),
            run_id: "01".to_owned(),
            question: None,
        };
        assert_eq!((found, others), (vec![expected], vec![]));
    }

    #[test]
    fn a_process_began_after_the_boot_and_before_now() {
        let me = Identity::me().unwrap();
        let began = started_at_ms(&me).unwrap();
        let modified = fs::metadata("/proc/self/stat").unwrap().mtime();
        assert!(began > 1_600_000_000_000 && began / 1000 <= modified + 1, "{began}");
    }
}
