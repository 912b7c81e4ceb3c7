//! The reading end of an inbox, on real folders.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::envelope::tests::NOW;
use super::failure::Then;
use super::progress::{Mark, Progress};
use super::*;
use crate::model::message::{Envelope, Kind};

const RUN: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

fn inbox(dir: &Path) -> Mailbox {
    let inbox = Mailbox::new(dir.join("inbox"));
    inbox.create_inbox().unwrap();
    inbox
}

fn command(id: &str) -> Envelope {
    Envelope::new(id.to_owned(), Kind::Command, "dance", "cli", "shop", NOW)
}

fn ordered(id: &str) -> Envelope {
    let mut envelope = command(id);
    envelope.order_key = Some("chat-1".to_owned());
    envelope
}

fn post(inbox: &Mailbox, poster: &mut Poster, envelopes: &[Envelope]) {
    inbox.post(poster, envelopes, Durability::None, NOW).unwrap();
}

fn consumer(inbox: &Mailbox) -> Consumer {
    Consumer::new(inbox.clone(), "shop", RUN)
}

/// Receives one envelope, and says `id` for a message, `-id why` for a refusal.
fn receive(consumer: &mut Consumer) -> Option<String> {
    consumer.receive(NOW).unwrap().map(|received| match received {
        Received::Message(envelope) => envelope.id,
        Received::Refused { envelope, failure } => format!("-{} {}", envelope.id, failure.message),
        Received::SetAside { name, why } => format!("{name}: {why}"),
    })
}

fn files_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_of_several_is_done_when_all_are_acked_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = inbox(dir.path());
    post(&inbox, &mut Poster::new(), &[command("a"), command("b"), command("c")]);
    let mut consumer = consumer(&inbox);
    for id in ["a", "b", "c"] {
        assert_eq!(receive(&mut consumer).as_deref(), Some(id));
    }
    assert_eq!(receive(&mut consumer), None);
    for id in ["c", "a"] {
        assert!(consumer.ack(id).unwrap());
        assert!(!consumer.ack(id).unwrap(), "{id} is acked once");
    }
    assert_eq!(inbox.counts().unwrap(), Counts { new: 0, cur: 1 });
    assert!(consumer.ack("b").unwrap());
    assert_eq!(files_in(&inbox.cur_dir()), Vec::<String>::new());
    assert!(!consumer.ack("ghost").unwrap());
}

#[test]
fn one_that_was_failed_stays_for_the_supervisor() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = inbox(dir.path());
    let mut poster = Poster::new();
    post(&inbox, &mut poster, &[command("a")]);
    post(&inbox, &mut poster, &[command("b"), command("c")]);
    let mut consumer = consumer(&inbox);
    assert_eq!(receive(&mut consumer).as_deref(), Some("a"));
    assert!(consumer.fail("a").unwrap());
    assert_eq!(receive(&mut consumer).as_deref(), Some("b"));
    assert!(consumer.fail("b").unwrap());
    assert_eq!(receive(&mut consumer).as_deref(), Some("c"));
    let batch = inbox.cur_dir().join(
        files_in(&inbox.cur_dir())
            .into_iter()
            .rfind(|name| name.ends_with(".ndjson"))
            .unwrap(),
    );
    // The supervisor has settled it in the meantime.
    Progress::append(&batch, "b", Mark::Acked).unwrap();
    assert!(consumer.ack("c").unwrap());
    let left = files_in(&inbox.cur_dir());
    assert_eq!(left.len(), 2, "{left:?}");
    let text = fs::read_to_string(inbox.cur_dir().join(&left[1])).unwrap();
    assert_eq!(text, "-a\n");
}

#[test]
fn a_process_that_comes_anew_gets_what_its_run_had_not_answered() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = inbox(dir.path());
    let mut poster = Poster::new();
    post(&inbox, &mut poster, &[command("a"), command("b"), command("c")]);
    post(&inbox, &mut poster, &[command("d")]);
    let step = |answer: Option<(&str, Mark)>| {
        let mut consumer = consumer(&inbox);
        consumer.resume(NOW).unwrap();
        match answer {
            Some((id, Mark::Acked)) => assert!(consumer.ack(id).unwrap(), "{id}"),
            Some((id, Mark::Failed)) => assert!(consumer.fail(id).unwrap(), "{id}"),
            None => return receive(&mut consumer),
        }
        None
    };
    assert_eq!(step(None).as_deref(), Some("a"));
    assert_eq!(step(None).as_deref(), Some("a"), "until it is answered");
    step(Some(("a", Mark::Acked)));
    assert_eq!(step(None).as_deref(), Some("b"));
    step(Some(("b", Mark::Failed)));
    step(Some(("c", Mark::Acked)));
    assert_eq!(step(None).as_deref(), Some("d"));
    step(Some(("d", Mark::Acked)));
    assert_eq!(step(None), None);
    assert_eq!(inbox.counts().unwrap(), Counts { new: 0, cur: 1 });
}

#[test]
fn the_attempt_is_the_larger_of_name_and_field() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = inbox(dir.path());
    let name = format!("5-01700000000000001-{RUN}.4.ndjson");
    fs::write(
        inbox.new_dir().join(name),
        format!("{}\n", envelope::to_line(&command("a"))),
    )
    .unwrap();
    match consumer(&inbox).receive(NOW).unwrap() {
        Some(Received::Message(envelope)) => assert_eq!(envelope.attempt, 4),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_sixteenth_claim_goes_to_the_oldest_of_the_lowest_class() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = inbox(dir.path());
    let mut poster = Poster::new();
    for (count, priority) in [(3, 9), (3, 7), (40, 1)] {
        for number in 0..count {
            let mut envelope = command(&format!("p{priority}-{number}"));
            envelope.priority = priority;
            post(&inbox, &mut poster, &[envelope]);
        }
    }
    let mut consumer = consumer(&inbox);
    let order: Vec<String> = std::iter::from_fn(|| receive(&mut consumer)).collect();
    assert_eq!(
        (order.len(), order[15].as_str(), order[31].as_str()),
        (46, "p9-0", "p9-1")
    );
    assert_eq!(order[44..], ["p7-2", "p9-2"]);
}

#[test]
fn what_has_expired_is_never_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = inbox(dir.path());
    let mut poster = Poster::new();
    let late = |mut envelope: Envelope| {
        envelope.expires_at = Some(Stamp(NOW.0 - 1));
        envelope
    };
    let mut question = command("q");
    "status_request".clone_into(&mut question.name);
    "supervisor".clone_into(&mut question.from);
    post(&inbox, &mut poster, &[late(question)]);
    post(&inbox, &mut poster, &[late(command("a")), command("b")]);
    let mut consumer = consumer(&inbox);
    let refused = receive(&mut consumer).unwrap();
    assert!(
        refused.starts_with("-a expired at 2023-11-14T22:13:19.999999Z"),
        "{refused}"
    );
    assert_eq!(receive(&mut consumer).as_deref(), Some("b"));
    assert_eq!(inbox.counts().unwrap().cur, 1, "the question for status is gone");
}

#[test]
fn what_is_given_back_holds_later_ones_of_its_order_key_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = inbox(dir.path());
    let mut poster = Poster::new();
    post(&inbox, &mut poster, &[ordered("a"), ordered("b"), command("c")]);
    for id in ["d", "e"] {
        post(&inbox, &mut poster, &[ordered(id)]);
    }
    let mut other = ordered("f");
    other.order_key = Some("chat-2".to_owned());
    post(&inbox, &mut poster, &[other]);
    let mut consumer = consumer(&inbox);
    assert_eq!(receive(&mut consumer).as_deref(), Some("a"));
    assert!(consumer.fail("a").unwrap());
    let wait = "an earlier message of its order_key waits";
    let order: Vec<String> = std::iter::from_fn(|| receive(&mut consumer)).collect();
    let expected = [
        format!("-b {wait}"),
        "c".into(),
        format!("-d {wait}"),
        format!("-e {wait}"),
        "f".into(),
    ];
    assert_eq!(order, expected);
}

#[test]
fn what_waits_in_later_holds_only_what_came_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = inbox(dir.path());
    let mut poster = Poster::new();
    for id in ["a", "b", "c"] {
        post(&inbox, &mut poster, &[ordered(id)]);
    }
    let name = inbox.scan().unwrap()[1].name().to_str().unwrap().to_owned();
    let later = LaterName::new(NOW, OrderKey::of(&ordered("b")), FileName::parse(&name).unwrap());
    fs::rename(inbox.new_dir().join(name), inbox.later_dir().join(later.to_string())).unwrap();
    let mut consumer = consumer(&inbox);
    assert_eq!(receive(&mut consumer).as_deref(), Some("a"));
    assert!(receive(&mut consumer).unwrap().starts_with("-c "));
}

#[test]
fn rubbish_is_set_aside_and_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = inbox(dir.path());
    fs::write(inbox.new_dir().join("0.acked"), "x").unwrap();
    fs::write(inbox.new_dir().join("1.ndjson"), "{").unwrap();
    post(&inbox, &mut Poster::new(), &[command("a")]);
    let mut consumer = consumer(&inbox);
    let order: Vec<String> = std::iter::from_fn(|| receive(&mut consumer)).collect();
    assert!(order.contains(&"a".to_owned()) && order.len() == 3, "{order:?}");
    let dead = DeadLetters::new(dir.path().join("dead"));
    assert_eq!(dead.count().unwrap(), 2);
    assert_eq!(inbox.counts().unwrap().cur, 1);
}

#[test]
fn a_negative_answer_is_signed_by_the_bot() {
    let failure = Failure::new("busy", Then::RetryAfter(Duration::from_secs(5)));
    let answer = failure.answer(&command("a"), "shop", "r".to_owned(), NOW);
    assert_eq!((answer.kind, answer.name.as_str()), (Kind::Error, "dance"));
    assert_eq!((answer.from.as_str(), answer.to.as_str()), ("shop", "cli"));
    assert_eq!(answer.correlation_id.as_deref(), Some("a"));
    assert_eq!(
        answer.payload,
        serde_json::json!({"message": "busy", "retry_after": 5.0})
    );
}
