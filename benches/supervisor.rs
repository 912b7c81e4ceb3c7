//! What a real supervisor takes: a message to the built-in loopback bot and its answer back (`send --text x --wait`,
//! by the library in this process and by the binary), beside a durable file and a start of the binary; and `multibot
//! start` after the last supervisor was killed while 100 and 1000 bots run, until it returns with all of them adopted.
//!
//! It runs the release binary in a temporary home on the disk that holds `target/`. `-- --quick` shows that all of it
//! works; `-- trip` and `-- adopt` measure one part.

#![expect(clippy::print_stdout, reason = "a bench shows its figures")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use multibot::home::Home;
use multibot::model::bot::BotId;
use multibot::model::message::{Envelope, Kind};
use multibot::model::queue::QueuePolicy;
use multibot::model::units::Stamp;
use multibot::spool::replies::{read_reply, reply_path};
use multibot::spool::{Mailbox, Poster, Submitted, new_id, wait_for_file};
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const KILLS: usize = 3;

fn main() {
    let has = |word: &str| std::env::args().any(|arg| arg == word);
    // `cargo test --benches` does not pass --bench: it runs a bench once to see that it works.
    let quick = has("--quick") || has("--test") || !has("--bench");
    if !has("adopt") {
        trips(if quick { 5 } else { 500 });
    }
    if !has("trip") {
        let crowds: &[usize] = if quick { &[3] } else { &[100, 1000] };
        crowds.iter().for_each(|bots| adoption(*bots));
    }
}

/// A home with a supervisor, which ends with it.
struct Ground {
    base: TempDir,
}

impl Ground {
    fn new() -> Ground {
        let base = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        fs::create_dir(base.path().join("home")).expect("a home");
        let settings = "start_delay: 0s\ndefaults:\n  ready: {min_uptime: 0s}\n";
        fs::write(base.path().join("home/multibot.yaml"), settings).expect("settings");
        Ground { base }
    }

    fn home(&self) -> PathBuf {
        self.base.path().join("home")
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_multibot"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.base.path())
            .arg("--home")
            .arg(self.home())
            .args(args)
            .stdin(Stdio::null())
            .output()
            .expect("the binary runs")
    }

    fn ok(&self, args: &[&str]) {
        let output = self.run(args);
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn status(&self) -> Value {
        serde_json::from_slice(&self.run(&["status", "--json"]).stdout).unwrap_or_default()
    }

    /// The pids of the bots that run, by their ids.
    fn pids(&self) -> Vec<(String, u64)> {
        let status = self.status();
        let bots = status["bots"].as_array().map_or(&[][..], Vec::as_slice);
        let running = bots.iter().filter(|bot| bot["state"] == "running");
        running
            .filter_map(|bot| Some((bot["id"].as_str()?.to_owned(), bot["pid"].as_u64()?)))
            .collect()
    }

    fn wait_for_pids(&self, bots: usize) -> Vec<(String, u64)> {
        let begun = Instant::now();
        loop {
            let pids = self.pids();
            if pids.len() == bots {
                return pids;
            }
            assert!(begun.elapsed() < PATIENCE, "{} of {bots} bots run", pids.len());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn kill_supervisor(&self) {
        let status = self.status();
        let pid = status["supervisor"]["pid"]
            .as_i64()
            .and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(rustix::process::Pid::from_raw).expect("a supervisor");
        let gone = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("it runs");
        rustix::process::pidfd_send_signal(&gone, rustix::process::Signal::KILL).expect("it may be killed");
        // Readable means dead; its lock is free then.
        let mut wait = [rustix::event::PollFd::new(&gone, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut wait, None).expect("it dies");
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = self.run(&["stop"]);
    }
}

fn trips(rounds: usize) {
    let ground = Ground::new();
    ground.ok(&["bot", "create", "demo"]);
    ground.ok(&["start"]);
    ground.ok(&["send", "demo", "--text", "warm", "--wait"]);
    println!("\nsupervisor to bot and back, {rounds} rounds one after the other");
    let dir = ground.base.path().join("bare");
    fs::create_dir(&dir).expect("a folder");
    let bare = show(
        "floor: one durable file",
        (0..rounds).map(|number| durable_file(&dir, number)),
        None,
    );
    let home = Home::find(Some(ground.home()), |_| None).expect("a home");
    let mut poster = Poster::new();
    let inside = (0..rounds).map(|_| trip(&home, &mut poster));
    show("in this process", inside, Some(bare));
    let start = (0..rounds / 5).map(|_| timed(|| ground.ok(&["--version"])));
    let start = show("floor: a start of the binary", start, None);
    let binary = (0..rounds / 5).map(|_| timed(|| ground.ok(&["send", "demo", "--text", "x", "--wait"])));
    show("multibot send --wait", binary, Some(start));
}

/// Prints p50 and p99 in milliseconds, and the p50 in units of `floor`; returns the p50.
fn show(name: &str, times: impl Iterator<Item = Duration>, floor: Option<f64>) -> f64 {
    let mut millis: Vec<f64> = times.map(|time| time.as_secs_f64() * 1000.0).collect();
    millis.sort_by(f64::total_cmp);
    let (p50, p99) = (millis[millis.len() / 2], millis[millis.len() * 99 / 100]);
    let ratio = floor.map_or_else(String::new, |floor| format!("  {:5.2} x floor", p50 / floor));
    println!("  {name:<32} p50 {p50:7.2} ms  p99 {p99:7.2} ms{ratio}");
    p50
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn durable_file(dir: &Path, number: usize) -> Duration {
    timed(|| {
        let path = dir.join(format!("{number}.tmp"));
        let mut file = File::create(&path).expect("a file");
        file.write_all(&[b'x'; 300]).expect("written");
        file.sync_all().expect("synced");
        fs::rename(&path, path.with_extension("ndjson")).expect("renamed");
        File::open(dir).and_then(|dir| dir.sync_all()).expect("synced");
    })
}

/// What `send --text x --wait` does once it is up.
fn trip(home: &Home, poster: &mut Poster) -> Duration {
    let bot: BotId = "demo".parse().expect("an id");
    let policy = QueuePolicy::default();
    let inbox = Mailbox::new(home.inbox_of(&bot)).bounded(&policy);
    timed(|| {
        let now = Stamp(jiff::Timestamp::now().as_microsecond());
        let payload = serde_json::json!({ "text": "x" });
        let sent = Envelope::new(new_id(now), Kind::Command, "send_message", "cli", "demo", now).with_payload(payload);
        let path = reply_path(&home.replies(), &sent.id).expect("a path");
        let one = std::slice::from_ref(&sent);
        inbox
            .submit(poster, one, &policy, now, &mut Submitted::default())
            .expect("a post");
        assert!(wait_for_file(&path, PATIENCE), "no answer");
        let reply = read_reply(&home.replies(), &sent.id)
            .expect("a reply")
            .expect("it is there");
        assert_eq!(reply["kind"], "response");
    })
}

fn adoption(bots: usize) {
    let ground = Ground::new();
    let folder = ground.base.path().join("bots");
    fs::create_dir(&folder).expect("a folder");
    for number in 0..bots {
        let text = "command: [/bin/sleep, \"100000\"]\n";
        fs::write(folder.join(format!("bot-{number}.yaml")), text).expect("a bot");
    }
    ground.ok(&["apply", folder.to_str().expect("UTF-8")]);
    println!("\n{bots} bots, each of them sleep");
    let first = timed(|| ground.ok(&["start"]));
    println!(
        "  start, nothing runs yet          {:8.1} ms",
        first.as_secs_f64() * 1000.0
    );
    let pids = ground.wait_for_pids(bots);
    let mut times: Vec<Duration> = (0..KILLS)
        .map(|_| {
            ground.kill_supervisor();
            let time = timed(|| ground.ok(&["start"]));
            assert_eq!(ground.pids(), pids, "every bot is the process that it was");
            time
        })
        .collect();
    times.sort();
    let (median, worst) = (times[KILLS / 2], times[KILLS - 1]);
    println!(
        "  start, all adopted, median of {KILLS}  {:8.1} ms  (slowest {:.1} ms, {:.3} ms a bot)",
        median.as_secs_f64() * 1000.0,
        worst.as_secs_f64() * 1000.0,
        median.as_secs_f64() * 1000.0 / bots as f64,
    );
}
