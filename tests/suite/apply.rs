//! Applying a folder of bots: the plan, what is restarted for it, waves, and what no file names any more.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Home, SLEEPER, wait_until};

/// A folder of files, one for each bot.
fn write(home: &Home, bot: &str, text: &str) {
    home.write(&format!("bots/{bot}.yaml"), text);
}

fn sleeper(extra: &str) -> String {
    format!("command: [/bin/sh, -c, '{SLEEPER}']\n{extra}")
}

fn folder(home: &Home) -> String {
    let dir = home.base().join("bots");
    fs::create_dir_all(&dir).unwrap();
    dir.display().to_string()
}

fn plan(home: &Home, flags: &[&str]) -> (i32, Vec<(String, String)>) {
    let outcome = home.run(&[&["apply", &folder(home), "--dry-run", "--json"], flags].concat());
    let steps: Value = serde_json::from_str(&outcome.out).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let steps = steps["plan"].as_array().unwrap().iter();
    (
        outcome.status.unwrap(),
        steps.map(|step| (text(&step["id"]), text(&step["action"]))).collect(),
    )
}

#[test]
fn a_dry_run_tells_what_would_change_and_changes_nothing() {
    let home = Home::new();
    folder(&home);
    write(&home, "a", &sleeper(""));
    write(&home, "b", &sleeper("env: {PORT: \"1\", API_KEY: hush}\n"));
    let step = |bot: &str, action: &str| (bot.to_owned(), action.to_owned());
    assert_eq!(plan(&home, &[]), (10, vec![step("a", "create"), step("b", "create")]));
    assert!(home.ok(&["list"]).out.contains("no bots") || home.status()["bots"] == json!([]));
    home.ok(&["apply", &folder(&home)]);
    assert_eq!(
        plan(&home, &[]),
        (0, vec![step("a", "unchanged"), step("b", "unchanged")])
    );
    home.create("by-hand", SLEEPER);
    write(
        &home,
        "b",
        &sleeper("env: {PORT: \"2\", API_KEY: other}\nrestart: {delay: 7s}\n"),
    );
    assert_eq!(
        plan(&home, &[]),
        (10, vec![step("a", "unchanged"), step("b", "change")])
    );
    let (code, steps) = plan(&home, &["--prune"]);
    assert_eq!((code, steps.last().unwrap()), (10, &step("by-hand", "remove")));
    let shown = home
        .run(&["apply", &folder(&home), "--dry-run", "--prune"])
        .code(10)
        .out;
    for line in [
        "~ b",
        "    env.API_KEY: (not shown) -> (not shown)",
        "    env.PORT: 1 -> 2",
        "    restart.delay: 7s",
        "- by-hand",
        "0 to create, 1 to change, 1 to remove, 1 untouched",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    assert!(!shown.contains("hush") && !shown.contains("other"));
    home.ok(&["apply", &folder(&home), "--prune"]);
    assert_eq!(plan(&home, &["--prune"]).0, 0);
    assert_eq!(home.audit_actions("bot remove"), 1);
}

#[test]
fn only_what_changed_is_restarted_and_what_is_removed_is_stopped() {
    let home = Home::new();
    folder(&home);
    for bot in ["a", "b", "c"] {
        write(&home, bot, &sleeper(""));
    }
    home.ok(&["apply", &folder(&home)]);
    home.ok(&["start"]);
    let pids = || ["a", "b"].map(|bot| home.pid(bot));
    let before = pids();
    write(&home, "b", &sleeper("env: {PORT: \"2\"}\n"));
    write(&home, "a", &sleeper("restart: {delay: 9s}\n"));
    fs::remove_file(home.base().join("bots/c.yaml")).unwrap();
    home.ok(&["apply", &folder(&home), "--prune"]);
    wait_until("b runs anew", &home, || {
        home.state("b") == "running" && home.pid("b") != before[1]
    });
    assert_eq!(home.pid("a"), before[0]);
    let bots = home.status()["bots"].clone();
    assert_eq!(bots.as_array().unwrap().len(), 2);
}

#[test]
fn a_first_bot_that_does_not_run_stops_the_others() {
    let home = Home::new();
    folder(&home);
    for number in 0..12 {
        write(
            &home,
            &format!("bot{number:02}"),
            &sleeper("restart: {max_restarts: 1}\n"),
        );
    }
    home.ok(&["apply", &folder(&home)]);
    home.ok(&["start"]);
    let pid = |number: u32| home.pid(&format!("bot{number:02}"));
    let before: Vec<u32> = (0..12).map(pid).collect();
    for number in 0..12 {
        let broken = "command: [/bin/sh, -c, 'exit 3']\nrestart: {max_restarts: 1}\n";
        write(&home, &format!("bot{number:02}"), broken);
    }
    let outcome = home.run(&["apply", &folder(&home)]).code(1);
    assert!(
        outcome.err.contains("11 bots keep their old settings"),
        "{}",
        outcome.err
    );
    let same = (0..12).filter(|number| {
        home.state(&format!("bot{number:02}")) == "running" && pid(*number) == before[*number as usize]
    });
    assert_eq!(same.count(), 11);
    for number in 0..12 {
        write(
            &home,
            &format!("bot{number:02}"),
            &sleeper("env: {GOOD: \"1\"}\nrestart: {max_restarts: 1}\n"),
        );
    }
    home.ok(&["apply", &folder(&home)]);
    let all_new = || {
        (0..12)
            .all(|number| home.state(&format!("bot{number:02}")) == "running" && pid(number) != before[number as usize])
    };
    wait_until("all run with their new settings", &home, all_new);
}

#[test]
fn a_fault_in_one_file_changes_none_of_them() {
    let home = Home::new();
    folder(&home);
    write(&home, "a", &sleeper(""));
    home.ok(&["apply", &folder(&home)]);
    write(&home, "a", &sleeper("restart: {delay: 9s}\n"));
    write(&home, "b", "comand: [x]\n");
    home.run(&["apply", &folder(&home)])
        .code(1)
        .says(&["comand", "command"]);
    let shown = home.ok(&["bot", "show", "a"]).out;
    assert!(!shown.contains("9s"), "{shown}");
}

#[test]
fn what_is_exported_is_applied_with_no_change() {
    let home = Home::new();
    home.create_with("shop", &["--token", "12:abcdef", "--env", "API_KEY=hush"], SLEEPER);
    home.set("shop", &["restart.delay=3s", "limits.memory.max=50MiB", "env.PORT=1"]);
    home.ok(&["bot", "create", "demo", "--no-start"]);
    let exported = home.ok(&["export"]);
    assert!(exported.err.contains("API_KEY of shop"), "{}", exported.err);
    assert!(!exported.out.contains("hush") && !exported.out.contains("abcdef"));
    let all = home.ok(&["export", "--with-secrets"]).out;
    home.write("bots/all.yaml", &all);
    let step = |bot: &str| (bot.to_owned(), "unchanged".to_owned());
    assert_eq!(plan(&home, &["--prune"]), (0, vec![step("shop"), step("demo")]));
    home.ok(&["bot", "unset", "shop", "env.API_KEY", "restart.delay"]);
    let effective = home.ok(&["bot", "show", "shop", "--effective"]).out;
    let row = |key: &str| effective.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    // The harness has a delay of its own for all bots.
    assert!(row("restart.delay ").contains("multibot.yaml"), "{effective}");
    assert!(row("limits.memory.max ").contains("bot") && row("log.keep ").contains("default"));
    home.run(&["bot", "unset", "shop", "restart.dely"])
        .code(2)
        .one_line(&["restart.delay"]);
}
