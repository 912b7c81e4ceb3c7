//! What a client and a supervisor do together: messages that come again, in their order, until they are done or dead.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{FAST, Home, kill, wait_until};

use super::stage::Speaker;
use super::{command, failing, in_order};

macro_rules! for_clients {
    ($($module:ident $speaker:ident),+ $(,)?) => {
        $(mod $module {
            use super::Speaker;

            #[test]
            fn is_given_again_what_it_had_in_hand_when_it_was_killed() {
                super::is_given_again_what_it_had_in_hand_when_it_was_killed(Speaker::$speaker);
            }

            #[test]
            fn is_given_again_what_it_gave_back() {
                super::is_given_again_what_it_gave_back(Speaker::$speaker);
            }

            #[test]
            fn gives_up_what_fails_for_good_or_too_often() {
                super::gives_up_what_fails_for_good_or_too_often(Speaker::$speaker);
            }

            #[test]
            fn lets_nothing_pass_what_is_on_its_way_back() {
                super::lets_nothing_pass_what_is_on_its_way_back(Speaker::$speaker);
            }

            #[test]
            fn knows_who_may_do_what() {
                super::knows_who_may_do_what(Speaker::$speaker);
            }

            #[test]
            fn reads_new_credentials_when_it_is_told() {
                super::reads_new_credentials_when_it_is_told(Speaker::$speaker);
            }

            #[test]
            fn keeps_the_order_of_a_chat() {
                super::keeps_the_order_of_a_chat(Speaker::$speaker);
            }
        })+
    };
}

for_clients! {
    python Python,
    python_async PythonAsync,
    node_import NodeImport,
    node_require NodeRequire,
    shell Shell,
}

// A script has no command for this.
#[test]
fn bots_in_two_languages_write_to_each_other() {
    for (one, other) in [
        (Speaker::Python, Speaker::NodeImport),
        (Speaker::NodeRequire, Speaker::PythonAsync),
    ] {
        let Some(home) = played(one) else { return };
        let Some(words) = other.command(&home.base().join("other")) else {
            return;
        };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let log = format!("CONTRACT_LOG={}", home.base().join("other/log").display());
        home.ok(&[
            &["bot", "create", "news", "--no-start", "--env", &log, "--"],
            &words[..],
        ]
        .concat());
        home.set("news", &["ready.when=signal", "accept_from=shop"]);
        home.ok(&["bot", "start", "news"]);
        post(&home, &[command("a", "forward")]);
        wait_until("the answer is heard", &home, || {
            noted(&home).len() == 1 && is_at_rest(&home)
        });
        let heard = fs::read_to_string(home.base().join("other/log")).unwrap();
        let heard: Value = serde_json::from_str(heard.trim()).unwrap();
        assert_eq!((&heard["from"], &heard["priority"]), (&json!("shop"), &json!(3)));
        let answer = fs::read_to_string(home.base().join("log")).unwrap();
        let answer: Value = serde_json::from_str(answer.trim()).unwrap();
        assert_eq!((&answer["from"], &answer["kind"]), (&json!("news"), &json!("response")));
        assert_eq!(answer["correlation_id"], heard["id"]);
    }
}

/// A supervisor and the bot of the contract; None where this bot cannot be played.
fn played(speaker: Speaker) -> Option<Home> {
    let home = Home::with_settings(FAST);
    let command = speaker.command(&home.base().join("bot"))?;
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let variable = |name: &str, file: &str| format!("{name}={}", home.base().join(file).display());
    let (log, gate) = (variable("CONTRACT_LOG", "log"), variable("CONTRACT_GATE", "gate"));
    home.ok(&[
        &["bot", "create", "shop", "--env", &log, "--env", &gate, "--"],
        &words[..],
    ]
    .concat());
    home.set("shop", &["ready.when=signal", "queue.retry_delay=20ms"]);
    home.ok(&["start"]);
    Some(home)
}

/// Name and attempt of all that the bot has noted.
fn noted(home: &Home) -> Vec<(String, u64)> {
    let log = fs::read_to_string(home.base().join("log")).unwrap_or_default();
    let complete = log.rfind('\n').map_or("", |end| &log[..end]);
    let lines = complete
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter_map(|line| Some((line["id"].as_str()?.to_owned(), line["attempt"].as_u64()?)))
        .collect()
}

fn attempts(home: &Home) -> Vec<u64> {
    noted(home).into_iter().map(|(_, attempt)| attempt).collect()
}

fn post(home: &Home, lines: &[Value]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let tmp = home.write("drop", &text);
    fs::rename(tmp, home.path("ipc/shop/inbox/new/batch.ndjson")).unwrap();
}

fn is_at_rest(home: &Home) -> bool {
    let folders = ["new", "cur", "later"].map(|folder| home.path("ipc/shop/inbox").join(folder));
    folders.iter().all(|dir| fs::read_dir(dir).unwrap().count() == 0)
}

fn is_given_again_what_it_had_in_hand_when_it_was_killed(speaker: Speaker) {
    let Some(home) = played(speaker) else { return };
    let batch = [command("a", "note"), command("b", "hang"), command("c", "note")];
    post(&home, &batch);
    wait_until("it has b in hand", &home, || noted(&home).len() == 2);
    kill(home.pid("shop"), Signal::KILL);
    wait_until("all is done", &home, || noted(&home).len() == 4 && is_at_rest(&home));
    let expected = [("a", 1), ("b", 1), ("b", 2), ("c", 1)];
    assert_eq!(noted(&home), expected.map(|(id, attempt)| (id.to_owned(), attempt)));
    assert_eq!(home.bot("shop")["dead"], 0);
}

fn is_given_again_what_it_gave_back(speaker: Speaker) {
    let Some(home) = played(speaker) else { return };
    let answer = home.ok(&["send", "shop", "flaky", "--wait"]);
    assert_eq!((answer.out.as_str(), attempts(&home)), ("done at last\n", vec![1, 2]));
    // A time that the bot names is no attempt.
    home.ok(&["send", "shop", "later", "--wait"]);
    assert_eq!(attempts(&home), [1, 2, 1, 1]);
    wait_until("all is done", &home, || is_at_rest(&home));
    assert_eq!(
        (&home.bot("shop")["dead"], &home.bot("shop")["restarts"]),
        (&json!(0), &json!(0))
    );
}

fn knows_who_may_do_what(speaker: Speaker) {
    // A script asks the command line.
    if speaker == Speaker::Shell {
        return;
    }
    let Some(home) = played(speaker) else { return };
    let ask = |command: &str, user: &str| {
        let payload = json!({"command": command, "user": user}).to_string();
        let answer = home.ok(&["send", "shop", "who", "--json", &payload, "--wait", "--timeout", "20s"]);
        let yes = |field: &str| answer.out.contains(&format!("\"{field}\":true"));
        (yes("is_admin"), yes("allowed"))
    };
    assert_eq!(ask("deploy", "7"), (false, true));
    home.ok(&["admin", "add", "7"]);
    home.ok(&["permission", "set", "deploy", "admin"]);
    assert_eq!(ask("deploy", "7"), (true, true));
    assert_eq!(ask("deploy", "8"), (false, false));
    assert_eq!(ask("setperm", "8"), (false, false));
    for spelling in ["Deploy", "?deploy", "!DEPLOY", "SetPerm"] {
        assert_eq!(ask(spelling, "8"), (false, false), "{spelling}");
    }
    // What waits for the bot is read by its next run only after the lists.
    home.ok(&["bot", "stop", "shop"]);
    let payload = json!({"command": "deploy", "user": "8"}).to_string();
    let waiting = home.spawn(&["send", "shop", "who", "--json", &payload, "--wait", "--timeout", "30s"]);
    wait_until("it waits for the bot", &home, || {
        home.bot("shop")["inbox_new"].as_u64() >= Some(1)
    });
    home.ok(&["bot", "start", "shop"]);
    wait_until("it is answered", &home, || waiting.out().contains("allowed"));
    assert!(waiting.out().contains("\"allowed\":false"), "{}", waiting.out());
    home.ok(&["bot", "restart", "shop"]);
    assert_eq!(ask("deploy", "7"), (true, true), "the next run knows as well");
    home.ok(&["send", "shop", "restart_connection", "--wait"]);
    home.wait_event("shop", "disconnected");
    home.wait_event("shop", "connected");
    assert_eq!(home.bot("shop")["dead"], 0);
}

fn reads_new_credentials_when_it_is_told(speaker: Speaker) {
    let Some(home) = played(speaker) else { return };
    home.set("shop", &["credentials.refresh=command"]);
    let pid = home.pid("shop");
    let told = |count: usize| {
        let read = || fs::read_to_string(home.base().join("log")).unwrap_or_default();
        let lines = || read().lines().filter(|line| line.ends_with('}')).count();
        wait_until("it was told", &home, || lines() == count);
        serde_json::from_str::<Value>(read().lines().last().unwrap()).unwrap()
    };
    let set = |field: &str, value: &str| {
        let said = home
            .run_with_stdin(&["credentials", "set", field, "--bot", "shop"], value)
            .code(0)
            .err
            .clone();
        assert!(said.contains("told by refresh_credentials: shop"), "{said}");
    };
    set("app_secret", "s3cret \"1\"");
    let first = told(1);
    assert_eq!(first["fields"], json!(["app_secret"]));
    assert_eq!(first["credentials"], json!({"app_secret": "s3cret \"1\""}));
    set("token", "77:AAsecret");
    let second = told(2);
    assert_eq!(second["fields"], json!(["token"]));
    assert_eq!(second["credentials"]["token"], "77:AAsecret");
    wait_until("all is done", &home, || is_at_rest(&home));
    assert_eq!((home.pid("shop"), &home.bot("shop")["dead"]), (pid, &json!(0)));
}

fn gives_up_what_fails_for_good_or_too_often(speaker: Speaker) {
    let Some(home) = played(speaker) else { return };
    for (payload, count) in [
        (json!({"message": "never", "permanent": true}), 1),
        (json!({"message": "not now"}), 5),
    ] {
        let before = noted(&home).len();
        home.run(&["send", "shop", "fail", "--json", &payload.to_string(), "--wait"])
            .code(1)
            .one_line(&[payload["message"].as_str().unwrap()]);
        assert_eq!(attempts(&home)[before..], (1..=count).collect::<Vec<u64>>());
    }
    wait_until("both are dead letters", &home, || home.bot("shop")["dead"] == 2);
    wait_until("nothing else is left", &home, || is_at_rest(&home));
}

/// The first message is given back and is due again while the bot is still at the second one of that file.
fn lets_nothing_pass_what_is_on_its_way_back(speaker: Speaker) {
    let Some(home) = played(speaker) else { return };
    let batch = [
        in_order(command("a", "later")),
        command("b", "wait"),
        in_order(command("c", "note")),
    ];
    post(&home, &batch);
    let count = |folder: &str| fs::read_dir(home.path("ipc/shop/inbox").join(folder)).unwrap().count();
    wait_until("the first waits in new/", &home, || {
        noted(&home).len() == 2 && count("new") == 1
    });
    home.write("gate", "");
    wait_until("all is done", &home, || noted(&home).len() == 4 && is_at_rest(&home));
    let ids: Vec<String> = noted(&home).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["a", "b", "a", "c"]);
}

fn keeps_the_order_of_a_chat(speaker: Speaker) {
    let Some(home) = played(speaker) else { return };
    let batch = [
        in_order(command("a", "later")),
        in_order(command("b", "note")),
        command("c", "note"),
        in_order(failing("d", json!({"message": "never", "permanent": true}))),
        in_order(command("e", "note")),
    ];
    post(&home, &batch);
    wait_until("all is done", &home, || noted(&home).len() == 6 && is_at_rest(&home));
    let ids: Vec<String> = noted(&home).into_iter().map(|(id, _)| id).collect();
    let chat: Vec<&String> = ids.iter().filter(|id| *id != "c").collect();
    assert_eq!(chat, ["a", "a", "b", "d", "e"]);
    assert!(ids[..2] == ["a", "c"], "the others need not wait: {ids:?}");
    assert!(attempts(&home).iter().all(|attempt| *attempt == 1));
}
