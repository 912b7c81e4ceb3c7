//! Bots that take more than they may: each is caught by the rule for it, told, acted upon and explained, and
//! its neighbour never notices. And the home's budget.

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{FAST, Home, SLEEPER, kill, stat, wait_until};

/// A home that looks often, with a well-behaved bot.
fn home() -> Home {
    let home = Home::with_settings(&FAST.replace("period: off", "period: 100ms"));
    home.create("calm", SLEEPER);
    home.ok(&["start"]);
    home.wait_state("calm", "running");
    home
}

fn python(home: &Home, bot: &str, settings: &[&str], program: &str) {
    let path = home.write(&format!("scripts/{bot}.py"), program);
    let tail = ["--no-start", "--", "python3", path.to_str().unwrap()];
    home.ok(&[&["bot", "create", bot], &tail[..]].concat());
    home.set(bot, settings);
    home.ok(&["bot", "start", bot]);
}

fn shell(home: &Home, bot: &str, settings: &[&str], script: &str) {
    home.create_with(bot, &["--no-start"], script);
    home.set(bot, settings);
    home.ok(&["bot", "start", bot]);
}

/// What `status` says of one limit of a bot.
fn limit(home: &Home, bot: &str, what: &str) -> Value {
    let status = home.bot(bot);
    let limits = status["limits"].as_array().unwrap();
    limits.iter().find(|it| it["what"] == what).cloned().unwrap_or_default()
}

fn wait_level(home: &Home, bot: &str, what: &str, level: &str) {
    wait_until(&format!("{what} of {bot} is at {level}"), home, || {
        limit(home, bot, what)["level"] == level
    });
}

/// The event says what was passed, and `calm` runs as it did.
fn caught(home: &Home, bot: &str, name: &str, words: &str) {
    let event = home.wait_event(bot, name);
    let detail = event["detail"].as_str().unwrap();
    assert!(detail.contains(words), "{event}");
    let calm = home.bot("calm");
    assert_eq!((&calm["restarts"], &calm["state"]), (&0.into(), &"running".into()));
    assert!(home.events("calm").iter().all(|event| event["name"] != "limit"));
}

fn wait_restart(home: &Home, bot: &str) {
    wait_until(&format!("{bot} was restarted"), home, || {
        home.bot(bot)["restarts"].as_u64() >= Some(1)
    });
}

#[test]
fn limits_that_nobody_measures_are_told_of() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    let notes = || home.status()["supervisor"]["notes"].to_string();
    let said = "sampling.period is off in multibot.yaml";
    home.ok(&["start"]);
    assert!(!notes().contains("sampling.period"), "{}", notes());
    home.set("shop", &["limits.processes.max=9"]).says(&[said]);
    assert!(
        notes().contains("sampling.period is off: limits and log probes do nothing"),
        "{}",
        notes()
    );
    assert!(!home.set("shop", &["restart.delay=1s"]).err.contains(said));
    home.set("shop", &["limits.processes.max="]);
    assert!(!notes().contains("sampling.period"), "{}", notes());
    let probe = r#"probes.up={"log":{"must_appear":"up"},"role":"readiness"}"#;
    home.set("shop", &[probe]).says(&[said]);
    assert_eq!(home.reason("shop"), "not ready: probe up: sampling.period is off");
    home.write(
        "bots/desk.yaml",
        "id: desk\ncommand: [/bin/sleep, '1000']\nlimits: {threads: {max: 9}}\n",
    );
    home.ok(&["apply", "bots"]).says(&[said]);
}

#[test]
fn a_leak_is_warned_of_and_then_ends_in_a_restart() {
    let home = home();
    let settings = [
        "limits.memory.max=100MiB",
        "limits.memory.warn=50MiB",
        "limits.memory.for=0s",
    ];
    let leak = "import time\nhoard = []\nwhile True:\n    hoard.append(b'x' * (2 << 20))\n    time.sleep(0.1)\n";
    python(&home, "leak", &settings, leak);
    caught(&home, "leak", "limit_warning", "over limits.memory.warn 50.0 MiB");
    caught(&home, "leak", "limit", "over limits.memory.max 100.0 MiB");
    wait_restart(&home, "leak");
    assert!(home.audit_actions("limit restart") >= 1);
}

#[test]
fn a_bot_that_spins_is_told_of_once_until_it_rests() {
    let home = home();
    let rest = home.base().join("rest");
    let script = format!("while [ ! -e {} ]; do :; done; {SLEEPER}", rest.display());
    shell(&home, "spin", &["limits.cpu.max=5", "limits.cpu.for=300ms"], &script);
    caught(&home, "spin", "limit", "over limits.cpu.max 5 %");
    wait_level(&home, "spin", "cpu", "max");
    let shown = limit(&home, "spin", "cpu");
    assert!(
        shown["since"].is_string() && shown["max"] == 5.0 && shown["warn"] == 4.0,
        "{shown}"
    );
    assert!(
        home.reason("spin").contains("over limits.cpu.max"),
        "{}",
        home.bot("spin")
    );
    let table = home.run(&["status"]).out;
    assert!(table.contains("over limits.cpu.max"), "{table}");
    let pid = home.pid("spin");
    std::fs::write(&rest, "").unwrap();
    home.wait_event("spin", "limit_recovered");
    wait_until("the reason is gone", &home, || home.reason("spin").is_empty());
    assert_eq!((home.count_events("spin", "limit"), home.pid("spin")), (1, pid));
}

#[test]
fn open_files_and_threads_are_counted_and_their_end_is_seen() {
    let home = home();
    let flag = home.base().join("enough");
    let settings = [
        "limits.open_files.max=100",
        "limits.open_files.for=0s",
        "limits.threads.max=10",
        "limits.threads.for=0s",
    ];
    let program = format!(
        "import os, threading, time\n\
         files = [open('/dev/null') for _ in range(200)]\n\
         enough = threading.Event()\n\
         for _ in range(20):\n    threading.Thread(target=enough.wait, daemon=True).start()\n\
         while not os.path.exists({:?}):\n    time.sleep(0.05)\n\
         [file.close() for file in files]\nenough.set()\ntime.sleep(100000)\n",
        flag.display()
    );
    python(&home, "greedy", &settings, &program);
    wait_level(&home, "greedy", "open_files", "max");
    wait_level(&home, "greedy", "threads", "max");
    caught(&home, "greedy", "limit", "limits.");
    let reason = home.reason("greedy");
    assert!(reason.contains("open files") && reason.contains("threads"), "{reason}");
    std::fs::write(&flag, "").unwrap();
    wait_level(&home, "greedy", "open_files", "ok");
    wait_level(&home, "greedy", "threads", "ok");
    wait_until("both recoveries are told", &home, || {
        home.count_events("greedy", "limit_recovered") == 2
    });
    assert_eq!(home.count_events("greedy", "limit"), 2);
}

#[test]
fn connections_are_counted_and_too_many_stop_the_bot() {
    let home = home();
    let settings = [
        "limits.connections.max=20",
        "limits.connections.for=0s",
        "limits.connections.action=stop",
    ];
    let program = "import socket, time\n\
        door = socket.create_server(('127.0.0.1', 0))\nheld = []\n\
        for _ in range(30):\n    held.append(socket.create_connection(door.getsockname()))\n    held.append(door.accept())\n\
        time.sleep(100000)\n";
    python(&home, "talker", &settings, program);
    caught(&home, "talker", "limit", "over limits.connections.max 20");
    home.wait_state("talker", "failed");
    assert!(home.reason("talker").contains("connections"), "{}", home.bot("talker"));
}

#[test]
fn a_bot_that_forks_is_stopped_with_all_that_it_started() {
    let home = home();
    let settings = [
        "limits.processes.max=10",
        "limits.processes.for=0s",
        "limits.processes.action=stop",
    ];
    shell(
        &home,
        "forks",
        &settings,
        "for i in $(seq 30); do sleep 100000 & done; wait",
    );
    caught(&home, "forks", "limit", "over limits.processes.max 10");
    home.wait_state("forks", "failed");
    let left = home
        .processes()
        .into_iter()
        .filter(|it| it.environ.contains("BOT_ID=forks "));
    assert_eq!(left.count(), 0);
}

#[test]
fn a_process_that_a_signal_has_stopped_is_restarted() {
    let home = home();
    shell(&home, "shop", &["limits.halted.for=300ms", "stop.grace=100ms"], SLEEPER);
    home.wait_state("shop", "running");
    let pid = home.pid("shop");
    kill(pid, Signal::STOP);
    caught(
        &home,
        "shop",
        "limit",
        "halted: a signal has stopped its process (state T)",
    );
    wait_restart(&home, "shop");
    home.wait_state("shop", "running");
    assert_ne!(home.pid("shop"), pid);
}

#[test]
fn one_that_is_woken_again_has_recovered() {
    let home = home();
    shell(
        &home,
        "shop",
        &["limits.halted.for=300ms", "limits.halted.action=alert"],
        SLEEPER,
    );
    home.wait_state("shop", "running");
    let pid = home.pid("shop");
    kill(pid, Signal::STOP);
    wait_until("status says why", &home, || home.reason("shop").starts_with("halted"));
    assert_eq!(stat(pid).unwrap()[0], "T");
    kill(pid, Signal::CONT);
    home.wait_event("shop", "limit_recovered");
    wait_until("the reason is gone", &home, || home.reason("shop").is_empty());
    assert_eq!((home.pid("shop"), home.count_events("shop", "limit")), (pid, 1));
}

#[test]
fn a_flood_of_output_is_measured_and_ended() {
    let home = home();
    let settings = [
        "limits.output.max=200KiB",
        "limits.output.for=300ms",
        "limits.output.action=restart",
    ];
    let script = "line=$(printf '%0500d' 0); while :; do yes $line | head -c 1000000; sleep 0.1; done";
    shell(&home, "flood", &settings, script);
    caught(&home, "flood", "limit", "over limits.output.max 200.0 KiB/s");
    wait_restart(&home, "flood");
}

#[test]
fn what_a_bot_uses_is_shown() {
    let home = home();
    wait_until("a second look", &home, || {
        home.bot("calm")["output_bytes_per_s"].is_u64()
    });
    let status = home.bot("calm");
    for field in ["memory_bytes", "open_files", "threads", "processes"] {
        assert!(status[field].as_u64() >= Some(1), "{field} in {status}");
    }
    assert_eq!((&status["connections"], &status["processes"]), (&0.into(), &1.into()));
    assert!(
        status["cpu_percent"].is_number() && status["state_since"].is_string(),
        "{status}"
    );
    assert_eq!(limit(&home, "calm", "output")["max"], 5_242_880.0);
    assert_eq!(limit(&home, "calm", "halted")["level"], "ok");
    assert!(
        limit(&home, "calm", "memory")["warn"].is_number(),
        "the host's memory bounds it"
    );
    let shown = home.ok(&["bot", "show", "calm"]).out;
    assert!(
        shown.contains("open_files") && shown.contains("of 5.0 MiB/s"),
        "{shown}"
    );
}

#[test]
fn a_bot_that_does_not_fit_waits_for_room() {
    let settings = format!("{FAST}budget: {{memory: 1GiB}}\nmax_bots: 2\n");
    let home = Home::with_settings(&settings);
    for (bot, memory) in [("a", "700MiB"), ("b", "700MiB"), ("c", "300MiB"), ("d", "2GiB")] {
        home.create_with(bot, &["--no-start"], SLEEPER);
        home.set(bot, &[&format!("limits.memory.max={memory}")]);
    }
    home.run(&["bot", "start", "--all"]);
    home.run(&["start"]);
    home.wait_state("a", "running");
    home.wait_state("c", "running");
    home.wait_state("b", "held");
    let status = home.run(&["status"]).code(1);
    let line = "Capacity: memory 1000.0 MiB of 1.0 GiB | 2 of 2 bots";
    assert!(status.out.contains(line), "{status:?}");
    assert_eq!(home.reason("b"), "no capacity: 2 of 2 bots run (max_bots)");
    let capacity = home.status()["supervisor"]["capacity"].clone();
    assert_eq!((&capacity["max_bots"], &capacity["live_bots"]), (&2.into(), &2.into()));
    home.ok(&["bot", "stop", "c"]);
    wait_until("the reason names what is missing", &home, || {
        home.reason("b") == "no capacity: needs 700.0 MiB of memory, 324.0 MiB of 1.0 GiB are free"
    });
    assert!(home.reason("d").contains("it can never fit"), "{}", home.bot("d"));
    home.ok(&["bot", "stop", "a"]);
    home.wait_state("b", "running");
    assert_eq!(home.bot("b")["restarts"], 0);
    home.write("home/multibot.yaml", &settings.replace("1GiB", "4GiB"));
    kill(home.supervisor_pid(), Signal::HUP);
    home.wait_state("d", "running");
}
