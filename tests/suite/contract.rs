//! The bot's side of `ipc/README.md`: the same scenarios for every client, one test for each client and scenario.

mod stage;

use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::process::Signal;
use serde_json::{Value, json};

use stage::{Speaker, Stage};

/// Every scenario in the list as a test of every client that is named.
macro_rules! for_clients {
    ([$(($module:ident, $speaker:ident)),+] $scenarios:tt) => {
        $(for_clients!(@ $module $speaker $scenarios);)+
    };
    (@ $module:ident $speaker:ident { $($scenario:ident),+ $(,)? }) => {
        mod $module {
            $(#[test]
            fn $scenario() {
                super::$scenario(super::Speaker::$speaker);
            })+
        }
    };
}

for_clients! {
    [
        (python, Python), (python_async, PythonAsync), (node_import, NodeImport), (node_require, NodeRequire),
        (shell, Shell), (built_in, Runner)
    ]
    {
        says_that_it_is_ready_and_beats,
        takes_messages_in_the_order_of_their_names,
        lets_nothing_starve,
        answers_with_the_payload,
        answers_a_question_for_its_status,
        ends_when_it_is_told_to,
        leaves_a_shutdown_of_an_earlier_run_alone,
        connects_anew,
        refuses_what_it_does_not_know,
        keeps_the_order_behind_a_message_that_failed,
        keeps_the_order_behind_a_message_that_waits,
        does_not_wait_for_a_later_message,
        hands_out_nothing_that_has_expired,
        sets_aside_what_is_no_message,
        finds_messages_in_a_folder_that_was_made_anew,
    }
}

// What only a bot with handlers of its own can show.
for_clients! {
    [
        (python_handlers, Python), (python_async_handlers, PythonAsync), (node_import_handlers, NodeImport),
        (node_require_handlers, NodeRequire), (shell_handlers, Shell)
    ]
    {
        tells_what_stands_in_the_envelope,
        acknowledges_without_an_answer,
        fails_with_a_reason,
        fails_with_a_time_or_for_good,
        notes_its_progress_in_a_file_of_several,
        removes_a_file_when_the_supervisor_has_settled_the_rest,
        ignores_a_torn_line_of_progress,
        looks_anew_after_something_was_given_back,
        gets_a_message_again_after_a_crash_before_the_ack,
        takes_up_what_its_run_had_claimed,
    }
}

// What only a process can do that stays.
for_clients! {
    [
        (python_process, Python), (python_async_process, PythonAsync), (node_import_process, NodeImport),
        (node_require_process, NodeRequire)
    ]
    {
        ends_by_the_stop_signal_if_it_asked_for_that,
        fails_when_its_handler_does,
        writes_to_other_bots_and_hears_their_answers,
        posts_many_in_one_file,
    }
}

/// The bots that the guide shows, under a supervisor.
mod guide;
/// What only the commands of the shell have.
mod steps;
/// What a client and a supervisor do together.
mod supervised;

/// A file name of this priority and time.
fn name(priority: u8, micros: u64) -> String {
    format!("{priority}-{micros:017}-01ARZ3NDEKTSV4RRFFQ69G5FAV.1.ndjson")
}

fn command(id: &str, name: &str) -> Value {
    json!({"v": 1, "id": id, "kind": "command", "name": name, "from": "cli", "to": "shop"})
}

fn with(mut envelope: Value, field: &str, value: Value) -> Value {
    envelope[field] = value;
    envelope
}

fn said(id: &str, text: &str) -> Value {
    with(command(id, "send_message"), "payload", json!({"text": text}))
}

fn failing(id: &str, payload: Value) -> Value {
    with(command(id, "fail"), "payload", payload)
}

fn in_order(envelope: Value) -> Value {
    with(envelope, "order_key", json!("chat-1"))
}

/// What `later/` and the clients compute for `in_order`: printf 'cli\0005\000chat-1' | sha256sum
const KEY: &str = "799437e9d75a231f";

fn says_that_it_is_ready_and_beats(speaker: Speaker) {
    let Some(stage) = Stage::started(speaker) else { return };
    let ready = stage.said("ready").remove(0);
    assert_eq!((&ready["kind"], &ready["from"]), (&json!("event"), &json!("shop")));
    let beat = || fs::metadata(stage.path("heartbeat")).map(|found| found.ino()).ok();
    stage.until("it beats", |_| beat().is_some());
    let first = beat();
    if speaker != Speaker::Runner {
        // The built-in bot takes ten seconds to the next.
        stage.until("it beats again", |_| beat() != first);
    }
    let text: Value = serde_json::from_str(&stage.read("heartbeat")).unwrap();
    assert_eq!(
        (&text["kind"], &text["name"]),
        (&json!("heartbeat"), &json!("heartbeat"))
    );
}

fn takes_messages_in_the_order_of_their_names(speaker: Speaker) {
    let Some(mut stage) = Stage::open(speaker) else { return };
    for (id, priority, micros) in [("d", 9, 1), ("c", 5, 8), ("a", 0, 9), ("b", 5, 7)] {
        stage.put(&name(priority, micros), &[stage.note(id)]);
    }
    // A foreign name queues when it came among those of priority 5.
    stage.put("by-hand.json", &[stage.note("e")]);
    stage.put(".hidden", &[stage.note("f")]);
    stage.start();
    stage.until("all are noted", |stage| stage.noted().len() == 5);
    assert_eq!(stage.noted(), ["a", "b", "c", "e", "d"]);
    stage.put(&name(5, 10), &[stage.note("g")]);
    stage.until("a new one is noted", |stage| stage.noted().len() == 6);
    assert_eq!(stage.names("inbox/new"), [".hidden"]);
}

fn tells_what_stands_in_the_envelope(speaker: Speaker) {
    let Some(stage) = Stage::started(speaker) else { return };
    let full = with(in_order(with(stage.note("a"), "to", json!("*"))), "priority", json!(7));
    stage.put(&name(7, 1), &[full]);
    stage.put("other.json", &[json!({"id": "b", "kind": "command", "name": "note"})]);
    stage.until("both are noted", |stage| stage.noted().len() == 2);
    let all = stage.log();
    let of = |id: &str| all.iter().find(|line| line["id"] == id).unwrap();
    for (field, value) in [
        ("from", json!("cli")),
        ("priority", json!(7)),
        ("order_key", json!("chat-1")),
        ("attempt", json!(1)),
    ] {
        assert_eq!(of("a")[field], value, "{field}");
    }
    assert_eq!(
        (&of("b")["from"], &of("b")["priority"]),
        (&json!("supervisor"), &json!(5))
    );
}

fn lets_nothing_starve(speaker: Speaker) {
    let Some(mut stage) = Stage::open(speaker) else { return };
    for number in 0..40 {
        stage.put(&name(0, number), &[stage.note(&format!("urgent-{number}"))]);
    }
    stage.put(&name(9, 5), &[stage.note("lazy")]);
    stage.start();
    stage.until("all are noted", |stage| stage.noted().len() == 41);
    assert_eq!(stage.noted().iter().position(|id| id == "lazy"), Some(15));
}

fn acknowledges_without_an_answer(speaker: Speaker) {
    let Some(stage) = Stage::started(speaker) else { return };
    stage.put(&name(5, 1), &[stage.note("a")]);
    stage.until("it is done", |stage| stage.noted() == ["a"] && stage.is_empty());
    assert_eq!(stage.answers("a"), Vec::<Value>::new());
}

fn answers_with_the_payload(speaker: Speaker) {
    let Some(stage) = Stage::started(speaker) else { return };
    let text = "two  blanks, ä 你 \"quotes\" \\ {}\nand a line";
    stage.put(&name(2, 1), &[with(said("a", text), "priority", json!(2))]);
    let answer = stage.answer("a");
    assert_eq!(answer["kind"], "response");
    assert_eq!(answer["name"], "send_message");
    assert_eq!((&answer["from"], &answer["to"]), (&json!("shop"), &json!("cli")));
    assert_eq!(
        (&answer["priority"], &answer["payload"]),
        (&json!(2), &json!({"text": text}))
    );
    stage.until("it is done", Stage::is_empty);
}

fn answers_a_question_for_its_status(speaker: Speaker) {
    let Some(stage) = Stage::started(speaker) else { return };
    let question = with(command("a", "status_request"), "from", json!("supervisor"));
    stage.put(&name(0, 1), &[question]);
    let answer = stage.answer("a");
    assert_eq!(
        (&answer["kind"], &answer["name"]),
        (&json!("response"), &json!("status_response"))
    );
    assert_eq!(answer["payload"]["connected"], true);
    stage.until("it is done", Stage::is_empty);
}

fn shutdown(stage: &Stage, created_at: &str) -> Value {
    let mut envelope = with(command("end", "shutdown"), "from", json!("supervisor"));
    envelope["payload"] = json!({"mode": "graceful", "deadline": "2100-01-31T08:30:10.000000Z"});
    envelope["created_at"] = json!(created_at);
    assert_eq!(stage.run().len(), 26);
    envelope
}

fn ends_when_it_is_told_to(speaker: Speaker) {
    let Some(mut stage) = Stage::started(speaker) else {
        return;
    };
    // However late it is read.
    let end = with(
        shutdown(&stage, "2100-01-31T08:30:00Z"),
        "expires_at",
        json!("2020-01-31T08:30:00Z"),
    );
    stage.put(&name(0, 1), &[stage.note("a"), end, stage.note("b")]);
    assert_eq!(stage.end(), Some(0));
    assert_eq!(stage.noted()[0], "a");
    assert_eq!(stage.answers("end"), Vec::<Value>::new());
    if speaker == Speaker::Runner {
        // It takes what there is time for.
        return;
    }
    assert_eq!(stage.noted(), ["a"]);
    assert_eq!(stage.acked(&name(0, 1)), "a\nend\n");
    assert_eq!(stage.log()[1]["mode"], "graceful");
}

fn leaves_a_shutdown_of_an_earlier_run_alone(speaker: Speaker) {
    let Some(mut stage) = Stage::open(speaker) else { return };
    stage.put(&name(0, 1), &[shutdown(&stage, "2020-01-31T08:30:00Z")]);
    stage.put(&name(5, 1), &[stage.note("a")]);
    stage.start();
    stage.until("it goes on", |stage| stage.noted() == ["a"] && stage.is_empty());
    assert_eq!(stage.answers("end"), Vec::<Value>::new());
}

fn ends_by_the_stop_signal_if_it_asked_for_that(speaker: Speaker) {
    let Some(stage) = Stage::open(speaker) else { return };
    let mut stage = stage.with_sigterm();
    stage.start();
    stage.put(&name(5, 1), &[command("a", "wait")]);
    stage.until("it is at work", |stage| stage.noted() == ["a"]);
    stage.signal(Signal::TERM);
    fs::write(stage.path("gate"), "").unwrap();
    assert_eq!(stage.end(), Some(0));
    assert!(stage.is_empty(), "it finishes what is in hand");
    assert_eq!(stage.log().last().unwrap()["name"], "on_shutdown");
}

fn connects_anew(speaker: Speaker) {
    let Some(stage) = Stage::started(speaker) else { return };
    stage.put(&name(5, 1), &[command("a", "restart_connection")]);
    assert_eq!(stage.answer("a")["kind"], "response");
    if speaker != Speaker::Runner {
        assert_eq!(stage.log()[0]["name"], "on_restart_connection");
    }
}

fn fails_with_a_reason(speaker: Speaker) {
    let Some(stage) = Stage::started(speaker) else { return };
    stage.put(&name(5, 1), &[failing("a", json!({"message": "no stock"}))]);
    let answer = stage.answer("a");
    assert_eq!((&answer["kind"], &answer["name"]), (&json!("error"), &json!("fail")));
    assert_eq!(answer["payload"], json!({"message": "no stock"}));
    // The supervisor takes it from here; until then it stays where it is.
    stage.until("it is noted", |stage| stage.acked(&name(5, 1)) == "-a\n");
    assert_eq!(stage.names("inbox/cur").len(), 2);
    fs::remove_file(stage.path(&stage.claimed(&name(5, 1)))).unwrap();
    fs::remove_file(stage.path(&format!("{}.acked", stage.claimed(&name(5, 1))))).unwrap();
    let again = name(5, 1).replace(".1.ndjson", ".2.ndjson");
    stage.put(&again, &[failing("a", json!({"message": "still none"}))]);
    stage.until("it comes again", |stage| stage.answers("a").len() == 2);
    assert_eq!(stage.log()[1]["attempt"], 2);
}

fn fails_with_a_time_or_for_good(speaker: Speaker) {
    let Some(stage) = Stage::started(speaker) else { return };
    stage.put(
        &name(5, 1),
        &[failing("a", json!({"message": "busy", "retry_after": 1.5}))],
    );
    assert_eq!(
        stage.answer("a")["payload"],
        json!({"message": "busy", "retry_after": 1.5})
    );
    stage.put(
        &name(5, 2),
        &[failing("b", json!({"message": "never", "permanent": true}))],
    );
    assert_eq!(
        stage.answer("b")["payload"],
        json!({"message": "never", "permanent": true})
    );
}

fn fails_when_its_handler_does(speaker: Speaker) {
    let Some(stage) = Stage::started(speaker) else { return };
    stage.put(&name(5, 1), &[command("a", "broken")]);
    let payload = stage.answer("a")["payload"].clone();
    assert!(
        payload["message"].as_str().unwrap().contains("no such price"),
        "{payload}"
    );
    assert_eq!(payload["permanent"], Value::Null);
    stage.put(&name(5, 2), &[stage.note("b")]);
    stage.until("it goes on", |stage| stage.noted() == ["a", "b"]);
}

fn refuses_what_it_does_not_know(speaker: Speaker) {
    let Some(stage) = Stage::started(speaker) else { return };
    stage.put(&name(5, 1), &[command("a", "dance")]);
    let answer = stage.answer("a");
    assert_eq!(
        (&answer["kind"], &answer["payload"]["permanent"]),
        (&json!("error"), &json!(true))
    );
    assert!(answer["payload"]["message"].as_str().unwrap().contains("dance"));
    // Nobody waits for an answer to an event.
    stage.put(&name(5, 2), &[with(command("b", "dance"), "kind", json!("event"))]);
    stage.put(&name(5, 3), &[stage.note("c")]);
    stage.until("it goes on", |stage| stage.noted() == ["c"]);
    assert_eq!(stage.answers("b"), Vec::<Value>::new());
}

fn notes_its_progress_in_a_file_of_several(speaker: Speaker) {
    let Some(mut stage) = Stage::started(speaker) else {
        return;
    };
    let batch = ["a", "b"].map(|id| command(id, "note"));
    let rest = [command("c", "hang"), stage.note("d")];
    stage.put(&name(5, 1), &[batch.clone(), rest].concat());
    stage.until("it is at the third", |stage| stage.noted() == ["a", "b", "c"]);
    assert_eq!(stage.acked(&name(5, 1)), "a\nb\n");
    stage.crash();
    assert_eq!(stage.names("inbox/cur").len(), 2);
    stage.next_run();
    stage.start();
    stage.put(&name(5, 2), &batch);
    stage.until("the next file is done", |stage| stage.noted().len() == 5);
    stage.until("nothing of it is left", |stage| stage.names("inbox/cur").len() == 2);
}

fn removes_a_file_when_the_supervisor_has_settled_the_rest(speaker: Speaker) {
    let Some(stage) = Stage::started(speaker) else { return };
    let batch = [failing("a", json!({"message": "no"})), command("b", "wait")];
    stage.put(&name(5, 1), &batch);
    stage.until("it is at the second", |stage| stage.noted() == ["a", "b"]);
    assert_eq!(stage.acked(&name(5, 1)), "-a\n");
    stage.append_acked(&name(5, 1), "a\n");
    fs::write(stage.path("gate"), "").unwrap();
    stage.until("both files are gone", |stage| stage.names("inbox/cur").is_empty());
}

fn ignores_a_torn_line_of_progress(speaker: Speaker) {
    let Some(mut stage) = Stage::open(speaker) else { return };
    let batch = [command("a", "note"), command("b", "note"), command("bc", "hang")];
    stage.put(&name(5, 1), &batch);
    let claimed = stage.claimed(&name(5, 1));
    fs::rename(stage.path("inbox/new").join(name(5, 1)), stage.path(&claimed)).unwrap();
    fs::write(stage.path(&format!("{claimed}.acked")), "a\nb").unwrap();
    stage.start();
    stage.until("it is at the last", |stage| stage.noted() == ["b", "bc"]);
    let acked = stage.acked(&name(5, 1));
    assert_eq!(acked.lines().filter(|line| ["a", "b", "bc"].contains(line)).count(), 2);
    assert!(acked.ends_with("\nb\n"), "{acked:?}");
}

fn looks_anew_after_something_was_given_back(speaker: Speaker) {
    let Some(mut stage) = Stage::open(speaker) else { return };
    stage.put(&name(5, 1), &[in_order(failing("a", json!({"message": "no"})))]);
    stage.put(&name(5, 2), &[command("b", "wait")]);
    stage.put(&name(5, 3), &[in_order(command("c", "note"))]);
    stage.start();
    stage.until("it is at the second", |stage| stage.noted() == ["a", "b"]);
    // The supervisor has moved the first on, and it is due already.
    stage.put(
        &name(5, 1).replace(".1.ndjson", ".2.ndjson"),
        &[in_order(command("a", "note"))],
    );
    let claimed = stage.claimed(&name(5, 1));
    fs::remove_file(stage.path(&claimed)).unwrap();
    fs::remove_file(stage.path(&format!("{claimed}.acked"))).unwrap();
    fs::write(stage.path("gate"), "").unwrap();
    stage.until("all are done", |stage| stage.noted().len() == 4 && stage.is_empty());
    assert_eq!(stage.noted(), ["a", "b", "a", "c"]);
}

fn keeps_the_order_behind_a_message_that_failed(speaker: Speaker) {
    let Some(mut stage) = Stage::open(speaker) else { return };
    let other = with(stage.note("d"), "order_key", json!("chat-2"));
    let mut batch = vec![in_order(failing("a", json!({"message": "no", "retry_after": 9})))];
    batch.extend([stage.note("b"), in_order(stage.note("c")), other]);
    stage.put(&name(5, 1), &batch);
    stage.put(&name(5, 2), &[in_order(stage.note("e"))]);
    // The order is kept among those of one sender and one priority only.
    stage.put(&name(5, 3), &[in_order(with(stage.note("f"), "from", json!("news")))]);
    stage.put(&name(5, 4), &[in_order(with(stage.note("g"), "priority", json!(4)))]);
    stage.start();
    stage.until("all are answered or done", |stage| {
        stage.noted().iter().filter(|id| *id != "a").eq(["b", "d", "f", "g"])
    });
    for id in ["c", "e"] {
        let answer = stage.answer(id);
        assert_eq!(
            (&answer["kind"], &answer["payload"]["behind"]),
            (&json!("error"), &json!(true))
        );
    }
    assert_eq!(stage.acked(&name(5, 1)), "-a\nb\n-c\nd\n");
    assert_eq!(stage.acked(&name(5, 2)), "-e\n");
}

/// Puts a message into `later/`, as the supervisor does.
fn delay(stage: &Stage, name: &str) {
    fs::write(stage.path(&format!("inbox/later/99999999999999999-{KEY}-{name}")), "").unwrap();
}

fn keeps_the_order_behind_a_message_that_waits(speaker: Speaker) {
    let Some(mut stage) = Stage::open(speaker) else { return };
    delay(&stage, &name(5, 1));
    stage.put(&name(5, 2), &[in_order(stage.note("a"))]);
    stage.put(&name(5, 3), &[stage.note("b")]);
    stage.start();
    stage.until("the free one is done", |stage| stage.noted() == ["b"]);
    assert_eq!(stage.answer("a")["payload"]["behind"], true);
}

fn does_not_wait_for_a_later_message(speaker: Speaker) {
    let Some(mut stage) = Stage::open(speaker) else { return };
    delay(&stage, &name(5, 2));
    stage.put(&name(5, 1), &[in_order(stage.note("a"))]);
    stage.start();
    stage.until("it is done", |stage| stage.noted() == ["a"] && stage.is_empty());
}

fn hands_out_nothing_that_has_expired(speaker: Speaker) {
    let Some(stage) = Stage::started(speaker) else { return };
    let until = |time: &str| with(stage.note(&format!("until-{}", &time[..4])), "expires_at", json!(time));
    stage.put(
        &name(5, 1),
        &[
            until("2020-01-31T08:30:00+02:00"),
            until("2100-01-31T08:30:00.123456789Z"),
        ],
    );
    stage.until("the valid one is done", |stage| stage.noted() == ["until-2100"]);
    let answer = stage.answer("until-2020");
    assert_eq!(
        (&answer["kind"], &answer["payload"]["permanent"]),
        (&json!("error"), &json!(true))
    );
    assert!(
        answer["payload"]["message"]
            .as_str()
            .unwrap()
            .starts_with("expired at 2020-01-31")
    );
    stage.until("both are marked", |stage| {
        stage.acked(&name(5, 1)) == "-until-2020\nuntil-2100\n"
    });
}

fn gets_a_message_again_after_a_crash_before_the_ack(speaker: Speaker) {
    let Some(mut stage) = Stage::started(speaker) else {
        return;
    };
    stage.put(&name(5, 1), &[command("a", "hang")]);
    stage.until("its effect is there", |stage| stage.noted() == ["a"]);
    stage.crash();
    // What the supervisor does when a run has ended: one more attempt, for the next run.
    let claimed = stage.path(&stage.claimed(&name(5, 1)));
    assert!(claimed.exists() && stage.acked(&name(5, 1)).is_empty());
    fs::remove_file(claimed).unwrap();
    let again = with(
        command("a", "note"),
        "history",
        json!([{"at": "2026-01-31T08:30:00Z", "why": "killed"}]),
    );
    stage.put(&name(5, 1).replace(".1.ndjson", ".2.ndjson"), &[again]);
    stage.next_run();
    stage.start();
    stage.until("it is done", |stage| stage.noted() == ["a", "a"] && stage.is_empty());
    let last = &stage.log()[1];
    assert_eq!(
        (&last["attempt"], &last["history"][0]["why"]),
        (&json!(2), &json!("killed"))
    );
}

fn takes_up_what_its_run_had_claimed(speaker: Speaker) {
    let Some(mut stage) = Stage::started(speaker) else {
        return;
    };
    stage.put(&name(5, 1), &[command("a", "hang"), stage.note("b")]);
    stage.put(&name(5, 2), &[stage.note("c")]);
    stage.until("it is at work", |stage| stage.noted() == ["a"]);
    stage.crash();
    // Claims of other runs are nobody's business.
    let other = stage.path("inbox/cur/01ARZ3NDEKTSV4RRFFQ69G5FAV,x.ndjson");
    fs::write(&other, command("x", "note").to_string()).unwrap();
    stage.start();
    stage.until("it has the same again", |stage| stage.noted() == ["a", "a"]);
    assert!(other.exists());
}

fn sets_aside_what_is_no_message(speaker: Speaker) {
    let Some(mut stage) = Stage::open(speaker) else { return };
    stage.put_text("half.ndjson", "{\"id\":\"1\",\"kind\":\"event\",\"na");
    stage.put_text("image.png", "\u{1}PNG not really");
    stage.put_text("newer.json", "{\"v\":2,\"id\":\"1\",\"kind\":\"event\",\"name\":\"x\"}");
    stage.put_text("empty.ndjson", "\n\n");
    stage.put_text("progress.acked", "a\n");
    stage.put_text(
        "wrong.ndjson",
        "{\"id\":\"1\",\"kind\":\"event\",\"name\":\"x\",\"payload\":[]}\n",
    );
    std::os::unix::fs::symlink("/etc/passwd", stage.path("inbox/new/link.ndjson")).unwrap();
    fs::create_dir(stage.path("inbox/new/folder.ndjson")).unwrap();
    stage.put(&name(9, 1), &[stage.note("a")]);
    stage.start();
    stage.until("the message behind them is done", |stage| {
        stage.noted() == ["a"] && stage.is_empty()
    });
    let dead = stage.names("dead");
    assert_eq!(dead.len(), 16, "{dead:?}");
    for name in [
        "half.ndjson",
        "image.png",
        "newer.json",
        "link.ndjson",
        "folder.ndjson",
        "wrong.ndjson",
    ] {
        let reason: Value = serde_json::from_str(&stage.read(&format!("dead/{name}.reason"))).unwrap();
        assert!(
            reason["reason"].as_str().is_some_and(|text| !text.is_empty()),
            "{name}: {reason}"
        );
        assert_eq!((&reason["v"], &reason["from_box"]), (&json!(1), &json!("inbox")));
    }
}

fn finds_messages_in_a_folder_that_was_made_anew(speaker: Speaker) {
    let Some(stage) = Stage::started(speaker) else { return };
    stage.put(&name(5, 1), &[stage.note("a")]);
    stage.until("it listens", |stage| stage.noted() == ["a"]);
    fs::remove_dir(stage.path("inbox/new")).unwrap();
    fs::create_dir(stage.path("inbox/new")).unwrap();
    stage.put(&name(5, 2), &[stage.note("b")]);
    stage.until("it listens again", |stage| stage.noted() == ["a", "b"]);
}

fn writes_to_other_bots_and_hears_their_answers(speaker: Speaker) {
    let Some(stage) = Stage::started(speaker) else { return };
    stage.put(&name(5, 1), &[command("a", "forward")]);
    stage.until("it has written", |stage| !stage.said("send_message").is_empty());
    let sent = stage.said("send_message").remove(0);
    for (field, value) in [
        ("kind", json!("command")),
        ("from", json!("shop")),
        ("to", json!("news")),
        ("priority", json!(3)),
        ("order_key", json!("chat-1")),
        ("dedup_key", json!("d-1")),
        ("payload", json!({"text": "hello"})),
    ] {
        assert_eq!(sent[field], value, "{sent}");
    }
    assert!(sent["expires_at"].as_str() > sent["created_at"].as_str(), "{sent}");
    assert!(stage.names("outbox/new").iter().any(|name| name.starts_with("3-")));
    let mut answer = with(command("b", "send_message"), "kind", json!("response"));
    answer["from"] = json!("news");
    answer["correlation_id"] = sent["id"].clone();
    stage.put(&name(5, 2), &[answer]);
    stage.until("it has the answer", |stage| stage.noted() == ["b"] && stage.is_empty());
    assert_eq!(stage.log()[0]["correlation_id"], sent["id"]);
}

fn posts_many_in_one_file(speaker: Speaker) {
    let Some(stage) = Stage::started(speaker) else { return };
    let before = stage.names("outbox/new").len();
    stage.put(
        &name(5, 1),
        &[with(command("a", "many"), "payload", json!({"count": 600}))],
    );
    stage.until("they are posted", |stage| stage.said("counted").len() == 600);
    assert_eq!(stage.names("outbox/new").len(), before + 2);
    let numbers: Vec<u64> = stage
        .said("counted")
        .iter()
        .filter_map(|it| it["payload"]["number"].as_u64())
        .collect();
    assert_eq!(numbers, (0..600).collect::<Vec<u64>>());
}
