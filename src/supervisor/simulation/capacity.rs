//! The home's budget: who is started, who waits, and who comes next.

use super::*;

/// A bot that is promised so many bytes.
fn sized(name: &str, index: u32, bytes: u64) -> Configured {
    let mut configured = bot(name, index);
    configured.spec.as_mut().unwrap().limits.memory.max = Some(bytes as f64);
    configured
}

fn with_budget(budget: Budget, bots: Vec<Configured>) -> Simulation {
    let mut world = World::new(bots);
    world.budget = budget;
    let mut simulation = Simulation::of(world);
    simulation.pass(seconds(3));
    simulation
}

fn memory(bytes: u64) -> Budget {
    Budget {
        memory_bytes: Some(bytes),
        ..Budget::default()
    }
}

fn states(simulation: &Simulation) -> Vec<String> {
    let last = simulation.supervisor.host.issues.last().unwrap();
    let words = last.snapshot.bots.iter();
    words.map(|line| line.state.clone()).collect()
}

#[test]
fn what_does_not_fit_waits_and_starts_by_itself_when_there_is_room() {
    let bots = vec![
        sized("a", 1, 600),
        sized("b", 2, 600),
        sized("c", 3, 300),
        sized("d", 4, 300),
    ];
    let mut simulation = with_budget(memory(1000), bots);
    assert_eq!(states(&simulation), ["running", "held", "running", "held"]);
    let why = simulation.status("b").reason;
    assert_eq!(
        why.as_deref(),
        Some("no capacity: needs 600 B of memory, 100 B of 1000 B are free")
    );
    let last = simulation.supervisor.host.issues.last().unwrap();
    let capacity = last.snapshot.supervisor.capacity.clone().unwrap();
    assert_eq!((capacity.memory_reserved_bytes, capacity.live_bots), (900, 2));
    assert_eq!(simulation.wake_at, None, "nobody polls");
    simulation.ask("stop", &["a"], "graceful");
    simulation.pass(seconds(3));
    // The first in line gets the room.
    assert_eq!(states(&simulation), ["stopped", "running", "running", "held"]);
    simulation.ask("stop", &["c"], "graceful");
    simulation.pass(seconds(3));
    assert_eq!(states(&simulation), ["stopped", "running", "stopped", "running"]);
    assert_eq!(
        simulation.facts_of("b", "held").len(),
        1,
        "told once, however often it was looked at"
    );
    assert_eq!(simulation.status("b").restarts, 0);
}

#[test]
fn a_crashed_bot_keeps_its_place_and_one_that_gave_up_does_not() {
    let mut simulation = with_budget(memory(1000), vec![sized("a", 1, 600), sized("b", 2, 600)]);
    simulation.store("a", |a| a.spec.as_mut().unwrap().restart.max_restarts = 1);
    simulation.command("reload", json!({}));
    simulation.crash("a", code(1));
    simulation.pass(seconds(2));
    assert_eq!(states(&simulation), ["running", "held"]);
    // The second failure is one too many.
    simulation.crash("a", code(1));
    simulation.pass(seconds(2));
    assert_eq!(states(&simulation), ["failed", "running"]);
    // Its slow retry finds the room taken.
    simulation.pass(seconds(700));
    assert_eq!(states(&simulation), ["held", "running"]);
    assert_eq!(simulation.launches_of("b"), 1);
}

#[test]
fn a_bot_that_waits_for_its_restart_keeps_its_place() {
    let mut simulation = with_budget(memory(1000), vec![sized("a", 1, 600), sized("b", 2, 600)]);
    simulation.crash("a", code(1));
    simulation.pass(millis(200));
    simulation.crash("a", code(1));
    simulation.pass(millis(200));
    assert_eq!(states(&simulation), ["backoff", "held"]);
    simulation.pass(seconds(5));
    assert_eq!(states(&simulation), ["running", "held"]);
}

#[test]
fn a_restart_that_was_asked_for_keeps_its_place() {
    let mut simulation = with_budget(memory(1000), vec![sized("a", 1, 600), sized("b", 2, 600)]);
    simulation.ask("restart", &["a"], "graceful");
    simulation.pass(seconds(2));
    assert_eq!(
        (states(&simulation), simulation.launches_of("a")),
        (vec!["running".into(), "held".into()], 2)
    );
}

#[test]
fn another_budget_or_limit_lets_in_what_waits() {
    let mut simulation = with_budget(memory(1000), vec![sized("a", 1, 600), sized("b", 2, 2000)]);
    let why = simulation.status("b").reason.unwrap();
    assert!(why.contains("it can never fit; lower limits.memory.max"), "{why}");
    simulation.store("b", |b| b.spec.as_mut().unwrap().limits.memory.max = Some(500.0));
    simulation.command("reload", json!({}));
    let why = simulation.status("b").reason.unwrap();
    assert_eq!(why, "no capacity: needs 500 B of memory, 400 B of 1000 B are free");
    simulation.world().budget = memory(1100);
    simulation.command("reload", json!({}));
    simulation.pass(seconds(2));
    assert_eq!(states(&simulation), ["running", "running"]);
    // A smaller one ends nobody.
    simulation.world().budget = memory(10);
    simulation.command("reload", json!({}));
    simulation.pass(seconds(2));
    assert_eq!(states(&simulation), ["running", "running"]);
    assert_eq!(simulation.launches_of("a"), 1);
}

#[test]
fn the_number_of_bots_is_bounded_and_the_next_supervisor_holds_it_too() {
    let budget = Budget {
        max_bots: Some(2),
        ..Budget::default()
    };
    let mut simulation = with_budget(budget, vec![bot("a", 1), bot("b", 2), bot("c", 3)]);
    assert_eq!(states(&simulation), ["running", "running", "held"]);
    let why = simulation.status("c").reason;
    assert_eq!(why.as_deref(), Some("no capacity: 2 of 2 bots run (max_bots)"));
    // An operator who asks again gets the same answer.
    simulation.ask("start", &["c"], "graceful");
    simulation = simulation.kill_supervisor();
    simulation.pass(seconds(3));
    assert_eq!(states(&simulation), ["running", "running", "held"]);
    simulation.ask("stop", &["c"], "graceful");
    assert_eq!(simulation.state("c"), "stopped");
    simulation.ask("start", &["c"], "graceful");
    simulation.world().configured.as_mut().unwrap().remove(0);
    simulation.command("reload", json!({}));
    simulation.pass(seconds(3));
    assert_eq!(states(&simulation), ["running", "running"]);
    simulation.command("shutdown", json!({}));
    simulation.pass(seconds(3));
    assert!(simulation.is_over);
    assert_eq!(simulation.launches_of("c"), 1);
}
