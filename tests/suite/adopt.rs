//! A supervisor that is killed leaves its bots running; the next one takes them over as they are, and there
//! are never two copies of one.

use std::fs;

use multibot::model::units::Stamp;
use multibot::store::{Access, Store, Which};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Home, SLEEPER, copies, is_alive, kill, stat, wait_until};

/// Counts in its log, and goes on whatever becomes of its output.
const COUNTER: &str = "trap '' PIPE\ni=0; while :; do echo line $i; i=$((i+1)); sleep 0.01; done";

fn store(home: &Home) -> Store {
    Store::open(&home.path("multibot.db"), Access::Write).unwrap()
}

/// What the shim noted and what the supervisor saw of it lie a few milliseconds apart.
fn are_near(one: &Value, other: &Value) -> bool {
    let time = |value: &Value| {
        value
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
            .as_millisecond()
    };
    (time(one) - time(other)).abs() < 1000
}

/// Has the shim and everything of a bot end as a power cut would end it.
fn wipe_out(home: &Home, bot: &str) -> (u32, u32) {
    let (pid, shim) = (home.pid(bot), home.shim_pid(bot));
    kill(shim, Signal::KILL);
    wait_until("the shim is gone", home, || !is_alive(shim));
    kill(pid, Signal::KILL);
    wait_until("the bot is gone", home, || !is_alive(pid));
    (pid, shim)
}

/// Writes a bot's run record anew, changed.
fn alter_record(home: &Home, bot: &str, change: impl FnOnce(&mut Value)) {
    let mut record = home.run_record(bot);
    change(&mut record);
    fs::write(home.path(&format!("run/{bot}/run.json")), record.to_string()).unwrap();
}

#[test]
fn every_bot_is_adopted_as_it_is() {
    let home = Home::new();
    let mark = home.base().join("ran");
    home.create(
        "shop",
        &format!("[ -e {0} ] || {{ touch {0}; exit 1; }}\n{SLEEPER}", mark.display()),
    );
    home.create("other", SLEEPER);
    home.ok(&["start"]);
    home.wait_state("shop", "running");
    wait_until("it was restarted", &home, || home.bot("shop")["restarts"] == 1);
    let before = home.status();
    let old = home.kill_supervisor();
    home.run(&["status"]).code(3);
    assert_eq!(home.reason("shop"), "runs without a supervisor");
    home.ok(&["start"]).says(&["2 of 2 wanted bots running"]);
    assert_ne!(home.supervisor_pid(), old);
    let after = home.status();
    for (bot, number) in [("shop", 0), ("other", 1)] {
        let (before, after) = (&before["bots"][number], &after["bots"][number]);
        for field in ["pid", "run_id", "restarts", "state", "connected"] {
            assert_eq!(before[field], after[field], "{bot}: {field}");
        }
        assert_eq!(before["last_exit"]["code"], after["last_exit"]["code"], "{bot}");
        assert!(are_near(&before["started_at"], &after["started_at"]), "{bot}");
        assert_eq!(copies(&home, bot), 1);
        assert_eq!(home.count_events(bot, "adopted"), 1);
    }
    assert_eq!(home.count_events("shop", "exited"), 1);
    // It obeys the new supervisor as it did the old one.
    let pid = home.pid("shop");
    home.ok(&["bot", "restart", "shop"]);
    assert!(!is_alive(pid));
    assert_eq!((home.state("shop"), copies(&home, "shop")), ("running".to_owned(), 1));
}

#[test]
fn supervisors_may_be_killed_again_and_again() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    let (pid, since) = (home.pid("shop"), home.bot("shop")["started_at"].clone());
    for _ in 0..5 {
        home.kill_supervisor();
        home.ok(&["start"]);
        assert_eq!((home.pid("shop"), copies(&home, "shop")), (pid, 1));
    }
    let bot = home.bot("shop");
    assert!(are_near(&bot["started_at"], &since) && bot["restarts"] == 0);
}

#[test]
fn adoption_is_published_before_anything_is_started() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    home.kill_supervisor();
    home.create("fresh", SLEEPER);
    // Every snapshot is a new file under one name: a link keeps the first one that comes.
    let mut start = home.spawn(&["start"]);
    let mut stages = Vec::new();
    wait_until("it is ready", &home, || {
        let text = home.read("run/status.json");
        if let Ok(snapshot) = serde_json::from_str::<Value>(&text) {
            stages.push((snapshot["supervisor"]["stage"].clone(), snapshot["bots"].clone()));
        }
        stages
            .last()
            .is_some_and(|(stage, bots)| stage == "running" && bots[1]["state"] == "running")
    });
    assert_eq!(start.end(&home), Some(0));
    // How fast that goes is the host's business; where it was seen, it was true.
    for (_, bots) in stages.iter().filter(|(stage, _)| stage == "adopting") {
        assert_eq!(
            (&bots[0]["state"], &bots[1]["state"]),
            (&json!("adopting"), &json!("adopting"))
        );
        assert!(bots[0]["pid"].is_u64() && bots[1]["pid"].is_null(), "{bots}");
    }
}

#[test]
fn a_log_has_no_gap() {
    let home = Home::new();
    home.create("shop", COUNTER);
    home.ok(&["start"]);
    home.wait_log("shop", "line 10\n");
    home.kill_supervisor();
    let lines = || home.log_of("shop").lines().count();
    let before = lines();
    wait_until("it writes on", &home, || lines() > before + 20);
    home.ok(&["start"]);
    let before = lines();
    wait_until("it still writes", &home, || lines() > before + 20);
    let log = home.log_of("shop");
    let numbers = log
        .lines()
        .filter_map(|line| line.rsplit_once(" line ")?.1.parse::<usize>().ok());
    for (expected, found) in numbers.enumerate() {
        assert_eq!(found, expected);
    }
}

#[test]
fn an_end_that_nobody_saw_is_known_and_counts() {
    let home = Home::new();
    home.create(
        "shop",
        "[ -e went ] && exec sleep 100000; while [ ! -e go ]; do sleep 0.02; done; touch went; exit 7",
    );
    home.create("calm", "while [ ! -e go ]; do sleep 0.02; done; exit 0");
    home.set("calm", &["restart.policy=on-failure"]);
    home.ok(&["start"]);
    let (pid, calm) = (home.pid("shop"), home.pid("calm"));
    home.kill_supervisor();
    home.write("go", "");
    wait_until("both have ended", &home, || !is_alive(pid) && !is_alive(calm));
    home.run(&["start"]).code(1);
    home.wait_state("shop", "running");
    let bot = home.bot("shop");
    assert_eq!((&bot["restarts"], &bot["last_exit"]["code"]), (&json!(1), &json!(7)));
    assert_eq!((home.count_events("shop", "exited"), copies(&home, "shop")), (1, 1));
    let told = home.wait_event("shop", "exited");
    assert!(
        told["detail"].as_str().unwrap().ends_with("while no supervisor ran"),
        "{told}"
    );
    // What was not to come back does not.
    let bot = home.bot("calm");
    assert_eq!(
        (&bot["state"], &bot["last_exit"]["code"]),
        (&json!("stopped"), &json!(0))
    );
}

#[test]
fn a_bot_that_was_given_up_stays_so_until_somebody_asks_for_it() {
    let home = Home::new();
    home.create("shop", "exit 1");
    home.set("shop", &["restart.max_restarts=2"]);
    home.run(&["start"]);
    home.wait_state("shop", "failed");
    let before = home.bot("shop");
    home.kill_supervisor();
    home.run(&["start"]).code(1);
    let after = home.bot("shop");
    for field in ["state", "reason", "restarts"] {
        assert_eq!(before[field], after[field], "{field}");
    }
    assert!(are_near(&before["next_restart_at"], &after["next_restart_at"]));
    assert!(are_near(&before["last_exit"]["at"], &after["last_exit"]["at"]));
    assert_eq!(home.count_events("shop", "exited"), 3);
    home.kill_supervisor();
    home.ok(&["bot", "start", "shop"]);
    home.run(&["start"]);
    wait_until("it was tried again", &home, || home.count_events("shop", "exited") == 6);
    // After a stop everything begins anew.
    home.ok(&["stop"]);
    home.run(&["start"]);
    wait_until("it was tried again", &home, || home.count_events("shop", "exited") == 9);
}

#[test]
fn readiness_that_was_told_once_is_known_to_the_next_supervisor() {
    let home = Home::new();
    home.ok(&["bot", "create", "demo"]);
    home.ok(&["start"]);
    home.wait_state("demo", "running");
    wait_until("it is connected", &home, || home.bot("demo")["connected"] == true);
    let pid = home.pid("demo");
    home.kill_supervisor();
    home.ok(&["start"]);
    let bot = home.bot("demo");
    assert_eq!(
        (&bot["state"], &bot["pid"], &bot["connected"]),
        (&json!("running"), &json!(pid), &json!(true))
    );
    home.ok(&["send", "demo", "--text", "hello", "--wait"]);
}

#[test]
fn a_pid_that_somebody_else_has_now_is_not_taken_for_the_bot() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    home.kill_supervisor();
    wipe_out(&home, "shop");
    let mut stranger = std::process::Command::new("sleep").arg("100000").spawn().unwrap();
    alter_record(&home, "shop", |record| {
        // The pids are in use again; the start times are those of the dead.
        record["shim"]["pid"] = json!(stranger.id());
        record["process"]["pid"] = json!(stranger.id());
    });
    let started = home.run(&["start"]);
    let is_unharmed = stranger.try_wait().unwrap().is_none();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    started.code(0);
    assert!(is_unharmed);
    let bot = home.bot("shop");
    assert_eq!((&bot["state"], &bot["restarts"]), (&json!("running"), &json!(1)));
    assert_ne!(bot["pid"], json!(stranger.id()));
}

#[test]
fn records_of_another_boot_are_void() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    kill(home.pid("shop"), Signal::KILL);
    wait_until("it was restarted", &home, || home.bot("shop")["restarts"] == 1);
    home.wait_state("shop", "running");
    home.kill_supervisor();
    wipe_out(&home, "shop");
    let mut stranger = std::process::Command::new("sleep").arg("100000").spawn().unwrap();
    let start: u64 = stat(stranger.id()).unwrap()[19].parse().unwrap();
    alter_record(&home, "shop", |record| {
        for process in ["shim", "process"] {
            record[process]["pid"] = json!(stranger.id());
            record[process]["start_ticks"] = json!(start);
            record[process]["boot_id"] = json!("00000000-0000-0000-0000-000000000000");
        }
    });
    let path = home.path("run/shop/ledger.json");
    let ledger = fs::read_to_string(&path).unwrap();
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    fs::write(
        &path,
        ledger.replace(boot_id.trim(), "00000000-0000-0000-0000-000000000000"),
    )
    .unwrap();
    let started = home.run(&["start"]);
    let is_unharmed = stranger.try_wait().unwrap().is_none();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    started.code(0);
    assert!(is_unharmed);
    let bot = home.bot("shop");
    assert_eq!(
        (&bot["state"], &bot["restarts"], &bot["last_exit"]),
        (&json!("running"), &json!(0), &Value::Null)
    );
}

#[test]
fn a_bot_whose_shim_and_supervisor_were_killed_is_ended_before_the_next_run() {
    let home = Home::new();
    home.create("shop", "setsid sleep 100000 & exec sleep 100000");
    // It does not die of a log that nobody reads.
    home.create("loud", COUNTER);
    home.ok(&["start"]);
    home.wait_log("loud", "line 3");
    let (pids, shims) = (
        [home.pid("shop"), home.pid("loud")],
        [home.shim_pid("shop"), home.shim_pid("loud")],
    );
    home.kill_supervisor();
    for shim in shims {
        kill(shim, Signal::KILL);
        wait_until("the shim is gone", &home, || !is_alive(shim));
    }
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    home.ok(&["start"]);
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    for bot in ["shop", "loud"] {
        home.wait_state(bot, "running");
        assert_eq!((home.bot(bot)["restarts"].clone(), copies(&home, bot)), (json!(1), 1));
        let told = home.wait_event(bot, "exited");
        assert!(told["detail"].as_str().unwrap().contains("shim killed"), "{told}");
    }
}

#[test]
fn a_bot_that_died_under_a_halted_shim_is_counted_when_the_shim_goes_on() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    let (pid, shim) = (home.pid("shop"), home.shim_pid("shop"));
    kill(shim, Signal::STOP);
    kill(pid, Signal::KILL);
    wait_until("the bot is gone", &home, || !is_alive(pid));
    home.kill_supervisor();
    home.ok(&["start"]);
    wait_until("it was restarted", &home, || home.bot("shop")["restarts"] == 1);
    home.wait_state("shop", "running");
    assert_eq!(home.bot("shop")["last_exit"]["signal"], 9);
    assert_eq!((copies(&home, "shop"), is_alive(shim)), (1, false));
}

#[test]
fn a_supervisor_that_is_killed_while_it_starts_bots_loses_and_doubles_none() {
    let bots = ["a", "b", "c", "d"];
    let home = Home::new();
    for bot in bots {
        home.create(bot, SLEEPER);
    }
    for round in bots {
        // Killed at the moment at which this bot is recorded: some are started, some have their orders.
        let mut supervisor = home.spawn(&["start", "--foreground"]);
        let record = home.path(&format!("run/{round}/run.json"));
        wait_until("a bot is recorded", &home, || record.exists());
        kill(supervisor.pid(), Signal::KILL);
        supervisor.end(&home);
        home.ok(&["start"]);
        for bot in bots {
            assert_eq!(
                (home.state(bot), copies(&home, bot)),
                ("running".to_owned(), 1),
                "{bot}"
            );
            assert_eq!(home.bot(bot)["restarts"], 0, "{bot}");
        }
        home.ok(&["stop"]);
        for bot in bots {
            fs::remove_file(home.path(&format!("run/{bot}/run.json"))).unwrap();
        }
    }
}

#[test]
fn a_stop_that_was_under_way_goes_on_and_is_no_failure() {
    let home = Home::new();
    home.create(
        "slow",
        "trap 'sleep 1; exit 0' TERM; echo awake; while :; do sleep 0.05; done",
    );
    home.create("deaf", "trap '' TERM; echo awake; while :; do sleep 0.05; done");
    home.set("deaf", &["stop.grace=1h"]);
    home.ok(&["start"]);
    home.wait_log("slow", "awake");
    home.wait_log("deaf", "awake");
    let (slow, deaf) = (home.pid("slow"), home.pid("deaf"));
    home.run(&["stop", "--timeout", "100ms"]).code(75);
    home.kill_supervisor();
    let mut start = home.spawn(&["start"]);
    home.wait_state("deaf", "stopping");
    assert!(is_alive(deaf));
    // The supervisor was started to run its bots: what was being ended comes back.
    wait_until("the slow one is back", &home, || {
        let bot = home.bot("slow");
        bot["state"] == "running" && bot["pid"] != json!(slow)
    });
    home.ok(&["bot", "restart", "deaf", "--force"]);
    assert!(!is_alive(deaf));
    for bot in ["slow", "deaf"] {
        assert_eq!((home.bot(bot)["restarts"].clone(), copies(&home, bot)), (json!(0), 1));
    }
    assert_eq!(start.end(&home), Some(0));
}

#[test]
fn what_was_stored_while_no_supervisor_ran_is_obeyed() {
    let home = Home::new();
    for bot in ["shop", "gone", "stay"] {
        home.create(bot, SLEEPER);
    }
    home.ok(&["start"]);
    let pids = ["shop", "gone", "stay"].map(|bot| home.pid(bot));
    home.kill_supervisor();
    // Stored only: the command would end them itself.
    let id = |bot: &str| bot.parse().unwrap();
    store(&home)
        .bots()
        .set_wanted(Which::Only(&[id("shop")]), multibot::model::bot::Wanted::Down, Stamp(0))
        .unwrap();
    store(&home).bots().remove(&id("gone")).unwrap();
    home.ok(&["start"]);
    wait_until("both are ended", &home, || !is_alive(pids[0]) && !is_alive(pids[1]));
    home.wait_state("shop", "stopped");
    assert_eq!(home.pid("stay"), pids[2]);
    let bots = home.status()["bots"].as_array().unwrap().len();
    assert_eq!(bots, 2);
    assert_eq!(
        (copies(&home, "shop"), copies(&home, "gone"), copies(&home, "stay")),
        (0, 0, 1)
    );
    // A bot of the same name is a new one.
    home.create("gone", SLEEPER);
    home.wait_state("gone", "running");
    assert_eq!(home.bot("gone")["restarts"], 0);
}

#[test]
fn settings_that_were_changed_while_no_supervisor_ran_hold() {
    let home = Home::new();
    for bot in ["shop", "calm", "same"] {
        home.create(bot, "echo has $WORD; exec sleep 100000");
    }
    home.ok(&["start"]);
    // The default, written out: it comes to the same.
    home.set("same", &["stop.grace=5s"]);
    let pids = ["shop", "calm", "same"].map(|bot| home.pid(bot));
    home.kill_supervisor();
    home.set("shop", &["env.WORD=changed"]);
    home.set("calm", &["restart.delay=9s"]);
    home.ok(&["start"]);
    home.wait_log("shop", "has changed");
    home.wait_state("shop", "running");
    assert!(!is_alive(pids[0]));
    assert_eq!([home.pid("calm"), home.pid("same")], pids[1..]);
    assert_eq!(
        (home.bot("shop")["restarts"].clone(), copies(&home, "shop")),
        (json!(0), 1)
    );
}

#[test]
fn a_run_of_an_earlier_release_is_adopted_as_well() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.create(
        "ended",
        "while [ ! -e go ]; do sleep 0.02; done; touch went; exec sleep 100000",
    );
    home.ok(&["start"]);
    home.ok(&["bot", "create", "demo"]);
    home.wait_state("demo", "running");
    home.set("demo", &["ready.timeout=2s"]);
    let (pid, ended, demo) = (home.pid("shop"), home.pid("ended"), home.pid("demo"));
    home.kill_supervisor();
    // Its records lack what was added since, and it kept no ledgers.
    for bot in ["shop", "ended", "demo"] {
        alter_record(&home, bot, |record| {
            record.as_object_mut().unwrap().remove("recipe");
        });
        let _ = fs::remove_file(home.path(&format!("run/{bot}/ledger.json")));
    }
    kill(ended, Signal::KILL);
    wait_until("its end is recorded", &home, || {
        home.path("run/ended/exit.json").exists()
    });
    let exit = home.read("run/ended/exit.json").replace(",\"asked\":false", "");
    assert!(!exit.contains("asked"), "{exit}");
    fs::write(home.path("run/ended/exit.json"), exit).unwrap();
    home.write("go", "");
    home.ok(&["start"]);
    assert_eq!((home.pid("shop"), copies(&home, "shop")), (pid, 1));
    assert_eq!((home.pid("demo"), home.state("demo")), (demo, "running".to_owned()));
    let bot = home.bot("ended");
    assert_eq!((&bot["restarts"], &bot["last_exit"]["signal"]), (&json!(1), &json!(9)));
}

#[test]
fn an_end_that_was_counted_and_not_told_is_told() {
    let home = Home::new();
    home.create("shop", "exit 1");
    home.set("shop", &["restart.max_restarts=0"]);
    home.run(&["start"]);
    home.wait_state("shop", "failed");
    wait_until("it is told", &home, || home.count_events("shop", "exited") == 1);
    home.kill_supervisor();
    store(&home).events().prune_events(Stamp(0), 0).unwrap();
    home.run(&["start"]).code(1);
    wait_until("it is told", &home, || home.count_events("shop", "exited") == 1);
    assert_eq!(
        (home.state("shop"), home.bot("shop")["restarts"].clone()),
        ("failed".to_owned(), json!(0))
    );
}

#[test]
fn a_torn_record_is_mended_from_what_runs() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    let before = home.bot("shop");
    let pid = home.pid("shop");
    home.kill_supervisor();
    let whole = home.read("run/shop/run.json");
    fs::write(home.path("run/shop/run.json"), &whole[..whole.len() / 2]).unwrap();
    // Also commands that find no supervisor are not deceived.
    assert_eq!(home.bot("shop")["pid"], json!(pid));
    home.run(&["bot", "remove", "shop"]).code(1).says(&["shop runs"]);
    home.ok(&["start"]);
    let after = home.bot("shop");
    for field in ["pid", "run_id", "state"] {
        assert_eq!(before[field], after[field], "{field}");
    }
    assert_eq!(home.run_record("shop")["process"]["pid"], json!(pid));
    assert_eq!(copies(&home, "shop"), 1);
    home.ok(&["bot", "stop", "shop"]);
    assert!(!is_alive(pid));
}

#[test]
fn a_torn_record_of_a_bot_without_a_shim_leaves_no_second_copy() {
    for args in [&["start"][..], &["stop"]] {
        let home = Home::new();
        home.create("shop", "setsid sleep 100000 & exec sleep 100000");
        home.ok(&["start"]);
        let (pid, shim) = (home.pid("shop"), home.shim_pid("shop"));
        home.kill_supervisor();
        kill(shim, Signal::KILL);
        wait_until("the shim is gone", &home, || !is_alive(shim));
        fs::write(home.path("run/shop/run.json"), "{\"v\":1,\"run_id\":\"01").unwrap();
        home.ok(args);
        assert!(!is_alive(pid));
        if args == ["start"] {
            home.wait_state("shop", "running");
            assert_eq!(
                (home.bot("shop")["restarts"].clone(), copies(&home, "shop")),
                (json!(1), 1)
            );
        } else {
            home.assert_nothing_left();
        }
    }
}

#[test]
fn what_cannot_be_made_out_is_held_and_said() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    home.kill_supervisor();
    wipe_out(&home, "shop");
    fs::write(home.path("run/shop/run.json"), "torn").unwrap();
    // Somebody whom no record names, in another container perhaps, holds the bot.
    let lock = fs::File::open(home.path("run/locks/shop.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    home.run(&["start"]).code(1).says(&["shop is held: somebody holds"]);
    assert_eq!((home.state("shop"), copies(&home, "shop")), ("held".to_owned(), 0));
    home.run(&["bot", "start", "shop"]).code(1);
    home.run(&["bot", "stop", "shop"]).code(1).says(&["shop is still held"]);
    assert_eq!((home.state("shop"), copies(&home, "shop")), ("held".to_owned(), 0));
    home.run(&["bot", "start", "shop"]).code(1);
    drop(lock);
    home.wait_state("shop", "running");
    assert_eq!(copies(&home, "shop"), 1);
}

#[test]
fn supervisors_that_are_started_at_once_are_one() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    let pid = home.pid("shop");
    home.kill_supervisor();
    let mut starts = [(); 4].map(|()| home.spawn(&["start"]));
    for start in &mut starts {
        assert_eq!(start.end(&home), Some(0), "{}", start.err());
    }
    let said: Vec<String> = starts.iter().map(|start| start.err()).collect();
    let supervisor = format!("(pid {})", home.supervisor_pid());
    assert!(said.iter().all(|line| line.contains(&supervisor)), "{said:?}");
    assert_eq!((home.pid("shop"), copies(&home, "shop")), (pid, 1));
}

#[test]
fn a_supervisor_may_leave_its_bots() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.create("other", SLEEPER);
    home.create("broken", "exit 1");
    home.set("broken", &["restart.max_restarts=1"]);
    home.ok(&["bot", "stop", "other"]);
    home.run(&["start"]);
    home.wait_state("broken", "failed");
    let (pid, old) = (home.pid("shop"), home.supervisor_pid());
    home.ok(&["stop", "--keep-bots"])
        .says(&[&format!("supervisor (pid {old}); 1 bot goes on")]);
    assert!(is_alive(pid) && !is_alive(old));
    home.run(&["status"]).code(3);
    home.ok(&["stop", "--keep-bots"]).says(&["no supervisor runs"]);
    home.run(&["start"]).code(1);
    let states = ["shop", "other", "broken"].map(|bot| home.state(bot));
    assert_eq!(states, ["running", "stopped", "failed"]);
    assert_eq!((home.pid("shop"), copies(&home, "shop")), (pid, 1));
    assert_eq!(home.count_events("broken", "exited"), 2);
    home.run(&["stop", "--keep-bots", "--force"]).code(2);
}

#[test]
fn a_supervisor_that_leaves_waits_for_what_it_has_begun() {
    let home = Home::new();
    let bots: Vec<String> = (0..6).map(|number| format!("bot-{number}")).collect();
    for bot in &bots {
        home.create(bot, SLEEPER);
    }
    let mut start = home.spawn(&["start"]);
    wait_until("it is starting them", &home, || {
        home.path("run/bot-0/run.json").exists()
    });
    home.ok(&["stop", "--keep-bots"]);
    start.end(&home);
    home.ok(&["start"]);
    for bot in &bots {
        assert_eq!((home.state(bot), copies(&home, bot)), ("running".to_owned(), 1));
        assert_eq!(home.bot(bot)["restarts"], 0);
    }
    // A signal is the request to stop, bots included.
    let supervisor = home.supervisor_pid();
    kill(supervisor, Signal::TERM);
    wait_until("it has stopped", &home, || !is_alive(supervisor));
    home.assert_nothing_left();
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
    home.ok(&["start"]);
    assert_eq!((home.state("shop"), home.pid("other")), ("stopped".to_owned(), other));
    // It was ended by somebody's word: no failure.
    home.ok(&["bot", "start", "shop"]);
    assert_eq!(home.bot("shop")["restarts"], 0);
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
