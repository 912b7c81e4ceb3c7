//! What the table of measurements does over days, in a second.

use super::*;
use crate::store::Access;
use std::time::Duration;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// A whole hour, in unix milliseconds.
const BEGIN: i64 = 472_222 * HOUR;

fn store() -> (tempfile::TempDir, Store) {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join("multibot.db"), Access::History).unwrap();
    (home, store)
}

fn row(at_ms: i64, bot: &str) -> MetricRow {
    MetricRow {
        wanted: 1,
        up: 1,
        measured: 1,
        memory_bytes: Some(1000),
        cpu_percent: Some(2.5),
        uptime_s: Some(10),
        queue: Some(3),
        ..MetricRow::of_pass(Stamp::from_unix_ms(at_ms), bot.parse().unwrap(), State::Running)
    }
}

fn all(store: &Store, resolution: Resolution) -> Vec<MetricRow> {
    store.metrics().between(None, resolution, 0, i64::MAX).unwrap()
}

fn at(rows: &[MetricRow]) -> Vec<i64> {
    rows.iter().map(|row| row.at.unix_ms() - BEGIN).collect()
}

fn kept(raw: i64, minute: i64, hour: i64) -> Retention {
    let length = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap());
    Retention {
        raw: length(raw),
        minute: length(minute),
        hour: length(hour),
        events: length(hour),
        size_max: u64::MAX,
    }
}

#[test]
fn rows_come_back_as_they_were() {
    let (_home, store) = store();
    let full = MetricRow {
        state: State::Held,
        memory_max: Some(1 << 40),
        cpu_max: Some(399.9),
        connections: Some(1),
        open_files: Some(2),
        threads: Some(3),
        processes: Some(4),
        messages_in: 5,
        messages_done: 6,
        messages_out: 7,
        errors: 8,
        restarts: 9,
        done_p50_ms: Some(10),
        done_p95_ms: Some(11),
        ..row(BEGIN + 7, "b")
    };
    let bare = MetricRow::of_pass(Stamp::from_unix_ms(BEGIN), "a".parse().unwrap(), State::Adopting);
    store.metrics().append(&[full.clone(), bare.clone()]).unwrap();
    // Written again, after a crash in between, they stay what they are.
    store.metrics().append(std::slice::from_ref(&bare)).unwrap();
    assert_eq!(all(&store, Resolution::Raw), [bare, full]);
}

#[test]
fn every_state_has_a_number_and_the_view_knows_it() {
    let (_home, store) = store();
    for (number, state) in State::ALL.into_iter().enumerate() {
        let at = Stamp::from_unix_ms(BEGIN + number as i64);
        let bot = format!("bot-{number}").parse().unwrap();
        store.metrics().append(&[MetricRow::of_pass(at, bot, state)]).unwrap();
    }
    let raw = all(&store, Resolution::Raw);
    assert_eq!(raw.iter().map(|row| row.state).collect::<Vec<_>>(), State::ALL);
    let sql = "SELECT status FROM process_health ORDER BY process_name";
    let shown: Vec<String> = store.rows("look", sql, [], |row| row.get(0)).unwrap();
    assert_eq!(shown, State::ALL.map(State::word));
}

#[test]
fn a_minute_is_summed_up_when_it_is_over() {
    let (_home, store) = store();
    let first = MetricRow {
        memory_bytes: Some(100),
        cpu_percent: Some(1.0),
        queue: Some(9),
        messages_in: 2,
        messages_done: 1,
        restarts: 1,
        done_p50_ms: Some(10),
        done_p95_ms: Some(90),
        ..row(BEGIN + 1000, "a")
    };
    let second = MetricRow {
        memory_bytes: Some(300),
        cpu_percent: Some(4.0),
        uptime_s: Some(15),
        messages_in: 1,
        messages_done: 3,
        errors: 4,
        done_p50_ms: Some(50),
        done_p95_ms: Some(60),
        ..row(BEGIN + 6000, "a")
    };
    let down = MetricRow {
        wanted: 1,
        ..MetricRow::of_pass(
            Stamp::from_unix_ms(BEGIN + 11_000),
            "a".parse().unwrap(),
            State::Backoff,
        )
    };
    store.metrics().append(&[first, second, down]).unwrap();
    let sum_up = |at_ms| store.metrics().sum_up(Stamp::from_unix_ms(at_ms)).unwrap();
    sum_up(BEGIN + MINUTE - 1);
    assert_eq!(all(&store, Resolution::Minute), []);
    sum_up(BEGIN + MINUTE);
    sum_up(BEGIN + MINUTE + 5);
    let expected = MetricRow {
        resolution: Resolution::Minute,
        at: Stamp::from_unix_ms(BEGIN),
        state: State::Backoff,
        samples: 3,
        wanted: 3,
        up: 2,
        measured: 2,
        memory_bytes: Some(200),
        memory_max: Some(300),
        cpu_percent: Some(2.5),
        cpu_max: Some(4.0),
        uptime_s: Some(15),
        queue: Some(9),
        messages_in: 3,
        messages_done: 4,
        errors: 4,
        restarts: 1,
        done_p50_ms: Some(40),
        done_p95_ms: Some(90),
        ..row(0, "a")
    };
    assert_eq!(all(&store, Resolution::Minute), [expected]);
    assert_eq!(
        all(&store, Resolution::Raw).len(),
        3,
        "what was summed up stays until its time is over"
    );
}

/// The same two hours of passes, summed up at every pass, and at once after a crash at every possible place: the
/// sums are the same.
#[test]
fn sums_do_not_depend_on_when_they_were_made() {
    let passes: Vec<i64> = (0..(2 * HOUR / 20_000)).map(|n| BEGIN + n * 20_000).collect();
    let fill = |store: &Store, from: usize, to: usize, at_every: usize| {
        for (number, at) in passes.iter().enumerate().take(to).skip(from) {
            store.metrics().append(&[row(*at, "a"), row(*at, "b")]).unwrap();
            if number % at_every == 0 {
                store.metrics().sum_up(Stamp::from_unix_ms(*at)).unwrap();
            }
        }
    };
    let end = Stamp::from_unix_ms(BEGIN + 2 * HOUR);
    let (_home, steady) = store();
    fill(&steady, 0, passes.len(), 1);
    steady.metrics().sum_up(end).unwrap();
    let (minutes, hours) = (all(&steady, Resolution::Minute), all(&steady, Resolution::Hour));
    assert_eq!((minutes.len(), hours.len()), (240, 4));
    assert!(
        hours
            .iter()
            .all(|row| row.samples == 180 && row.memory_bytes == Some(1000)),
        "{hours:?}"
    );
    for cut in (0..passes.len()).step_by(17) {
        let (_home, store) = store();
        fill(&store, 0, cut, 7);
        // The minutes of it were summed up, and the crash came before the hours.
        let last = passes.get(cut).copied().unwrap_or(BEGIN);
        store
            .metrics()
            .sum_up_to(Resolution::Minute, Stamp::from_unix_ms(last))
            .unwrap();
        fill(&store, cut, passes.len(), passes.len());
        store.metrics().sum_up(end).unwrap();
        assert_eq!(all(&store, Resolution::Minute), minutes, "cut at {cut}");
        assert_eq!(all(&store, Resolution::Hour), hours, "cut at {cut}");
    }
}

#[test]
fn a_clock_that_ran_ahead_stops_no_sums() {
    let (_home, store) = store();
    let metrics = store.metrics();
    metrics.append(&[row(BEGIN + 1000 * HOUR, "a")]).unwrap();
    metrics
        .sum_up(Stamp::from_unix_ms(BEGIN + 1000 * HOUR + MINUTE))
        .unwrap();
    metrics.append(&[row(BEGIN, "a"), row(BEGIN + MINUTE, "a")]).unwrap();
    metrics.sum_up(Stamp::from_unix_ms(BEGIN + MINUTE)).unwrap();
    assert_eq!(at(&all(&store, Resolution::Minute)), [0, 1000 * HOUR]);
}

#[test]
fn a_series_goes_on_finer_and_begins_coarser() {
    let (_home, store) = store();
    let metrics = store.metrics();
    for pass in 0..=(130 * 3) {
        metrics
            .append(&[row(BEGIN + pass * 20_000, "a"), row(BEGIN + pass * 20_000, "b")])
            .unwrap();
    }
    let now = Stamp::from_unix_ms(BEGIN + 130 * MINUTE);
    metrics.sum_up(now).unwrap();
    // Single passes of the last ten minutes, minutes of the last hour.
    metrics.drop_old(&kept(10 * MINUTE, HOUR, 100 * HOUR), now).unwrap();
    let a = "a".parse().unwrap();
    let series = |resolution, from_ms: i64| {
        let from = Stamp::from_unix_ms(BEGIN + from_ms);
        let to = Stamp(now.0 + 1_000_000);
        let rows = metrics.series(Some(&a), resolution, from, to).unwrap();
        assert!(
            rows.is_sorted_by_key(|row| row.at) && rows.iter().all(|row| row.bot == a),
            "{rows:?}"
        );
        let count = |resolution| rows.iter().filter(|row| row.resolution == resolution).count();
        Resolution::ALL.map(count)
    };
    // Each at its own resolution as far as it goes: the hour of 60 to 120 ends after the first minute that is left.
    assert_eq!(series(Resolution::Hour, 0), [1, 10, 2]);
    assert_eq!(series(Resolution::Minute, 0), [1, 60, 1]);
    assert_eq!(series(Resolution::Raw, 0), [31, 50, 1]);
    assert_eq!(series(Resolution::Raw, 125 * MINUTE), [16, 0, 0]);
    let none = "c".parse().unwrap();
    assert_eq!(metrics.series(Some(&none), Resolution::Raw, Stamp(0), now).unwrap(), []);
}

#[test]
fn rows_are_dropped_when_their_time_is_over() {
    let (_home, store) = store();
    let metrics = store.metrics();
    for minute in 0..=180 {
        metrics.append(&[row(BEGIN + minute * MINUTE, "a")]).unwrap();
    }
    let now = Stamp::from_unix_ms(BEGIN + 180 * MINUTE);
    metrics.sum_up(now).unwrap();
    assert_eq!(
        metrics.drop_old(&kept(10 * HOUR, 10 * HOUR, 10 * HOUR), now).unwrap(),
        0
    );
    let dropped = metrics.drop_old(&kept(5 * MINUTE, 10 * MINUTE, HOUR), now).unwrap();
    assert_eq!(
        at(&all(&store, Resolution::Raw)),
        (175..=180).map(|it| it * MINUTE).collect::<Vec<_>>()
    );
    assert_eq!(
        at(&all(&store, Resolution::Minute)),
        (170..180).map(|it| it * MINUTE).collect::<Vec<_>>()
    );
    assert_eq!(at(&all(&store, Resolution::Hour)), [2 * HOUR]);
    assert_eq!(dropped, 175 + 170 + 2);
}

#[test]
fn a_database_that_grows_too_large_loses_its_oldest_and_finest_rows_first() {
    let (_home, store) = store();
    let metrics = store.metrics();
    for minute in 0..=300 {
        let rows: Vec<MetricRow> = (0..40)
            .map(|n| row(BEGIN + minute * MINUTE, &format!("bot-{n}")))
            .collect();
        metrics.append(&rows).unwrap();
    }
    metrics.sum_up(Stamp::from_unix_ms(BEGIN + 300 * MINUTE)).unwrap();
    let full = store.used_bytes().unwrap();
    assert_eq!(metrics.drop_surplus(full).unwrap(), 0);
    let minutes = all(&store, Resolution::Minute).len();
    // Close under the bound, wherever it lies.
    for bound in [full * 95 / 100, full * 9 / 10, full * 8 / 10] {
        assert!(metrics.drop_surplus(bound).unwrap() > 0);
        let used = store.used_bytes().unwrap();
        assert!(used <= bound && used > bound - 32 * 1024, "{used} of {bound}");
    }
    let raw = at(&all(&store, Resolution::Raw));
    assert!(raw[0] > 0 && *raw.last().unwrap() == 300 * MINUTE, "the newest stay");
    assert_eq!(all(&store, Resolution::Minute).len(), minutes, "the finest goes first");
    metrics.drop_surplus(0).unwrap();
    assert_eq!(Resolution::ALL.map(|it| all(&store, it).len()), [0, 0, 0]);
}

#[test]
fn one_bot_is_forgotten_and_no_other() {
    let (_home, store) = store();
    store.metrics().append(&[row(BEGIN, "a"), row(BEGIN, "b")]).unwrap();
    store.metrics().forget(&"a".parse().unwrap()).unwrap();
    let left = all(&store, Resolution::Raw);
    assert_eq!(left.iter().map(|row| row.bot.as_str()).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn a_dashboard_sees_the_last_hour_by_pass_and_a_day_by_minute() {
    let (_home, store) = store();
    let metrics = store.metrics();
    for minute in 0..=(26 * 60) {
        metrics.append(&[row(BEGIN + minute * MINUTE, "a")]).unwrap();
    }
    metrics.sum_up(Stamp::from_unix_ms(BEGIN + 26 * HOUR)).unwrap();
    let sql = "SELECT COUNT(*), COUNT(DISTINCT timestamp), MIN(timestamp), MAX(timestamp) FROM process_health";
    let read = |row: &Row<'_>| {
        Ok((
            row.get::<_, i64>(0)?,
            row.get::<_, i64>(1)?,
            row.get::<_, String>(2)?,
            row.get::<_, String>(3)?,
        ))
    };
    let (rows, times, oldest, newest) = store.row("look", sql, [], read).unwrap().unwrap();
    assert_eq!((rows, times), (24 * 60 + 1, 24 * 60 + 1));
    assert_eq!(
        (oldest.as_str(), newest.as_str()),
        ("2023-11-15 00:00:00", "2023-11-16 00:00:00")
    );
}
