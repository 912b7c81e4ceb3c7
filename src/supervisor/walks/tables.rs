//! Single steps of the machine that are worth a name.

use super::*;
use crate::supervisor::machine::Rest;

/// Bring a bot to `Running` the ordinary way.
fn running(policy: &Policy) -> (Bot, RunId) {
    let tick = Tick {
        now: Moment(0),
        next_run: run_id(1),
        room: Ok(()),
        outage: None,
    };
    let (bot, effects) = step(Bot::new(Wanted::Up), policy, Event::WantUp, &tick);
    assert_eq!(effects, [Effect::Spawn { run: run_id(1) }]);
    let (bot, _) = step(bot, policy, Event::Spawned { run: run_id(1) }, &tick);
    let (bot, _) = step(bot, policy, Event::Ready { run: run_id(1) }, &tick);
    assert!(matches!(bot.phase, Phase::Running { .. }));
    (bot, run_id(1))
}

fn plain() -> Policy {
    let mut policy = policy(&mut Dice::new(1));
    policy.unsupported = None;
    policy.spec.restart.when = RestartWhen::Always;
    policy.spec.restart.factor = 2.0;
    policy.spec.restart.max_restarts = 5;
    policy.spec.restart.window = Duration::from_secs(600);
    policy.spec.restart.delay = Duration::from_secs(1);
    policy
}

fn tick(s: u64, run: u64) -> Tick {
    Tick {
        now: Moment(s * 1_000_000),
        next_run: run_id(run),
        room: Ok(()),
        outage: None,
    }
}

#[test]
fn a_first_failure_restarts_at_once() {
    let policy = plain();
    let (bot, run) = running(&policy);
    let (bot, effects) = step(bot, &policy, Event::Exited { run, end: End::Code(1) }, &tick(5, 2));
    assert_eq!(effects, [Effect::Spawn { run: run_id(2) }]);
    assert_eq!(bot.restarts, 1);
}

#[test]
fn an_unhealthy_bot_that_was_stopped_goes_through_backoff() {
    let policy = plain();
    let (mut bot, mut run) = running(&policy);
    for second in 1..3 {
        let why = Event::Unhealthy {
            run: run.clone(),
            why: "hung".into(),
            then: Then::Restart,
        };
        let (stopping, effects) = step(bot, &policy, why, &tick(second, 90));
        assert_eq!(effects, [Effect::Terminate { run: run.clone() }]);
        let end = End::Signal {
            number: 15,
            core: false,
        };
        let (after, _) = step(stopping, &policy, Event::Exited { run, end }, &tick(second, second + 1));
        run = run_id(second + 1);
        bot = step(after, &policy, Event::Spawned { run: run.clone() }, &tick(second, 90)).0;
    }
    assert!(matches!(bot.phase, Phase::Waiting { .. }), "{:?}", bot.phase);
}

#[test]
fn an_asked_stop_wins_over_a_stop_for_ill_health() {
    let policy = plain();
    let (bot, run) = running(&policy);
    let ill = Event::Unhealthy {
        run: run.clone(),
        why: "hung".into(),
        then: Then::Restart,
    };
    let (bot, _) = step(bot, &policy, ill, &tick(1, 90));
    let (bot, effects) = step(bot, &policy, Event::WantDown(StopMode::Graceful), &tick(2, 90));
    assert_eq!(effects, []);
    assert!(matches!(
        bot.phase,
        Phase::Stopping {
            because: Because::Asked,
            ..
        }
    ));
    let (bot, effects) = step(bot, &policy, Event::Exited { run, end: End::Code(0) }, &tick(3, 90));
    assert_eq!((bot.phase, effects), (Phase::Down(Rest::Asked), vec![]));
}

#[test]
fn a_missing_command_is_given_up_without_a_loop() {
    let policy = plain();
    let (bot, _) = step(Bot::new(Wanted::Up), &policy, Event::WantUp, &tick(0, 1));
    let failure = SpawnFailure::Command("cannot run nope: No such file or directory".into());
    let (bot, effects) = step(
        bot,
        &policy,
        Event::SpawnFailed {
            run: run_id(1),
            failure,
        },
        &tick(0, 2),
    );
    assert_eq!(effects, []);
    assert!(matches!(bot.phase, Phase::GaveUp { .. }));
}

#[test]
fn a_bot_that_waits_goes_on_waiting_when_a_supervisor_resumes() {
    let policy = plain();
    let why = || "killed by SIGKILL".to_owned();
    let until = Moment(9_000_000);
    for phase in [
        Phase::Waiting { until, why: why() },
        Phase::GaveUp {
            until: Some(until),
            why: why(),
        },
        Phase::Down(Rest::Finished(End::Code(0))),
    ] {
        let bot = Bot {
            phase: phase.clone(),
            ..Bot::new(Wanted::Up)
        };
        let (bot, effects) = step(bot, &policy, Event::Resume, &tick(1, 2));
        assert_eq!((bot.phase, effects), (phase, vec![]));
    }
    let (_, effects) = step(Bot::new(Wanted::Down), &policy, Event::Resume, &tick(1, 2));
    assert_eq!(effects, [Effect::Spawn { run: run_id(2) }]);
}

#[test]
fn a_stop_of_what_cannot_be_made_out_does_not_call_it_down() {
    let policy = plain();
    let hold = Hold::Unproven("somebody holds its lock".to_owned());
    let bot = Bot {
        phase: Phase::Held {
            hold: hold.clone(),
            until: Some(Moment(5)),
        },
        ..Bot::new(Wanted::Up)
    };
    let (bot, effects) = step(bot, &policy, Event::WantDown(StopMode::Graceful), &tick(1, 2));
    assert_eq!((bot.phase, effects), (Phase::Held { hold, until: None }, vec![]));
}

#[test]
fn silence_after_a_heartbeat_is_a_failure_and_silence_without_one_is_not() {
    let mut policy = plain();
    policy.spec.heartbeat_timeout = Duration::from_secs(60);
    let (quiet, run) = running(&policy);
    assert_eq!(deadline(&quiet, &policy), None);
    let (heard, _) = step(quiet, &policy, Event::Heartbeat { run: run.clone() }, &tick(10, 90));
    assert_eq!(deadline(&heard, &policy), Some(Moment(70_000_000)));
    let (after, effects) = step(heard, &policy, Event::DeadlinePassed, &tick(70, 90));
    assert_eq!(effects, [Effect::Terminate { run }]);
    assert_eq!(after.reason(&policy).as_deref(), Some("no heartbeat for 1m"));
}

#[test]
fn a_bot_that_asks_for_time_gets_it_while_it_starts_and_while_it_ends() {
    let mut policy = plain();
    policy.spec.ready.when = ReadyWhen::Signal;
    policy.spec.ready.timeout = Duration::from_secs(30);
    policy.spec.stop.grace = Duration::from_secs(10);
    let run = run_id(1);
    let extend = |s: u64| Event::Extend {
        run: run_id(1),
        length: Duration::from_secs(s),
    };
    let due = |bot: &Bot| deadline(bot, &policy).map(|at| at.0 / 1_000_000);
    let (bot, _) = step(Bot::new(Wanted::Up), &policy, Event::WantUp, &tick(0, 1));
    let (bot, _) = step(bot, &policy, Event::Spawned { run: run.clone() }, &tick(0, 1));
    assert_eq!(due(&bot), Some(30));
    let (bot, _) = step(bot, &policy, extend(5), &tick(1, 2));
    assert_eq!(due(&bot), Some(30), "never less than it has");
    let (bot, _) = step(bot, &policy, extend(60), &tick(20, 2));
    assert_eq!(due(&bot), Some(80));
    let (late, _) = step(bot.clone(), &policy, Event::DeadlinePassed, &tick(80, 2));
    assert_eq!(
        late.reason(&policy).unwrap(),
        "not ready within 30s and the time that it asked for"
    );
    let (bot, _) = step(bot, &policy, Event::Ready { run }, &tick(70, 2));
    let (bot, _) = step(bot, &policy, extend(60), &tick(71, 2));
    assert!(matches!(bot.phase, Phase::Running { .. }));
    let (bot, _) = step(bot, &policy, Event::WantDown(StopMode::Graceful), &tick(100, 2));
    let margin = STOP_MARGIN.as_secs();
    assert_eq!(due(&bot), Some(110 + margin));
    let (bot, _) = step(bot, &policy, extend(1_000_000), &tick(105, 2));
    assert_eq!(due(&bot), Some(105 + 3600 + margin));
    let (bot, _) = step(bot, &policy, Event::WantDown(StopMode::Forced), &tick(106, 2));
    assert_eq!(due(&bot), Some(106 + margin), "force is force");
}

#[test]
fn a_bot_without_room_waits_until_there_is_some_or_it_is_not_wanted() {
    let policy = plain();
    let full = |second| Tick {
        room: Err("no capacity: 5 of 5 bots run (max_bots)".to_owned()),
        ..tick(second, 9)
    };
    let (held, effects) = step(Bot::new(Wanted::Up), &policy, Event::WantUp, &full(0));
    assert_eq!((effects, deadline(&held, &policy)), (vec![], None));
    let why = held.reason(&policy);
    assert_eq!(why.as_deref(), Some("no capacity: 5 of 5 bots run (max_bots)"));
    assert_eq!(
        step(held.clone(), &policy, Event::Room, &full(1)),
        (held.clone(), vec![])
    );
    let (up, effects) = step(held.clone(), &policy, Event::Room, &tick(2, 3));
    assert_eq!((effects, up.restarts), (vec![Effect::Spawn { run: run_id(3) }], 0));
    let (down, _) = step(held, &policy, Event::WantDown(StopMode::Graceful), &tick(2, 3));
    assert_eq!(down.phase, Phase::Down(Rest::Asked));
    assert_eq!(step(down.clone(), &policy, Event::Room, &tick(3, 4)), (down, vec![]));
}

#[test]
fn one_that_gave_up_and_finds_no_room_is_not_counted_as_restarted() {
    let policy = plain();
    let gave_up = Bot {
        phase: Phase::GaveUp {
            until: Some(Moment(5)),
            why: "killed by SIGKILL".to_owned(),
        },
        ..Bot::new(Wanted::Up)
    };
    let full = Tick {
        room: Err("no capacity".to_owned()),
        ..tick(1, 9)
    };
    let (bot, effects) = step(gave_up, &policy, Event::DeadlinePassed, &full);
    assert_eq!((bot.state().word(), bot.restarts, effects), ("held", 0, vec![]));
}
