//! `apply` and `bot set`: every fault in one go, nothing stored when there is one.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Home, SLEEPER};

/// YAML of a bot that runs a script.
fn yaml(home: &Home, bot: &str, more: &str) -> String {
    let script = home.script(bot, SLEEPER);
    format!("id: {bot}\ncommand: [/bin/sh, {}]\n{more}", script.display())
}

fn bots(home: &Home) -> Vec<Value> {
    home.ok(&["list", "--json"]).json()["bots"].as_array().unwrap().clone()
}

#[test]
fn every_fault_of_every_file_is_told_with_its_place_and_nothing_is_stored() {
    let home = Home::new();
    home.write(
        "bots/a.yaml",
        "id: a\ncommand: [/bin/true]\nrestrat: {delay: 1s}\nstop:\n  grace: never\n",
    );
    home.write("bots/b.yml", "id: B\ncommand: true\n");
    home.write("bots/c.yaml", "id: c\ncommand: [/bin/true\n");
    home.write("bots/d.yaml", "id: d\ncommand: [/bin/true]\n");
    home.write("bots/notes.txt", "not read\n");
    let outcome = home.run(&["apply", "bots"]).code(1).says(&[
        "a.yaml:3:1: unknown key \"restrat\", nearest is \"restart\"",
        "a.yaml:5:10: stop.grace:",
        "b.yml:1:5: ",
        "c.yaml:",
        "not valid YAML",
    ]);
    assert!(
        outcome.err.lines().all(|line| line.starts_with("multibot: ")),
        "{outcome:#?}"
    );
    assert!(outcome.out.is_empty());
    assert!(bots(&home).is_empty());
}

#[test]
fn a_folder_is_applied_and_applied_again_changes_nothing() {
    let home = Home::new();
    home.write("bots/one.yaml", &yaml(&home, "one", ""));
    home.write(
        "bots/more.yml",
        "bots:\n  - id: two\n    command: [/bin/true]\n    enabled: false\n  - {id: three, enabled: false}\n",
    );
    let word = |outcome: &Value| {
        let bots = outcome["bots"].as_array().unwrap().iter();
        let mut words: Vec<String> = bots
            .map(|bot| format!("{} {}", bot["id"].as_str().unwrap(), bot["outcome"].as_str().unwrap()))
            .collect();
        words.sort();
        words
    };
    let first = home.ok(&["apply", "bots", "--json"]).json();
    assert_eq!(word(&first), ["one created", "three created", "two created"]);
    assert_eq!(first["supervisor_running"], false);
    let again = home.ok(&["apply", "bots", "--json"]).json();
    assert_eq!(word(&again), ["one unchanged", "three unchanged", "two unchanged"]);
    home.write("bots/one.yaml", &yaml(&home, "one", "stop: {grace: 2s}\n"));
    let changed = home.ok(&["apply", "bots", "--json"]).json();
    assert_eq!(word(&changed), ["one updated", "three unchanged", "two unchanged"]);
}

#[test]
fn apply_starts_what_is_new_restarts_what_changed_and_keeps_what_is_wanted_down() {
    let home = Home::new();
    home.ok(&["start"]);
    home.write("bots/one.yaml", &yaml(&home, "one", ""));
    home.write("bots/two.yaml", &yaml(&home, "two", ""));
    home.ok(&["apply", "bots"]);
    home.wait_state("one", "running");
    home.wait_state("two", "running");
    home.ok(&["bot", "stop", "two"]);
    let (before, index) = (home.pid("one"), home.bot("two")["index"].clone());
    home.write("bots/one.yaml", &yaml(&home, "one", "env: {A: b}\n"));
    home.write("bots/two.yaml", &yaml(&home, "two", "env: {A: b}\n"));
    home.ok(&["apply", "bots"]);
    home.wait_state("one", "running");
    assert_ne!(home.pid("one"), before);
    let two = home.bot("two");
    assert_eq!(
        (&two["wanted"], &two["state"], &two["index"]),
        (&json!("down"), &json!("stopped"), &index)
    );
}

#[test]
fn a_path_that_is_not_there_or_two_bots_of_one_id_are_refused() {
    let home = Home::new();
    home.run(&["apply", "nowhere"]).code(1).one_line(&["nowhere"]);
    home.write("bots/a.yaml", "id: a\ncommand: [/bin/true]\n");
    home.write("bots/b.yaml", "id: a\ncommand: [/bin/false]\n");
    home.run(&["apply", "bots"]).code(1).says(&["b.yaml:1:5", "a.yaml"]);
    assert!(bots(&home).is_empty());
}

#[test]
fn a_token_that_another_bot_holds_undoes_the_whole_apply() {
    let home = Home::new();
    home.ok(&[
        "bot",
        "create",
        "first",
        "--token",
        "1:hidden-part",
        "--no-start",
        "--",
        "/bin/true",
    ]);
    home.write("token", "1:hidden-part\n");
    home.write("bots/a.yaml", "id: a\ncommand: [/bin/true]\n");
    home.write("bots/b.yaml", "id: b\ncommand: [/bin/true]\ntoken: {file: ../token}\n");
    let outcome = home.run(&["apply", "bots"]).code(1).one_line(&["first"]);
    assert!(!outcome.err.contains("hidden-part"), "{outcome:?}");
    assert_eq!(bots(&home).len(), 1);
}

#[test]
fn a_token_of_yaml_comes_from_a_variable_or_a_file_and_never_stands_in_it() {
    let home = Home::new();
    let tell = "echo \"length ${#BOT_TOKEN}\"; exec sleep 100000";
    let script = home.script("bot", tell);
    let command = format!("command: [/bin/sh, {}]", script.display());
    home.write(
        "bots/a.yaml",
        &format!("id: a\n{command}\ntoken: {{env: SHOP_TOKEN}}\n"),
    );
    home.run(&["apply", "bots"])
        .code(1)
        .one_line(&["SHOP_TOKEN is not set"]);
    let mut apply = home.command(&["apply", "bots"]);
    assert!(apply.env("SHOP_TOKEN", "1:abcdef").output().unwrap().status.success());
    home.ok(&["start"]);
    home.wait_log("a", "out length 8");
    home.write("bots/a.yaml", &format!("id: a\n{command}\ntoken: 1:openly-written\n"));
    let outcome = home.run(&["apply", "bots"]).code(1).says(&["a.yaml:3:8", "token"]);
    assert!(!outcome.err.contains("openly-written"), "{outcome:?}");
}

#[test]
fn example_yaml_is_applied_as_it_stands() {
    let home = Home::new();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/bot_configs/example.yaml");
    home.ok(&["apply", example]);
    home.ok(&["start"]);
    let bot = home.bot("example");
    assert_eq!((&bot["enabled"], &bot["state"]), (&json!(false), &json!("stopped")));
}

#[test]
fn set_holds_at_once_where_the_process_can_stay() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    let pid = home.pid("shop");
    home.set(
        "shop",
        &["restart.delay=2s", "heartbeat_timeout=5m", "limits.memory.max=1GiB"],
    )
    .says(&["it holds from now on"]);
    assert_eq!(home.pid("shop"), pid);
    let settings = home.ok(&["bot", "show", "shop", "--json"]).json()["settings"].clone();
    assert_eq!(
        (&settings["restart.delay"], &settings["limits.memory.max"]),
        (&json!("2s"), &json!("1GiB"))
    );
    assert_eq!(home.bot("shop")["restarts"], 0);
}

#[test]
fn an_empty_value_takes_a_setting_away_and_the_answer_says_what_holds_now() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.set(
        "shop",
        &[
            "limits.processes.max=9",
            "restart.delay=2s",
            "stop.signal=INT",
            "probes.up={\"tcp\":80}",
            "env.A=1",
        ],
    );
    let settings = || home.ok(&["bot", "show", "shop", "--json"]).json()["settings"].clone();
    home.set(
        "shop",
        &[
            "limits.processes.max=",
            "restart.delay=",
            "stop.signal=",
            "probes.up=",
            "probes.on=",
            "env.A=",
        ],
    )
    .says(&[
        "limits.processes.max: taken away; it has no value now",
        "restart.delay: taken away; 50ms holds now, from defaults of multibot.yaml",
        "stop.signal: taken away; TERM holds now, the default",
        "probes.up: taken away; there is none now",
        "probes.on: was not set; there is none now",
    ]);
    let left = settings();
    for key in ["limits.processes.max", "restart.delay", "stop.signal", "probes"] {
        assert!(left.get(key).is_none(), "{left}");
    }
    assert_eq!(left["env"], json!({"A": ""}));
    home.set("shop", &["env="]).says(&["env: taken away"]);
    assert!(settings().get("env").is_none());
    home.run(&["bot", "set", "shop", "limits.processes="])
        .code(2)
        .one_line(&["is a group of keys"]);
}

#[test]
fn set_restarts_the_bot_where_its_process_must_change() {
    let home = Home::new();
    home.create("shop", "echo \"greeting $GREETING\"; exec sleep 100000");
    home.ok(&["start"]);
    let pid = home.pid("shop");
    home.set("shop", &["env.GREETING=good morning", "stop.grace=3s"])
        .says(&["the bot restarts for it"]);
    home.wait_log("shop", "greeting good morning");
    home.wait_state("shop", "running");
    assert_ne!(home.pid("shop"), pid);
}

#[test]
fn set_refuses_a_wrong_key_or_value_and_changes_nothing() {
    let home = Home::new();
    home.create("shop", SLEEPER).says(&["created shop"]);
    let before = home.ok(&["bot", "show", "shop", "--json"]).json()["settings"].clone();
    home.run(&[
        "bot",
        "set",
        "shop",
        "stop.grace=2s",
        "restart.dealy=2s",
        "restart.policy=sometimes",
    ])
    .code(2)
    .says(&[
        "\"restart.dealy\", nearest is \"restart.delay\"",
        "restart.policy: \"sometimes\"",
    ]);
    home.run(&["bot", "set", "shop", "stop.grace"]).code(2).one_line(&["="]);
    let after = home.ok(&["bot", "show", "shop", "--json"]).json()["settings"].clone();
    assert_eq!(before, after);
}

#[test]
fn verbs_that_name_an_unknown_bot_end_with_4_and_name_the_nearest() {
    let home = Home::new();
    home.create_with("shop", &["--no-start"], SLEEPER);
    for args in [
        &["bot", "set", "shpo", "stop.grace=1s"][..],
        &["bot", "show", "shpo"],
        &["bot", "start", "shpo"],
        &["bot", "stop", "shpo"],
        &["bot", "remove", "shpo"],
        &["bot", "enable", "shpo"],
        &["bot", "disable", "shpo"],
        &["status", "shpo"],
        &["logs", "shpo"],
        &["events", "shpo"],
        &["send", "shpo", "hello"],
    ] {
        home.run(args).code(4).one_line(&["no bot shpo", "nearest is shop"]);
    }
}

#[test]
fn faults_that_only_the_store_or_the_shell_knows_come_in_one_go_with_their_places() {
    let home = Home::new();
    home.ok(&[
        "bot",
        "create",
        "first",
        "--token",
        "1:taken",
        "--no-start",
        "--",
        "/bin/true",
    ]);
    home.write("token", "1:taken\n");
    home.write(
        "bots.yaml",
        "bots:\n  - id: a\n    command: [/bin/true]\n    token: {env: NOT_SET_HERE}\n  - id: b\n    command: [/bin/true]\n    token: {file: token}\n",
    );
    let outcome = home.run(&["apply", "bots.yaml"]).code(1);
    assert_eq!(outcome.err.lines().count(), 2, "{outcome:?}");
    outcome.says(&["bots.yaml:2:", "NOT_SET_HERE", "bots.yaml:5:", "first"]);
    assert_eq!(home.ok(&["list", "--json"]).json()["bots"].as_array().unwrap().len(), 1);
}

#[test]
fn two_bots_exchange_their_tokens_in_one_apply() {
    let home = Home::new();
    let apply = |a: &str, b: &str| {
        home.write("a.token", a);
        home.write("b.token", b);
        home.write(
            "bots.yaml",
            "bots:\n  - {id: a, enabled: false, token: {file: a.token}}\n  - {id: b, enabled: false, token: {file: b.token}}\n",
        );
        home.ok(&["apply", "bots.yaml"])
    };
    apply("1:x", "2:y");
    apply("2:y", "1:x").says(&["a updated", "b updated"]);
}

#[test]
fn a_pipe_among_the_files_is_a_fault_and_nothing_waits_for_it() {
    let home = Home::new();
    home.write("bots/a.yaml", "enabled: false\n");
    let pipe = home.base().join("bots/b.yaml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    home.run(&["apply", "bots"]).code(1).one_line(&["b.yaml", "pipe"]);
}
