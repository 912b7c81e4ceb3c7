//! Recovery and negative answers on real folders, also when everything ends before any of their steps.

use crate::model::dice::Dice;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::envelope::tests::NOW;
use super::failure::Then;
use super::file::checkpoints::stop_after;
use super::retry::tests::RULES;
use super::*;
use crate::model::message::{Envelope, Kind};

const RUN: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
const HERE: Defaults<'static> = Defaults {
    from: "supervisor",
    to: "shop",
    now: NOW,
};

struct World {
    dir: tempfile::TempDir,
    inbox: Mailbox,
    dead: DeadLetters,
    poster: RefCell<Poster>,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let inbox = Mailbox::new(dir.path().join("inbox"));
    inbox.create_inbox().unwrap();
    let dead = DeadLetters::new(dir.path().join("dead"));
    let poster = RefCell::new(Poster::new());
    World {
        dir,
        inbox,
        dead,
        poster,
    }
}

fn command(id: &str) -> Envelope {
    Envelope::new(id.to_owned(), Kind::Command, "dance", "cli", "shop", NOW)
}

fn crash() -> RunEnd {
    RunEnd::Failed("killed by SIGKILL".to_owned())
}

impl World {
    fn post(&self, envelopes: &[Envelope]) {
        self.inbox
            .post(&mut self.poster.borrow_mut(), envelopes, Durability::None, NOW)
            .unwrap();
    }

    fn consumer(&self) -> Consumer {
        Consumer::new(self.inbox.clone(), "shop", RUN)
    }

    /// Receives this many envelopes and answers each as its id says: a... is acked, f... failed, others left.
    fn handle(&self, count: usize) {
        let mut consumer = self.consumer();
        for _ in 0..count {
            let Some(Received::Message(envelope)) = consumer.receive(NOW).unwrap() else {
                panic!("nothing to handle");
            };
            match envelope.id.as_bytes()[0] {
                b'a' => assert!(consumer.ack(&envelope.id).unwrap()),
                b'f' => assert!(consumer.fail(&envelope.id).unwrap()),
                _ => {}
            }
        }
    }

    fn recover(&self, end: &RunEnd) -> Recovered {
        self.inbox
            .recover(&self.dead, &HERE, &RULES, &|_| Some(end.clone()))
            .unwrap()
    }

    fn settle(&self, id: &str, then: Then, is_over: bool) -> Result<Settled> {
        self.settle_at(id, then, is_over, NOW)
    }

    fn settle_at(&self, id: &str, then: Then, is_over: bool, now: Stamp) -> Result<Settled> {
        let here = Defaults { now, ..HERE };
        self.inbox
            .settle(&self.dead, id, &Failure::new("no", then), is_over, &RULES, &here)
    }

    /// Every message there is, by id: where it lies and at which attempt.
    fn messages(&self) -> BTreeMap<String, Vec<String>> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for place in ["inbox/new", "inbox/later", "inbox/held", "dead"] {
            let Ok(folder) = fs::read_dir(self.dir.path().join(place)) else {
                continue;
            };
            for entry in folder {
                let path = entry.unwrap().path();
                if path.extension().is_none_or(|it| it != "ndjson") || is_hidden(&path) {
                    continue;
                }
                for line in fs::read_to_string(&path).unwrap().lines() {
                    let envelope = envelope::from_line(line, &HERE).unwrap();
                    let where_to = format!("{} {}", place.rsplit('/').next().unwrap(), envelope.attempt);
                    found.entry(envelope.id).or_default().push(where_to);
                }
            }
        }
        found
    }

    fn places(&self) -> Vec<String> {
        let once = |(id, places): (String, Vec<String>)| {
            assert_eq!(places.len(), 1, "{id} is in {places:?}");
            format!("{id}: {}", places[0])
        };
        self.messages().into_iter().map(once).collect()
    }

    fn cur(&self) -> usize {
        fs::read_dir(self.inbox.cur_dir()).unwrap().count()
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().unwrap().to_string_lossy().starts_with('.')
}

#[test]
fn what_a_dead_run_had_in_hand_comes_back_with_its_attempt_counted() {
    let world = world();
    world.post(&["a1", "x1", "y1", "z1"].map(command));
    world.handle(2);
    let done = world.recover(&crash());
    assert_eq!((done.back, done.buried.len(), done.errors.len()), (3, 0, 0));
    assert_eq!(world.places(), ["x1: new 2", "y1: new 1", "z1: new 1"]);
    assert_eq!(world.cur(), 0);
    // In the order in which they were posted.
    let mut consumer = world.consumer();
    for id in ["x1", "y1", "z1"] {
        match consumer.receive(NOW).unwrap() {
            Some(Received::Message(envelope)) => assert_eq!(envelope.id, id),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_message_that_kills_its_bot_is_set_aside_and_those_behind_it_flow() {
    let world = world();
    world.post(&["poison", "a1", "a2"].map(command));
    for _ in 0..3 {
        world.handle(1);
        world.recover(&crash());
    }
    assert_eq!(world.places(), ["a1: new 1", "a2: new 1", "poison: dead 3"]);
    let letter = world.dead.list().unwrap().remove(0);
    let reason = letter.reason.unwrap();
    assert!(
        reason.starts_with("3 runs failed over it; the last: its run ended: killed by SIGKILL"),
        "{reason}"
    );
    assert_eq!(letter.from_box.as_deref(), Some("inbox"));
    let text = fs::read_to_string(letter.path).unwrap();
    let envelope = envelope::from_line(text.trim(), &HERE).unwrap();
    assert_eq!(envelope.history.len(), 3);
    world.handle(2);
    assert_eq!(world.cur(), 0);
}

#[test]
fn claims_of_live_runs_are_left_alone() {
    let world = world();
    world.post(&[command("x")]);
    world.handle(1);
    fs::write(world.inbox.cur_dir().join("rubbish"), "x").unwrap();
    fs::write(world.inbox.cur_dir().join("gone,5.ndjson.acked"), "x\n").unwrap();
    let end_of = |claimant: &str| (claimant != RUN).then_some(RunEnd::Unseen);
    let done = world.inbox.recover(&world.dead, &HERE, &RULES, &end_of).unwrap();
    assert_eq!((done.back, done.buried.len()), (0, 1));
    assert_eq!(done.buried[0].reason, "its name says not who claimed it");
    assert_eq!(world.cur(), 1);
}

#[test]
fn a_recovery_that_is_stopped_before_any_step_is_finished_by_the_next() {
    let mut poison = command("p");
    poison.max_attempts = 1;
    for stop in 0.. {
        let world = world();
        world.post(&[poison.clone()]);
        world.post(&["a1", "f1", "x1", "y1"].map(command));
        world.post(&[command("z1")]);
        world.handle(4);
        stop_after(Some(stop));
        let first = world.recover(&crash());
        stop_after(None);
        let second = world.recover(&crash());
        assert_eq!(second.errors.len(), 0);
        let expected = ["f1: new 2", "p: dead 1", "x1: new 2", "y1: new 1", "z1: new 1"];
        assert_eq!(world.places(), expected, "stopped before step {stop}");
        assert_eq!(world.cur(), 0, "stopped before step {stop}");
        if first.errors.is_empty() {
            assert!(stop > 10, "only {stop} steps");
            break;
        }
    }
}

#[test]
fn a_negative_answer_moves_what_is_marked_and_waits_for_what_is_not() {
    let world = world();
    world.post(&["x1", "f1", "a1"].map(command));
    world.handle(2);
    assert_eq!(world.settle("ghost", Then::Retry, false).unwrap(), Settled::Absent);
    assert_eq!(world.settle("x1", Then::Retry, false).unwrap(), Settled::Undecided);
    assert!(matches!(
        world.settle("f1", Then::Retry, false).unwrap(),
        Settled::Later { .. }
    ));
    assert_eq!(
        world.settle("f1", Then::Retry, false).unwrap(),
        Settled::Absent,
        "it was settled"
    );
    assert_eq!(
        world.settle("x1", Then::Bury, true).unwrap(),
        Settled::Buried {
            reason: "no".to_owned()
        }
    );
    assert_eq!(world.places(), ["f1: later 2", "x1: dead 1"]);
    // What follows in the file is untouched, and ends it.
    let mut consumer = world.consumer();
    assert_eq!(consumer.resume(NOW).unwrap(), 1);
    assert!(consumer.ack("a1").unwrap());
    assert_eq!(world.cur(), 0);
}

#[test]
fn what_must_wait_behind_another_gets_its_due_or_goes_back_at_once() {
    let world = world();
    let ordered = |id: &str| {
        let mut envelope = command(id);
        envelope.order_key = Some("chat".to_owned());
        envelope
    };
    world.post(&[ordered("f1"), ordered("f2"), ordered("f3")]);
    let mut consumer = world.consumer();
    while let Some(received) = consumer.receive(NOW).unwrap() {
        match received {
            Received::Message(envelope) | Received::Refused { envelope, .. } => consumer.fail(&envelope.id).unwrap(),
            Received::SetAside { .. } => unreachable!(),
        };
    }
    let minute = Then::RetryAfter(Duration::from_secs(60));
    // What it waits behind has not been moved on yet: it does not come back again and again meanwhile.
    let soon = Stamp(NOW.0 + 1_000_000);
    assert_eq!(
        world.settle("f2", Then::WaitBehind, false).unwrap(),
        Settled::Later { due: soon }
    );
    let due = Stamp(NOW.0 + 60_000_000);
    assert_eq!(world.settle("f1", minute, false).unwrap(), Settled::Later { due });
    assert_eq!(
        world.settle("f3", Then::WaitBehind, false).unwrap(),
        Settled::Later { due }
    );
    assert_eq!(world.places(), ["f1: later 1", "f2: later 1", "f3: later 1"]);
    assert_eq!(world.cur(), 0);
    let later = Defaults { now: due, ..HERE };
    assert_eq!(world.inbox.release_due(&world.dead, &HERE).unwrap().back, 0);
    assert_eq!(world.inbox.release_due(&world.dead, &later).unwrap().back, 3);
    let mut consumer = world.consumer();
    for id in ["f1", "f2", "f3"] {
        match consumer.receive(NOW).unwrap() {
            Some(Received::Message(envelope)) => assert_eq!(envelope.id, id),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_answer_that_is_stopped_before_any_step_is_settled_or_recovered_once() {
    for then in [Then::Retry, Then::Bury, Then::WaitBehind] {
        for is_recovered in [false, true] {
            for stop in 0.. {
                let world = world();
                world.post(&["f1", "a1"].map(command));
                world.handle(2);
                stop_after(Some(stop));
                let first = world.settle("f1", then, false);
                stop_after(None);
                let is_whole = first.is_ok();
                if is_recovered {
                    assert_eq!(world.recover(&RunEnd::Unseen).errors.len(), 0);
                } else {
                    world.settle_at("f1", then, false, Stamp(NOW.0 + 77)).unwrap();
                    // Progress without its file may be left until the run has ended.
                    assert_eq!(world.inbox.counts().unwrap().cur, 0);
                    world.recover(&RunEnd::Stopped);
                }
                assert_eq!(world.places().len(), 1, "{then:?} stopped before step {stop}");
                assert_eq!(world.cur(), 0, "{then:?} stopped before step {stop}");
                if is_whole {
                    assert!(stop > 3, "only {stop} steps");
                    break;
                }
            }
        }
    }
}

#[test]
fn what_expires_while_it_waits_is_buried() {
    let world = world();
    let mut late = command("f1");
    late.expires_at = Some(Stamp(NOW.0 + 1));
    world.post(&[late]);
    world.handle(1);
    world.settle("f1", Then::Retry, false).unwrap();
    assert_eq!(world.inbox.census().unwrap().later, 1);
    let later = Defaults {
        now: Stamp(NOW.0 + 10_000_000),
        ..HERE
    };
    let done = world.inbox.release_due(&world.dead, &later).unwrap();
    assert_eq!((done.back, done.buried.len()), (0, 1));
    assert_eq!(world.places(), ["f1: dead 2"]);
}

#[test]
fn a_reader_of_whole_files_gets_its_claims_back() {
    let world = world();
    world.post(&[command("x")]);
    let entry = world.inbox.scan().unwrap().remove(0);
    world.inbox.claim(&entry, "supervisor").unwrap().unwrap();
    assert_eq!(world.inbox.give_back("other").unwrap(), 0);
    assert_eq!(world.inbox.give_back("supervisor").unwrap(), 1);
    assert_eq!(world.places(), ["x: new 1"]);
}

#[test]
fn a_census_counts_every_folder_and_knows_the_oldest() {
    let world = world();
    assert_eq!(world.inbox.census().unwrap(), Census::default());
    world.post(&[command("f1")]);
    world.handle(1);
    world
        .settle("f1", Then::RetryAfter(Duration::from_secs(5)), false)
        .unwrap();
    world
        .inbox
        .post(&mut Poster::new(), &[command("x1")], Durability::None, Stamp(NOW.0 + 9))
        .unwrap();
    fs::write(world.inbox.held_dir().join("x.ndjson"), "x").unwrap();
    let census = world.inbox.census().unwrap();
    assert_eq!((census.new, census.cur, census.later, census.held), (1, 0, 1, 1));
    assert_eq!(
        (census.oldest, census.next_due),
        (Some(NOW), Some(Stamp(NOW.0 + 5_000_000)))
    );
}

#[test]
fn history_gives_way_where_the_line_would_become_too_long() {
    let world = world();
    let mut large = command("x1");
    large.payload = serde_json::json!({"text": "x".repeat(crate::model::limits::ENVELOPE_BYTES_MAX - 300)});
    world.post(&[large]);
    world.handle(1);
    assert_eq!(world.recover(&RunEnd::Failed("x".repeat(400))).back, 1);
    assert_eq!(world.places(), ["x1: new 2"]);
}

/// One life of a bot: takes some messages, acks, fails or keeps them, and may be cut off anywhere.
fn live(world: &World, dice: &mut Dice, acked: &mut Vec<String>) -> Result<()> {
    let mut consumer = world.consumer();
    for _ in 0..dice.below(8) {
        let envelope = match consumer.receive(NOW)? {
            Some(Received::Message(envelope)) => envelope,
            Some(Received::Refused { envelope, failure }) => {
                consumer.fail(&envelope.id)?;
                world.settle(&envelope.id, failure.then, false)?;
                continue;
            }
            Some(Received::SetAside { name, .. }) => panic!("{name} was written by us"),
            None => return Ok(()),
        };
        match dice.below(5) {
            0 => {
                consumer.fail(&envelope.id)?;
                let then = [Then::Retry, Then::Bury, Then::RetryAfter(Duration::from_secs(1))][dice.below(3) as usize];
                world.settle(&envelope.id, then, false)?;
            }
            1 => {}
            _ => {
                // Handled here, whatever becomes of the ack.
                acked.push(envelope.id.clone());
                consumer.ack(&envelope.id)?;
            }
        }
    }
    Ok(())
}

#[test]
fn no_accepted_message_is_lost_or_invented_whatever_is_cut_off() {
    for seed in 1..80u64 {
        let mut dice = Dice::new(seed);
        let world = world();
        let (mut sent, mut accepted, mut acked) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..12 {
            stop_after((dice.below(3) > 0).then(|| dice.below(25) as usize));
            let count = 1 + dice.below(4);
            let batch: Vec<Envelope> = (0..count)
                .map(|number| {
                    let mut envelope = command(&format!("m{round}-{number}"));
                    envelope.priority = [1, 5, 9][dice.below(3) as usize];
                    envelope.order_key = (dice.below(2) == 0).then(|| "chat".to_owned());
                    envelope
                })
                .collect();
            sent.extend(batch.iter().map(|envelope| envelope.id.clone()));
            let posted = world
                .inbox
                .post(&mut world.poster.borrow_mut(), &batch, Durability::Batch, NOW);
            if posted.is_ok() {
                accepted.extend(batch.into_iter().map(|envelope| envelope.id));
            }
            let _ = live(&world, &mut dice, &mut acked);
            let end = if dice.below(2) == 0 { crash() } else { RunEnd::Unseen };
            let _ = world.inbox.recover(&world.dead, &HERE, &RULES, &|_| Some(end.clone()));
            stop_after(None);
            assert_eq!(world.recover(&end).errors.len(), 0, "seed {seed}");
            let later = Defaults {
                now: Stamp(NOW.0 + 3_600_000_000),
                ..HERE
            };
            world.inbox.release_due(&world.dead, &later).unwrap();
        }
        let left = world.messages();
        for id in &accepted {
            assert!(acked.contains(id) || left.contains_key(id), "seed {seed}: {id} is lost");
        }
        assert!(left.keys().all(|id| sent.contains(id)), "seed {seed}: invented");
        let twice = left
            .iter()
            .filter(|(id, places)| places.len() > 1 && !acked.contains(id));
        assert_eq!(twice.count(), 0, "seed {seed}: {left:?}");
        assert_eq!(world.inbox.counts().unwrap().cur, 0, "seed {seed}");
    }
}
