//! Logins: a program gets a bot's credentials, for a person at the command line and for an admin in a chat.

use std::fs;

use serde_json::json;

use crate::harness::{Home, Outcome, SLEEPER, wait_until};

const SECRET: &str = "session-secret-4711";

/// Gives a bot a login program that is this script.
fn give(home: &Home, bot: &str, script: &str) {
    let path = home.write("login.sh", script);
    let argv = json!(["/bin/sh", path.display().to_string()]).to_string();
    home.set(bot, &[&format!("login.exec={argv}")]);
}

fn fields(home: &Home) -> Vec<String> {
    let records = home.ok(&["credentials", "list", "--json"]).records();
    let name = |record: &serde_json::Value| record["field"].as_str().unwrap().to_owned();
    records.iter().map(name).collect()
}

#[test]
fn what_a_program_gives_is_stored_and_the_bot_has_it() {
    let home = Home::new();
    home.create_with(
        "shop",
        &["--env", "PLACE=here"],
        &format!("echo \"has ${{#BOT_SESSION}}\"; {SLEEPER}"),
    );
    give(
        &home,
        "shop",
        r#"read -r code; echo "asked for a code" >&2
           [ -z "$MULTIBOT_RUN_ID" ] || exit 9
           phone=$(multibot ipc credentials phone_id) || exit 8
           printf '{"session": "%s-secret-%s", "origin": "%s %s %s"}\n' session "$code" "$PLACE" "$BOT_ID" "$phone""#,
    );
    home.run_with_stdin(&["credentials", "set", "phone_id", "--bot", "shop"], "5")
        .code(0);
    home.ok(&["start"]);
    home.wait_log("shop", "has 0");
    let outcome = home.run_with_stdin(&["bot", "login", "shop"], "4711\n");
    let outcome: Outcome = outcome.code(0);
    assert!(outcome.err.contains("asked for a code"), "{}", outcome.err);
    assert!(
        outcome
            .err
            .contains("stored origin, session of shop; restarts for it: shop")
    );
    assert!(!outcome.err.contains(SECRET) && outcome.out.is_empty());
    home.wait_log("shop", &format!("has {}", SECRET.len()));
    assert_eq!(fields(&home), ["origin", "phone_id", "session"]);
    let copy = home.base().join("copy.json").display().to_string();
    home.ok(&["credentials", "export", &copy]);
    let copy = fs::read_to_string(copy).unwrap();
    assert!(copy.contains("here shop 5") && copy.contains(SECRET));
    let audit = home.ok(&["audit"]).out;
    assert!(
        audit.contains("bot login") && audit.contains("origin, session"),
        "{audit}"
    );
    assert!(!audit.contains(SECRET));
}

#[test]
fn what_is_no_answer_stores_nothing_and_says_why() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.run(&["bot", "login", "shop"])
        .code(1)
        .one_line(&["shop has no login program", "login.exec"]);
    home.run(&["bot", "login", "shpo"])
        .code(4)
        .one_line(&["no bot shpo", "shop"]);
    for (script, said) in [
        ("echo session-secret-4711", "printed no JSON object"),
        ("echo '[\"session-secret-4711\"]'", "JSON that is no object"),
        ("echo '{\"Session\": \"session-secret-4711\"}'", "no name of a field"),
        ("echo '{\"session\": 5}'", "the value of session is no text"),
        ("true", "printed nothing"),
        (
            "echo '{\"session\": \"session-secret-4711\"}'; exit 3",
            "exited with code 3",
        ),
        ("kill -9 $$", "killed by SIGKILL"),
        ("while echo session-secret-4711; do :; done", "longer than 64 KiB"),
        (
            "echo '{\"session\": \"/bin/sh\"}'",
            "of the bot's command holds session",
        ),
    ] {
        give(&home, "shop", script);
        let outcome = home.run(&["bot", "login", "shop"]).code(1).one_line(&["shop: ", said]);
        assert!(!outcome.err.contains(SECRET), "{}", outcome.err);
    }
    home.set("shop", &[r#"login.exec=["/nowhere/login"]"#]);
    home.run(&["bot", "login", "shop"])
        .code(1)
        .one_line(&["cannot run the login program /nowhere/login"]);
    assert_eq!(fields(&home), [""; 0]);
    assert_eq!(home.audit_actions("bot login"), 0);
}

#[test]
fn what_takes_too_long_is_killed_with_all_that_it_started() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    let pids = home.base().join("pids").display().to_string();
    give(
        &home,
        "shop",
        &format!("setsid sleep 1000 & echo $! > {pids}; echo $$ >> {pids}; wait"),
    );
    home.set("shop", &["login.timeout=700ms"]);
    home.run(&["bot", "login", "shop"])
        .code(1)
        .one_line(&["has not ended within 700ms", "login.timeout"]);
    let pids = fs::read_to_string(pids).unwrap();
    let is_gone = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    assert_eq!(pids.lines().count(), 2);
    wait_until("both are gone", &home, || pids.lines().all(is_gone));
}

#[test]
fn an_admin_logs_a_bot_in_from_a_chat() {
    let home = Home::new();
    home.ok(&["admin", "add", "7"]);
    home.ok(&["bot", "create", "shop"]);
    home.ok(&["start"]);
    let say = |user: &str| {
        let message = json!({"text": "?relogin", "user": user}).to_string();
        home.ok(&["send", "shop", "send_message", "--json", &message, "--wait"])
            .out
    };
    assert!(say("8").contains("for admins only"));
    assert!(say("7").contains("shop has no login program"));
    give(&home, "shop", "exit 3");
    assert!(say("7").contains("exited with code 3"));
    home.set("shop", &["credentials.refresh=restart"]);
    give(
        &home,
        "shop",
        r#"read -r line && exit 1; echo '{"session": "session-secret-4711"}'"#,
    );
    let answer = say("7");
    assert!(
        answer.contains("logged in: session stored") && !answer.contains(SECRET),
        "{answer}"
    );
    wait_until("it is stored", &home, || fields(&home) == ["session"]);
    let audit = home.ok(&["audit"]).out;
    assert!(audit.contains("session, in chat loopback of shop"), "{audit}");
    home.wait_state("shop", "running");
}

#[test]
fn a_supervisor_that_ends_leaves_no_login_behind() {
    let home = Home::new();
    home.ok(&["admin", "add", "7"]);
    home.ok(&["bot", "create", "shop"]);
    let pid = home.base().join("pid");
    give(
        &home,
        "shop",
        &format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", pid.display()),
    );
    home.ok(&["start"]);
    let message = json!({"text": "?relogin", "user": "7"}).to_string();
    home.ok(&["send", "shop", "send_message", "--json", &message]);
    wait_until("the login runs", &home, || pid.exists());
    home.ok(&["stop"]);
    let pid = fs::read_to_string(pid).unwrap();
    let gone = || !fs::exists(format!("/proc/{}", pid.trim())).unwrap();
    wait_until("the login is gone", &home, gone);
}
