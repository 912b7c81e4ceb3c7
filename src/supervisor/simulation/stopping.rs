//! The end of the supervisor.

use super::*;
use crate::model::limits::STOP_MARGIN;
use crate::supervisor::machine::StopMode;

/// Two bots, of which `shop` ends only when it is killed.
fn slow() -> Simulation {
    let mut simulation = Simulation::steady(vec![bot("shop", 1), bot("demo", 2)]);
    simulation.world().manners.insert(id_of("shop"), Manner::Deaf);
    simulation
}

#[test]
fn a_bot_that_crashes_while_the_supervisor_stops_is_not_restarted() {
    let mut simulation = slow();
    simulation.hear(News::Stop(StopMode::Graceful));
    simulation.crash("shop", code(1));
    simulation.pass(seconds(100));
    assert!(simulation.is_over);
    assert_eq!((simulation.launches_of("shop"), simulation.launches_of("demo")), (1, 1));
}

#[test]
fn a_crash_that_is_heard_together_with_the_stop_is_not_restarted() {
    let mut simulation = slow();
    let run = simulation.run("shop");
    simulation.world().news.push_back(News::Stop(StopMode::Graceful));
    simulation.world().end(&run, code(1));
    simulation.calm();
    assert!(simulation.is_over);
    assert_eq!(simulation.launches_of("shop"), 1);
}

#[test]
fn a_stop_ends_when_all_are_down_and_keeps_what_is_wanted() {
    let mut simulation = slow();
    simulation.hear(News::Stop(StopMode::Graceful));
    simulation.pass(millis(100));
    assert!(!simulation.is_over);
    assert_eq!(
        simulation.world().issues.last().unwrap().snapshot.supervisor.stage,
        Stage::Stopping
    );
    simulation.pass(seconds(10) + STOP_MARGIN);
    assert!(simulation.is_over && !simulation.is_alive("shop"));
    for name in ["shop", "demo"] {
        let line = simulation.status(name);
        assert_eq!((line.state.as_str(), line.wanted.as_str()), ("stopped", "up"));
    }
}

#[test]
fn a_stop_ends_although_a_process_cannot_be_killed_and_names_it() {
    let mut simulation = slow();
    simulation.world().manners.insert(id_of("shop"), Manner::Undead);
    simulation.hear(News::Stop(StopMode::Graceful));
    simulation.pass(seconds(10) + STOP_MARGIN * 2);
    assert!(simulation.is_over && simulation.is_alive("shop"));
    let pid = simulation.status("shop").pid.unwrap();
    assert_eq!(
        simulation.status("shop").reason,
        Some(format!("pid {pid} cannot be killed"))
    );
}

#[test]
fn a_second_stop_may_be_forced() {
    let mut simulation = slow();
    simulation.hear(News::Stop(StopMode::Graceful));
    simulation.hear(News::Stop(StopMode::Forced));
    assert!(simulation.is_over && !simulation.is_alive("shop"));
}

#[test]
fn commands_are_refused_while_the_supervisor_stops() {
    let mut simulation = slow();
    simulation.command("shutdown", json!({}));
    for name in ["start", "restart", "reload", "ping"] {
        let reply = simulation.command(name, json!({"bots": ["demo"]}));
        assert_eq!(
            reply,
            json!({"ok": false, "error": "the supervisor is stopping"}),
            "{name}"
        );
    }
    simulation.pass(seconds(60));
    assert!(simulation.is_over);
    assert_eq!(simulation.launches_of("demo"), 1);
}

#[test]
fn a_command_that_comes_with_the_end_is_refused_and_not_left_for_the_next_supervisor() {
    let mut simulation = slow();
    simulation.hear(News::Stop(StopMode::Graceful));
    let id = simulation.post_command("shutdown", json!({}));
    // The last end is heard before the hint that there is mail.
    simulation.crash("shop", code(0));
    assert!(simulation.is_over);
    assert_eq!(simulation.replies_to(&id).len(), 1);
}

#[test]
fn a_reload_while_the_supervisor_stops_starts_nothing() {
    let mut simulation = slow();
    simulation.hear(News::Stop(StopMode::Graceful));
    simulation.store("shop", |shop| shop.spec.as_mut().unwrap().command.push("-v".to_owned()));
    simulation.world().configured.as_mut().unwrap().push(bot("extra", 3));
    simulation.hear(News::Reload);
    simulation.pass(seconds(100));
    assert!(simulation.is_over);
    assert_eq!(
        (simulation.launches_of("shop"), simulation.launches_of("extra")),
        (1, 0)
    );
}

#[test]
fn a_stop_calls_back_every_waiting_launch() {
    let mut world = World::new(vec![bot("shop", 1), bot("demo", 2), bot("extra", 3)]);
    world.pace.start_delay = seconds(60);
    let mut simulation = Simulation::of(world);
    simulation.hear(News::Stop(StopMode::Graceful));
    assert!(simulation.is_over);
    assert_eq!(simulation.world().launched.len(), 1);
}

#[test]
fn an_earlier_run_ends_with_the_supervisor() {
    let mut world = World::new(vec![bot("shop", 1)]);
    world.earlier("shop", 7);
    let mut simulation = Simulation::of(world);
    simulation.hear(News::Stop(StopMode::Graceful));
    assert!(simulation.is_over && !simulation.is_alive("shop"));
    assert_eq!(simulation.launches_of("shop"), 0);
}
