//! Seeded random walks of the machine through a world that answers late, repeats itself and lies
//! about old runs. After every step the rules of the machine are asserted; a failure prints its seed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::machine::{
    Because, Bot, Effect, Event, Hold, Phase, Policy, SpawnFailure, Stage, StopMode, Then, Tick, deadline, step,
};
use crate::model::bot::{
    BotSpec, End, Limits, LogPolicy, MediaPolicy, Platform, ReadyPolicy, ReadyWhen, RestartPolicy, RestartWhen, RunId,
    StopPolicy, Wanted,
};
use crate::model::limits::{EXTENSION_MAX, STOP_MARGIN};
use crate::model::units::Moment;

/// A small xorshift: the walks need a seed that can be printed, not quality.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

fn policy(dice: &mut Dice) -> Policy {
    let when = [RestartWhen::Always, RestartWhen::OnFailure, RestartWhen::Never][dice.below(3) as usize];
    let ready = [ReadyWhen::Alive, ReadyWhen::Signal][dice.below(2) as usize];
    Policy {
        spec: BotSpec {
            id: "walker".parse().unwrap(),
            platform: Platform::None,
            command: vec!["true".into()],
            cwd: None,
            env: BTreeMap::new(),
            env_file: None,
            env_inherit: Vec::new(),
            token_env: Vec::new(),
            enabled: true,
            restart: RestartPolicy {
                when,
                delay: Duration::from_millis(dice.below(3000)),
                factor: 1.0 + dice.below(3) as f64,
                max_delay: Duration::from_secs(60),
                max_restarts: dice.below(6) as u32,
                window: Duration::from_secs(1 + dice.below(600)),
                reset_after: Duration::from_secs(1 + dice.below(60)),
                retry_failed: (!dice.one_in(4)).then(|| Duration::from_secs(1 + dice.below(600))),
            },
            stop: StopPolicy {
                signal: 15,
                grace: Duration::from_secs(dice.below(12)),
            },
            ready: ReadyPolicy {
                when: ready,
                timeout: Duration::from_secs(1 + dice.below(30)),
                min_uptime: Duration::from_millis(dice.below(2000)),
            },
            heartbeat_timeout: Duration::from_secs(1 + dice.below(60)),
            probes: Vec::new(),
            errors_pattern: None,
            limits: Limits::default(),
            kernel: crate::model::kernel::KernelPolicy::default(),
            log: LogPolicy { max_size: 1, keep: 1 },
            media: MediaPolicy::default(),
            queue: crate::model::queue::QueuePolicy::default(),
            accept_from: Vec::new(),
        },
        unsupported: dice.one_in(20).then(|| "not built in".to_owned()),
    }
}

fn run_id(number: u64) -> RunId {
    RunId::parse(&format!("{number:026}")).unwrap()
}

/// What the machine cannot see: which runs live, and which orders are still on their way.
struct World {
    live: Vec<RunId>,
    ordered: Vec<RunId>,
    old: Vec<RunId>,
    next_run: u64,
    now: Moment,
}

impl World {
    /// Some news: mostly true, sometimes late, sometimes of a run long gone.
    fn news(&mut self, dice: &mut Dice) -> Event {
        let stale = self.old.last().cloned();
        let live = self.live.first().cloned();
        match dice.below(17) {
            0 => Event::WantUp,
            15 => live.map_or(Event::DeadlinePassed, |run| Event::Extend {
                run,
                length: Duration::from_secs(dice.below(20_000)),
            }),
            16 => Event::Room,
            14 => self.next_supervisor(dice),
            1 => Event::WantDown(if dice.one_in(2) {
                StopMode::Forced
            } else {
                StopMode::Graceful
            }),
            2 => Event::WantRestart(StopMode::Graceful),
            3 | 4 if !self.ordered.is_empty() => self.answer_spawn(dice),
            5 if live.is_some() => self.end(dice),
            6 => live.map_or(Event::DeadlinePassed, |run| Event::Ready { run }),
            7 => live.map_or(Event::DeadlinePassed, |run| Event::Heartbeat { run }),
            8 => live.map_or(Event::DeadlinePassed, |run| Event::Unhealthy {
                run,
                why: "over its limit".into(),
                then: if dice.one_in(3) { Then::GiveUp } else { Then::Restart },
            }),
            9 => stale.map_or(Event::ClockJumped, |run| Event::Exited { run, end: End::Code(0) }),
            10 => stale.map_or(Event::ClockJumped, |run| Event::Spawned { run }),
            11 => stale.map_or(Event::ClockJumped, |run| Event::SpawnFailed {
                run,
                failure: SpawnFailure::Passing("late".into()),
            }),
            _ => Event::DeadlinePassed,
        }
    }

    /// Another supervisor takes the bot up. Whether it is wanted is stored elsewhere.
    fn next_supervisor(&self, dice: &mut Dice) -> Event {
        if dice.one_in(3) {
            Event::WantDown(StopMode::Graceful)
        } else {
            Event::Resume
        }
    }

    fn answer_spawn(&mut self, dice: &mut Dice) -> Event {
        let run = self.ordered.remove(0);
        let failure = match dice.below(9) {
            0 => SpawnFailure::Command("no such file".into()),
            1 => SpawnFailure::Passing("too many processes".into()),
            2 => SpawnFailure::PreviousAlive { pid: 7 },
            3 => SpawnFailure::Cancelled,
            4 => SpawnFailure::Unproven("somebody holds its lock".into()),
            _ => {
                self.live.push(run.clone());
                return Event::Spawned { run };
            }
        };
        self.old.push(run.clone());
        Event::SpawnFailed { run, failure }
    }

    fn end(&mut self, dice: &mut Dice) -> Event {
        let run = self.live.remove(0);
        self.old.push(run.clone());
        let end = match dice.below(3) {
            0 => End::Code(0),
            1 => End::Code(1),
            _ => End::Signal { number: 9, core: false },
        };
        Event::Exited { run, end }
    }

    fn perform(&mut self, effects: Vec<Effect>, dice: &mut Dice) {
        for effect in effects {
            match effect {
                Effect::Spawn { run } => self.ordered.push(run),
                // An order that is called back is answered all the same, now or later.
                Effect::Terminate { .. } | Effect::Kill { .. } => {
                    if dice.one_in(2) {
                        self.now = self.now + Duration::from_millis(dice.below(50));
                    }
                }
            }
        }
    }
}

/// The rules that hold between a bot before and after one step.
fn assert_rules(before: &Bot, after: &Bot, event: &Event, effects: &[Effect], policy: &Policy, world: &World) {
    let spawns: Vec<_> = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Spawn { .. }))
        .collect();
    assert!(spawns.len() <= 1, "two spawns in one step");
    if !spawns.is_empty() {
        let ended = matches!(event, Event::Exited { .. } | Event::SpawnFailed { .. });
        assert!(before.live_run().is_none() || ended, "a spawn beside a live run");
        assert!(
            world.live.is_empty() && world.ordered.is_empty(),
            "a spawn while the world still has a run"
        );
        assert_eq!(after.wanted, Wanted::Up, "a spawn of what is wanted down");
        if *event == Event::DeadlinePassed {
            let may = matches!(
                before.phase,
                Phase::Waiting { .. } | Phase::GaveUp { .. } | Phase::Held { .. }
            );
            assert!(may, "an unasked spawn from {:?}", before.phase);
        }
        if *event == Event::Room {
            let waited = matches!(
                before.phase,
                Phase::Held {
                    hold: Hold::NoCapacity(_),
                    ..
                }
            );
            assert!(waited, "room made a spawn from {:?}", before.phase);
        }
    }
    for effect in effects {
        if let Effect::Terminate { run } | Effect::Kill { run } = effect {
            assert_eq!(Some(run), before.live_run(), "a signal to a run that is not live");
        }
    }
    if after.wanted == Wanted::Down {
        let up = matches!(
            after.phase,
            Phase::Spawning { .. } | Phase::Starting { .. } | Phase::Running { .. } | Phase::Waiting { .. }
        );
        assert!(!up, "wanted down and {:?}", after.phase);
    }
    let entered = std::mem::discriminant(&before.phase) != std::mem::discriminant(&after.phase);
    if entered && let Some(at) = deadline(after, policy) {
        let heard = matches!(after.phase, Phase::Running { .. });
        assert!(
            at >= world.now || heard,
            "{:?} begins with a deadline in the past",
            after.phase
        );
    }
    if let Event::Extend { .. } = event {
        let (old, new) = (deadline(before, policy), deadline(after, policy));
        assert!(
            new >= old && effects.is_empty(),
            "more time became less: {old:?} {new:?}"
        );
        let most = world.now + EXTENSION_MAX + STOP_MARGIN;
        assert!(new <= old.max(Some(most)), "more time than one request may get");
    }
    let limit = policy.spec.restart.max_restarts as usize;
    let gave_up = matches!(after.phase, Phase::GaveUp { .. } | Phase::Held { .. } | Phase::Down(_));
    let tried_again = matches!(
        after.phase,
        Phase::Spawning { .. } | Phase::Starting { .. } | Phase::Running { .. } | Phase::Stopping { .. }
    );
    // What was given up and is tried again may fail once more in an outage, which counts nothing.
    let counted = after.failures.recent() > before.failures.recent();
    assert!(
        after.failures.recent() <= limit || gave_up || tried_again || !counted,
        "too many failures in {:?}",
        after.phase
    );
}

/// In an outage no failure counts, and nobody who has failed in it is back before `soonest`.
fn assert_frozen(before: &Bot, after: &Bot, soonest: Moment) {
    assert!(after.failures.streak() <= before.failures.streak());
    assert!(after.failures.recent() <= before.failures.recent());
    if let (Phase::Waiting { until, .. }, false) = (&after.phase, matches!(before.phase, Phase::Waiting { .. })) {
        assert!(*until >= soonest, "back too soon: {until:?}");
    }
}

fn walk(seed: u64, steps: u32) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let policy = policy(&mut dice);
    let mut bot = Bot::new(Wanted::Up);
    let mut world = World {
        live: vec![],
        ordered: vec![],
        old: vec![],
        next_run: 1,
        now: Moment(1_000_000),
    };
    let mut outage = None;
    for _ in 0..steps {
        if dice.one_in(15) {
            outage = dice.one_in(2).then(|| Duration::from_secs(dice.below(60)));
        }
        let event = world.news(&mut dice);
        match deadline(&bot, &policy) {
            Some(at) if event == Event::DeadlinePassed => world.now = world.now.max(at),
            _ => world.now = world.now + Duration::from_millis(dice.below(3000)),
        }
        let room = if dice.one_in(6) {
            Err("no capacity".to_owned())
        } else {
            Ok(())
        };
        let tick = Tick {
            now: world.now,
            next_run: run_id(world.next_run),
            room,
            outage,
        };
        let before = bot.clone();
        let (after, effects) = step(bot, &policy, event.clone(), &tick);
        assert_rules(&before, &after, &event, &effects, &policy, &world);
        assert!(tick.room.is_ok() || effects.iter().all(|it| !matches!(it, Effect::Spawn { .. })));
        if let Some(least) = outage {
            assert_frozen(&before, &after, world.now + least);
        }
        if event == Event::DeadlinePassed && deadline(&before, &policy).is_some_and(|at| at <= world.now) {
            assert_ne!(before, after, "a deadline that changes nothing would fire for ever");
        }
        world.next_run += 1;
        world.perform(effects, &mut dice);
        bot = after;
    }
    reaches_down(bot, &policy, &mut world);
}

/// From anywhere, an asked stop ends within grace plus kill, or says that it is stuck.
fn reaches_down(bot: Bot, policy: &Policy, world: &mut World) {
    let begun = world.now;
    let tick = |now| Tick {
        now,
        next_run: run_id(0),
        room: Ok(()),
        outage: None,
    };
    // A bot that was ending already may have asked for more time.
    let granted = match &bot.phase {
        Phase::Stopping {
            stage: Stage::Asked { until },
            ..
        } => *until,
        _ => begun,
    };
    let (mut bot, _) = step(bot, policy, Event::WantDown(StopMode::Graceful), &tick(begun));
    while let Some(at) = deadline(&bot, policy) {
        world.now = world.now.max(at);
        bot = step(bot, policy, Event::DeadlinePassed, &tick(world.now)).0;
    }
    let patience = policy.spec.stop.grace + STOP_MARGIN * 2;
    assert!(world.now <= (begun + patience).max(granted + STOP_MARGIN));
    let stuck = matches!(
        bot.phase,
        Phase::Stopping {
            stage: Stage::Stuck,
            ..
        }
    );
    let unproven = matches!(
        bot.phase,
        Phase::Held {
            hold: Hold::Unproven(_),
            ..
        }
    );
    assert!(
        stuck || unproven || matches!(bot.phase, Phase::Down(_)),
        "ended in {:?}",
        bot.phase
    );
}

#[test]
fn the_rules_hold_on_random_walks() {
    for seed in 0..3000 {
        let result = std::panic::catch_unwind(|| walk(seed, 120));
        assert!(result.is_ok(), "walk with seed {seed} broke a rule");
    }
}

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
    let mut policy = policy(&mut Dice(1));
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
    assert_eq!((bot.phase, effects), (Phase::Down(super::machine::Rest::Asked), vec![]));
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
        Phase::Down(super::machine::Rest::Finished(End::Code(0))),
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
    assert_eq!(down.phase, Phase::Down(super::machine::Rest::Asked));
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
