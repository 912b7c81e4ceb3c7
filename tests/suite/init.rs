//! multibot as the first process of a container: it reaps, hands signals on, and its child supervises. Needs
//! root and `unshare`; where they are not, these tests say that they were skipped.

use std::fs;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Home, Outcome, Running, SLEEPER, is_alive, kill, stat, wait_until};

const THIS: &str = env!("CARGO_BIN_EXE_multibot");

/// A container: its own pids, the same files.
struct Container<'a> {
    home: &'a Home,
    unshare: Running,
    /// Its process 1, as the host counts.
    init: u32,
}

impl<'a> Container<'a> {
    /// None where there can be no containers.
    fn start(home: &'a Home, args: &[&str]) -> Option<Container<'a>> {
        let may = Command::new("unshare")
            .args(["--pid", "--fork", "--mount-proc", "true"])
            .output();
        if !may.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: no pid namespace can be made here");
            return None;
        }
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", THIS, "--home"]);
        command
            .arg(home.dir())
            .args(args)
            .env("HOME", home.base())
            .current_dir(home.base());
        let unshare = Running::of(&mut command, home.base());
        let mut init = 0;
        wait_until("process 1 is there", home, || {
            init = children(unshare.pid()).first().copied().unwrap_or(0);
            fs::read_link(format!("/proc/{init}/exe")).is_ok_and(|program| program.ends_with("multibot"))
        });
        Some(Container { home, unshare, init })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &self.init.to_string(), "-p", "-m", program])
            .current_dir(self.home.base());
        command
    }

    fn run(&self, args: &[&str]) -> Outcome {
        let output = self
            .command(THIS)
            .arg("--home")
            .arg(self.home.dir())
            .args(args)
            .output();
        Outcome::of(args, output.unwrap())
    }

    fn bot(&self) -> Value {
        let outcome = self.run(&["status", "--json"]);
        serde_json::from_str::<Value>(&outcome.out).unwrap()["bots"][0].clone()
    }

    fn wait_running(&self) {
        wait_until("the bot runs", self.home, || self.bot()["state"] == "running");
    }
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_ascii_whitespace()
        .map(|word| word.parse().unwrap())
        .collect()
}

#[test]
fn the_first_process_reaps_and_hands_signals_on() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    let Some(mut container) = Container::start(&home, &["start", "--foreground"]) else {
        return;
    };
    container.wait_running();
    // Only its child supervises: process 1 has one thread and no lock.
    let supervisors = children(container.init);
    assert_eq!(supervisors.len(), 1);
    let threads = |pid: u32| fs::read_dir(format!("/proc/{pid}/task")).unwrap().count();
    assert!(threads(container.init) == 1 && threads(supervisors[0]) > 1);
    // An orphan becomes its child, and is reaped.
    let orphan = container
        .command("sh")
        .args(["-c", "sleep 0.2 & echo $!"])
        .output()
        .unwrap();
    assert!(orphan.status.success());
    wait_until("nobody but the supervisor is left", &home, || {
        children(container.init) == supervisors
    });
    kill(container.init, Signal::TERM);
    assert_eq!(container.unshare.end(&home), Some(0), "{}", container.unshare.err());
    assert!(!is_alive(supervisors[0]));
    home.assert_nothing_left();
}

#[test]
fn a_supervisor_that_is_killed_in_a_container_is_followed_by_one_that_adopts() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    let Some(mut container) = Container::start(&home, &["start", "--foreground"]) else {
        return;
    };
    container.wait_running();
    let pid = container.bot()["pid"].clone();
    let supervisor = children(container.init)[0];
    let began: u64 = stat(supervisor).unwrap()[19].parse().unwrap();
    wait_until("it has lived a while", &home, || {
        let now = fs::read_to_string("/proc/uptime").unwrap();
        let now_s: f64 = now.split(' ').next().unwrap().parse().unwrap();
        now_s * 100.0 > began as f64 + 120.0
    });
    kill(supervisor, Signal::KILL);
    wait_until("another one runs", &home, || {
        let left = children(container.init);
        !left.contains(&supervisor) && container.run(&["status"]).status == Some(0)
    });
    assert_eq!(container.bot()["pid"], pid);
    assert_eq!(container.run(&["events", "shop"]).out.matches("adopted").count(), 1);
    // From outside nobody can tell what it does, and nobody may meddle.
    for verb in ["status", "start", "stop"] {
        home.run(&[verb]).code(1).one_line(&["another container"]);
    }
    // One that leaves its bots leaves them their process 1.
    container.run(&["stop", "--keep-bots"]).code(0);
    assert_eq!(container.bot()["pid"], pid);
    container.run(&["start"]).code(0);
    assert_eq!(container.bot()["pid"], pid);
    // The end of the last one is the end of the container, and may take this very command with it.
    container.run(&["stop"]);
    assert_eq!(container.unshare.end(&home), Some(0), "{}", container.unshare.err());
}
