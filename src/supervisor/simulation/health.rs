//! Silence, limits and late wakes.

use super::*;
use crate::model::usage::{Level, LimitAction, Measure, Standing};

const POLL: Duration = Duration::from_secs(30);

/// Two ready bots, of which only `shop` said so itself; bots are asked for their status.
fn polled() -> Simulation {
    let mut world = World::new(vec![bot("shop", 1), bot("quiet", 2)]);
    world.pace.status_poll_interval = POLL;
    let mut simulation = Simulation::of(world);
    simulation.calm();
    simulation.say_ready("shop");
    simulation.say("quiet", Kind::Event, "connected", json!({}));
    simulation.pass(seconds(5));
    simulation
}

fn answer(simulation: &mut Simulation) {
    simulation.say("shop", Kind::Response, "status_response", json!({"connected": true}));
}

#[test]
fn three_missed_answers_make_a_bot_unhealthy_and_restart_it() {
    let mut simulation = polled();
    simulation.world().manners.insert(id_of("shop"), Manner::Deaf);
    let run = simulation.run("shop");
    simulation.pass(POLL * 4 - seconds(6));
    assert_eq!(
        (simulation.world().orders.len(), simulation.state("shop").as_str()),
        (0, "running")
    );
    simulation.pass(seconds(2));
    let line = simulation.status("shop");
    let why = "no answer to 3 status requests (30s apart)".to_owned();
    assert_eq!((line.state.as_str(), line.reason), ("unhealthy", Some(why)));
    assert_eq!(simulation.world().orders, [Order::Terminate(run.clone())]);
    simulation.pass(seconds(30));
    assert_ne!(simulation.run("shop"), run);
    assert_eq!(simulation.launches_of("quiet"), 1);
}

#[test]
fn an_answer_resets_the_count() {
    let mut simulation = polled();
    for _ in 0..4 {
        simulation.pass(POLL * 2);
        answer(&mut simulation);
    }
    assert_eq!(
        (simulation.launches_of("shop"), simulation.state("shop").as_str()),
        (1, "running")
    );
}

#[test]
fn questions_that_were_not_read_are_taken_back() {
    let mut simulation = polled();
    simulation.pass(POLL * 3);
    let asked = simulation.letters_to("shop", "status_request");
    let open: Vec<bool> = asked.iter().map(|it| !it.is_retracted).collect();
    assert_eq!(open, [false, false, true], "only the newest question stands");
    simulation.crash("shop", code(1));
    assert!(
        simulation
            .letters_to("shop", "status_request")
            .iter()
            .all(|it| it.is_retracted)
    );
}

#[test]
fn bots_that_never_sent_ready_are_not_asked() {
    let mut simulation = polled();
    for _ in 0..10 {
        simulation.pass(POLL);
        answer(&mut simulation);
    }
    assert!(simulation.letters_to("shop", "status_request").len() > 8);
    assert_eq!(simulation.letters_to("quiet", "status_request").len(), 0);
    assert_eq!(simulation.state("quiet"), "running");
}

#[test]
fn a_heart_that_stops_is_a_failure_and_one_that_never_beat_is_not() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1), bot("quiet", 2)]);
    simulation.hear(News::Heartbeat(id_of("shop")));
    simulation.pass(seconds(50));
    simulation.say("shop", Kind::Heartbeat, "heartbeat", json!({}));
    simulation.pass(seconds(50));
    assert_eq!(simulation.launches_of("shop"), 1);
    simulation.pass(seconds(20));
    assert_eq!(
        (simulation.launches_of("shop"), simulation.launches_of("quiet")),
        (2, 1)
    );
}

#[test]
fn a_late_wake_gives_a_heart_a_period_of_grace() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
    simulation.hear(News::Heartbeat(id_of("shop")));
    simulation.pass(seconds(30));
    // The machine sleeps for an hour.
    simulation.world().now = simulation.supervisor.host.now + seconds(3600);
    simulation.pass(seconds(59));
    assert_eq!(
        (simulation.launches_of("shop"), simulation.state("shop").as_str()),
        (1, "running")
    );
    simulation.pass(seconds(2));
    assert_eq!(simulation.launches_of("shop"), 2, "one period and no more");
}

#[test]
fn a_late_wake_is_no_missed_answer() {
    let mut simulation = polled();
    simulation.pass(POLL * 3);
    simulation.world().now = simulation.supervisor.host.now + seconds(3600);
    simulation.pass(POLL - seconds(1));
    assert_eq!(
        (simulation.launches_of("shop"), simulation.state("shop").as_str()),
        (1, "running")
    );
    answer(&mut simulation);
    simulation.pass(POLL * 2);
    assert_eq!(simulation.launches_of("shop"), 1);
}

#[test]
fn a_late_wake_gives_a_new_shim_its_time() {
    let mut world = World::new(vec![bot("shop", 1)]);
    world.manners.insert(id_of("shop"), Manner::Mute);
    let mut simulation = Simulation::of(world);
    simulation.pass(seconds(10));
    simulation.world().now = simulation.supervisor.host.now + seconds(3600);
    simulation.pass(seconds(19));
    assert_eq!(simulation.world().orders, []);
    simulation.pass(seconds(2));
    assert_eq!(simulation.world().orders.len(), 1);
}

#[test]
fn a_late_wake_looks_into_every_mailbox() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1), bot("quiet", 2)]);
    simulation.hear(News::Heartbeat(id_of("shop")));
    // Their hints were lost.
    simulation
        .world()
        .put(Some(id_of("quiet")), Kind::Event, "connected", json!({}));
    let id = simulation.post_command("ping", json!({}));
    simulation.pass(seconds(30));
    assert_eq!(simulation.status("quiet").connected, None);
    simulation.world().now = simulation.supervisor.host.now + seconds(36);
    simulation.pass(millis(200));
    assert_eq!(simulation.status("quiet").connected, Some(true));
    assert_eq!(simulation.replies_to(&id).len(), 1);
}

#[test]
fn a_wake_that_is_a_little_late_changes_nothing() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
    simulation.hear(News::Heartbeat(id_of("shop")));
    simulation.pass(seconds(30));
    // The heartbeat is due in 30 s.
    simulation.world().now = simulation.supervisor.host.now + seconds(34);
    simulation.pass(millis(200));
    assert_eq!(simulation.launches_of("shop"), 2);
}

fn change(from: Level, to: Level, action: LimitAction) -> LevelChange {
    LevelChange {
        measure: Measure::Memory,
        from,
        to,
        why: "memory 2 GiB over limits.memory.max 1 GiB for 1m".to_owned(),
        action,
    }
}

fn passed(simulation: &mut Simulation, run: RunId, action: LimitAction) {
    simulation.sample("shop", run, 2 << 30, vec![change(Level::Ok, Level::Max, action)]);
    simulation.pass(seconds(2));
}

#[test]
fn a_limit_does_what_its_action_says() {
    for (action, launches, state, reason) in [
        (LimitAction::Alert, 1, "running", false),
        (LimitAction::Restart, 2, "running", false),
        (LimitAction::Stop, 1, "failed", true),
    ] {
        let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
        let run = simulation.run("shop");
        passed(&mut simulation, run, action);
        let line = simulation.status("shop");
        assert_eq!(
            (simulation.launches_of("shop"), line.state.as_str()),
            (launches, state),
            "{action:?}"
        );
        assert_eq!(
            line.reason.is_some_and(|why| why.starts_with("memory 2 GiB")),
            reason,
            "{action:?}"
        );
        assert_eq!(simulation.facts_of("shop", "limit").len(), 1);
        assert_eq!(simulation.world().audited.len(), 1);
        simulation.pass(seconds(7200));
        assert_eq!(simulation.launches_of("shop"), launches, "{action:?} and nothing later");
    }
}

#[test]
fn what_was_done_for_a_limit_is_shown_until_a_later_run_is_well() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
    let run = simulation.run("shop");
    passed(&mut simulation, run.clone(), LimitAction::Alert);
    assert_eq!(simulation.status("shop").limit_action, None);
    passed(&mut simulation, run, LimitAction::Restart);
    let acted = |simulation: &Simulation| simulation.status("shop").limit_action.map(|it| it.action);
    let restart = Some("restart".to_owned());
    assert_eq!(
        (simulation.launches_of("shop"), acted(&simulation)),
        (2, restart.clone())
    );
    // A run that fails is no recovery, and the next supervisor knows of it as well.
    simulation.pass(seconds(30));
    simulation.crash("shop", code(1));
    simulation.pass(seconds(40));
    assert_eq!(
        (simulation.state("shop").as_str(), acted(&simulation)),
        ("running", restart.clone())
    );
    let mut simulation = simulation.kill_supervisor();
    simulation.pass(seconds(1));
    assert_eq!(acted(&simulation), restart);
    simulation.pass(seconds(65));
    assert_eq!(acted(&simulation), None);
}

#[test]
fn a_bot_that_a_limit_has_stopped_is_shown_so_until_it_is_started() {
    for is_asked in [true, false] {
        let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
        let run = simulation.run("shop");
        passed(&mut simulation, run, LimitAction::Stop);
        let mut simulation = simulation.kill_supervisor();
        simulation.pass(seconds(1));
        let shown = simulation.status("shop").limit_action.unwrap();
        assert_eq!(
            (shown.action.as_str(), simulation.state("shop").as_str()),
            ("stop", "failed")
        );
        assert!(shown.why.starts_with("memory 2 GiB") && shown.at > 0);
        if is_asked {
            simulation.ask("start", &["shop"], "graceful");
        } else {
            simulation.ask("stop", &["shop"], "graceful");
        }
        simulation.pass(seconds(3));
        assert_eq!(simulation.status("shop").limit_action, None, "{is_asked}");
    }
}

#[test]
fn a_warning_and_a_recovery_are_told_and_change_nothing_else() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
    let run = simulation.run("shop");
    for (from, to) in [(Level::Ok, Level::Warn), (Level::Warn, Level::Ok)] {
        let changes = vec![change(from, to, LimitAction::Stop)];
        simulation.sample("shop", run.clone(), 1, changes);
        simulation.pass(seconds(2));
    }
    let told = ["limit_warning", "limit_recovered", "limit"].map(|name| simulation.facts_of("shop", name).len());
    assert_eq!(told, [1, 1, 0]);
    assert_eq!((simulation.run("shop"), simulation.world().audited.len()), (run, 0));
}

fn standing(measure: Measure, level: Level, why: Option<&str>) -> Standing {
    Standing {
        measure,
        warn: Some(8.0),
        max: Some(10.0),
        level,
        since: why.map(|_| Moment(1_000_000_000)),
        why: why.map(str::to_owned),
    }
}

/// A pass of the sampler that found `shop` so.
fn looked(run: &RunId, standings: Vec<Standing>) -> News {
    News::Sampled(vec![Sample {
        bot: id_of("shop"),
        run: run.clone(),
        usage: Usage::default(),
        standings,
        changes: Vec::new(),
    }])
}

#[test]
fn the_reason_names_every_limit_that_is_passed_until_it_is_left() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
    let run = simulation.run("shop");
    let look = |standings| looked(&run, standings);
    simulation.hear(look(vec![
        standing(Measure::Memory, Level::Warn, Some("memory is high")),
        standing(Measure::Threads, Level::Max, Some("too many threads")),
        standing(Measure::Cpu, Level::Ok, None),
    ]));
    simulation.pass(seconds(1));
    let line = simulation.status("shop");
    assert_eq!(line.reason.as_deref(), Some("too many threads; memory is high"));
    let shown: Vec<_> = line
        .limits
        .iter()
        .map(|it| (it.what.as_str(), it.level.as_str(), it.since))
        .collect();
    let since = Some((WALL_AT_ZERO + 1_000_000_000) / 1000);
    assert_eq!(
        shown,
        [
            ("memory", "warn", since),
            ("threads", "max", since),
            ("cpu", "ok", None)
        ]
    );
    simulation.hear(look(vec![standing(Measure::Memory, Level::Ok, None)]));
    simulation.pass(seconds(1));
    assert_eq!(simulation.status("shop").reason, None);
    // A new run is a new watch.
    simulation.hear(look(vec![standing(
        Measure::Memory,
        Level::Max,
        Some("memory is high"),
    )]));
    simulation.crash("shop", code(1));
    simulation.pass(seconds(1));
    assert_eq!(
        (simulation.status("shop").reason, simulation.status("shop").limits),
        (None, vec![])
    );
}

#[test]
fn an_adopted_run_stands_to_its_limits_as_it_did() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
    let run = simulation.run("shop");
    simulation.hear(looked(
        &run,
        vec![
            standing(Measure::Memory, Level::Warn, Some("memory is high")),
            standing(Measure::Threads, Level::Max, Some("too many threads")),
        ],
    ));
    simulation.pass(seconds(1));
    let line = simulation.status("shop");
    // The next supervisor shows it at once and hands it to its sampler.
    let mut world = simulation.supervisor.host;
    world.pace.sampling_period = Some(seconds(5));
    world.lose_supervisor();
    let mut simulation = Simulation::of(world);
    let adopted = &simulation.supervisor.host.usage_targets[0];
    assert_eq!((&adopted.run, adopted.standings.len()), (&run, 2));
    assert_eq!(
        (adopted.standings[1].level, adopted.standings[1].since),
        (Level::Max, Some(Moment(1_000_000_000)))
    );
    simulation.pass(millis(200));
    assert_eq!(
        (simulation.status("shop").reason, simulation.status("shop").limits),
        (line.reason, line.limits)
    );
    let spec = simulation.world().configured.as_mut().unwrap()[0]
        .spec
        .as_mut()
        .unwrap();
    // Only a limit that is changed begins anew.
    spec.limits.memory.max = Some(1e9);
    simulation.hear(News::Reload);
    simulation.pass(millis(200));
    assert_eq!(simulation.status("shop").reason.as_deref(), Some("too many threads"));
}

#[test]
fn a_state_is_shown_with_its_beginning() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
    simulation.pass(seconds(100));
    let began = simulation.status("shop").state_since.unwrap();
    simulation.say("shop", Kind::Event, "connected", json!({}));
    simulation.pass(seconds(100));
    let line = simulation.status("shop");
    assert_eq!((line.state.as_str(), line.state_since), ("running", Some(began)));
    simulation.crash("shop", code(1));
    simulation.pass(seconds(5));
    assert!(simulation.status("shop").state_since.unwrap() >= began + 200_000);
}

#[test]
fn a_limit_that_an_older_run_passed_changes_nothing() {
    let mut simulation = Simulation::steady(vec![bot("shop", 1)]);
    let old = simulation.run("shop");
    simulation.crash("shop", code(1));
    simulation.pass(seconds(2));
    passed(&mut simulation, old, LimitAction::Stop);
    assert_eq!(
        (simulation.launches_of("shop"), simulation.state("shop").as_str()),
        (2, "running")
    );
    assert_eq!(simulation.facts_of("shop", "limit").len(), 0);
}
