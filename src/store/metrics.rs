//! `process_metrics`: what was measured of bots over time, in rows of single passes, of minutes and of hours.
//!
//! Invariants: a minute or an hour is summed up when it is over, once, and in one transaction; a row of it is
//! never changed afterwards. What has been summed up is known from the rows themselves, so a crash between any two
//! steps is made good by the next one.

use rusqlite::types::Value;
use rusqlite::{Row, params, params_from_iter};

use super::db::{bad_value, bot_id};
use super::room::drop_step;
use super::{Error, Store};
use crate::model::bot::{BotId, State};
use crate::model::metric::{MetricRow, Resolution, Retention};
use crate::model::units::Stamp;

/// The measurements of one home's bots.
#[derive(Clone, Copy, Debug)]
pub struct Metrics<'a> {
    pub(super) store: &'a Store,
}

/// The states by their numbers in the table. Only ever extended; the view `process_health` names the same ones.
const STATES: [State; 9] = [
    State::Adopting,
    State::Stopped,
    State::Starting,
    State::Running,
    State::Unhealthy,
    State::Stopping,
    State::Backoff,
    State::Failed,
    State::Held,
];

const COLUMNS: &str = "resolution, at, bot, status, samples, wanted, up, measured, memory_bytes, memory_max, \
    cpu_permille, cpu_permille_max, uptime_s, connections, open_files, threads, processes, queue, messages_in, \
    messages_done, messages_out, errors, restarts, done_p50_ms, done_p95_ms";

const INSERT: &str = "(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, \
    ?21, ?22, ?23, ?24, ?25)";

/// Sums rows of the resolution ?1 between ?3 and ?4 up to rows of ?2, each of ?5 milliseconds. The state is the
/// last one, found together with its time. Middle times are weighed by what they stand for, the worst stay.
const SUM_UP: &str = "\
SELECT ?2, at / ?5 * ?5, bot, MAX(at * 16 + status) % 16, SUM(samples), SUM(wanted), SUM(up), SUM(measured), \
    SUM(memory_bytes * measured) / NULLIF(SUM(measured), 0), MAX(COALESCE(memory_max, memory_bytes)), \
    SUM(cpu_permille * measured) / NULLIF(SUM(measured), 0), MAX(COALESCE(cpu_permille_max, cpu_permille)), \
    (MAX(CASE WHEN uptime_s IS NOT NULL THEN at END) - MAX(at - uptime_s * 1000)) / 1000, \
    MAX(connections), MAX(open_files), MAX(threads), MAX(processes), MAX(queue), SUM(messages_in), \
    SUM(messages_done), SUM(messages_out), SUM(errors), SUM(restarts), \
    SUM(done_p50_ms * messages_done) / NULLIF(SUM(CASE WHEN done_p50_ms IS NOT NULL THEN messages_done END), 0), \
    MAX(done_p95_ms) \
FROM process_metrics WHERE resolution = ?1 AND at >= ?3 AND at < ?4 GROUP BY bot, at / ?5";

/// Rows of so long a time are dropped in one transaction, so that nobody waits for the lock.
const DROP_MS: i64 = 15 * 60 * 1000;
/// A row takes less than this: dropping as many as a surplus holds of them never drops too much.
const ROW_BYTES: u64 = 200;

impl Metrics<'_> {
    /// Adds the rows of one pass or several, all or none.
    pub fn append(&self, rows: &[MetricRow]) -> Result<(), Error> {
        let sql = format!(
            "INSERT INTO process_metrics ({COLUMNS}) VALUES {INSERT} ON CONFLICT (resolution, at, bot) DO NOTHING"
        );
        self.store.transaction(|store| {
            for row in rows {
                store.execute("add a measurement", &sql, params_from_iter(values(row)))?;
            }
            Ok(())
        })
    }

    /// Sums up the minutes and hours that were over at `now`, the time of the newest row. Safe to repeat.
    pub fn sum_up(&self, now: Stamp) -> Result<(), Error> {
        self.sum_up_to(Resolution::Minute, now)?;
        self.sum_up_to(Resolution::Hour, now)
    }

    /// One step of it.
    fn sum_up_to(&self, coarse: Resolution, now: Stamp) -> Result<(), Error> {
        let fine = if coarse == Resolution::Hour {
            Resolution::Minute
        } else {
            Resolution::Raw
        };
        let span = coarse.seconds() * 1000;
        let end = now.unix_ms() / span * span;
        let sql = format!("INSERT INTO process_metrics ({COLUMNS}) {SUM_UP}");
        self.store.transaction(|store| {
            let begin = self.newest(coarse, now)?.map_or(0, |at| at + span);
            if begin < end {
                let params = params![fine.seconds(), coarse.seconds(), begin, end, span];
                store.execute("sum up measurements", &sql, params)?;
            }
            Ok(())
        })
    }

    /// The rows of one bot or of all from `from` to `to`, in the order of time: in `resolution` where such rows
    /// are, in a finer one what was not summed up yet, and in a coarser one what is not kept as fine any more.
    pub fn series(
        &self,
        bot: Option<&BotId>,
        resolution: Resolution,
        from: Stamp,
        to: Stamp,
    ) -> Result<Vec<MetricRow>, Error> {
        let (from, to) = (from.unix_ms(), to.unix_ms());
        let mut rows = self.between(bot, resolution, from, to)?;
        for coarser in Resolution::ALL.into_iter().filter(|it| *it > resolution) {
            // A coarse row that reaches into what is known more finely says nothing new.
            let known_from = rows.first().map_or(to, |first| first.at.unix_ms());
            let mut earlier = self.between(bot, coarser, from, known_from - coarser.seconds() * 1000 + 1)?;
            earlier.append(&mut rows);
            rows = earlier;
        }
        for finer in Resolution::ALL.into_iter().rev().filter(|it| *it < resolution) {
            let known_to = rows.last().map_or(from, |last| end_of(last).max(from));
            let mut later = self.between(bot, finer, known_to, to)?;
            rows.append(&mut later);
        }
        Ok(rows)
    }

    fn between(
        &self,
        bot: Option<&BotId>,
        resolution: Resolution,
        from: i64,
        to: i64,
    ) -> Result<Vec<MetricRow>, Error> {
        let doing = "read measurements";
        let columns = format!("SELECT {COLUMNS} FROM process_metrics WHERE resolution = ?1 AND at >= ?2 AND at < ?3");
        let order = "ORDER BY at, bot";
        let seconds = resolution.seconds();
        match bot {
            None => {
                let sql = format!("{columns} {order}");
                self.store.rows(doing, &sql, [seconds, from, to], metric)
            }
            Some(bot) => {
                let sql = format!("{columns} AND bot = ?4 {order}");
                self.store
                    .rows(doing, &sql, params![seconds, from, to, bot.as_str()], metric)
            }
        }
    }

    /// Forgets all about one bot.
    pub fn forget(&self, bot: &BotId) -> Result<(), Error> {
        let sql = "DELETE FROM process_metrics WHERE bot = ?1";
        self.store
            .transaction(|store| store.execute("forget measurements", sql, [bot.as_str()]))?;
        Ok(())
    }

    /// Drops the rows that are older than they are kept for; returns how many.
    pub fn drop_old(&self, retention: &Retention, now: Stamp) -> Result<usize, Error> {
        let mut dropped = 0;
        for resolution in Resolution::ALL {
            let age = i64::try_from(retention.of(resolution).as_millis()).unwrap_or(i64::MAX);
            let before = now.unix_ms().saturating_sub(age);
            while let Some(oldest) = self.oldest(resolution)?.filter(|oldest| *oldest < before) {
                dropped += self.drop_before(resolution, before.min(oldest.saturating_add(DROP_MS)))?;
            }
        }
        Ok(dropped)
    }

    /// Drops the oldest rows, the finest first, until no more than `size_max` bytes of the database are in use or no
    /// row is left; returns how many. A pass, a minute or an hour goes as a whole, and little more than must go.
    pub fn drop_surplus(&self, size_max: u64) -> Result<usize, Error> {
        let mut dropped = 0;
        for resolution in Resolution::ALL {
            loop {
                let surplus = self.store.used_bytes()?.saturating_sub(size_max);
                if surplus == 0 {
                    return Ok(dropped);
                }
                let gone = self.drop_first(resolution, drop_step(surplus, ROW_BYTES))?;
                if gone == 0 {
                    break;
                }
                dropped += gone;
            }
        }
        Ok(dropped)
    }

    fn drop_first(&self, resolution: Resolution, count: u64) -> Result<usize, Error> {
        let sql = "DELETE FROM process_metrics WHERE resolution = ?1 AND at <= COALESCE(\
                   (SELECT at FROM process_metrics WHERE resolution = ?1 ORDER BY at, bot LIMIT 1 OFFSET ?2 - 1), \
                   (SELECT MAX(at) FROM process_metrics WHERE resolution = ?1))";
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.store
            .transaction(|store| store.execute("drop old measurements", sql, [resolution.seconds(), count]))
    }

    fn drop_before(&self, resolution: Resolution, before: i64) -> Result<usize, Error> {
        let sql = "DELETE FROM process_metrics WHERE resolution = ?1 AND at < ?2";
        self.store
            .transaction(|store| store.execute("drop old measurements", sql, [resolution.seconds(), before]))
    }

    fn oldest(&self, resolution: Resolution) -> Result<Option<i64>, Error> {
        let sql = "SELECT MIN(at) FROM process_metrics WHERE resolution = ?1";
        let oldest = self
            .store
            .row("look for old measurements", sql, [resolution.seconds()], |row| {
                row.get(0)
            })?;
        Ok(oldest.flatten())
    }

    /// The newest row of a resolution that is not after `now`: a clock that ran ahead must not stop the sums.
    fn newest(&self, resolution: Resolution, now: Stamp) -> Result<Option<i64>, Error> {
        let sql = "SELECT MAX(at) FROM process_metrics WHERE resolution = ?1 AND at <= ?2";
        let params = [resolution.seconds(), now.unix_ms()];
        let newest = self.store.row("look for sums", sql, params, |row| row.get(0))?;
        Ok(newest.flatten())
    }
}

/// When the time that a row stands for is over, in unix milliseconds; for one pass, the next one may be then.
fn end_of(row: &MetricRow) -> i64 {
    row.at.unix_ms() + (row.resolution.seconds() * 1000).max(1)
}

fn values(row: &MetricRow) -> Vec<Value> {
    let whole = |number: u64| Value::from(i64::try_from(number).unwrap_or(i64::MAX));
    let some = |number: Option<u64>| number.map_or(Value::Null, whole);
    let permille = |percent: Option<f64>| percent.map_or(Value::Null, |it| Value::from((it * 10.0).round() as i64));
    let state = STATES.iter().position(|state| *state == row.state).unwrap_or(0);
    vec![
        Value::from(row.resolution.seconds()),
        Value::from(row.at.unix_ms()),
        Value::from(row.bot.as_str().to_owned()),
        whole(state as u64),
        whole(row.samples),
        whole(row.wanted),
        whole(row.up),
        whole(row.measured),
        some(row.memory_bytes),
        some(row.memory_max),
        permille(row.cpu_percent),
        permille(row.cpu_max),
        some(row.uptime_s),
        some(row.connections),
        some(row.open_files),
        some(row.threads),
        some(row.processes),
        some(row.queue),
        whole(row.messages_in),
        whole(row.messages_done),
        whole(row.messages_out),
        whole(row.errors),
        whole(row.restarts),
        some(row.done_p50_ms),
        some(row.done_p95_ms),
    ]
}

fn metric(row: &Row<'_>) -> rusqlite::Result<MetricRow> {
    let number = |index: usize| row.get::<_, i64>(index).map(|value| u64::try_from(value).unwrap_or(0));
    let some = |index: usize| {
        let value = row.get::<_, Option<i64>>(index)?;
        Ok::<_, rusqlite::Error>(value.map(|value| u64::try_from(value).unwrap_or(0)))
    };
    let percent = |index: usize| Ok::<_, rusqlite::Error>(some(index)?.map(|permille| permille as f64 / 10.0));
    let seconds: i64 = row.get(0)?;
    let state = usize::try_from(row.get::<_, i64>(3)?).unwrap_or(usize::MAX);
    Ok(MetricRow {
        resolution: Resolution::from_seconds(seconds)
            .ok_or_else(|| bad_value(0, format!("a resolution of {seconds} seconds")))?,
        at: Stamp::from_unix_ms(row.get(1)?),
        bot: bot_id(row, 2)?,
        // A later version may know more states; what it calls them is not known here.
        state: STATES.get(state).copied().unwrap_or(State::Unhealthy),
        samples: number(4)?,
        wanted: number(5)?,
        up: number(6)?,
        measured: number(7)?,
        memory_bytes: some(8)?,
        memory_max: some(9)?,
        cpu_percent: percent(10)?,
        cpu_max: percent(11)?,
        uptime_s: some(12)?,
        connections: some(13)?,
        open_files: some(14)?,
        threads: some(15)?,
        processes: some(16)?,
        queue: some(17)?,
        messages_in: number(18)?,
        messages_done: number(19)?,
        messages_out: number(20)?,
        errors: number(21)?,
        restarts: number(22)?,
        done_p50_ms: some(23)?,
        done_p95_ms: some(24)?,
    })
}

#[cfg(test)]
mod tests;
