//! Bare mailboxes and one bot between them: the test plays the supervisor.
//!
//! No supervisor runs here, so nothing moves unless the bot or the test moves it, and every state on the disk
//! can be looked at.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Home, Running, kill, wait_until};

/// Who plays the bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    Python,
    PythonAsync,
    NodeImport,
    NodeRequire,
    Shell,
    /// The bot that is built in.
    Runner,
}

/// A bot by this name, its mailboxes and what it has noted.
pub(crate) struct Stage {
    // Before the home, which is dropped when nothing runs in it any more.
    bot: Option<Running>,
    pub(crate) home: Home,
    speaker: Speaker,
    run: String,
    sigterm: bool,
}

/// Where the binary is found by its name, beside everything else.
fn path_with_multibot() -> OsString {
    let binary = Path::new(env!("CARGO_BIN_EXE_multibot"));
    let mut dirs = vec![binary.parent().unwrap().to_owned()];
    dirs.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    std::env::join_paths(dirs).unwrap()
}

impl Speaker {
    /// The interpreter, and the bot's file.
    fn words(self) -> [&'static str; 2] {
        match self {
            Speaker::Python => ["python3", "bot.py"],
            Speaker::PythonAsync => ["python3", "bot_async.py"],
            Speaker::NodeImport => ["node", "bot.mjs"],
            Speaker::NodeRequire => ["node", "bot.cjs"],
            Speaker::Shell => ["sh", "bot.sh"],
            Speaker::Runner => [env!("CARGO_BIN_EXE_multibot"), "bot.sh"],
        }
    }

    /// The program and arguments of the bot, whose files are put into this folder; None where the host lacks
    /// the interpreter, which is said.
    pub(crate) fn command(self, dir: &Path) -> Option<Vec<String>> {
        let [interpreter, file] = self.words();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let Some(program) = std::env::split_paths(&path)
            .map(|dir| dir.join(interpreter))
            .find(|program| program.is_file())
        else {
            println!("skipped: {self:?}: there is no {interpreter}");
            return None;
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        fs::create_dir_all(dir).unwrap();
        for (from, name) in [
            ("ipc/python", "multibot.py"),
            ("ipc/node", "multibot.cjs"),
            ("ipc/node", "multibot.mjs"),
            ("tests/suite/contract", "bot.cjs"),
            ("tests/suite/contract", file),
        ] {
            fs::copy(root.join(from).join(name), dir.join(name)).unwrap();
        }
        let program = program.display().to_string();
        if self == Speaker::Runner {
            return Some([&program, "__runner", "loopback"].map(str::to_owned).into());
        }
        Some(vec![program, dir.join(file).display().to_string()])
    }
}

impl Stage {
    /// Empty mailboxes; None where this bot cannot be played.
    pub(crate) fn open(speaker: Speaker) -> Option<Stage> {
        let home = Home::new();
        speaker.command(&home.base().join("bot"))?;
        for folder in [
            "inbox/tmp",
            "inbox/new",
            "inbox/cur",
            "inbox/later",
            "outbox/tmp",
            "outbox/new",
        ] {
            fs::create_dir_all(home.path("ipc/shop").join(folder)).unwrap();
        }
        Some(Stage {
            home,
            speaker,
            run: ulid::Ulid::generate().to_string(),
            bot: None,
            sigterm: false,
        })
    }

    /// The same, with the bot running.
    pub(crate) fn started(speaker: Speaker) -> Option<Stage> {
        let mut stage = Stage::open(speaker)?;
        stage.start();
        Some(stage)
    }

    /// Makes the bot ask for the stop signal.
    pub(crate) fn with_sigterm(mut self) -> Stage {
        self.sigterm = true;
        self
    }

    /// Starts the bot in this run, and waits until it is ready.
    pub(crate) fn start(&mut self) {
        let count = self.said("ready").len();
        let dir = self.home.base().join("bot");
        let words = self.speaker.command(&dir).unwrap();
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .env("PATH", path_with_multibot())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(self.variables())
            .env("CONTRACT_LOG", self.path("log"))
            .env("CONTRACT_GATE", self.path("gate"))
            .current_dir(&dir);
        if self.sigterm {
            command.env("CONTRACT_SIGTERM", "1");
        }
        self.bot = Some(Running::of(&mut command, self.home.base()));
        self.until("it is ready", |stage| stage.said("ready").len() > count);
    }

    /// What a supervisor tells a bot about itself.
    pub(crate) fn variables(&self) -> [(&'static str, OsString); 5] {
        [
            ("BOT_ID", "shop".into()),
            ("MULTIBOT_RUN_ID", self.run.clone().into()),
            ("MULTIBOT_INBOX", self.path("inbox").into()),
            ("MULTIBOT_OUTBOX", self.path("outbox").into()),
            ("MULTIBOT_HEARTBEAT", self.path("heartbeat").into()),
        ]
    }

    /// As a power cut would: the process is gone, whatever it was at.
    pub(crate) fn crash(&mut self) {
        let mut bot = self.bot.take().unwrap();
        kill(bot.pid(), Signal::KILL);
        bot.end(&self.home);
    }

    /// Another life of the bot: what it finds in `cur/` is not its own.
    pub(crate) fn next_run(&mut self) {
        self.run = ulid::Ulid::generate().to_string();
    }

    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.bot.as_ref().unwrap().pid(), signal);
    }

    /// Waits for the bot's own end.
    pub(crate) fn end(&mut self) -> Option<i32> {
        self.bot.as_mut().unwrap().end(&self.home)
    }

    /// Below the bot's folder.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.home.path("ipc/shop").join(below)
    }

    pub(crate) fn read(&self, below: &str) -> String {
        self.home.read(&format!("ipc/shop/{below}"))
    }

    /// Posts a file into the inbox under this name.
    pub(crate) fn put(&self, name: &str, lines: &[Value]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.put_text(name, &text);
    }

    pub(crate) fn put_text(&self, name: &str, text: &str) {
        let tmp = self.path("inbox/tmp/test");
        fs::write(&tmp, text).unwrap();
        fs::rename(tmp, self.path("inbox/new").join(name)).unwrap();
    }

    /// The name that a file has in `cur/` of this run.
    pub(crate) fn claimed(&self, name: &str) -> String {
        format!("inbox/cur/{},{name}", self.run)
    }

    pub(crate) fn acked(&self, name: &str) -> String {
        self.read(&format!("{}.acked", self.claimed(name)))
    }

    /// Appends to the progress of a claimed file, as the supervisor does.
    pub(crate) fn append_acked(&self, name: &str, line: &str) {
        let path = self.path(&format!("{}.acked", self.claimed(name)));
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }

    pub(crate) fn names(&self, below: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(below)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Whether nothing waits in the inbox and nothing is being worked on.
    pub(crate) fn is_empty(&self) -> bool {
        self.names("inbox/new").is_empty() && self.names("inbox/cur").is_empty()
    }

    /// What the bot has posted, in order.
    pub(crate) fn outbox(&self) -> Vec<Value> {
        let read = |name: String| self.read(&format!("outbox/new/{name}"));
        let text: String = self.names("outbox/new").into_iter().map(read).collect();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What it has posted under this name.
    pub(crate) fn said(&self, name: &str) -> Vec<Value> {
        let mut all = self.outbox();
        all.retain(|envelope| envelope["name"] == name);
        all
    }

    /// What it has posted as an answer to this message.
    pub(crate) fn answers(&self, id: &str) -> Vec<Value> {
        let mut all = self.outbox();
        all.retain(|envelope| envelope["correlation_id"] == id);
        all
    }

    /// The first answer to this message, as soon as there is one.
    pub(crate) fn answer(&self, id: &str) -> Value {
        self.until(&format!("{id} is answered"), |stage| !stage.answers(id).is_empty());
        self.answers(id).remove(0)
    }

    /// What the bot has noted, in order; a line that it is still writing does not count.
    pub(crate) fn log(&self) -> Vec<Value> {
        let log = self.read("log");
        let complete = log.rfind('\n').map_or("", |end| &log[..end]);
        complete
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// A command that the bot notes.
    pub(crate) fn note(&self, id: &str) -> Value {
        let name = match self.speaker {
            Speaker::Runner => "send_message",
            _ => "note",
        };
        json!({"v": 1, "id": id, "kind": "command", "name": name, "from": "cli", "to": "shop", "payload": {"text": ""}})
    }

    /// The ids of the messages that it has noted. The built-in bot has no log of its own: its answers tell.
    pub(crate) fn noted(&self) -> Vec<String> {
        let id = |line: &Value, field: &str| line[field].as_str().map(str::to_owned);
        if self.speaker != Speaker::Runner {
            return self.log().iter().filter_map(|line| id(line, "id")).collect();
        }
        let mut names = self.names("outbox/new");
        names.sort_by_key(|name| name[2..].to_owned());
        let read = |name: String| self.read(&format!("outbox/new/{name}"));
        let text: String = names.into_iter().map(read).collect();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines
            .filter(|line: &Value| line["kind"] == "response" && line["name"] == "send_message")
            .filter_map(|line| id(&line, "correlation_id"))
            .collect()
    }

    pub(crate) fn until(&self, what: &str, condition: impl Fn(&Stage) -> bool) {
        wait_until(&format!("{:?}: {what}", self.speaker), &self.home, || condition(self));
    }
}
