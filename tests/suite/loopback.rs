//! The built-in bot of the loopback platform: no command, no token, no network.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{FAST, Home, cpu_ticks, kill, wait_until};

fn demo(home: &Home) {
    home.ok(&["bot", "create", "demo"]);
    home.ok(&["start"]);
}

#[test]
fn it_is_ready_connected_and_beats() {
    let home = Home::new();
    demo(&home);
    wait_until("it is connected", &home, || home.bot("demo")["connected"] == true);
    wait_until("it beats", &home, || home.bot("demo")["heartbeat_age_s"].is_u64());
    let bot = home.bot("demo");
    assert_eq!(
        (&bot["platform"], &bot["state"]),
        (&json!("loopback"), &json!("running"))
    );
    assert_eq!(home.count_events("demo", "ready"), 1);
}

#[test]
fn it_answers_what_it_is_sent() {
    let home = Home::new();
    demo(&home);
    for text in ["hello", "two  blanks and ä \"quotes\" \\ {}"] {
        let answer = home.ok(&["send", "demo", "--text", text, "--wait"]).out;
        assert!(answer.contains(text), "{answer:?}");
    }
    assert_eq!(home.bot("demo")["dead"], 0);
    wait_until("its inbox is empty", &home, || {
        let bot = home.bot("demo");
        bot["inbox_new"] == 0 && bot["inbox_cur"] == 0
    });
}

#[test]
fn many_senders_at_once_all_get_their_own_answer() {
    let home = Home::new();
    demo(&home);
    let texts: Vec<String> = (0..8).map(|number| format!("message number {number}")).collect();
    let mut senders: Vec<_> = texts
        .iter()
        .map(|text| home.spawn(&["send", "demo", "--text", text, "--wait"]))
        .collect();
    for (sender, text) in senders.iter_mut().zip(&texts) {
        assert_eq!(sender.end(&home), Some(0), "{}", sender.err());
        assert!(sender.out().contains(text.as_str()), "{} for {text}", sender.out());
    }
}

#[test]
fn what_waits_while_it_is_down_is_answered_when_it_runs() {
    let home = Home::new();
    home.ok(&["bot", "create", "demo", "--no-start"]);
    home.ok(&["send", "demo", "--text", "early"]);
    home.ok(&["start"]);
    let mut waiting = home.spawn(&["send", "demo", "--text", "late", "--wait"]);
    home.ok(&["bot", "start", "demo"]);
    assert_eq!(waiting.end(&home), Some(0), "{}", waiting.err());
    assert!(waiting.out().contains("late"));
    wait_until("the early one is handled too", &home, || {
        home.bot("demo")["inbox_new"] == 0
    });
}

#[test]
fn it_answers_questions_for_its_status_and_stays() {
    let home = Home::with_settings(&format!("{FAST}status_poll_interval: 200ms\n"));
    demo(&home);
    let pid = home.pid("demo");
    wait_until("several were answered", &home, || {
        home.count_events("demo", "status_response") >= 5
    });
    assert_eq!((home.pid("demo"), &home.bot("demo")["restarts"]), (pid, &json!(0)));
}

#[test]
fn it_obeys_its_shutdown_and_ends_with_0() {
    let home = Home::new();
    demo(&home);
    home.ok(&["bot", "stop", "demo"]);
    let bot = home.bot("demo");
    assert_eq!((&bot["last_exit"]["code"], &bot["inbox_new"]), (&json!(0), &json!(0)));
    // Nothing that was meant for the run that ended is left to the next one.
    let left = fs::read_dir(home.path("ipc/demo/inbox/new")).unwrap().count();
    assert_eq!(left, 0);
    home.ok(&["bot", "start", "demo"]);
    assert!(
        home.ok(&["send", "demo", "--text", "again", "--wait"])
            .out
            .contains("again")
    );
}

#[test]
fn killed_it_comes_back_and_answers() {
    let home = Home::new();
    demo(&home);
    let pid = home.pid("demo");
    kill(home.pid("demo"), Signal::KILL);
    wait_until("another process runs", &home, || {
        let bot = home.bot("demo");
        bot["state"] == "running" && bot["pid"] != json!(pid)
    });
    assert!(
        home.ok(&["send", "demo", "--text", "hello", "--wait"])
            .out
            .contains("hello")
    );
}

#[test]
fn a_hung_one_is_noticed_by_its_silence() {
    let home = Home::new();
    home.ok(&["bot", "create", "demo", "--no-start"]);
    home.set("demo", &["heartbeat_timeout=20s"]);
    home.ok(&["start"]);
    home.ok(&["bot", "start", "demo"]);
    wait_until("it beats", &home, || home.bot("demo")["heartbeat_age_s"].is_u64());
    let pid = home.pid("demo");
    kill(pid, Signal::STOP);
    home.set("demo", &["heartbeat_timeout=500ms"]);
    let event = home.wait_event("demo", "unhealthy");
    assert!(event["detail"].as_str().unwrap().starts_with("no heartbeat"), "{event}");
    // With the short time it may be judged again before it beats; with the long one it runs.
    home.set("demo", &["heartbeat_timeout=20s"]);
    wait_until("another process runs", &home, || {
        let bot = home.bot("demo");
        bot["state"] == "running" && bot["pid"] != json!(pid)
    });
}

#[test]
fn a_command_that_it_does_not_know_is_refused_and_harms_nothing() {
    let home = Home::new();
    demo(&home);
    home.run(&["send", "demo", "make_coffee", "--wait"])
        .code(1)
        .one_line(&["make_coffee"]);
    let pid = home.pid("demo");
    let tmp = home.write("drop", "{\"id\":\"1\",\"kind\":\"com");
    fs::rename(tmp, home.path("ipc/demo/inbox/new/half.ndjson")).unwrap();
    assert!(
        home.ok(&["send", "demo", "--text", "still here", "--wait"])
            .out
            .contains("still here")
    );
    assert_eq!(home.pid("demo"), pid);
}

#[test]
fn with_nothing_to_do_it_uses_next_to_nothing() {
    let home = Home::new();
    demo(&home);
    let pid = home.pid("demo");
    let first = home.bot("demo")["heartbeat_age_s"].clone();
    let before = cpu_ticks(pid);
    wait_until("two seconds have gone by", &home, || {
        home.bot("demo")["uptime_s"].as_u64() >= Some(2)
    });
    let used = cpu_ticks(pid) - before;
    assert!(used < 20, "{used} ticks; {first}");
    assert_ne!(home.bot("demo")["pid"], Value::Null);
}
