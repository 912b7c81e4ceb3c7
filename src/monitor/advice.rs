//! What the history recommends, in plain words with the figures. Pure. A rule speaks only when the evidence is good:
//! no advice is better than a wrong one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::availability::{Failure, end_of};
use crate::model::metric::MetricRow;
use crate::model::units::{Stamp, show_size};

/// One recommendation.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// The rule that gives it; a name for scripts.
    pub rule: &'static str,
    /// One sentence for people.
    pub text: String,
    /// The figures in it: bytes, seconds, numbers.
    pub figures: BTreeMap<&'static str, f64>,
}

/// What is known of one bot, oldest first.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Rows of a day, finely.
    pub day: &'a [MetricRow],
    /// Rows of a week.
    pub week: &'a [MetricRow],
    /// Its failures of that week.
    pub failures: &'a [Failure],
    /// Bytes that it may use; None: no limit is set.
    pub memory_limit: Option<u64>,
    pub now: Stamp,
}

const HOUR_S: f64 = 3600.0;
const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// What a run loads and caches in the beginning is no leak.
const WARM_UP_S: u64 = 600;
/// A trend is shown by so much time at the least.
const TREND_S: f64 = HOUR_S;
/// Points of which a trend is made; more show nothing more and cost their square.
const TREND_POINTS: usize = 48;
/// A trend of less than this a month is none that anybody must act on.
const ETA_MAX_S: f64 = 30.0 * 86_400.0;
/// How far the minutes of restarts "at about" one time may lie apart.
const ABOUT_MINUTES: i64 = 15;
const QUEUE_WAIT: Duration = Duration::from_secs(300);

/// All that there is to recommend, the most urgent first.
pub fn advise(evidence: &Evidence<'_>) -> Vec<Advice> {
    [
        memory_growth(evidence),
        frequent_failure(evidence),
        daily_failure(evidence),
        queue_waits(evidence),
        generous_limit(evidence),
        no_limit(evidence),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The memory of the newest run goes up all the time.
fn memory_growth(evidence: &Evidence<'_>) -> Option<Advice> {
    let points = newest_run(evidence.day);
    let (first, last) = (points.first()?, points.last()?);
    if last.0 - first.0 < TREND_S || points.len() < 12 {
        return None;
    }
    // A run that has ended meanwhile grows no more.
    let newest = evidence.day.last()?;
    if newest.measured == 0 || evidence.now.since(end_of(newest)) > Duration::from_secs(600) {
        return None;
    }
    let points = thinned(&points);
    let slope = trend(&points)?;
    let grown = slope * (last.0 - first.0);
    let usual = median(points.iter().map(|point| point.1).collect())?;
    if grown < 4.0 * 1024.0 * 1024.0 || grown < usual * 0.05 {
        return None;
    }
    let per_hour = slope * HOUR_S;
    let mut figures = BTreeMap::from([("bytes_per_hour", per_hour.round()), ("memory_bytes", last.1)]);
    let grows = format!("memory grows {}/h", show_size(per_hour as u64));
    let text = match evidence.memory_limit {
        Some(limit) if last.1 < limit as f64 => {
            let left_s = (limit as f64 - last.1) / slope;
            figures.extend([("limit_bytes", limit as f64), ("seconds_left", left_s.round())]);
            if left_s > ETA_MAX_S {
                return None;
            }
            let limit = show_size(limit);
            format!("{grows}, its limit of {limit} is reached in about {}", about(left_s))
        }
        Some(limit) => format!("{grows} and is over its limit of {}", show_size(limit)),
        None => format!("{grows}, now {}; no limit is set", show_size(last.1 as u64)),
    };
    Some(advice("memory_growth", text, figures))
}

/// Seconds and bytes of the newest run, without its warm-up.
fn newest_run(rows: &[MetricRow]) -> Vec<(f64, f64)> {
    let Some(run_age) = rows.last().and_then(|row| row.uptime_s) else {
        return Vec::new();
    };
    let newest = rows.last().map_or(Stamp(0), end_of);
    let begun = Stamp(newest.0 - i64::try_from(run_age).unwrap_or(0) * 1_000_000);
    let warm = Stamp(begun.0 + WARM_UP_S as i64 * 1_000_000);
    let of_run = rows.iter().filter(|row| row.at >= warm);
    of_run
        .filter_map(|row| Some((row.at.since(Stamp(0)).as_secs_f64(), row.memory_bytes? as f64)))
        .collect()
}

/// The means of neighbours, so that there are few enough.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let each = points.len().div_ceil(TREND_POINTS).max(1);
    let mean = |part: &[(f64, f64)]| {
        let count = part.len() as f64;
        let sum = part.iter().fold((0.0, 0.0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        (sum.0 / count, sum.1 / count)
    };
    points.chunks(each).map(mean).collect()
}

/// The middle of the slopes between all pairs of points (Theil and Sen): a few outliers do not move it. None unless
/// nearly all of them point upward.
fn trend(points: &[(f64, f64)]) -> Option<f64> {
    let mut slopes = Vec::new();
    for (index, from) in points.iter().enumerate() {
        for to in &points[index + 1..] {
            if to.0 > from.0 {
                slopes.push((to.1 - from.1) / (to.0 - from.0));
            }
        }
    }
    let up = slopes.iter().filter(|slope| **slope > 0.0).count();
    let is_clear = up * 10 >= slopes.len() * 9;
    median(slopes).filter(|slope| is_clear && *slope > 0.0)
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// One reason stands out.
fn frequent_failure(evidence: &Evidence<'_>) -> Option<Advice> {
    let recent: Vec<&Failure> = evidence
        .failures
        .iter()
        .filter(|failure| evidence.now.since(failure.at) <= DAY)
        .collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for failure in &recent {
        *counts.entry(failure.why.as_str()).or_default() += 1;
    }
    let (why, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    if count < 3 || count * 2 <= recent.len() || why.is_empty() {
        return None;
    }
    let text = format!("fails most often with: {why} ({count} times in 24 h)");
    let figures = BTreeMap::from([("failures", count as f64), ("of", recent.len() as f64)]);
    Some(advice("frequent_failure", text, figures))
}

/// It fails at one time of the day, day after day.
fn daily_failure(evidence: &Evidence<'_>) -> Option<Advice> {
    const DAY_MINUTES: i64 = 24 * 60;
    let minutes: Vec<i64> = evidence
        .failures
        .iter()
        .map(|failure| failure.at.0.div_euclid(60_000_000))
        .collect();
    let apart = |one: i64, other: i64| {
        let apart = (one - other).rem_euclid(DAY_MINUTES);
        apart.min(DAY_MINUTES - apart)
    };
    let near = |center: i64| {
        minutes
            .iter()
            .filter(move |minute| apart(**minute, center) <= ABOUT_MINUTES)
    };
    let center = *minutes.iter().max_by_key(|center| near(**center).count())?;
    let cluster: Vec<i64> = near(center).copied().collect();
    // Around midnight the days are counted from noon to noon.
    let day_of = |minute: &i64| (minute - center.rem_euclid(DAY_MINUTES) + DAY_MINUTES / 2).div_euclid(DAY_MINUTES);
    let days: BTreeSet<i64> = cluster.iter().map(day_of).collect();
    let (first, last) = (days.first()?, days.last()?);
    let is_daily = days.len() >= 3 && days.len() as i64 * 5 >= (last - first + 1) * 4;
    if !is_daily || cluster.len() * 2 < minutes.len() {
        return None;
    }
    // The middle of how far they lie from the center, which may be over midnight.
    let mut shifts: Vec<i64> = cluster
        .iter()
        .map(|minute| (minute - center + DAY_MINUTES / 2).rem_euclid(DAY_MINUTES) - DAY_MINUTES / 2)
        .collect();
    shifts.sort_unstable();
    let minute = (center + shifts[shifts.len() / 2]).rem_euclid(DAY_MINUTES);
    let hour = minute / 60;
    let part = if (6..22).contains(&hour) { "day" } else { "night" };
    let text = format!(
        "fails and restarts every {part} at about {hour:02}:{:02} UTC ({} days in a row)",
        minute % 60,
        days.len()
    );
    let figures = BTreeMap::from([("days", days.len() as f64), ("minute_of_day", minute as f64)]);
    Some(advice("daily_failure", text, figures))
}

/// Messages lay there for minutes without anything being done with them, and not just once.
fn queue_waits(evidence: &Evidence<'_>) -> Option<Advice> {
    let mut days = BTreeSet::new();
    let mut longest_s = 0;
    // The end of the first row of those in which nothing was done, and that of the last.
    let mut stuck: Option<(Stamp, Stamp)> = None;
    for row in evidence.day.iter().chain(evidence.week) {
        let is_stuck = row.queue.unwrap_or(0) > 0 && row.messages_done == 0;
        let goes_on = stuck.filter(|(_, last)| row.at >= *last && row.at.since(*last) <= QUEUE_WAIT / 2);
        let since = goes_on.map_or_else(|| end_of(row), |(since, _)| since);
        stuck = is_stuck.then(|| (since, end_of(row)));
        // When in the first and in the last of them it began and ended, nobody knows.
        let waited = if is_stuck { row.at.since(since) } else { Duration::ZERO };
        let took = Duration::from_millis(row.done_p95_ms.unwrap_or(0));
        let worst = waited.max(took);
        if worst > QUEUE_WAIT {
            days.insert(row.at.0.div_euclid(86_400_000_000));
            longest_s = longest_s.max(worst.as_secs());
        }
    }
    if days.len() < 2 {
        return None;
    }
    let text = format!("its queue has waited over 5 min on {} days of the last 7", days.len());
    let figures = BTreeMap::from([("days", days.len() as f64), ("longest_s", longest_s as f64)]);
    Some(advice("queue_waits", text, figures))
}

/// A limit that high would not be noticed before the host is.
fn generous_limit(evidence: &Evidence<'_>) -> Option<Advice> {
    let limit = evidence.memory_limit?;
    let (peak, known) = peak(evidence.week)?;
    // A week has a gap where the supervisor was upgraded or the host restarted.
    if known < WEEK * 9 / 10 || peak == 0 || limit / peak < 10 {
        return None;
    }
    let text = format!(
        "its memory limit of {} is {} times what it uses ({} at most in {})",
        show_size(limit),
        limit / peak,
        show_size(peak),
        about(known.as_secs_f64())
    );
    let figures = BTreeMap::from([("limit_bytes", limit as f64), ("memory_max_bytes", peak as f64)]);
    Some(advice("generous_limit", text, figures))
}

fn no_limit(evidence: &Evidence<'_>) -> Option<Advice> {
    let (peak, known) = peak(evidence.week)?;
    if evidence.memory_limit.is_some() || known < DAY || peak == 0 {
        return None;
    }
    let limit = rounded_up(peak * 2);
    let text = format!(
        "no memory limit is set; it uses {} at most in {}: a limit of {} would stop a leak early",
        show_size(peak),
        about(known.as_secs_f64()),
        show_size(limit)
    );
    let figures = BTreeMap::from([("memory_max_bytes", peak as f64), ("suggested_bytes", limit as f64)]);
    Some(advice("no_memory_limit", text, figures))
}

/// The most memory, and over how long a time that is known.
fn peak(rows: &[MetricRow]) -> Option<(u64, Duration)> {
    let measured: Vec<&MetricRow> = rows.iter().filter(|row| row.memory_peak().is_some()).collect();
    let known = end_of(measured.last()?).since(measured.first()?.at);
    Some((measured.iter().filter_map(|row| row.memory_peak()).max()?, known))
}

/// A size that somebody would write: 10, 20, 50, 100, … MiB.
fn rounded_up(bytes: u64) -> u64 {
    const MIB: u64 = 1 << 20;
    let mut size = 10 * MIB;
    for factor in [2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] {
        if size >= bytes {
            break;
        }
        size = 10 * MIB * factor;
    }
    size.max(bytes.div_ceil(1024 * MIB) * 1024 * MIB * u64::from(size < bytes))
}

/// `9 h`, `3 d`: no more digits than such a guess is worth.
fn about(seconds: f64) -> String {
    match seconds {
        s if s < 5400.0 => format!("{:.0} min", (s / 60.0).max(1.0)),
        s if s < 172_800.0 => format!("{:.0} h", s / HOUR_S),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

fn advice(rule: &'static str, text: String, figures: BTreeMap<&'static str, f64>) -> Advice {
    Advice { rule, text, figures }
}

#[cfg(test)]
#[path = "advice_tests.rs"]
mod tests;
