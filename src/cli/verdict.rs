//! What a monitoring system is told of a home: one line in the form of Nagios' plugins. Pure.

mod perfdata;

use std::time::Duration;

use crate::model::alert::Rule;
use crate::model::bot::State;
use crate::model::units::{Stamp, show_duration};
use crate::output::visible;
use crate::supervisor::snapshot::{BotStatus, HomeAlert, Outage, Snapshot, Stage};

use perfdata::{Figure, figures_of, totals};

/// How bad it is. The numbers are the exit codes that monitoring systems know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Ok,
    Warning,
    Critical,
    /// Nobody can say.
    Unknown,
}

impl Level {
    pub fn code(self) -> u8 {
        match self {
            Level::Ok => 0,
            Level::Warning => 1,
            Level::Critical => 2,
            Level::Unknown => 3,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Level::Ok => "OK",
            Level::Warning => "WARNING",
            Level::Critical => "CRITICAL",
            Level::Unknown => "UNKNOWN",
        }
    }
}

/// What an operator calls too much.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    pub warn_queue: u64,
    pub critical_queue: Option<u64>,
    pub warn_start: Duration,
}

/// The line, and what the program ends with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub level: Level,
    text: String,
    figures: Vec<Figure>,
}

impl Verdict {
    /// A verdict that has no figures.
    pub(super) fn plain(level: Level, text: impl Into<String>) -> Verdict {
        Verdict {
            level,
            text: text.into(),
            figures: Vec::new(),
        }
    }

    /// `MULTIBOT OK - 2 of 2 wanted bots running | 'running'=2;;;0;2`
    pub(super) fn line(&self) -> String {
        // A bar would begin the figures.
        let text = visible(&self.text).replace('|', "/");
        let mut line = format!("MULTIBOT {} - {text}", self.level.word());
        for (index, figure) in self.figures.iter().enumerate() {
            line.push_str(if index == 0 { " | " } else { " " });
            line.push_str(&figure.show());
        }
        line
    }
}

/// Judges these bots of a snapshot; all of them where none is named.
pub(super) fn judge(snapshot: &Snapshot, named: &[String], bounds: &Bounds, now: Stamp) -> Verdict {
    match snapshot.supervisor.stage {
        Stage::Adopting => return Verdict::plain(Level::Warning, "the supervisor is taking over its bots"),
        Stage::Left | Stage::Leaving => {
            return Verdict::plain(Level::Warning, "the supervisor makes way for another one");
        }
        Stage::Stopping | Stage::Stopped => return Verdict::plain(Level::Critical, "the supervisor is stopping"),
        Stage::Running => {}
    }
    let is_meant = |bot: &&BotStatus| named.is_empty() || named.contains(&bot.id);
    let bots: Vec<&BotStatus> = snapshot.bots.iter().filter(is_meant).collect();
    let outage = snapshot.supervisor.outage.as_ref();
    let mut troubles: Vec<(Level, String)> = bots
        .iter()
        .filter(|bot| outage.is_none_or(|outage| !is_explained(bot, outage)))
        .flat_map(|bot| troubles_of(bot, bounds, now))
        .map(|trouble| (trouble.level, format!("{}: {}", trouble.bot, trouble.what)))
        .collect();
    if let Some(outage) = outage {
        let platform = outage.platform.as_deref().map(|word| format!("{word} "));
        let (failing, of, platform) = (outage.failing, outage.of, platform.unwrap_or_default());
        let what = format!("{failing} of {of} {platform}bots fail together");
        troubles.insert(0, (Level::Critical, what));
    }
    if named.is_empty() {
        troubles.extend(troubles_of_home(snapshot));
    }
    // The worst first, an outage before all, and otherwise in the order of the bots.
    troubles.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
    let wanted: Vec<&&BotStatus> = bots.iter().filter(|bot| is_wanted(bot)).collect();
    let running = wanted.iter().filter(|bot| bot.state == State::Running.word()).count();
    let count = format!("{running} of {} wanted bots running", wanted.len());
    let text = match troubles.is_empty() {
        true => count,
        false => format!("{} ({count})", clauses(&troubles)),
    };
    let figures = if named.is_empty() {
        totals(&bots, running, wanted.len(), snapshot)
    } else {
        bots.iter().flat_map(|bot| figures_of(bot, bounds, now)).collect()
    };
    Verdict {
        level: troubles.first().map_or(Level::Ok, |(level, _)| *level),
        text,
        figures,
    }
}

/// Alerts about the home itself. An outage is told of its own.
fn troubles_of_home(snapshot: &Snapshot) -> impl Iterator<Item = (Level, String)> {
    let about = &snapshot.supervisor;
    let is_told = |alert: &HomeAlert| about.outage.is_some() && alert.rule == Rule::Outage.word();
    about.alerts.iter().filter_map(move |alert| {
        let level = match alert.level.as_str() {
            "critical" => Level::Critical,
            "warning" => Level::Warning,
            _ => return None,
        };
        (!is_told(alert)).then(|| (level, format!("{}: {}", alert.rule, alert.text)))
    })
}

/// Clauses of one line: a monitoring system cuts a long one, and the figures behind it are lost.
const CLAUSES_MAX: usize = 5;

fn clauses(troubles: &[(Level, String)]) -> String {
    let told: Vec<&str> = troubles
        .iter()
        .take(CLAUSES_MAX)
        .map(|(_, what)| what.as_str())
        .collect();
    let told = told.join(", ");
    match troubles.len().saturating_sub(CLAUSES_MAX) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

/// Whether an outage says all that there is to say of a bot: it is down, and comes back when the outage is over. One
/// that has failed for good or is held does not.
fn is_explained(bot: &BotStatus, outage: &Outage) -> bool {
    let comes_back = matches!(
        State::from_word(&bot.state),
        Some(State::Starting | State::Unhealthy | State::Stopping | State::Backoff)
    );
    let is_of = outage.platform.as_ref().is_none_or(|word| bot.platform == *word);
    is_wanted(bot) && comes_back && is_of
}

struct Trouble<'a> {
    bot: &'a str,
    level: Level,
    what: String,
}

fn is_wanted(bot: &BotStatus) -> bool {
    bot.wanted == "up" && bot.enabled
}

/// Messages that wait for a bot or are in its hands.
fn queue(bot: &BotStatus) -> u64 {
    [bot.inbox_new, bot.inbox_cur, bot.inbox_later]
        .into_iter()
        .flatten()
        .sum()
}

/// What is wrong with one bot. One that is down on purpose has no state that could be wrong.
fn troubles_of<'a>(bot: &'a BotStatus, bounds: &Bounds, now: Stamp) -> Vec<Trouble<'a>> {
    let mut found = Vec::new();
    let mut add = |level, what: String| {
        found.push(Trouble {
            bot: &bot.id,
            level,
            what,
        });
    };
    if is_wanted(bot) {
        if let Some((level, what)) = trouble_of_state(bot, bounds, now) {
            add(level, what);
        }
        if bot.ready == Some(false) && bot.state == State::Running.word() {
            add(Level::Warning, "not ready".to_owned());
        }
        for limit in &bot.limits {
            let level = match limit.level.as_str() {
                "warn" => Level::Warning,
                "max" => Level::Critical,
                _ => continue,
            };
            let why = limit.why.clone();
            add(level, why.unwrap_or_else(|| format!("{} at its limit", limit.what)));
        }
        match bot.alert_level.as_deref() {
            Some("critical") => add(Level::Critical, format!("{} open alerts", bot.alerts)),
            Some("warning") => add(Level::Warning, format!("{} open alerts", bot.alerts)),
            Some(_) | None => {}
        }
    }
    let queue = queue(bot);
    if bounds.critical_queue.is_some_and(|most| queue > most) {
        add(Level::Critical, format!("{queue} messages wait"));
    } else if queue > bounds.warn_queue {
        add(Level::Warning, format!("{queue} messages wait"));
    }
    found
}

fn trouble_of_state(bot: &BotStatus, bounds: &Bounds, now: Stamp) -> Option<(Level, String)> {
    let because = bot.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    let told = format!("{}{because}", bot.state);
    match State::from_word(&bot.state) {
        Some(State::Running) => None,
        Some(State::Starting | State::Adopting) => {
            let since = bot.state_since.or(bot.started_at)?;
            let lasted = now.since(Stamp::from_unix_ms(since));
            let seconds = Duration::from_secs(lasted.as_secs());
            (lasted > bounds.warn_start).then(|| {
                (
                    Level::Warning,
                    format!("starting for {}{because}", show_duration(seconds)),
                )
            })
        }
        Some(State::Backoff | State::Stopping) => Some((Level::Warning, told)),
        Some(State::Stopped) => Some((Level::Critical, format!("wanted up, but {told}"))),
        Some(State::Failed | State::Held | State::Unhealthy) | None => Some((Level::Critical, told)),
    }
}

#[cfg(test)]
mod tests;
