//! What the history says of bots over some time: figures, availability and recommendations, gathered for `metrics`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::client::Client;
use super::failure::Failure;
use crate::config::{Settings, bot_spec};
use crate::model::bot::BotId;
use crate::model::fact::Fact;
use crate::model::metric::{MetricRow, Resolution};
use crate::model::units::Stamp;
use crate::monitor::advice::{Advice, Evidence, advise};
use crate::monitor::availability::{Availability, judge};
use crate::store::Store;

/// One bot over the time that was asked for. Fields are documented in multibot-json(7) and only ever added.
#[derive(Debug, Serialize)]
pub(super) struct Retrospect {
    pub id: String,
    pub uptime_percent: Option<f64>,
    pub failures: usize,
    pub restarts: u32,
    pub restarts_per_day: Option<f64>,
    pub mean_time_to_recovery_s: Option<f64>,
    pub memory_bytes: Option<u64>,
    pub memory_max_bytes: Option<u64>,
    pub cpu_percent: Option<f64>,
    pub cpu_percent_max: Option<f64>,
    pub errors: u64,
    pub queue: Option<u64>,
    pub queue_max: Option<u64>,
    pub messages_in: u64,
    pub messages_done: u64,
    pub messages_out: u64,
    pub done_p50_ms: Option<u64>,
    pub done_p95_ms: Option<u64>,
    pub recommendations: Vec<Value>,
    #[serde(skip)]
    pub rows: Vec<MetricRow>,
}

/// The time that is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    pub from: Stamp,
    pub to: Stamp,
}

impl Time {
    fn span(self) -> Duration {
        self.to.since(self.from)
    }

    pub(super) fn resolution(self) -> Resolution {
        Resolution::for_span(self.span())
    }

    fn last(self, length: Duration) -> Time {
        let us = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
        Time {
            from: Stamp(self.to.0.saturating_sub(us)),
            to: self.to,
        }
    }
}

const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// Looks back at these bots.
pub(super) fn look_back(
    client: &Client,
    store: &Store,
    bots: &[BotId],
    time: Time,
) -> Result<Vec<Retrospect>, Failure> {
    let only = match bots {
        [bot] => Some(bot),
        _ => None,
    };
    let week_ago = time.last(WEEK);
    let mut rows = by_bot(series(store, only, time.resolution(), time)?, |row| row.bot.clone());
    let day_ago = time.last(DAY);
    // A day is what is usually asked for, and read only once then.
    let is_day = time.from == day_ago.from;
    let day = if is_day {
        Vec::new()
    } else {
        series(store, only, Resolution::Minute, day_ago)?
    };
    let mut day = by_bot(day, |row| row.bot.clone());
    let mut week = by_bot(series(store, only, Resolution::Hour, week_ago)?, |row| row.bot.clone());
    let facts_from = time.from.min(week_ago.from);
    let facts = store.events().states(only, facts_from, time.to)?;
    let mut facts = by_bot(facts, |fact| fact.bot.clone());
    let defaults = client.settings().map(|settings| settings.defaults).unwrap_or_default();
    let mut found = Vec::new();
    for bot in bots {
        let take = |all: &mut BTreeMap<BotId, Vec<MetricRow>>| all.remove(bot).unwrap_or_default();
        let (rows, day, week) = (take(&mut rows), take(&mut day), take(&mut week));
        let mut told: Vec<Fact> = store.events().last_state(bot, facts_from)?.into_iter().collect();
        told.extend(facts.remove(bot).unwrap_or_default());
        let was_there = judge(&told, &rows, time.from, time.to);
        let was_there_in_week = judge(&told, &week, week_ago.from, week_ago.to);
        let evidence = Evidence {
            day: if is_day { &rows } else { &day },
            week: &week,
            failures: &was_there_in_week.failures,
            memory_limit: memory_limit(store, bot, &defaults),
            now: time.to,
        };
        let advice = advise(&evidence);
        found.push(retrospect(bot, rows, &was_there, &advice));
    }
    Ok(found)
}

fn series(store: &Store, bot: Option<&BotId>, resolution: Resolution, time: Time) -> Result<Vec<MetricRow>, Failure> {
    // What was measured in this very millisecond is part of it.
    Ok(store
        .metrics()
        .series(bot, resolution, time.from, Stamp(time.to.0 + 1000))?)
}

fn by_bot<T>(all: Vec<T>, bot_of: impl Fn(&T) -> BotId) -> BTreeMap<BotId, Vec<T>> {
    let mut sorted: BTreeMap<BotId, Vec<T>> = BTreeMap::new();
    for one in all {
        sorted.entry(bot_of(&one)).or_default().push(one);
    }
    sorted
}

/// The bytes that a bot may use; None where no limit is set, or the bot's settings make no sense.
fn memory_limit(store: &Store, bot: &BotId, defaults: &Settings) -> Option<u64> {
    let record = store.bots().get(bot).ok()?;
    let settings = Settings::from_json(&record.settings_json).ok()?;
    let spec = bot_spec(bot, &[&settings, defaults]).ok()?;
    spec.limits.memory.max.map(|max| max as u64)
}

fn retrospect(bot: &BotId, rows: Vec<MetricRow>, was_there: &Availability, advice: &[Advice]) -> Retrospect {
    let measured: u64 = rows.iter().map(|row| row.measured).sum();
    let cpu: f64 = rows
        .iter()
        .filter_map(|row| Some(row.cpu_percent? * row.measured as f64))
        .sum();
    let done: u64 = rows
        .iter()
        .filter(|row| row.done_p50_ms.is_some())
        .map(|row| row.messages_done)
        .sum();
    let p50: u64 = rows
        .iter()
        .filter_map(|row| Some(row.done_p50_ms? * row.messages_done))
        .sum();
    let sum = |value: fn(&MetricRow) -> u64| rows.iter().map(value).sum();
    let recovery = was_there.mean_time_to_recovery();
    Retrospect {
        id: bot.to_string(),
        uptime_percent: was_there.uptime_percent().map(|percent| rounded(percent, 1000.0)),
        failures: was_there.failures.len(),
        restarts: was_there.restarts,
        restarts_per_day: was_there.restarts_per_day().map(|count| rounded(count, 100.0)),
        mean_time_to_recovery_s: recovery.map(|length| rounded(length.as_secs_f64(), 1000.0)),
        // How it is now, and not how it was when it was measured last.
        memory_bytes: rows.last().and_then(|row| row.memory_bytes),
        memory_max_bytes: rows.iter().filter_map(MetricRow::memory_peak).max(),
        cpu_percent: (measured > 0).then(|| rounded(cpu / measured as f64, 10.0)),
        cpu_percent_max: rows.iter().filter_map(MetricRow::cpu_peak).reduce(f64::max),
        errors: sum(|row| row.errors),
        queue: rows.last().and_then(|row| row.queue),
        queue_max: rows.iter().filter_map(|row| row.queue).max(),
        messages_in: sum(|row| row.messages_in),
        messages_done: sum(|row| row.messages_done),
        messages_out: sum(|row| row.messages_out),
        done_p50_ms: p50.checked_div(done),
        done_p95_ms: rows.iter().filter_map(|row| row.done_p95_ms).max(),
        recommendations: advice.iter().map(|advice| advice_json(bot, advice)).collect(),
        rows,
    }
}

fn advice_json(bot: &BotId, advice: &Advice) -> Value {
    serde_json::json!({
        "rule": advice.rule, "bot": bot.as_str(), "text": advice.text, "figures": advice.figures,
    })
}

fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}
