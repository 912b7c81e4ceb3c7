//! All bots: for each its configuration, its machine and what was seen of it, and the times at which
//! they must be looked at again. Decides nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::log::Mask;
use crate::model::bot::{BotId, End, Oom, RunId, Secret, Wanted};
use crate::model::credential::Fields;
use crate::model::judging::{Docket, Signs};
use crate::model::message::Envelope;
use crate::model::units::{Moment, Stamp};
use crate::model::usage::{Level, Standing, Usage};

use super::asked::Asked;
use super::error_rate::ErrorRate;
use super::health::Health;
use super::host::BoxCounts;
use super::ledger::{self, Ledger};
use super::machine::{Bot, Phase, Policy, deadline};
use super::reload::NOT_TAKEN_OVER;
use super::snapshot::{BotStatus, HoldStatus, LastExit, LimitActionStatus, LimitStatus};

/// One bot under supervision. `P` is how its host names a posted message.
pub struct Member<P> {
    pub index: u32,
    /// The operator's stored intent; the machine's own differs while the supervisor stops.
    pub desired: Wanted,
    pub policy: Policy,
    pub token: Option<Secret>,
    pub fields: Fields,
    /// A name for what its next run is started with.
    pub recipe: String,
    /// What the bot must not say of itself.
    pub discretion: Discretion,
    /// What its platform says of it, and how it is recognised.
    pub signs: Signs,
    pub docket: Docket,
    pub place: Place,
    pub bot: Bot,
    pub seen: Seen<P>,
    /// Since when it is in its state.
    pub state_since: Stamp,
    /// Negative answers to messages that the bot still holds without a mark.
    pub undecided: Vec<Envelope>,
    pub counted: Counted,
    /// The ledger as the host last took it.
    pub noted: Ledger,
}

/// The newest runs whose ends the failures and restarts of a bot already include. Two, because a run that
/// never came to be leaves the record of the one before it as it is.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    pub ended: Option<RunId>,
    pub refused: Option<RunId>,
}

/// Keeps secrets out of what a bot says of itself.
pub struct Discretion {
    secrets: Vec<Secret>,
    mask: Mask,
}

impl Discretion {
    /// Knows these secrets alone.
    pub fn new(secrets: Vec<Secret>) -> Discretion {
        // A bot quotes in JSON, where a secret with a quote or a backslash looks otherwise.
        let quoted = secrets.iter().map(|secret| {
            let text = serde_json::Value::from(secret.reveal()).to_string();
            text[1..text.len() - 1].to_owned()
        });
        let values: Vec<String> = quoted
            .chain(secrets.iter().map(|secret| secret.reveal().to_owned()))
            .collect();
        Discretion {
            mask: Mask::new(values),
            secrets,
        }
    }

    /// Knows these secrets as well: a run that was started with the old ones may still speak.
    pub fn learn(&mut self, secrets: Vec<Secret>) {
        let mut all = std::mem::take(&mut self.secrets);
        all.extend(secrets);
        *self = Discretion::new(all);
    }

    pub fn masked(&self, text: &str) -> String {
        self.mask.masked(text)
    }
}

/// Whether the store still knows a bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Configured,
    /// Removed from the store while it was alive: forgotten once it is down.
    Leaving,
}

/// What was observed of a bot. Everything but the last lines is of the current run.
pub struct Seen<P> {
    pub pid: Option<u32>,
    pub started_at: Option<Stamp>,
    /// When its shim was ordered; None for a run that another supervisor had started.
    pub launched_at: Option<Stamp>,
    /// An earlier supervisor has read the log of this run so far.
    pub read_until: Option<Stamp>,
    pub speaks: Speaks,
    /// How far runs before this one have.
    pub spoke_before: Speaks,
    pub heartbeat_at: Option<Stamp>,
    pub connected: Option<bool>,
    pub usage: Option<Usage>,
    /// What the kernel enforces, and what it was asked for and does not.
    pub kernel: Vec<String>,
    /// What the bot says of itself, masked.
    pub status_text: Option<String>,
    /// The limits in force, and how far each is passed.
    pub standings: Vec<Standing>,
    pub poll: Poll<P>,
    pub health: Health<P>,
    /// The word of its shutdown, withdrawn at its end: the next run must not take it for its own.
    pub shutdown: Vec<P>,
    /// The lists that the run was told last, each with its file, which is taken back when it is unread.
    pub told: BTreeMap<&'static str, (serde_json::Value, P)>,
    /// The words of changed credentials, withdrawn at its end: the next run has the new ones.
    pub refreshes: Vec<P>,
    /// When a shim that has not reported is given up.
    pub spawn_by: Option<Moment>,
    /// A later recipe that the run does as well for.
    pub suits: Option<String>,
    /// Something to tell beside the state.
    pub note: Option<String>,
    pub last_end: Option<(End, Stamp)>,
    /// Why the last run was ended, where nobody had asked for it.
    pub last_why: Option<String>,
    /// A limit that was passed and acted upon, until a later run is well.
    pub limit_action: Option<ledger::ActedLimit>,
    pub errors: ErrorRate,
    /// What its platform answered when it was asked.
    pub asked: Asked,
    pub counts: BoxCounts,
    /// When a message in its inbox is due that waits for its retry.
    pub later_at: Option<Moment>,
}

/// How far a run has shown that it knows the spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Speaks {
    #[default]
    Nothing,
    /// It used a mailbox or sent a heartbeat: it is told of its shutdown.
    Spool,
    /// It sent `ready`: it is asked for its status.
    Ready,
}

/// The questions for status that a run was asked.
pub struct Poll<P> {
    pub next_at: Option<Moment>,
    /// The question that waits for its answer.
    pub asked: Option<(String, P)>,
    /// Ids of the last questions: a late answer is an answer all the same.
    pub recent: Vec<String>,
    pub missed: u32,
}

impl<P> Default for Seen<P> {
    fn default() -> Seen<P> {
        Seen {
            pid: None,
            started_at: None,
            launched_at: None,
            read_until: None,
            speaks: Speaks::default(),
            spoke_before: Speaks::default(),
            heartbeat_at: None,
            connected: None,
            usage: None,
            kernel: Vec::new(),
            status_text: None,
            standings: Vec::new(),
            poll: Poll {
                next_at: None,
                asked: None,
                recent: Vec::new(),
                missed: 0,
            },
            health: Health::default(),
            shutdown: Vec::new(),
            told: BTreeMap::new(),
            refreshes: Vec::new(),
            spawn_by: None,
            suits: None,
            note: None,
            last_end: None,
            last_why: None,
            limit_action: None,
            errors: ErrorRate::default(),
            asked: Asked::default(),
            counts: BoxCounts::default(),
            later_at: None,
        }
    }
}

impl<P> Seen<P> {
    /// What a new run starts with: only what is not of a run stays.
    pub fn of_next_run(&mut self) {
        *self = Seen {
            last_end: self.last_end.take(),
            last_why: self.last_why.take(),
            limit_action: self.limit_action.take(),
            errors: std::mem::take(&mut self.errors),
            asked: std::mem::take(&mut self.asked).of_next_run(),
            counts: self.counts,
            later_at: self.later_at,
            spoke_before: self.speaks.max(self.spoke_before),
            ..Seen::default()
        };
    }
}

impl<P> Member<P> {
    /// When this bot must be looked at again.
    fn deadline(&self) -> Option<Moment> {
        [
            deadline(&self.bot, &self.policy),
            self.seen.poll.next_at,
            self.seen.spawn_by,
            self.seen.later_at,
            self.seen.health.deadline(),
            self.seen.errors.next_change(),
            self.limit_action_until(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The end of this run is about to be dealt with.
    pub fn count(&mut self, run: &RunId) {
        // A run without a pid was never heard to have begun.
        let slot = match self.seen.pid {
            Some(_) => &mut self.counted.ended,
            None => &mut self.counted.refused,
        };
        *slot = Some(run.clone());
    }

    /// The run that what the bot says now comes from. A run that still waits for its launch has said
    /// nothing: what lies in the outbox then is older.
    pub fn speaker(&self) -> Option<&RunId> {
        match &self.bot.phase {
            Phase::Spawning { .. } if self.seen.spawn_by.is_none() => None,
            Phase::Spawning { .. }
            | Phase::Down(_)
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping { .. }
            | Phase::Waiting { .. }
            | Phase::GaveUp { .. }
            | Phase::Held { .. } => self.bot.live_run(),
        }
    }

    /// Why it is in its state. While it is being stopped a survivor is the news; else the state's own
    /// reason comes before the limits that are passed.
    pub fn reason(&self) -> Option<String> {
        let unusable = self.bot.live_run().and(self.policy.unsupported.as_ref());
        let unusable = unusable.map(|why| format!("{NOT_TAKEN_OVER}: {why}"));
        let parts: Vec<String> = self.reason_of_run().into_iter().chain(unusable).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    fn reason_of_run(&self) -> Option<String> {
        let of_state = self.bot.reason(&self.policy);
        let note = self.seen.note.clone().or_else(|| self.excess());
        match &self.bot.phase {
            Phase::Stopping { .. } => note.or(of_state),
            Phase::Running { .. } => of_state.or(self.seen.health.why_not_ready()).or(note),
            Phase::Down(_)
            | Phase::Spawning { .. }
            | Phase::Starting { .. }
            | Phase::Waiting { .. }
            | Phase::GaveUp { .. }
            | Phase::Held { .. } => of_state.or(note),
        }
    }

    /// The limits that are passed, the gravest first.
    fn excess(&self) -> Option<String> {
        let of = |level| self.seen.standings.iter().filter(move |it| it.level == level);
        let passed = of(Level::Max).chain(of(Level::Warn));
        let all: Vec<&str> = passed.filter_map(|it| it.why.as_deref()).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    fn last_exit(&self) -> Option<LastExit> {
        let (end, at) = self.seen.last_end.as_ref()?;
        let (code, signal) = match end {
            End::Code(code) => (Some(*code), None),
            End::Signal { number, .. } => (None, Some(*number)),
            End::OutOfMemory(_) => (None, Some(SIGKILL)),
            End::Unknown(_) => (None, None),
        };
        Some(LastExit {
            code,
            signal,
            oom: matches!(end, End::OutOfMemory(Oom::Counted { .. })),
            why: self.seen.last_why.clone().or_else(|| Some(end.to_string())),
            at: at.unix_ms(),
        })
    }

    /// This bot's line of the snapshot. `now` and `stamp` are the same moment on both clocks.
    pub fn status(&self, now: Moment, stamp: Stamp) -> BotStatus {
        let on_wall =
            |at: Moment| Stamp(stamp.0 + i64::try_from(at.0).unwrap_or(0) - i64::try_from(now.0).unwrap_or(0));
        let next_at = match &self.bot.phase {
            Phase::Waiting { until, .. } => Some(*until),
            Phase::GaveUp { until, .. } | Phase::Held { until, .. } => *until,
            Phase::Down(_)
            | Phase::Spawning { .. }
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping { .. } => None,
        };
        let live = self.bot.live_run();
        let usage = live.and(self.seen.usage);
        BotStatus {
            id: self.policy.spec.id.to_string(),
            index: self.index,
            platform: self.policy.spec.platform.word().to_owned(),
            wanted: self.desired.word().to_owned(),
            enabled: self.policy.spec.enabled,
            state: self.bot.state().word().to_owned(),
            reason: self.reason(),
            pid: live.and(self.seen.pid),
            run_id: live.map(RunId::to_string),
            started_at: live.and(self.seen.started_at).map(Stamp::unix_ms),
            restarts: self.bot.restarts,
            last_exit: self.last_exit(),
            next_restart_at: next_at.map(|at| on_wall(at).unix_ms()),
            memory_bytes: usage.map(|usage| usage.memory_bytes),
            cpu_percent: usage.and_then(|usage| usage.cpu_percent),
            open_files: usage.and_then(|usage| usage.open_files),
            threads: usage.map(|usage| usage.threads),
            processes: usage.map(|usage| usage.processes),
            connections: usage.and_then(|usage| usage.connections),
            output_bytes_per_s: usage.and_then(|usage| usage.output).map(|rate| rate as u64),
            limits: self.seen.standings.iter().map(|it| limit_status(it, on_wall)).collect(),
            limit_action: self.seen.limit_action.as_ref().map(|it| LimitActionStatus {
                why: it.why.clone(),
                action: it.action.clone(),
                at: it.at,
            }),
            state_since: Some(self.state_since.unix_ms()),
            heartbeat_at: live.and(self.seen.heartbeat_at).map(Stamp::unix_ms),
            inbox_new: Some(self.seen.counts.inbox_new),
            inbox_cur: Some(self.seen.counts.inbox_cur),
            inbox_later: Some(self.seen.counts.inbox_later),
            inbox_held: Some(self.seen.counts.inbox_held),
            inbox_oldest_at: self.seen.counts.inbox_oldest.map(Stamp::unix_ms),
            dead: Some(self.seen.counts.dead),
            connected: live.and(self.seen.connected),
            status_text: live.and(self.seen.status_text.clone()),
            kernel: live.map(|_| self.seen.kernel.clone()).unwrap_or_default(),
            failures: self.bot.failures.streak(),
            ready: live.and(self.seen.health.ready()),
            probes: self.seen.health.statuses(),
            errors_per_minute: Some(self.seen.errors.per_minute()),
            hold: self.policy.judged.as_ref().map(|it| HoldStatus {
                class: it.class.word().to_owned(),
                evidence: it.evidence.clone(),
                at: it.at.unix_ms(),
            }),
            asked: self.seen.asked.status(),
            ..BotStatus::default()
        }
    }
}

/// What the kernel kills with.
const SIGKILL: i32 = 9;

fn limit_status(standing: &Standing, on_wall: impl Fn(Moment) -> Stamp) -> LimitStatus {
    LimitStatus {
        what: standing.measure.word().to_owned(),
        warn: standing.warn,
        max: standing.max,
        level: standing.level.word().to_owned(),
        since: standing.since.map(|at| on_wall(at).unix_ms()),
        why: standing.why.clone(),
    }
}
/// All bots by id, and which of them is due next.
pub struct Fleet<P> {
    members: BTreeMap<BotId, Member<P>>,
    due: BTreeSet<(Moment, BotId)>,
    due_of: HashMap<BotId, Moment>,
}

impl<P> Default for Fleet<P> {
    fn default() -> Fleet<P> {
        Fleet {
            members: BTreeMap::new(),
            due: BTreeSet::new(),
            due_of: HashMap::new(),
        }
    }
}

impl<P> Fleet<P> {
    pub fn ids(&self) -> Vec<BotId> {
        self.members.keys().cloned().collect()
    }

    pub fn members(&self) -> impl Iterator<Item = (&BotId, &Member<P>)> {
        self.members.iter()
    }

    pub fn get(&self, bot: &BotId) -> Option<&Member<P>> {
        self.members.get(bot)
    }

    /// For changes; the caller must [`refresh`](Fleet::refresh) the bot afterwards.
    pub fn get_mut(&mut self, bot: &BotId) -> Option<&mut Member<P>> {
        self.members.get_mut(bot)
    }

    pub fn insert(&mut self, bot: BotId, member: Member<P>) {
        self.members.insert(bot.clone(), member);
        self.refresh(&bot);
    }

    pub fn remove(&mut self, bot: &BotId) {
        self.members.remove(bot);
        self.refresh(bot);
    }

    /// Notes when a bot is due after a change.
    pub fn refresh(&mut self, bot: &BotId) {
        if let Some(old) = self.due_of.remove(bot) {
            self.due.remove(&(old, bot.clone()));
        }
        if let Some(at) = self.members.get(bot).and_then(Member::deadline) {
            self.due.insert((at, bot.clone()));
            self.due_of.insert(bot.clone(), at);
        }
    }

    /// The earliest moment at which a bot must be looked at.
    pub fn next_due(&self) -> Option<Moment> {
        self.due.first().map(|(at, _)| *at)
    }

    /// A bot that is due at `now`.
    pub fn due_by(&self, now: Moment) -> Option<BotId> {
        self.due
            .first()
            .filter(|(at, _)| *at <= now)
            .map(|(_, bot)| bot.clone())
    }
}
