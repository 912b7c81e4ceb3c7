//! A supervisor that is killed leaves its bots running, and there are never two copies of one.

use std::collections::BTreeSet;
use std::fs;

use serde_json::json;

use crate::harness::{Home, SLEEPER, is_alive, wait_until};

/// How many runs of a bot have a living process.
fn copies(home: &Home, bot: &str) -> usize {
    let mark = format!("BOT_ID={bot} ");
    let all = home.processes();
    let of_bot = all.iter().filter(|it| it.environ.contains(&mark));
    let runs: BTreeSet<&str> = of_bot
        .filter_map(|it| it.environ.split(' ').find(|word| word.starts_with("MULTIBOT_RUN_ID=")))
        .collect();
    runs.len()
}

#[test]
fn bots_outlive_a_killed_supervisor_and_are_held_by_the_next_one() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.create("other", SLEEPER);
    home.ok(&["start"]);
    let pid = home.pid("shop");
    home.kill_supervisor();
    assert!(is_alive(pid));
    home.run(&["status"]).code(3);
    let bot = home.bot("shop");
    assert_eq!(
        (&bot["pid"], &bot["state"], &bot["reason"]),
        (&json!(pid), &json!("running"), &json!("runs without a supervisor"))
    );
    home.run(&["start"])
        .code(1)
        .says(&["still running under an earlier supervisor"]);
    let bot = home.bot("shop");
    assert_eq!((&bot["state"], &bot["pid"]), (&json!("held"), &json!(pid)));
    assert_eq!(
        bot["reason"],
        json!(format!("still running under an earlier supervisor (pid {pid})"))
    );
    assert_eq!((copies(&home, "shop"), copies(&home, "other")), (1, 1));
    // Neither a start nor a reload makes a second copy.
    home.run(&["bot", "start", "shop"]).code(1);
    home.set("shop", &["restart.delay=3s"]);
    assert_eq!((home.pid("shop"), copies(&home, "shop")), (pid, 1));
    home.ok(&["bot", "stop", "shop"]);
    assert!(!is_alive(pid));
    assert_eq!((home.state("shop"), copies(&home, "shop")), ("stopped".to_owned(), 0));
    home.ok(&["bot", "start", "shop"]);
    assert_eq!((home.state("shop"), copies(&home, "shop")), ("running".to_owned(), 1));
    assert_ne!(home.pid("shop"), pid);
}

#[test]
fn the_log_of_a_bot_goes_on_without_a_supervisor() {
    let home = Home::new();
    home.create(
        "shop",
        "while [ ! -e go ]; do sleep 0.02; done; echo went on; exec sleep 100000",
    );
    home.ok(&["start"]);
    home.kill_supervisor();
    home.write("go", "");
    home.wait_log("shop", "went on");
}

#[test]
fn stop_without_a_supervisor_ends_what_it_left() {
    for args in [&["stop"][..], &["stop", "--force"], &["bot", "stop", "--all"]] {
        let home = Home::new();
        home.create("shop", SLEEPER);
        home.create("other", "setsid sleep 100000 & exec sleep 100000");
        home.set("other", &["stop.grace=200ms"]);
        home.ok(&["start"]);
        home.kill_supervisor();
        assert_eq!(copies(&home, "shop"), 1);
        home.ok(args);
        home.assert_nothing_left();
    }
}

#[test]
fn one_bot_can_be_stopped_without_a_supervisor_and_stays_down() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.create("other", SLEEPER);
    home.ok(&["start"]);
    let (pid, other) = (home.pid("shop"), home.pid("other"));
    home.kill_supervisor();
    home.ok(&["bot", "stop", "shop"]);
    assert!(!is_alive(pid) && is_alive(other));
    home.run(&["start"]).code(1);
    assert_eq!(
        (home.state("shop"), home.state("other")),
        ("stopped".to_owned(), "held".to_owned())
    );
}

#[test]
fn a_held_bot_that_ends_by_itself_is_started_anew() {
    let home = Home::new();
    home.create(
        "shop",
        "while [ ! -e go ]; do sleep 0.02; done; [ -e went ] && exec sleep 100000; touch went",
    );
    home.ok(&["start"]);
    let pid = home.pid("shop");
    home.kill_supervisor();
    home.run(&["start"]).code(1);
    assert_eq!(home.state("shop"), "held");
    home.write("go", "");
    home.wait_state("shop", "running");
    assert_ne!(home.pid("shop"), pid);
    assert_eq!(copies(&home, "shop"), 1);
}

#[test]
fn a_bot_whose_shim_and_supervisor_were_killed_is_ended_before_the_next_run() {
    let home = Home::new();
    home.create("shop", "setsid sleep 100000 & exec sleep 100000");
    home.ok(&["start"]);
    let (pid, shim) = (home.pid("shop"), home.shim_pid("shop"));
    home.kill_supervisor();
    crate::harness::kill(shim, rustix::process::Signal::KILL);
    wait_until("the shim is gone", &home, || !is_alive(shim));
    assert!(is_alive(pid));
    home.ok(&["start"]);
    assert!(!is_alive(pid));
    assert_eq!((home.state("shop"), copies(&home, "shop")), ("running".to_owned(), 1));
}

#[test]
fn a_torn_run_record_does_not_make_a_second_copy() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    let pid = home.pid("shop");
    let record = home.read("run/shop/run.json");
    home.kill_supervisor();
    fs::write(home.path("run/shop/run.json"), "{\"v\":1,\"run_id\":\"01").unwrap();
    home.run(&["start"]).code(1);
    assert_eq!(copies(&home, "shop"), 1);
    assert!(is_alive(pid));
    fs::write(home.path("run/shop/run.json"), record).unwrap();
    home.run(&["bot", "stop", "shop"]);
    wait_until("it can be ended once the record is there again", &home, || {
        home.run(&["stop"]);
        home.run(&["bot", "stop", "shop"]);
        !is_alive(pid)
    });
}

#[test]
fn a_stop_that_was_interrupted_is_finished_by_the_next() {
    let home = Home::new();
    home.create("deaf", "trap '' TERM; echo ready; while :; do sleep 0.1; done");
    home.set("deaf", &["stop.grace=1h"]);
    home.ok(&["start"]);
    home.wait_log("deaf", "ready");
    home.run(&["stop", "--timeout", "100ms"])
        .code(75)
        .one_line(&["not everything is stopped"]);
    assert_eq!(home.state("deaf"), "stopping");
    home.kill_supervisor();
    home.ok(&["stop", "--force"]);
    home.assert_nothing_left();
}
