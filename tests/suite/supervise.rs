//! Starting and stopping: the supervisor itself, and what operators ask of it.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{FAST, Home, SLEEPER, is_alive, kill, wait_until};

fn supervisors(home: &Home) -> usize {
    let all = home.processes();
    all.iter()
        .filter(|process| process.cmdline.contains("__supervise"))
        .count()
}

#[test]
fn start_brings_every_wanted_bot_up_and_stop_leaves_nothing() {
    let home = Home::new();
    home.create("one", SLEEPER);
    home.create("two", SLEEPER);
    home.create_with("down", &["--no-start"], SLEEPER);
    home.ok(&["start"])
        .says(&["supervisor started (pid", "2 of 2 wanted bots running"]);
    let status = home.ok(&["status", "--json"]).json();
    assert_eq!(status["supervisor"]["running"], true);
    assert_eq!(
        (&status["summary"]["running"], &status["summary"]["stopped"]),
        (&json!(2), &json!(1))
    );
    let pids = [home.pid("one"), home.pid("two"), home.supervisor_pid()];
    home.ok(&["start"]).says(&["already runs"]);
    assert_eq!(pids, [home.pid("one"), home.pid("two"), home.supervisor_pid()]);
    home.ok(&["stop"]).says(&["2 bots"]);
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    home.assert_nothing_left();
    home.run(&["status"]).code(3);
    home.ok(&["stop"]).says(&["no supervisor runs"]);
    // What is wanted has not changed.
    home.ok(&["start"]).says(&["2 of 2 wanted bots running"]);
}

#[test]
fn two_starts_at_one_moment_make_one_supervisor_and_two_successes() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    let mut starts: Vec<_> = (0..4).map(|_| home.spawn(&["start"])).collect();
    for start in &mut starts {
        assert_eq!(start.end(&home), Some(0), "{}", start.err());
    }
    wait_until("the losers have left", &home, || supervisors(&home) == 1);
    assert_eq!(home.count_events("shop", "starting"), 1);
}

#[test]
fn a_second_supervisor_is_refused_with_the_pid_of_the_first() {
    let home = Home::new();
    home.ok(&["start"]);
    let pid = format!("pid {}", home.supervisor_pid());
    home.run(&["start", "--foreground"])
        .code(1)
        .one_line(&["already runs", &pid]);
    home.run(&["up"]).code(1).one_line(&["already runs", &pid]);
    assert_eq!(supervisors(&home), 1);
}

#[test]
fn a_foreground_supervisor_tells_its_status_and_stops_gracefully_when_told() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = Home::new();
        home.create(
            "shop",
            "trap 'echo closed; exit 0' TERM; echo open; while :; do sleep 0.05; done",
        );
        let mut supervisor = home.spawn(&["start", "--foreground"]);
        home.wait_log("shop", "open");
        home.wait_state("shop", "running");
        assert_eq!(home.supervisor_pid(), supervisor.pid());
        wait_until("the status line is told", &home, || {
            supervisor.err().contains("Status: 1 processes")
        });
        kill(supervisor.pid(), signal);
        assert_eq!(supervisor.end(&home), Some(0));
        assert!(home.log_of("shop").contains("out closed"));
        home.assert_nothing_left();
        let snapshot = home.read("run/status.json");
        assert!(snapshot.contains("\"stage\":\"stopped\""), "{snapshot}");
    }
}

#[test]
fn the_background_supervisor_is_detached_from_its_starter() {
    let home = Home::new();
    home.ok(&["start"]);
    let supervisor = home.supervisor_pid();
    let fields = crate::harness::stat(supervisor).unwrap();
    assert_eq!(fields[3], supervisor.to_string(), "it leads its own session");
    assert_eq!(fields[4], "0", "it has no terminal");
    for number in [0, 1, 2] {
        let open = fs::read_link(format!("/proc/{supervisor}/fd/{number}")).unwrap();
        assert_eq!(open, Path::new("/dev/null"));
    }
    assert_eq!(
        fs::read_link(format!("/proc/{supervisor}/cwd")).unwrap(),
        Path::new("/")
    );
}

#[test]
fn restart_of_all_leaves_stopped_bots_down() {
    let home = Home::new();
    home.create("one", SLEEPER);
    home.create("two", SLEEPER);
    home.ok(&["start"]);
    home.ok(&["bot", "stop", "two"]);
    let pid = home.pid("one");
    home.ok(&["bot", "restart", "--all"]).says(&["one running"]);
    assert_ne!(home.pid("one"), pid);
    assert!(!is_alive(pid));
    assert_eq!(home.state("two"), "stopped");
    // A restart that was asked for is no failure.
    assert_eq!(home.bot("one")["restarts"], 0);
    // By name it is a wish to have it running.
    home.ok(&["bot", "restart", "two"]);
    assert_eq!(home.state("two"), "running");
}

#[test]
fn a_disabled_bot_stays_down_whatever_is_wanted() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    let pid = home.pid("shop");
    home.ok(&["bot", "disable", "shop"]);
    assert!(!is_alive(pid));
    let bot = home.bot("shop");
    assert_eq!(
        (&bot["state"], &bot["reason"], &bot["wanted"]),
        (&json!("stopped"), &json!("disabled"), &json!("up"))
    );
    home.ok(&["status"]);
    home.run(&["bot", "start", "shop"])
        .code(1)
        .one_line(&["disabled", "bot enable shop"]);
    home.ok(&["stop"]);
    home.ok(&["start"]);
    assert_eq!(home.state("shop"), "stopped");
    home.ok(&["bot", "enable", "shop"]);
    home.wait_state("shop", "running");
    home.ok(&["bot", "disable", "shop"]);
    home.ok(&["bot", "start", "shop", "--force"]);
    assert_eq!(home.state("shop"), "running");
}

#[test]
fn a_running_bot_is_not_removed_unless_forced() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    home.wait_log("shop", "awake");
    let pid = home.pid("shop");
    home.run(&["bot", "remove", "shop"])
        .code(1)
        .one_line(&["shop runs", "--force"]);
    assert!(is_alive(pid));
    home.ok(&["bot", "remove", "shop", "--force"]);
    assert!(!is_alive(pid));
    assert_eq!(home.status()["bots"], json!([]));
    // Its log can still be read, and its name and token are free.
    assert!(home.ok(&["logs", "shop"]).out.contains("awake"));
    home.create("shop", SLEEPER);
    home.wait_state("shop", "running");
}

#[test]
fn hangup_takes_over_changed_defaults_and_survives_broken_ones() {
    let home = Home::new();
    home.create("shop", "echo \"greeting $GREETING\"; exec sleep 100000");
    home.ok(&["start"]);
    let supervisor = home.supervisor_pid();
    home.write("home/multibot.yaml", &format!("{FAST}  env: {{GREETING: hello}}\n"));
    kill(supervisor, Signal::HUP);
    home.wait_log("shop", "greeting hello");
    home.write("home/multibot.yaml", "defaults: [\n");
    kill(supervisor, Signal::HUP);
    home.wait_log("supervisor", "settings are not taken over");
    assert_eq!(
        (home.supervisor_pid(), home.state("shop")),
        (supervisor, "running".to_owned())
    );
    home.write("home/multibot.yaml", FAST);
}

#[test]
fn defaults_that_make_no_sense_stop_no_bot() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.create("desk", SLEEPER);
    home.set("desk", &["limits.memory.max=4GiB", "limits.memory.warn=3GiB"]);
    home.ok(&["start"]);
    let (supervisor, shop, desk) = (home.supervisor_pid(), home.pid("shop"), home.pid("desk"));
    let notes = |home: &Home| home.status()["supervisor"]["notes"].to_string();
    let typo = "  limits: {memory: {max: 100MiB, warn: 200MiB}}\n";
    home.write("home/multibot.yaml", &format!("{FAST}{typo}"));
    let fault = format!(
        "multibot.yaml:{}:40: defaults.limits.memory.warn:",
        FAST.lines().count() + 1
    );
    kill(supervisor, Signal::HUP);
    wait_until("the fault is told", &home, || {
        let notes = notes(&home);
        notes.contains("settings are not taken over") && notes.contains(&fault)
    });
    assert_eq!((home.pid("shop"), home.pid("desk")), (shop, desk));
    // Sound by itself, but not with what one of the bots says of its own.
    let max = "  limits: {memory: {max: 2GiB, warn: 1GiB}}\n";
    home.write("home/multibot.yaml", &format!("{FAST}{max}"));
    kill(supervisor, Signal::HUP);
    wait_until("it is sound again", &home, || !notes(&home).contains("not taken over"));
    home.set("desk", &["limits.memory.max=1500MiB", "limits.memory.warn=1GiB"]);
    let warn = "  limits: {memory: {max: 4GiB, warn: 3GiB}}\n";
    home.write(
        "bots/desk.yaml",
        "id: desk\ncommand: [/bin/true]\nlimits: {memory: {max: 1GiB}}\n",
    );
    home.write("home/multibot.yaml", &format!("{FAST}{warn}"));
    home.run(&["apply", "bots"]).code(1).one_line(&[
        "desk.yaml:3:24: limits.memory.warn: 3.0 GiB is more than limits.memory.max, 1.0 GiB",
        "(limits.memory.warn stands in defaults of multibot.yaml)",
    ]);
    assert_eq!((home.pid("shop"), home.pid("desk")), (shop, desk));
    home.ok(&["stop"]);
    home.write("home/multibot.yaml", &format!("{FAST}{typo}"));
    home.run(&["start"]).code(1).one_line(&[&fault]);
    home.write("home/multibot.yaml", FAST);
}

#[test]
fn a_bot_goes_on_with_its_old_settings_while_the_new_ones_are_unusable() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.set("shop", &["limits.memory.max=2GiB"]);
    home.ok(&["start"]);
    let (supervisor, pid) = (home.supervisor_pid(), home.pid("shop"));
    home.write(
        "home/multibot.yaml",
        &format!("{FAST}  limits: {{memory: {{warn: 3GiB}}}}\n"),
    );
    kill(supervisor, Signal::HUP);
    let said = "its new settings are not taken over: limits.memory.warn: 3.0 GiB is more than limits.memory.max, \
                2.0 GiB (limits.memory.warn stands in defaults of multibot.yaml)";
    wait_until("it says so", &home, || home.reason("shop") == said);
    assert_eq!((home.pid("shop"), home.state("shop").as_str()), (pid, "running"));
    // The next supervisor has only the unusable ones, and leaves it alone all the same.
    home.kill_supervisor();
    home.ok(&["start"]);
    wait_until("it is adopted", &home, || home.reason("shop") == said);
    assert_eq!((home.pid("shop"), home.state("shop").as_str()), (pid, "running"));
    // What is to be started is held.
    home.ok(&["bot", "stop", "shop"]);
    home.run(&["bot", "start", "shop"]).code(1);
    let bot = home.bot("shop");
    assert_eq!((&bot["state"], &bot["platform"]), (&json!("held"), &json!("none")));
    home.write("home/multibot.yaml", FAST);
    kill(home.supervisor_pid(), Signal::HUP);
    home.wait_state("shop", "running");
}

#[test]
fn exit_codes_are_as_promised() {
    let home = Home::missing();
    home.run(&["status"]).code(3);
    home.run(&["bot", "restart", "shop"])
        .code(3)
        .one_line(&["no supervisor runs", "multibot start"]);
    home.run(&[]).code(2);
    home.run(&["stauts"])
        .code(2)
        .one_line(&["stauts", "nearest are", "'status'"]);
    home.run(&["bot", "start"]).code(2);
    home.run(&["bot", "stop", "shop", "--all"]).code(2);
    home.run(&["start", "--timeout", "soon"]).code(2).one_line(&["soon"]);
    home.run(&["status", "shop"]).code(4);
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    home.ok(&["status"]);
    home.run(&["status", "other"]).code(4);
    home.set("shop", &["ready.when=signal", "ready.timeout=1h"]);
    home.run(&["bot", "restart", "shop", "--timeout", "100ms"])
        .code(75)
        .one_line(&["shop", "multibot status"]);
    home.run(&["status"]).code(1);
    home.ok(&["bot", "stop", "shop"]);
    home.ok(&["status"]);
}

#[test]
fn a_start_that_takes_too_long_ends_with_75_and_goes_on() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.set("shop", &["ready.min_uptime=2s"]);
    home.run(&["start", "--timeout", "100ms"])
        .code(75)
        .one_line(&["multibot status"]);
    home.wait_state("shop", "running");
}

#[test]
fn a_supervisor_that_hangs_is_told_of_and_force_ends_it_with_its_bots() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    let (supervisor, pid) = (home.supervisor_pid(), home.pid("shop"));
    kill(supervisor, Signal::STOP);
    wait_until("status calls it stale", &home, || {
        home.status()["supervisor"]["stale"] == true
    });
    home.run(&["status"]).code(1).says(&["halted by a signal"]);
    // Both wait for the answer that does not come; side by side they take half the time.
    let mut asked = home.spawn(&["bot", "restart", "shop"]);
    home.ok(&["stop", "--force"]).says(&["does not answer and is killed"]);
    let code = asked.end(&home);
    assert!(matches!(code, Some(75 | 3)), "{code:?} {}", asked.err());
    assert_eq!(asked.err().lines().count(), 1, "{}", asked.err());
    assert!(!is_alive(supervisor) && !is_alive(pid));
    home.assert_nothing_left();
}

#[test]
fn many_verbs_at_once_are_all_obeyed() {
    let home = Home::new();
    for bot in ["a", "b", "c", "d"] {
        home.create(bot, SLEEPER);
    }
    home.ok(&["start"]);
    let mut verbs = Vec::new();
    for bot in ["a", "b", "c", "d"] {
        verbs.push(home.spawn(&["bot", "restart", bot]));
        verbs.push(home.spawn(&["bot", "set", bot, "restart.delay=3s"]));
        verbs.push(home.spawn(&["status", "--json"]));
    }
    for verb in &mut verbs {
        let code = verb.end(&home);
        assert!(matches!(code, Some(0 | 1)), "{code:?} {}", verb.err());
        assert!(
            verb.err().lines().all(|line| !line.starts_with("multibot: ")),
            "{}",
            verb.err()
        );
    }
    for bot in ["a", "b", "c", "d"] {
        home.wait_state(bot, "running");
        assert_eq!(
            home.ok(&["bot", "show", bot, "--json"]).json()["settings"]["restart.delay"],
            "3s"
        );
    }
}

#[test]
fn every_action_leaves_a_row_in_the_audit() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    home.set("shop", &["restart.delay=2s"]);
    home.ok(&["bot", "restart", "shop"]);
    home.ok(&["bot", "disable", "shop"]);
    home.ok(&["bot", "enable", "shop"]);
    home.ok(&["bot", "stop", "shop"]);
    home.ok(&["bot", "start", "shop"]);
    home.ok(&["bot", "remove", "shop", "--force"]);
    let rows = home.ok(&["audit", "--json", "--bot", "shop"]).records();
    let actions: Vec<&str> = rows.iter().filter_map(|row| row["action"].as_str()).collect();
    let expected = [
        "bot create",
        "bot set",
        "bot restart",
        "bot disable",
        "bot enable",
        "bot stop",
        "bot start",
        "bot stop",
        "bot remove",
    ];
    assert_eq!(actions, expected);
    assert!(
        rows.iter()
            .all(|row| row["actor"].as_str().is_some_and(|actor| actor.starts_with("cli:")))
    );
}

#[test]
fn restart_brings_everything_back_as_it_was_wanted() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.create_with("down", &["--no-start"], SLEEPER);
    home.ok(&["restart"]).says(&["1 of 1 wanted bots running"]);
    let (supervisor, pid) = (home.supervisor_pid(), home.pid("shop"));
    home.ok(&["restart"]);
    assert_ne!((home.supervisor_pid(), home.pid("shop")), (supervisor, pid));
    assert_eq!(home.state("down"), "stopped");
}

#[test]
fn a_start_does_not_trust_a_supervisor_that_was_just_killed() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    // Nobody waits for the end of the killed one: that is the moment in question.
    kill(home.supervisor_pid(), Signal::KILL);
    home.run(&["start"]);
    home.ok(&["list"]);
    let status = home.run(&["status", "--json"]).json();
    assert_eq!(status["supervisor"]["running"], true);
}

#[test]
fn what_was_stored_while_the_supervisor_was_halted_holds_when_it_wakes() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    let supervisor = home.supervisor_pid();
    kill(supervisor, Signal::STOP);
    home.run(&["bot", "stop", "shop"])
        .code(75)
        .one_line(&["does not answer", "what was stored"]);
    kill(supervisor, Signal::CONT);
    home.wait_state("shop", "stopped");
}

#[test]
fn a_supervisor_whose_snapshot_is_gone_is_not_called_stopped() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    fs::remove_file(home.path("run/status.json")).unwrap();
    home.run(&["status"]).code(1).says(&["has not published its state"]);
    assert_eq!(home.status()["supervisor"]["running"], true);
    assert_eq!(home.status()["supervisor"]["stale"], true);
}

#[test]
fn a_disabled_bot_is_neither_restarted_nor_called_running() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.create("other", SLEEPER);
    home.ok(&["start"]);
    home.ok(&["bot", "disable", "shop"]);
    home.run(&["bot", "restart", "shop"])
        .code(1)
        .one_line(&["shop is disabled"]);
    let told = home
        .ok(&["bot", "start", "--all"])
        .says(&["shop is disabled", "other running"]);
    assert!(!told.err.contains("shop, other running"), "{told:?}");
}
