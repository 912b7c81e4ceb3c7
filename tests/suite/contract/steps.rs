//! `multibot ipc`, step by step, as a script calls it.

use serde_json::json;

use super::stage::{Speaker, Stage};
use super::{command, name, said, with};
use crate::harness::{Home, Outcome};

/// Runs one step between the mailboxes of this stage.
fn step(stage: &Stage, args: &[&str]) -> Outcome {
    let mut command = stage.home.bare_command();
    for (variable, value) in stage.variables() {
        command.env(variable, value);
    }
    Outcome::of(args, command.arg("ipc").args(args).output().unwrap())
}

#[test]
fn a_message_is_printed_again_until_it_is_answered() {
    let Some(stage) = Stage::open(Speaker::Shell) else {
        return;
    };
    stage.put(
        &name(5, 1),
        &[said("a", "two  blanks\nand a line"), command("b", "note")],
    );
    for _ in 0..2 {
        let outcome = step(&stage, &["receive"]).code(0);
        assert_eq!(outcome.out, "a send_message 1 cli\ntwo  blanks\nand a line\n");
    }
    let envelope = step(&stage, &["receive", "--json"]).code(0).json();
    assert_eq!((&envelope["id"], &envelope["from"]), (&json!("a"), &json!("cli")));
    // What is not in hand cannot be answered, so that nothing is answered unread.
    step(&stage, &["ack", "b"])
        .code(1)
        .one_line(&["b is not in hand: a is"]);
    step(&stage, &["reply", "a", "--text", "yes"]).code(0);
    step(&stage, &["reply", "a"])
        .code(1)
        .one_line(&["a is not in hand: b is"]);
    assert_eq!(step(&stage, &["receive"]).code(0).out, "b note 1 cli\n{}\n");
    step(&stage, &["ack", "b"]).code(0);
    step(&stage, &["ack", "b"]).code(1).one_line(&["nothing is"]);
    assert_eq!(stage.answers("a").len(), 1);
    assert!(stage.is_empty());
}

#[test]
fn no_message_in_time_is_no_output_and_a_code() {
    let Some(stage) = Stage::open(Speaker::Shell) else {
        return;
    };
    for args in [["receive", "--timeout", "0s"], ["receive", "--timeout", "20ms"]] {
        let outcome = step(&stage, &args).code(1);
        assert_eq!((outcome.out.as_str(), outcome.err.as_str()), ("", ""));
    }
}

#[test]
fn outside_of_a_bot_one_line_says_so() {
    let home = Home::missing();
    for args in [
        &["ready"][..],
        &["heartbeat"],
        &["event", "x"],
        &["receive"],
        &["ack", "a"],
    ] {
        let outcome = home.bare_command().arg("ipc").args(args).output().unwrap();
        Outcome::of(args, outcome)
            .code(2)
            .one_line(&["not inside a bot: BOT_ID, MULTIBOT_RUN_ID", "not set"]);
    }
    assert!(!home.dir().exists());
}

#[test]
fn events_carry_their_content() {
    let Some(stage) = Stage::open(Speaker::Shell) else {
        return;
    };
    step(&stage, &["event", "order_placed", "--json", "{\"number\":4711}"]).code(0);
    let event = stage.said("order_placed").remove(0);
    assert_eq!(
        (&event["kind"], &event["payload"]),
        (&json!("event"), &json!({"number": 4711}))
    );
    step(&stage, &["event", "bad name"]).code(1).one_line(&["name must be"]);
    step(&stage, &["event", "x", "--json", "[]"])
        .code(2)
        .one_line(&["JSON object"]);
}

#[test]
fn what_expired_while_it_was_in_hand_can_still_be_answered() {
    let Some(stage) = Stage::open(Speaker::Shell) else {
        return;
    };
    let soon = with(command("a", "note"), "expires_at", json!("2100-01-31T08:30:00Z"));
    stage.put(&name(5, 1), &[soon]);
    step(&stage, &["receive"]).code(0);
    let claimed = stage.path(&stage.claimed(&name(5, 1)));
    let past = std::fs::read_to_string(&claimed).unwrap().replace("2100", "2020");
    std::fs::write(&claimed, past).unwrap();
    step(&stage, &["reply", "a"]).code(0);
    assert_eq!(stage.answer("a")["kind"], "response");
}
