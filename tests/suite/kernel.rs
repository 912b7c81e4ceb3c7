//! What the kernel enforces of a bot, and what is told of it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Home, SLEEPER, is_alive, kill, stat, wait_until};

#[test]
fn nice_and_open_files_reach_the_bot_and_all_that_it_starts() {
    let home = Home::new();
    home.create(
        "shop",
        "sh -c 'echo files $(ulimit -n) $(ulimit -Hn)'; exec sleep 100000",
    );
    home.set("shop", &["nice=7", "kernel.open_files=77"]);
    home.ok(&["start"]);
    home.wait_log("shop", "out files 77 77\n");
    let nice = |pid| stat(pid).unwrap()[NICE].clone();
    assert_eq!(nice(home.pid("shop")), "7");
    assert_eq!(nice(home.shim_pid("shop")), "0");
    assert_eq!(home.bot("shop")["kernel"], json!(["open_files 77", "nice 7"]));
    assert!(home.ok(&["bot", "show", "shop"]).out.contains("open_files 77"));
    // What a process is started with holds from its next start on.
    let pid = home.pid("shop");
    home.set("shop", &["nice=3"]);
    wait_until("it was restarted", &home, || {
        let bot = home.bot("shop");
        bot["pid"].is_u64() && bot["pid"] != json!(pid)
    });
    assert_eq!(nice(home.pid("shop")), "3");
}

/// The field of `/proc/PID/stat` behind the state, which is the first.
const NICE: usize = 16;

#[test]
fn a_limit_that_cannot_be_had_is_told_and_the_bot_runs() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.set("shop", &["kernel.memory_max=64MiB", "kernel.pids_max=50"]);
    home.ok(&["start"]);
    home.wait_state("shop", "running");
    let kernel = home.bot("shop")["kernel"].clone();
    let said: Vec<&str> = kernel.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let is_told = |limit: &str| {
        let refused = format!("{limit}: not in force: ");
        said.iter()
            .filter(|it| **it == limit || it.starts_with(&refused))
            .count()
    };
    assert_eq!(
        (said.len(), is_told("memory.max 64.0 MiB"), is_told("pids.max 50")),
        (2, 1, 1),
        "{said:?}"
    );
    let missing: Vec<&str> = said
        .iter()
        .filter(|it| it.contains(": not in force: "))
        .filter_map(|it| it.split(' ').next())
        .collect();
    let table = home.ok(&["status"]).out;
    let mark = format!("{} not in force (see bot show)", missing.join(", "));
    assert_eq!(table.contains(&mark), !missing.is_empty(), "{table}");
}

#[test]
fn no_limit_is_told_where_none_was_asked_for() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    assert_eq!(home.bot("shop")["kernel"], json!([]));
    assert_eq!(home.run_record("shop")["leaf"], Value::Null);
}

/// The group of a bot's run; None, with a word on it, where this host lets nobody make one.
fn leaf(home: &Home, bot: &str) -> Option<PathBuf> {
    let leaf = home.run_record(bot)["leaf"].as_str().map(PathBuf::from);
    if leaf.is_none() {
        // Straight to the terminal: a test that is not made must say so although it passes.
        let _ = writeln!(std::io::stderr(), "skipped: no cgroup v2 can be written here");
    }
    leaf
}

fn members(leaf: &Path) -> Vec<u32> {
    let text = fs::read_to_string(leaf.join("cgroup.procs")).unwrap_or_default();
    text.lines().map(|pid| pid.parse().unwrap()).collect()
}

#[test]
fn a_run_has_a_group_of_its_own_that_goes_with_it() {
    let home = Home::new();
    home.create("shop", "setsid sleep 100000 & echo up; exec sleep 100000");
    home.set("shop", &["kernel.group=always"]);
    home.ok(&["start"]);
    home.wait_log("shop", "up");
    let Some(leaf) = leaf(&home, "shop") else { return };
    wait_until("both are in it", &home, || members(&leaf).len() == 2);
    let all = members(&leaf);
    assert!(
        all.contains(&home.pid("shop")) && !all.contains(&home.shim_pid("shop")),
        "{all:?}"
    );
    home.ok(&["bot", "stop", "shop"]);
    assert!(!leaf.exists());
    assert!(all.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn what_bears_no_mark_is_found_in_the_group_of_a_run_whose_shim_was_killed() {
    let home = Home::new();
    // Neither a descendant of a living shim nor marked, once the shim is gone.
    home.create("shop", "env -i setsid sleep 100000 & echo up; exec sleep 100000");
    home.set("shop", &["kernel.group=always"]);
    home.ok(&["start"]);
    home.wait_log("shop", "up");
    let Some(leaf) = leaf(&home, "shop") else { return };
    wait_until("both are in it", &home, || members(&leaf).len() == 2);
    let (pid, all) = (home.pid("shop"), members(&leaf));
    let stray = *all.iter().find(|it| **it != pid).unwrap();
    kill(home.shim_pid("shop"), Signal::KILL);
    wait_until("another run has begun", &home, || {
        let bot = home.bot("shop");
        bot["state"] == "running" && bot["pid"] != json!(pid)
    });
    assert!(!is_alive(pid) && !is_alive(stray));
    wait_until("only the new run is in it", &home, || {
        members(&leaf).iter().all(|it| !all.contains(it))
    });
}

#[test]
fn a_kill_that_nobody_asked_for_is_not_blamed_on_memory() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.set("shop", &["restart.policy=never"]);
    home.ok(&["start"]);
    kill(home.pid("shop"), Signal::KILL);
    home.wait_state("shop", "failed");
    let exit = home.bot("shop")["last_exit"].clone();
    // The kernel may have killed somebody else on this host just then; that it was counted for us, it cannot say.
    assert_eq!((&exit["oom"], &exit["signal"]), (&json!(false), &json!(9)), "{exit}");
    assert!(exit["why"].as_str().unwrap().starts_with("killed by SIGKILL"), "{exit}");
}

#[test]
fn an_end_for_want_of_memory_is_told_everywhere() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    // The record is what the next supervisor has of the end.
    let record = home.run_record("shop");
    home.ok(&["stop", "--keep-bots"]);
    kill(home.shim_pid("shop"), Signal::QUIT);
    wait_until("the end is recorded", &home, || {
        home.path("run/shop/exit.json").exists()
    });
    wait_until("the shim has left", &home, || {
        !is_alive(u32::try_from(record["shim"]["pid"].as_u64().unwrap()).unwrap())
    });
    let exit = json!({"v": 1, "run_id": record["run_id"], "code": null, "signal": 9, "at": 1_790_000_000_000_i64,
        "oom": true, "memory_max": 536_870_912, "asked": false});
    home.write("home/run/shop/exit.json", &exit.to_string());
    let told = "killed by the kernel: out of memory (memory.max 512.0 MiB)";
    home.run(&["status", "--json"]).code(3);
    assert_eq!(home.bot("shop")["last_exit"]["why"], told);
    home.ok(&["start"]);
    let bot = home.bot("shop");
    assert_eq!(
        (&bot["last_exit"]["oom"], &bot["last_exit"]["why"]),
        (&json!(true), &json!(told))
    );
    let event = home.wait_event("shop", "exited");
    assert!(event["detail"].as_str().unwrap().starts_with(told), "{event}");
}
