//! Bots that use the spool: readiness, heartbeats, questions for status, events, messages.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{FAST, Home, SLEEPER, wait_until};

/// Functions for scripts that speak with multibot, and nothing running yet.
const WORDS: &str = r#"
n=0
put() { printf '%s\n' "$2" > "$MULTIBOT_OUTBOX/tmp/sh.$$" && mv "$MULTIBOT_OUTBOX/tmp/sh.$$" "$1"; }
post() { n=$((n + 1)); put "$MULTIBOT_OUTBOX/new/$MULTIBOT_RUN_ID-$n.ndjson" "$1"; }
event() { post "{\"id\":\"$MULTIBOT_RUN_ID-$n\",\"kind\":\"event\",\"name\":\"$1\",\"payload\":${2:-"{}"}}"; }
beat() { put "$MULTIBOT_HEARTBEAT" '{"id":"beat","kind":"heartbeat","name":"heartbeat"}'; }
"#;

/// A bot that says these words and then sleeps.
fn speaker(home: &Home, bot: &str, words: &str) {
    home.create_with(bot, &["--no-start"], &format!("{WORDS}\n{words}\nexec sleep 100000"));
}

/// The complete bot in sh that ipc/README.md shows, which looks at its inbox more often here.
fn bot_of_the_readme(language: &str, slow: &str, fast: &str) -> String {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/ipc/README.md")).unwrap();
    let (_, rest) = readme.split_once("## Without a client").unwrap();
    let (_, rest) = rest.split_once(&format!("```{language}\n")).unwrap();
    let (script, _) = rest.split_once("```").unwrap();
    assert!(script.contains(slow), "{script}");
    script.replace(slow, fast)
}

fn echo(home: &Home, bot: &str) {
    home.create(bot, &bot_of_the_readme("sh", "  sleep 1\n", "  sleep 0.05\n"));
    home.set(bot, &["ready.when=signal"]);
}

fn unhealthy(home: &Home, bot: &str) -> String {
    home.wait_event(bot, "unhealthy")["detail"].as_str().unwrap().to_owned()
}

#[test]
fn the_bot_of_the_readme_in_sh_does_all_that_is_asked_of_it() {
    let home = Home::with_settings(&format!("{FAST}status_poll_interval: 200ms\n"));
    echo(&home, "shop");
    home.ok(&["start"]);
    let pid = home.pid("shop");
    let answer = home.ok(&["send", "shop", "--text", "hello \"you\" {there}", "--wait"]);
    assert_eq!(answer.out, "hello \"you\" {there}\n");
    home.wait_event("shop", "status_response");
    wait_until("several questions were answered", &home, || {
        home.count_events("shop", "status_response") >= 4
    });
    assert!(home.bot("shop")["heartbeat_age_s"].is_u64());
    assert_eq!((home.pid("shop"), home.state("shop")), (pid, "running".to_owned()));
    home.ok(&["bot", "stop", "shop"]);
    assert_eq!(home.bot("shop")["dead"], 0);
}

#[test]
fn the_bot_of_the_readme_in_python_does_the_same() {
    let home = Home::with_settings(&format!("{FAST}status_poll_interval: 200ms\n"));
    let script = bot_of_the_readme("python", "    time.sleep(1)\n", "    time.sleep(0.05)\n");
    let path = home.write("bot.py", &script);
    let outcome = home.ok(&["bot", "create", "shop", "--", "python3", path.to_str().unwrap()]);
    if outcome.err.contains("not in PATH") {
        // A host without python; the one in sh says the same.
        return;
    }
    home.set("shop", &["ready.when=signal"]);
    home.ok(&["start"]);
    let answer = home.ok(&["send", "shop", "--text", "hello", "--wait"]);
    assert_eq!(answer.out, "hello\n");
    home.wait_event("shop", "status_response");
    home.ok(&["bot", "stop", "shop"]);
    let exit = home.bot("shop")["last_exit"].clone();
    assert!(exit["code"] == 0 || exit["signal"] == 15, "{exit}");
}

#[test]
fn a_bot_that_signals_readiness_is_starting_until_it_does() {
    let home = Home::new();
    speaker(&home, "shop", "while [ ! -e go ]; do sleep 0.02; done; event ready");
    home.set("shop", &["ready.when=signal"]);
    home.ok(&["start"]);
    let mut start = home.spawn(&["bot", "start", "shop"]);
    home.wait_state("shop", "starting");
    home.run(&["status"]).code(1);
    assert!(start.is_running());
    // It is starting as well while it is being spawned.
    wait_until("it waits for its word", &home, || {
        home.reason("shop") == "waits for its ready event"
    });
    home.write("go", "");
    assert_eq!(start.end(&home), Some(0));
    assert_eq!(home.state("shop"), "running");
}

#[test]
fn a_bot_that_is_not_ready_in_time_is_unhealthy_and_restarted() {
    let home = Home::new();
    speaker(&home, "shop", "[ -e go ] && event ready; touch go");
    home.set("shop", &["ready.when=signal", "ready.timeout=400ms"]);
    home.ok(&["start"]);
    home.ok(&["bot", "start", "shop"]);
    assert_eq!(unhealthy(&home, "shop"), "not ready within 400ms");
    assert_eq!(
        (home.state("shop"), &home.bot("shop")["restarts"]),
        ("running".to_owned(), &json!(1))
    );
}

#[test]
fn a_bot_whose_heartbeats_stop_is_unhealthy_and_restarted() {
    let home = Home::new();
    speaker(&home, "shop", "[ -e quiet ] || { beat; touch quiet; }");
    home.set("shop", &["heartbeat_timeout=500ms"]);
    home.ok(&["start"]);
    home.ok(&["bot", "start", "shop"]);
    assert_eq!(unhealthy(&home, "shop"), "no heartbeat for 500ms");
    home.wait_state("shop", "running");
    let bot = home.bot("shop");
    // The second run never beats, so silence says nothing of it.
    assert_eq!((&bot["restarts"], &bot["heartbeat_age_s"]), (&json!(1), &json!(null)));
}

#[test]
fn a_bot_that_goes_on_beating_goes_on_running() {
    let home = Home::new();
    speaker(
        &home,
        "shop",
        "i=0; while :; do beat; i=$((i+1)); echo beat $i; sleep 0.1; done",
    );
    home.set("shop", &["heartbeat_timeout=3s"]);
    home.ok(&["start"]);
    home.ok(&["bot", "start", "shop"]);
    home.wait_log("shop", "beat 40");
    assert_eq!(home.bot("shop")["restarts"], 0);
}

#[test]
fn three_questions_without_an_answer_are_enough() {
    let home = Home::with_settings(&format!("{FAST}status_poll_interval: 150ms\n"));
    speaker(&home, "shop", "event ready");
    home.set("shop", &["ready.when=signal"]);
    speaker(&home, "silent", ":");
    home.ok(&["start"]);
    home.ok(&["bot", "start", "--all"]);
    let why = unhealthy(&home, "shop");
    assert!(why.contains("no answer to 3 status requests"), "{why}");
    wait_until("it was restarted", &home, || {
        home.bot("shop")["restarts"].as_u64() >= Some(1)
    });
    // Who never said ready is not asked.
    assert_eq!(
        (&home.bot("silent")["restarts"], &home.bot("silent")["inbox_new"]),
        (&json!(0), &json!(0))
    );
    home.ok(&["bot", "stop", "--all"]);
}

#[test]
fn events_land_in_the_history_with_their_content_and_their_run() {
    let home = Home::new();
    speaker(
        &home,
        "shop",
        "event order_placed '{\"number\":4711}'; event error '{\"message\":\"odd\"}'",
    );
    home.ok(&["start"]);
    home.ok(&["bot", "start", "shop"]);
    let event = home.wait_event("shop", "order_placed");
    let detail: Value = serde_json::from_str(event["detail"].as_str().unwrap()).unwrap();
    assert_eq!(detail, json!({"number": 4711}));
    assert_eq!(event["run_id"], home.bot("shop")["run_id"]);
    assert!(
        home.wait_event("shop", "error")["detail"]
            .as_str()
            .unwrap()
            .contains("odd")
    );
    assert_eq!(home.state("shop"), "running");
}

#[test]
fn what_a_bot_said_just_before_it_ended_is_heard() {
    let home = Home::new();
    home.create_with("shop", &["--no-start"], &format!("{WORDS}\nevent last_words; exit 1"));
    home.set("shop", &["restart.policy=never"]);
    home.ok(&["start"]);
    home.run(&["bot", "start", "shop"]);
    home.wait_state("shop", "failed");
    let event = home.wait_event("shop", "last_words");
    let events = home.events("shop");
    let exited = events.iter().find(|event| event["name"] == "exited").unwrap();
    assert_eq!(event["run_id"], exited["run_id"]);
}

#[test]
fn the_connection_that_a_bot_tells_of_is_shown() {
    let home = Home::new();
    speaker(
        &home,
        "shop",
        "event connected; while [ ! -e go ]; do sleep 0.02; done; event disconnected",
    );
    home.ok(&["start"]);
    home.ok(&["bot", "start", "shop"]);
    wait_until("it is connected", &home, || home.bot("shop")["connected"] == true);
    assert!(home.ok(&["status"]).out.contains("1 connected"));
    home.write("go", "");
    wait_until("it is not", &home, || home.bot("shop")["connected"] == false);
    home.ok(&["bot", "stop", "shop"]);
    assert_eq!(home.bot("shop")["connected"], Value::Null);
}

#[test]
fn foreign_and_half_written_files_are_set_aside_with_their_reason() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    let pid = home.pid("shop");
    let post = |name: &str, text: &str| {
        let tmp = home.write("drop", text);
        fs::rename(tmp, home.path("ipc/shop/outbox/new").join(name)).unwrap();
    };
    post("half.ndjson", "{\"id\":\"1\",\"kind\":\"event\",\"na");
    post("image.png", "\u{1}PNG not really");
    post("wrong.json", "{\"id\":\"2\",\"kind\":\"wish\",\"name\":\"x\"}");
    std::os::unix::fs::symlink("/etc/passwd", home.path("ipc/shop/outbox/new/link.ndjson")).unwrap();
    fs::create_dir(home.path("ipc/shop/outbox/new/folder.ndjson")).unwrap();
    post(
        "good.json",
        "{\"id\":\"3\",\"kind\":\"event\",\"name\":\"still_heard\"}",
    );
    home.wait_event("shop", "still_heard");
    wait_until("all five are counted", &home, || home.bot("shop")["dead"] == 5);
    for name in ["half.ndjson", "image.png", "wrong.json", "link.ndjson", "folder.ndjson"] {
        let reason = home.read(&format!("ipc/shop/dead/{name}.reason"));
        let reason: Value = serde_json::from_str(&reason).unwrap_or_else(|error| panic!("{name}: {error}: {reason}"));
        assert!(
            reason["reason"].as_str().is_some_and(|text| !text.is_empty()),
            "{name}: {reason}"
        );
        assert!(
            home.path("ipc/shop/dead").join(name).symlink_metadata().is_ok(),
            "{name}"
        );
    }
    assert_eq!(home.pid("shop"), pid);
    // The same in the supervisor's own inbox harms nobody.
    let tmp = home.write("drop", "not json");
    fs::rename(tmp, home.path("ipc/supervisor/inbox/new/x.ndjson")).unwrap();
    home.ok(&["bot", "restart", "shop"]);
    wait_until("it was set aside", &home, || {
        home.path("ipc/supervisor/dead/x.ndjson").exists()
    });
}

#[test]
fn a_message_is_accepted_without_a_supervisor_and_delivered_after_the_start() {
    let home = Home::new();
    let script = format!(
        "{WORDS}\nwhile :; do for f in \"$MULTIBOT_INBOX\"/new/*; do [ -f \"$f\" ] && cat \"$f\" && rm \"$f\"; done; sleep 0.05; done"
    );
    home.create("shop", &script);
    home.ok(&["send", "shop", "greet", "--json", "{\"chat\":42}"])
        .says(&["accepted as", "no supervisor runs"]);
    assert_eq!(fs::read_dir(home.path("ipc/shop/inbox/new")).unwrap().count(), 1);
    home.run(&["send", "shop", "greet", "--wait"]).code(3);
    home.ok(&["start"]);
    home.wait_log("shop", "\"name\":\"greet\"");
    let log = home.log_of("shop");
    assert!(
        log.contains("\"payload\":{\"chat\":42}") && log.contains("\"from\":\"cli\""),
        "{log}"
    );
    assert_eq!(log.matches("\"name\":\"greet\"").count(), 1);
    wait_until("the inbox is empty", &home, || home.bot("shop")["inbox_new"] == 0);
}

#[test]
fn messages_that_wait_are_counted_also_those_moved_in_by_hand() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    home.ok(&["send", "shop", "one"]);
    let tmp = home.write("by-hand.json", "{\"id\":\"x\",\"kind\":\"command\",\"name\":\"two\"}");
    fs::rename(tmp, home.path("ipc/shop/inbox/new/by-hand.json")).unwrap();
    wait_until("both are counted", &home, || home.bot("shop")["inbox_new"] == 2);
}

#[test]
fn send_says_what_is_wrong() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    home.run(&["send", "shop", "x", "--wait", "--timeout", "200ms"])
        .code(75)
        .one_line(&["shop has not answered"]);
    home.run(&["send", "shop"]).code(2);
    home.run(&["send", "shop", "x", "--json", "[1]"])
        .code(2)
        .one_line(&["JSON object"]);
    home.run(&["send", "shop", "bad name"])
        .code(1)
        .one_line(&["name must be 1 to 64 letters"]);
}

#[test]
fn an_answer_of_kind_error_ends_with_1_and_is_printed() {
    let home = Home::new();
    let answer = r#"
event ready
while :; do for f in "$MULTIBOT_INBOX"/new/*.ndjson; do [ -f "$f" ] || continue
  read -r line < "$f"; rm "$f"; id=${line#*'"id":"'}; id=${id%%'"'*}
  post "{\"id\":\"e\",\"kind\":\"error\",\"name\":\"greet\",\"correlation_id\":\"$id\",\"payload\":{\"message\":\"no\"}}"
done; sleep 0.05; done"#;
    speaker(&home, "shop", answer);
    home.ok(&["start"]);
    home.ok(&["bot", "start", "shop"]);
    home.run(&["send", "shop", "greet", "--wait"])
        .code(1)
        .one_line(&["shop refused: no"]);
}

#[test]
fn a_bot_that_uses_the_spool_is_told_of_its_shutdown_together_with_the_signal() {
    let home = Home::new();
    let script = format!(
        "{WORDS}\ntrap 'cat \"$MULTIBOT_INBOX\"/new/*; exit 0' TERM\nevent hello; echo ready; while :; do sleep 0.05; done"
    );
    home.create("shop", &script);
    home.create(
        "plain",
        "trap 'ls \"$MULTIBOT_INBOX\"/new; exit 0' TERM; echo ready; while :; do sleep 0.05; done",
    );
    home.ok(&["start"]);
    home.wait_event("shop", "hello");
    home.wait_log("plain", "ready");
    home.ok(&["bot", "stop", "--all"]);
    let log = home.log_of("shop");
    let (_, envelope) = log
        .lines()
        .find_map(|line| line.split_once(" out {"))
        .unwrap_or_else(|| panic!("{log}"));
    let envelope: Value = serde_json::from_str(&format!("{{{envelope}")).unwrap();
    assert_eq!(
        (&envelope["name"], &envelope["payload"]["mode"]),
        (&json!("shutdown"), &json!("graceful"))
    );
    assert_eq!(
        (&envelope["from"], &envelope["to"]),
        (&json!("supervisor"), &json!("shop"))
    );
    assert!(envelope["payload"]["deadline"].is_string(), "{envelope}");
    // Who never used it is not written to.
    assert_eq!(
        home.log_of("plain").matches(" out ").count(),
        1,
        "{}",
        home.log_of("plain")
    );
    assert_eq!(fs::read_dir(home.path("ipc/plain/inbox/new")).unwrap().count(), 0);
}

#[test]
fn a_shutdown_that_was_not_read_does_not_reach_the_next_run() {
    let home = Home::new();
    speaker(&home, "shop", "event hello; echo up");
    home.ok(&["start"]);
    home.ok(&["bot", "start", "shop"]);
    home.wait_event("shop", "hello");
    home.ok(&["bot", "restart", "shop"]);
    wait_until("it says hello again", &home, || home.count_events("shop", "hello") == 2);
    let left: Vec<String> = fs::read_dir(home.path("ipc/shop/inbox/new"))
        .unwrap()
        .flatten()
        .map(|entry| fs::read_to_string(entry.path()).unwrap_or_default())
        .collect();
    assert!(!left.iter().any(|text| text.contains("\"shutdown\"")), "{left:?}");
}

/// The supervisor hears of a start from the shim and of readiness from the bot, in any order.
#[test]
fn what_a_bot_says_before_its_start_is_reported_is_not_lost() {
    // All of them are made to fail at one moment here, and nobody is to be slowed down by that.
    let settings = |timeout: &str| {
        let fast = FAST.replace("defaults:\n", &format!("defaults:\n  heartbeat_timeout: {timeout}\n"));
        format!("{fast}alerts: {{rules: {{outage: {{enabled: false}}}}}}\n")
    };
    let home = Home::with_settings(&settings("1h"));
    let script = home.script("quick", &format!("{WORDS}\nbeat; event ready\nexec sleep 100000"));
    let entry = |number: u32| {
        let settings = "ready: {when: signal, timeout: 1h}";
        format!(
            "  - {{id: bot-{number}, {settings}, command: [/bin/sh, {}]}}\n",
            script.display()
        )
    };
    let path = home.write(
        "bots.yaml",
        &format!("bots:\n{}", (0..30).map(entry).collect::<String>()),
    );
    home.ok(&["apply", path.to_str().unwrap()]);
    home.ok(&["start", "--timeout", "30s"])
        .says(&["30 of 30 wanted bots running"]);
    // Their beats were heard as well: now each is missed.
    home.write("home/multibot.yaml", &settings("1ms"));
    crate::harness::kill(home.supervisor_pid(), rustix::process::Signal::HUP);
    wait_until("every silence is noticed", &home, || {
        let status = home.status();
        let mut bots = status["bots"].as_array().unwrap().iter();
        bots.all(|bot| bot["restarts"].as_u64() > Some(0))
    });
    home.ok(&["bot", "stop", "--all", "--force"]);
}
