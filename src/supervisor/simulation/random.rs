//! Seeded random walks over the whole loop: five bots, shims that report late, fail, crash and stay
//! silent, bots that say anything at any time, operators who ask for everything, and a clock that
//! sometimes leaps. Whatever happens, the rules of the loop hold; a failure prints its seed.

use super::*;
use crate::model::bot::{LimitAction, ReadyWhen, RestartWhen, Secret, State};
use crate::model::dice::Dice;
use crate::model::limits::SNAPSHOT_INTERVAL;
use crate::model::usage::{Level, Measure};
use crate::supervisor::machine::{Phase, Rest, StopMode};

const NAMES: [&str; 5] = ["alpha", "beta", "gamma", "delta", "omega"];

fn random_bot(dice: &mut Dice, index: usize) -> Configured {
    let mut configured = bot(NAMES[index], u32::try_from(index).unwrap());
    configured.wanted = if dice.one_in(4) { Wanted::Down } else { Wanted::Up };
    let spec = configured.spec.as_mut().unwrap();
    spec.ready.when = dice.pick(&[ReadyWhen::Alive, ReadyWhen::Signal]);
    spec.restart.when = dice.pick(&[RestartWhen::Always, RestartWhen::OnFailure, RestartWhen::Never]);
    spec.restart.max_restarts = u32::try_from(dice.below(6)).unwrap();
    spec.stop.grace = seconds(dice.below(12));
    spec.limits.memory.max = dice.pick(&[None, Some(1.0), Some(2.0), Some(4.0)]);
    if dice.one_in(3) {
        spec.command.clear();
        spec.platform = crate::model::bot::Platform::Loopback;
    }
    configured
}

fn begin(dice: &mut Dice) -> Simulation {
    let bots = (0..NAMES.len()).map(|index| random_bot(dice, index)).collect();
    let mut world = World::new(bots);
    world.pace.start_delay = millis(dice.pick(&[0, 100, 3000]));
    world.pace.status_poll_interval = seconds(dice.pick(&[0, 4, 30]));
    world.budget.memory_bytes = dice.pick(&[None, None, Some(3)]);
    world.budget.max_bots = dice.pick(&[None, None, Some(1), Some(3)]);
    for (number, name) in NAMES.into_iter().enumerate() {
        if dice.one_in(4) {
            world.earlier(name, 900_000 + number as u64);
        }
        if dice.one_in(4) {
            world.put(Some(id_of(name)), Kind::Event, "ready", json!({}));
        }
    }
    Simulation::of(world)
}

/// Something that a shim or a bot does unasked.
fn stir(simulation: &mut Simulation, dice: &mut Dice) {
    let name = dice.pick(&NAMES);
    let bot = id_of(name);
    let live = simulation.world().live(&bot).first().map(|run| (*run).clone());
    // Without a live run: one that is long gone or was never a run; never one that still waits.
    let gone = run_of(dice.below(simulation.supervisor.host.serial + 1));
    let member = simulation.supervisor.fleet.get(&bot);
    let awaited = member.and_then(|member| member.bot.live_run());
    let run = live
        .clone()
        .unwrap_or_else(|| if awaited == Some(&gone) { run_of(0) } else { gone });
    let manner = dice.pick(&[Manner::Obedient, Manner::Obedient, Manner::Mute, Manner::Deaf]);
    let action = dice.pick(&[LimitAction::Alert, LimitAction::Restart, LimitAction::Stop]);
    let world = simulation.world();
    match dice.below(12) {
        0 => drop(world.manners.insert(bot, manner)),
        1 | 2 => world.end(&run, code(i32::try_from(dice.below(2)).unwrap())),
        // News of runs that are long gone, or that never were.
        3 if live.is_none() => world.news.push_back(News::Ended { bot, run, end: code(1) }),
        4 if live.is_none() => world.news.push_back(News::Spawned {
            bot,
            run,
            pid: 9,
            kernel: Vec::new(),
        }),
        5 => refuse(world, dice, bot, run),
        6 => {
            let change = LevelChange {
                measure: Measure::Memory,
                from: Level::Ok,
                to: Level::Max,
                why: "too much".to_owned(),
                action,
            };
            world.news.push_back(sampled(name, run, 1, vec![change]));
        }
        7 => world.news.push_back(News::Heartbeat(bot)),
        8 => world.news.push_back(News::HintsLost),
        _ => {
            let (kind, word) = dice.pick(&[
                (Kind::Event, "ready"),
                (Kind::Event, "connected"),
                (Kind::Response, "status_response"),
                (Kind::Heartbeat, "heartbeat"),
                (Kind::Error, "error"),
            ]);
            world.put(Some(bot.clone()), kind, word, json!({}));
            if !dice.one_in(5) {
                world.news.push_back(News::Outbox(bot));
            }
        }
    }
}

/// A shim that has not reported yet says why it will not start its bot.
fn refuse(world: &mut World, dice: &mut Dice, bot: BotId, run: RunId) {
    if world
        .shims
        .get(&run)
        .is_none_or(|shim| shim.has_reported || shim.bot != bot)
    {
        return;
    }
    world.shims.remove(&run);
    let failure = match dice.below(5) {
        0 => SpawnFailure::Command("no such file".to_owned()),
        1 => SpawnFailure::Passing("too many processes".to_owned()),
        2 => SpawnFailure::PreviousAlive { pid: 5 },
        3 => SpawnFailure::Unproven("somebody holds its lock".to_owned()),
        _ => {
            let holder = 700_000 + world.next_serial();
            world.earlier(bot.as_str(), holder);
            let run = run_of(holder);
            SpawnFailure::Locked {
                run,
                pid: 77,
                started_at: Stamp(0),
            }
        }
    };
    world.news.push_back(News::SpawnFailed { bot, run, failure });
}

/// Something that an operator does: the store first, then mostly a command.
fn operate(simulation: &mut Simulation, dice: &mut Dice, ids: &mut Vec<String>) {
    let index = usize::try_from(dice.below(NAMES.len() as u64)).unwrap();
    let (name, other) = (NAMES[index], dice.pick(&["alpha", "ghost", "omega"]));
    let fresh = random_bot(dice, index);
    let serial = simulation.world().next_serial();
    let bots = simulation.world().configured.as_mut().unwrap();
    let stored = bots.iter().position(|configured| configured.id == id_of(name));
    match (dice.below(6), stored) {
        (0, Some(place)) => drop(bots.remove(place)),
        (0 | 1, None) => bots.push(fresh),
        (1, Some(place)) => bots[place].wanted = fresh.wanted,
        (2, Some(place)) => bots[place].spec = fresh.spec,
        (3, Some(place)) => bots[place].token = Some(Secret::new(format!("token-{serial}"))),
        (4, Some(place)) => bots[place].spec.as_mut().unwrap().enabled = dice.one_in(2),
        _ => {}
    }
    let mode = dice.pick(&["graceful", "forced"]);
    let command = dice.pick(&["start", "stop", "restart", "reload", "ping", "dance"]);
    if dice.one_in(6) {
        return simulation.world().news.push_back(News::Reload);
    }
    let named = if dice.one_in(3) {
        json!([name, other])
    } else {
        json!([name])
    };
    ids.push(simulation.post_command(command, json!({"bots": named, "mode": mode})));
    if !dice.one_in(5) {
        simulation.world().news.push_back(News::Inbox);
    }
}

fn walk(seed: u64) {
    let mut dice = Dice::new(seed);
    let mut simulation = begin(&mut dice);
    let mut ids = Vec::new();
    // What was found running keeps its place, however many that are.
    let placed = simulation.supervisor.promised().bots;
    let places = simulation.world().budget.max_bots.map(|bots| bots.max(placed));
    for _ in 0..dice.below(200) {
        match dice.below(8) {
            0..=2 => stir(&mut simulation, &mut dice),
            3 => operate(&mut simulation, &mut dice, &mut ids),
            4 => simulation.pass(millis(dice.below(40_000))),
            5 if dice.one_in(4) => {
                let leap = seconds(dice.below(3600));
                simulation.world().now = simulation.supervisor.host.now + leap;
                simulation.turn();
            }
            // Several things may come to the loop's ears at once.
            5 => {}
            6 if dice.one_in(3) => simulation = die(simulation, &mut ids),
            _ => simulation.calm(),
        }
        assert_counted(&simulation);
        let placed = simulation.supervisor.promised().bots;
        assert!(
            places.is_none_or(|places| placed <= places),
            "{placed} places of {places:?}"
        );
    }
    finish(&mut simulation, &mut dice, &mut ids);
    for id in &ids {
        assert_eq!(simulation.replies_to(id).len(), 1, "answers to {id}");
    }
    assert!(simulation.world().claimed.get() == 0);
}

/// The supervisor is killed, and the next one knows the bots as the last one did.
fn die(simulation: Simulation, ids: &mut Vec<String>) -> Simulation {
    let host = &simulation.supervisor.host;
    let waits = |id: &String| {
        host.mail
            .get(&None)
            .is_some_and(|mail| mail.iter().any(|it| it.id == *id))
    };
    // A command that was read and not answered yet has died with it.
    ids.retain(|id| waits(id) || !simulation.replies_to(id).is_empty());
    let has_orders = host.mail.get(&None).is_some_and(|mail| !mail.is_empty());
    let before: Vec<_> = NAMES.map(|name| known(&simulation, name)).into();
    let live: Vec<RunId> = host
        .shims
        .iter()
        .filter(|(_, it)| it.has_reported)
        .map(|(run, _)| run.clone())
        .collect();
    let pending: BTreeSet<BotId> = host.news.iter().filter_map(concerned).collect();
    let next = simulation.kill_supervisor();
    let after: BTreeSet<&RunId> = next.supervisor.host.shims.keys().collect();
    let ended = |run: &RunId| next.supervisor.host.exits.values().any(|exit| exit.run == *run);
    for run in &live {
        assert!(after.contains(run) || ended(run), "{run:?} is lost");
    }
    for (name, before) in NAMES.iter().zip(before) {
        // What had not reached the last supervisor is counted, or obeyed, by the next one.
        if has_orders || pending.contains(&id_of(name)) {
            continue;
        }
        if let (Some(before), Some(after)) = (before, known(&next, name)) {
            assert_eq!(before.restarts, after.restarts, "{name}: restarts before and after");
            assert!(
                after.failures.streak() >= before.failures.streak(),
                "{name}: failures are forgotten"
            );
        }
    }
    next
}

fn known(simulation: &Simulation, name: &str) -> Option<crate::supervisor::machine::Bot> {
    simulation
        .supervisor
        .fleet
        .get(&id_of(name))
        .map(|member| member.bot.clone())
}

fn concerned(news: &News) -> Option<BotId> {
    match news {
        News::Ended { bot, .. } | News::SpawnFailed { bot, .. } | News::Spawned { bot, .. } => Some(bot.clone()),
        _ => None,
    }
}

/// The world has what the machine believes to be live, and no more.
fn assert_counted(simulation: &Simulation) {
    let world = &simulation.supervisor.host;
    for name in NAMES {
        let bot = id_of(name);
        let live = world.live(&bot);
        assert!(live.len() <= 1, "{name} has {} runs", live.len());
        // A shim that has ended but was not yet heard of may still be believed in, never the reverse.
        if let Some(run) = live.first() {
            let member = simulation.supervisor.fleet.get(&bot);
            let believed = member.and_then(|member| member.bot.live_run());
            let refused = world
                .news
                .iter()
                .any(|news| matches!(news, News::SpawnFailed { bot: of, .. } if *of == bot));
            assert!(believed == Some(run) || refused, "{name} runs unknown to the loop");
        }
    }
}

/// Everybody obeys and every hint arrives: the home comes to what is wanted. Then it stops.
fn finish(simulation: &mut Simulation, dice: &mut Dice, ids: &mut Vec<String>) {
    simulation.world().manners.clear();
    simulation.world().news.push_back(News::HintsLost);
    ids.push(simulation.post_command("reload", json!({})));
    simulation.hear(News::Inbox);
    simulation.pass(seconds(60));
    // A change of this very instant is published by the next wake.
    while simulation
        .wake_at
        .is_some_and(|at| at <= simulation.supervisor.host.now + SNAPSHOT_INTERVAL)
    {
        simulation.pass(SNAPSHOT_INTERVAL);
    }
    assert_wanted(simulation);
    assert_published(simulation);
    assert_spaced(simulation);
    let launched = simulation.world().launched.len();
    simulation.hear(News::Stop(dice.pick(&[StopMode::Graceful, StopMode::Forced])));
    simulation.pass(seconds(60));
    assert!(simulation.is_over, "the loop does not end");
    assert!(simulation.world().shims.is_empty(), "a run is left behind");
    assert_eq!(simulation.world().launched.len(), launched, "a start during the stop");
    let left: Vec<&Letter> = simulation
        .supervisor
        .host
        .letters
        .iter()
        .filter(|letter| !letter.is_retracted)
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

fn assert_wanted(simulation: &mut Simulation) {
    let configured = simulation.world().configured.clone().unwrap();
    let is_wanted = |configured: &Configured| {
        let spec = configured.spec.as_ref().unwrap();
        configured.wanted == Wanted::Up && spec.enabled
    };
    for name in NAMES {
        let stored = configured.iter().find(|configured| configured.id == id_of(name));
        if !stored.is_some_and(is_wanted) {
            assert!(!simulation.is_alive(name), "{name} is wanted down and runs");
        }
        let member = simulation.supervisor.fleet.get(&id_of(name));
        assert_eq!(
            member.is_some(),
            stored.is_some(),
            "{name}: {:?}",
            member.map(|it| &it.bot)
        );
        if stored.is_some_and(is_wanted) {
            let state = simulation.state(name);
            assert_ne!(state, State::Stopping.word(), "{name}");
            let phase = &simulation.supervisor.fleet.get(&id_of(name)).unwrap().bot.phase;
            let is_idle = matches!(phase, Phase::Down(Rest::Never | Rest::Asked));
            assert!(!is_idle, "{name} is wanted and nobody starts it");
            let has_room = simulation.supervisor.room_for(&id_of(name)).is_ok();
            let waits = simulation
                .supervisor
                .fleet
                .get(&id_of(name))
                .unwrap()
                .bot
                .is_without_room();
            assert!(!(waits && has_room), "{name} waits although there is room");
        }
    }
}

/// The last snapshot is what the machines are.
fn assert_published(simulation: &Simulation) {
    let supervisor = &simulation.supervisor;
    let last = &supervisor.host.issues.last().unwrap().snapshot;
    assert_eq!(last.bots.len(), supervisor.fleet.ids().len());
    for line in &last.bots {
        let member = supervisor.fleet.get(&id_of(&line.id)).unwrap();
        assert_eq!(line.state, member.bot.state().word());
        assert_eq!(line.run_id, member.bot.live_run().map(RunId::to_string));
        assert_eq!(
            (line.restarts, line.wanted.as_str()),
            (member.bot.restarts, member.desired.word())
        );
        assert_eq!(
            line.reason,
            member.seen.note.clone().or_else(|| member.bot.reason(&member.policy)),
            "{}",
            line.id
        );
        assert_eq!(line.pid, member.bot.live_run().and(member.seen.pid));
    }
}

fn assert_spaced(simulation: &Simulation) {
    let world = &simulation.supervisor.host;
    // Supervisors do not know when the one before them did something last.
    let is_of_one = |from: Moment, to: Moment| !world.deaths.iter().any(|at| (from..=to).contains(at));
    for pair in world.issues.windows(2).filter(|pair| is_of_one(pair[0].at, pair[1].at)) {
        assert!(pair[1].at.since(pair[0].at) >= SNAPSHOT_INTERVAL, "snapshots too close");
    }
    for pair in world.launched.windows(2).filter(|pair| is_of_one(pair[0].0, pair[1].0)) {
        assert!(pair[1].0.since(pair[0].0) >= world.pace.start_delay, "starts too close");
    }
}

#[test]
fn the_rules_hold_on_random_walks() {
    for seed in 0..3000 {
        let result = std::panic::catch_unwind(|| walk(seed));
        assert!(result.is_ok(), "walk with seed {seed} broke a rule");
    }
}
