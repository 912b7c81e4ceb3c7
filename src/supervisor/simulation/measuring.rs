//! What the loop records at each pass.

use super::*;
use crate::model::bot::State;
use crate::model::usage::{Sample, Usage};

const PERIOD: Duration = Duration::from_secs(5);

fn sampled(bots: Vec<Configured>) -> Simulation {
    let mut world = World::new(bots);
    world.pace.sampling_period = Some(PERIOD);
    let mut simulation = Simulation::of(world);
    simulation.pass(seconds(3));
    simulation
}

/// The sampler tells of every run, in one pass.
fn sample(simulation: &mut Simulation, bots: &[&str]) {
    let of_bot = |name: &&str| Sample {
        bot: id_of(name),
        run: simulation.run(name),
        usage: Usage {
            memory_bytes: 1000,
            cpu_percent: Some(2.0),
            ..Usage::default()
        },
        standings: Vec::new(),
        changes: Vec::new(),
    };
    let samples = bots.iter().map(of_bot).collect();
    simulation.hear(News::Sampled(samples));
}

fn rows_of<'a>(simulation: &'a Simulation, name: &str) -> Vec<&'a MetricRow> {
    let passes = simulation.supervisor.host.passes.iter().flatten();
    passes.filter(|row| row.bot == id_of(name)).collect()
}

#[test]
fn a_pass_is_one_row_of_every_bot() {
    let mut off = bot("off", 2);
    off.wanted = Wanted::Down;
    let mut simulation = sampled(vec![bot("shop", 0), bot("news", 1), off]);
    for round in 1..=3 {
        simulation.pass(PERIOD);
        sample(&mut simulation, &["shop", "news"]);
        let passes = &simulation.supervisor.host.passes;
        assert_eq!(passes.len(), round);
        assert!(passes.iter().all(|rows| rows.len() == 3), "{passes:?}");
    }
    let shop = rows_of(&simulation, "shop");
    assert_eq!(
        (shop[2].state, shop[2].wanted, shop[2].up, shop[2].measured),
        (State::Running, 1, 1, 1)
    );
    assert_eq!((shop[2].memory_bytes, shop[2].cpu_percent), (Some(1000), Some(2.0)));
    let off = rows_of(&simulation, "off");
    assert_eq!(
        (off[2].state, off[2].wanted, off[2].up, off[2].measured),
        (State::Stopped, 0, 0, 0)
    );
}

#[test]
fn what_is_down_is_recorded_although_nothing_is_sampled() {
    let mut shop = bot("shop", 0);
    shop.spec.as_mut().unwrap().restart.delay = seconds(50);
    shop.spec.as_mut().unwrap().restart.max_delay = seconds(50);
    shop.spec.as_mut().unwrap().restart.factor = 1.0;
    let mut simulation = sampled(vec![shop]);
    simulation.crash("shop", code(1));
    let before = simulation.supervisor.host.passes.len();
    simulation.pass(seconds(40));
    let rows = rows_of(&simulation, "shop");
    assert!(rows.len() >= before + 5, "{rows:?}");
    assert!(
        rows[before + 1..]
            .iter()
            .all(|row| row.state == State::Backoff && row.up == 0 && row.wanted == 1)
    );
    // Nobody wants it: nothing is due, and the loop sleeps.
    simulation.ask("stop", &["shop"], "graceful");
    simulation.pass(seconds(1));
    let before = simulation.supervisor.host.passes.len();
    simulation.pass(seconds(100));
    assert_eq!(simulation.supervisor.host.passes.len(), before);
    assert_eq!(simulation.wake_at, None);
}

#[test]
fn counters_begin_anew_with_every_row() {
    let mut simulation = sampled(vec![bot("shop", 0)]);
    simulation.pass(PERIOD);
    sample(&mut simulation, &["shop"]);
    simulation.say("shop", Kind::Event, "error", json!({}));
    simulation.say("shop", Kind::Error, "odd", json!({}));
    simulation.say("shop", Kind::Event, "order", json!({}));
    simulation.say("shop", Kind::Heartbeat, "heartbeat", json!({}));
    simulation.say("shop", Kind::Response, "status_response", json!({}));
    simulation.crash("shop", code(1));
    simulation.pass(PERIOD);
    sample(&mut simulation, &["shop"]);
    simulation.pass(PERIOD);
    sample(&mut simulation, &["shop"]);
    let rows = rows_of(&simulation, "shop");
    let sum = |value: fn(&MetricRow) -> u64| rows.iter().map(|row| value(row)).sum::<u64>();
    assert_eq!(
        (
            sum(|row| row.errors),
            sum(|row| row.messages_out),
            sum(|row| row.restarts)
        ),
        (2, 3, 1)
    );
    let last = rows.last().unwrap();
    assert_eq!((last.errors, last.messages_out, last.restarts), (0, 0, 0));
}

#[test]
fn without_sampling_nothing_is_recorded() {
    let mut simulation = Simulation::steady(vec![bot("shop", 0)]);
    sample(&mut simulation, &["shop"]);
    simulation.pass(seconds(600));
    assert!(simulation.supervisor.host.passes.is_empty());
}
