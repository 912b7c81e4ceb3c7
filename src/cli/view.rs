//! What `status`, `list`, `up` and `start --foreground` show of a home: one view, as JSON and in words.

mod health;
mod notes;
mod offline;
mod platform;
mod usage;

use std::time::Duration;

use serde::Serialize;

use self::health::{ProbeView, probe_view};
use self::notes::{notes_of, worst_of_home};
use self::offline::look_without;
use self::platform::{AskedView, HoldView, asked_view, hold_view};
use self::usage::{LimitActionView, LimitView};
use super::client::{Client, age, is_halted, is_well};
use super::failure::Failure;
use crate::alerts::SinkBox;
use crate::clock;
use crate::model::bot::{BotId, State};
use crate::model::units::{Stamp, show_age, show_size};
use crate::output::{Cell, Column, Paint, Style, Table};
use crate::run::orders::NOT_IN_FORCE;
use crate::supervisor::snapshot::{BotStatus, Capacity, Snapshot, Stage};

/// A sink that fails for less may only have had a bad moment.
const SINK_FAILING_AFTER: Duration = Duration::from_secs(60);

/// The home as JSON. Fields are documented in multibot-json(7) and only ever added.
#[derive(Debug, Serialize)]
pub(super) struct View {
    pub schema: u32,
    pub generated_at: String,
    pub supervisor: SupervisorView,
    pub summary: Summary,
    pub bots: Vec<BotView>,
}

#[derive(Debug, Serialize)]
pub(super) struct SupervisorView {
    pub running: bool,
    pub pid: Option<u32>,
    pub version: Option<String>,
    pub started_at: Option<String>,
    pub home: String,
    /// The states below may be out of date: the supervisor is stopped by a signal, or has not
    /// published anything yet.
    pub stale: bool,
    pub notes: Vec<String>,
    /// What of the home's budget is promised; null without a budget.
    pub capacity: Option<Capacity>,
    /// Bots that it found running after the last one had died.
    pub adopted: u32,
    pub disk_free_bytes: Option<u64>,
    /// Most bots fail together.
    pub outage: Option<OutageView>,
    /// Open alerts about the home itself, and the worst level among them.
    pub alerts: u32,
    pub alert_level: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct OutageView {
    pub since: String,
    /// Whose bots fail; null for those of all.
    pub platform: Option<String>,
    pub failing: u32,
    pub of: u32,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    pub bots: usize,
    pub running: usize,
    pub starting: usize,
    pub unhealthy: usize,
    pub stopping: usize,
    pub backoff: usize,
    pub failed: usize,
    pub held: usize,
    pub stopped: usize,
    pub blocked: u64,
    pub blocked_permanent: u64,
    #[serde(skip)]
    pub processes: usize,
    #[serde(skip)]
    pub connected: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct BotView {
    pub id: String,
    pub index: u32,
    pub platform: String,
    pub wanted: String,
    pub enabled: bool,
    pub state: String,
    pub reason: Option<String>,
    pub pid: Option<u32>,
    pub run_id: Option<String>,
    pub started_at: Option<String>,
    pub uptime_s: Option<u64>,
    pub restarts: u32,
    pub last_exit: Option<ExitView>,
    pub next_restart_at: Option<String>,
    pub memory_bytes: Option<u64>,
    pub cpu_percent: Option<f64>,
    pub heartbeat_age_s: Option<u64>,
    pub inbox_new: Option<u64>,
    pub inbox_cur: Option<u64>,
    pub inbox_later: Option<u64>,
    pub inbox_held: Option<u64>,
    pub inbox_oldest_age_s: Option<u64>,
    pub dead: Option<u64>,
    pub connected: Option<bool>,
    pub status_text: Option<String>,
    pub kernel: Vec<String>,
    pub state_since: Option<String>,
    pub open_files: Option<u64>,
    pub threads: Option<u64>,
    pub processes: Option<u64>,
    pub connections: Option<u64>,
    pub output_bytes_per_s: Option<u64>,
    /// The limits in force, and how far each is passed.
    pub limits: Vec<LimitView>,
    pub limit_action: Option<LimitActionView>,
    pub ready: Option<bool>,
    pub probes: Vec<ProbeView>,
    pub errors_per_minute: Option<u64>,
    pub hold: Option<HoldView>,
    pub asked: Option<AskedView>,
    /// Open alerts, and the worst level among them.
    pub alerts: u32,
    pub alert_level: Option<String>,
    /// Failures in a row, for those who explain.
    #[serde(skip)]
    pub failures: u32,
    #[serde(skip)]
    is_well: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct ExitView {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub at: String,
    /// The kernel killed it because its memory was used up.
    pub oom: bool,
    /// The end in words.
    pub why: Option<String>,
}

/// Looks at the home: through its supervisor's snapshot where one runs, else at what is stored and at
/// the processes themselves.
pub(super) fn look(client: &Client) -> Result<View, Failure> {
    let now = clock::stamp();
    let Some(supervisor) = client.supervisor() else {
        return look_without(client, now);
    };
    let is_halted = is_halted(&supervisor);
    let snapshot = client.snapshot_of(&supervisor);
    let has_left = snapshot.as_ref().is_some_and(|it| it.supervisor.stage == Stage::Left);
    let mut view = match snapshot {
        Some(snapshot) => view_of(client, &snapshot, now),
        None => look_without(client, now)?.unpublished(&client.home.snapshot()),
    };
    let about = &mut view.supervisor;
    (about.running, about.pid) = (true, Some(supervisor.pid));
    about.notes.extend(failing_sinks(client, now));
    if has_left {
        about.stale = true;
        about.notes.push(format!(
            "the supervisor has become another program, which has not answered yet; if that lasts: kill -9 {}; multibot start",
            supervisor.pid
        ));
    }
    if is_halted {
        about.stale = true;
        about.notes.push(format!(
            "the supervisor is halted by a signal; wake it with: kill -CONT {}",
            supervisor.pid
        ));
    }
    Ok(view)
}

/// Sinks of alerts that have been failing for a while. What is not readable now is none of them.
fn failing_sinks(client: &Client, now: Stamp) -> Vec<String> {
    let sinks = client
        .settings()
        .map(|settings| settings.alerts.sinks)
        .unwrap_or_default();
    let enabled = sinks.iter().filter(|(_, policy)| policy.enabled);
    enabled
        .filter_map(|(name, _)| {
            let backlog = SinkBox::new(&client.home, name).backlog().ok()?;
            let lasted = now.since(backlog.failing_since?);
            (lasted >= SINK_FAILING_AFTER).then(|| {
                format!(
                    "sink {name} has been failing for {}: {}; {} waiting, look with: multibot alerts sinks",
                    show_age(lasted),
                    backlog.reason.unwrap_or_default(),
                    backlog.waiting
                )
            })
        })
        .collect()
}

/// The view of one snapshot.
pub(super) fn view_of(client: &Client, snapshot: &Snapshot, now: Stamp) -> View {
    let bots: Vec<BotView> = snapshot.bots.iter().map(|bot| bot_view(bot, now)).collect();
    let mut summary = summarise(&bots);
    (summary.blocked, summary.blocked_permanent) = (snapshot.blocked, snapshot.blocked_permanent);
    View {
        schema: 1,
        generated_at: show_ms(snapshot.generated_at),
        supervisor: SupervisorView {
            running: true,
            pid: Some(snapshot.supervisor.identity.pid),
            version: Some(snapshot.supervisor.version.clone()),
            started_at: Some(show_ms(snapshot.supervisor.started_at)),
            home: client.home.dir().display().to_string(),
            stale: false,
            notes: notes_of(snapshot),
            capacity: snapshot.supervisor.capacity.clone(),
            adopted: snapshot.supervisor.adopted,
            disk_free_bytes: snapshot.supervisor.disk_free_bytes,
            outage: snapshot.supervisor.outage.as_ref().map(|outage| OutageView {
                since: show_ms(outage.since),
                platform: outage.platform.clone(),
                failing: outage.failing,
                of: outage.of,
            }),
            alerts: u32::try_from(snapshot.supervisor.alerts.len()).unwrap_or(u32::MAX),
            alert_level: worst_of_home(snapshot).map(|level| level.word().to_owned()),
        },
        summary,
        bots,
    }
}

fn bot_view(bot: &BotStatus, now: Stamp) -> BotView {
    BotView {
        id: bot.id.clone(),
        index: bot.index,
        platform: bot.platform.clone(),
        wanted: bot.wanted.clone(),
        enabled: bot.enabled,
        state: bot.state.clone(),
        reason: bot.reason.clone(),
        pid: bot.pid,
        run_id: bot.run_id.clone(),
        started_at: bot.started_at.map(show_ms),
        uptime_s: bot.started_at.map(|at| age(at, now).as_secs()),
        restarts: bot.restarts,
        last_exit: bot.last_exit.as_ref().map(|exit| ExitView {
            code: exit.code,
            signal: exit.signal,
            at: show_ms(exit.at),
            oom: exit.oom,
            why: exit.why.clone(),
        }),
        next_restart_at: bot.next_restart_at.map(show_ms),
        memory_bytes: bot.memory_bytes,
        cpu_percent: bot.cpu_percent.map(|percent| (percent * 10.0).round() / 10.0),
        heartbeat_age_s: bot.heartbeat_at.map(|at| age(at, now).as_secs()),
        inbox_new: bot.inbox_new,
        inbox_cur: bot.inbox_cur,
        inbox_later: bot.inbox_later,
        inbox_held: bot.inbox_held,
        inbox_oldest_age_s: bot.inbox_oldest_at.map(|at| age(at, now).as_secs()),
        dead: bot.dead,
        connected: bot.connected,
        status_text: bot.status_text.clone(),
        kernel: bot.kernel.clone(),
        state_since: bot.state_since.map(show_ms),
        open_files: bot.open_files,
        threads: bot.threads,
        processes: bot.processes,
        connections: bot.connections,
        output_bytes_per_s: bot.output_bytes_per_s,
        limits: bot.limits.iter().map(|limit| LimitView::of(limit, now)).collect(),
        limit_action: bot.limit_action.as_ref().map(LimitActionView::of),
        ready: bot.ready,
        probes: bot.probes.iter().map(probe_view).collect(),
        errors_per_minute: bot.errors_per_minute,
        hold: bot.hold.as_ref().map(hold_view),
        asked: bot.asked.as_ref().map(asked_view),
        alerts: bot.alerts,
        alert_level: bot.alert_level.clone(),
        failures: bot.failures,
        is_well: is_well(bot),
    }
}

fn show_ms(at: i64) -> String {
    Stamp::from_unix_ms(at).to_string()
}

fn summarise(bots: &[BotView]) -> Summary {
    let count = |state: State| bots.iter().filter(|bot| bot.state == state.word()).count();
    Summary {
        bots: bots.len(),
        running: count(State::Running),
        starting: count(State::Starting) + count(State::Adopting),
        unhealthy: count(State::Unhealthy),
        stopping: count(State::Stopping),
        backoff: count(State::Backoff),
        failed: count(State::Failed),
        held: count(State::Held),
        stopped: count(State::Stopped),
        blocked: 0,
        blocked_permanent: 0,
        processes: bots.iter().filter(|bot| bot.pid.is_some()).count(),
        connected: bots.iter().filter(|bot| bot.connected == Some(true)).count(),
    }
}

impl View {
    /// A supervisor runs and does not say how the bots are: what is seen of them from outside must do.
    fn unpublished(mut self, snapshot: &std::path::Path) -> View {
        let why = "the supervisor has not published its state";
        for bot in &mut self.bots {
            bot.reason = Some(why.to_owned());
            bot.is_well = bot.wanted == "down" || !bot.enabled;
        }
        self.supervisor.stale = true;
        self.supervisor.notes.push(format!(
            "{why} in {}: it is just starting, or the file cannot be written; look at logs/supervisor.log",
            snapshot.display()
        ));
        self
    }

    /// Only these bots, counted anew.
    pub(super) fn only(&mut self, bots: &[BotId]) {
        let (blocked, permanent) = (self.summary.blocked, self.summary.blocked_permanent);
        self.bots.retain(|bot| bots.iter().any(|id| id.as_str() == bot.id));
        self.summary = Summary {
            blocked,
            blocked_permanent: permanent,
            ..summarise(&self.bots)
        };
    }

    /// Whether every bot is as it is wanted.
    pub(super) fn all_well(&self) -> bool {
        self.bots.iter().all(|bot| bot.is_well)
    }

    /// `Status: 5 processes | 4 connected | 0 unhealthy | 2 blocked (1 permanent)`, and what else is
    /// wrong where something is.
    pub(super) fn status_line(&self) -> String {
        let Summary {
            processes,
            connected,
            unhealthy,
            blocked,
            blocked_permanent,
            ..
        } = self.summary;
        let mut line = format!(
            "Status: {processes} processes | {connected} connected | {unhealthy} unhealthy | {blocked} blocked ({blocked_permanent} permanent)"
        );
        for (count, word) in [
            (self.summary.failed, "failed"),
            (self.summary.backoff, "in backoff"),
            (self.summary.held, "held"),
        ] {
            if count > 0 {
                line.push_str(&format!(" | {count} {word}"));
            }
        }
        line
    }

    /// One row a bot.
    pub(super) fn table(&self, style: &Style) -> String {
        let mut table = Table::new(&[
            Column::Word("bot"),
            Column::Spare("platform"),
            Column::Spare("wanted"),
            Column::Word("state"),
            Column::Number("pid"),
            Column::Number("uptime"),
            Column::Number("restarts"),
            Column::Number("memory"),
            Column::Number("cpu"),
            Column::Number("inbox"),
            Column::SpareNumber("dead"),
            Column::Text("reason"),
        ]);
        for bot in &self.bots {
            let paint = State::from_word(&bot.state).map_or(Paint::Dim, Paint::of_state);
            let number = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
            let uptime = bot.uptime_s.map(|s| show_age(std::time::Duration::from_secs(s)));
            table.row([
                Cell::from(bot.id.clone()),
                bot.platform.clone().into(),
                bot.wanted.clone().into(),
                Cell::painted(bot.state.clone(), paint),
                number(bot.pid.map(u64::from)).into(),
                uptime.unwrap_or_else(|| "-".to_owned()).into(),
                bot.restarts.to_string().into(),
                bot.memory_bytes.map_or_else(|| "-".to_owned(), show_size).into(),
                bot.cpu_percent
                    .map_or("-".to_owned(), |percent| format!("{percent:.1}%"))
                    .into(),
                number(bot.inbox_new).into(),
                number(bot.dead).into(),
                bot.short_explanation().into(),
            ]);
        }
        table.render(style)
    }
}

impl BotView {
    /// The reason and since when a limit is passed or a probe says so, else what it says of itself; and how many
    /// alerts are open.
    fn told_reason(&self) -> String {
        let said = || self.status_text.as_ref().map(|text| format!("says: {text}"));
        let mut reason = self.reason.clone().or_else(said).unwrap_or_default();
        for limit in &self.limits {
            if let (Some(why), Some(lasted)) = (&limit.why, limit.lasted) {
                reason = reason.replace(why, &format!("{why} for {}", show_age(lasted)));
            }
        }
        let not_ready = |probe: &&ProbeView| probe.role == "readiness" && probe.state == "failing";
        if self.state == State::Running.word()
            && let Some(since) = self
                .probes
                .iter()
                .filter(not_ready)
                .filter_map(|probe| Stamp::parse(probe.since.as_deref()?))
                .min()
        {
            reason.push_str(&format!(", since {}", show_age(clock::stamp().since(since))));
        }
        match (self.alerts, &self.alert_level) {
            (0, _) | (_, None) => reason,
            (count, Some(level)) => {
                let gap = if reason.is_empty() { "" } else { "; " };
                let what = if count == 1 { "alert" } else { "alerts" };
                format!("{reason}{gap}{count} {what} ({level})")
            }
        }
    }

    /// The reason, and what was asked of the kernel and is not in force; why stands in `bot show`.
    fn short_explanation(&self) -> String {
        let reason = self.explanation();
        let missing: Vec<&str> = self
            .kernel
            .iter()
            .filter(|said| said.contains(NOT_IN_FORCE))
            .filter_map(|said| said.split([' ', ':']).next())
            .collect();
        if missing.is_empty() {
            return reason;
        }
        let gap = if reason.is_empty() { "" } else { "; " };
        format!("{reason}{gap}{} not in force (see bot show)", missing.join(", "))
    }

    /// The reason, and when it is tried again.
    pub(super) fn explanation(&self) -> String {
        let reason = self.told_reason();
        let Some(at) = self.next_restart_at.as_deref().and_then(Stamp::parse) else {
            return reason;
        };
        let left = at.since(clock::stamp());
        format!("{reason}; next try in {}", show_age(left))
    }
}
