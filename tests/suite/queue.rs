//! Messages that wait, come again, are moved by hand, and go from bot to bot.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{FAST, Home, SLEEPER, wait_until};

/// Functions of a bot in sh: post an envelope, claim the next file, and take its line apart.
const BOT: &str = r#"
n=0
post() {
  n=$((n + 1))
  printf '%s\n' "$1" > "$MULTIBOT_OUTBOX/tmp/sh.$$" && mv "$MULTIBOT_OUTBOX/tmp/sh.$$" "$MULTIBOT_OUTBOX/new/$MULTIBOT_RUN_ID-$n.ndjson"
}
next() {
  while :; do
    for file in "$MULTIBOT_INBOX"/new/*.ndjson; do
      mine=$MULTIBOT_INBOX/cur/$MULTIBOT_RUN_ID,${file##*/}
      [ -f "$file" ] && mv "$file" "$mine" || continue
      IFS= read -r line < "$mine"
      id=${line#*'"id":"'} id=${id%%'"'*} name=${line#*'"name":"'} name=${name%%'"'*}
      return
    done
    sleep 0.02
  done
}
fail() { post "{\"id\":\"$MULTIBOT_RUN_ID-$n\",\"kind\":\"error\",\"name\":\"$name\",\"correlation_id\":\"$id\",\"payload\":{\"message\":\"$1\"$2}}"; printf '%s\n' "-$id" >> "$mine.acked"; }
answer() { post "{\"id\":\"$MULTIBOT_RUN_ID-$n\",\"kind\":\"response\",\"name\":\"$name\",\"correlation_id\":\"$id\",\"payload\":{\"text\":\"$1\"}}"; rm "$mine"; }
"#;

fn bot(home: &Home, name: &str, words: &str) {
    home.create(name, &format!("{BOT}\n{words}"));
    home.set(name, &["queue.retry_delay=20ms", "queue.max_retry_delay=50ms"]);
}

fn queue(home: &Home, bot: &str) -> Vec<Value> {
    home.ok(&["queue", bot, "list", "--json"]).records()
}

fn places(home: &Home, bot: &str) -> Vec<String> {
    let place = |item: &Value| {
        format!(
            "{} {}",
            item["place"].as_str().unwrap(),
            item["name"].as_str().unwrap_or("-")
        )
    };
    queue(home, bot).iter().map(place).collect()
}

#[test]
fn a_message_that_is_given_back_comes_again_and_who_waits_gets_the_final_word() {
    let home = Home::with_settings(FAST);
    bot(
        &home,
        "shop",
        r#"next; fail "not yet"; next; fail "busy" ',"retry_after":0.05'; next
        case $line in *'"attempt":2,'*'"not yet"'*'"busy"'*) answer done ;; *) answer "$(printf %s "$line" | tr -d '"')" ;; esac
        while next; do fail "never" ',"permanent":true'; done"#,
    );
    home.ok(&["start"]);
    let answer = home.ok(&["send", "shop", "dance", "--wait"]);
    assert_eq!(answer.out, "done\n");
    home.run(&["send", "shop", "sing", "--wait"])
        .code(1)
        .one_line(&["shop refused: never"]);
    assert_eq!(places(&home, "shop"), ["dead sing"]);
    let id = queue(&home, "shop")[0]["id"].as_str().unwrap().to_owned();
    let shown = home.ok(&["queue", "show", &id]).out;
    assert!(
        shown.contains("reason    never") && shown.contains("history "),
        "{shown}"
    );
    home.wait_event("shop", "dead_letter");
    wait_until("status counts it", &home, || home.bot("shop")["dead"] == 1);
}

#[test]
fn a_message_that_kills_its_bot_is_set_aside_and_the_ones_behind_it_flow() {
    let home = Home::with_settings(FAST);
    bot(
        &home,
        "shop",
        r#"while next; do [ "$name" = poison ] && kill -9 $$; answer "$name"; done"#,
    );
    home.set(
        "shop",
        &["restart.delay=10ms", "restart.factor=1", "restart.max_restarts=1000"],
    );
    home.ok(&["send", "shop", "poison"]);
    // It may be dying over its message at the very moment when the start looks at it.
    home.run(&["start"]);
    let answer = home.ok(&["send", "shop", "dance", "--wait"]);
    assert_eq!(answer.out, "dance\n");
    assert_eq!(places(&home, "shop"), ["dead poison"]);
    let reason = queue(&home, "shop")[0]["reason"].clone();
    let expected = "3 runs failed over it; the last: its run ended: killed by SIGKILL";
    assert_eq!(reason, expected);
}

#[test]
fn what_a_killed_supervisor_left_comes_back_to_the_next() {
    let home = Home::with_settings(FAST);
    bot(&home, "shop", "next; next; sleep 1000");
    home.ok(&["start"]);
    home.ok(&["send", "shop", "first"]);
    home.ok(&["send", "shop", "second"]);
    wait_until("both are claimed", &home, || {
        places(&home, "shop") == ["cur first", "cur second"]
    });
    home.ok(&["stop"]);
    assert_eq!(places(&home, "shop"), ["new first", "new second"]);
    let attempts: Vec<Value> = queue(&home, "shop")
        .iter()
        .map(|item| item["attempt"].clone())
        .collect();
    assert_eq!(attempts, [json!(2), json!(2)]);
}

#[test]
fn many_messages_from_stdin_are_counted_and_the_first_bad_line_is_named() {
    let home = Home::new();
    home.create_with("shop", &["--no-start"], SLEEPER);
    let mut lines: String = (0..1000)
        .map(|n| format!("{{\"name\":\"n{n}\",\"payload\":{{\"n\":{n}}}}}\n"))
        .collect();
    lines.push_str("{\"text\":\"hello\",\"dedup_key\":\"k\"}\n\n{\"text\":\"hello\",\"dedup_key\":\"k\"}\n");
    home.run_with_stdin(&["send", "shop", "-"], &lines)
        .code(0)
        .says(&["accepted 1001 messages, 1 duplicate"]);
    let new = fs::read_dir(home.path("ipc/shop/inbox/new")).unwrap().count();
    assert_eq!(new, 2);
    let bad = "{\"name\":\"good\"}\n{\"name\":\"b a d\"}\n{\"name\":\"good\"}\n";
    home.run_with_stdin(&["send", "shop", "--ndjson"], bad)
        .code(1)
        .one_line(&["line 2: name must be 1 to 64", "before that accepted 1 message"]);
    let stats = home.ok(&["queue", "shop", "stats", "--json"]).json();
    assert_eq!((&stats["new"], &stats["dead"]), (&json!(1002), &json!(0)));
    home.set("shop", &["queue.max_messages=1002"]);
    home.run(&["send", "shop", "more"]).code(1).one_line(&[
        "queue full: ",
        "holds 1002 messages of 1002",
        "queue.max_messages",
    ]);
}

#[test]
fn messages_are_held_released_dropped_and_retried_by_hand() {
    let home = Home::new();
    home.create_with("shop", &["--no-start"], SLEEPER);
    home.run_with_stdin(
        &["send", "shop", "-"],
        "{\"name\":\"a\",\"id\":\"a\"}\n{\"name\":\"b\",\"id\":\"b\"}\n{\"name\":\"c\",\"id\":\"c\"}\n",
    )
    .code(0);
    home.ok(&["queue", "hold", "b"]);
    assert_eq!(places(&home, "shop"), ["new a", "new c", "held b"]);
    home.ok(&["queue", "shop", "release", "--all", "--in", "held"]);
    assert_eq!(places(&home, "shop"), ["new a", "new b", "new c"]);
    home.ok(&["queue", "drop", "a", "c"]).says(&["2 of 2 messages dropped"]);
    home.run(&["queue", "drop", "a"]).code(1).says(&["no message a"]);
    fs::write(home.path("ipc/shop/inbox/new/rubbish.ndjson"), "{").unwrap();
    assert_eq!(places(&home, "shop"), ["new b", "new -"]);
    home.run(&["bot", "remove", "shop"])
        .code(1)
        .one_line(&["2 new", "--force"]);
    home.ok(&["bot", "remove", "shop", "--force", "--purge"]);
    assert!(!home.path("ipc/shop").exists() && !home.path("logs/shop.log").exists());
}

#[test]
fn bots_send_each_other_what_the_other_accepts() {
    let home = Home::with_settings(FAST);
    bot(
        &home,
        "desk",
        r#"for to in shop closed '*'; do
          post "{\"id\":\"m-$n\",\"kind\":\"command\",\"name\":\"greet\",\"to\":\"$to\",\"from\":\"supervisor\",\"payload\":{}}"
        done
        next; post "{\"id\":\"got\",\"kind\":\"event\",\"name\":\"got-$name\",\"payload\":{}}"; rm "$mine"; sleep 1000"#,
    );
    bot(&home, "shop", "sleep 1000");
    bot(&home, "closed", "sleep 1000");
    home.set("shop", &["accept_from=desk"]);
    home.ok(&["start"]);
    wait_until("shop has both", &home, || places(&home, "shop").len() == 2);
    assert!(queue(&home, "shop").iter().all(|item| item["from"] == "desk"));
    assert_eq!(places(&home, "closed"), Vec::<String>::new());
    wait_until("desk has a dead letter", &home, || {
        places(&home, "desk") == ["dead greet"]
    });
    let reason = queue(&home, "desk")[0]["reason"].clone();
    assert_eq!(reason, "closed accepts no messages from desk: set its accept_from");
    home.set("closed", &["accept_from=*"]);
    home.ok(&["queue", "desk", "retry", "--all", "--in", "dead"]);
    wait_until("closed has it now", &home, || places(&home, "closed") == ["new greet"]);
}

#[test]
fn folders_that_were_removed_are_made_anew_and_said() {
    let home = Home::with_settings(FAST);
    bot(&home, "shop", "while next; do answer \"$name\"; done");
    home.ok(&["start"]);
    fs::rename(home.path("ipc/shop/outbox"), home.path("aside")).unwrap();
    wait_until("it is there again", &home, || home.path("ipc/shop/outbox/new").is_dir());
    assert_eq!(home.ok(&["send", "shop", "dance", "--wait"]).out, "dance\n");
    wait_until("status says so", &home, || {
        home.status()["supervisor"]["notes"]
            .to_string()
            .contains("folders of shop were removed and made anew")
    });
}

#[test]
fn a_command_to_all_bots_is_a_message_to_each() {
    let home = Home::new();
    for name in ["desk", "shop"] {
        home.create_with(name, &["--no-start"], SLEEPER);
    }
    home.ok(&["send", "--all", "refresh", "--expires", "1h"])
        .says(&["accepted for 2 of 2 bots"]);
    assert_eq!(
        (places(&home, "desk"), places(&home, "shop")),
        (vec!["new refresh".to_owned()], vec!["new refresh".to_owned()])
    );
    home.ok(&["send", "shop", "dance", "--dedup-key", "k"]);
    home.ok(&["send", "shop", "dance", "--dedup-key", "k"])
        .says(&["duplicate of "]);
}

#[test]
fn what_a_batch_cannot_hold_is_refused_by_its_line() {
    let home = Home::with_settings(FAST);
    home.create_with("shop", &["--no-start"], SLEEPER);
    let lines = "{\"name\":\"a\",\"id\":\"k\"}\n\n{\"name\":\"b\",\"id\":\"k\"}\n";
    home.run_with_stdin(&["send", "shop", "-"], lines).code(1).one_line(&[
        "line 3",
        "that of line 1",
        "accepted 1 message",
    ]);
    let long = format!("{{\"name\":\"a\"}}\n{}\n", "x".repeat(2_000_000));
    home.run_with_stdin(&["send", "shop", "-"], &long).code(1).one_line(&[
        "line 2",
        "longer than",
        "accepted 1 message",
    ]);
    assert_eq!(places(&home, "shop"), ["new a", "new a"]);
}

#[test]
fn status_counts_messages_and_not_files() {
    let home = Home::with_settings(FAST);
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    home.run_with_stdin(
        &["send", "shop", "-"],
        &"{\"name\":\"a\",\"payload\":{\"n\":1}}\n".repeat(40),
    )
    .code(0);
    home.ok(&["send", "shop", "b"]);
    wait_until("all are counted", &home, || home.bot("shop")["inbox_new"] == 41);
}

#[test]
fn a_bot_may_leave_a_note_for_itself_if_it_accepts_its_own() {
    let home = Home::with_settings(FAST);
    let words = r#"post '{"id":"note","kind":"command","name":"later","to":"desk"}'; next; echo "got $name"; rm "$mine"; exec sleep 100000"#;
    bot(&home, "desk", words);
    home.set("desk", &["accept_from=desk"]);
    home.ok(&["start"]);
    home.wait_log("desk", "got later");
}

#[test]
fn the_supervisors_mailbox_is_made_anew_when_somebody_removes_it() {
    let home = Home::with_settings(FAST);
    home.create("shop", SLEEPER);
    home.ok(&["start"]);
    fs::remove_dir(home.path("ipc/supervisor/inbox/new")).unwrap();
    home.ok(&["bot", "restart", "shop"]);
    wait_until("status says so", &home, || {
        home.status()["supervisor"]["notes"]
            .to_string()
            .contains("mailbox was removed")
    });
}

#[test]
fn what_a_removed_bot_has_left_can_be_purged_later() {
    let home = Home::with_settings(FAST);
    home.create("shop", "echo hello; exec sleep 100000");
    home.ok(&["start"]);
    home.wait_log("shop", "hello");
    home.ok(&["bot", "remove", "shop", "--force"]);
    assert!(home.path("logs/shop.log").exists());
    home.ok(&["bot", "remove", "shop", "--purge"]);
    assert!(!home.path("logs/shop.log").exists() && !home.path("media/shop").exists());
    home.run(&["bot", "remove", "shop", "--purge"]).code(4);
}
