//! Series that somebody could have measured, and what is to be said of them.

use super::*;
use crate::model::bot::State;
use crate::model::metric::Resolution;
use proptest::prelude::*;

const MIB: u64 = 1 << 20;
const MINUTE: i64 = 60;
const HOUR: i64 = 3600;
/// Midnight, in seconds.
const BEGIN: i64 = 19_676 * 24 * HOUR;

fn stamp(second: i64) -> Stamp {
    Stamp((BEGIN + second) * 1_000_000)
}

/// Minutes from `from` to `to` of a run that began at `begun`.
fn minutes(from: i64, to: i64, begun: i64, memory: impl Fn(i64) -> u64) -> Vec<MetricRow> {
    (from..to)
        .step_by(60)
        .map(|second| MetricRow {
            resolution: Resolution::Minute,
            measured: 12,
            memory_bytes: Some(memory(second)),
            memory_max: Some(memory(second)),
            uptime_s: u64::try_from(second + 60 - begun).ok(),
            ..MetricRow::of_pass(stamp(second), "shop".parse().unwrap(), State::Running)
        })
        .collect()
}

fn evidence<'a>(day: &'a [MetricRow], week: &'a [MetricRow], failures: &'a [Failure]) -> Evidence<'a> {
    let newest = day
        .iter()
        .chain(week)
        .map(end_of)
        .chain(failures.iter().map(|it| it.at))
        .max();
    Evidence {
        day,
        week,
        failures,
        memory_limit: None,
        now: newest.unwrap_or(stamp(0)),
    }
}

fn texts(evidence: &Evidence<'_>) -> Vec<String> {
    advise(evidence).into_iter().map(|advice| advice.text).collect()
}

fn failures(at: &[i64], why: &str) -> Vec<Failure> {
    let failure = |second: &i64| Failure {
        at: stamp(*second),
        why: why.to_owned(),
    };
    at.iter().map(failure).collect()
}

#[test]
fn a_leak_is_told_with_its_speed_and_its_end() {
    let leak = |second: i64| 100 * MIB + (second * 4 * MIB as i64 / HOUR) as u64;
    let rows = minutes(0, 6 * HOUR, 0, leak);
    let limited = Evidence {
        memory_limit: Some(160 * MIB),
        ..evidence(&rows, &[], &[])
    };
    assert_eq!(
        texts(&limited),
        ["memory grows 4.0 MiB/h, its limit of 160.0 MiB is reached in about 9 h"]
    );
    let advice = &advise(&limited)[0];
    assert_eq!(advice.rule, "memory_growth");
    assert!(
        (advice.figures["bytes_per_hour"] - 4.0 * MIB as f64).abs() < 1000.0,
        "{advice:?}"
    );
    assert_eq!(
        texts(&evidence(&rows, &[], &[])),
        ["memory grows 4.0 MiB/h, now 123.9 MiB; no limit is set"]
    );
    let over = Evidence {
        memory_limit: Some(120 * MIB),
        ..limited
    };
    assert_eq!(
        texts(&over),
        ["memory grows 4.0 MiB/h and is over its limit of 120.0 MiB"]
    );
}

#[test]
fn what_is_no_leak_is_not_called_one() {
    let steady = |_| 100 * MIB;
    let saw = |second: i64| 100 * MIB + (second % HOUR) as u64 * MIB / 60;
    let warm = |second: i64| 100 * MIB + (second.min(500) as u64) * MIB / 10;
    let down = |second: i64| 500 * MIB - second as u64 * MIB / 600;
    let slow = |second: i64| 100 * MIB + second as u64 * 100;
    let leak = |second: i64| 100 * MIB + second as u64 * MIB / 100;
    for (what, rows) in [
        ("steady", minutes(0, 6 * HOUR, 0, steady)),
        ("collected every hour", minutes(0, 6 * HOUR, 0, saw)),
        ("warming up", minutes(0, 6 * HOUR, 0, warm)),
        ("shrinking", minutes(0, 6 * HOUR, 0, down)),
        ("hardly growing", minutes(0, 6 * HOUR, 0, slow)),
        ("too short a time", minutes(0, HOUR, 0, leak)),
        ("the newest run is too young", minutes(0, 6 * HOUR, 5 * HOUR, leak)),
        ("nothing", Vec::new()),
    ] {
        assert_eq!(texts(&evidence(&rows, &[], &[])), [""; 0], "{what}");
    }
    // It grew, and it is over.
    let rows = minutes(0, 6 * HOUR, 0, leak);
    let later = Evidence {
        now: stamp(8 * HOUR),
        ..evidence(&rows, &[], &[])
    };
    assert_eq!(texts(&later), [""; 0]);
    // At this speed nobody will see the end.
    let far = Evidence {
        memory_limit: Some(1 << 40),
        ..evidence(&rows, &[], &[])
    };
    assert_eq!(texts(&far), [""; 0]);
}

#[test]
fn outliers_do_not_hide_a_leak() {
    let noisy = |second: i64| {
        let spike = if second / 60 % 37 == 0 { 80 * MIB } else { 0 };
        100 * MIB + second as u64 * MIB / 100 + spike
    };
    let rows = minutes(0, 6 * HOUR, 0, noisy);
    let said = texts(&evidence(&rows, &[], &[]));
    assert!(
        said[0].starts_with("memory grows 36.") || said[0].starts_with("memory grows 35."),
        "{said:?}"
    );
}

#[test]
fn failures_at_one_time_of_the_day_are_noticed_also_around_midnight() {
    let nightly = [10, 12, 9, 14].map(|minute| 3 * HOUR + minute * MINUTE);
    let at: Vec<i64> = (0..4).map(|day| day * 24 * HOUR + nightly[day as usize]).collect();
    let found = failures(&at, "exit code 1");
    assert_eq!(
        texts(&evidence(&[], &[], &found)),
        ["fails and restarts every night at about 03:12 UTC (4 days in a row)"]
    );
    let midnight: Vec<i64> = [-2, 3, 1]
        .iter()
        .zip(1..)
        .map(|(minute, day)| day * 24 * HOUR + minute * MINUTE)
        .collect();
    let said = texts(&evidence(&[], &[], &failures(&midnight, "x")));
    assert_eq!(
        said,
        ["fails and restarts every night at about 00:01 UTC (3 days in a row)"]
    );
    let noon: Vec<i64> = (0..3).map(|day| day * 24 * HOUR + 12 * HOUR).collect();
    assert!(texts(&evidence(&[], &[], &failures(&noon, "x")))[0].contains("every day at about 12:00"));
    for (what, at) in [
        ("two nights", vec![3 * HOUR, 27 * HOUR]),
        (
            "three nights in two weeks",
            vec![3 * HOUR, (24 * 7 + 3) * HOUR, (24 * 13 + 3) * HOUR],
        ),
        ("all the time", (0..72).map(|hour| hour * HOUR).collect()),
        ("one night", vec![3 * HOUR, 3 * HOUR + 60, 3 * HOUR + 120]),
    ] {
        let said = texts(&evidence(&[], &[], &failures(&at, "")));
        assert_eq!(said, [""; 0], "{what}");
    }
}

#[test]
fn the_usual_reason_is_named() {
    let mut found = failures(&[0, 60, 120, 180], "exit code 1");
    found.extend(failures(&[200], "killed by SIGKILL"));
    assert_eq!(
        texts(&evidence(&[], &[], &found)),
        ["fails most often with: exit code 1 (4 times in 24 h)"]
    );
    // Nothing stands out, or it is too long ago.
    let mixed = [failures(&[0, 1, 2], "a"), failures(&[3, 4, 5], "b")].concat();
    assert_eq!(texts(&evidence(&[], &[], &mixed)), [""; 0]);
    let later = Evidence {
        now: stamp(25 * HOUR),
        ..evidence(&[], &[], &found)
    };
    assert_eq!(texts(&later), [""; 0]);
}

#[test]
fn limits_are_compared_with_what_is_used() {
    let week = minutes(0, 7 * 24 * HOUR, 0, |second| 60 * MIB + second as u64 % (38 * MIB));
    let limited = |limit: u64| {
        let known = Evidence {
            memory_limit: Some(limit * MIB),
            ..evidence(&[], &week, &[])
        };
        texts(&known)
    };
    let said = "its memory limit of 1.0 GiB is 16 times what it uses (60.6 MiB at most in 7 d)";
    assert_eq!(limited(1024), [said]);
    assert_eq!(limited(500), [""; 0]);
    let said = "no memory limit is set; it uses 60.6 MiB at most in 7 d: a limit of 200.0 MiB would stop a leak early";
    assert_eq!(texts(&evidence(&[], &week, &[])), [said]);
    // Of half a day nobody can say.
    assert_eq!(texts(&evidence(&[], &week[..720], &[])), [""; 0]);
    for (peak, limit) in [
        (1, 10),
        (11, 20),
        (40, 50),
        (600, 1000),
        (30_000, 50_000),
        (60_000, 60_416),
    ] {
        assert_eq!(rounded_up(peak * MIB), limit * MIB, "{peak}");
    }
}

#[test]
fn a_queue_that_waits_day_after_day_is_told() {
    let stuck = |day: i64, length: i64| {
        let mut rows = minutes(day * 24 * HOUR, day * 24 * HOUR + length, 0, |_| MIB);
        rows.iter_mut().for_each(|row| row.queue = Some(3));
        rows
    };
    let week = [stuck(0, 500), stuck(2, 500), stuck(3, 300)].concat();
    assert_eq!(
        texts(&evidence(&[], &week, &[]))[0],
        "its queue has waited over 5 min on 2 days of the last 7"
    );
    // A queue that moves does not wait.
    let busy: Vec<MetricRow> = week
        .iter()
        .map(|row| MetricRow {
            messages_done: 9,
            ..row.clone()
        })
        .collect();
    assert!(
        !texts(&evidence(&[], &busy, &[]))
            .iter()
            .any(|text| text.contains("queue"))
    );
    let slow: Vec<MetricRow> = busy
        .iter()
        .map(|row| MetricRow {
            done_p95_ms: Some(301_000),
            ..row.clone()
        })
        .collect();
    assert!(
        texts(&evidence(&[], &slow, &[]))
            .iter()
            .any(|text| text.contains("on 3 days"))
    );
}

proptest! {
    #[test]
    fn noise_alone_is_no_leak(noise in proptest::collection::vec(0_u64..20, 360)) {
        let rows = minutes(0, 6 * HOUR, 0, |second| 100 * MIB + noise[usize::try_from(second / 60).unwrap()] * MIB);
        let said = texts(&evidence(&rows, &[], &[]));
        prop_assert!(said.is_empty(), "{said:?}");
    }
}
