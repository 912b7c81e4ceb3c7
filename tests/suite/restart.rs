//! Bots that fail: when they are restarted, when they are given up, and that an operator's word wins.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{FAST, Home, SLEEPER, is_alive, kill, wait_until};

/// Ends at once, as a failure.
const CRASHER: &str = "echo crashing; exit 3";

/// Lines of FAST with other restart rules for all bots.
fn settings_with_restart(restart: &str) -> String {
    FAST.replace(
        "restart: {delay: 50ms, factor: 1.5}",
        &format!("restart: {{{restart}}}"),
    )
}

#[test]
fn a_killed_bot_is_replaced_and_counted() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    let (pid, run) = (home.pid("shop"), home.bot("shop")["run_id"].clone());
    kill(pid, Signal::KILL);
    wait_until("another process runs", &home, || {
        let bot = home.bot("shop");
        bot["state"] == "running" && bot["pid"] != json!(pid)
    });
    let bot = home.bot("shop");
    assert_eq!((&bot["restarts"], &bot["last_exit"]["signal"]), (&json!(1), &json!(9)));
    assert_eq!(bot["last_exit"]["code"], json!(null));
    assert_ne!(bot["run_id"], run);
    assert!(!is_alive(pid));
    home.ok(&["status"]);
}

#[test]
fn a_crash_loop_backs_off_and_then_fails_with_its_reason_and_the_next_try() {
    let home = Home::new();
    home.create("shop", CRASHER);
    // It dies before it counts as running, so that nobody sees it run.
    home.set("shop", &["ready.min_uptime=10s"]);
    home.create("fine", SLEEPER);
    home.run(&["start"])
        .code(1)
        .says(&["1 of 2 wanted bots running", "shop is", "exited with code 3"]);
    home.wait_state("shop", "failed");
    let bot = home.bot("shop");
    assert_eq!(
        (&bot["restarts"], &bot["last_exit"]["code"], &bot["pid"]),
        (&json!(5), &json!(3), &json!(null))
    );
    assert!(
        bot["reason"]
            .as_str()
            .unwrap()
            .starts_with("exited with code 3; 6 failures in"),
        "{bot}"
    );
    assert!(bot["next_restart_at"].is_string(), "{bot}");
    assert_eq!(home.log_of("shop").matches("crashing").count(), 6);
    assert!(home.count_events("shop", "backoff") >= 1);
    home.run(&["status"]).code(1);
    home.ok(&["status", "fine"]);
    home.run(&["status", "shop"]).code(1);
}

#[test]
fn a_failed_bot_is_tried_again_slowly() {
    let home = Home::with_settings(&settings_with_restart("max_restarts: 0, retry_failed: 200ms"));
    let mark = home.base().join("mended");
    home.create(
        "shop",
        &format!("[ -e {} ] || exit 3; exec sleep 100000", mark.display()),
    );
    home.run(&["start"]);
    wait_until("it was tried again", &home, || {
        home.count_events("shop", "starting") >= 3
    });
    fs::write(&mark, "").unwrap();
    home.wait_state("shop", "running");
}

#[test]
fn a_fixed_delay_and_a_fixed_number_of_attempts_can_be_had() {
    let restart = "delay: 20ms, factor: 1, max_restarts: 3, retry_failed: never";
    let home = Home::with_settings(&settings_with_restart(restart));
    home.create("shop", CRASHER);
    home.run(&["start"]);
    home.wait_state("shop", "failed");
    let bot = home.bot("shop");
    assert_eq!((&bot["restarts"], &bot["next_restart_at"]), (&json!(3), &json!(null)));
    assert_eq!(home.count_events("shop", "starting"), 4);
}

#[test]
fn a_missing_command_fails_at_once_and_is_no_loop() {
    let home = Home::new();
    home.ok(&["bot", "create", "shop", "--", "/no/such/program"]);
    home.run(&["start"])
        .code(1)
        .says(&["shop is failed: cannot run /no/such/program: No such file"]);
    assert_eq!(home.bot("shop")["restarts"], 0);
    assert_eq!(home.count_events("shop", "starting"), 1);
}

#[test]
fn a_command_without_permission_to_execute_fails_at_once() {
    let home = Home::new();
    let text = home.write("notes.txt", "text\n");
    home.ok(&["bot", "create", "file", "--", text.to_str().unwrap()]);
    home.ok(&["bot", "create", "folder", "--", home.base().to_str().unwrap()]);
    home.run(&["start"])
        .code(1)
        .says(&["file is failed", "notes.txt: Permission denied", "folder is failed"]);
    for bot in ["file", "folder"] {
        assert_eq!(home.count_events(bot, "starting"), 1);
    }
}

#[test]
fn always_brings_back_also_a_bot_that_ended_with_0() {
    let home = Home::with_settings(&settings_with_restart("delay: 20ms, factor: 1, max_restarts: 1000"));
    home.create("shop", "exit 0");
    home.run(&["start"]);
    wait_until("it was restarted twice", &home, || {
        home.bot("shop")["restarts"].as_u64() >= Some(2)
    });
    assert_eq!(home.bot("shop")["last_exit"]["code"], 0);
}

#[test]
fn on_failure_leaves_a_bot_down_that_ended_with_0() {
    let home = Home::with_settings(&settings_with_restart(
        "policy: on-failure, delay: 20ms, max_restarts: 2",
    ));
    home.create("done", "exit 0");
    home.create("broken", CRASHER);
    home.run(&["start"]).code(1);
    home.wait_state("done", "stopped");
    home.wait_state("broken", "failed");
    let done = home.bot("done");
    assert_eq!(
        (&done["restarts"], &done["wanted"], &done["last_exit"]["code"]),
        (&json!(0), &json!("up"), &json!(0))
    );
    assert!(
        done["reason"].as_str().unwrap().contains("exited with code 0"),
        "{done}"
    );
    assert_eq!(home.bot("broken")["restarts"], 2);
}

#[test]
fn never_brings_nothing_back() {
    let home = Home::with_settings(&settings_with_restart("policy: never"));
    home.create("done", "exit 0");
    home.create("broken", CRASHER);
    home.run(&["start"]).code(1);
    home.wait_state("done", "stopped");
    home.wait_state("broken", "failed");
    let broken = home.bot("broken");
    assert_eq!(
        (&broken["restarts"], &broken["next_restart_at"]),
        (&json!(0), &json!(null))
    );
    assert_eq!(broken["reason"], "exited with code 3; restart.policy is never");
    // The operator can.
    home.run(&["bot", "start", "broken"]);
    wait_until("it ran again", &home, || home.count_events("broken", "exited") == 2);
}

#[test]
fn the_operators_stop_wins_over_a_crash_loop_and_survives_a_restart() {
    let restart = "delay: 1ms, factor: 1, max_restarts: 1000000";
    let home = Home::with_settings(&settings_with_restart(restart));
    home.create("shop", CRASHER);
    home.create("fine", SLEEPER);
    home.run(&["start"]);
    wait_until("it loops", &home, || home.bot("shop")["restarts"].as_u64() >= Some(5));
    home.ok(&["bot", "stop", "shop"]);
    let runs = home.count_events("shop", "starting");
    let bot = home.bot("shop");
    assert_eq!((&bot["state"], &bot["wanted"]), (&json!("stopped"), &json!("down")));
    home.ok(&["status"]);
    home.ok(&["stop"]);
    home.ok(&["start"]).says(&["1 of 1 wanted bots running"]);
    assert_eq!(home.state("shop"), "stopped");
    home.kill_supervisor();
    home.run(&["start"]);
    assert_eq!(home.state("shop"), "stopped");
    assert_eq!(home.count_events("shop", "starting"), runs);
    home.ok(&["bot", "stop", "--all"]);
}

#[test]
fn stopped_while_it_waits_or_has_failed_stays_stopped() {
    let home = Home::with_settings(&settings_with_restart("delay: 1h, max_delay: 1h, factor: 1"));
    home.create("waits", CRASHER);
    home.ok(&["bot", "create", "failed", "--", "/no/such/program"]);
    home.run(&["start"]).code(1);
    home.wait_state("waits", "backoff");
    assert!(home.bot("waits")["next_restart_at"].is_string());
    home.wait_state("failed", "failed");
    home.ok(&["bot", "stop", "--all"]);
    for bot in ["waits", "failed"] {
        let bot = home.bot(bot);
        assert_eq!(
            (&bot["state"], &bot["next_restart_at"]),
            (&json!("stopped"), &json!(null))
        );
    }
    home.ok(&["status"]);
    home.ok(&["stop"]);
    home.ok(&["start"]);
    assert_eq!(home.state("waits"), "stopped");
}

#[test]
fn a_limit_that_is_passed_restarts_the_bot_and_says_why() {
    let home = Home::with_settings(&FAST.replace("period: off", "period: 100ms"));
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    wait_until("memory is known", &home, || home.bot("shop")["memory_bytes"].is_u64());
    home.set("shop", &["limits.memory.max=1MiB", "limits.memory.for=0s"]);
    let event = home.wait_event("shop", "limit");
    assert!(event["detail"].as_str().unwrap().contains("memory"), "{event}");
    wait_until("it was restarted", &home, || {
        home.bot("shop")["restarts"].as_u64() >= Some(1)
    });
    home.ok(&["bot", "stop", "shop"]);
    home.set("shop", &["limits.memory.action=stop"]);
    home.run(&["bot", "start", "shop"]);
    home.wait_state("shop", "failed");
    assert!(home.reason("shop").contains("memory"), "{}", home.bot("shop"));
}

#[test]
fn every_start_is_told_also_of_a_bot_that_dies_while_it_starts() {
    let home = Home::new();
    home.create("shop", "exit 3");
    home.set("shop", &["restart.delay=1h", "restart.max_delay=1h"]);
    home.run(&["start"]);
    home.wait_state("shop", "backoff");
    // The first failure restarts at once, the second is waited out.
    let names: Vec<String> = home
        .events("shop")
        .iter()
        .map(|it| it["name"].as_str().unwrap().to_owned())
        .collect();
    let starts = names.iter().filter(|name| *name == "starting").count();
    let ends = names.iter().filter(|name| *name == "exited").count();
    assert_eq!((starts, ends), (2, 2), "{names:?}");
}
