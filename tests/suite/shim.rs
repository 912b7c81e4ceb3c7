//! What a run leaves: exact ends, nothing alive, and its whole log.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Home, SLEEPER, cpu_ticks, is_alive, kill, wait_until};

/// A line of script that notes the pid of the last child in a file.
fn note_child(home: &Home, name: &str) -> (String, PathBuf) {
    let path = home.base().join(name);
    (format!("echo $! > {0}.new; mv {0}.new {0}", path.display()), path)
}

fn noted(home: &Home, path: &PathBuf) -> u32 {
    wait_until("the bot has noted a pid", home, || path.exists());
    fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

#[test]
fn the_end_of_a_run_is_recorded_exactly() {
    let home = Home::new();
    let ends = [
        ("zero", "exit 0", json!(0), json!(null)),
        ("three", "exit 3", json!(3), json!(null)),
        ("last", "exit 255", json!(255), json!(null)),
        ("term", "kill -TERM $$", json!(null), json!(15)),
        ("kill", "kill -KILL $$", json!(null), json!(9)),
        ("segv", "ulimit -c 0; kill -SEGV $$", json!(null), json!(11)),
    ];
    for (bot, script, ..) in &ends {
        home.create_with(bot, &["--no-start"], script);
        home.set(bot, &["restart.policy=never"]);
    }
    home.ok(&["start"]);
    home.run(&["bot", "start", "--all"]);
    for (bot, _, code, signal) in ends {
        wait_until("the bot has ended", &home, || home.bot(bot)["last_exit"] != Value::Null);
        let exit = &home.bot(bot)["last_exit"];
        assert_eq!((&exit["code"], &exit["signal"]), (&code, &signal), "{bot}");
        assert!(exit["at"].is_string());
        let record: Value = serde_json::from_str(&home.read(&format!("run/{bot}/exit.json"))).unwrap();
        assert_eq!((&record["code"], &record["signal"]), (&code, &signal), "{bot}");
        assert_eq!(record["core"], false);
    }
}

#[test]
fn a_bot_that_ignores_its_stop_signal_is_killed_after_its_grace() {
    let home = Home::new();
    home.create("deaf", "trap '' TERM INT HUP; echo ready; while :; do sleep 0.1; done");
    home.set("deaf", &["stop.grace=300ms"]);
    home.ok(&["start"]);
    home.wait_log("deaf", "ready");
    let pid = home.pid("deaf");
    home.ok(&["bot", "stop", "deaf"]);
    assert!(!is_alive(pid));
    assert_eq!(home.bot("deaf")["last_exit"]["signal"], 9);
}

#[test]
fn force_kills_without_grace() {
    let home = Home::new();
    home.create(
        "shop",
        "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done",
    );
    home.set("shop", &["stop.grace=1h"]);
    home.ok(&["start"]);
    home.wait_log("shop", "ready");
    home.ok(&["bot", "stop", "shop", "--force"]);
    let bot = home.bot("shop");
    assert_eq!(bot["last_exit"]["signal"], 9, "{bot} {:?}", home.events("shop"));
    assert!(!home.log_of("shop").contains("bye"));
}

#[test]
fn force_ends_the_wait_of_a_graceful_stop() {
    let home = Home::new();
    home.create("deaf", "trap '' TERM; echo ready; while :; do sleep 0.1; done");
    home.set("deaf", &["stop.grace=1h"]);
    home.ok(&["start"]);
    home.wait_log("deaf", "ready");
    home.run(&["bot", "stop", "deaf", "--timeout", "100ms"]).code(75);
    assert_eq!(home.state("deaf"), "stopping");
    home.ok(&["bot", "stop", "deaf", "--force"]);
    assert_eq!(home.state("deaf"), "stopped");
}

#[test]
fn the_bot_is_told_by_its_own_stop_signal() {
    let home = Home::new();
    let script = "trap 'echo interrupted; exit 7' INT; trap 'echo terminated; exit 8' TERM; echo ready; \
                  while :; do sleep 0.05; done";
    home.create("shop", script);
    home.set("shop", &["stop.signal=INT"]);
    home.ok(&["start"]);
    home.wait_log("shop", "ready");
    home.ok(&["bot", "stop", "shop"]);
    assert!(home.log_of("shop").contains("out interrupted"));
    assert_eq!(home.bot("shop")["last_exit"]["code"], 7);
}

#[test]
fn the_whole_process_group_gets_the_stop_signal() {
    let home = Home::new();
    let child = home.script(
        "child",
        "trap 'echo child closes; exit 0' TERM; echo child open; while :; do sleep 0.05; done",
    );
    home.create("shop", &format!("/bin/sh {} & wait", child.display()));
    home.ok(&["start"]);
    home.wait_log("shop", "child open");
    home.ok(&["bot", "stop", "shop"]);
    assert!(
        home.log_of("shop").contains("out child closes"),
        "{}",
        home.log_of("shop")
    );
}

#[test]
fn nothing_is_left_of_what_a_bot_has_forked_away() {
    let home = Home::new();
    let (note, far) = note_child(&home, "far");
    let (note_bare, bare) = note_child(&home, "bare");
    // Two forks and a session of its own; the second even without the environment that names the run.
    let away = home.script("away", &format!("sleep 100000 & {note}"));
    let away_bare = home.script("bare", &format!("sleep 100000 & {note_bare}"));
    let script = format!(
        "setsid /bin/sh {} > /dev/null 2>&1 &\nenv -i setsid /bin/sh {} > /dev/null 2>&1 &\nexec sleep 100000",
        away.display(),
        away_bare.display()
    );
    home.create("shop", &script);
    home.set("shop", &["stop.grace=200ms"]);
    home.ok(&["start"]);
    let pids = [noted(&home, &far), noted(&home, &bare), home.pid("shop")];
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    home.ok(&["bot", "stop", "shop"]);
    assert!(pids.iter().all(|pid| !is_alive(*pid)), "{pids:?}");
    assert!(!is_alive(home.shim_pid("shop")));
}

#[test]
fn children_of_a_bot_that_crashed_are_gone_before_its_replacement_runs() {
    let home = Home::new();
    let (note, path) = note_child(&home, "first");
    let mark = home.base().join("ran");
    let script = format!(
        "[ -e {0} ] && {{ echo second; exec sleep 100000; }}\nsetsid sleep 100000 & {note}\ntouch {0}\nexit 1",
        mark.display()
    );
    home.create("shop", &script);
    home.ok(&["start"]);
    home.wait_log("shop", "second");
    assert!(!is_alive(noted(&home, &path)));
}

#[test]
fn a_bot_that_is_halted_by_a_signal_can_be_stopped() {
    let home = Home::new();
    home.create(
        "shop",
        "trap 'echo closed; exit 0' TERM; echo ready; while :; do sleep 0.05; done",
    );
    home.ok(&["start"]);
    home.wait_log("shop", "ready");
    kill(home.pid("shop"), Signal::STOP);
    home.ok(&["bot", "stop", "shop"]);
    assert_eq!(home.bot("shop")["last_exit"]["code"], 0);
    assert!(home.log_of("shop").contains("out closed"));
}

#[test]
fn a_bot_whose_shim_is_killed_is_ended_and_replaced() {
    let home = Home::new();
    let (note, path) = note_child(&home, "child");
    home.create("shop", &format!("setsid sleep 100000 & {note}\nexec sleep 100000"));
    home.ok(&["start"]);
    let (pid, child) = (home.pid("shop"), noted(&home, &path));
    kill(home.shim_pid("shop"), Signal::KILL);
    wait_until("another process runs", &home, || {
        let bot = home.bot("shop");
        bot["state"] == "running" && bot["pid"] != json!(pid)
    });
    assert!(!is_alive(pid) && !is_alive(child));
    let bot = home.bot("shop");
    assert_eq!(
        (&bot["restarts"], &bot["last_exit"]["code"], &bot["last_exit"]["signal"]),
        (&json!(1), &json!(null), &json!(null))
    );
    let events = home.events("shop");
    let told = events.iter().find(|event| event["name"] == "exited").unwrap();
    assert!(told["detail"].as_str().unwrap().contains("shim killed"), "{told}");
}

#[test]
fn the_log_is_complete_to_the_last_line_even_without_its_end() {
    let home = Home::new();
    home.create("shop", "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; echo oops >&2; printf 'the very last'; kill -KILL $$");
    home.set("shop", &["restart.policy=never"]);
    home.run(&["start"]);
    wait_until("it has ended", &home, || home.bot("shop")["last_exit"] != Value::Null);
    let log = home.log_of("shop");
    let out: Vec<&str> = log
        .lines()
        .filter_map(|line| line.split_once(" out ").map(|(_, text)| text))
        .collect();
    let expected: Vec<String> = (0..2000).map(|number| format!("line {number}")).collect();
    assert_eq!(out[..2000], expected);
    assert_eq!(out[2000..], ["the very last"]);
    assert!(log.contains(" err oops\n") && log.ends_with('\n'));
}

#[test]
fn a_bot_that_closes_its_output_costs_its_shim_nothing() {
    let home = Home::new();
    home.create("closed", "echo before; exec > /dev/null 2>&1; exec sleep 100000");
    home.create("half", "exec >&-; while :; do echo still here >&2; sleep 0.05; done");
    home.ok(&["start"]);
    home.wait_log("closed", "before");
    home.wait_log("half", "err still here");
    let shims = [home.shim_pid("closed"), home.shim_pid("half")];
    let before = shims.map(cpu_ticks);
    let lines = || home.log_of("half").matches("still here").count();
    let (from, supervisor) = (lines(), home.supervisor_pid());
    wait_until("half a second of the bot's own time has passed", &home, || {
        lines() >= from + 10
    });
    assert!(is_alive(supervisor));
    let used = [cpu_ticks(shims[0]) - before[0], cpu_ticks(shims[1]) - before[1]];
    // One that spins uses some fifty ticks in this time.
    assert!(used.iter().all(|ticks| *ticks < 10), "{used:?}");
}

#[test]
fn a_bot_starts_with_clean_signals_and_only_its_own_files() {
    let home = Home::new();
    home.create(
        "shop",
        "grep -E '^Sig(Blk|Ign)' /proc/self/status; exec ls -l /proc/self/fd",
    );
    home.set("shop", &["restart.policy=never"]);
    // Whoever starts the supervisor may ignore signals and hold files open.
    let line = "trap '' HUP INT USR1 PIPE; exec \"$0\" --home \"$1\" start 7< /etc/passwd";
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", line, env!("CARGO_BIN_EXE_multibot"), home.dir().to_str().unwrap()]);
    command.env_clear().env("HOME", home.base()).output().unwrap();
    wait_until("it has ended", &home, || home.bot("shop")["last_exit"] != Value::Null);
    let log = home.log_of("shop");
    for name in ["SigBlk", "SigIgn"] {
        let line = log
            .lines()
            .find(|line| line.contains(name))
            .unwrap_or_else(|| panic!("{log}"));
        let word = line.split_ascii_whitespace().last().unwrap();
        // The C library keeps 32 and 33 to itself, and ignores them in what it spawns.
        let signals = u64::from_str_radix(word, 16).unwrap() & !0x1_8000_0000;
        assert_eq!(signals, 0, "{line}");
    }
    // The folder itself, as ls reads it, is the fourth.
    let open = log.lines().filter(|line| line.contains(" -> ")).collect::<Vec<_>>();
    assert!(
        open.len() == 4 && !log.contains("socket:") && !log.contains("passwd"),
        "{log}"
    );
    assert_eq!(open.iter().filter(|line| line.contains("pipe:")).count(), 2, "{log}");
}

#[test]
fn a_bot_leads_its_own_group_under_a_shim_in_its_own_session() {
    let home = Home::new();
    home.create("shop", "exec sleep 100000");
    home.ok(&["start"]);
    let (pid, shim) = (home.pid("shop"), home.shim_pid("shop"));
    let bot = crate::harness::stat(pid).unwrap();
    assert_eq!(
        (&bot[1], &bot[2], &bot[3]),
        (&shim.to_string(), &pid.to_string(), &shim.to_string())
    );
    let kept = crate::harness::stat(shim).unwrap();
    assert_eq!(kept[1], home.supervisor_pid().to_string());
}

#[test]
fn cleaning_media_on_start_touches_nothing_else_in_its_folder() {
    let home = Home::new();
    home.create_with("shop", &["--no-start"], SLEEPER);
    let own = home.write("project/shop.py", "precious");
    let old = home.write("project/received/old.jpg", "x");
    let dir = home.base().join("project").display().to_string();
    home.set("shop", &[&format!("media.dir={dir}"), "media.clean_on_start=true"]);
    home.ok(&["bot", "start", "shop"]);
    home.ok(&["start"]);
    assert!(own.exists() && !old.exists());
    assert!(home.base().join("project/sent").is_dir());
}
