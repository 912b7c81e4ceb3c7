//! How fast a bot's life is decided: one whole life (start, ready, end, backoff, stop) a round, beside
//! a bare walk over the same number of enum values as the floor.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use multibot::config::{Settings, bot_spec};
use multibot::model::bot::{End, RunId, Wanted};
use multibot::model::units::Moment;
use multibot::supervisor::machine::{Bot, Event, Policy, StopMode, Tick, deadline, step};

fn run_id(number: u32) -> RunId {
    RunId::parse(&format!("{number:026}")).expect("26 digits")
}

fn policy() -> Policy {
    let id = "bench".parse().expect("an id");
    let spec = bot_spec(&id, &[&Settings::new()]).expect("defaults are valid");
    Policy {
        spec,
        unsupported: None,
        judged: None,
    }
}

fn life(policy: &Policy) -> Bot {
    let tick = |us, run| Tick {
        room: Ok(()),
        now: Moment(us),
        next_run: run_id(run),
        outage: None,
    };
    let events = [
        Event::WantUp,
        Event::Spawned { run: run_id(1) },
        Event::Ready { run: run_id(1) },
        Event::Exited {
            run: run_id(1),
            end: End::Code(1),
        },
        Event::Spawned { run: run_id(2) },
        Event::Exited {
            run: run_id(2),
            end: End::Code(1),
        },
        Event::WantDown(StopMode::Graceful),
    ];
    let mut bot = Bot::new(Wanted::Up);
    for (turn, event) in events.into_iter().enumerate() {
        let run = if turn == 3 { 2 } else { 1 };
        bot = step(bot, policy, event, &tick(turn as u64 * 1000, run)).0;
        black_box(deadline(&bot, policy));
    }
    bot
}

fn machine(criterion: &mut Criterion) {
    let policy = policy();
    let mut group = criterion.benchmark_group("machine");
    group.measurement_time(Duration::from_secs(3));
    group.bench_function("floor: seven run ids", |bench| {
        bench.iter(|| (0..7).for_each(|number| drop(black_box(run_id(number)))))
    });
    group.bench_function("one life of seven events", |bench| {
        bench.iter(|| life(black_box(&policy)))
    });
    group.finish();
}

criterion_group!(benches, machine);
criterion_main!(benches);
