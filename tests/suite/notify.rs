//! Bots that speak sd_notify: what they say is heard by their shim, whoever listens to that.
//!
//! The tests speak for the bots: whoever is of the same user may send to a bot's socket.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use serde_json::json;

use crate::harness::{Home, SLEEPER, is_alive, wait_until};

/// The socket that a bot finds in its environment.
fn address(home: &Home, bot: &str) -> PathBuf {
    home.wait_log(bot, "socket ");
    let log = home.log_of(bot);
    let line = log.lines().rfind(|line| line.contains("socket ")).unwrap();
    PathBuf::from(line.split("socket ").nth(1).unwrap())
}

fn say(home: &Home, bot: &str, words: &str) {
    let socket = UnixDatagram::unbound().unwrap();
    socket.send_to(words.as_bytes(), address(home, bot)).unwrap();
}

const LISTED: &str = "echo socket $NOTIFY_SOCKET; exec sleep 100000";

#[test]
fn a_bot_is_ready_when_it_says_so_and_its_status_is_shown() {
    let home = Home::new();
    home.create_with("shop", &["--token", "12345:secret-token"], LISTED);
    home.set("shop", &["ready.when=signal", "ready.timeout=1h"]);
    let _start = home.spawn(&["start"]);
    home.wait_state_when_up("shop", "starting");
    say(&home, "shop", "STATUS=logs in with 12345:secret-token");
    wait_until("its status is shown", &home, || {
        !home.bot("shop")["status_text"].is_null()
    });
    let bot = home.bot("shop");
    assert_eq!(
        (&bot["state"], &bot["status_text"]),
        (&json!("starting"), &json!("logs in with [masked]"))
    );
    say(&home, "shop", "READY=1\nSTATUS=serves 3 chats\nUNKNOWN=1");
    home.wait_state("shop", "running");
    wait_until("its new status is shown", &home, || {
        home.bot("shop")["status_text"] == "serves 3 chats"
    });
    assert!(home.ok(&["status"]).out.contains("says: serves 3 chats"));
    assert!(home.ok(&["bot", "show", "shop"]).out.contains("serves 3 chats"));
    // What it says again and again is no part of its history.
    assert_eq!(home.count_events("shop", "status"), 0);
    let socket = address(&home, "shop");
    assert!(socket.exists());
    home.ok(&["bot", "stop", "shop"]);
    assert!(!socket.exists() && home.bot("shop")["status_text"].is_null());
}

#[test]
fn a_bot_that_only_speaks_sd_notify_is_not_asked_for_its_status() {
    let home = Home::with_settings("start_delay: 0s\nstatus_poll_interval: 50ms\nsampling: {period: off}\n");
    home.create("notify", LISTED);
    home.create(
        "spool",
        "echo socket $NOTIFY_SOCKET; multibot ipc ready; exec sleep 100000",
    );
    for bot in ["notify", "spool"] {
        home.set(bot, &["ready.when=signal"]);
    }
    let _start = home.spawn(&["start"]);
    home.wait_state_when_up("notify", "starting");
    say(&home, "notify", "READY=1");
    home.wait_state("notify", "running");
    // The other one has missed its questions: this one would have, too.
    home.wait_event("spool", "unhealthy");
    assert_eq!(home.count_events("notify", "unhealthy"), 0);
    assert_eq!(home.bot("notify")["restarts"], 0);
}

#[test]
fn silence_after_a_beat_and_a_watchdog_that_triggers_are_failures() {
    let home = Home::new();
    for bot in ["silent", "unwell"] {
        home.create(bot, &format!("echo patience $WATCHDOG_USEC; {LISTED}"));
    }
    home.set("silent", &["heartbeat_timeout=300ms"]);
    home.ok(&["start"]);
    home.wait_log("silent", "patience 300000\n");
    home.wait_log("unwell", "patience 60000000\n");
    say(&home, "silent", "WATCHDOG=1");
    let event = home.wait_event("silent", "unhealthy");
    assert_eq!(event["detail"], "no heartbeat for 300ms");
    say(&home, "unwell", "WATCHDOG=trigger");
    let event = home.wait_event("unwell", "unhealthy");
    assert_eq!(event["detail"], "its own watchdog says that it is not well");
    wait_until("it runs anew", &home, || home.bot("unwell")["restarts"] == 1);
}

#[test]
fn a_bot_that_is_ending_gets_the_time_that_it_asks_for() {
    let home = Home::new();
    let done = home.base().join("done");
    let script = format!(
        "trap 'echo closing' TERM; echo socket $NOTIFY_SOCKET; while [ ! -e {} ]; do sleep 0.05; done; echo closed",
        done.display()
    );
    home.create("shop", &script);
    home.set("shop", &["stop.grace=3s"]);
    home.ok(&["start"]);
    let socket = address(&home, "shop");
    assert!(socket.exists());
    let pid = home.pid("shop");
    let mut stop = home.spawn(&["bot", "stop", "shop", "--timeout", "1h"]);
    home.wait_log("shop", "out closing");
    say(&home, "shop", "STOPPING=1\nEXTEND_TIMEOUT_USEC=60000000");
    home.wait_event("shop", "stopping");
    // Its grace, and what the supervisor itself would wait, are over by then.
    let begun = std::time::Instant::now();
    wait_until("the grace has passed", &home, || {
        begun.elapsed() > std::time::Duration::from_secs(11)
    });
    assert!(is_alive(pid));
    home.write("done", "");
    assert_eq!(stop.end(&home), Some(0));
    assert!(home.log_of("shop").contains("out closed"));
    assert_eq!(home.bot("shop")["last_exit"]["code"], 0);
}

#[test]
fn a_bot_that_is_starting_gets_the_time_that_it_asks_for() {
    let home = Home::new();
    home.create("shop", LISTED);
    home.set("shop", &["ready.when=signal", "ready.timeout=5s"]);
    let _start = home.spawn(&["start"]);
    say(&home, "shop", "EXTEND_TIMEOUT_USEC=600000000");
    wait_until("its wish is known", &home, || {
        home.reason("shop").contains("was asked for more time")
    });
    let begun = std::time::Instant::now();
    wait_until("its time to be ready has passed", &home, || {
        begun.elapsed() > std::time::Duration::from_secs(6)
    });
    say(&home, "shop", "READY=1");
    home.wait_state("shop", "running");
    assert_eq!(home.bot("shop")["restarts"], 0);
}

#[test]
fn what_is_said_while_no_supervisor_runs_is_heard_by_the_next() {
    let home = Home::new();
    home.create("shop", LISTED);
    home.set("shop", &["nice=3"]);
    home.ok(&["start"]);
    let pid = home.pid("shop");
    say(&home, "shop", "STATUS=before");
    wait_until("its status is shown", &home, || {
        home.bot("shop")["status_text"] == "before"
    });
    home.ok(&["stop", "--keep-bots"]);
    say(&home, "shop", "STATUS=one");
    say(&home, "shop", "WATCHDOG=1");
    let posted = || std::fs::read_dir(home.path("ipc/shop/outbox/new")).unwrap().count();
    wait_until("the shim has posted it", &home, || posted() == 1);
    say(&home, "shop", "STATUS=two");
    wait_until("the newest word alone waits", &home, || {
        let files = std::fs::read_dir(home.path("ipc/shop/outbox/new")).unwrap();
        let text: String = files
            .filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok())
            .collect();
        text.contains("two") && !text.contains("one")
    });
    home.ok(&["start"]);
    wait_until("it is heard", &home, || home.bot("shop")["status_text"] == "two");
    let bot = home.bot("shop");
    assert_eq!((&bot["pid"], &bot["kernel"]), (&json!(pid), &json!(["nice 3"])));
    say(&home, "shop", "STATUS=three");
    wait_until("it goes on", &home, || home.bot("shop")["status_text"] == "three");
}

#[test]
fn a_flood_is_bounded() {
    let home = Home::new();
    home.create("shop", LISTED);
    home.ok(&["start"]);
    let socket = UnixDatagram::unbound().unwrap();
    let address = address(&home, "shop");
    home.ok(&["stop", "--keep-bots"]);
    for number in 0..5000 {
        let words = format!("STATUS={number}\nEXTEND_TIMEOUT_USEC={number}\nREADY=1\nWATCHDOG=1");
        socket.send_to(words.as_bytes(), &address).unwrap();
    }
    let posted = || std::fs::read_dir(home.path("ipc/shop/outbox/new")).unwrap().count();
    home.ok(&["start"]);
    wait_until("the last word is heard", &home, || {
        home.bot("shop")["status_text"] == "4999"
    });
    assert!(posted() <= 3);
    assert_eq!(home.count_events("shop", "ready"), 1);
}

#[test]
fn a_home_too_deep_for_a_socket_has_it_elsewhere() {
    let home = Home::missing();
    let deep = home.base().join("d".repeat(60)).join("e".repeat(60));
    let script = home.script("shop", LISTED);
    let run = |args: &[&str]| {
        let mut command = home.bare_command();
        command.arg("--home").arg(&deep).args(args);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["bot", "create", "shop", "--", "/bin/sh", script.to_str().unwrap()]);
    run(&["start"]);
    let log = deep.join("logs/shop.log");
    let socket = || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let found = text.lines().find_map(|line| line.split_once("socket "))?;
        Some(PathBuf::from(found.1))
    };
    wait_until("the bot has told its socket", &home, || socket().is_some());
    let socket = socket().unwrap();
    assert!(
        socket.as_os_str().len() < 108 && !socket.starts_with(&deep),
        "{socket:?}"
    );
    let sender = UnixDatagram::unbound().unwrap();
    sender.send_to(b"STATUS=from far below", &socket).unwrap();
    wait_until("it is heard", &home, || run(&["status"]).contains("from far below"));
    run(&["stop"]);
    assert!(!socket.exists());
}

#[test]
fn a_socket_of_the_operators_own_is_left_alone() {
    let home = Home::new();
    let own = home.base().join("own.socket");
    let listener = UnixDatagram::bind(&own).unwrap();
    let file = home.write("env", &format!("NOTIFY_SOCKET={}\n", own.display()));
    home.create_with(
        "shop",
        &["--no-start"],
        &format!("echo socket $NOTIFY_SOCKET; {SLEEPER}"),
    );
    home.set("shop", &[&format!("env_file={}", file.display())]);
    home.ok(&["bot", "start", "shop"]);
    home.ok(&["start"]);
    assert_eq!(address(&home, "shop"), own);
    assert!(!home.path("run/shop/notify").exists());
    drop(listener);
}
