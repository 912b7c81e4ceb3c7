//! Decides when a threshold has been passed for long enough, and when it is left again. Pure.
//!
//! A level is reached when its threshold was passed at every look for the limit's whole time; one look
//! below and the time begins anew. It is left when the value has fallen [`MARGIN`] below the threshold, so
//! that a value which dances around it is told once.

use std::time::Duration;

use crate::model::units::{Moment, show_duration, show_size};
use crate::model::usage::{Activity, Level, LevelChange, Limit, Limits, Measure, Standing, Usage, Warn};

/// A level is left below 95 % of its threshold.
pub const MARGIN: f64 = 0.95;
/// A step between two whole numbers below this is more than the margin already.
const SMALL_COUNT: f64 = 20.0;

/// What is remembered of one run between two looks.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// The limits that it was judged by last.
    limits: Option<Limits>,
    tracks: [Track; Measure::ALL.len()],
    /// What was told of each measure while it could be measured.
    told: [Option<String>; Measure::ALL.len()],
}

/// How one measure stands to its two thresholds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Track {
    warn: Excess,
    max: Excess,
}

/// How long one threshold has been passed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Excess {
    #[default]
    Below,
    Since(Moment),
    /// For long enough: reached, until it is left.
    Reached(Moment),
}

/// The thresholds of one measure as they hold for a run.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Thresholds {
    warn: Option<f64>,
    max: Option<f64>,
}

impl Watch {
    /// Goes on with what an earlier watch of the same run has found, where the thresholds are still the same.
    pub fn resume(limits: &Limits, host_memory: Option<u64>, known: &[Standing], now: Moment) -> Watch {
        let mut watch = Watch::default();
        let places = watch.tracks.iter_mut().zip(&mut watch.told);
        for (measure, (track, told)) in Measure::ALL.into_iter().zip(places) {
            let (warn, max) = shown_thresholds(measure, Thresholds::of(measure, limits.of(measure), host_memory));
            let is_alike = |it: &&Standing| it.measure == measure && is_near(it.warn, warn) && is_near(it.max, max);
            let Some(standing) = known.iter().find(is_alike) else {
                continue;
            };
            let reached = Excess::Reached(standing.since.unwrap_or(now));
            match standing.level {
                Level::Ok => continue,
                Level::Warn => track.warn = reached,
                Level::Max => (track.warn, track.max) = (reached, reached),
            }
            told.clone_from(&standing.why);
        }
        watch
    }

    /// Judges one look: the limits in force, and the levels that were reached or left since the last one.
    /// `host_memory` bounds a bot without a limit of its own, in bytes.
    pub fn judge(
        &mut self,
        limits: &Limits,
        host_memory: Option<u64>,
        usage: &Usage,
        now: Moment,
    ) -> (Vec<Standing>, Vec<LevelChange>) {
        let known = self.limits.replace(limits.clone());
        let (mut standings, mut changes) = (Vec::new(), Vec::new());
        let places = self.tracks.iter_mut().zip(&mut self.told);
        for (measure, (track, told)) in Measure::ALL.into_iter().zip(places) {
            let limit = limits.of(measure);
            let thresholds = Thresholds::of(measure, limit, host_memory);
            let mut from = track.level();
            let is_other = known.as_ref().is_some_and(|known| known.of(measure) != limit);
            if is_other {
                *track = Track::default();
            }
            if let Some(value) = usage.value(measure) {
                track.note(measure, thresholds, limit.lasting, value, now);
            }
            let to = track.level();
            if is_other && to >= from {
                // What was told and done by the old limit is not told and done by this one.
                from = Level::Ok;
            }
            if from != to {
                let why = if to > from {
                    let lasted = show_duration(Duration::from_secs(track.lasted(now).as_secs()));
                    let excess = excess_in_words(measure, limits, thresholds, usage, to);
                    format!("{excess} for {lasted}")
                } else if is_other {
                    format!("limits.{} has changed and is judged anew", measure.word())
                } else {
                    recovery_in_words(measure, limits, thresholds, usage, from)
                };
                changes.push(LevelChange {
                    measure,
                    from,
                    to,
                    why,
                    action: limit.action,
                });
            }
            if thresholds.warn.is_some() || thresholds.max.is_some() {
                let mut standing = standing(measure, limits, thresholds, usage, track);
                if usage.value(measure).is_none() && told.is_some() {
                    standing.why = standing.why.and(told.clone());
                }
                told.clone_from(&standing.why);
                standings.push(standing);
            }
        }
        (standings, changes)
    }

    /// Nobody looked for a long time: what was passed before the gap has not been passed without a break.
    pub fn interrupt(&mut self) {
        for excess in self
            .tracks
            .iter_mut()
            .flat_map(|track| [&mut track.warn, &mut track.max])
        {
            if let Excess::Since(_) = excess {
                *excess = Excess::Below;
            }
        }
    }
}

impl Thresholds {
    fn of(measure: Measure, limit: &Limit, host_memory: Option<u64>) -> Thresholds {
        let of_host = match (measure, limit.warn) {
            (Measure::Memory, Warn::Share(share)) => host_memory.map(|bytes| measure.share(bytes as f64, share)),
            _ => None,
        };
        // A process is halted or it is not: there is no level before that.
        let warn = limit.warn_at(measure).filter(|_| measure != Measure::Halted);
        Thresholds {
            warn: warn.or(of_host.filter(|_| limit.max.is_none())),
            max: limit.max,
        }
    }
}

impl Track {
    fn note(&mut self, measure: Measure, thresholds: Thresholds, lasting: Duration, value: f64, now: Moment) {
        for (excess, threshold) in [(&mut self.warn, thresholds.warn), (&mut self.max, thresholds.max)] {
            match threshold {
                Some(threshold) => excess.note(measure, threshold, lasting, value, now),
                None => *excess = Excess::Below,
            }
        }
    }

    fn level(&self) -> Level {
        match (self.max, self.warn) {
            (Excess::Reached(_), _) => Level::Max,
            (_, Excess::Reached(_)) => Level::Warn,
            _ => Level::Ok,
        }
    }

    fn since(&self) -> Option<Moment> {
        match (self.max, self.warn) {
            (Excess::Reached(at), _) | (_, Excess::Reached(at)) => Some(at),
            _ => None,
        }
    }

    fn lasted(&self, now: Moment) -> Duration {
        self.since().map_or(Duration::ZERO, |at| now.since(at))
    }
}

impl Excess {
    fn note(&mut self, measure: Measure, threshold: f64, lasting: Duration, value: f64, now: Moment) {
        if value > threshold {
            let since = match *self {
                Excess::Below => now,
                Excess::Since(at) => at,
                Excess::Reached(_) => return,
            };
            *self = if now.since(since) >= lasting {
                Excess::Reached(since)
            } else {
                Excess::Since(since)
            };
            return;
        }
        let is_step = measure.is_count() && threshold < SMALL_COUNT;
        match self {
            Excess::Reached(_) if !is_step && value >= threshold * MARGIN => {}
            Excess::Below | Excess::Since(_) | Excess::Reached(_) => *self = Excess::Below,
        }
    }
}

fn standing(measure: Measure, limits: &Limits, thresholds: Thresholds, usage: &Usage, track: &Track) -> Standing {
    let level = track.level();
    let (warn, max) = shown_thresholds(measure, thresholds);
    Standing {
        measure,
        warn,
        max,
        level,
        since: track.since(),
        why: (level != Level::Ok).then(|| excess_in_words(measure, limits, thresholds, usage, level)),
    }
}

fn shown_thresholds(measure: Measure, thresholds: Thresholds) -> (Option<f64>, Option<f64>) {
    match measure {
        // What it is held against means nothing to anybody.
        Measure::Halted => (None, None),
        _ => (thresholds.warn, thresholds.max),
    }
}

/// Whether two thresholds are the same, one of which may have been written and read.
fn is_near(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= a.abs() * 1e-9,
        (a, b) => a == b,
    }
}

/// `memory 2.1 GiB over limits.memory.max 2.0 GiB`
fn excess_in_words(measure: Measure, limits: &Limits, thresholds: Thresholds, usage: &Usage, level: Level) -> String {
    if measure == Measure::Halted {
        return match usage.activity {
            Activity::Stopped => "halted: a signal has stopped its process (state T)",
            Activity::Stuck => "halted: its process hangs in the kernel (state D)",
            Activity::Active => "halted",
        }
        .to_owned();
    }
    let value = usage
        .value(measure)
        .map_or_else(|| "unknown".to_owned(), |value| measure.show(value));
    format!(
        "{} {value} over {}",
        name(measure),
        threshold_in_words(measure, limits, thresholds, level)
    )
}

fn threshold_in_words(measure: Measure, limits: &Limits, thresholds: Thresholds, level: Level) -> String {
    let (part, threshold) = match level {
        Level::Max => ("max", thresholds.max),
        Level::Warn | Level::Ok => ("warn", thresholds.warn),
    };
    let shown = threshold.map(|value| measure.show(value)).unwrap_or_default();
    let limit = limits.of(measure);
    match limit.warn {
        Warn::Share(share) if part == "warn" && limit.max.is_none() => {
            let whole = threshold.map_or(0.0, |threshold| threshold / share);
            format!(
                "{:.0} % of the host's memory, {}",
                share * 100.0,
                show_size(whole as u64)
            )
        }
        _ => format!("limits.{}.{part} {shown}", measure.word()),
    }
}

fn name(measure: Measure) -> String {
    measure.word().replace('_', " ")
}

/// `memory 1.2 GiB under limits.memory.max 2.0 GiB again`
fn recovery_in_words(measure: Measure, limits: &Limits, thresholds: Thresholds, usage: &Usage, from: Level) -> String {
    if measure == Measure::Halted {
        return "its process is not halted any more".to_owned();
    }
    let value = usage
        .value(measure)
        .map_or_else(|| "unknown".to_owned(), |value| measure.show(value));
    let threshold = threshold_in_words(measure, limits, thresholds, from);
    format!("{} {value} under {threshold} again", name(measure))
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
