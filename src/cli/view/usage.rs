//! What bots use and how far that is from their limits, and what is promised of the home's budget.

use std::time::Duration;

use serde::Serialize;

use super::{BotView, View, show_ms};
use crate::cli::client::age;
use crate::model::units::{Stamp, show_size};
use crate::model::usage::Measure;
use crate::supervisor::snapshot::{LimitActionStatus, LimitStatus};

/// One limit in force. Thresholds are in the unit of what is measured.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct LimitView {
    pub what: String,
    pub warn: Option<f64>,
    pub max: Option<f64>,
    pub level: String,
    pub since: Option<String>,
    pub why: Option<String>,
    /// Since when, for the reason.
    #[serde(skip)]
    pub(super) lasted: Option<Duration>,
}

impl LimitView {
    pub(super) fn of(limit: &LimitStatus, now: Stamp) -> LimitView {
        LimitView {
            what: limit.what.clone(),
            warn: limit.warn,
            max: limit.max,
            level: limit.level.clone(),
            since: limit.since.map(show_ms),
            why: limit.why.clone(),
            lasted: limit.since.map(|at| age(at, now)),
        }
    }
}

/// What was done for a limit, until a later run is well.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct LimitActionView {
    pub why: String,
    pub action: String,
    pub at: String,
}

impl LimitActionView {
    pub(super) fn of(acted: &LimitActionStatus) -> LimitActionView {
        LimitActionView {
            why: acted.why.clone(),
            action: acted.action.clone(),
            at: show_ms(acted.at),
        }
    }
}

impl View {
    /// `Capacity: memory 880.0 MiB of 1.0 GiB | cpu 150 % of 400 % | 3 of 5 bots`; None without a budget.
    pub(in crate::cli) fn capacity_line(&self) -> Option<String> {
        let capacity = self.supervisor.capacity.as_ref()?;
        let memory = capacity.memory_bytes.map(|budget| {
            let promised = show_size(capacity.memory_reserved_bytes);
            format!("memory {promised} of {}", show_size(budget))
        });
        let cpu = capacity.cpu_percent;
        let cpu = cpu.map(|budget| format!("cpu {:.0} % of {budget:.0} %", capacity.cpu_reserved_percent));
        let bots = capacity
            .max_bots
            .map(|max| format!("{} of {max} bots", capacity.live_bots));
        let parts: Vec<String> = [memory, cpu, bots].into_iter().flatten().collect();
        Some(format!("Capacity: {}", parts.join(" | ")))
    }
}

impl BotView {
    /// What it uses, and of how much, as far as it is known.
    pub(in crate::cli) fn usage(&self) -> Vec<(&'static str, String)> {
        let bound = |measure: Measure| {
            let limit = self.limits.iter().find(|limit| limit.what == measure.word());
            let max = limit.and_then(|limit| limit.max);
            max.map(|max| format!(" of {}", measure.show(max))).unwrap_or_default()
        };
        let values = [
            (Measure::Memory, self.memory_bytes.map(|bytes| bytes as f64)),
            (Measure::Cpu, self.cpu_percent),
            (Measure::OpenFiles, self.open_files.map(|count| count as f64)),
            (Measure::Threads, self.threads.map(|count| count as f64)),
            (Measure::Processes, self.processes.map(|count| count as f64)),
            (Measure::Connections, self.connections.map(|count| count as f64)),
            (Measure::Output, self.output_bytes_per_s.map(|rate| rate as f64)),
        ];
        let known = values
            .into_iter()
            .filter_map(|(measure, value)| Some((measure, value?)));
        known
            .map(|(measure, value)| (measure.word(), format!("{}{}", measure.show(value), bound(measure))))
            .collect()
    }
}
