//! What bots use, the thresholds for it, and what one look at a run has found.

use std::time::Duration;

use super::bot::{BotId, RunId};
use super::units::{Moment, show_size};

/// What is measured of a run, each with thresholds of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Resident bytes of all its processes.
    Memory,
    /// Percent of one core.
    Cpu,
    OpenFiles,
    Threads,
    Processes,
    /// Established TCP connections.
    Connections,
    /// Bytes a second that it writes to its log.
    Output,
    /// Its first process does not run although nobody ended it.
    Halted,
}

impl Measure {
    pub const ALL: [Measure; 8] = [
        Measure::Memory,
        Measure::Cpu,
        Measure::OpenFiles,
        Measure::Threads,
        Measure::Processes,
        Measure::Connections,
        Measure::Output,
        Measure::Halted,
    ];

    pub fn from_word(word: &str) -> Option<Measure> {
        Measure::ALL.into_iter().find(|measure| measure.word() == word)
    }

    /// As keys and JSON name it.
    pub fn word(self) -> &'static str {
        match self {
            Measure::Memory => "memory",
            Measure::Cpu => "cpu",
            Measure::OpenFiles => "open_files",
            Measure::Threads => "threads",
            Measure::Processes => "processes",
            Measure::Connections => "connections",
            Measure::Output => "output",
            Measure::Halted => "halted",
        }
    }

    /// A value with its unit, for people.
    pub fn show(self, value: f64) -> String {
        match self {
            Measure::Memory => show_size(value as u64),
            Measure::Output => format!("{}/s", show_size(value as u64)),
            Measure::Cpu => format!("{value:.0} %"),
            Measure::OpenFiles | Measure::Threads | Measure::Processes | Measure::Connections | Measure::Halted => {
                format!("{value:.0}")
            }
        }
    }

    /// Whether it goes in whole steps.
    pub fn is_count(self) -> bool {
        match self {
            Measure::OpenFiles | Measure::Threads | Measure::Processes | Measure::Connections | Measure::Halted => true,
            Measure::Memory | Measure::Cpu | Measure::Output => false,
        }
    }
}

/// What a share of a count may lie above a whole number by rounding alone.
const ROUNDING: f64 = 1e-9;

impl Measure {
    /// A share of a threshold, in steps that the measure has. A count is rounded up: what may have one process is
    /// not told of for having it.
    pub fn share(self, whole: f64, share: f64) -> f64 {
        let part = whole * share;
        match self {
            Measure::Memory | Measure::Output => part.floor(),
            Measure::Cpu => part,
            Measure::OpenFiles | Measure::Threads | Measure::Processes | Measure::Connections | Measure::Halted => {
                (part - ROUNDING).ceil()
            }
        }
    }
}

/// One look at a run's whole process tree. What could not be measured is None.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    pub memory_bytes: u64,
    /// Of one core: 250.0 is two and a half cores. It is measured between two looks.
    pub cpu_percent: Option<f64>,
    pub open_files: Option<u64>,
    pub threads: u64,
    pub processes: u64,
    pub connections: Option<u64>,
    /// Bytes a second; measured between two looks.
    pub output: Option<f64>,
    pub activity: Activity,
}

/// What the bot's first process does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activity {
    /// It runs, or sleeps until there is something to do. A traced one is somebody's business.
    #[default]
    Active,
    /// A signal has stopped it (state T).
    Stopped,
    /// It waits in the kernel (state D) and has used no CPU since the last look.
    Stuck,
}

impl Usage {
    /// The value that thresholds are held against.
    pub fn value(&self, measure: Measure) -> Option<f64> {
        match measure {
            Measure::Memory => Some(self.memory_bytes as f64),
            Measure::Cpu => self.cpu_percent,
            Measure::OpenFiles => self.open_files.map(|count| count as f64),
            Measure::Threads => Some(self.threads as f64),
            Measure::Processes => Some(self.processes as f64),
            Measure::Connections => self.connections.map(|count| count as f64),
            Measure::Output => self.output,
            Measure::Halted => Some(match self.activity {
                Activity::Active => 0.0,
                Activity::Stopped | Activity::Stuck => 1.0,
            }),
        }
    }
}

/// What happens when a threshold was passed for long enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitAction {
    #[default]
    Alert,
    Restart,
    Stop,
}

impl LimitAction {
    pub fn from_word(word: &str) -> Option<LimitAction> {
        let all = [LimitAction::Alert, LimitAction::Restart, LimitAction::Stop];
        all.into_iter().find(|action| action.word() == word)
    }

    pub fn word(self) -> &'static str {
        match self {
            LimitAction::Alert => "alert",
            LimitAction::Restart => "restart",
            LimitAction::Stop => "stop",
        }
    }
}

/// Where the first level begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Warn {
    /// In the unit of the measure.
    At(f64),
    /// Of the max: 0.8 is 80 %.
    Share(f64),
}

/// The thresholds of one measure, in its unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    pub max: Option<f64>,
    pub warn: Warn,
    /// How long a threshold must be passed without a break.
    pub lasting: Duration,
    /// What happens beyond the max.
    pub action: LimitAction,
}

/// No threshold at all.
impl Default for Limit {
    fn default() -> Limit {
        Limit {
            max: None,
            warn: Warn::Share(0.8),
            lasting: Duration::ZERO,
            action: LimitAction::Alert,
        }
    }
}

impl Limit {
    /// The warn level in the unit of the measure; None where it is a share of nothing.
    pub fn warn_at(&self, measure: Measure) -> Option<f64> {
        match self.warn {
            Warn::At(value) => Some(value),
            Warn::Share(share) => self.max.map(|max| measure.share(max, share)),
        }
    }
}

/// All thresholds of a bot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    pub memory: Limit,
    pub cpu: Limit,
    pub open_files: Limit,
    pub threads: Limit,
    pub processes: Limit,
    pub connections: Limit,
    pub output: Limit,
    /// Passed by every process that is halted: its max is below one.
    pub halted: Limit,
}

/// The max of `halted`: a process is halted or it is not.
pub const HALTED_MAX: f64 = 0.5;

impl Limits {
    pub fn of(&self, measure: Measure) -> &Limit {
        match measure {
            Measure::Memory => &self.memory,
            Measure::Cpu => &self.cpu,
            Measure::OpenFiles => &self.open_files,
            Measure::Threads => &self.threads,
            Measure::Processes => &self.processes,
            Measure::Connections => &self.connections,
            Measure::Output => &self.output,
            Measure::Halted => &self.halted,
        }
    }
}

/// How far a limit is passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    Ok,
    Warn,
    Max,
}

impl Level {
    pub fn from_word(word: &str) -> Option<Level> {
        [Level::Ok, Level::Warn, Level::Max]
            .into_iter()
            .find(|level| level.word() == word)
    }

    pub fn word(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Max => "max",
        }
    }
}

/// One limit in force and how a run stands to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub measure: Measure,
    pub warn: Option<f64>,
    pub max: Option<f64>,
    pub level: Level,
    /// Since when the threshold of that level has been passed.
    pub since: Option<Moment>,
    /// In words, where one is passed.
    pub why: Option<String>,
}

/// A level was reached or left. Each is told once until it was left.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelChange {
    pub measure: Measure,
    pub from: Level,
    pub to: Level,
    pub why: String,
    pub action: LimitAction,
}

/// What one pass of the sampler found of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub bot: BotId,
    pub run: RunId,
    pub usage: Usage,
    /// The limits in force.
    pub standings: Vec<Standing>,
    pub changes: Vec<LevelChange>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_a_count_is_whole_and_never_below_what_one_may_have() {
        for (measure, max, share, expected) in [
            (Measure::Processes, 1.0, 0.8, 1.0),
            (Measure::Threads, 2.0, 0.8, 2.0),
            (Measure::Connections, 5.0, 0.8, 4.0),
            (Measure::OpenFiles, 100.0, 0.55, 55.0),
            (Measure::Processes, 1.0, 0.01, 1.0),
            (Measure::Memory, 1001.0, 0.8, 800.0),
            (Measure::Output, 11.0, 0.8, 8.0),
            (Measure::Cpu, 1.0, 0.5, 0.5),
        ] {
            assert_eq!(measure.share(max, share), expected, "{measure:?} {max} {share}");
        }
    }
}
