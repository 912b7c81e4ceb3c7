//! Files and folders of bots: what they give, and the exact text of every fault.

use super::*;
use crate::model::mutation::mutated;
use proptest::prelude::*;

/// What turns a good file into a slip.
const WORDS: &[&str] = &[
    "\n", "  ", ": ", "- ", "*a", "&a ", "<<: ", "[", "]", "{", "}", "\"", "'", "~", "5s", "-1", "1e999", "bots:\n",
    "id: a\n",
];

/// The faults of one file `a.yaml`, its directory left out.
fn faults(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.yaml"), text).unwrap();
    match read_bots(&dir.path().join("a.yaml"), &Settings::new()) {
        Ok(bots) => format!("no fault: {bots:?}"),
        Err(faults) => faults.to_string().replace(&format!("{}/", dir.path().display()), ""),
    }
}

fn bots(text: &str) -> Vec<BotDocument> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.yaml"), text).unwrap();
    read_bots(&dir.path().join("a.yaml"), &Settings::new()).unwrap()
}

#[test]
fn the_example_uses_every_key_and_gives_a_spec() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("bot_configs/example.yaml");
    let bots = read_bots(&file, &Settings::new()).unwrap();
    let [example] = bots.as_slice() else {
        panic!("one bot, found {}", bots.len());
    };
    for key in KEYS {
        assert!(
            example.settings.get(key.name).is_some(),
            "example.yaml lacks {}",
            key.name
        );
    }
    let spec = assemble(&example.id, &[&example.settings])
        .map_err(|_| "faults")
        .unwrap();
    assert_eq!(
        (spec.id.as_str(), spec.enabled, spec.command[0].as_str()),
        ("example", false, "/bin/sh")
    );
    assert_eq!(spec.env["PORT"], "8080");
}

#[test]
fn every_fault_of_a_file_comes_in_one_go() {
    let text = "\
restrat:
  delay: 5s
command: python3 shop.py
env: {BOT_ID: x, \"A B\": y, C: [1], D: , E: \"\\0\", F: 012}
token_env: [OK, 123:abc]
enabled: yes
restart:
  policy: alwyas
  factor: 0.5
  max_restarts: -1
  window: 0
stop: now
limits:
  memory: {maxx: 1MiB}
  cpu: {max: 0%}
log: {max_size: 1KiB, keep: 1001}
cwd: ~/bots
";
    let expected = [
        "a.yaml:1:1: unknown key \"restrat\", nearest is \"restart\"",
        "a.yaml:3:10: command: write a list: [\"python3\", \"shop.py\"]",
        "a.yaml:4:7: env: BOT_ID is set by multibot itself; choose another name",
        "a.yaml:4:18: env: \"A B\" is not a variable name: write letters, digits and _, the first no digit",
        "a.yaml:4:31: env.C: the value is not one text; quote it",
        "a.yaml:4:36: env.D has no value: write \"\" for an empty one",
        "a.yaml:4:44: env.E: the value holds a NUL character",
        "a.yaml:5:17: token_env: entry 2 is not a variable name: write letters, digits and _, the first no digit",
        "a.yaml:6:10: enabled: \"yes\" is neither true nor false",
        "a.yaml:8:11: restart.policy: \"alwyas\" is none of always, on-failure, never; nearest is \"always\"",
        "a.yaml:9:11: restart.factor: \"0.5\" is not a number from 1 to 100",
        "a.yaml:10:17: restart.max_restarts: \"-1\" is not a whole number from 0 to 1000000",
        "a.yaml:11:11: restart.window: \"0\" is too short: write at least 1ms",
        "a.yaml:12:7: stop: write a mapping with signal, grace",
        "a.yaml:14:12: unknown key \"limits.memory.maxx\", nearest is \"limits.memory.max\"",
        "a.yaml:15:14: limits.cpu.max: \"0%\" is not a share of one core: write 80, 80% or 150.5",
        "a.yaml:16:17: log.max_size: \"1KiB\" is less than 4.0 KiB",
        "a.yaml:16:29: log.keep: \"1001\" is not a whole number from 1 to 1000",
        "a.yaml:17:6: cwd: \"~/bots\" is not expanded: write the full path, such as /home/me/x",
    ];
    let found = faults(text);
    assert_eq!(found.lines().collect::<Vec<_>>(), expected);
}

/// What a file holds, and all that is said of it.
const SINGLE_FAULTS: &[(&str, &str)] = &[
    (
        "restart: {delay: 5s, max_delay: 2s}",
        "a.yaml:1:33: restart.max_delay: 2s is shorter than restart.delay, 5s",
    ),
    (
        "restart: {delay: 2m}",
        "a.yaml:1:18: restart.max_delay: 1m is shorter than restart.delay, 2m",
    ),
    (
        "restart: {delay: 2m, max_delay: x}",
        "a.yaml:1:33: restart.max_delay: \"x\" is not a duration: write 500ms, 5s, 10m, 2h or 7d",
    ),
    (
        "restart: {retry_failed: 0}",
        "a.yaml:1:25: restart.retry_failed: \"0\" is too short: write at least 1ms, or never",
    ),
    (
        "restart: {retry_failed: nevr}",
        "a.yaml:1:25: restart.retry_failed: \"nevr\" is not a duration: write 500ms, 5s, 10m, 2h or 7d, or never",
    ),
    (
        "limits: {cpu: {for: 5s}}",
        "a.yaml:1:21: limits.cpu.for: there is no limit; write limits.cpu.max too",
    ),
    (
        "stop: {signal: TREM}",
        "a.yaml:1:16: stop.signal: \"TREM\" is not a signal: write TERM, INT, HUP, QUIT, USR1 or another name or number",
    ),
    (
        "platform: none",
        "a.yaml:1:11: platform: none runs nothing by itself; write a command, or another platform",
    ),
    (
        "platform: telegramm",
        "a.yaml:1:11: platform: \"telegramm\" is none of none, telegram, whatsapp-cloud, loopback, discord, whatsapp; nearest is \"telegram\"",
    ),
    (
        "command: []",
        "a.yaml:1:10: command: the list is empty; without a command, remove the key",
    ),
    ("command: ['', x]", "a.yaml:1:11: command: the program's name is empty"),
    (
        "command: [x, ~]",
        "a.yaml:1:14: command: an argument has no value; write \"\" for an empty one",
    ),
    (
        "command: [~/x.sh]",
        "a.yaml:1:11: command: a leading ~ is not expanded: write the program's full path",
    ),
    (
        "command: [x, [y]]",
        "a.yaml:1:14: command: an argument is not one text; quote it",
    ),
    ("cwd:", "a.yaml:1:1: cwd has no value: write one or remove the key"),
    ("cwd: ''", "a.yaml:1:6: cwd: the path is empty"),
    ("cwd: [x]", "a.yaml:1:6: cwd: found a list, expected one value"),
    ("env: [A=1]", "a.yaml:1:6: env: write a mapping: {NAME: value}"),
    (
        "token_env: A",
        "a.yaml:1:12: token_env: write a list: [NAME, OTHER_NAME]",
    ),
    (
        "env_inherit: [MULTIBOT_HOME]",
        "a.yaml:1:15: env_inherit: MULTIBOT_HOME is set by multibot itself; choose another name",
    ),
    (
        "log.keep: 2\nlog: {keep: 3}",
        "a.yaml:2:7: log.keep is written twice, first in line 1",
    ),
    (
        "id: My Bot",
        "a.yaml:1:5: id: \"My Bot\" is not a bot id: it must start with a-z or 0-9",
    ),
    ("id: [a]", "a.yaml:1:5: id: found a list, expected one value"),
    ("defaults: {}", "a.yaml:1:1: defaults: belongs into multibot.yaml"),
    (
        "token: 123:s3cret",
        "a.yaml:1:8: token: a token does not belong into this file; write {env: NAME} or {file: PATH}",
    ),
    (
        "credentials: {fields: {app_secret: s3cret}}",
        "a.yaml:1:36: credentials.fields.app_secret: a secret does not belong into this file; write {env: NAME} or {file: PATH}",
    ),
    (
        "credentials: {fields: {k: {env: s3-cret}}}",
        "a.yaml:1:33: credentials.fields.k.env: it is not a variable's name; write the name, not the secret",
    ),
    (
        "credentials: {fields: {S3cret: {env: A}}}",
        "a.yaml:1:24: credentials.fields: write the name of a field, such as app_secret, not its value",
    ),
    (
        "credentials: {fields: {token: {env: A}}}",
        "a.yaml:1:24: credentials.fields: the token stands under token: beside credentials",
    ),
    (
        "credentials: {fields: [a]}",
        "a.yaml:1:23: credentials.fields: write a mapping: {FIELD: {env: NAME}} or {FIELD: {file: PATH}}",
    ),
    (
        "token: {env: 123:s3cret}",
        "a.yaml:1:14: token.env: it is not a variable's name; write the name, not the token",
    ),
    (
        "token: {env: A, file: b}",
        "a.yaml:1:8: token: write either {env: NAME} or {file: PATH}",
    ),
    ("token:", "a.yaml:1:1: token: write either {env: NAME} or {file: PATH}"),
    (
        "token: {flie: b}",
        "a.yaml:1:9: unknown key \"token.flie\", nearest is \"token.file\"",
    ),
    (
        "token: {file: ~/t}",
        "a.yaml:1:15: token.file: \"~/t\" is not expanded: write the full path, such as /home/me/x",
    ),
    ("[a]", "a.yaml:1:1: a list of bots stands under bots:"),
    ("hello", "a.yaml:1:1: found one value, expected a mapping of keys"),
    (
        "bots: {a: 1}",
        "a.yaml:1:7: bots: write a list, each bot beginning with - id:",
    ),
    (
        "bots: [a]",
        "a.yaml:1:8: bots: write a mapping for each bot, beginning with - id:",
    ),
    ("bots:\n- cwd: /x", "a.yaml:2:3: a bot in a list needs an id"),
    (
        "bots:\n- {id: a}\n- {id: a}",
        "a.yaml:3:8: bot a is already in a.yaml:2:8",
    ),
    (
        "env: {A: b}\nbots: [{id: a}]",
        "a.yaml:1:1: \"env\" stands beside bots: and belongs to no bot: move it into the bots, or into defaults: of multibot.yaml",
    ),
    (
        "x-e: &e {A: ~}\nbots: [{id: a, env: *e}, {id: b, env: *e}]",
        "a.yaml:1:10: env.A has no value: write \"\" for an empty one",
    ),
];

#[test]
fn each_single_fault_has_its_line() {
    for (text, said) in SINGLE_FAULTS {
        assert_eq!(faults(text), *said, "{text:?}");
    }
}

#[test]
fn a_token_is_told_in_no_fault() {
    for text in [
        "token: 123:s3cret",
        "token: {env: '123:s3cret'}",
        "token: ['123:s3cret']",
        "token: {env: {x: s3cret}}",
        "token_env: ['123:s3cret']",
        "token_env: 123:s3cret",
        "env: {A: [s3cret]}",
        "env: {A: \"s3cret\\0\"}",
        "env: A=s3cret",
        "command: bot --token s3cret",
        "command: [bot, [s3cret]]",
    ] {
        let said = faults(text);
        assert!(said.starts_with("a.yaml:1:") && !said.contains("s3cret"), "{said}");
    }
}

#[test]
fn a_file_may_hold_one_bot_a_list_both_or_none() {
    let ids = |text: &str| {
        bots(text)
            .iter()
            .map(|bot| bot.id.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    for (text, expected) in [
        ("", ""),
        ("# none yet\n", ""),
        ("x-common: {a: 1}\n", ""),
        ("bots: []\n", ""),
        ("bots:\n", ""),
        ("enabled: false\n", "a"),
        ("id: shop\n", "shop"),
        ("bots:\n- {id: x}\n- {id: y@1}\n", "x y@1"),
        ("id: main\nbots:\n- {id: x}\n", "main x"),
    ] {
        assert_eq!(ids(text), expected, "{text:?}");
    }
    let lines: Vec<u64> = bots("# c\nbots:\n- id: x\n- cwd: /\n  id: y\n")
        .iter()
        .map(|bot| bot.line)
        .collect();
    assert_eq!(lines, [3, 5]);
}

#[test]
fn paths_start_from_the_file_and_values_stay_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::create_dir(root.join("bots")).unwrap();
    let text = "command: [./run.sh, ./x]\nenv_file: e\nmedia: {dir: ../m}\ntoken: {file: t}\nenv: {PORT: 012, X: no, BIG: 1e3}\n";
    fs::write(root.join("bots/a.yaml"), text).unwrap();
    let bots = read_bots(&root.join("bots/a.yaml"), &Settings::new()).unwrap();
    let home = root.display();
    let expected = format!(
        r#"{{"command":["{home}/bots/run.sh","./x"],"cwd":"{home}/bots","env":{{"PORT":"012","X":"no","BIG":"1e3"}},"env_file":"{home}/bots/e","media.dir":"{home}/bots/../m"}}"#
    );
    assert_eq!(bots[0].settings.to_json(), expected);
    assert_eq!(bots[0].token, Some(SecretSource::File(root.join("bots/t"))));
    let defaults = Settings::from_json(r#"{"cwd":"/srv","restart.max_delay":"5m"}"#).unwrap();
    fs::write(root.join("bots/a.yaml"), "restart: {delay: 2m}\ntoken: {env: T}\n").unwrap();
    let bots = read_bots(&root.join("bots/a.yaml"), &defaults).unwrap();
    assert_eq!(bots[0].settings.to_json(), r#"{"restart.delay":"2m"}"#);
    assert_eq!(bots[0].token, Some(SecretSource::Env("T".into())));
}

#[test]
fn a_folder_is_read_by_name_and_every_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let said = |dir: &Path| {
        let read = read_bots(dir, &Settings::new()).map_err(|faults| faults.to_string());
        read.map_err(|text| text.replace(&dir.display().to_string(), "."))
    };
    assert_eq!(said(dir.path()), Err(".: the folder holds no *.yaml file".into()));
    for (name, text) in [
        ("c.yml", "enabled: false"),
        ("a.yaml", "x-anchor: 1\nstop: {grace: 1s}"),
        (".hidden.yaml", "bad: ["),
        ("notes.txt", "bad: ["),
    ] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    fs::create_dir(dir.path().join("sub.yaml")).unwrap();
    let ids: Vec<String> = said(dir.path()).unwrap().iter().map(|bot| bot.id.to_string()).collect();
    assert_eq!(ids, ["a", "c"]);
    fs::write(dir.path().join("b.yaml"), "bad: [").unwrap();
    fs::write(dir.path().join("d.yaml"), "bots: [{id: a}]").unwrap();
    fs::write(dir.path().join("My.yaml"), "enabled: true").unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("z.yaml")).unwrap();
    let expected = "\
./My.yaml:1:1: id: \"My\" is not a bot id: it must start with a-z or 0-9; the file's name is the id, or write id: in it
./b.yaml:1:6: not valid YAML: unclosed bracket '['
./z.yaml: cannot read: No such file or directory (os error 2)
./d.yaml:1:13: bot a is already in ./a.yaml:1:1";
    assert_eq!(said(dir.path()), Err(expected.into()));
}

proptest! {
    #[test]
    fn no_file_panics_and_every_fault_is_one_line(
        lines in proptest::collection::vec("(id|token|bots|env|command|restart|x-a|<<|limits|  max|  delay|- id): ?(\\PC{0,8}|&a|\\*a|\\[|\\{A: b\\}|5s|~|- x)", 0..8),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        fs::write(&file, lines.join("\n")).unwrap();
        if let Err(faults) = read_bots(&file, &Settings::new()) {
            for fault in faults.0 {
                prop_assert!(!fault.to_string().contains('\n'), "{}", fault);
            }
        }
    }

    #[test]
    fn a_damaged_example_is_read_or_its_faults_are_lines(
        bytes in mutated(Just(include_str!("../../../bot_configs/example.yaml").to_owned()), WORDS),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        fs::write(&file, bytes).unwrap();
        if let Err(faults) = read_bots(&file, &Settings::new()) {
            for fault in faults.0 {
                prop_assert!(!fault.to_string().contains('\n'), "{}", fault);
            }
        }
    }
}
