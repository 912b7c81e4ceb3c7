//! The bot on real mailboxes, without a supervisor.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::bot::{Bot, HEARTBEAT_INTERVAL, Tone};
use super::identity::Identity;
use super::platform::{self, Incoming, Platform};
use super::stop::Stop;
use crate::clock;
use crate::config::{Settings, bot_spec, read_bots};
use crate::model::message::{Envelope, Kind, PRIORITY_CONTROL};
use crate::model::units::Stamp;
use crate::spool::heartbeat::mark;
use crate::spool::{Counts, Defaults, Durability, Mailbox, Poster, Watch, new_id};

const LONG: Duration = Duration::from_secs(20);

/// The world of one bot, seen from outside.
struct Scene {
    dir: TempDir,
    inbox: Mailbox,
    outbox: Mailbox,
    poster: Poster,
    lines: Receiver<(Tone, String)>,
    watch: Watch,
    stop: Stop,
}

fn scene() -> (Scene, Bot) {
    scene_on("loopback", HEARTBEAT_INTERVAL)
}

fn scene_on(word: &str, heartbeat_interval: Duration) -> (Scene, Bot) {
    let platform = match word {
        "fragile" => Box::new(Fragile { connects: 1 }),
        word => platform::open(word).unwrap(),
    };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (inbox, outbox) = (Mailbox::new(path("inbox")), Mailbox::new(path("outbox")));
    inbox.create().unwrap();
    outbox.create().unwrap();
    let run = new_id(clock::stamp());
    let identity = Identity::find(|name| {
        Some(match name {
            "BOT_ID" => "demo".into(),
            "MULTIBOT_RUN_ID" => run.clone().into(),
            "MULTIBOT_INBOX" => inbox.dir().into(),
            "MULTIBOT_OUTBOX" => outbox.dir().into(),
            _ => path("heartbeat").into(),
        })
    })
    .unwrap();
    let (sender, lines) = mpsc::channel();
    let tell = Box::new(move |tone, line: &str| {
        let _ = sender.send((tone, line.to_owned()));
    });
    let watch = Watch::new(&inbox);
    let stop = Stop::new(watch.waker());
    let bot = Bot::new(identity, platform, tell, heartbeat_interval);
    let poster = Poster::new();
    let scene = Scene {
        dir,
        inbox,
        outbox,
        poster,
        lines,
        watch,
        stop,
    };
    (scene, bot)
}

impl Scene {
    fn post(&mut self, envelopes: &[Envelope]) {
        let now = clock::stamp();
        self.inbox
            .post(&mut self.poster, envelopes, Durability::None, now)
            .unwrap();
    }

    /// Everything that the bot has said since the last look.
    fn said(&self) -> Vec<Envelope> {
        said_in(&self.outbox)
    }

    /// The same in short: kind, name, payload.
    fn said_in_short(&self) -> Vec<(Kind, String, Value)> {
        let short = |envelope: Envelope| (envelope.kind, envelope.name, envelope.payload);
        self.said().into_iter().map(short).collect()
    }

    fn names_said(&self) -> Vec<String> {
        self.said().into_iter().map(|envelope| envelope.name).collect()
    }

    fn lines(&self) -> Vec<(Tone, String)> {
        self.lines.try_iter().collect()
    }

    fn dead(&self) -> std::path::PathBuf {
        self.dir.path().join("dead")
    }
}

fn said_in(outbox: &Mailbox) -> Vec<Envelope> {
    let defaults = Defaults {
        from: "nobody",
        to: "nobody",
        now: Stamp(0),
    };
    let mut said = Vec::new();
    for entry in outbox.scan().unwrap() {
        let claimed = outbox.claim(&entry, "supervisor").unwrap().unwrap();
        said.extend(claimed.read(&defaults).unwrap());
        claimed.finish().unwrap();
    }
    assert!(said.iter().all(|envelope| envelope.from == "demo"));
    said
}

fn command(name: &str, payload: Value) -> Envelope {
    let now = clock::stamp();
    Envelope::new(new_id(now), Kind::Command, name, "cli", "demo", now).with_payload(payload)
}

fn message(text: &str) -> Envelope {
    command("send_message", json!({"text": text}))
}

fn shutdown(mode: &str, left: Duration) -> Envelope {
    let now = clock::stamp();
    let deadline = Stamp(now.0 + i64::try_from(left.as_micros()).unwrap());
    let mut envelope = Envelope::new(new_id(now), Kind::Command, "shutdown", "supervisor", "demo", now);
    envelope.priority = PRIORITY_CONTROL;
    envelope.expires_at = Some(deadline);
    envelope.with_payload(json!({"mode": mode, "deadline": deadline.to_string()}))
}

fn event(name: &str) -> (Kind, String, Value) {
    (Kind::Event, name.to_owned(), json!({}))
}

/// A platform that connects so many times and is silent about what it is given.
struct Fragile {
    connects: u32,
}

impl Platform for Fragile {
    fn word(&self) -> &'static str {
        "fragile"
    }

    fn connect(&mut self) -> Result<(), platform::Error> {
        self.connects = self
            .connects
            .checked_sub(1)
            .ok_or_else(|| platform::Error::NotBuiltIn {
                word: "fragile".to_owned(),
            })?;
        Ok(())
    }

    fn send(&mut self, _: Option<&str>, _: &str) -> Result<Option<Incoming>, platform::Error> {
        Ok(None)
    }
}

#[test]
fn a_bot_begins_with_a_beat_and_says_that_it_is_ready() {
    let (scene, mut bot) = scene();
    bot.begin().unwrap();
    assert_eq!(scene.said_in_short(), [event("connected"), event("ready")]);
    assert_eq!(scene.lines(), [(Tone::Plain, "demo is ready on loopback".to_owned())]);
    let beat: Value = serde_json::from_slice(&fs::read(scene.dir.path().join("heartbeat")).unwrap()).unwrap();
    assert_eq!(
        (&beat["kind"], &beat["name"]),
        (&json!("heartbeat"), &json!("heartbeat"))
    );
    assert_eq!(fs::read_dir(scene.outbox.dir().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_message_is_answered_and_told_without_its_text() {
    let (mut scene, mut bot) = scene();
    let sent = [message("Grüße"), message("?ping")];
    scene.post(&sent);
    assert_eq!(bot.turn(&scene.stop).as_secs(), 9);
    let said = scene.said();
    let answers: Vec<&Envelope> = said.iter().filter(|envelope| envelope.kind == Kind::Response).collect();
    for ((answer, sent), text) in answers.iter().zip(&sent).zip(["Grüße", "pong"]) {
        assert_eq!(answer.name, "send_message");
        assert_eq!(answer.to, "cli");
        assert_eq!(answer.correlation_id.as_ref(), Some(&sent.id));
        assert_eq!(answer.payload, json!({ "text": text }));
    }
    assert_eq!(answers.len(), 2);
    let told: Vec<&Value> = said
        .iter()
        .filter(|envelope| envelope.name == "message_received")
        .map(|envelope| &envelope.payload)
        .collect();
    assert_eq!(told, [&json!({"chat": "loopback", "length": 5}); 2]);
    assert_eq!(scene.inbox.counts().unwrap(), Counts::default());
}

#[test]
fn a_burst_is_answered_in_order() {
    let (mut scene, mut bot) = scene();
    for number in 0..200 {
        scene.post(&[message(&number.to_string())]);
    }
    bot.turn(&scene.stop);
    let said = scene.said();
    let texts: Vec<&str> = said
        .iter()
        .filter_map(|envelope| envelope.payload["text"].as_str())
        .collect();
    let sent: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    assert_eq!(texts, sent);
    assert_eq!(scene.inbox.counts().unwrap(), Counts::default());
}

#[test]
fn what_is_urgent_overtakes_a_backlog() {
    let (mut scene, mut bot) = scene();
    for _ in 0..300 {
        scene.post(&[message("x")]);
    }
    assert_eq!(bot.turn(&scene.stop), Duration::ZERO);
    let mut urgent = command("status_request", json!({}));
    urgent.priority = PRIORITY_CONTROL;
    scene.post(&[urgent]);
    scene.said();
    bot.turn(&scene.stop);
    assert_eq!(scene.names_said().first().map(String::as_str), Some("status_response"));
    assert_eq!(scene.inbox.counts().unwrap(), Counts::default());
}

#[test]
fn a_status_answer_is_what_its_schema_says() {
    let (mut scene, mut bot) = scene();
    bot.begin().unwrap();
    scene.said();
    let question = command("status_request", json!({}));
    scene.post(&[message("one"), message("two"), question.clone()]);
    bot.turn(&scene.stop);
    let answer = scene.said().pop().unwrap();
    assert_eq!((answer.kind, answer.name.as_str()), (Kind::Response, "status_response"));
    assert_eq!(answer.correlation_id, Some(question.id));
    let payload = answer.payload.as_object().unwrap();
    assert_eq!(payload["connected"], true);
    assert_eq!(
        (&payload["messages_in"], &payload["messages_out"]),
        (&json!(2), &json!(2))
    );
    let schema: Value = serde_json::from_str(include_str!("../../ipc/status_response.schema.json")).unwrap();
    for (field, value) in payload {
        let fits = match schema["properties"][field]["type"].as_str() {
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_u64(),
            other => panic!("{field} is {other:?} in the schema"),
        };
        assert!(fits, "{field}: {value}");
    }
}

#[test]
fn a_connection_is_restarted() {
    let (mut scene, mut bot) = scene();
    scene.post(&[command("restart_connection", json!({}))]);
    bot.turn(&scene.stop);
    let answer = (
        Kind::Response,
        "restart_connection".to_owned(),
        json!({"connected": true}),
    );
    assert_eq!(
        scene.said_in_short(),
        [event("disconnected"), event("connected"), answer]
    );
}

#[test]
fn a_connection_that_fails_is_told_and_the_bot_goes_on() {
    let (mut scene, mut bot) = scene_on("fragile", HEARTBEAT_INTERVAL);
    bot.begin().unwrap();
    scene.said();
    let commands = [
        command("restart_connection", json!({})),
        command("status_request", json!({})),
        message("anybody there?"),
    ];
    scene.post(&commands);
    bot.turn(&scene.stop);
    let why = json!({"message": "platform \"fragile\" has no built-in bot: known is loopback"});
    let said = scene.said_in_short();
    assert_eq!(said[0], event("disconnected"));
    assert_eq!(said[1], (Kind::Event, "connection_failed".to_owned(), why.clone()));
    let lasting = json!({"message": why["message"], "permanent": true});
    assert_eq!(said[2], (Kind::Error, "restart_connection".to_owned(), lasting));
    assert_eq!(said[3].2["connected"], false);
    assert_eq!(said[4], (Kind::Response, "send_message".to_owned(), json!({})));

    let (scene, mut bot) = scene_on("fragile", HEARTBEAT_INTERVAL);
    bot.begin().unwrap();
    scene.said();
    assert!(bot.begin().is_err());
    assert_eq!(scene.names_said(), ["connection_failed"]);
}

#[test]
fn what_cannot_be_obeyed_is_refused_with_the_reason() {
    let (mut scene, mut bot) = scene();
    let asked = [
        command("nonsense", json!({})),
        command("send_message", json!({"text": 5})),
        command("send_message", json!({"text": "x", "chat": "other"})),
    ];
    scene.post(&asked);
    bot.turn(&scene.stop);
    let said = scene.said();
    for ((error, asked), part) in said.iter().zip(&asked).zip([
        "unknown command \"nonsense\"; known are ",
        "text must be a string",
        "no chat \"other\"",
    ]) {
        assert_eq!((error.kind, &error.name), (Kind::Error, &asked.name));
        assert_eq!(error.correlation_id.as_ref(), Some(&asked.id));
        let message = error.payload["message"].as_str().unwrap();
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(said.len(), 3);
}

#[test]
fn what_cannot_be_read_is_set_aside_and_the_rest_is_answered() {
    let (mut scene, mut bot) = scene();
    fs::write(scene.inbox.new_dir().join("broken.ndjson"), "{").unwrap();
    scene.post(&[message("hello")]);
    bot.turn(&scene.stop);
    assert_eq!(scene.names_said(), ["message_received", "send_message"]);
    let reason = fs::read_to_string(scene.dead().join("broken.ndjson.reason")).unwrap();
    assert!(reason.contains("envelope 1: not valid JSON"), "{reason}");
    assert_eq!(fs::read_to_string(scene.dead().join("broken.ndjson")).unwrap(), "{");
    let [(tone, line)] = scene.lines().try_into().unwrap();
    assert_eq!(tone, Tone::Trouble);
    assert!(line.starts_with("set aside broken.ndjson: envelope 1: "), "{line}");
    assert_eq!(scene.inbox.counts().unwrap(), Counts::default());
}

#[test]
fn what_came_too_late_or_is_no_command_is_not_handled() {
    let (mut scene, mut bot) = scene();
    let mut expired = message("too late");
    expired.expires_at = Some(Stamp(0));
    let mut event = message("an event");
    event.kind = Kind::Event;
    let mut early = message("in time");
    early.expires_at = Some(Stamp(clock::stamp().0 + 3_600_000_000));
    scene.post(&[expired, event, early]);
    bot.turn(&scene.stop);
    let said = scene.said_in_short();
    let refusal = json!({"message": "expired at 1970-01-01T00:00:00.000000Z", "permanent": true});
    assert_eq!(said[0], (Kind::Error, "send_message".to_owned(), refusal));
    let texts: Vec<Value> = said
        .into_iter()
        .map(|(_, _, payload)| payload["text"].clone())
        .collect();
    assert_eq!(texts, [Value::Null, Value::Null, json!("in time")]);
    let lines = scene.lines();
    assert!(
        lines[0].1.ends_with("unhandled: it is of kind event, not command"),
        "{lines:?}"
    );
    // The supervisor moves on what has expired.
    assert_eq!(scene.inbox.counts().unwrap(), Counts { new: 0, cur: 1 });
}

#[test]
fn answers_that_cannot_be_posted_wait_together_with_their_question() {
    let (mut scene, mut bot) = scene();
    fs::remove_dir(scene.outbox.new_dir()).unwrap();
    scene.post(&[message("first")]);
    for _ in 0..3 {
        assert!(bot.turn(&scene.stop) <= Duration::from_secs(1));
    }
    assert_eq!(scene.inbox.counts().unwrap(), Counts { new: 0, cur: 1 });
    let lines = scene.lines();
    assert_eq!(lines.len(), 1, "the same trouble is told once: {lines:?}");
    assert!(lines[0].1.starts_with("no mailbox at "), "{lines:?}");
    scene.outbox.create().unwrap();
    scene.post(&[message("second")]);
    bot.turn(&scene.stop);
    let said = scene.said();
    let texts: Vec<&str> = said
        .iter()
        .filter_map(|envelope| envelope.payload["text"].as_str())
        .collect();
    assert_eq!(texts, ["first", "second"]);
    assert_eq!(scene.inbox.counts().unwrap(), Counts::default());
}

#[test]
fn a_signal_ends_the_bot_after_what_was_waiting() {
    let (mut scene, bot) = scene();
    for number in 0..3 {
        scene.post(&[message(&number.to_string())]);
    }
    scene.stop.request();
    scene.stop.request();
    bot.run(&scene.watch, &scene.stop).unwrap();
    let names = scene.names_said();
    assert_eq!(names[..2], ["connected", "ready"]);
    assert_eq!(names.iter().filter(|name| *name == "send_message").count(), 3);
    assert_eq!(names.last().map(String::as_str), Some("disconnected"));
    assert_eq!(scene.inbox.counts().unwrap(), Counts::default());
    assert_eq!(scene.lines().last().unwrap().1, "demo has ended");
}

#[test]
fn a_shutdown_takes_what_waits_as_far_as_its_deadline_allows() {
    const NOTHING: Duration = Duration::ZERO;
    for (mode, left, answered) in [("graceful", LONG, 3), ("graceful", NOTHING, 0), ("forced", LONG, 0)] {
        let (mut scene, bot) = scene();
        for _ in 0..3 {
            scene.post(&[message("x")]);
        }
        scene.post(&[shutdown(mode, left)]);
        bot.run(&scene.watch, &scene.stop).unwrap();
        let names = scene.names_said();
        assert_eq!(
            names.iter().filter(|name| *name == "send_message").count(),
            answered,
            "{mode} {left:?}"
        );
        assert_eq!(names.last().map(String::as_str), Some("disconnected"));
        assert!(
            !names.contains(&"shutdown".to_owned()),
            "the supervisor is not answered"
        );
        let waiting = Counts {
            new: 3 - answered,
            cur: 0,
        };
        assert_eq!(scene.inbox.counts().unwrap(), waiting, "{mode} {left:?}");
    }
}

#[test]
fn a_signal_together_with_a_shutdown_ends_the_bot_once() {
    let (mut scene, bot) = scene();
    scene.post(&[message("x")]);
    scene.post(&[shutdown("graceful", LONG)]);
    scene.post(&[shutdown("forced", LONG)]);
    scene.stop.request();
    bot.run(&scene.watch, &scene.stop).unwrap();
    let names = scene.names_said();
    assert_eq!(names, ["connected", "ready", "disconnected"]);
    assert_eq!(
        scene.lines().last().unwrap().1,
        "demo has ended; 1 message waits for its next run"
    );
}

#[test]
fn what_follows_a_forced_shutdown_in_its_file_stays_for_another_run() {
    let (mut scene, bot) = scene();
    scene.post(&[message("before"), shutdown("forced", LONG), message("after")]);
    bot.run(&scene.watch, &scene.stop).unwrap();
    assert_eq!(
        scene.names_said(),
        ["connected", "ready", "message_received", "send_message", "disconnected"]
    );
    assert_eq!(scene.inbox.counts().unwrap(), Counts { new: 0, cur: 1 });
}

#[test]
fn a_shutdown_for_an_earlier_run_ends_nobody() {
    let (mut scene, mut bot) = scene();
    let mut old = shutdown("graceful", LONG);
    old.created_at = Stamp(old.created_at.0 - 60_000_000);
    scene.post(&[old, message("still there")]);
    bot.turn(&scene.stop);
    assert_eq!(scene.names_said(), ["message_received", "send_message"]);
    let lines = scene.lines();
    assert!(
        lines[0].1.ends_with("unhandled: it was meant for an earlier run"),
        "{lines:?}"
    );
    assert_eq!(scene.inbox.counts().unwrap(), Counts::default());
}

#[test]
fn whoever_else_asks_for_the_end_is_answered() {
    let (mut scene, bot) = scene();
    scene.post(&[command("shutdown", json!({}))]);
    bot.run(&scene.watch, &scene.stop).unwrap();
    let said = scene.said_in_short();
    assert_eq!(said[2], (Kind::Response, "shutdown".to_owned(), json!({})));
    assert_eq!(said[3], event("disconnected"));
}

/// Asks for the end when the test is over, however it ends.
struct EndOnDrop(Stop);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.request();
    }
}

#[test]
fn a_waiting_bot_wakes_for_a_message_and_for_its_end() {
    let (scene, bot) = scene();
    let (inbox, outbox, stop) = (&scene.inbox, &scene.outbox, scene.stop.clone());
    thread::scope(|scope| {
        scope.spawn(move || {
            let end = EndOnDrop(stop);
            let watch = Watch::new(outbox);
            let wait_for = |name: &str| {
                while !said_in(outbox).iter().any(|envelope| envelope.name == name) {
                    assert!(watch.wait(LONG), "no {name}");
                }
            };
            wait_for("ready");
            let now = clock::stamp();
            inbox
                .post(&mut Poster::new(), &[message("hello")], Durability::None, now)
                .unwrap();
            wait_for("send_message");
            drop(end);
            wait_for("disconnected");
        });
        bot.run(&scene.watch, &scene.stop).unwrap();
    });
    assert_eq!(scene.inbox.counts().unwrap(), Counts::default());
}

#[test]
fn the_bots_own_work_wakes_it_not() {
    let (mut scene, mut bot) = scene();
    bot.begin().unwrap();
    scene.post(&[message("x")]);
    while scene.watch.wait(Duration::from_millis(20)) {}
    fs::write(scene.inbox.new_dir().join(".broken"), "").unwrap();
    while scene.watch.wait(Duration::from_millis(20)) {}
    for _ in 0..3 {
        assert!(bot.turn(&scene.stop) > Duration::from_secs(5));
        assert!(!scene.watch.wait(Duration::from_millis(20)));
    }
    assert_eq!(scene.inbox.counts().unwrap(), Counts::default());
}

#[test]
fn a_bot_beats_when_it_is_due_and_not_before() {
    const INTERVAL: Duration = Duration::from_millis(30);
    let (scene, mut bot) = scene_on("loopback", INTERVAL);
    let beat = || mark(&scene.dir.path().join("heartbeat")).unwrap();
    bot.begin().unwrap();
    let mut last = beat();
    assert!(scene.watch.wait(LONG), "the first wait returns at once");
    for _ in 0..3 {
        let idle = bot.turn(&scene.stop);
        assert!(idle <= INTERVAL);
        assert!(!scene.watch.wait(idle));
        bot.turn(&scene.stop);
        assert_ne!(beat(), last);
        last = beat();
    }
    let (scene, mut bot) = scene_on("loopback", LONG);
    let beat = || mark(&scene.dir.path().join("heartbeat")).unwrap();
    bot.begin().unwrap();
    let first = beat();
    bot.turn(&scene.stop);
    assert_eq!(beat(), first);
}

/// The block of this language in the guide for people who write bots.
fn in_guide(language: &str) -> &'static str {
    let guide = include_str!("../../ipc/README.md");
    let (_, guide) = guide.split_once("## Without a client").unwrap();
    let (_, block) = guide.split_once(&format!("```{language}\n")).unwrap();
    block.split_once("```").unwrap().0
}

#[test]
fn the_bots_of_the_guide_and_the_example_files_are_the_same() {
    assert_eq!(include_str!("../../bot_configs/hello.sh"), in_guide("sh"));
    assert_eq!(include_str!("../../bot_configs/echo.py"), in_guide("python"));
}

#[test]
fn the_example_bots_can_be_loaded_and_played() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bot_configs");
    let mut started = Vec::new();
    for document in read_bots(&folder, &Settings::new()).unwrap() {
        let bot = bot_spec(&document.id, &[&document.settings, &Settings::new()]).unwrap();
        if bot.is_built_in() {
            assert!(platform::open(bot.platform.word()).is_ok(), "{}", bot.id);
        }
        if bot.enabled {
            assert!(
                bot.command.first().is_none_or(|program| program == "/bin/sh"),
                "{} needs more than a bare machine has",
                bot.id
            );
            started.push(bot.id.to_string());
        }
    }
    assert_eq!(started, ["clock", "demo", "hello"]);
}
