//! The bots of ten lines that `ipc/README.md` shows, taken from there and run by a supervisor.

use std::fs;

use crate::harness::{FAST, Home, wait_until};

use super::stage::Speaker;

/// The first block of this language in the guide.
fn shown(language: &str) -> String {
    let guide = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/ipc/README.md")).unwrap();
    let (_, rest) = guide.split_once("## A bot of ten lines").unwrap();
    let (_, rest) = rest.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

fn does_all_that_is_asked_of_it(speaker: Speaker, language: &str) {
    let home = Home::with_settings(&format!("{FAST}status_poll_interval: 200ms\n"));
    let Some(command) = speaker.command(&home.base().join("bot")) else {
        return;
    };
    fs::write(&command[1], shown(language)).unwrap();
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    home.ok(&[&["bot", "create", "shop", "--"], &words[..]].concat());
    home.set("shop", &["ready.when=signal"]);
    home.ok(&["start"]);
    let text = "hello \"you\" {there} *";
    let answer = home.ok(&["send", "shop", "--text", text, "--wait"]);
    assert_eq!(answer.out, format!("you said: {text}\n"));
    home.run(&["send", "shop", "dance", "--wait"])
        .code(1)
        .one_line(&["unknown command", "dance"]);
    wait_until("several questions were answered", &home, || {
        home.count_events("shop", "status_response") >= 4
    });
    assert!(home.bot("shop")["heartbeat_age_s"].is_u64());
    assert_eq!(home.bot("shop")["restarts"], 0);
    home.ok(&["bot", "stop", "shop"]);
    let exit = home.bot("shop")["last_exit"].clone();
    // A shell that waits for a command is ended by the signal.
    assert!(exit["code"] == 0 || speaker == Speaker::Shell, "{exit}");
}

#[test]
fn the_one_in_python() {
    does_all_that_is_asked_of_it(Speaker::Python, "python");
}

#[test]
fn the_one_for_node() {
    does_all_that_is_asked_of_it(Speaker::NodeImport, "js");
}

#[test]
fn the_one_in_sh() {
    does_all_that_is_asked_of_it(Speaker::Shell, "sh");
}
