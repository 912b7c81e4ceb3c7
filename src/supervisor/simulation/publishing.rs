//! When snapshots and answers go out.

use super::*;
use crate::model::limits::SNAPSHOT_INTERVAL;

#[test]
fn an_answer_comes_with_a_snapshot_that_shows_its_effect() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
    simulation.world().manners.insert(id_of("shop"), Manner::Deaf);
    for (name, wanted, word, state) in [
        ("stop", Wanted::Down, "down", "stopping"),
        ("start", Wanted::Up, "up", "stopping"),
    ] {
        // Right after a snapshot, so that the next one has to wait.
        simulation.hear(News::Counts(id_of("shop")));
        simulation.store("shop", |shop| shop.wanted = wanted);
        let id = simulation.post_command(name, json!({"bots": ["shop"]}));
        simulation.hear(News::Inbox);
        simulation.pass(millis(100));
        let issues = &simulation.supervisor.host.issues;
        let answered = |issue: &&Issue| issue.replies.iter().any(|it| it.correlation_id.as_ref() == Some(&id));
        let issue = issues.iter().find(answered).unwrap();
        let line = &issue.snapshot.bots[0];
        assert_eq!((line.wanted.as_str(), line.state.as_str()), (word, state));
    }
}

#[test]
fn the_answer_of_a_bot_is_handed_on_at_once() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
    // Right after a snapshot, so that the next one has to wait.
    simulation.hear(News::Counts(id_of("shop")));
    let asked = format!("{:026}", 424_242);
    let world = simulation.world();
    world.put(Some(id_of("shop")), Kind::Response, "echo", json!({"text": "hi"}));
    let outbox = world.mail.get_mut(&Some(id_of("shop"))).unwrap();
    outbox[0].correlation_id = Some(asked.clone());
    outbox[0].from = "demo".to_owned();
    simulation.hear(News::Outbox(id_of("shop")));
    let replies = simulation.replies_to(&asked);
    assert_eq!(replies.len(), 1);
    assert_eq!(
        (replies[0].from.as_str(), &replies[0].payload),
        ("shop", &json!({"text": "hi"}))
    );
}

#[test]
fn snapshots_keep_their_distance_and_the_last_change_is_published() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1), bot("demo", 2)]);
    for round in 0..200 {
        let (name, other) = if round % 2 == 0 {
            ("shop", "demo")
        } else {
            ("demo", "shop")
        };
        let run = simulation.run(name);
        simulation.sample(name, run, round, Vec::new());
        simulation.say(other, Kind::Event, "connected", json!({}));
        simulation.pass(millis(7));
    }
    simulation.pass(SNAPSHOT_INTERVAL);
    assert_eq!(simulation.status("demo").memory_bytes, Some(199));
    assert_eq!(simulation.status("shop").memory_bytes, Some(198));
    assert_eq!(simulation.wake_at, None, "nothing is left to publish");
    let moments: Vec<Moment> = simulation.world().issues.iter().map(|issue| issue.at).collect();
    assert!(moments.len() >= 14, "{} snapshots in 1.4 s", moments.len());
    for pair in moments.windows(2) {
        assert!(pair[1].since(pair[0]) >= SNAPSHOT_INTERVAL, "{pair:?}");
    }
}

#[test]
fn the_first_snapshot_shows_adoption_and_the_last_one_the_end() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
    simulation.command("shutdown", json!({}));
    simulation.pass(seconds(1));
    let issues = &simulation.world().issues;
    let (first, last) = (issues.first().unwrap(), issues.last().unwrap());
    assert_eq!(
        (first.snapshot.supervisor.stage, first.snapshot.bots[0].state.as_str()),
        (Stage::Adopting, "adopting")
    );
    assert_eq!(
        (last.snapshot.supervisor.stage, last.snapshot.bots[0].state.as_str()),
        (Stage::Stopped, "stopped")
    );
}

#[test]
fn what_is_known_of_a_run_is_not_shown_of_the_next() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
    simulation.say("shop", Kind::Event, "connected", json!({}));
    simulation.hear(News::Heartbeat(id_of("shop")));
    let run = simulation.run("shop");
    simulation.sample("shop", run.clone(), 5, Vec::new());
    simulation.pass(millis(100));
    let line = simulation.status("shop");
    assert_eq!((line.connected, line.memory_bytes), (Some(true), Some(5)));
    assert!(line.heartbeat_at.is_some());
    simulation.crash("shop", code(1));
    simulation.sample("shop", run, 5, Vec::new());
    simulation.pass(millis(100));
    let line = simulation.status("shop");
    assert_eq!(
        (line.connected, line.memory_bytes, line.heartbeat_at),
        (None, None, None)
    );
    assert_eq!(line.restarts, 1);
}
