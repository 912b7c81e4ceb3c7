//! What the next supervisor makes of a home whose last one was killed.

use super::*;
use crate::model::bot::ReadyWhen;
use crate::supervisor::machine::StopMode;

#[test]
fn a_run_is_adopted_with_its_pid_its_uptime_and_its_restarts() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1), bot("demo", 2)]);
    simulation.crash("shop", code(1));
    simulation.pass(seconds(5));
    let before = simulation.status("shop");
    assert_eq!((before.state.as_str(), before.restarts), ("running", 1));
    let mut simulation = simulation.kill_supervisor();
    simulation.pass(seconds(1));
    let after = simulation.status("shop");
    assert_eq!(
        (after.pid, after.started_at, after.restarts, after.state.as_str()),
        (before.pid, before.started_at, 1, "running")
    );
    assert_eq!(after.last_exit, before.last_exit);
    assert_eq!((simulation.launches_of("shop"), simulation.launches_of("demo")), (2, 1));
    assert_eq!(simulation.facts_of("shop", "adopted").len(), 1);
    assert_eq!(simulation.facts_of("shop", "exited").len(), 1);
}

#[test]
fn an_end_that_nobody_saw_counts_as_the_failure_that_it_is() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
    let run = simulation.run("shop");
    simulation.world().end(&run, code(3));
    let mut simulation = simulation.kill_supervisor();
    simulation.pass(seconds(5));
    let line = simulation.status("shop");
    assert_eq!(
        (line.restarts, line.last_exit.unwrap().code, line.state.as_str()),
        (1, Some(3), "running")
    );
    let told = simulation.facts_of("shop", "exited");
    assert_eq!(told.len(), 1);
    assert!(
        told[0].detail.ends_with("while no supervisor ran"),
        "{}",
        told[0].detail
    );
}

#[test]
fn an_end_that_was_counted_is_not_counted_again() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
    for _ in 0..2 {
        simulation.crash("shop", code(1));
        simulation.pass(millis(100));
    }
    let before = simulation.status("shop");
    assert_eq!((before.state.as_str(), before.restarts), ("backoff", 1));
    let mut simulation = simulation.kill_supervisor();
    simulation.pass(millis(100));
    let after = simulation.status("shop");
    assert_eq!(
        (
            after.state.as_str(),
            after.restarts,
            after.next_restart_at,
            after.reason
        ),
        ("backoff", 1, before.next_restart_at, before.reason)
    );
    assert_eq!(simulation.facts_of("shop", "exited").len(), 2);
    simulation.pass(seconds(5));
    assert_eq!(
        (simulation.launches_of("shop"), simulation.status("shop").restarts),
        (3, 2)
    );
}

#[test]
fn killing_supervisors_does_not_give_a_failing_bot_new_tries() {
    let mut simulation = Simulation::start(vec![bot("shop", 1)]);
    for _ in 0..40 {
        if simulation.is_alive("shop") {
            let run = simulation.run("shop");
            simulation.world().end(&run, code(1));
        }
        simulation = simulation.kill_supervisor();
        simulation.pass(seconds(3));
    }
    assert_eq!(simulation.state("shop"), "failed");
    assert_eq!(simulation.launches_of("shop"), 6);
    let mut simulation = simulation.kill_supervisor();
    assert!(simulation.status("shop").next_restart_at.is_some());
    simulation.ask("start", &["shop"], "graceful");
    simulation.pass(seconds(3));
    assert_eq!(simulation.state("shop"), "running");
}

#[test]
fn a_supervisor_that_died_between_orders_and_spawn_loses_no_start_and_forgives_nothing() {
    let mut world = World::new(vec![bot("shop", 1)]);
    world.earlier("shop", 7);
    let mut simulation = Simulation::of(world);
    simulation.world().manners.insert(id_of("shop"), Manner::Mute);
    simulation.crash("shop", code(1));
    assert_eq!(simulation.launches_of("shop"), 1);
    simulation.world().manners.clear();
    let mut simulation = simulation.kill_supervisor();
    simulation.pass(seconds(20));
    let line = simulation.status("shop");
    assert_eq!((line.restarts, simulation.facts_of("shop", "exited").len()), (1, 1));
    assert_eq!(simulation.world().live(&id_of("shop")).len(), 1);
}

#[test]
fn a_stop_that_was_under_way_is_asked_again_and_is_no_failure() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
    simulation.world().manners.insert(id_of("shop"), Manner::Deaf);
    simulation.hear(News::Stop(StopMode::Graceful));
    let run = simulation.run("shop");
    let mut simulation = simulation.kill_supervisor();
    simulation.pass(millis(100));
    assert_eq!(simulation.state("shop"), "stopping");
    let asked = simulation
        .world()
        .orders
        .iter()
        .filter(|it| **it == Order::Terminate(run.clone()))
        .count();
    assert_eq!(asked, 2);
    // The home's stop is not what is stored: the next supervisor was started to run it.
    simulation.world().manners.clear();
    simulation.world().end(&run, End::Signal { number: 9, core: false });
    simulation.pass(seconds(5));
    let line = simulation.status("shop");
    assert_eq!((line.state.as_str(), line.restarts), ("running", 0));
}

#[test]
fn a_stop_that_ended_unseen_is_no_failure() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
    let run = simulation.run("shop");
    // Somebody stopped it while no supervisor ran.
    simulation.world().terminate(&run);
    let mut simulation = simulation.kill_supervisor();
    simulation.pass(seconds(5));
    let line = simulation.status("shop");
    assert_eq!((line.state.as_str(), line.restarts), ("running", 0));
}

#[test]
fn a_bot_that_was_ready_need_not_say_so_again_and_one_that_was_not_gets_its_whole_time() {
    let mut shop = bot("shop", 1);
    shop.spec.as_mut().unwrap().ready.when = ReadyWhen::Signal;
    shop.spec.as_mut().unwrap().ready.timeout = seconds(10);
    let mut late = shop.clone();
    (late.id, late.index) = (id_of("late"), 2);
    late.spec.as_mut().unwrap().id = id_of("late");
    let mut simulation = Simulation::start(vec![shop, late]);
    simulation.calm();
    simulation.say_ready("shop");
    simulation.pass(seconds(9));
    let mut simulation = simulation.kill_supervisor();
    simulation.pass(seconds(9));
    assert_eq!(
        (simulation.state("shop"), simulation.state("late")),
        ("running".to_owned(), "starting".to_owned())
    );
    simulation.say_ready("late");
    simulation.pass(seconds(30));
    assert_eq!((simulation.launches_of("shop"), simulation.launches_of("late")), (1, 1));
}

#[test]
fn silence_while_no_supervisor_listened_is_not_held_against_a_bot() {
    let mut shop = bot("shop", 1);
    shop.spec.as_mut().unwrap().heartbeat_timeout = seconds(60);
    let mut simulation = Simulation::steady(vec![shop]);
    simulation.hear(News::Heartbeat(id_of("shop")));
    simulation.pass(seconds(50));
    simulation.world().now = simulation.supervisor.host.now + seconds(3600);
    let mut simulation = simulation.kill_supervisor();
    simulation.pass(seconds(59));
    assert_eq!(simulation.state("shop"), "running");
    simulation.pass(seconds(2));
    assert_eq!(
        (
            simulation.launches_of("shop"),
            simulation.facts_of("shop", "unhealthy").len()
        ),
        (2, 1)
    );
}

#[test]
fn what_was_stored_while_no_supervisor_ran_is_obeyed() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1), bot("demo", 2), bot("gone", 3)]);
    simulation.store("shop", |shop| shop.wanted = Wanted::Down);
    simulation
        .world()
        .configured
        .as_mut()
        .unwrap()
        .retain(|it| it.id != id_of("gone"));
    let mut simulation = simulation.kill_supervisor();
    simulation.pass(seconds(5));
    assert!(!simulation.is_alive("shop") && !simulation.is_alive("gone") && simulation.is_alive("demo"));
    assert_eq!(simulation.state("shop"), "stopped");
    assert!(simulation.supervisor.fleet.get(&id_of("gone")).is_none());
    assert_eq!(simulation.world().launched.len(), 3);
}

#[test]
fn a_supervisor_that_leaves_begins_nothing_and_waits_for_what_it_began() {
    let mut world = World::new(vec![bot("shop", 1), bot("slow", 2), bot("late", 3)]);
    world.manners.insert(id_of("slow"), Manner::Mute);
    world.pace.start_delay = millis(100);
    let mut simulation = Simulation::of(world);
    simulation.pass(millis(150));
    let (shop, slow) = (simulation.run("shop"), simulation.run("slow"));
    simulation.post_command("shutdown", json!({"keep_bots": true}));
    simulation.hear(News::Inbox);
    simulation.world().end(&shop, code(1));
    simulation.pass(seconds(5));
    assert!(!simulation.is_over, "a spawn is not answered yet");
    let launched = |it: &Simulation| ["shop", "slow", "late"].map(|name| it.launches_of(name));
    assert_eq!(launched(&simulation), [1, 1, 0]);
    let bot = id_of("slow");
    simulation.world().shims.get_mut(&slow).unwrap().has_reported = true;
    simulation.world().records.insert(bot.clone(), slow.clone());
    simulation.hear(News::Spawned {
        bot,
        run: slow,
        pid: 5,
        kernel: Vec::new(),
    });
    simulation.pass(millis(100));
    assert!(simulation.is_over);
    assert_eq!(
        simulation
            .supervisor
            .host
            .issues
            .last()
            .unwrap()
            .snapshot
            .supervisor
            .stage,
        Stage::Left
    );
    let mut simulation = simulation.kill_supervisor();
    simulation.pass(seconds(5));
    assert_eq!(launched(&simulation), [2, 1, 1]);
    let line = simulation.status("shop");
    assert_eq!((line.state.as_str(), line.restarts), ("running", 1));
    assert_eq!(simulation.facts_of("shop", "exited").len(), 1);
}

#[test]
fn what_was_changed_while_no_supervisor_ran_holds_when_the_next_one_starts() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1), bot("demo", 2)]);
    simulation.store("shop", |shop| {
        shop.spec.as_mut().unwrap().command.push("--more".to_owned());
        shop.recipe = "1:more".to_owned();
    });
    // What comes to the same does for the run that lives, also for later supervisors.
    simulation.store("demo", |demo| demo.recipe = "1:same".to_owned());
    simulation.store("shop", |shop| shop.wanted = Wanted::Up);
    let calm = simulation.run("demo");
    simulation.command("reload", json!({}));
    simulation.pass(seconds(3));
    assert_eq!((simulation.launches_of("shop"), simulation.launches_of("demo")), (2, 1));
    simulation.store("shop", |shop| shop.recipe = "1:other".to_owned());
    for launched in [3, 3] {
        simulation = simulation.kill_supervisor();
        simulation.pass(seconds(3));
        assert_eq!(
            (simulation.launches_of("shop"), simulation.launches_of("demo")),
            (launched, 1)
        );
        assert_eq!(simulation.status("shop").restarts, 0);
    }
    assert_eq!(simulation.run("demo"), calm);
}

#[test]
fn a_command_that_comes_while_a_supervisor_makes_way_is_obeyed_by_the_next_one() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
    simulation.store("shop", |shop| shop.wanted = Wanted::Down);
    let upgrade = simulation.post_command("upgrade", json!({"program": "/bin/multibot"}));
    let stop = simulation.post_command("stop", json!({"bots": ["shop"]}));
    simulation.hear(News::Inbox);
    simulation.hear(News::Inbox);
    simulation.pass(seconds(1));
    assert!(simulation.is_over && simulation.is_alive("shop"));
    assert_eq!(simulation.replies_to(&upgrade)[0].payload["ok"], true);
    assert!(simulation.replies_to(&stop).is_empty());
    let mut simulation = simulation.kill_supervisor();
    simulation.pass(seconds(1));
    assert_eq!(simulation.replies_to(&stop)[0].payload["ok"], true);
    assert!(!simulation.is_alive("shop"));
    let refused = simulation.command("upgrade", json!({"program": "multibot"}));
    assert!(refused["error"].as_str().unwrap().contains("whole path"), "{refused}");
}
