//! How well a bot was there: the share of the time in which it was wanted, its failures, and how long it took to
//! come back. Pure: what happened goes in, figures come out.

use std::time::Duration;

use crate::model::bot::State;
use crate::model::fact::Fact;
use crate::model::metric::{MetricRow, Resolution};
use crate::model::units::Stamp;

/// The figures of one bot over some time. Only what a supervisor has seen counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Availability {
    /// How long it was wanted up, and how long of that it was running.
    pub wanted: Duration,
    pub up: Duration,
    /// Ends that nobody asked for, and runs that were given up as unhealthy.
    pub failures: Vec<Failure>,
    /// Starts that followed failures.
    pub restarts: u32,
    /// The failures after which it came back, and how long all of that took.
    pub recovered: u32,
    pub recovery: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub at: Stamp,
    pub why: String,
}

impl Availability {
    /// Of the time in which it was wanted up; None where it never was.
    pub fn uptime_percent(&self) -> Option<f64> {
        let wanted = self.wanted.as_secs_f64();
        (wanted > 0.0).then(|| self.up.as_secs_f64() / wanted * 100.0)
    }

    /// For each day in which it was wanted up; of a shorter time than an hour nobody can say.
    pub fn restarts_per_day(&self) -> Option<f64> {
        let days = self.wanted.as_secs_f64() / 86_400.0;
        (days >= 1.0 / 24.0).then(|| f64::from(self.restarts) / days)
    }

    /// From a failure until it was running again; None where it has never come back.
    pub fn mean_time_to_recovery(&self) -> Option<Duration> {
        (self.recovered > 0).then(|| self.recovery / self.recovered)
    }
}

/// Spans of time, ascending and apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(Vec<(Stamp, Stamp)>);

/// A supervisor that looks less often than this has been away.
const AWAY: Duration = Duration::from_secs(120);

impl Spans {
    pub fn whole(from: Stamp, to: Stamp) -> Spans {
        Spans(vec![(from, to)])
    }

    /// The times in which a supervisor has measured: from row to row, unless it was away between them. `now` ends
    /// the last one, if that was just now.
    pub fn observed(rows: &[MetricRow], now: Stamp) -> Spans {
        let away = away_after(rows);
        let mut spans: Vec<(Stamp, Stamp)> = Vec::new();
        for row in rows {
            let end = end_of(row);
            match spans.last_mut() {
                Some(last) if row.at.since(last.1) <= away => last.1 = last.1.max(end),
                Some(_) | None => spans.push((row.at, end)),
            }
        }
        if let Some(last) = spans.last_mut().filter(|last| now.since(last.1) <= away) {
            last.1 = last.1.max(now);
        }
        Spans(spans)
    }

    /// How much of the time from `from` to `to` lies in them.
    fn overlap(&self, from: Stamp, to: Stamp) -> Duration {
        let parts = self
            .0
            .iter()
            .map(|(begin, end)| (*end).min(to).since((*begin).max(from)));
        parts.sum()
    }
}

/// The end of the time that a row stands for.
pub fn end_of(row: &MetricRow) -> Stamp {
    Stamp(row.at.0 + row.resolution.seconds() * 1_000_000)
}

/// How far rows may lie apart without anybody having been away: a few times their usual distance.
pub fn away_after(rows: &[MetricRow]) -> Duration {
    let mut gaps: Vec<Duration> = rows
        .windows(2)
        .filter(|pair| pair[0].resolution == Resolution::Raw && pair[1].resolution == Resolution::Raw)
        .map(|pair| pair[1].at.since(pair[0].at))
        .collect();
    gaps.sort_unstable();
    let usual = gaps.get(gaps.len() / 2).copied().unwrap_or_default();
    AWAY.max(usual * 3)
}

/// What is known of a bot between two facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Unknown,
    /// Not wanted, or on its way down or up because somebody asked for it.
    Off,
    Up,
    Down,
}

impl Standing {
    /// A start that somebody asked for is no time of being down; one that follows a failure is.
    fn of(state: State, has_failed: bool) -> Standing {
        match state {
            State::Adopting => Standing::Unknown,
            State::Stopped | State::Stopping => Standing::Off,
            State::Running => Standing::Up,
            State::Starting if !has_failed => Standing::Off,
            State::Starting | State::Unhealthy | State::Backoff | State::Failed | State::Held => Standing::Down,
        }
    }
}

/// Judges one bot from `from` to `to`: by its facts, oldest first, and before the first of them, where older ones were
/// forgotten, by what was measured. Facts before `from` only tell how it was then.
pub fn judge(facts: &[Fact], rows: &[MetricRow], from: Stamp, to: Stamp) -> Availability {
    // Where nothing was ever measured, all of the time counts as seen.
    let observed = if rows.is_empty() {
        Spans::whole(from, to)
    } else {
        Spans::observed(rows, to)
    };
    let mut found = availability(facts, &observed, from, to);
    let first = facts.iter().find(|fact| State::from_word(&fact.name).is_some());
    let known_from = first.map_or(to, |fact| fact.at.min(to));
    found.add_measured(rows, &observed, from, known_from);
    found
}

/// Facts alone, of which the state before the first one is unknown.
fn availability(facts: &[Fact], observed: &Spans, from: Stamp, to: Stamp) -> Availability {
    let mut found = Availability::default();
    let (mut standing, mut since) = (Standing::Unknown, from);
    let mut last_state: Option<State> = None;
    // Since when it has failed and not come back.
    let mut failed_at: Option<Stamp> = None;
    for fact in facts.iter().filter(|fact| fact.at < to) {
        let at = fact.at.max(from);
        let is_inside = fact.at >= from;
        let state = State::from_word(&fact.name);
        let is_end = matches!(fact.name.as_str(), "exited" | "spawn_failed") || state == Some(State::Unhealthy);
        let was_asked = matches!(last_state, Some(State::Stopped | State::Stopping));
        if is_end && !was_asked && failed_at.is_none() {
            failed_at = Some(fact.at);
            if is_inside {
                found.failures.push(Failure {
                    at: fact.at,
                    why: fact.detail.clone(),
                });
            }
        }
        let Some(state) = state else { continue };
        last_state = Some(state);
        found.add(standing, observed.overlap(since, at));
        (standing, since) = (Standing::of(state, failed_at.is_some()), at);
        match state {
            State::Starting if failed_at.is_some() && is_inside => found.restarts += 1,
            State::Running => {
                if let Some(failed_at) = failed_at.take().filter(|at| is_inside && *at >= from) {
                    found.recovered += 1;
                    found.recovery += fact.at.since(failed_at);
                }
            }
            State::Stopped | State::Stopping => failed_at = None,
            State::Adopting | State::Starting | State::Unhealthy | State::Backoff | State::Failed | State::Held => {}
        }
    }
    found.add(standing, observed.overlap(since, to));
    found
}

impl Availability {
    /// Adds the time from `from` to `to`, shared as the passes in it were: those that found it wanted, and running.
    fn add_measured(&mut self, rows: &[MetricRow], observed: &Spans, from: Stamp, to: Stamp) {
        let inside: Vec<&MetricRow> = rows.iter().filter(|row| row.at >= from && row.at < to).collect();
        let sum = |value: fn(&MetricRow) -> u64| inside.iter().map(|row| value(row)).sum::<u64>();
        let (samples, wanted, up) = (sum(|row| row.samples), sum(|row| row.wanted), sum(|row| row.up));
        if samples == 0 {
            return;
        }
        let seen = observed.overlap(from, to);
        let share = |count: u64| seen.mul_f64(count.min(samples) as f64 / samples as f64);
        self.wanted += share(wanted);
        self.up += share(up);
        // A minute or an hour that goes on past `to` holds restarts of which there are facts.
        let restarts: u64 = inside
            .iter()
            .filter(|row| end_of(row) <= to)
            .map(|row| row.restarts)
            .sum();
        self.restarts = self
            .restarts
            .saturating_add(u32::try_from(restarts).unwrap_or(u32::MAX));
    }

    fn add(&mut self, standing: Standing, length: Duration) {
        match standing {
            Standing::Unknown | Standing::Off => {}
            Standing::Up => {
                self.up += length;
                self.wanted += length;
            }
            Standing::Down => self.wanted += length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Stamp {
        Stamp(second * 1_000_000)
    }

    fn facts(told: &[(i64, &str)]) -> Vec<Fact> {
        let fact = |(second, name): &(i64, &str)| Fact {
            at: at(*second),
            bot: "shop".parse().unwrap(),
            run: None,
            name: (*name).to_owned(),
            detail: format!("{name} at {second}"),
        };
        told.iter().map(fact).collect()
    }

    fn judged(told: &[(i64, &str)], from: i64, to: i64) -> Availability {
        availability(&facts(told), &Spans::whole(at(from), at(to)), at(from), at(to))
    }

    /// Seconds wanted and up, failures, restarts, recoveries and their seconds.
    type Figures = (u64, u64, usize, u32, u32, u64);

    fn figures(found: &Availability) -> Figures {
        let recovery = found.recovery.as_secs();
        let (wanted, up) = (found.wanted.as_secs(), found.up.as_secs());
        (
            wanted,
            up,
            found.failures.len(),
            found.restarts,
            found.recovered,
            recovery,
        )
    }

    #[test]
    fn what_happened_becomes_figures() {
        let started = [(0, "starting"), (1, "running")];
        type Told<'a> = &'a [(i64, &'a str)];
        let cases: [(&str, Told<'_>, Figures); 9] = [
            ("it just runs", &[], (99, 99, 0, 0, 0, 0)),
            (
                "a crash",
                &[(50, "exited"), (50, "starting"), (54, "running")],
                (99, 95, 1, 1, 1, 4),
            ),
            (
                "two crashes in a row are one time of being down",
                &[
                    (50, "exited"),
                    (50, "starting"),
                    (52, "exited"),
                    (52, "backoff"),
                    (60, "starting"),
                    (61, "running"),
                ],
                (99, 88, 1, 2, 1, 11),
            ),
            (
                "given up as unhealthy",
                &[(50, "unhealthy"), (55, "exited"), (55, "starting"), (60, "running")],
                (99, 89, 1, 1, 1, 10),
            ),
            (
                "stopped on purpose",
                &[(50, "stopping"), (51, "exited"), (51, "stopped")],
                (49, 49, 0, 0, 0, 0),
            ),
            (
                "restarted on purpose",
                &[(50, "stopping"), (51, "exited"), (51, "starting"), (52, "running")],
                (97, 97, 0, 0, 0, 0),
            ),
            ("never back", &[(90, "exited"), (90, "failed")], (99, 89, 1, 0, 0, 0)),
            (
                "down, and then not wanted any more",
                &[
                    (50, "exited"),
                    (50, "backoff"),
                    (60, "stopped"),
                    (70, "starting"),
                    (71, "running"),
                ],
                (88, 78, 1, 0, 0, 0),
            ),
            (
                "what it says of itself is no state",
                &[(50, "connected"), (60, "error")],
                (99, 99, 0, 0, 0, 0),
            ),
        ];
        for (what, told, expected) in cases {
            let all: Vec<_> = started.iter().chain(told.iter()).copied().collect();
            assert_eq!(figures(&judged(&all, 0, 100)), expected, "{what}");
        }
    }

    #[test]
    fn facts_before_the_time_tell_how_it_was_then() {
        let told = [
            (0, "starting"),
            (1, "running"),
            (50, "exited"),
            (50, "backoff"),
            (70, "running"),
        ];
        assert_eq!(figures(&judged(&told, 40, 100)), (60, 40, 1, 0, 1, 20));
        // The failure itself was before.
        assert_eq!(figures(&judged(&told, 60, 100)), (40, 30, 0, 0, 0, 0));
        assert_eq!(figures(&judged(&told, 80, 100)), (20, 20, 0, 0, 0, 0));
        assert_eq!(figures(&judged(&[], 0, 100)), (0, 0, 0, 0, 0, 0));
    }

    #[test]
    fn shares_and_means_need_something_to_be_of() {
        let none = Availability::default();
        assert_eq!((none.uptime_percent(), none.restarts_per_day()), (None, None));
        assert_eq!(none.mean_time_to_recovery(), None);
        let day = Availability {
            wanted: Duration::from_secs(43_200),
            up: Duration::from_secs(10_800),
            restarts: 3,
            recovered: 2,
            recovery: Duration::from_secs(5),
            ..none
        };
        assert_eq!((day.uptime_percent(), day.restarts_per_day()), (Some(25.0), Some(6.0)));
        assert_eq!(day.mean_time_to_recovery(), Some(Duration::from_millis(2500)));
    }

    /// A pass each 5 s, down for 100 s from 500 on, with two restarts.
    fn measured() -> Vec<MetricRow> {
        let row = |n: i64| {
            let is_up = !(100..120).contains(&n);
            MetricRow {
                wanted: 1,
                up: u64::from(is_up),
                restarts: u64::from(n == 105 || n == 119),
                ..MetricRow::of_pass(at(n * 5), "shop".parse().unwrap(), State::Running)
            }
        };
        (0..=200).map(row).collect()
    }

    #[test]
    fn what_was_measured_counts_where_facts_are_missing() {
        let rows = measured();
        let judged = |told: &[(i64, &str)]| {
            let found = judge(&facts(told), &rows, at(0), at(1000));
            (found.wanted.as_secs(), found.up.as_secs(), found.restarts)
        };
        // None are left, or only such as say nothing of the state.
        assert_eq!(judged(&[]), (1000, 900, 2));
        assert_eq!(judged(&[(700, "connected")]), (1000, 900, 2));
        // The older ones are forgotten: of the time up to the first one that is left the passes tell.
        let left = [(700, "running"), (800, "exited"), (800, "starting"), (850, "running")];
        assert_eq!(judged(&left), (1000, 850, 3));
        // All are there: the passes add nothing.
        let all = [(-50, "running"), (500, "exited"), (500, "starting"), (600, "running")];
        assert_eq!(judged(&all), (1000, 900, 1));
        // One that was not wanted has no uptime.
        let off: Vec<MetricRow> = (0..10)
            .map(|n| MetricRow::of_pass(at(n * 5), "shop".parse().unwrap(), State::Stopped))
            .collect();
        assert_eq!(judge(&[], &off, at(0), at(45)).uptime_percent(), None);
        assert_eq!(judge(&[], &[], at(0), at(45)), Availability::default());
    }

    #[test]
    fn coarse_rows_tell_of_the_time_before_the_first_fact() {
        let row = |minute: i64| MetricRow {
            resolution: Resolution::Minute,
            samples: 12,
            wanted: 12,
            up: if minute == 5 { 6 } else { 12 },
            restarts: 1,
            ..MetricRow::of_pass(at(minute * 60), "shop".parse().unwrap(), State::Running)
        };
        let rows: Vec<MetricRow> = (0..10).map(row).collect();
        let found = judge(&[], &rows, at(0), at(600));
        assert_eq!((found.wanted.as_secs(), found.up.as_secs()), (600, 570));
        assert_eq!(found.restarts, 10);
        // The minute in which the first fact lies has its restarts in facts.
        assert_eq!(judge(&facts(&[(570, "running")]), &rows, at(0), at(600)).restarts, 9);
    }

    #[test]
    fn time_in_which_nobody_looked_does_not_count() {
        let row = |second| MetricRow::of_pass(at(second), "shop".parse().unwrap(), State::Running);
        let rows: Vec<MetricRow> = (0..=10).chain(200..=210).map(|n| row(n * 5)).collect();
        let seen = Spans::observed(&rows, at(1055));
        assert_eq!(seen, Spans(vec![(at(0), at(50)), (at(1000), at(1055))]));
        let told = facts(&[(0, "running"), (1040, "exited"), (1040, "backoff")]);
        let found = availability(&told, &seen, at(0), at(1055));
        assert_eq!((found.wanted.as_secs(), found.up.as_secs()), (105, 90));
        // A slow sampler was never away.
        let slow: Vec<MetricRow> = (0..5).map(|n| row(n * 600)).collect();
        assert_eq!(Spans::observed(&slow, at(2500)), Spans::whole(at(0), at(2500)));
    }
}
