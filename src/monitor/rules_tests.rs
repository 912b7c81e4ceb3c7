//! Tables and seeded walks of the rules.

use super::*;
use crate::model::dice::Dice;
use crate::model::usage::{HALTED_MAX, LimitAction};

fn at(second: u64) -> Moment {
    Moment(second * 1_000_000)
}

/// Threads, because their values need no unit.
fn threads(max: Option<f64>, warn: Warn, lasting_s: u64) -> Limits {
    Limits {
        threads: Limit {
            max,
            warn,
            lasting: Duration::from_secs(lasting_s),
            action: LimitAction::Restart,
        },
        ..Limits::default()
    }
}

fn of(threads: u64) -> Usage {
    Usage {
        threads,
        ..Usage::default()
    }
}

/// The changes of level that these looks, each a second and a number of threads, lead to.
fn changes(limits: &Limits, looks: &[(u64, u64)]) -> Vec<(u64, Level, Level)> {
    let mut watch = Watch::default();
    let mut found = Vec::new();
    for (second, count) in looks {
        let (_, changes) = watch.judge(limits, None, &of(*count), at(*second));
        found.extend(changes.iter().map(|change| (*second, change.from, change.to)));
    }
    found
}

#[test]
fn the_next_watch_of_a_run_goes_on_where_the_last_one_was() {
    let limits = Limits {
        halted: Limit {
            max: Some(HALTED_MAX),
            warn: Warn::Share(0.8),
            lasting: Duration::from_secs(10),
            action: LimitAction::Alert,
        },
        ..threads(Some(100.0), Warn::Share(0.8), 10)
    };
    for (count, level, below) in [(101, Level::Max, Level::Warn), (90, Level::Warn, Level::Ok)] {
        let looks = |watch: &mut Watch, count, second| watch.judge(&limits, None, &of(count), at(second));
        let mut first = Watch::default();
        looks(&mut first, count, 0);
        let (known, _) = looks(&mut first, count, 10);
        assert_eq!(known[0].level, level);
        let mut next = Watch::resume(&limits, None, &known, at(100));
        assert_eq!(looks(&mut next, count, 101), (known.clone(), Vec::new()));
        let left = if level == Level::Max { 90 } else { 10 };
        let (standings, changes) = looks(&mut next, left, 102);
        assert_eq!((standings[0].level, changes.len(), changes[0].from), (below, 1, level));
        // Another threshold is judged anew, and says nothing of what it never found.
        let other = threads(Some(90.0), Warn::Share(0.8), 10);
        let mut next = Watch::resume(&other, None, &known, at(100));
        let (standings, changes) = next.judge(&other, None, &of(count), at(101));
        assert_eq!((standings[0].level, changes), (Level::Ok, vec![]));
    }
}

#[test]
fn what_cannot_be_measured_is_told_as_it_was_known_last() {
    let limits = Limits {
        cpu: Limit {
            max: Some(50.0),
            ..Limit::default()
        },
        ..Limits::default()
    };
    let busy = Usage {
        cpu_percent: Some(99.0),
        ..Usage::default()
    };
    let (known, _) = Watch::default().judge(&limits, None, &busy, at(0));
    let mut next = Watch::resume(&limits, None, &known, at(5));
    // A first look knows no CPU.
    assert_eq!(next.judge(&limits, None, &Usage::default(), at(5)), (known, vec![]));
}

#[test]
fn levels_are_reached_and_left() {
    use Level::{Max, Ok, Warn as Warned};
    let both = threads(Some(100.0), Warn::Share(0.8), 10);
    let max_alone = threads(Some(100.0), Warn::At(100.0), 10);
    let at_once = threads(Some(100.0), Warn::At(100.0), 0);
    let warn_alone = threads(None, Warn::At(50.0), 0);
    let tiny = threads(Some(1.0), Warn::At(1.0), 0);
    // Looks as seconds and counts; changes as seconds and levels.
    type Case<'a> = (&'a str, &'a Limits, &'a [(u64, u64)], &'a [(u64, Level, Level)]);
    let table: &[Case<'_>] = &[
        (
            "long enough",
            &max_alone,
            &[(0, 101), (5, 101), (10, 101)],
            &[(10, Ok, Max)],
        ),
        ("a break", &max_alone, &[(0, 101), (5, 100), (10, 101), (15, 101)], &[]),
        ("at the limit", &max_alone, &[(0, 100), (60, 100)], &[]),
        ("told once", &at_once, &[(0, 101), (5, 150), (10, 101)], &[(0, Ok, Max)]),
        (
            "it dances around the threshold",
            &at_once,
            &[(0, 101), (5, 96), (10, 102), (15, 95), (20, 101)],
            &[(0, Ok, Max)],
        ),
        (
            "left below 95 %, and reached anew",
            &at_once,
            &[(0, 101), (5, 94), (10, 101)],
            &[(0, Ok, Max), (5, Max, Ok), (10, Ok, Max)],
        ),
        (
            "up and down through both",
            &both,
            &[(0, 81), (10, 85), (15, 101), (25, 101), (30, 90), (35, 70)],
            &[(10, Ok, Warned), (25, Warned, Max), (30, Max, Warned), (35, Warned, Ok)],
        ),
        ("both in one look", &both, &[(0, 200), (10, 200)], &[(10, Ok, Max)]),
        (
            "a warn level alone",
            &warn_alone,
            &[(0, 51), (5, 5)],
            &[(0, Ok, Warned), (5, Warned, Ok)],
        ),
        (
            "a small count is left at its limit",
            &tiny,
            &[(0, 2), (5, 1)],
            &[(0, Ok, Max), (5, Max, Ok)],
        ),
        ("no threshold", &Limits::default(), &[(0, 1 << 40), (99, 1 << 40)], &[]),
    ];
    for (name, limits, looks, expected) in table {
        assert_eq!(changes(limits, looks), *expected, "{name}");
    }
}

#[test]
fn what_cannot_be_measured_changes_nothing() {
    let limits = Limits {
        cpu: Limit {
            max: Some(80.0),
            ..Limit::default()
        },
        ..Limits::default()
    };
    let cpu = |cpu_percent| Usage {
        cpu_percent,
        ..Usage::default()
    };
    let mut watch = Watch::default();
    assert_eq!(watch.judge(&limits, None, &cpu(None), at(0)).1, []);
    assert_eq!(watch.judge(&limits, None, &cpu(Some(99.6)), at(5)).1.len(), 1);
    let (standings, changes) = watch.judge(&limits, None, &cpu(None), at(10));
    assert_eq!((changes, standings[0].level), (vec![], Level::Max));
}

#[test]
fn the_words_name_value_limit_and_time() {
    let mut limits = threads(Some(100.0), Warn::Share(0.8), 0);
    limits.cpu.max = Some(80.0);
    limits.memory.max = Some(2048.0 * 1024.0);
    limits.halted.max = Some(HALTED_MAX);
    let usage = Usage {
        memory_bytes: 1800 * 1024,
        cpu_percent: Some(99.6),
        threads: 120,
        activity: Activity::Stopped,
        ..Usage::default()
    };
    let mut watch = Watch::default();
    let (standings, changes) = watch.judge(&limits, None, &usage, at(0));
    let said: Vec<&str> = changes.iter().map(|change| change.why.as_str()).collect();
    let expected = [
        "memory 1.8 MiB over limits.memory.warn 1.6 MiB for 0s",
        "cpu 100 % over limits.cpu.max 80 % for 0s",
        "threads 120 over limits.threads.max 100 for 0s",
        "halted: a signal has stopped its process (state T) for 0s",
    ];
    assert_eq!(said, expected);
    let shown: Vec<_> = standings
        .iter()
        .map(|it| (it.measure, it.warn, it.max, it.level))
        .collect();
    let expected = [
        (Measure::Memory, Some(1_677_721.0), Some(2_097_152.0), Level::Warn),
        (Measure::Cpu, Some(64.0), Some(80.0), Level::Max),
        (Measure::Threads, Some(80.0), Some(100.0), Level::Max),
        (Measure::Halted, None, None, Level::Max),
    ];
    assert_eq!(shown, expected);
    assert_eq!(
        standings[2].why.as_deref(),
        Some("threads 120 over limits.threads.max 100")
    );
    let idle = Usage {
        cpu_percent: Some(1.0),
        ..Usage::default()
    };
    let (standings, changes) = watch.judge(&limits, None, &idle, at(9));
    let said: Vec<&str> = changes.iter().map(|change| change.why.as_str()).collect();
    let expected = [
        "memory 0 B under limits.memory.warn 1.6 MiB again",
        "cpu 1 % under limits.cpu.max 80 % again",
        "threads 0 under limits.threads.max 100 again",
        "its process is not halted any more",
    ];
    assert_eq!(said, expected);
    assert!(standings.iter().all(|it| it.why.is_none() && it.since.is_none()));
}

#[test]
fn without_a_limit_memory_is_held_against_the_host() {
    let memory = |memory_bytes| Usage {
        memory_bytes,
        ..Usage::default()
    };
    let host = Some(1000 * 1024);
    let mut limits = Limits::default();
    let mut watch = Watch::default();
    assert_eq!(watch.judge(&limits, host, &memory(800 * 1024), at(0)).1, []);
    let (standings, changes) = watch.judge(&limits, host, &memory(801 * 1024), at(5));
    assert_eq!((changes[0].to, changes.len()), (Level::Warn, 1));
    assert_eq!(
        changes[0].why,
        "memory 801.0 KiB over 80 % of the host's memory, 1000.0 KiB for 0s"
    );
    assert_eq!((standings[0].warn, standings[0].max), (Some(819_200.0), None));
    limits.memory.max = Some(900.0 * 1024.0);
    let (standings, _) = watch.judge(&limits, host, &memory(801 * 1024), at(10));
    assert_eq!(
        standings[0].warn,
        Some(720.0 * 1024.0),
        "a limit of its own takes its place"
    );
    limits.memory = Limit {
        warn: Warn::At(5.0),
        ..Limit::default()
    };
    assert_eq!(
        Watch::default().judge(&limits, host, &memory(6), at(0)).0[0].warn,
        Some(5.0)
    );
    assert_eq!(
        Watch::default().judge(&Limits::default(), None, &memory(6), at(0)).0,
        []
    );
}

#[test]
fn another_limit_is_judged_anew() {
    let mut watch = Watch::default();
    let old = threads(Some(100.0), Warn::At(100.0), 0);
    watch.judge(&old, None, &of(101), at(0));
    let mut other = old.clone();
    other.threads.action = LimitAction::Stop;
    let (_, changes) = watch.judge(&other, None, &of(101), at(5));
    assert_eq!((changes[0].to, changes[0].action), (Level::Max, LimitAction::Stop));
    let slower = threads(Some(100.0), Warn::At(100.0), 10);
    let (_, changes) = watch.judge(&slower, None, &of(101), at(10));
    assert_eq!((changes[0].from, changes[0].to), (Level::Max, Level::Ok));
    assert_eq!(changes[0].why, "limits.threads has changed and is judged anew");
    assert_eq!(watch.judge(&slower, None, &of(101), at(20)).1[0].to, Level::Max);
}

#[test]
fn a_gap_is_a_break() {
    let limits = threads(Some(100.0), Warn::At(100.0), 10);
    let mut watch = Watch::default();
    watch.judge(&limits, None, &of(101), at(0));
    watch.interrupt();
    assert_eq!(watch.judge(&limits, None, &of(101), at(3600)).1, []);
    assert_eq!(watch.judge(&limits, None, &of(101), at(3610)).1.len(), 1);
    watch.interrupt();
    let (standings, changes) = watch.judge(&limits, None, &of(101), at(9999));
    assert_eq!(
        (standings[0].level, changes),
        (Level::Max, vec![]),
        "what was told stays told"
    );
}

/// What a plain reader of the looks says: how long, up to the last one, each was above a threshold.
fn above_for(looks: &[(Moment, u64)], threshold: f64) -> Option<Duration> {
    let tail = looks.iter().rev().take_while(|(_, value)| *value as f64 > threshold);
    tail.last().map(|(first, _)| looks[looks.len() - 1].0.since(*first))
}

fn walk(seed: u64) {
    let mut dice = Dice::new(seed);
    let max = 30 + dice.below(400);
    let lasting = Duration::from_secs(dice.below(40));
    let period = Duration::from_secs(1 + dice.below(9));
    let limits = threads(Some(max as f64), Warn::Share(0.8), lasting.as_secs());
    let (warn, max) = ((max * 4).div_ceil(5) as f64, max as f64);
    let mut watch = Watch::default();
    let mut looks: Vec<(Moment, u64)> = Vec::new();
    let mut now = at(1000);
    let mut level = Level::Ok;
    for _ in 0..300 {
        now = now + period;
        if dice.below(60) == 0 {
            // A new run is a new watch.
            (watch, level) = (Watch::default(), Level::Ok);
            looks.clear();
        }
        // It stays where it is, dances around a threshold, or jumps.
        let centre = [warn, max, 0.0, max * 2.0][dice.below(4) as usize];
        let value = match (dice.below(3), looks.last()) {
            (0, Some((_, last))) => *last,
            (1, _) => (centre * (0.93 + dice.below(14) as f64 / 100.0)) as u64,
            _ => dice.below((max * 2.0) as u64),
        };
        looks.push((now, value));
        let (standings, changes) = watch.judge(&limits, None, &of(value), now);
        let reached = standings[0].level;
        let value = value as f64;
        assert!(changes.len() <= 1, "told twice");
        assert_eq!(
            changes.is_empty(),
            reached == level,
            "told exactly when the level changes"
        );
        for (of, threshold) in [(Level::Warn, warn), (Level::Max, max)] {
            let (was, is) = (level >= of, reached >= of);
            let lasted = above_for(&looks, threshold);
            if is && !was {
                let lasted = lasted.expect("reached without being passed");
                assert!(lasted >= lasting, "reached too early");
                assert!(lasted < lasting + period, "reached at the first look that could");
            }
            if was && !is {
                assert!(value < threshold * MARGIN, "left within the margin");
            }
            if is && was {
                assert!(value >= threshold * MARGIN || reached > of, "not left below the margin");
            }
            if lasted.is_some_and(|lasted| lasted >= lasting) {
                assert!(is, "passed for long enough and not told");
            }
        }
        level = reached;
    }
}

#[test]
fn levels_do_not_flap_on_random_walks() {
    for seed in 0..2000 {
        let result = std::panic::catch_unwind(|| walk(seed));
        assert!(result.is_ok(), "walk with seed {seed} broke a rule");
    }
}
