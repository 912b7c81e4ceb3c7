//! The bot on real mailboxes, without a supervisor.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::arrival::{Arrival, File, Message, What};
use super::bot::{Bot, HEARTBEAT_INTERVAL, Parts, Tone};
use super::identity::Identity;
use super::platform::{
    self, Class, Content, Credentials, News, Outcome, Outgoing, PlainTexts, Platform, Receipt, Ticket,
};
use super::stop::Stop;
use crate::clock;
use crate::config::{Settings, bot_spec, read_bots};
use crate::model::chat::{self, Action, ChatCommand};
use crate::model::message::{Envelope, Kind, PRIORITY_CONTROL};
use crate::model::units::Stamp;
use crate::run::brief::Brief;
use crate::spool::heartbeat::mark;
use crate::spool::{Counts, Defaults, Durability, Mailbox, Poster, Waker, Watch, new_id};

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
    let open = |waker| platform::open(word, &Brief::default(), waker).unwrap();
    staged(open, Brief::default(), heartbeat_interval)
}

fn scripted(brief: Brief) -> (Scene, Bot, Scripted) {
    let platform = Scripted::default();
    let played = platform.clone();
    let (scene, bot) = staged(|_| Box::new(played), brief, HEARTBEAT_INTERVAL);
    (scene, bot, platform)
}

/// The next run of the same bot.
fn successor(scene: &Scene) -> (Bot, Scripted) {
    let platform = Scripted::default();
    let played: Box<dyn Platform> = Box::new(platform.clone());
    let parts = parts(
        scene.dir.path(),
        played,
        Brief::default(),
        &scene.watch,
        HEARTBEAT_INTERVAL,
    );
    (Bot::new(parts.0).unwrap(), platform)
}

fn parts(
    dir: &Path,
    platform: Box<dyn Platform>,
    brief: Brief,
    watch: &Watch,
    heartbeat_interval: Duration,
) -> (Parts, Receiver<(Tone, String)>) {
    let run = new_id(clock::stamp());
    let identity = Identity::find(|name| {
        Some(match name {
            "BOT_ID" => "demo".into(),
            "MULTIBOT_RUN_ID" => run.clone().into(),
            "MULTIBOT_INBOX" => dir.join("inbox").into(),
            "MULTIBOT_OUTBOX" => dir.join("outbox").into(),
            _ => dir.join("heartbeat").into(),
        })
    })
    .unwrap();
    let (sender, lines) = mpsc::channel();
    let tell = Box::new(move |tone, line: &str| {
        let _ = sender.send((tone, line.to_owned()));
    });
    let parts = Parts {
        identity,
        platform,
        brief,
        credentials: Credentials::new(),
        waker: watch.waker(),
        tell,
        heartbeat_interval,
    };
    (parts, lines)
}

fn staged(
    platform: impl FnOnce(Waker) -> Box<dyn Platform>,
    brief: Brief,
    heartbeat_interval: Duration,
) -> (Scene, Bot) {
    let dir = tempfile::tempdir().unwrap();
    let (inbox, outbox) = (
        Mailbox::new(dir.path().join("inbox")),
        Mailbox::new(dir.path().join("outbox")),
    );
    inbox.create().unwrap();
    outbox.create().unwrap();
    let watch = Watch::new(&inbox);
    let stop = Stop::new(watch.waker());
    let platform = platform(watch.waker());
    let (parts, lines) = parts(dir.path(), platform, brief, &watch, heartbeat_interval);
    let bot = Bot::new(parts).unwrap();
    let scene = Scene {
        dir,
        inbox,
        outbox,
        poster: Poster::new(),
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

/// A platform that does nothing by itself: the test says what there is to tell, and sees what it was asked for.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    news: VecDeque<News>,
    connects: usize,
    sent: Vec<(Ticket, Outgoing)>,
    fetched: Vec<(Ticket, PathBuf)>,
}

impl Scripted {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    fn tell(&self, news: News) {
        self.script().news.push_back(news);
    }

    fn connected(&self) {
        let name = Some("demo_bot".to_owned());
        self.tell(News::Connected { name });
    }

    /// A message in a chat of two; the answer says whether it was stored.
    fn arrive(&self, id: &str, text: &str) -> mpsc::Receiver<bool> {
        let message = Message {
            user: Some("42".to_owned()),
            username: Some("ann".to_owned()),
            text: text.to_owned(),
            ..Message::default()
        };
        self.arrive_as(id, What::Message(message))
    }

    fn arrive_as(&self, id: &str, what: What) -> mpsc::Receiver<bool> {
        let (sender, answer) = mpsc::sync_channel(1);
        let (id, chat) = (id.to_owned(), "42".to_owned());
        let arrivals = vec![Arrival { id, chat, what }];
        let receipt = Receipt(sender);
        self.tell(News::Arrived { arrivals, receipt });
        answer
    }

    /// The texts that were sent since the last look, with their tickets.
    fn texts(&self) -> Vec<(Ticket, String)> {
        let sent = std::mem::take(&mut self.script().sent);
        let text = |(ticket, outgoing): (Ticket, Outgoing)| match outgoing.content {
            Content::Text(text) => (ticket, text),
            other => panic!("{other:?}"),
        };
        sent.into_iter().map(text).collect()
    }

    fn settle(&self, ticket: Ticket, outcome: Outcome) {
        self.tell(News::Settled { ticket, outcome });
    }

    fn accept(&self, ticket: Ticket) {
        let messages = vec![format!("m{ticket}")];
        self.settle(ticket, Outcome::Sent { messages });
    }
}

impl Platform for Scripted {
    fn word(&self) -> &'static str {
        "scripted"
    }

    fn plain_texts(&self) -> PlainTexts {
        PlainTexts::AreLeft
    }

    fn connect(&mut self, _: &Credentials) {
        self.script().connects += 1;
    }

    fn leave(&mut self) {}

    fn send(&mut self, ticket: Ticket, outgoing: Outgoing) {
        self.script().sent.push((ticket, outgoing));
    }

    fn fetch(&mut self, ticket: Ticket, _: &File, into: PathBuf) {
        self.script().fetched.push((ticket, into));
    }

    fn news(&mut self) -> Option<News> {
        self.script().news.pop_front()
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
    bot.begin().unwrap();
    scene.said();
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
    let (mut scene, mut bot, platform) = scripted(Brief::default());
    bot.begin().unwrap();
    assert!(scene.said().is_empty(), "not ready before the platform has said a word");
    let why = || "no route".to_owned();
    platform.tell(News::Unreachable { why: why() });
    bot.turn(&scene.stop);
    let failed = (
        Kind::Event,
        "connection_failed".to_owned(),
        json!({"message": "no route"}),
    );
    assert_eq!(scene.said_in_short(), [failed.clone(), event("ready")]);
    platform.connected();
    scene.post(&[command("restart_connection", json!({}))]);
    bot.turn(&scene.stop);
    assert_eq!(scene.said_in_short(), [event("connected"), event("disconnected")]);
    assert_eq!(platform.script().connects, 2);
    platform.tell(News::Unreachable { why: why() });
    scene.post(&[command("status_request", json!({}))]);
    bot.turn(&scene.stop);
    let said = scene.said_in_short();
    let lasting = json!({"message": "no route", "permanent": true});
    assert_eq!(
        said[..2],
        [failed, (Kind::Error, "restart_connection".to_owned(), lasting)]
    );
    assert_eq!(said[2].2["connected"], false);
    assert_eq!(said[2].2["detail"], "not connected to scripted: no route");
}

#[test]
fn an_arrival_is_stored_before_it_is_confirmed_and_done_when_its_answer_is_accepted() {
    let (scene, mut bot, platform) = scripted(Brief::default());
    let stored = platform.arrive("1", "?ping");
    bot.begin().unwrap();
    assert_eq!(stored.try_recv(), Ok(true));
    bot.turn(&scene.stop);
    assert!(platform.texts().is_empty(), "not handled before the bot knows its name");
    platform.connected();
    bot.turn(&scene.stop);
    let [(ticket, text)] = platform.texts().try_into().unwrap();
    assert_eq!(text, "pong");
    let arrivals = Mailbox::new(scene.dir.path().join("arrivals"));
    assert_eq!(arrivals.counts().unwrap(), Counts { new: 0, cur: 1 });
    let told = scene.said_in_short();
    let seen = json!({"user": "42", "username": "ann"});
    assert_eq!(told.last().unwrap(), &(Kind::Event, "user_seen".to_owned(), seen));
    platform.accept(ticket);
    bot.turn(&scene.stop);
    assert_eq!(arrivals.counts().unwrap(), Counts::default());
    // The platform tells it once more: nobody has confirmed it.
    assert_eq!(platform.arrive("1", "?ping").try_recv().ok(), None);
    bot.turn(&scene.stop);
    assert!(platform.texts().is_empty());
}

#[test]
fn what_a_dead_run_had_not_answered_its_successor_answers_in_order() {
    let (scene, mut bot, platform) = scripted(Brief::default());
    platform.connected();
    for number in 1..4 {
        drop(platform.arrive(
            &number.to_string(),
            &format!("?{}", ["", "ping", "help", "status"][number]),
        ));
    }
    bot.begin().unwrap();
    bot.turn(&scene.stop);
    let sent = platform.texts();
    assert_eq!(sent.len(), 3);
    platform.accept(sent[0].0);
    bot.turn(&scene.stop);
    drop(bot);
    let (bot, platform) = successor(&scene);
    let mut bot = bot;
    platform.connected();
    bot.begin().unwrap();
    bot.turn(&scene.stop);
    let again: Vec<String> = platform.texts().into_iter().map(|(_, text)| text).collect();
    assert!(
        again[0].starts_with("?help") && again[1].starts_with("up "),
        "{again:?}"
    );
}

#[test]
fn what_is_sent_is_answered_when_the_platform_has_taken_or_refused_it() {
    let (mut scene, mut bot, platform) = scripted(Brief::default());
    platform.connected();
    bot.begin().unwrap();
    let to = |text: &str| command("send_message", json!({"chat": "7", "text": text}));
    scene.post(&[to("one"), to("two")]);
    bot.turn(&scene.stop);
    scene.said();
    let sent = platform.texts();
    platform.accept(sent[0].0);
    let refused = Outcome::Refused {
        class: Class::Blocked,
        why: "bot was blocked".to_owned(),
    };
    platform.settle(sent[1].0, refused);
    bot.turn(&scene.stop);
    let said = scene.said_in_short();
    let answer = json!({"message": "m1", "messages": ["m1"]});
    assert_eq!(said[0], (Kind::Response, "send_message".to_owned(), answer));
    let told = json!({"target": "7", "class": "blocked", "message": "bot was blocked"});
    assert_eq!(said[1], (Kind::Event, "delivery_failed".to_owned(), told));
    let error = json!({"message": "blocked: bot was blocked", "permanent": true});
    assert_eq!(said[2], (Kind::Error, "send_message".to_owned(), error));
}

#[test]
fn what_is_not_sent_when_the_bot_ends_is_left_for_its_next_run_and_counts_as_no_attempt() {
    let (mut scene, bot, platform) = scripted(Brief::default());
    platform.connected();
    scene.post(&[command("send_message", json!({"chat": "7", "text": "late"}))]);
    scene.post(&[shutdown("graceful", Duration::from_millis(600))]);
    scene.stop.request();
    bot.run(&scene.watch, &scene.stop).unwrap();
    let said = scene.said_in_short();
    let back = said.iter().find(|(kind, ..)| *kind == Kind::Error);
    if let Some((_, name, payload)) = back {
        assert_eq!((name.as_str(), &payload["retry_after"]), ("send_message", &json!(0.0)));
    } else {
        assert_eq!(scene.inbox.counts().unwrap().new, 1, "it was not even taken");
    }
}

#[test]
fn credentials_that_are_worth_nothing_end_the_bot_with_a_word() {
    let (scene, bot, platform) = scripted(Brief::default());
    let why = "revoked".to_owned();
    platform.tell(News::Unauthorized { why });
    let error = bot.run(&scene.watch, &scene.stop).unwrap_err();
    assert_eq!(error.code(), 77);
    assert_eq!(scene.names_said(), ["unauthorized", "disconnected"]);
}

#[test]
fn an_admins_command_asks_the_supervisor_and_its_chat_waits_for_the_answer() {
    let (mut scene, mut bot, platform) = scripted(Brief::default());
    platform.connected();
    scene.post(&[command("refresh_admins", json!({"admins": ["42"]}))]);
    bot.begin().unwrap();
    bot.turn(&scene.stop);
    drop(platform.arrive("1", "?setperm hours admin"));
    drop(platform.arrive("2", "?ping"));
    bot.turn(&scene.stop);
    assert!(platform.texts().is_empty());
    let said = scene.said();
    let question = said.iter().find(|envelope| envelope.name == "set_permission").unwrap();
    assert_eq!((question.kind, question.to.as_str()), (Kind::Command, "supervisor"));
    let by = json!({"user": "42", "name": "ann", "chat": "42"});
    assert_eq!(
        question.payload,
        json!({"by": by, "command": "hours", "level": "admin"})
    );
    let now = clock::stamp();
    let answer = question
        .response(new_id(now), now)
        .with_payload(json!({"text": "hours is for admins now"}));
    scene.post(&[answer]);
    bot.turn(&scene.stop);
    let texts: Vec<String> = platform.texts().into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["hours is for admins now", "pong"]);
    assert_eq!(scene.inbox.counts().unwrap(), Counts::default());
}

#[test]
fn a_program_answers_a_forwarded_message_comes_back_and_a_file_is_told() {
    let mut brief = Brief {
        media: "/media".into(),
        ..Brief::default()
    };
    let own = |action| ChatCommand {
        action,
        is_for_admins: false,
        help: None,
    };
    let argv = ["/bin/sh", "-c", "sed 's/.*\"args\":\"\\([a-z]*\\)\".*/<\\1>/'"].map(str::to_owned);
    let exec = Action::Exec {
        argv: argv.to_vec(),
        timeout: LONG,
        max_output: 1000,
    };
    brief.chat.commands.insert("wrap".to_owned(), own(exec));
    let forward = Action::Forward(chat::Receiver::Bot("desk".to_owned()));
    brief.chat.commands.insert("*".to_owned(), own(forward));
    let (mut scene, mut bot, platform) = scripted(brief);
    platform.connected();
    drop(platform.arrive("1", "?wrap word"));
    bot.begin().unwrap();
    assert!(scene.watch.wait(LONG));
    bot.turn(&scene.stop);
    assert!(scene.watch.wait(LONG), "the end of the program wakes the bot");
    while bot.turn(&scene.stop) == Duration::ZERO {}
    assert_eq!(platform.texts()[0].1, "<word>");

    let file = File {
        id: "f".to_owned(),
        name: "a.jpg".to_owned(),
        bytes: None,
    };
    let message = Message {
        text: "see".to_owned(),
        file: Some(file),
        ..Message::default()
    };
    drop(platform.arrive_as("2", What::Message(message)));
    bot.turn(&scene.stop);
    let (ticket, path) = platform.script().fetched.pop().unwrap();
    assert!(
        path.starts_with("/media/received/42") && path.to_string_lossy().ends_with("-a.jpg"),
        "{path:?}"
    );
    platform.settle(
        ticket,
        Outcome::Fetched {
            path: path.clone(),
            bytes: 5,
        },
    );
    bot.turn(&scene.stop);
    let said = scene.said();
    let told = said
        .iter()
        .rfind(|envelope| envelope.name == "message_received")
        .unwrap();
    assert_eq!((told.kind, told.to.as_str()), (Kind::Command, "desk"));
    assert_eq!(
        (&told.payload["text"], &told.payload["file"]),
        (&json!("see"), &json!(path))
    );
    let now = clock::stamp();
    let answer = told.response(new_id(now), now).with_payload(json!({"text": "nice"}));
    scene.post(&[answer]);
    bot.turn(&scene.stop);
    let [(ticket, text)] = platform.texts().try_into().unwrap();
    assert_eq!(text, "nice");
    platform.accept(ticket);
    bot.turn(&scene.stop);
    assert_eq!(scene.inbox.counts().unwrap(), Counts::default());
}

#[test]
fn who_is_gone_and_who_is_back_is_told() {
    let (scene, mut bot, platform) = scripted(Brief::default());
    platform.connected();
    drop(platform.arrive_as("1", What::Kicked));
    drop(platform.arrive_as("2", What::Joined));
    bot.begin().unwrap();
    scene.said();
    bot.turn(&scene.stop);
    let target = json!({"target": "42"});
    let told = |name: &str| (Kind::Event, name.to_owned(), target.clone());
    assert_eq!(scene.said_in_short(), [told("kicked"), told("joined")]);
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
        "bad_request: no chat \"other\"",
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
            let dir = tempfile::tempdir().unwrap();
            let waker = Watch::new(&Mailbox::new(dir.path().to_owned())).waker();
            let opened = platform::open(bot.platform.word(), &Brief::default(), waker);
            assert!(opened.is_ok(), "{}", bot.id);
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
