//! Which bots are started, when, and how often.

use super::*;
use crate::model::limits::SPAWN_TIME_MAX;

fn names_launched(simulation: &Simulation) -> Vec<&str> {
    let launched = &simulation.supervisor.host.launched;
    launched.iter().map(|(_, bot)| bot.as_str()).collect()
}

/// Bots that are started a second apart.
fn staggered(bots: Vec<Configured>) -> Simulation {
    let mut world = World::new(bots);
    world.pace.start_delay = seconds(1);
    Simulation::of(world)
}

#[test]
fn bots_start_in_the_order_of_their_index() {
    let mut simulation = Simulation::start(vec![bot("alpha", 3), bot("beta", 1), bot("gamma", 2)]);
    assert_eq!(names_launched(&simulation), ["beta", "gamma", "alpha"]);
    simulation.world().configured = Ok(vec![bot("delta", 4), bot("alpha", 5)]);
    assert_eq!(simulation.command("reload", json!({}))["ok"], true);
    assert_eq!(names_launched(&simulation)[3..], ["delta"]);
}

#[test]
fn no_two_bots_start_within_the_start_delay() {
    let bots = (1..=4).map(|index| bot(&format!("bot-{index}"), index)).collect();
    let mut simulation = staggered(bots);
    simulation.pass(millis(2500));
    simulation.crash("bot-1", code(1));
    simulation.pass(millis(700));
    simulation.ask("restart", &["bot-2", "bot-3"], "graceful");
    simulation.pass(seconds(20));
    let moments: Vec<Moment> = simulation.world().launched.iter().map(|(at, _)| *at).collect();
    assert_eq!(moments.len(), 7);
    for pair in moments.windows(2) {
        assert!(pair[1].since(pair[0]) >= seconds(1), "{pair:?}");
    }
}

#[test]
fn a_waiting_launch_that_is_called_back_leaves_nothing_behind() {
    let mut simulation = staggered(vec![bot("first", 1), bot("second", 2)]);
    assert_eq!(simulation.state("second"), "adopting");
    simulation.ask("stop", &["second"], "graceful");
    simulation.pass(seconds(60));
    assert_eq!(simulation.launches_of("second"), 0);
    assert_eq!(simulation.world().orders, []);
    let line = simulation.status("second");
    assert_eq!(
        (line.state.as_str(), line.run_id, line.last_exit),
        ("stopped", None, None)
    );
    assert!(simulation.facts_of("second", "exited").is_empty());
    assert_eq!(simulation.wake_at, None);
}

#[test]
fn a_restart_of_a_waiting_launch_starts_one_run() {
    let mut simulation = staggered(vec![bot("first", 1), bot("second", 2)]);
    simulation.ask("restart", &["second"], "graceful");
    simulation.pass(seconds(10));
    assert_eq!(
        (simulation.launches_of("second"), simulation.state("second")),
        (1, "running".to_owned())
    );
}

#[test]
fn a_shim_that_does_not_report_in_time_is_abandoned_and_counts_as_a_failure() {
    let mut world = World::new(vec![bot("shop", 1)]);
    world.manners.insert(id_of("shop"), Manner::Mute);
    let mut simulation = Simulation::of(world);
    let first = simulation.run("shop");
    simulation.pass(SPAWN_TIME_MAX - millis(1));
    assert_eq!(simulation.world().orders, []);
    simulation.pass(millis(1));
    assert_eq!(simulation.world().orders, [Order::Abandon(first)]);
    // A first failure restarts at once, a second is waited out.
    assert_eq!(simulation.launches_of("shop"), 2);
    simulation.pass(SPAWN_TIME_MAX + millis(200));
    assert_eq!(
        (simulation.state("shop").as_str(), simulation.status("shop").restarts),
        ("backoff", 1)
    );
}

#[test]
fn a_late_report_of_an_abandoned_shim_changes_nothing() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
    let old = simulation.run("shop");
    simulation.crash("shop", code(1));
    let news = simulation.run("shop");
    simulation.hear(News::Spawned {
        bot: id_of("shop"),
        run: old.clone(),
        pid: 4,
        kernel: Vec::new(),
    });
    simulation.hear(News::Ended {
        bot: id_of("shop"),
        run: old,
        end: code(9),
    });
    simulation.pass(seconds(5));
    let line = simulation.status("shop");
    assert_eq!(simulation.run("shop"), news);
    assert_ne!(line.pid, Some(4));
    assert_eq!(line.last_exit.and_then(|exit| exit.code), Some(1));
    assert_eq!(simulation.facts_of("shop", "exited").len(), 1);
}

#[test]
fn a_bot_that_another_shim_holds_is_adopted_and_not_doubled() {
    let mut world = World::new(vec![bot("shop", 1)]);
    world.manners.insert(id_of("shop"), Manner::Mute);
    let mut simulation = Simulation::of(world);
    let refused = simulation.run("shop");
    simulation.world().shims.clear();
    simulation.world().manners.clear();
    simulation.world().earlier("shop", 7);
    let failure = SpawnFailure::Locked {
        run: run_of(7),
        pid: 77,
        started_at: Stamp::from_unix_ms(5),
    };
    simulation.hear(News::SpawnFailed {
        bot: id_of("shop"),
        run: refused,
        failure,
    });
    simulation.pass(seconds(40));
    let line = simulation.status("shop");
    assert_eq!(
        (line.state.as_str(), line.pid, line.started_at, line.restarts),
        ("running", Some(77), Some(5), 0)
    );
    simulation.crash("shop", code(0));
    simulation.pass(seconds(5));
    assert_eq!(
        (simulation.launches_of("shop"), simulation.state("shop")),
        (2, "running".to_owned())
    );
}

#[test]
fn a_bot_whose_holder_cannot_be_made_out_is_held_and_looked_at_again() {
    let mut world = World::new(vec![bot("shop", 1)]);
    world.manners.insert(id_of("shop"), Manner::Mute);
    let mut simulation = Simulation::of(world);
    let refused = simulation.run("shop");
    simulation.world().shims.clear();
    let failure = SpawnFailure::Unproven("somebody holds it".to_owned());
    simulation.hear(News::SpawnFailed {
        bot: id_of("shop"),
        run: refused,
        failure,
    });
    simulation.pass(millis(200));
    let line = simulation.status("shop");
    assert_eq!(
        (line.state.as_str(), line.reason.as_deref(), line.restarts),
        ("held", Some("somebody holds it"), 0)
    );
    simulation.world().manners.clear();
    simulation.pass(seconds(10));
    assert_eq!(simulation.state("shop"), "running");
}

#[test]
fn a_bot_that_was_stopped_while_another_shim_holds_it_is_ended_there() {
    let mut world = World::new(vec![bot("shop", 1)]);
    world.manners.insert(id_of("shop"), Manner::Deaf);
    let mut simulation = Simulation::of(world);
    let refused = simulation.run("shop");
    simulation.ask("stop", &["shop"], "graceful");
    simulation.world().shims.clear();
    simulation.world().manners.clear();
    simulation.world().earlier("shop", 7);
    let failure = SpawnFailure::Locked {
        run: run_of(7),
        pid: 77,
        started_at: Stamp(0),
    };
    simulation.hear(News::SpawnFailed {
        bot: id_of("shop"),
        run: refused,
        failure,
    });
    simulation.pass(seconds(1));
    assert!(!simulation.is_alive("shop"));
    assert_eq!(
        (simulation.launches_of("shop"), simulation.state("shop")),
        (1, "stopped".to_owned())
    );
}

#[test]
fn nothing_but_a_start_starts_a_stopped_bot() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1), bot("demo", 2)]);
    simulation.crash("shop", code(1));
    simulation.pass(seconds(2));
    simulation.crash("shop", code(1));
    simulation.pass(millis(200));
    assert_eq!(simulation.state("shop"), "backoff");
    simulation.ask("stop", &["shop"], "graceful");
    let before = simulation.launches_of("shop");
    // The deadline of its backoff.
    simulation.pass(seconds(120));
    // A failure that comes late.
    let (bot, run) = (id_of("shop"), run_of(999));
    simulation.hear(News::Ended {
        bot: bot.clone(),
        run: run.clone(),
        end: code(1),
    });
    let failure = SpawnFailure::Passing("late".to_owned());
    simulation.hear(News::SpawnFailed { bot, run, failure });
    simulation.command("reload", json!({}));
    simulation.hear(News::Reload);
    simulation.store("shop", |shop| {
        shop.spec.as_mut().unwrap().command.push("--more".to_owned())
    });
    simulation.hear(News::Reload);
    // A restart that was on its way when the stop was stored.
    simulation.command("restart", json!({"bots": ["shop", "demo"]}));
    simulation.command("start", json!({"bots": ["shop"]}));
    // Something else is due while the machine sleeps.
    simulation.hear(News::Heartbeat(id_of("demo")));
    simulation.world().now = simulation.supervisor.host.now + seconds(3600);
    simulation.turn();
    simulation.pass(seconds(120));
    assert_eq!(
        (simulation.launches_of("shop"), simulation.state("shop")),
        (before, "stopped".to_owned())
    );
    simulation.ask("start", &["shop"], "graceful");
    assert_eq!(simulation.launches_of("shop"), before + 1);
}

#[test]
fn a_supervisor_with_nothing_due_does_not_wake() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1), bot("demo", 2)]);
    assert_eq!(simulation.wake_at, None);
    simulation.ask("stop", &["demo"], "graceful");
    simulation.pass(millis(100));
    assert_eq!(simulation.wake_at, None);
}
