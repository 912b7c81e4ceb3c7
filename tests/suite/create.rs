//! `bot create`: ids, tokens, the environment and the command of a bot.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Home, Outcome, SLEEPER, wait_until};

/// Writes its environment where the test finds it, all at once.
const TELL_ENVIRONMENT: &str = "cat /proc/self/environ > seen.new; mv seen.new seen; exec sleep 100000";

/// The environment that a bot has written down.
fn seen(home: &Home) -> Vec<String> {
    let path = home.base().join("seen");
    wait_until("the bot has told its environment", home, || path.exists());
    let text = fs::read_to_string(&path).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

fn has(environment: &[String], variable: &str) -> bool {
    environment.iter().any(|it| it == variable)
}

fn ids(home: &Home) -> Vec<(String, u64)> {
    let list = home.ok(&["list", "--json"]).json();
    let bots = list["bots"].as_array().unwrap().iter();
    bots.map(|bot| (bot["id"].as_str().unwrap().to_owned(), bot["index"].as_u64().unwrap()))
        .collect()
}

#[test]
fn ids_are_checked_before_anything_is_done() {
    let home = Home::missing();
    let long = "a".repeat(64);
    for id in [
        "Shop",
        "",
        "a b",
        "a/b",
        "..",
        ".a",
        "-a",
        "ä",
        "supervisor",
        "cli",
        &long,
        "a@",
    ] {
        let outcome = home.run(&["bot", "create", "--", id]);
        assert_eq!(outcome.status, Some(2), "{id:?} {outcome:?}");
        assert_eq!(outcome.err.lines().count(), 1, "{id:?} {outcome:?}");
    }
    assert!(!home.dir().exists());
    let longest = "a".repeat(63);
    for id in ["a", "0", "a.b_c-d", &longest, "shop@berlin"] {
        home.ok(&["bot", "create", id, "--no-start", "--", "/bin/true"]);
    }
    assert_eq!(ids(&home).len(), 5);
}

#[test]
fn a_second_bot_of_one_id_is_refused_and_the_first_stays_as_it_was() {
    let home = Home::new();
    home.ok(&["bot", "create", "shop", "--no-start", "--", "/bin/true", "first"]);
    home.run(&["bot", "create", "shop", "--no-start", "--", "/bin/true", "second"])
        .code(1)
        .one_line(&["shop exists already", "bot set shop"]);
    let shown = home.ok(&["bot", "show", "shop", "--json"]).json();
    assert_eq!(shown["settings"]["command"], json!(["/bin/true", "first"]));
}

#[test]
fn a_second_bot_with_the_same_token_is_refused_and_only_the_first_is_named() {
    let home = Home::new();
    let token = "4711:the-secret-part-of-it";
    home.ok(&[
        "bot",
        "create",
        "first",
        "--token",
        token,
        "--no-start",
        "--",
        "/bin/true",
    ]);
    let file = home.write("token", &format!("{token}\n"));
    for flags in [
        &["--token", token][..],
        &["--token-file", file.to_str().unwrap()],
        &["--token", "  4711:the-secret-part-of-it "],
    ] {
        let args = [&["bot", "create", "second"], flags, &["--", "/bin/true"]].concat();
        let outcome = home.run(&args).code(1).one_line(&["first", "token"]);
        assert!(!outcome.err.contains("secret-part"), "{outcome:?}");
    }
    assert_eq!(ids(&home), [("first".to_owned(), 0)]);
}

#[test]
fn another_bots_token_in_a_variable_is_refused() {
    let home = Home::new();
    home.ok(&[
        "bot",
        "create",
        "first",
        "--token",
        "4711:hidden-part",
        "--no-start",
        "--",
        "/bin/true",
    ]);
    let args = [
        "bot",
        "create",
        "second",
        "--env",
        "TG=4711:hidden-part",
        "--",
        "/bin/true",
    ];
    let outcome = home.run(&args).code(1).one_line(&["env TG of second", "bot first"]);
    assert!(!outcome.err.contains("hidden"), "{outcome:?}");
    home.ok(&["bot", "create", "second", "--no-start", "--", "/bin/true"]);
    home.run(&["bot", "set", "second", "env.TG=4711:hidden-part"])
        .code(1)
        .one_line(&["env TG of second", "bot first"]);
    let file = home.write(
        "bots.yaml",
        "id: third\ncommand: [/bin/true]\nenv: {TG: \"4711:hidden-part\"}\n",
    );
    home.run(&["apply", file.to_str().unwrap()])
        .code(1)
        .one_line(&["env TG of third", "bot first"]);
    assert_eq!(ids(&home), [("first".to_owned(), 0), ("second".to_owned(), 1)]);
}

#[test]
fn a_bot_gets_another_token_from_a_file_and_restarts_with_it() {
    let home = Home::new();
    let script = home.script("bot", TELL_ENVIRONMENT).display().to_string();
    home.ok(&["bot", "create", "shop", "--token", "1:old", "--", "/bin/sh", &script]);
    home.ok(&["start"]);
    assert!(has(&seen(&home), "BOT_TOKEN=1:old"));
    let file = home.write("token", "1:new\n");
    home.run(&["bot", "set", "shop", "token=1:new"])
        .code(2)
        .one_line(&["token.file"]);
    home.run(&["bot", "set", "shop", &format!("token.file={}", file.display())])
        .code(0)
        .says(&["restarts"]);
    wait_until("the bot has its new token", &home, || {
        has(&seen(&home), "BOT_TOKEN=1:new")
    });
}

#[test]
fn a_token_comes_from_an_argument_stdin_or_a_file_and_reaches_the_bot() {
    let file_of = |home: &Home| home.write("token", "  1:from-a-file\n").display().to_string();
    for (way, expected) in [("argument", "1:given"), ("stdin", "1:typed"), ("file", "1:from-a-file")] {
        let home = Home::new();
        let script = home.script("bot", TELL_ENVIRONMENT);
        let tail = [
            "--token-env",
            "TELEGRAM_TOKEN",
            "--",
            "/bin/sh",
            script.to_str().unwrap(),
        ];
        let file = file_of(&home);
        let outcome = match way {
            "argument" => home.run(&[&["bot", "create", "shop", "--token", "1:given"][..], &tail].concat()),
            "stdin" => {
                let args = [&["bot", "create", "shop", "--token", "-"][..], &tail].concat();
                home.run_with_stdin(&args, "1:typed\n")
            }
            _ => home.run(&[&["bot", "create", "shop", "--token-file", &file][..], &tail].concat()),
        };
        outcome.code(0);
        home.ok(&["start"]);
        let environment = seen(&home);
        assert!(has(&environment, &format!("BOT_TOKEN={expected}")), "{way}");
        assert!(has(&environment, &format!("TELEGRAM_TOKEN={expected}")), "{way}");
    }
}

#[test]
fn a_token_that_cannot_be_read_or_is_none_creates_nothing() {
    let home = Home::new();
    let empty = home.write("empty", "\n").display().to_string();
    let config = home
        .write("config", "token = 1:secret\nother = 2\n")
        .display()
        .to_string();
    let missing = home.base().join("missing").display().to_string();
    for (flags, code) in [
        (["--token-file", &missing], 1),
        (["--token-file", &empty], 2),
        (["--token-file", &config], 2),
        (["--token", "two words"], 2),
    ] {
        let args = [&["bot", "create", "shop"][..], &flags, &["--", "/bin/true"]].concat();
        let outcome = home.run(&args).code(code).one_line(&["token"]);
        assert!(!outcome.err.contains("secret"), "{outcome:?}");
    }
    home.run_with_stdin(&["bot", "create", "shop", "--token", "-", "--", "/bin/true"], "")
        .code(2)
        .one_line(&["stdin"]);
    for text in ["1:secret\nsecond line\n", "BOT_TOKEN=1:secret\n"] {
        let args = ["bot", "create", "shop", "--token", "-", "--", "/bin/true"];
        let outcome = home.run_with_stdin(&args, text).code(2).one_line(&["token", "stdin"]);
        assert!(!outcome.err.contains("secret"), "{outcome:?}");
    }
    assert_eq!(ids(&home), []);
}

#[test]
fn a_token_of_telegrams_shape_without_a_command_makes_a_telegram_bot_that_waits_for_its_platform() {
    let home = Home::new();
    // Nobody answers there.
    home.ok(&["bot", "create", "shop", "--token", "123:abc"]);
    home.ok(&["start"]);
    let bot = home.bot("shop");
    assert_eq!(
        (&bot["platform"], &bot["state"]),
        (&json!("telegram"), &json!("running"))
    );
    assert_eq!(bot["connected"], false);
    home.wait_log("shop", "not connected to telegram: cannot reach the Bot API");
}

#[test]
fn the_shape_of_the_token_and_the_flag_decide_the_platform() {
    let home = Home::new();
    for (id, flags, platform) in [
        ("a", &["--token", "123:abc"][..], "telegram"),
        ("b", &["--token", "plain"], "loopback"),
        ("c", &[], "loopback"),
        ("d", &["--token", "124:abc", "--platform", "loopback"], "loopback"),
        ("e", &["--token", "125:abc", "--", "/bin/true"], "none"),
        ("f", &["--platform", "telegram", "--", "/bin/true"], "telegram"),
    ] {
        let (before, after) = match flags.iter().position(|flag| *flag == "--") {
            Some(place) => flags.split_at(place),
            None => (flags, &[][..]),
        };
        home.ok(&[&["bot", "create", id, "--no-start"], before, after].concat());
        assert_eq!(home.bot(id)["platform"], platform, "{id}");
    }
    home.run(&["bot", "create", "g", "--platform", "telegramm"])
        .code(2)
        .one_line(&["telegram"]);
}

#[test]
fn a_command_that_holds_a_token_is_refused() {
    let home = Home::new();
    let shaped = "987654321:AAFakeFakeFakeFakeFakeFakeFakeFake_x-y";
    for (token, word) in [("hunter2", "--token=hunter2"), ("other", shaped)] {
        let args = ["bot", "create", "shop", "--token", token, "--", "/bin/true", word];
        let outcome = home.run(&args).code(1).one_line(&["word 2", "BOT_TOKEN"]);
        assert!(
            !outcome.err.contains("hunter2") && !outcome.err.contains("Fake"),
            "{outcome:?}"
        );
    }
    assert_eq!(ids(&home), []);
}

#[test]
fn a_new_bot_starts_at_once_where_a_supervisor_runs_unless_told_not_to() {
    let home = Home::new();
    home.create("early", SLEEPER)
        .says(&["no supervisor runs", "multibot start"]);
    home.ok(&["start"]);
    home.create("late", SLEEPER).says(&["it starts now"]);
    home.wait_state("late", "running");
    home.create_with("lazy", &["--no-start"], SLEEPER)
        .says(&["bot start lazy"]);
    let lazy = home.bot("lazy");
    assert_eq!((&lazy["state"], &lazy["wanted"]), (&json!("stopped"), &json!("down")));
    home.ok(&["status"]);
    home.ok(&["bot", "start", "lazy"]);
    assert_eq!(home.state("lazy"), "running");
}

#[test]
fn indexes_are_the_next_free_numbers_and_never_change() {
    let home = Home::new();
    for id in ["a", "b", "c"] {
        home.create_with(id, &["--no-start"], SLEEPER);
    }
    home.ok(&["bot", "remove", "b"]);
    assert_eq!(ids(&home), [("a".to_owned(), 0), ("c".to_owned(), 2)]);
    home.create_with("d", &["--no-start"], SLEEPER);
    home.create_with("e", &[], TELL_ENVIRONMENT);
    assert_eq!(home.bot("d")["index"], 1);
    home.ok(&["start"]);
    assert!(has(&seen(&home), "BOT_INDEX=3"));
}

#[test]
fn the_environment_is_built_and_not_inherited() {
    let home = Home::new();
    home.create_with("shop", &["--env", "GREETING=hello = world"], TELL_ENVIRONMENT);
    let mut command = home.command(&["start"]);
    for (name, value) in [
        ("OF_THE_SHELL", "1"),
        ("LISTEN_FDS", "1"),
        ("NOTIFY_SOCKET", "/run/x"),
        ("WATCHDOG_USEC", "1"),
        ("BOT_ID", "other"),
        ("MULTIBOT_RUN_ID", "of-the-caller"),
        ("LD_PRELOAD_X", "1"),
    ] {
        command.env(name, value);
    }
    assert!(command.output().unwrap().status.success());
    let environment = seen(&home);
    let names: Vec<&str> = environment.iter().filter_map(|it| it.split('=').next()).collect();
    for name in ["OF_THE_SHELL", "LISTEN_FDS", "LD_PRELOAD_X", "BOT_TOKEN"] {
        assert!(!names.contains(&name), "{name} in {names:?}");
    }
    // The bot's own, not those of whoever has started the supervisor.
    for own in [
        format!("NOTIFY_SOCKET={}", home.path("run/shop/notify").display()),
        "WATCHDOG_USEC=60000000".to_owned(),
    ] {
        assert!(environment.contains(&own), "no {own} in {environment:?}");
    }
    for name in [
        "PATH",
        "HOME",
        "LANG",
        "TMPDIR",
        "MULTIBOT_RUN_ID",
        "MULTIBOT_HOME_ID",
        "MULTIBOT_INBOX",
        "MULTIBOT_OUTBOX",
        "MULTIBOT_HEARTBEAT",
        "MULTIBOT_MEDIA",
        "MULTIBOT_PROGRAM",
    ] {
        assert_eq!(names.iter().filter(|it| **it == name).count(), 1, "{name} in {names:?}");
    }
    for variable in [
        "BOT_ID=shop",
        "BOT_INDEX=0",
        "GREETING=hello = world",
        "PYTHONUNBUFFERED=1",
    ] {
        assert!(has(&environment, variable), "{variable} in {environment:?}");
    }
    let run = home.bot("shop")["run_id"].as_str().unwrap().to_owned();
    assert!(has(&environment, &format!("MULTIBOT_RUN_ID={run}")));
}

#[test]
fn env_inherit_hands_named_variables_through() {
    let home = Home::new();
    let from = home.write("bot.yaml", "id: shop\nenv_inherit: [PROXY, NOT_THERE]\n");
    home.create_with("shop", &["--from", from.to_str().unwrap()], TELL_ENVIRONMENT);
    let mut command = home.command(&["start"]);
    let output = command.env("PROXY", "http://p:1").env("OTHER", "1").output();
    assert!(output.unwrap().status.success());
    let environment = seen(&home);
    assert!(has(&environment, "PROXY=http://p:1"), "{environment:?}");
    assert!(
        !environment
            .iter()
            .any(|it| it.starts_with("OTHER=") || it.starts_with("NOT_THERE="))
    );
}

#[test]
fn an_env_file_is_read_at_every_start_and_env_wins_over_it() {
    let home = Home::new();
    home.write("bot.env", "# comment\nexport A=file\nB=\"two words\"\n");
    home.create_with("shop", &["--env-file", "bot.env", "--env", "A=flag"], TELL_ENVIRONMENT);
    home.ok(&["start"]);
    let environment = seen(&home);
    assert!(
        has(&environment, "A=flag") && has(&environment, "B=two words"),
        "{environment:?}"
    );
    home.write("bot.env", "B=changed\n");
    fs::remove_file(home.base().join("seen")).unwrap();
    home.ok(&["bot", "restart", "shop"]);
    assert!(has(&seen(&home), "B=changed"));
}

#[test]
fn an_env_file_that_is_missing_or_wrong_is_a_clear_failure() {
    let home = Home::new();
    home.create_with("shop", &["--env-file", "bot.env"], SLEEPER);
    home.run(&["start"]).code(1).says(&["shop is failed", "bot.env"]);
    home.write("bot.env", "A=1\nnonsense\n");
    home.run(&["bot", "start", "shop"]).code(1).says(&["bot.env", "line 2"]);
    home.write("bot.env", "A=1\n");
    home.ok(&["bot", "start", "shop"]);
}

#[test]
fn the_program_is_found_when_the_bot_is_created_not_when_it_starts() {
    let home = Home::new();
    let bin = home.base().join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink("/bin/sh", bin.join("my-shell")).unwrap();
    let script = home.script("bot", SLEEPER);
    let mut command = home.command(&["bot", "create", "shop", "--", "my-shell", script.to_str().unwrap()]);
    assert!(command.env("PATH", &bin).output().unwrap().status.success());
    let shown = home.ok(&["bot", "show", "shop", "--json"]).json();
    assert_eq!(shown["settings"]["command"][0], bin.join("my-shell").to_str().unwrap());
    home.ok(&["start"]);
    home.wait_log("shop", "awake");
}

#[test]
fn a_program_that_is_not_there_yet_is_a_warning_and_a_failed_bot() {
    let home = Home::new();
    home.ok(&["bot", "create", "shop", "--", "no-such-program-anywhere"])
        .says(&["warning: no-such-program-anywhere is not in PATH"]);
    home.run(&["start"])
        .code(1)
        .says(&["shop is failed", "no-such-program-anywhere"]);
}

#[test]
fn a_bot_works_where_it_was_created_or_where_it_is_told() {
    let home = Home::new();
    let work = home.base().join("work");
    fs::create_dir(&work).unwrap();
    home.create("here", "pwd; exec sleep 100000");
    home.create_with("there", &["--cwd", "work"], "pwd; exec sleep 100000");
    home.create_with("nowhere", &["--cwd", "gone"], SLEEPER);
    home.run(&["start"]).code(1).says(&["nowhere is failed", "cwd", "gone"]);
    home.wait_log("here", &format!("out {}\n", home.base().display()));
    home.wait_log("there", &format!("out {}\n", work.display()));
}

#[test]
fn settings_come_from_a_file_and_flags_win() {
    let home = Home::new();
    let yaml = "id: ignored-here\ncommand: [/bin/true]\nenv: {A: file, B: file}\nrestart: {delay: 7s}\n";
    let from = home.write("one.yaml", yaml).display().to_string();
    home.ok(&[
        "bot",
        "create",
        "shop",
        "--from",
        &from,
        "--env",
        "A=flag",
        "--no-start",
    ]);
    let settings = home.ok(&["bot", "show", "shop", "--json"]).json()["settings"].clone();
    assert_eq!(settings["env"], json!({"A": "flag", "B": "file"}));
    assert_eq!(
        (&settings["restart.delay"], &settings["command"]),
        (&json!("7s"), &json!(["/bin/true"]))
    );
    let several = home
        .write("two.yaml", "bots:\n  - id: a\n  - id: b\n")
        .display()
        .to_string();
    home.run(&["bot", "create", "more", "--from", &several])
        .code(2)
        .one_line(&["two.yaml", "exactly one bot", "multibot apply"]);
}

#[test]
fn values_that_look_secret_are_hidden_where_settings_are_shown() {
    let home = Home::new();
    home.ok(&[
        "bot",
        "create",
        "shop",
        "--token",
        "1:very-secret",
        "--env",
        "API_KEY=very-secret",
        "--env",
        "PLAIN=seen",
        "--no-start",
        "--",
        "/bin/true",
    ]);
    for args in [&["bot", "show", "shop"][..], &["bot", "show", "shop", "--json"]] {
        let outcome: Outcome = home.ok(args);
        assert!(
            !outcome.out.contains("very-secret") && outcome.out.contains("seen"),
            "{outcome:?}"
        );
    }
    let shown: Value = home.ok(&["bot", "show", "shop", "--json"]).json();
    assert_eq!(shown["has_token"], true);
}
