//! A token is in the bot's environment, in the database, and nowhere else.

use std::fs;

use crate::harness::{Home, wait_until, walk};

const TOKEN: &str = "7012345678:AAHiddenHiddenHiddenHiddenHiddenHidden";
/// The part that would give it away.
const PART: &str = "AAHiddenHidden";

/// A home with a running bot that tells its token in every way it can.
fn told(home: &Home) {
    let script = r#"
echo "my token is $BOT_TOKEN"; echo "https://api.example.org/bot$BOT_TOKEN/getMe" >&2
printf '{"id":"1","kind":"event","name":"hello","payload":{"a":1}}\n' > "$MULTIBOT_OUTBOX/tmp/x"
mv "$MULTIBOT_OUTBOX/tmp/x" "$MULTIBOT_OUTBOX/new/x.ndjson"; echo told; exec sleep 100000"#;
    home.create_with("shop", &["--token", TOKEN, "--token-env", "TELEGRAM_TOKEN"], script);
    home.ok(&["start"]);
    home.wait_log("shop", "told");
    home.wait_event("shop", "hello");
}

#[test]
fn no_process_has_the_token_among_its_arguments() {
    let home = Home::new();
    told(&home);
    let processes = home.processes();
    assert!(processes.len() >= 3, "a supervisor, a shim and a bot");
    assert!(processes.iter().all(|process| !process.cmdline.contains(PART)));
    // The bot alone has it in its environment.
    let bearers: Vec<u32> = processes
        .iter()
        .filter(|it| it.environ.contains(PART))
        .map(|it| it.pid)
        .collect();
    assert_eq!(bearers, [home.pid("shop")]);
}

#[test]
fn no_file_of_the_home_but_the_database_has_the_token() {
    let home = Home::new();
    told(&home);
    home.ok(&["bot", "restart", "shop"]);
    home.ok(&["send", "shop", "hello"]);
    let mut seen = 0;
    for path in walk(&home.dir()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Ok(bytes) = fs::read(&path) else { continue };
        if !name.starts_with("multibot.db") {
            seen += 1;
            assert!(!String::from_utf8_lossy(&bytes).contains(PART), "{}", path.display());
        }
    }
    assert!(seen > 5);
    let log = home.log_of("shop");
    assert!(
        log.contains("my token is [masked]") && log.contains("/bot[masked]/getMe"),
        "{log}"
    );
}

#[test]
fn no_command_prints_the_token() {
    let home = Home::new();
    told(&home);
    home.create_with("other", &["--no-start"], "exit 0");
    let script = home.script("more", "exit 0").display().to_string();
    let commands: &[&[&str]] = &[
        &["status"],
        &["status", "--json"],
        &["list"],
        &["list", "--json"],
        &["bot", "show", "shop"],
        &["bot", "show", "shop", "--json"],
        &["logs"],
        &["logs", "--json"],
        &["events"],
        &["events", "--json"],
        &["audit"],
        &["audit", "--json"],
        &["bot", "create", "twin", "--token", TOKEN, "--", "/bin/sh", &script],
        &[
            "bot", "create", "loud", "--token", TOKEN, "--", "/bin/sh", &script, TOKEN,
        ],
        &["bot", "create", "loud", "--tokn", TOKEN],
        &["bot", "create", "loud", TOKEN],
        &["bot", "create", TOKEN],
        &["bot", "set", "shop", &format!("tokne={TOKEN}")],
        &["bot", "set", "shop", &format!("restart.delay={TOKEN}")],
        &["bot", "set", "shop", TOKEN],
        &["bot", "start", TOKEN],
        &[TOKEN],
    ];
    for args in commands {
        let outcome = home.run(args);
        let all = format!("{}{}", outcome.out, outcome.err);
        assert!(!all.contains(PART), "{args:?}: {all}");
    }
}

#[test]
fn a_token_in_the_command_line_of_create_is_not_passed_on_to_the_supervisor() {
    let home = Home::new();
    told(&home);
    home.ok(&["stop"]);
    home.ok(&["start"]);
    wait_until("it runs again", &home, || home.state("shop") == "running");
    let supervisor = home.supervisor_pid();
    let of_supervisor = crate::harness::proc_text(supervisor, "environ");
    assert!(!of_supervisor.contains(PART));
}
