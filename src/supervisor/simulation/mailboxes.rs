//! Which run a message belongs to, and what of it is remembered.

use super::*;
use crate::model::bot::{ReadyWhen, Secret};

/// A bot that is ready when it says so.
fn signalling(name: &str) -> Configured {
    let mut configured = bot(name, 1);
    configured.spec.as_mut().unwrap().ready.when = ReadyWhen::Signal;
    configured
}

#[test]
fn a_ready_event_makes_its_run_ready() {
    let mut simulation = Simulation::start(vec![signalling("shop")]);
    simulation.pass(seconds(5));
    assert_eq!(simulation.state("shop"), "starting");
    simulation.say_ready("shop");
    simulation.pass(millis(100));
    assert_eq!(simulation.state("shop"), "running");
}

#[test]
fn a_ready_that_overtakes_the_report_of_its_shim_is_not_lost() {
    let mut simulation = Simulation::start(vec![signalling("shop")]);
    let spawned = std::mem::take(&mut simulation.world().news);
    simulation.say_ready("shop");
    simulation.world().news = spawned;
    simulation.pass(seconds(60));
    assert_eq!(
        (simulation.launches_of("shop"), simulation.state("shop").as_str()),
        (1, "running")
    );
    assert!(simulation.status("shop").pid.is_some());
}

#[test]
fn a_ready_just_before_a_crash_does_not_make_the_next_run_ready() {
    let mut simulation = Simulation::start(vec![signalling("shop")]);
    simulation.calm();
    let run = simulation.run("shop");
    simulation
        .world()
        .put(Some(id_of("shop")), Kind::Event, "ready", json!({}));
    // The end is heard first, the hint that there was mail only afterwards.
    simulation.world().end(&run, code(1));
    simulation.world().news.push_back(News::Outbox(id_of("shop")));
    simulation.pass(seconds(1));
    assert_ne!(simulation.run("shop"), run);
    assert_eq!(simulation.state("shop"), "starting");
    assert_eq!(simulation.facts_of("shop", "ready")[0].run, Some(run));
}

#[test]
fn mail_from_before_a_supervisor_is_of_none_of_its_runs() {
    let mut shop = signalling("shop");
    shop.token = Some(Secret::new("swordfish".to_owned()));
    let mut world = World::new(vec![bot("first", 1), shop]);
    world.pace.start_delay = seconds(5);
    world.pace.status_poll_interval = seconds(8);
    for name in ["connected", "ready"] {
        world.put(Some(id_of("shop")), Kind::Event, name, json!({"with": "swordfish"}));
    }
    let mut simulation = Simulation::of(world);
    // Some is read while the launch waits, some when its turn has come.
    simulation
        .world()
        .put(Some(id_of("shop")), Kind::Event, "ready", json!({}));
    simulation.pass(seconds(6));
    assert_eq!(
        (simulation.state("shop"), simulation.status("shop").connected),
        ("starting".to_owned(), None)
    );
    let ready = simulation.facts_of("shop", "ready");
    assert_eq!(ready.len(), 2);
    assert!(ready.iter().all(|fact| fact.run.is_none()));
    simulation.pass(seconds(20));
    assert_eq!(simulation.letters_to("shop", "status_request").len(), 0);
}

#[test]
fn old_mail_does_not_make_a_bot_one_that_is_asked() {
    let mut world = World::new(vec![bot("first", 1), bot("shop", 2)]);
    world.pace.start_delay = seconds(5);
    world.pace.status_poll_interval = seconds(8);
    world.put(Some(id_of("shop")), Kind::Event, "ready", json!({}));
    let mut simulation = Simulation::of(world);
    simulation.pass(seconds(120));
    assert_eq!(simulation.letters_to("shop", "status_request").len(), 0);
    assert_eq!(
        (simulation.launches_of("shop"), simulation.state("shop").as_str()),
        (1, "running")
    );
}

#[test]
fn a_bot_that_uses_its_spool_is_told_of_its_shutdown_and_the_next_run_is_not() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1), bot("mute", 2)]);
    simulation.say("shop", Kind::Event, "connected", json!({}));
    simulation.ask("restart", &["shop", "mute"], "graceful");
    let told = simulation.letters_to("shop", "shutdown");
    assert_eq!((told.len(), told[0].is_retracted), (1, true));
    assert_eq!(told[0].envelope.payload["mode"], "graceful");
    assert_eq!(simulation.letters_to("mute", "shutdown").len(), 0);
}

#[test]
fn the_shutdown_of_a_run_that_was_never_started_is_taken_back() {
    let mut shop = signalling("shop");
    shop.spec.as_mut().unwrap().command.clear();
    shop.spec.as_mut().unwrap().platform = crate::model::bot::Platform::Loopback;
    let mut world = World::new(vec![shop]);
    world.manners.insert(id_of("shop"), Manner::Deaf);
    let mut simulation = Simulation::of(world);
    let run = simulation.run("shop");
    simulation.world().news.clear();
    simulation.ask("restart", &["shop"], "graceful");
    assert_eq!(simulation.letters_to("shop", "shutdown").len(), 1);
    simulation.world().shims.clear();
    let failure = SpawnFailure::Passing("too many processes".to_owned());
    simulation.hear(News::SpawnFailed {
        bot: id_of("shop"),
        run,
        failure,
    });
    assert!(simulation.letters_to("shop", "shutdown")[0].is_retracted);
}

#[test]
fn secrets_in_what_a_bot_says_do_not_reach_facts() {
    let mut shop = bot("shop", 1);
    shop.token = Some(Secret::new("swordfish-4711".to_owned()));
    shop.spec
        .as_mut()
        .unwrap()
        .env
        .insert("API_KEY".to_owned(), "open-sesame-12".to_owned());
    let mut simulation = Simulation::steady(vec![shop]);
    let telegram = "123456789:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for cut in 0..40 {
        let text = format!("{}swordfish-4711 open-sesame-12 {telegram}", "x".repeat(1960 + cut));
        simulation.say("shop", Kind::Event, "note", json!({"text": text}));
        simulation.say(
            "shop",
            Kind::Error,
            "error",
            json!({"swordfish-4711": "open-sesame-12"}),
        );
        simulation.say("shop", Kind::Response, "status_response", json!({"token": text}));
    }
    assert_eq!(simulation.facts_of("shop", "note").len(), 40);
    for fact in &simulation.world().facts {
        for part in ["sword", "open-s", "123456"] {
            assert!(!fact.detail.contains(part), "{part} in {}", fact.detail);
        }
    }
}

#[test]
fn a_token_that_was_changed_stays_secret_until_its_last_run_has_ended() {
    let mut shop = bot("shop", 1);
    shop.token = Some(Secret::new("swordfish-4711".to_owned()));
    let mut simulation = Simulation::steady(vec![shop]);
    simulation.world().manners.insert(id_of("shop"), Manner::Deaf);
    for token in ["marlin-4712", "herring-4713"] {
        simulation.store("shop", |shop| shop.token = Some(Secret::new(token.to_owned())));
        simulation.command("reload", json!({}));
    }
    simulation.command("reload", json!({}));
    simulation.say("shop", Kind::Event, "note", json!({"token": "swordfish-4711"}));
    simulation.pass(seconds(60));
    simulation.say("shop", Kind::Event, "note", json!({"token": "herring-4713"}));
    let notes = simulation.facts_of("shop", "note");
    assert_eq!(notes.len(), 2);
    assert!(notes.iter().all(|fact| !fact.detail.contains("471")), "{notes:?}");
}

#[test]
fn a_flood_of_mail_delays_nobody_else() {
    let mut simulation = Simulation::steady(vec![bot("flood", 1), bot("shop", 2)]);
    for _ in 0..10_000 {
        simulation
            .world()
            .put(Some(id_of("flood")), Kind::Event, "note", json!({}));
    }
    simulation
        .world()
        .put(Some(id_of("shop")), Kind::Event, "connected", json!({}));
    simulation
        .world()
        .news
        .extend([News::Outbox(id_of("flood")), News::Outbox(id_of("shop"))]);
    simulation.turn();
    assert_eq!(simulation.facts_of("shop", "connected").len(), 1);
    assert!(simulation.facts_of("flood", "note").len() < 100);
    simulation.calm();
    assert_eq!(simulation.facts_of("flood", "note").len(), 10_000);
    // A file is let go of when the answers in it are published.
    simulation.pass(millis(100));
    assert!(simulation.world().claimed.get() == 0);
}
