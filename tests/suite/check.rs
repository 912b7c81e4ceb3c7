//! `multibot check`: one line and one of four codes, for Nagios and cron.

use std::process::Stdio;

use rustix::process::Signal;

use crate::harness::{Home, Outcome, SLEEPER, kill, wait_until};

/// One line in the form of Nagios' plugins, and nothing on stderr.
#[track_caller]
fn says(outcome: Outcome, code: i32, words: &[&str]) -> String {
    let outcome = outcome.code(code);
    let level = ["OK", "WARNING", "CRITICAL", "UNKNOWN"][usize::try_from(code).unwrap()];
    assert!(outcome.out.starts_with(&format!("MULTIBOT {level} - ")), "{outcome:?}");
    assert_eq!(
        (outcome.out.lines().count(), outcome.err.as_str()),
        (1, ""),
        "{outcome:?}"
    );
    assert!(outcome.out.matches('|').count() <= 1, "{outcome:?}");
    for word in words {
        assert!(outcome.out.contains(word), "no {word:?} in {outcome:?}");
    }
    outcome.out
}

#[test]
fn all_is_well_until_something_is_wrong() {
    let home = Home::new();
    says(home.run(&["check"]), 2, &["no supervisor runs"]);
    home.create("shop", SLEEPER);
    home.create_with("off", &["--no-start"], SLEEPER);
    home.ok(&["start"]);
    says(
        home.run(&["check"]),
        0,
        &["1 of 1 wanted bots running", "| 'running'=1;;;0;1 'restarts'=0c"],
    );
    says(
        home.run(&["check", "shop"]),
        0,
        &["'shop_queue'=0;1000;;0", "'shop_uptime'="],
    );
    says(home.run(&["check", "off"]), 0, &["0 of 0 wanted bots running"]);
    home.ok(&["bot", "create", "lost", "--", "/nowhere/at/all"]);
    home.wait_state("lost", "failed");
    says(
        home.run(&["check"]),
        2,
        &["lost: failed: ", "/nowhere/at/all", "(1 of 2 wanted"],
    );
    says(home.run(&["check", "shop"]), 0, &[]);
    home.ok(&["bot", "stop", "lost"]);
    says(home.run(&["check"]), 0, &[]);
    let pid = home.supervisor_pid();
    kill(pid, Signal::STOP);
    wait_until("it is halted", &home, || home.status()["supervisor"]["stale"] == true);
    says(home.run(&["check"]), 2, &["halted"]);
    kill(pid, Signal::CONT);
    home.kill_supervisor();
    says(home.run(&["check"]), 2, &["no supervisor runs"]);
}

#[test]
fn what_may_become_worse_is_a_warning() {
    let home = Home::new();
    home.create_with("slow", &[], SLEEPER);
    home.set("slow", &["ready.when=signal", "ready.timeout=10m"]);
    let mut start = home.spawn(&["start", "--timeout", "1s"]);
    home.wait_state_when_up("slow", "starting");
    assert_eq!(start.end(&home), Some(75));
    says(home.run(&["check"]), 0, &["0 of 1 wanted"]);
    says(home.run(&["check", "--warn-start", "0s"]), 1, &["slow: starting for "]);
    home.create("shop", SLEEPER);
    home.wait_state("shop", "running");
    for _ in 0..3 {
        home.ok(&["send", "shop", "--text", "x"]);
    }
    wait_until("they are counted", &home, || home.bot("shop")["inbox_new"] == 3);
    says(home.run(&["check", "--warn-queue", "3"]), 0, &["'queue'=3"]);
    says(home.run(&["check", "--warn-queue", "2"]), 1, &["shop: 3 messages wait"]);
    let critical = ["check", "shop", "--warn-queue", "1", "--critical-queue", "2"];
    says(home.run(&critical), 2, &["3 messages wait", "'shop_queue'=3;1;2;0"]);
    home.create("loop", "exit 1");
    home.set(
        "loop",
        &["restart.delay=5m", "restart.max_delay=5m", "restart.factor=1"],
    );
    home.wait_state("loop", "backoff");
    says(home.run(&["check", "loop"]), 1, &["loop: backoff"]);
}

#[test]
fn what_cannot_be_checked_is_unknown() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    says(home.run(&["check", "shoq"]), 3, &["shoq", "nearest is shop"]);
    says(home.run(&["check", "Not A Bot"]), 3, &["Not A Bot"]);
    says(
        home.run(&["check", "--wran-queue", "1"]),
        3,
        &["--wran-queue", "nearest is '--warn-queue'"],
    );
    says(home.run(&["check", "--warn-queue", "many"]), 3, &["many"]);
    let help = home.run(&["check", "--help"]).code(3);
    assert!(help.out.contains("Nagios"), "{help:?}");
    let missing = home
        .bare_command()
        .args(["--home", "nowhere", "check"])
        .output()
        .unwrap();
    says(Outcome::of(&["check"], missing), 3, &["there is no home", "nowhere"]);
    let homeless = home.bare_command().env_remove("HOME").arg("check").output().unwrap();
    says(Outcome::of(&["check"], homeless), 3, &["home"]);
}

#[test]
fn the_code_holds_although_nobody_reads_the_line() {
    let home = Home::new();
    let mut child = home.command(&["check"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(2));
}
