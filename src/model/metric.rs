//! What is measured of bots over time: one row a bot and pass, and coarser rows that sum such rows up.

use std::time::Duration;

use super::bot::{BotId, State};
use super::units::Stamp;

/// How long a time one row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resolution {
    /// One pass of the sampler.
    Raw,
    Minute,
    Hour,
}

impl Resolution {
    pub const ALL: [Resolution; 3] = [Resolution::Raw, Resolution::Minute, Resolution::Hour];

    /// Seconds for which a row stands; 0 for one pass.
    pub fn seconds(self) -> i64 {
        match self {
            Resolution::Raw => 0,
            Resolution::Minute => 60,
            Resolution::Hour => 3600,
        }
    }

    pub fn from_seconds(seconds: i64) -> Option<Resolution> {
        Resolution::ALL.into_iter().find(|it| it.seconds() == seconds)
    }

    /// The finest one that shows a time of this length without drowning it in rows.
    pub fn for_span(span: Duration) -> Resolution {
        match span.as_secs() {
            0..=3600 => Resolution::Raw,
            3601..=172_800 => Resolution::Minute,
            _ => Resolution::Hour,
        }
    }
}

/// One bot at one moment, or over the time that begins there. What is unknown is None.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricRow {
    pub resolution: Resolution,
    /// The moment of the pass, or the begin of the minute or hour.
    pub at: Stamp,
    pub bot: BotId,
    /// As it was at last.
    pub state: State,
    /// Passes that looked at the bot; among them those in which it was wanted up, in which it was running while
    /// wanted, and in which it was measured.
    pub samples: u64,
    pub wanted: u64,
    pub up: u64,
    pub measured: u64,
    /// The mean of the measured passes, and the most.
    pub memory_bytes: Option<u64>,
    pub memory_max: Option<u64>,
    /// Of one core, likewise.
    pub cpu_percent: Option<f64>,
    pub cpu_max: Option<f64>,
    /// How long its run had lasted at last.
    pub uptime_s: Option<u64>,
    /// These are the most that were seen.
    pub connections: Option<u64>,
    pub open_files: Option<u64>,
    pub threads: Option<u64>,
    pub processes: Option<u64>,
    pub queue: Option<u64>,
    /// Since the row before: messages that came into its inbox, those that it was done with, and those that it wrote.
    pub messages_in: u64,
    pub messages_done: u64,
    pub messages_out: u64,
    pub errors: u64,
    pub restarts: u64,
    /// From the post of a message until it was done with.
    pub done_p50_ms: Option<u64>,
    pub done_p95_ms: Option<u64>,
}

impl MetricRow {
    /// A row of one pass that found nothing out.
    pub fn of_pass(at: Stamp, bot: BotId, state: State) -> MetricRow {
        MetricRow {
            resolution: Resolution::Raw,
            at,
            bot,
            state,
            samples: 1,
            wanted: 0,
            up: 0,
            measured: 0,
            memory_bytes: None,
            memory_max: None,
            cpu_percent: None,
            cpu_max: None,
            uptime_s: None,
            connections: None,
            open_files: None,
            threads: None,
            processes: None,
            queue: None,
            messages_in: 0,
            messages_done: 0,
            messages_out: 0,
            errors: 0,
            restarts: 0,
            done_p50_ms: None,
            done_p95_ms: None,
        }
    }

    /// The most memory that is known of its time.
    pub fn memory_peak(&self) -> Option<u64> {
        self.memory_max.or(self.memory_bytes)
    }

    /// The most CPU that is known of its time, of one core.
    pub fn cpu_peak(&self) -> Option<f64> {
        self.cpu_max.or(self.cpu_percent)
    }
}

/// How long the history is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    pub raw: Duration,
    pub minute: Duration,
    pub hour: Duration,
    pub events: Duration,
    /// Bytes of the database that may be in use; past them the oldest goes, raw rows first.
    pub size_max: u64,
}

impl Retention {
    pub fn of(&self, resolution: Resolution) -> Duration {
        match resolution {
            Resolution::Raw => self.raw,
            Resolution::Minute => self.minute,
            Resolution::Hour => self.hour,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_shown_in_a_few_hundred_rows() {
        for (hours, resolution) in [
            (0, Resolution::Raw),
            (1, Resolution::Raw),
            (2, Resolution::Minute),
            (48, Resolution::Minute),
            (49, Resolution::Hour),
            (24 * 90, Resolution::Hour),
        ] {
            assert_eq!(
                Resolution::for_span(Duration::from_secs(hours * 3600)),
                resolution,
                "{hours} h"
            );
        }
        for resolution in Resolution::ALL {
            assert_eq!(Resolution::from_seconds(resolution.seconds()), Some(resolution));
        }
    }
}
