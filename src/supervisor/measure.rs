//! One row a bot and pass for the history: what the fleet knows of every configured bot, and what was counted of it
//! since the last pass.

use std::collections::BTreeMap;

use crate::model::bot::{BotId, State};
use crate::model::message::{Envelope, Kind};
use crate::model::metric::MetricRow;
use crate::model::units::{Moment, Stamp};

use super::event_loop::Supervisor;
use super::fleet::Place;
use super::host::Host;
use super::snapshot::{BotStatus, Stage};
use super::traffic::Passed;

/// What is counted of bots between two passes.
#[derive(Debug, Default)]
pub struct Tally {
    of_bots: BTreeMap<BotId, Count>,
    /// When the last pass was recorded; None before the first.
    recorded_at: Option<Moment>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    messages_out: u64,
    errors: u64,
    /// The restarts that earlier rows include; None before the first one.
    restarts: Option<u32>,
}

impl Tally {
    /// A bot has written an envelope. Beats and answers to the supervisor's own questions are no messages.
    pub(super) fn heard(&mut self, bot: &BotId, envelope: &Envelope) {
        let is_error = envelope.name == "error" && envelope.kind == Kind::Event
            || envelope.kind == Kind::Error && envelope.correlation_id.is_none();
        let is_message = envelope.kind != Kind::Heartbeat && envelope.name != "status_response";
        let count = self.of_bots.entry(bot.clone()).or_default();
        count.errors += u64::from(is_error);
        count.messages_out += u64::from(is_message);
    }

    /// Lines of its log that count as errors.
    pub(super) fn errors(&mut self, bot: &BotId, count: u64) {
        self.of_bots.entry(bot.clone()).or_default().errors += count;
    }

    /// The row of one bot; counting begins anew.
    fn row(&mut self, bot: &BotId, seen: &BotStatus, passed: &Passed, now: Stamp) -> MetricRow {
        let count = self.of_bots.entry(bot.clone()).or_default();
        let known = count.restarts.replace(seen.restarts).unwrap_or(seen.restarts);
        // A bot that was created anew counts from zero.
        let restarts = seen.restarts.checked_sub(known).unwrap_or(seen.restarts);
        let state = State::from_word(&seen.state).unwrap_or(State::Stopped);
        let is_wanted = seen.wanted == "up" && seen.enabled;
        let uptime = seen.started_at.map(|at| now.since(Stamp::from_unix_ms(at)).as_secs());
        MetricRow {
            wanted: u64::from(is_wanted),
            up: u64::from(is_wanted && state == State::Running),
            measured: u64::from(seen.memory_bytes.is_some()),
            memory_bytes: seen.memory_bytes,
            cpu_percent: seen.cpu_percent,
            uptime_s: uptime,
            connections: seen.connections,
            open_files: seen.open_files,
            threads: seen.threads,
            processes: seen.processes,
            queue: [seen.inbox_new, seen.inbox_cur, seen.inbox_later]
                .into_iter()
                .flatten()
                .reduce(|sum, more| sum + more),
            messages_in: passed.came,
            messages_done: passed.times.count(),
            messages_out: std::mem::take(&mut count.messages_out),
            errors: std::mem::take(&mut count.errors),
            restarts: u64::from(restarts),
            done_p50_ms: passed.times.percentile(50),
            done_p95_ms: passed.times.percentile(95),
            ..MetricRow::of_pass(now, bot.clone(), state)
        }
    }
}

impl<H: Host> Supervisor<H> {
    /// Records one pass: a row of every configured bot, also of those that are down. With sampling off there is
    /// nothing to record.
    pub(super) fn record_pass(&mut self, now: Moment) {
        if self.pace.sampling_period.is_none() || self.stage != Stage::Running {
            return;
        }
        self.tally.recorded_at = Some(now);
        let stamp = self.host.stamp();
        let mut rows = Vec::new();
        for (bot, member) in self.fleet.members() {
            if member.place == Place::Configured {
                let passed = self.host.passed(bot);
                let status = member.status(now, stamp);
                rows.push(self.tally.row(bot, &status, &passed, stamp));
            }
        }
        let configured = |bot: &BotId| self.fleet.get(bot).is_some();
        self.tally.of_bots.retain(|bot, _| configured(bot));
        if !rows.is_empty() {
            self.host.record_metrics(rows);
        }
    }

    /// When a pass must be recorded although the sampler says nothing, as it has nothing to look at: a bot that is
    /// down and should not be is history too. None while that cannot be.
    pub(super) fn measure_due(&self) -> Option<Moment> {
        let period = self.pace.sampling_period?;
        let is_meant = self.stage == Stage::Running && self.fleet.members().any(|(_, member)| member.is_desired());
        let last = self.tally.recorded_at.unwrap_or(self.started_at);
        // The sampler comes first where it comes at all.
        is_meant.then(|| last + period + period / 2)
    }

    pub(super) fn measure_if_due(&mut self) {
        let now = self.host.now();
        if self.measure_due().is_some_and(|due| due <= now) {
            self.record_pass(now);
        }
    }

    /// The sampler has looked at everything: the pass is recorded, unless a deadline has just done so.
    pub(super) fn record_sampled(&mut self) {
        let now = self.host.now();
        let period = self.pace.sampling_period.unwrap_or_default();
        if self.tally.recorded_at.is_none_or(|at| now.since(at) >= period / 2) {
            self.record_pass(now);
        }
    }
}
