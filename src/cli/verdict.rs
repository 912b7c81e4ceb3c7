//! What a monitoring system is told of a home: one line in the form of Nagios' plugins. Pure.

use std::time::Duration;

use crate::model::bot::State;
use crate::model::units::{Stamp, show_duration};
use crate::output::visible;
use crate::supervisor::snapshot::{BotStatus, LimitStatus, Outage, Snapshot, Stage};

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

/// One figure, as `'label'=value[UOM];[warn];[crit];[min];[max]`.
#[derive(Clone, Debug, PartialEq)]
struct Figure {
    label: String,
    value: String,
    unit: &'static str,
    bounds: [String; 4],
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

impl Figure {
    fn new(label: impl Into<String>, value: impl ToString, unit: &'static str) -> Figure {
        Figure {
            label: label.into(),
            value: value.to_string(),
            unit,
            bounds: [const { String::new() }; 4],
        }
    }

    fn bounds(mut self, bounds: [Option<f64>; 4]) -> Figure {
        self.bounds = bounds.map(|bound| bound.map_or_else(String::new, |bound| format!("{bound}")));
        self
    }

    fn show(&self) -> String {
        let bounds = self.bounds.join(";");
        let shown = format!("'{}'={}{};{bounds}", self.label, self.value, self.unit);
        shown.trim_end_matches(';').to_owned()
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
        troubles.extend(trouble_of_home(snapshot));
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
fn trouble_of_home(snapshot: &Snapshot) -> Option<(Level, String)> {
    let about = &snapshot.supervisor;
    let level = match about.alert_level.as_deref()? {
        "critical" => Level::Critical,
        "warning" => Level::Warning,
        _ => return None,
    };
    let is_told = |text: &&String| about.outage.is_some() && text.starts_with("outage: ");
    let texts: Vec<&str> = about
        .alert_texts
        .iter()
        .filter(|it| !is_told(it))
        .map(String::as_str)
        .collect();
    (!texts.is_empty()).then(|| (level, texts.join(", ")))
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

/// Figures of the whole home.
fn totals(bots: &[&BotStatus], running: usize, wanted: usize, snapshot: &Snapshot) -> Vec<Figure> {
    let sum = |value: &dyn Fn(&BotStatus) -> u64| bots.iter().map(|bot| value(bot)).sum::<u64>();
    let cpu: f64 = bots.iter().filter_map(|bot| bot.cpu_percent).sum();
    let least = [None, None, Some(0.0), None];
    let of_home = u64::from(snapshot.supervisor.alerts);
    let mut figures = vec![
        Figure::new("running", running, "").bounds([None, None, Some(0.0), Some(wanted as f64)]),
        Figure::new("restarts", sum(&|bot| u64::from(bot.restarts)), "c"),
        Figure::new("memory", sum(&|bot| bot.memory_bytes.unwrap_or(0)), "B").bounds(least),
        Figure::new("cpu", format!("{cpu:.1}"), "%").bounds(least),
        Figure::new("queue", sum(&|bot| queue(bot)), "").bounds(least),
        Figure::new("dead", sum(&|bot| bot.dead.unwrap_or(0)), "").bounds(least),
        Figure::new("alerts", sum(&|bot| u64::from(bot.alerts)) + of_home, "").bounds(least),
    ];
    let disk = snapshot.supervisor.disk_free_bytes;
    figures.extend(disk.map(|free| Figure::new("disk_free", free, "B").bounds(least)));
    figures
}

/// Figures of one bot that was named.
fn figures_of(bot: &BotStatus, bounds: &Bounds, now: Stamp) -> Vec<Figure> {
    let label = |what: &str| format!("{}_{what}", bot.id);
    let limit = |what: &str| bot.limits.iter().find(|limit| limit.what == what);
    let of = |limit: Option<&LimitStatus>| {
        let (warn, max) = limit.map_or((None, None), |limit| (limit.warn, limit.max));
        [warn, max, Some(0.0), None]
    };
    let queue_bounds = [
        Some(bounds.warn_queue as f64),
        bounds.critical_queue.map(|most| most as f64),
        Some(0.0),
        None,
    ];
    let uptime = bot
        .started_at
        .map_or(0, |at| now.since(Stamp::from_unix_ms(at)).as_secs());
    let mut figures = vec![
        Figure::new(label("uptime"), uptime, "s").bounds([None, None, Some(0.0), None]),
        Figure::new(label("restarts"), bot.restarts, "c"),
        Figure::new(label("queue"), queue(bot), "").bounds(queue_bounds),
    ];
    let memory = bot.memory_bytes;
    figures.extend(memory.map(|bytes| Figure::new(label("memory"), bytes, "B").bounds(of(limit("memory")))));
    let cpu = bot.cpu_percent;
    figures.extend(cpu.map(|cpu| Figure::new(label("cpu"), format!("{cpu:.1}"), "%").bounds(of(limit("cpu")))));
    figures
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::identity::Identity;
    use crate::supervisor::snapshot::{SNAPSHOT_VERSION, Supervisor};

    const NOW: Stamp = Stamp(1_700_000_000_000_000);

    fn bot(id: &str, state: &str) -> BotStatus {
        BotStatus {
            id: id.to_owned(),
            wanted: "up".to_owned(),
            enabled: true,
            state: state.to_owned(),
            ..BotStatus::default()
        }
    }

    fn snapshot(bots: &[BotStatus]) -> Snapshot {
        let supervisor = serde_json::json!({
            "identity": Identity::me(), "version": "1", "started_at": 0, "stage": "running",
        });
        Snapshot {
            schema: SNAPSHOT_VERSION,
            generated_at: 0,
            supervisor: serde_json::from_value::<Supervisor>(supervisor).unwrap(),
            blocked: 0,
            blocked_permanent: 0,
            bots: bots.to_vec(),
        }
    }

    fn bounds() -> Bounds {
        Bounds {
            warn_queue: 1000,
            critical_queue: Some(5000),
            warn_start: Duration::from_secs(60),
        }
    }

    fn said(bots: &[BotStatus]) -> (u8, String) {
        let verdict = judge(&snapshot(bots), &[], &bounds(), NOW);
        let line = verdict.line();
        let (text, figures) = line.split_once(" | ").unwrap();
        assert!(!figures.contains('|') && !text.contains('\n'), "{line}");
        (verdict.level.code(), text.to_owned())
    }

    #[test]
    fn each_state_has_its_level() {
        let limit = |level: &str| LimitStatus {
            what: "memory".to_owned(),
            level: level.to_owned(),
            why: Some(format!("memory at {level}")),
            ..LimitStatus::default()
        };
        let since = |age_s: i64| Some(NOW.unix_ms() - age_s * 1000);
        let cases = [
            (bot("a", "running"), 0, ""),
            (bot("a", "backoff"), 1, "a: backoff ("),
            (
                BotStatus {
                    reason: Some("exit | 1\n".into()),
                    ..bot("a", "failed")
                },
                2,
                "a: failed: exit / 1\\n (",
            ),
            (bot("a", "held"), 2, "a: held"),
            (bot("a", "unhealthy"), 2, "a: unhealthy"),
            (bot("a", "stopped"), 2, "a: wanted up, but stopped"),
            (
                BotStatus {
                    state_since: since(61),
                    ..bot("a", "starting")
                },
                1,
                "a: starting for 1m1s",
            ),
            (
                BotStatus {
                    state_since: since(59),
                    ..bot("a", "starting")
                },
                0,
                "",
            ),
            (
                BotStatus {
                    wanted: "down".into(),
                    ..bot("a", "stopped")
                },
                0,
                "",
            ),
            (
                BotStatus {
                    enabled: false,
                    ..bot("a", "failed")
                },
                0,
                "",
            ),
            (
                BotStatus {
                    ready: Some(false),
                    ..bot("a", "running")
                },
                1,
                "a: not ready",
            ),
            (
                BotStatus {
                    ready: Some(true),
                    ..bot("a", "running")
                },
                0,
                "",
            ),
            (
                BotStatus {
                    limits: vec![limit("ok"), limit("warn")],
                    ..bot("a", "running")
                },
                1,
                "a: memory at warn",
            ),
            (
                BotStatus {
                    limits: vec![limit("max")],
                    ..bot("a", "running")
                },
                2,
                "a: memory at max",
            ),
            (
                BotStatus {
                    inbox_new: Some(1000),
                    ..bot("a", "running")
                },
                0,
                "",
            ),
            (
                BotStatus {
                    inbox_new: Some(1000),
                    inbox_cur: Some(1),
                    ..bot("a", "running")
                },
                1,
                "1001 messages wait",
            ),
            (
                BotStatus {
                    inbox_new: Some(5001),
                    ..bot("a", "running")
                },
                2,
                "5001 messages wait",
            ),
            (
                BotStatus {
                    alerts: 2,
                    alert_level: Some("warning".into()),
                    ..bot("a", "running")
                },
                1,
                "2 open alerts",
            ),
            (
                BotStatus {
                    alerts: 1,
                    alert_level: Some("critical".into()),
                    ..bot("a", "running")
                },
                2,
                "1 open alerts",
            ),
            (
                BotStatus {
                    alerts: 1,
                    alert_level: Some("info".into()),
                    ..bot("a", "running")
                },
                0,
                "",
            ),
        ];
        for (status, code, words) in cases {
            let (found, text) = said(&[status.clone(), bot("b", "running")]);
            assert_eq!(found, code, "{status:?}: {text}");
            assert!(text.contains(words), "{text:?} has no {words:?}");
        }
    }

    #[test]
    fn the_worst_comes_first_and_few_are_told() {
        let text = said(&[bot("a", "backoff"), bot("b", "running"), bot("c", "held")]);
        let line = "MULTIBOT CRITICAL - c: held, a: backoff (1 of 3 wanted bots running)";
        assert_eq!(text, (2, line.to_owned()));
        assert_eq!(said(&[]), (0, "MULTIBOT OK - 0 of 0 wanted bots running".to_owned()));
        let named = |count: usize, state| (0..count).map(|n| bot(&format!("b{n}"), state)).collect::<Vec<_>>();
        let five = "MULTIBOT CRITICAL - b0: held, b1: held, b2: held, b3: held, b4: held";
        assert_eq!(
            said(&named(5, "held")).1,
            format!("{five} (0 of 5 wanted bots running)")
        );
        let hundred = format!("{five} and 95 more (0 of 100 wanted bots running)");
        assert_eq!(said(&named(100, "held")).1, hundred);
    }

    #[test]
    fn an_outage_is_told_instead_of_the_bots_that_it_explains() {
        let of = |platform: &str, status: BotStatus| BotStatus {
            platform: platform.to_owned(),
            // What it has open, and what waits, is due to it as well.
            alerts: 1,
            alert_level: Some("warning".to_owned()),
            inbox_new: Some(1001),
            ..status
        };
        let mut bots = vec![
            of("telegram", bot("a", "backoff")),
            of("telegram", bot("b", "unhealthy")),
            of("telegram", bot("c", "starting")),
            bot("d", "running"),
        ];
        let line = |bots: &[BotStatus], platform: Option<&str>| {
            let mut snapshot = snapshot(bots);
            snapshot.supervisor.outage = Some(Outage {
                since: 0,
                platform: platform.map(str::to_owned),
                failing: 3,
                of: 4,
            });
            let verdict = judge(&snapshot, &[], &bounds(), NOW);
            assert_eq!(verdict.level, Level::Critical);
            verdict.line().split_once(" | ").unwrap().0.to_owned()
        };
        let told = "MULTIBOT CRITICAL - 3 of 4 bots fail together (1 of 4 wanted bots running)";
        assert_eq!(line(&bots, None), told);
        // Nothing of the outage: what does not come back by itself, and the bots of another platform.
        bots.extend([bot("e", "failed"), bot("f", "held"), bot("g", "backoff")]);
        assert_eq!(
            line(&bots, Some("telegram")),
            "MULTIBOT CRITICAL - 3 of 4 telegram bots fail together, e: failed, f: held, g: backoff \
             (1 of 7 wanted bots running)"
        );
    }

    #[test]
    fn alerts_of_the_home_count_by_their_level() {
        for (level, code, text) in [
            ("critical", 2, "CRITICAL - disk_low: 39 MiB left (1 of 1"),
            ("warning", 1, "WARNING - disk_low: 39 MiB left (1 of 1"),
            ("info", 0, "OK - 1 of 1"),
        ] {
            let mut home = snapshot(&[bot("a", "running")]);
            home.supervisor.alerts = 1;
            home.supervisor.alert_level = Some(level.to_owned());
            home.supervisor.alert_texts = vec!["disk_low: 39 MiB left".to_owned()];
            let verdict = judge(&home, &[], &bounds(), NOW);
            let line = verdict.line();
            assert_eq!(verdict.level.code(), code, "{line}");
            assert!(line.contains(text) && line.contains("'alerts'=1;"), "{line}");
            // Who asks for one bot is not told of the disk.
            assert_eq!(judge(&home, &["a".to_owned()], &bounds(), NOW).level, Level::Ok);
        }
    }

    #[test]
    fn a_supervisor_that_comes_or_goes_is_told() {
        for (stage, code) in [
            (Stage::Adopting, 1),
            (Stage::Leaving, 1),
            (Stage::Left, 1),
            (Stage::Stopping, 2),
            (Stage::Stopped, 2),
        ] {
            let mut snapshot = snapshot(&[bot("a", "running")]);
            snapshot.supervisor.stage = stage;
            assert_eq!(judge(&snapshot, &[], &bounds(), NOW).level.code(), code, "{stage:?}");
        }
    }

    #[test]
    fn figures_follow_the_guidelines() {
        let mut shop = bot("shop", "running");
        shop.memory_bytes = Some(4096);
        shop.cpu_percent = Some(12.34);
        shop.started_at = Some(NOW.unix_ms() - 5000);
        shop.limits = vec![LimitStatus {
            what: "memory".to_owned(),
            warn: Some(100.0),
            max: Some(200.0),
            level: "ok".to_owned(),
            ..LimitStatus::default()
        }];
        let all = judge(&snapshot(&[shop.clone(), bot("b", "running")]), &[], &bounds(), NOW).line();
        assert_eq!(
            all,
            "MULTIBOT OK - 2 of 2 wanted bots running | 'running'=2;;;0;2 'restarts'=0c 'memory'=4096B;;;0 \
             'cpu'=12.3%;;;0 'queue'=0;;;0 'dead'=0;;;0 'alerts'=0;;;0"
        );
        let one = judge(
            &snapshot(&[shop, bot("b", "held")]),
            &["shop".to_owned()],
            &bounds(),
            NOW,
        )
        .line();
        assert_eq!(
            one,
            "MULTIBOT OK - 1 of 1 wanted bots running | 'shop_uptime'=5s;;;0 'shop_restarts'=0c \
             'shop_queue'=0;1000;5000;0 'shop_memory'=4096B;100;200;0 'shop_cpu'=12.3%;;;0"
        );
    }
}
