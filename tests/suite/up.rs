//! `multibot up`: apply, run here, show the logs, end with Ctrl-C.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::Signal;

use crate::harness::{Home, is_alive, kill, wait_until};

fn folder(home: &Home) {
    for bot in ["one", "two"] {
        let script = home.script(
            bot,
            &format!("trap 'echo {bot} closes; exit 0' TERM; echo {bot} opens; while :; do sleep 0.05; done"),
        );
        home.write(
            &format!("bots/{bot}.yaml"),
            &format!("command: [/bin/sh, {}]\n", script.display()),
        );
    }
    home.write(
        "bots/off.yaml",
        "id: off\nenabled: false\ncommand: [/no/such/program]\n",
    );
}

#[test]
fn a_folder_runs_in_the_foreground_until_it_is_interrupted() {
    let home = Home::new();
    folder(&home);
    let mut up = home.spawn(&["up", "bots"]);
    for bot in ["one", "two"] {
        let line = format!("[{bot}] out {bot} opens");
        wait_until("its log is shown", &home, || up.out().contains(&line));
    }
    wait_until("the status is told", &home, || {
        up.err().contains("Status: 2 processes | 0 connected | 0 unhealthy")
    });
    home.ok(&["status"]);
    let pids = [home.pid("one"), home.pid("two")];
    assert_eq!(home.supervisor_pid(), up.pid());
    kill(up.pid(), Signal::INT);
    assert_eq!(up.end(&home), Some(0), "{}", up.err());
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    // What they said last is shown as well.
    assert!(
        up.out().contains("[one] out one closes") && up.out().contains("[two] out two closes"),
        "{}",
        up.out()
    );
    home.assert_nothing_left();
    // They are stored: the next start has them.
    home.ok(&["start"]).says(&["2 of 2 wanted bots running"]);
}

#[test]
fn a_second_interrupt_does_not_wait_for_anybody() {
    let home = Home::new();
    let script = home.script("deaf", "trap '' TERM INT; echo opens; while :; do sleep 0.1; done");
    home.write(
        "bots/deaf.yaml",
        &format!("command: [/bin/sh, {}]\nstop: {{grace: 1h}}\n", script.display()),
    );
    let mut up = home.spawn(&["up", "bots"]);
    home.wait_log("deaf", "opens");
    kill(up.pid(), Signal::INT);
    home.wait_state("deaf", "stopping");
    kill(up.pid(), Signal::INT);
    assert_eq!(up.end(&home), Some(0));
    home.assert_nothing_left();
}

#[test]
fn up_ends_when_nobody_reads_its_output_any_more() {
    let home = Home::new();
    home.create("shop", "while :; do echo opens; sleep 0.1; done");
    let mut command = home.command(&["up"]);
    let mut up = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(up.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(!line.is_empty());
    wait_until("it has ended", &home, || up.try_wait().unwrap().is_some());
    home.assert_nothing_left();
}

#[test]
fn up_without_a_path_runs_what_is_there() {
    let home = Home::new();
    home.create("shop", "echo opens; exec sleep 100000");
    let mut up = home.spawn(&["up"]);
    wait_until("its log is shown", &home, || up.out().contains("[shop] out opens"));
    home.ok(&["stop"]);
    assert_eq!(up.end(&home), Some(0));
}

#[test]
fn faults_in_the_folder_are_told_and_nothing_runs() {
    let home = Home::new();
    folder(&home);
    home.write("bots/bad.yaml", "restrat: {}\n");
    home.run(&["up", "bots"]).code(1).one_line(&["bad.yaml:1:1", "restart"]);
    home.run(&["up", "nowhere"]).code(1).one_line(&["nowhere"]);
    home.run(&["status"]).code(3);
}

#[test]
fn what_the_repository_ships_shows_no_failed_bot() {
    let home = Home::new();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/bot_configs");
    let mut up = home.spawn(&["up", shipped]);
    wait_until("every wanted bot has come to rest", &home, || {
        let status = home.status();
        let summary = &status["summary"];
        let is_open = summary["starting"] != 0 || summary["stopping"] != 0;
        status["supervisor"]["running"] == true && !is_open && up.err().contains("Status:")
    });
    home.ok(&["status"]);
    assert_eq!(home.status()["summary"]["failed"], 0);
    kill(up.pid(), Signal::INT);
    assert_eq!(up.end(&home), Some(0));
    assert!(fs::read_dir(home.path("run")).is_ok());
}
