//! Seeded random walks of the machine through a world that answers late, repeats itself and lies
//! about old runs. After every step the rules of the machine are asserted; a failure prints its seed.

mod tables;

use crate::model::dice::Dice;
use std::collections::BTreeMap;
use std::time::Duration;

use super::machine::{
    Because, Bot, Effect, Event, Hold, Phase, Policy, SpawnFailure, Stage, StopMode, Then, Tick, deadline, step,
};
use crate::model::bot::{
    BotSpec, End, Limits, LogPolicy, MediaPolicy, Platform, ReadyPolicy, ReadyWhen, RestartPolicy, RestartWhen, RunId,
    StopPolicy, Wanted,
};
use crate::model::credential::Refresh;
use crate::model::credential::login::LoginPolicy;
use crate::model::limits::{EXTENSION_MAX, STOP_MARGIN};
use crate::model::units::Moment;

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
            credentials_env: BTreeMap::default(),
            credentials_refresh: Refresh::Restart,
            login: LoginPolicy {
                exec: Vec::new(),
                timeout: Duration::ZERO,
            },
            blocking: crate::model::blocking::BlockingPolicy {
                max_failures: 3,
                duration: Duration::from_secs(3600),
                kicked: None,
            },
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
            judging: crate::model::judging::JudgingPolicy::default(),
            telegram: crate::model::telegram::TelegramPolicy::default(),
            whatsapp: crate::model::whatsapp::WhatsappPolicy::default(),
            chat: crate::model::chat::ChatPolicy::default(),
            limits: Limits::default(),
            kernel: crate::model::kernel::KernelPolicy::default(),
            log: LogPolicy { max_size: 1, keep: 1 },
            media: MediaPolicy::default(),
            queue: crate::model::queue::QueuePolicy::default(),
            accept_from: Vec::new(),
        },
        judged: None,
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
    let mut dice = Dice::new(seed);
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
