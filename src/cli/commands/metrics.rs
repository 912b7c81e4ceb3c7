//! `multibot metrics`

mod short;

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::args::Metrics;
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::retrospect::{Retrospect, Time, look_back};
use crate::clock;
use crate::model::bot::BotId;
use crate::model::metric::{MetricRow, Resolution};
use crate::model::units::{Stamp, show_age, show_size};
use crate::monitor::availability::away_after;
use crate::output::{self, Cell, Column, Paint, Plot, Point, Style, Table, csv_row};

pub(in crate::cli) fn run(client: &Client, metrics: &Metrics) -> Result<Exit, Failure> {
    let now = clock::stamp();
    let time = Time {
        from: metrics.since.from(now),
        to: now,
    };
    if time.from >= time.to {
        return Err(Failure::Usage(format!("--since: {} is not in the past", time.from)));
    }
    let mut found = match client.read_store()? {
        Some(store) => {
            let bots = chosen(&store, metrics.bot.as_ref())?;
            look_back(client, &store, &bots, time)?
        }
        None => Vec::new(),
    };
    match (&metrics.bot, metrics.json, metrics.csv) {
        (None, true, _) => output::document(&document(&found, time))?,
        (None, false, true) => print_csv(&found)?,
        (None, false, false) => print_all(&found)?,
        (Some(bot), as_json, as_csv) => {
            let Some(one) = found.pop() else {
                client.known(std::slice::from_ref(bot))?;
                return Ok(Exit::Done);
            };
            match (as_json, as_csv) {
                (true, _) => output::document(&document_of_one(&one, time))?,
                (false, true) => print_csv_of_one(&one)?,
                (false, false) => print_one(&one, time)?,
            }
        }
    }
    Ok(Exit::Done)
}

/// The bot that was named, also one that was removed, or all that there are.
fn chosen(store: &crate::store::Store, bot: Option<&BotId>) -> Result<Vec<BotId>, Failure> {
    let Some(bot) = bot else {
        return Ok(store.bots().list()?.into_iter().map(|record| record.id).collect());
    };
    if store.events().recent(Some(bot), 1)?.is_empty() {
        store.bots().get(bot)?;
    }
    Ok(vec![bot.clone()])
}

fn document(found: &[Retrospect], time: Time) -> Value {
    json!({
        "schema": 1, "since": time.from.to_string(), "until": time.to.to_string(), "bots": found,
        "recommendations": found.iter().flat_map(|one| &one.recommendations).collect::<Vec<_>>(),
    })
}

fn document_of_one(one: &Retrospect, time: Time) -> Value {
    json!({
        "schema": 1, "since": time.from.to_string(), "until": time.to.to_string(), "bot": one,
        "recommendations": one.recommendations,
        "points": one.rows.iter().map(point_json).collect::<Vec<_>>(),
    })
}

fn point_json(row: &MetricRow) -> Value {
    json!({
        "at": row.at.to_string(), "resolution_s": row.resolution.seconds(), "state": row.state.word(),
        "samples": row.samples, "wanted": row.wanted, "up": row.up,
        "memory_bytes": row.memory_bytes, "memory_max_bytes": row.memory_peak(),
        "cpu_percent": row.cpu_percent, "cpu_percent_max": row.cpu_peak(), "uptime_s": row.uptime_s,
        "connections": row.connections, "open_files": row.open_files, "threads": row.threads,
        "processes": row.processes, "queue": row.queue, "messages_in": row.messages_in,
        "messages_done": row.messages_done, "messages_out": row.messages_out, "errors": row.errors,
        "restarts": row.restarts, "done_p50_ms": row.done_p50_ms, "done_p95_ms": row.done_p95_ms,
    })
}

fn print_all(found: &[Retrospect]) -> Result<(), Failure> {
    if found.is_empty() {
        output::note("no bots yet; create one with: multibot bot create demo");
        return Ok(());
    }
    let style = Style::of_stdout();
    output::out(&table(found).render(&style))?;
    for advice in found.iter().flat_map(|one| &one.recommendations) {
        print_advice(advice, true, &style)?;
    }
    Ok(())
}

/// A row for each bot, short enough that names of 14 letters fit a terminal of 80 columns.
fn table(found: &[Retrospect]) -> Table {
    let mut table = Table::new(&[
        Column::Word("bot"),
        Column::Number("up%"),
        Column::Number("rst"),
        Column::Number("/day"),
        Column::Number("mttr"),
        Column::Number("mem"),
        Column::Number("max"),
        Column::Number("cpu"),
        Column::Number("err"),
        Column::Number("queue"),
        Column::Number("p95"),
    ]);
    for one in found {
        table.row([
            Cell::from(one.id.clone()),
            Cell::painted(
                or_dash(one.uptime_percent.map(short::percent)),
                paint_of(one.uptime_percent),
            ),
            short::count(u64::from(one.restarts)).into(),
            or_dash(one.restarts_per_day.map(short::number)).into(),
            or_dash(one.mean_time_to_recovery_s.map(|s| short::age(length(s)))).into(),
            or_dash(one.memory_bytes.map(short::size)).into(),
            or_dash(one.memory_max_bytes.map(short::size)).into(),
            or_dash(one.cpu_percent.map(|cpu| format!("{}%", short::number(cpu)))).into(),
            short::count(one.errors).into(),
            or_dash(one.queue.map(short::count)).into(),
            or_dash(one.done_p95_ms.map(|ms| short::age(Duration::from_millis(ms)))).into(),
        ]);
    }
    table
}

/// Columns of what goes into a pipe, where no terminal says how wide it is.
const WIDTH: usize = 80;

fn print_advice(advice: &Value, with_bot: bool, style: &Style) -> Result<(), Failure> {
    let text = output::visible(advice["text"].as_str().unwrap_or_default());
    let bot = advice["bot"].as_str().unwrap_or_default();
    let who = if with_bot { format!("{bot}: ") } else { String::new() };
    let width = style.width().map_or(WIDTH, usize::from);
    Ok(output::out(&output::wrapped(&format!("* {who}{text}"), width, 2))?)
}

fn print_one(one: &Retrospect, time: Time) -> Result<(), Failure> {
    let style = Style::of_stdout();
    if one.rows.is_empty() {
        output::note(&format!(
            "nothing was measured of {} in this time; sampling.period of multibot.yaml says how often that is done",
            one.id
        ));
    } else {
        print_plots(one, time, &style)?;
    }
    let mut table = Table::new(&[Column::Word("figure"), Column::Text("value")]);
    for (name, value) in figures(one) {
        table.row([name.into(), value.into()]);
    }
    output::out(&table.render(&style))?;
    for advice in &one.recommendations {
        print_advice(advice, false, &style)?;
    }
    Ok(())
}

fn print_plots(one: &Retrospect, time: Time, style: &Style) -> Result<(), Failure> {
    let bytes = |value: f64| show_size(value as u64);
    let cpu = |value: f64| format!("{value:.1} %");
    let number = |value: f64| format!("{value:.1}").trim_end_matches(".0").to_owned();
    let draw = |what: &str, show: &dyn Fn(f64) -> String, value: fn(&MetricRow) -> Option<f64>| {
        let plot = Plot {
            title: &format!("{}: {what}", one.id),
            show,
            from: time.from,
            to: time.to,
            points: &points(&one.rows, value),
        };
        output::out(&plot.draw(style.width().map(usize::from), style.letters()))?;
        output::out("")
    };
    draw("memory", &bytes, |row| row.memory_peak().map(|bytes| bytes as f64))?;
    draw("cpu, of one core", &cpu, MetricRow::cpu_peak)?;
    draw("queue, messages that wait", &number, |row| {
        row.queue.map(|count| count as f64)
    })?;
    draw("restarts", &number, |row| Some(row.restarts as f64))?;
    Ok(())
}

/// What a pass has measured holds since the pass before, unless nobody had looked for long.
fn points(rows: &[MetricRow], value: impl Fn(&MetricRow) -> Option<f64>) -> Vec<Point> {
    let away = away_after(rows);
    let mut before: Option<Stamp> = None;
    let mut points = Vec::new();
    for row in rows {
        let (from, to) = match row.resolution {
            Resolution::Raw => (before.filter(|at| row.at.since(*at) <= away).unwrap_or(row.at), row.at),
            Resolution::Minute | Resolution::Hour => (row.at, Stamp(row.at.0 + row.resolution.seconds() * 1_000_000)),
        };
        points.extend(value(row).map(|value| Point { from, to, value }));
        before = Some(to);
    }
    points
}

fn figures(one: &Retrospect) -> Vec<(&'static str, String)> {
    let memory = match (one.memory_bytes, one.memory_max_bytes) {
        (Some(now), Some(most)) => format!("{} now, {} at most", show_size(now), show_size(most)),
        (None, Some(most)) => format!("{} at most", show_size(most)),
        (_, None) => "-".to_owned(),
    };
    let cpu = match (one.cpu_percent, one.cpu_percent_max) {
        (Some(mean), Some(most)) => format!("{mean:.1}% on average, {most:.1}% at most"),
        _ => "-".to_owned(),
    };
    let a_day = one
        .restarts_per_day
        .map(|count| format!(", {count:.1} a day"))
        .unwrap_or_default();
    let times = match (one.done_p50_ms, one.done_p95_ms) {
        (Some(p50), Some(p95)) => format!("half within {}, 95% within {}", millis(p50), millis(p95)),
        _ => "-".to_owned(),
    };
    let queue = match (one.queue, one.queue_max) {
        (Some(now), Some(most)) => format!("{now} now, {most} at most"),
        _ => "-".to_owned(),
    };
    vec![
        (
            "uptime",
            format!("{} of the time it was wanted", percent(one.uptime_percent)),
        ),
        (
            "failures",
            format!("{}, restarts {}{a_day}", one.failures, one.restarts),
        ),
        (
            "recovery",
            or_dash(
                one.mean_time_to_recovery_s
                    .map(|s| format!("{} on average", seconds(s))),
            ),
        ),
        ("memory", memory),
        ("cpu", cpu),
        ("queue", queue),
        (
            "messages",
            format!(
                "{} in, {} done; {} out",
                one.messages_in, one.messages_done, one.messages_out
            ),
        ),
        ("done", times),
        ("errors", one.errors.to_string()),
    ]
}

fn percent(value: Option<f64>) -> String {
    or_dash(value.map(|percent| format!("{percent:.2}%")))
}

fn paint_of(uptime: Option<f64>) -> Paint {
    match uptime {
        Some(percent) if percent >= 99.0 => Paint::Good,
        Some(percent) if percent >= 90.0 => Paint::Warning,
        Some(_) => Paint::Bad,
        None => Paint::Dim,
    }
}

fn seconds(length_s: f64) -> String {
    show_age(length(length_s))
}

fn length(length_s: f64) -> Duration {
    Duration::try_from_secs_f64(length_s).unwrap_or_default()
}

fn millis(ms: u64) -> String {
    show_age(Duration::from_millis(ms))
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// A row for each bot, with the columns of the JSON.
fn print_csv(found: &[Retrospect]) -> Result<(), Failure> {
    let objects: Vec<Value> = found.iter().filter_map(|one| serde_json::to_value(one).ok()).collect();
    print_objects(&objects, &BOT_COLUMNS)
}

const BOT_COLUMNS: [&str; 18] = [
    "id",
    "uptime_percent",
    "failures",
    "restarts",
    "restarts_per_day",
    "mean_time_to_recovery_s",
    "memory_bytes",
    "memory_max_bytes",
    "cpu_percent",
    "cpu_percent_max",
    "errors",
    "queue",
    "queue_max",
    "messages_in",
    "messages_done",
    "messages_out",
    "done_p50_ms",
    "done_p95_ms",
];

fn print_csv_of_one(one: &Retrospect) -> Result<(), Failure> {
    let objects: Vec<Value> = one.rows.iter().map(point_json).collect();
    print_objects(&objects, &POINT_COLUMNS)
}

const POINT_COLUMNS: [&str; 23] = [
    "at",
    "resolution_s",
    "state",
    "samples",
    "wanted",
    "up",
    "memory_bytes",
    "memory_max_bytes",
    "cpu_percent",
    "cpu_percent_max",
    "uptime_s",
    "connections",
    "open_files",
    "threads",
    "processes",
    "queue",
    "messages_in",
    "messages_done",
    "messages_out",
    "errors",
    "restarts",
    "done_p50_ms",
    "done_p95_ms",
];

/// A header and a row an object; what is unknown is empty.
fn print_objects(objects: &[Value], columns: &[&str]) -> Result<(), Failure> {
    csv_row(columns)?;
    for object in objects {
        csv_row(columns.iter().map(|column| match &object[*column] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bot::State;

    #[test]
    fn tables_for_scripts_have_the_columns_of_the_json() {
        let row = MetricRow::of_pass(Stamp(0), "a".parse().unwrap(), State::Stopped);
        let point = point_json(&row);
        let names: Vec<&str> = point.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, POINT_COLUMNS);
    }

    fn retrospect(id: &str) -> Retrospect {
        Retrospect {
            id: id.to_owned(),
            uptime_percent: Some(100.0),
            failures: 9999,
            restarts: 9999,
            restarts_per_day: Some(1234.5),
            mean_time_to_recovery_s: Some(59.0 * 60.0 + 59.0),
            memory_bytes: Some(1023 << 20),
            memory_max_bytes: Some(1023 << 20),
            cpu_percent: Some(400.0),
            cpu_percent_max: Some(400.0),
            errors: 123_456,
            queue: Some(10_000),
            queue_max: Some(10_000),
            messages_in: 12_345_678,
            messages_done: 12_345_678,
            messages_out: 12_345_678,
            done_p50_ms: Some(999),
            done_p95_ms: Some(999),
            recommendations: Vec::new(),
            rows: Vec::new(),
        }
    }

    #[test]
    fn names_of_14_letters_fit_80_columns_with_the_longest_figures() {
        let found = ["a-name-of-14-l", "a"].map(retrospect);
        for style in [Style::plain(), Style::of_terminal(80)] {
            let shown = output::uncoloured(&table(&found).render(&style));
            assert!(shown.lines().all(|line| line.len() <= 80), "{shown}");
            assert_eq!(shown.lines().count(), 3, "nothing wraps: {shown}");
        }
        for (name, value) in figures(&found[0]) {
            assert!(10 + value.len() <= 80, "{name}: {value}");
        }
    }

    #[test]
    fn a_pass_holds_since_the_one_before() {
        let at = |second: i64| Stamp(second * 1_000_000);
        let row = |second| MetricRow {
            queue: Some(2),
            ..MetricRow::of_pass(at(second), "a".parse().unwrap(), State::Running)
        };
        let rows = [row(0), row(5), row(10), row(1000)];
        let spans: Vec<(Stamp, Stamp)> = points(&rows, |row| row.queue.map(|count| count as f64))
            .iter()
            .map(|point| (point.from, point.to))
            .collect();
        assert_eq!(
            spans,
            [(at(0), at(0)), (at(0), at(5)), (at(5), at(10)), (at(1000), at(1000))]
        );
    }
}
