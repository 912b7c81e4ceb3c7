//! Targets that bots leave alone.

use crate::harness::{Home, SLEEPER, wait_until};

/// A shell function that tells an event with this payload.
const SAY: &str = r#"n=0; say() { n=$((n+1)); printf '{"id":"s%s-%s","kind":"event","name":"%s","payload":%s}\n' $$ $n "$1" "$2" > "$MULTIBOT_OUTBOX/tmp/s$n"
mv "$MULTIBOT_OUTBOX/tmp/s$n" "$MULTIBOT_OUTBOX/new/s$n-$$.ndjson"; }"#;

fn bot(home: &Home, name: &str, words: &str) {
    home.create(name, &format!("{SAY}\n{words}\n{SLEEPER}"));
}

fn blocked(home: &Home) -> Vec<(String, Option<String>)> {
    let records = home.ok(&["blocklist", "list", "--json"]).records();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    records
        .iter()
        .map(|it| (text(&it["target"]).unwrap(), text(&it["until"])))
        .collect()
}

#[test]
fn three_failures_in_a_row_and_a_kick_block_and_a_message_is_refused_with_the_reason() {
    let home = Home::new();
    let failed = |target: &str| format!(r#"say connection_failed '{{"target":"{target}","message":"no"}}'"#);
    let words = [
        failed("a"),
        failed("a"),
        r#"say connected '{"target":"a"}'"#.to_owned(),
        failed("a"),
        failed("b"),
        failed("b"),
        failed("b"),
        r#"say kicked '{"target":-100}'"#.to_owned(),
        r#"say delivery_failed '{"target":"d","class":"bad_request","permanent":true}'"#.to_owned(),
        r#"say delivery_failed '{"target":"e","class":"deactivated","permanent":true}'"#.to_owned(),
        "say told '{}'".to_owned(),
    ];
    bot(&home, "shop", &words.join("\n"));
    home.ok(&["start"]);
    home.wait_event("shop", "told");
    wait_until("three are blocked", &home, || blocked(&home).len() == 3);
    let list = blocked(&home);
    let targets: Vec<(&str, bool)> = list
        .iter()
        .map(|(target, until)| (target.as_str(), until.is_some()))
        .collect();
    assert_eq!(targets, [("-100", false), ("b", true), ("e", false)]);
    let summary = home.run(&["status"]).out;
    assert!(summary.contains("3 blocked (2 permanent)"), "{summary}");
    let send = |chat: &str| {
        home.run(&[
            "send",
            "shop",
            "send_message",
            "--json",
            &format!(r#"{{"text":"x","chat":"{chat}"}}"#),
        ])
    };
    send("b").code(1).one_line(&[
        "b is blocked for shop until",
        "3 failed connections",
        "blocklist remove shop b",
    ]);
    send("-100").code(1).one_line(&["for ever (kicked)"]);
    send("a").code(0);
    home.ok(&["blocklist", "remove", "shop", "-100"]);
    send("-100").code(0);
    assert_eq!(home.count_events("shop", "target_blocked"), 3);
    // Without a supervisor as well, and in the next one.
    home.ok(&["stop"]);
    send("e").code(1);
    home.ok(&["blocklist", "add", "shop", "z", "--for", "1h", "--reason", "asked us"]);
    let stats = home.ok(&["blocklist", "stats", "--json"]).json();
    assert_eq!((&stats["blocked"], &stats["permanent"]), (&3.into(), &1.into()));
    home.run(&["blocklist", "add", "shpo", "z"]).code(4).one_line(&["shop"]);
    assert_eq!(home.audit_actions("blocklist add"), 4);
}

#[test]
fn other_bots_are_refused_as_well() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.set("shop", &["accept_from=*"]);
    home.ok(&["blocklist", "add", "shop", "7"]);
    let post = |id: &str, chat: &str| {
        format!(
            r#"printf '{{"id":"{id}","kind":"command","name":"send_message","to":"shop","payload":{{"text":"x","chat":"{chat}"}}}}\n' > "$MULTIBOT_OUTBOX/tmp/{id}"; mv "$MULTIBOT_OUTBOX/tmp/{id}" "$MULTIBOT_OUTBOX/new/{id}.ndjson""#
        )
    };
    home.create("desk", &format!("{}\n{}\n{SLEEPER}", post("m1", "7"), post("m2", "8")));
    home.ok(&["start"]);
    wait_until("the other one is there", &home, || home.bot("shop")["inbox_new"] == 1);
    wait_until("the blocked one is dead", &home, || {
        home.bot("desk")["dead"] == 1 || home.bot("shop")["dead"] == 1
    });
}

#[test]
fn a_bot_of_one_target_is_held_while_that_is_blocked_and_starts_by_itself() {
    let home = Home::new();
    let gate = home.base().join("gate");
    // It is thrown out once; later it is let in.
    bot(
        &home,
        "rave@m%201",
        &format!("test -e {0} || {{ touch {0}; say kicked '{{}}'; }}", gate.display()),
    );
    home.set("rave@m%201", &["blocklist.kicked=1h"]);
    bot(&home, "rave@other", "");
    home.run(&["start"]);
    home.wait_state("rave@m%201", "held");
    let reason = home.reason("rave@m%201");
    assert!(
        reason.starts_with("target blocked until ") && reason.contains("(kicked)"),
        "{reason}"
    );
    assert_eq!(blocked(&home).first().map(|(target, _)| target.as_str()), Some("m 1"));
    assert_eq!(home.state("rave@other"), "running");
    // A shorter block in its place ends by itself.
    home.ok(&["blocklist", "add", "rave@m%201", "m 1", "--for", "200ms"]);
    home.wait_state("rave@m%201", "running");
    assert!(blocked(&home).is_empty());
    home.wait_event("rave@m%201", "target_unblocked");
    // For ever means: until an operator decides.
    home.ok(&["blocklist", "add", "rave@other", "other"]);
    home.wait_state("rave@other", "held");
    assert!(
        home.reason("rave@other")
            .starts_with("target blocked for ever (by an operator)")
    );
    home.ok(&["stop"]);
    home.run(&["start"]).code(1);
    home.wait_state("rave@other", "held");
    home.ok(&["blocklist", "remove", "rave@other", "other"]);
    home.wait_state("rave@other", "running");
}
