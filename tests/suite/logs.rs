//! `multibot logs`: what bots wrote, masked, bounded and readable.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Home, Running, kill, wait_until};

const SECRET: &str = "4711:a-token-that-nobody-may-see";

/// A bot that writes this and then sleeps, with a token and a telling variable.
fn writer(home: &Home, script: &str) {
    let flags = ["--token", SECRET, "--env", "API_KEY=key-in-a-variable"];
    home.create_with("shop", &flags, &format!("{script}\necho the end\nexec sleep 100000"));
}

fn texts(home: &Home, args: &[&str]) -> Vec<String> {
    let records = home.ok(&[&["logs"], args, &["--json"]].concat()).records();
    records
        .iter()
        .map(|line| line["text"].as_str().unwrap().to_owned())
        .collect()
}

/// Waits until a command that goes on has printed this.
fn wait_printed(home: &Home, command: &Running, text: &str) {
    wait_until(&format!("{text:?} is printed"), home, || command.out().contains(text));
}

#[test]
fn secrets_are_masked_before_they_reach_the_disk_also_when_cut_by_writes() {
    let home = Home::new();
    let shaped = "987654321:AAFakeFakeFakeFakeFakeFakeFakeFake_x-y";
    let script = format!(
        "echo \"with $BOT_TOKEN inside\"; echo \"key $API_KEY\" >&2; echo 'shaped {shaped}'\n\
         rest=$BOT_TOKEN; while [ -n \"$rest\" ]; do tail=${{rest#?}}; printf %s \"${{rest%\"$tail\"}}\"; \
         /bin/true; rest=$tail; done; echo ' in pieces'"
    );
    writer(&home, &script);
    home.ok(&["start"]);
    home.wait_log("shop", "the end");
    home.wait_log("shop", "err key [masked]\n");
    let out: Vec<String> = texts(&home, &["shop"]);
    let out: Vec<&String> = out.iter().filter(|text| !text.starts_with("key")).collect();
    assert_eq!(
        out,
        [
            "with [masked] inside",
            "shaped [masked]",
            "[masked] in pieces",
            "the end"
        ]
    );
    let disk = home.log_of("shop");
    for secret in ["that-nobody", "in-a-variable", "Fake"] {
        assert!(!disk.contains(secret), "{disk}");
    }
}

#[test]
fn rotation_keeps_the_newest_lines_within_their_bound() {
    let home = Home::new();
    home.create_with(
        "shop",
        &["--no-start"],
        "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; echo the end; exec sleep 100000",
    );
    home.set("shop", &["log.max_size=8KiB", "log.keep=3"]);
    home.ok(&["start"]);
    home.ok(&["bot", "start", "shop"]);
    home.wait_log("shop", "the end");
    let names = fs::read_dir(home.path("logs"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name());
    let mut names: Vec<String> = names
        .map(|name| name.into_string().unwrap())
        .filter(|name| name.starts_with("shop"))
        .collect();
    names.sort();
    assert_eq!(names, ["shop.log", "shop.log.1", "shop.log.2"]);
    let total: u64 = names
        .iter()
        .map(|name| fs::metadata(home.path("logs").join(name)).unwrap().len())
        .sum();
    assert!(total <= 3 * 8 * 1024, "{total}");
    // Read over the ends of files, without a hole.
    let read = texts(&home, &["shop", "-n", "300"]);
    let mut expected: Vec<String> = (2701..3000).map(|number| format!("line {number}")).collect();
    expected.push("the end".to_owned());
    assert_eq!(read, expected);
}

#[test]
fn long_lines_are_split_and_nothing_is_lost() {
    let home = Home::new();
    writer(&home, "head -c 40000 /dev/zero | tr '\\0' a; echo");
    home.ok(&["start"]);
    home.wait_log("shop", "the end");
    let log = home.log_of("shop");
    assert!(
        log.lines().all(|line| line.len() <= 16 * 1024 + 100),
        "a line is too long"
    );
    let written: usize = texts(&home, &["shop"])
        .iter()
        .map(|text| text.matches('a').count())
        .sum();
    assert_eq!(written, 40_000);
}

#[test]
fn bytes_that_are_no_text_stay_readable() {
    let home = Home::new();
    writer(&home, "printf 'a\\377b \\303\\244 \\033[1mbold\\001\\n'");
    home.ok(&["start"]);
    home.wait_log("shop", "the end");
    let bytes = fs::read(home.path("logs/shop.log")).unwrap();
    let text = String::from_utf8(bytes).expect("the log is UTF-8");
    let line = text.lines().next().unwrap().to_lowercase();
    assert!(line.contains("a\\xffb ä") && line.ends_with("bold\\x01"), "{line:?}");
}

#[test]
fn each_line_has_its_time_in_utc_its_stream_and_its_text() {
    let home = Home::new();
    writer(&home, "echo one; echo two >&2");
    home.ok(&["start"]);
    home.wait_log("shop", "the end");
    home.wait_log("shop", "err two\n");
    for line in home.log_of("shop").lines() {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(
            time.len() == 27 && time.ends_with('Z') && time.as_bytes()[10] == b'T',
            "{line}"
        );
        assert!(rest.starts_with("out ") || rest.starts_with("err "), "{line}");
    }
    assert_eq!(texts(&home, &["shop", "--err"]), ["two"]);
    // One bot alone needs no name in front.
    assert!(!home.ok(&["logs", "shop"]).out.contains("[shop]"));
}

#[test]
fn several_bots_are_interleaved_by_time_with_their_names() {
    let home = Home::new();
    for bot in ["left", "right"] {
        home.create(
            bot,
            "echo first; while [ ! -e go ]; do sleep 0.02; done; echo last; exec sleep 100000",
        );
    }
    home.ok(&["start"]);
    home.wait_log("left", "first");
    home.wait_log("right", "first");
    home.write("go", "");
    home.wait_log("left", "last");
    home.wait_log("right", "last");
    let shown = home.ok(&["logs", "left", "right"]).out;
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 4);
    assert!(lines.is_sorted_by_key(|line| line.split(' ').next()), "{shown}");
    assert!(lines[..2].iter().all(|line| line.ends_with("out first")), "{shown}");
    for bot in ["[left]", "[right]"] {
        assert_eq!(lines.iter().filter(|line| line.contains(bot)).count(), 2, "{shown}");
    }
    let all = home.ok(&["logs"]).out;
    assert!(all.contains("[supervisor]") && all.contains("[left]"), "{all}");
    assert!(home.ok(&["logs", "supervisor"]).out.contains("left: running"));
}

#[test]
fn lines_are_chosen_by_number_time_and_pattern() {
    let home = Home::new();
    writer(
        &home,
        "for i in 1 2 3 4 5; do echo \"line $i\"; done; echo 'warning: odd' >&2",
    );
    home.ok(&["start"]);
    home.wait_log("shop", "the end");
    home.wait_log("shop", "warning: odd");
    assert_eq!(
        texts(&home, &["shop", "--grep", "^line|end", "-n", "2"]),
        ["line 5", "the end"]
    );
    assert_eq!(texts(&home, &["shop", "-n", "2"]).len(), 2);
    assert_eq!(texts(&home, &["shop", "--grep", "^line [24]$"]), ["line 2", "line 4"]);
    assert_eq!(texts(&home, &["shop", "--grep", "line", "-n", "1"]), ["line 5"]);
    assert_eq!(texts(&home, &["shop", "--since", "1h"]).len(), 7);
    assert_eq!(texts(&home, &["shop", "--since", "2999-01-01T00:00:00Z"]), [""; 0]);
    let records = home.ok(&["logs", "shop", "--json", "-n", "1"]).records();
    let names: Vec<&String> = records[0].as_object().unwrap().keys().collect();
    assert_eq!(names, ["at", "bot", "stream", "text"]);
    home.run(&["logs", "shop", "--since", "yesterday"])
        .code(2)
        .one_line(&["yesterday", "10m"]);
    home.run(&["logs", "shop", "--grep", "("]).code(2).one_line(&["--grep"]);
}

#[test]
fn following_survives_restart_and_rotation() {
    let home = Home::new();
    home.create("shop", "echo \"run of $$\"; i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done; echo \"done $$\"; exec sleep 100000");
    home.set("shop", &["log.max_size=8KiB", "log.keep=5"]);
    home.ok(&["start"]);
    let first = home.pid("shop");
    home.wait_log("shop", &format!("done {first}"));
    let follower = home.spawn(&["logs", "shop", "-f", "--json", "-n", "1"]);
    wait_printed(&home, &follower, &format!("done {first}"));
    home.ok(&["bot", "restart", "shop"]);
    let second = home.pid("shop");
    wait_printed(&home, &follower, &format!("done {second}"));
    kill(second, Signal::KILL);
    wait_until("a third run is followed", &home, || {
        follower.out().matches("run of").count() == 2
    });
    wait_until("all of it", &home, || follower.out().matches("done").count() == 3);
    let printed = follower.out();
    let records: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    // Whole runs, each line once.
    assert_eq!(records.len(), 1 + 2 * 202, "{printed}");
    assert!(home.path("logs/shop.log.1").exists(), "it was rotated meanwhile");
}

#[test]
fn following_all_shows_bots_that_are_created_meanwhile() {
    let home = Home::new();
    home.ok(&["start"]);
    let follower = home.spawn(&["logs", "-f"]);
    home.create("late", "echo here I am; exec sleep 100000");
    wait_printed(&home, &follower, "[late] out here I am");
}

#[test]
fn the_supervisors_level_comes_from_settings_and_variable() {
    let home = Home::new();
    home.create("shop", "exec sleep 100000");
    let mut command = home.command(&["start"]);
    assert!(command.env("MULTIBOT_LOG", "error").output().unwrap().status.success());
    assert!(
        !home.log_of("supervisor").contains("INFO"),
        "{}",
        home.log_of("supervisor")
    );
    home.ok(&["stop"]);
    home.ok(&["start"]);
    assert!(home.log_of("supervisor").contains("out INFO"));
}
