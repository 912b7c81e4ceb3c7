//! Bots of any kind are judged by what their platform says of them.

use serde_json::Value;

use crate::doubles::telegram::Telegram;
use crate::harness::{FAST, Home, SLEEPER, wait_until};

const TOKEN: &str = "12:AAfirstfirstfirstfirstfirstfirst";
const NEXT: &str = "12:AAnextnextnextnextnextnextnext";

fn create(home: &Home, bot: &str, script: &str) {
    home.create_with(bot, &["--platform", "telegram", "--token", TOKEN], script);
}

fn runs(home: &Home, bot: &str) -> usize {
    home.count_events(bot, "exited")
}

#[test]
fn a_refused_token_holds_at_once_and_an_operator_lets_go() {
    let home = Home::new();
    let gate = home.base().join("mended");
    create(
        &home,
        "shop",
        &format!("test -e {} && {{ {SLEEPER}; }}; exit 77", gate.display()),
    );
    home.ok(&["bot", "stop", "shop"]);
    home.run(&["start"]);
    home.run(&["bot", "start", "shop"]).code(1);
    home.wait_state("shop", "held");
    let reason = home.reason("shop");
    assert!(
        reason.starts_with("credentials: ") && reason.contains("bot rotate-token shop"),
        "{reason}"
    );
    assert_eq!(home.bot("shop")["hold"]["class"], "credentials");
    assert_eq!(runs(&home, "shop"), 1, "no restart");
    // Neither another supervisor nor a start lets it go.
    home.ok(&["stop"]);
    home.run(&["start"]).code(1);
    home.wait_state("shop", "held");
    home.run(&["bot", "start", "shop"]).code(1);
    assert_eq!((home.state("shop"), runs(&home, "shop")), ("held".to_owned(), 1));
    std::fs::write(&gate, "").unwrap();
    home.ok(&["bot", "unhold", "shop"]);
    home.wait_state("shop", "running");
    assert_eq!((home.audit_actions("hold"), home.audit_actions("bot unhold")), (1, 1));
    let again = home.ok(&["bot", "unhold", "shop"]).err;
    assert!(again.contains("not held"), "{again}");
}

#[test]
fn what_a_library_writes_before_it_ends_holds_and_a_quoted_line_does_not() {
    let home = Home::new();
    let line = "telegram.error.InvalidToken: The token was rejected by the server.";
    create(&home, "dies", &format!("echo '{line}' >&2; exit 1"));
    home.create("other", &format!("echo '{line}' >&2; exit 1"));
    home.set("other", &["restart.max_restarts=1"]);
    home.ok(&[
        "bot",
        "create",
        "quotes",
        "--platform",
        "telegram",
        "--",
        "/bin/sh",
        "-c",
        &format!("echo '{line}'; {SLEEPER}"),
    ]);
    home.run(&["start"]);
    home.wait_state("dies", "held");
    assert!(home.reason("dies").contains("InvalidToken"), "{}", home.reason("dies"));
    // Without a platform it is a bot that crashes, like any other.
    home.wait_state("other", "failed");
    home.wait_log("quotes", "awake");
    home.wait_state("quotes", "running");
}

#[test]
fn a_conflict_is_counted_and_holds_at_the_third() {
    let home = Home::new();
    // Each line counts once: they must not come within one moment.
    let say = |pause: &str| {
        format!(
            r#"say() {{ printf '{{"id":"c%s","kind":"event","name":"conflict","payload":{{"message":"terminated by other"}}}}\n' $1 > "$MULTIBOT_OUTBOX/tmp/c$1"
            mv "$MULTIBOT_OUTBOX/tmp/c$1" "$MULTIBOT_OUTBOX/new/c$1.ndjson"; sleep {pause}; }}"#
        )
    };
    create(
        &home,
        "shop",
        &format!("{}\nsay 1; say 2; say 3; {SLEEPER}", say("0.7")),
    );
    home.create_with(
        "once",
        &["--platform", "telegram"],
        &format!("{}\nsay 1; {SLEEPER}", say("0")),
    );
    home.run(&["start"]);
    home.wait_state("shop", "held");
    let reason = home.reason("shop");
    assert!(reason.starts_with("another program polls this token"), "{reason}");
    home.wait_event("once", "conflict");
    assert_eq!(home.state("once"), "running");
    assert!(
        home.processes()
            .iter()
            .all(|process| !process.cmdline.contains("AAfirst"))
    );
}

#[test]
fn signs_of_an_operators_own_and_no_judging_at_all() {
    let home = Home::new();
    home.create("own", "exit 64");
    home.set("own", &[r#"errors.classes=[{"exit":64,"class":"banned"}]"#]);
    create(&home, "off", "exit 77");
    home.set("off", &["judge=off", "restart.max_restarts=1"]);
    home.run(&["start"]);
    home.wait_state("own", "held");
    assert!(home.reason("own").starts_with("banned by its platform"));
    home.wait_state("off", "failed");
    home.run(&["bot", "set", "own", r#"errors.classes=[{"exit":64,"class":"bannd"}]"#])
        .code(2)
        .says(&["errors.classes", "banned"]);
}

#[test]
fn a_token_is_tried_when_its_bot_is_created() {
    let telegram = Telegram::start();
    telegram.revoke("13:no-such-token", true);
    let home = telegram.home();
    home.ok(&["start"]);
    let create = |bot: &str, token: &str| {
        let args = [
            "bot",
            "create",
            bot,
            "--platform",
            "telegram",
            "--token",
            "-",
            "--",
            "/bin/sh",
            "-c",
            SLEEPER,
        ];
        home.run_with_stdin(&args, token).code(0).err
    };
    let said = create("good", TOKEN);
    assert!(said.contains("@bot12_bot") && said.contains("it starts now"), "{said}");
    let said = create("bad", "13:no-such-token");
    assert!(
        said.contains("it is held: credentials") && !said.contains("no-such"),
        "{said}"
    );
    home.wait_state("bad", "held");
    home.wait_state("good", "running");
    assert_eq!(home.count_events("bad", "exited"), 0);
    home.write("home/multibot.yaml", FAST);
    let said = create("alone", "14:whatever");
    assert!(
        said.contains("warning: nobody could say") && !said.contains("whatever"),
        "{said}"
    );
}

#[test]
fn a_token_is_rotated_when_it_is_the_same_bots_and_works() {
    let telegram = Telegram::start();
    telegram.revoke("12:no-more", true);
    let home = Home::new();
    let told = home.base().join("told");
    // The second token is one with which this bot does not run.
    let script = format!(
        r#"echo "$BOT_TOKEN" >> {}; case "$BOT_TOKEN" in *broken*) exit 77;; esac; {SLEEPER}"#,
        told.display()
    );
    create(&home, "shop", &script);
    home.set("shop", &[&format!("telegram.api_root={}", telegram.root())]);
    home.ok(&["start"]);
    home.wait_state("shop", "running");
    let rotate = |token: &str, more: &[&str]| {
        let args = [&["bot", "rotate-token", "shop", "--token", "-"], more].concat();
        let outcome = home.run_with_stdin(&args, token);
        assert!(!outcome.err.contains(token), "{}", outcome.err);
        outcome
    };
    rotate("12:no-more", &[])
        .code(1)
        .says(&["refuses the new token", "nothing was changed"]);
    rotate("13:another", &[])
        .code(1)
        .says(&["another bot (13, until now 12)", "--force"]);
    rotate(NEXT, &[]).code(0).says(&["runs with its new token"]);
    rotate(NEXT, &[]).code(0).says(&["has this token already"]);
    rotate("12:broken-one", &[])
        .code(1)
        .says(&["does not run with the new token", "old one again"]);
    home.wait_state("shop", "running");
    let tokens = || std::fs::read_to_string(&told).unwrap_or_default();
    let expected = format!("{TOKEN}\n{NEXT}\n12:broken-one\n{NEXT}\n");
    wait_until("the old token is back", &home, || tokens() == expected);
    assert_eq!(home.audit_actions("bot rotate-token"), 3);
    let audit = home.ok(&["audit", "--json"]).out;
    assert!(!audit.contains("AAnext") && !audit.contains("broken-one"));
    let status: Value = home.bot("shop");
    assert!(status["hold"].is_null());
    home.set("shop", &["telegram.api_root=http://127.0.0.1:1"]);
    rotate("12:unseen", &[])
        .code(1)
        .says(&["cannot reach the Bot API", "--force"]);
    rotate("12:unseen", &["--force"]).code(0);
}
