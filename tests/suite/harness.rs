//! A home of its own for each test, the real binary run in it, and bots that misbehave.
//!
//! Nothing here depends on how fast the host is: a test waits until something is so, and fails with what
//! it waited for. The one sleep is in [`comes_within`], which polls. A home that is dropped ends all that it started, by
//! pid, and fails a test that would have left a process behind.

mod command;
mod process;

pub(crate) use command::{Outcome, Running};
pub(crate) use process::{Process, cpu_ticks, is_alive, kill, proc_text, stat};

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use process::{holds_open, recorded};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything takes on a busy host; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// What has been told to end, or killed, may need a moment on a busy host.
const LEAVE_TIME: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Settings under which nothing waits longer than a test needs.
pub(crate) const FAST: &str = "\
start_delay: 0s
sampling: {period: off}
platform: {probe_period: off}
defaults:
  ready: {min_uptime: 0s}
  restart: {delay: 50ms, factor: 1.5}
  stop: {grace: 5s}
  telegram: {api_root: 'http://127.0.0.1:1'}
";

/// A bot that is well: it says so and sleeps until it is told to end.
pub(crate) const SLEEPER: &str = "echo awake; exec sleep 100000";

/// Polls until `condition` is so.
pub(crate) fn wait_until(what: &str, home: &Home, condition: impl FnMut() -> bool) {
    let came = comes_within(PATIENCE, condition);
    assert!(
        came,
        "waited {PATIENCE:?} until {what}\n{}",
        home.tail_of_supervisor_log()
    );
}

fn comes_within(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !condition() {
        if begun.elapsed() > patience {
            return false;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    true
}

/// One temporary home directory. Commands see a clean environment, in which it is named by `--home`.
pub(crate) struct Home {
    base: TempDir,
}

impl Home {
    /// A home with fast settings and no bots.
    pub(crate) fn new() -> Home {
        Home::with_settings(FAST)
    }

    /// A home with these lines in multibot.yaml.
    pub(crate) fn with_settings(settings: &str) -> Home {
        let home = Home::missing();
        fs::create_dir(home.dir()).unwrap();
        home.write("home/multibot.yaml", settings);
        home
    }

    /// A home that does not exist yet.
    pub(crate) fn missing() -> Home {
        let base = tempfile::Builder::new().prefix("multibot-test-").tempdir().unwrap();
        Home { base }
    }

    /// The folder around the home, free for the test.
    pub(crate) fn base(&self) -> &Path {
        self.base.path()
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.base().join("home")
    }

    pub(crate) fn path(&self, below_home: &str) -> PathBuf {
        self.dir().join(below_home)
    }

    /// Writes a file below the folder around the home.
    pub(crate) fn write(&self, below_base: &str, text: &str) -> PathBuf {
        let path = self.base().join(below_base);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn read(&self, below_home: &str) -> String {
        fs::read(self.path(below_home)).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into())
    }

    pub(crate) fn log_of(&self, bot: &str) -> String {
        self.read(&format!("logs/{bot}.log"))
    }

    /// The binary in a clean environment, without `--home`.
    pub(crate) fn bare_command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_multibot"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.base())
            .current_dir(self.base())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bare_command();
        command.arg("--home").arg(self.dir()).args(args);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Outcome {
        Outcome::of(args, self.command(args).output().unwrap())
    }

    /// Runs a command that must succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> Outcome {
        self.run(args).code(0)
    }

    pub(crate) fn run_with_stdin(&self, args: &[&str], input: &str) -> Outcome {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let written = child.stdin.take().unwrap().write_all(input.as_bytes());
        // A command may have seen enough before the end.
        let is_cut = written
            .as_ref()
            .is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
        assert!(written.is_ok() || is_cut);
        Outcome::of(args, child.wait_with_output().unwrap())
    }

    /// A command that goes on beside the test.
    pub(crate) fn spawn(&self, args: &[&str]) -> Running {
        Running::of(&mut self.command(args), self.base())
    }

    /// Creates a bot that runs this text as a script of /bin/sh.
    pub(crate) fn create(&self, bot: &str, script: &str) -> Outcome {
        self.create_with(bot, &[], script)
    }

    pub(crate) fn create_with(&self, bot: &str, flags: &[&str], script: &str) -> Outcome {
        let script = self.script(bot, script);
        let tail = ["--", "/bin/sh", script.to_str().unwrap()];
        self.ok(&[&["bot", "create", bot], flags, &tail].concat())
    }

    /// Writes a script. It is read by /bin/sh and never executed itself: a file that another thread's
    /// fork still holds open for writing cannot be executed.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        self.write(&format!("scripts/{name}.sh"), &format!("{text}\n"))
    }

    pub(crate) fn set(&self, bot: &str, settings: &[&str]) -> Outcome {
        self.ok(&[&["bot", "set", bot], settings].concat())
    }

    /// Everything that `status --json` tells.
    pub(crate) fn status(&self) -> Value {
        let outcome = self.run(&["status", "--json"]);
        serde_json::from_str(&outcome.out).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
    }

    /// One bot's part of the status.
    pub(crate) fn bot(&self, bot: &str) -> Value {
        let status = self.status();
        let bots = status["bots"].as_array().unwrap();
        let found = bots.iter().find(|it| it["id"] == bot);
        found.unwrap_or_else(|| panic!("no bot {bot} in {status}")).clone()
    }

    pub(crate) fn state(&self, bot: &str) -> String {
        self.bot(bot)["state"].as_str().unwrap().to_owned()
    }

    pub(crate) fn reason(&self, bot: &str) -> String {
        self.bot(bot)["reason"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn pid(&self, bot: &str) -> u32 {
        let status = self.bot(bot);
        let pid = status["pid"].as_u64().unwrap_or_else(|| panic!("no pid: {status}"));
        u32::try_from(pid).unwrap()
    }

    pub(crate) fn wait_state(&self, bot: &str, state: &str) {
        let mut last = Value::Null;
        let came = comes_within(PATIENCE, || {
            last = self.bot(bot);
            last["state"] == state
        });
        assert!(
            came,
            "{bot} is not {state} but {last}\n{}",
            self.tail_of_supervisor_log()
        );
    }

    /// Waits until a bot's log holds this text.
    pub(crate) fn wait_log(&self, bot: &str, text: &str) {
        wait_until(&format!("the log of {bot} holds {text:?}"), self, || {
            self.log_of(bot).contains(text)
        });
    }

    /// The history of one bot, oldest first.
    pub(crate) fn events(&self, bot: &str) -> Vec<Value> {
        self.ok(&["events", bot, "--json", "-n", "1000"]).records()
    }

    /// How often an event of this name is in the history.
    pub(crate) fn count_events(&self, bot: &str, name: &str) -> usize {
        self.events(bot).iter().filter(|event| event["name"] == name).count()
    }

    pub(crate) fn wait_event(&self, bot: &str, name: &str) -> Value {
        let mut found = None;
        wait_until(&format!("{bot} has the event {name}"), self, || {
            found = self.events(bot).into_iter().find(|event| event["name"] == name);
            found.is_some()
        });
        found.unwrap()
    }

    /// The same for a home whose supervisor may not be there yet.
    pub(crate) fn wait_state_when_up(&self, bot: &str, state: &str) {
        wait_until("a supervisor runs", self, || {
            self.status()["supervisor"]["pid"].is_u64()
        });
        self.wait_state(bot, state);
    }

    /// How often this stands in the audit.
    pub(crate) fn audit_actions(&self, action: &str) -> usize {
        let entries = self.ok(&["audit", "--json", "-n", "1000"]).records();
        entries.iter().filter(|entry| entry["action"] == action).count()
    }

    pub(crate) fn supervisor_pid(&self) -> u32 {
        let status = self.status();
        let pid = status["supervisor"]["pid"].as_u64();
        u32::try_from(pid.unwrap_or_else(|| panic!("no supervisor: {status}"))).unwrap()
    }

    /// What `run/<bot>/run.json` holds.
    pub(crate) fn run_record(&self, bot: &str) -> Value {
        serde_json::from_str(&self.read(&format!("run/{bot}/run.json"))).unwrap_or_default()
    }

    pub(crate) fn shim_pid(&self, bot: &str) -> u32 {
        u32::try_from(self.run_record(bot)["shim"]["pid"].as_u64().unwrap()).unwrap()
    }

    /// Kills the supervisor as a crash would, and waits until it is gone.
    pub(crate) fn kill_supervisor(&self) -> u32 {
        let pid = self.supervisor_pid();
        kill(pid, Signal::KILL);
        wait_until("the killed supervisor is gone", self, || !is_alive(pid));
        pid
    }

    pub(crate) fn tail_of_supervisor_log(&self) -> String {
        let log = self.log_of("supervisor");
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(40)..];
        format!("the end of supervisor.log:\n{}", tail.join("\n"))
    }

    /// Every process that belongs to this home: by its environment, its arguments, or a file that it
    /// holds open, as a shim does with its lock. This process is not meant.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let name = self.base().to_str().unwrap().to_owned();
        let me = std::process::id();
        let all = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| *pid != me && is_alive(*pid))
            .map(|pid| Process {
                pid,
                cmdline: proc_text(pid, "cmdline"),
                environ: proc_text(pid, "environ"),
            })
            .filter(|it| it.cmdline.contains(&name) || it.environ.contains(&name) || holds_open(it.pid, &name))
            .collect()
    }

    /// Fails if anything of this home runs.
    pub(crate) fn assert_nothing_left(&self) {
        // A command that has just been waited for, or a thread's fork, may still be on its way out.
        comes_within(LEAVE_TIME, || self.processes().is_empty());
        let left: Vec<String> = self.processes().iter().map(Process::name).collect();
        assert!(
            left.is_empty(),
            "left behind: {left:?}\n{}",
            self.tail_of_supervisor_log()
        );
    }

    /// Ends everything by force: first the supervisor, which would start bots anew, then the shims, which
    /// end their bots, then whatever is still there.
    fn clear(&self) {
        if let Some(pid) = recorded(&self.path("run/supervisor.lock"), &[]) {
            kill(pid, Signal::KILL);
        }
        let runs = fs::read_dir(self.path("run")).into_iter().flatten().flatten();
        let records: Vec<PathBuf> = runs.map(|run| run.path().join("run.json")).collect();
        for shim in records.iter().filter_map(|path| recorded(path, &["shim"])) {
            kill(shim, Signal::QUIT);
        }
        comes_within(LEAVE_TIME, || self.processes().is_empty());
        for process in self.processes() {
            kill(process.pid, Signal::KILL);
        }
    }
}

/// A test that went well has to end well: everything stops when told to, and nothing is left.
impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return self.clear();
        }
        let outcome = if self.path("multibot.db").exists() {
            self.run(&["stop", "--force"]).status
        } else {
            Some(0)
        };
        comes_within(LEAVE_TIME, || self.processes().is_empty());
        let left: Vec<String> = self.processes().iter().map(Process::name).collect();
        self.clear();
        assert!(
            left.is_empty() && outcome == Some(0),
            "stop ended with {outcome:?}; left behind: {left:?}"
        );
    }
}

/// How many runs of a bot have a living process.
pub(crate) fn copies(home: &Home, bot: &str) -> usize {
    let mark = format!("BOT_ID={bot} ");
    let all = home.processes();
    let of_bot = all.iter().filter(|it| it.environ.contains(&mark));
    let runs: BTreeSet<&str> = of_bot
        .filter_map(|it| it.environ.split(' ').find(|word| word.starts_with("MULTIBOT_RUN_ID=")))
        .collect();
    runs.len()
}

/// The permission bits of a path.
pub(crate) fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// All files and folders below a folder.
pub(crate) fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}
