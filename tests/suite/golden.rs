//! A home as the first release left it: what lies in its mailboxes and its run records is taken up by this one, and
//! what this one writes still has every field that the first release reads.
//!
//! The files below `tests/golden/first` were written by the program of commit 938b36c, whose supervisor was killed
//! while `shop` had a message in hand and `demo` answered one. They are never edited.

use std::fs;
use std::path::{Path, PathBuf};

use multibot::model::units::Stamp;
use multibot::run::record::{read_exit, read_run};
use multibot::spool::envelope::{Defaults, from_line, to_value};
use multibot::spool::replies::read_reply;
use multibot::spool::{DeadLetters, FileName, Mailbox};
use serde_json::{Value, json};

use crate::harness::{Home, SLEEPER, wait_until};

const IN_HAND: &str = "01M87YG7W0H1CRV6J3ZSCD55PF";
const WAITING: [&str; 2] = ["01M87YG8W4Z373K8ATHSEVV5N7", "01M87YG8WCKN9KPMQVHKAH7RBK"];
const ANSWERED: &str = "01M87YG9WQK2ET2MY552RHCHPR";
const ANSWERED_LATE: &str = "01M87YGB8RMWEGWHJQJ2WFK6SB";
const NOW: Stamp = Stamp(1_800_000_000_000_000);
const DEFAULTS: Defaults<'static> = Defaults {
    from: "someone",
    to: "somebody",
    now: NOW,
};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/first")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Puts everything into a home, where mailboxes belong to its owner.
fn copy(to: &Path) {
    for file in files(&golden()) {
        let copy = to.join(file.strip_prefix(golden()).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::write(copy, fs::read(&file).unwrap()).unwrap();
    }
}

/// Whether a value says everything that another one says, and perhaps more.
fn says_all_of(now: &Value, then: &Value) -> bool {
    match (now, then) {
        (Value::Object(now), Value::Object(then)) => then
            .iter()
            .all(|(name, value)| now.get(name).is_some_and(|now| says_all_of(now, value))),
        (now, then) => now == then,
    }
}

#[test]
fn a_home_of_the_first_release_is_taken_up_and_nothing_in_it_is_lost() {
    let home = Home::new();
    home.create("shop", SLEEPER);
    home.ok(&["bot", "create", "demo"]);
    copy(&home.dir());
    let place = |item: &Value| (item["place"].clone(), item["id"].clone(), item["attempt"].clone());
    let places = |bot: &str| -> Vec<_> {
        home.ok(&["queue", bot, "list", "--json"])
            .records()
            .iter()
            .map(place)
            .collect()
    };
    let waiting = WAITING.map(|id| (json!("new"), json!(id), json!(1)));
    let found = places("shop");
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.contains(&(json!("cur"), json!(IN_HAND), json!(1))), "{found:?}");
    home.ok(&["start"]);
    // The run that had it in hand is gone: it comes again, in its place before the others.
    let [first, second] = waiting;
    assert_eq!(
        places("shop"),
        [(json!("new"), json!(IN_HAND), json!(2)), first, second]
    );
    assert_eq!(home.bot("demo")["dead"], 1);
    let reply = home.path(&format!("ipc/supervisor/replies/{ANSWERED_LATE}.json"));
    wait_until("the answer that nobody heard is given", &home, || reply.exists());
    wait_until("what was said before is in the history", &home, || {
        home.count_events("demo", "message_received") == 1
    });
    assert!(home.path(&format!("ipc/supervisor/replies/{ANSWERED}.json")).exists());
}

#[test]
fn envelopes_and_names_of_the_first_release_are_read_and_written_with_all_their_fields() {
    let mut envelopes = 0;
    for file in files(&golden().join("ipc")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let posted = name.rsplit(',').next().unwrap();
        if file.extension().is_some_and(|it| it == "ndjson") && !file.parent().unwrap().ends_with("dead") {
            assert_eq!(
                FileName::parse(posted).map(|it| it.to_string()).as_deref(),
                Some(posted)
            );
        } else if name != "heartbeat" && file.extension().is_none_or(|it| it != "json") {
            continue;
        }
        for line in fs::read_to_string(&file).unwrap().lines() {
            let read = from_line(line, &DEFAULTS).unwrap();
            let then: Value = serde_json::from_str(line).unwrap();
            let now = to_value(&read);
            assert!(says_all_of(&now, &then), "{now}\nhas less than\n{then}");
            envelopes += 1;
        }
    }
    assert_eq!(envelopes, 7);
}

#[test]
fn records_of_the_first_release_are_read_and_written_with_all_their_fields() {
    for bot in ["shop", "demo", "gone"] {
        let dir = golden().join("run").join(bot);
        let then: Value = serde_json::from_slice(&fs::read(dir.join("run.json")).unwrap()).unwrap();
        let now = serde_json::to_value(read_run(&dir).unwrap().unwrap()).unwrap();
        assert!(says_all_of(&now, &then), "{now}\nhas less than\n{then}");
    }
    let dir = golden().join("run/gone");
    let exit = read_exit(&dir).unwrap().unwrap();
    assert_eq!((exit.code, exit.asked), (Some(3), false));
    let then: Value = serde_json::from_slice(&fs::read(dir.join("exit.json")).unwrap()).unwrap();
    let now = serde_json::to_value(exit).unwrap();
    assert!(says_all_of(&now, &then), "{now}\nhas less than\n{then}");
}

#[test]
fn dead_letters_and_replies_of_the_first_release_are_read_and_reasons_have_all_their_fields() {
    let home = Home::new();
    copy(&home.dir());
    let dead = DeadLetters::new(home.path("ipc/demo/dead"));
    let letters = dead.list().unwrap();
    let reason = "envelope 1: not valid JSON at column 2";
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].reason.as_deref(), letters[0].from_box.as_deref()),
        (Some(reason), Some("outbox"))
    );
    // The same rubbish is buried with the same words.
    let outbox = Mailbox::new(home.path("ipc/demo/outbox"));
    outbox.create().unwrap();
    fs::write(outbox.new_dir().join("again.ndjson"), "no message\n").unwrap();
    let scan = outbox.scan().unwrap();
    let entry = scan.iter().find(|entry| entry.name() == "again.ndjson").unwrap();
    let claimed = outbox.claim(entry, "supervisor").unwrap().unwrap();
    let why = claimed.read(&DEFAULTS).unwrap_err().to_string();
    dead.bury(claimed, &why, letters[0].at.unwrap()).unwrap();
    let read = |name: &str| -> Value { serde_json::from_str(&home.read(&format!("ipc/demo/dead/{name}"))).unwrap() };
    assert_eq!(read("again.ndjson.reason"), read("rubbish.ndjson.reason"));
    let reply = read_reply(&home.path("ipc/supervisor/replies"), ANSWERED)
        .unwrap()
        .unwrap();
    assert_eq!(reply["payload"], json!({"text": "answered before the end"}));
}
