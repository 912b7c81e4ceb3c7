//! The supervisor's loop in a simulated world: no process, no file, no real time. The world obeys the
//! loop as shims and bots do, notes everything it is told, and refuses what must never happen: a
//! second live run of a bot, a claim finished twice.
//!
//! A [`Simulation`] drives the very turns that [`Supervisor::run`] takes, with a clock that moves only
//! when a test moves it.

mod adoption;
mod capacity;
mod commands;
mod drive;
mod health;
mod inboxes;
mod launches;
mod mailboxes;
mod measuring;
mod probes;
mod publishing;
mod random;
mod stopping;
mod world;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use drive::Simulation;

use super::capacity::Budget;
use super::event_loop::Supervisor;
use super::host::{
    BoxCounts, Configuration, Configured, Found, Host, Launch, LogTarget, Mail, PlatformTarget, ProbeTarget, Remnant,
    UsageTarget,
};
use super::ledger::Ledger;
use super::machine::SpawnFailure;
use super::news::{News, Pace};
use super::routes::Outgoing;
use super::shims::Token;
use super::snapshot::{self, BotStatus, Snapshot, Stage};
use super::traffic::Passed;
use crate::config::{Settings, bot_spec};
use crate::model::bot::{BotId, End, RunId, Secret, Wanted};
use crate::model::credential::Fields;
use crate::model::fact::Fact;
use crate::model::judging::Judgement;
use crate::model::message::{Envelope, Kind};
use crate::model::metric::MetricRow;
use crate::model::queue::QueuePolicy;
use crate::model::units::{Moment, Stamp};
use crate::model::usage::{LevelChange, Sample, Usage};
use crate::run::identity::Identity;
use crate::spool::{Buried, RunEnd, Settled};

/// What the wall clock shows when the monotonic clock shows zero.
const WALL_AT_ZERO: i64 = 1_700_000_000_000_000;

/// What every simulated shim says of its limits.
const IN_FORCE: &str = "nice 5";

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn id_of(name: &str) -> BotId {
    name.parse().unwrap()
}

fn run_of(number: u64) -> RunId {
    RunId::parse(&format!("{number:026}")).unwrap()
}

fn code(code: i32) -> End {
    End::Code(code)
}

/// A bot that is wanted up, has a command of its own and is ready after a second.
fn bot(name: &str, index: u32) -> Configured {
    let id = id_of(name);
    let mut spec = bot_spec(&id, &[&Settings::new()]).unwrap();
    spec.command = vec!["/bin/bot".to_owned()];
    spec.ready.when = crate::model::bot::ReadyWhen::Alive;
    Configured {
        id,
        index,
        wanted: Wanted::Up,
        spec: Ok(spec),
        token: None,
        fields: Fields::new(),
        recipe: "1:plain".to_owned(),
        judged: None,
    }
}

/// A pass of the sampler that found this of one bot.
fn sampled(bot: &str, run: RunId, memory_bytes: u64, changes: Vec<LevelChange>) -> News {
    let usage = Usage {
        memory_bytes,
        ..Usage::default()
    };
    News::Sampled(vec![Sample {
        bot: id_of(bot),
        run,
        usage,
        standings: Vec::new(),
        changes,
    }])
}

/// How the shims of a bot behave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Manner {
    #[default]
    Obedient,
    /// Never reports that its bot was started.
    Mute,
    /// Its bot ends by SIGKILL alone.
    Deaf,
    /// Its bot does not even end by that.
    Undead,
}

/// A shim, as the host alone knows it.
#[derive(Clone, Debug)]
struct Shim {
    bot: BotId,
    pid: u32,
    /// A shim reports once.
    has_reported: bool,
    started_at: Stamp,
    /// It was told to end its bot.
    is_asked: bool,
    recipe: Option<String>,
}

/// What a shim writes when its run is over.
#[derive(Clone, Debug)]
struct Exit {
    run: RunId,
    end: End,
    at: Stamp,
    asked: bool,
}

/// A signal that the loop had sent.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Order {
    Terminate(RunId),
    Kill(RunId),
    Abandon(RunId),
}

/// A message to a bot.
#[derive(Clone, Debug)]
struct Letter {
    to: BotId,
    envelope: Envelope,
    is_retracted: bool,
}

/// A file in the hands of the loop, counted as long as anybody has it.
struct Hold(Rc<Cell<usize>>);

impl Hold {
    fn of(count: &Rc<Cell<usize>>) -> Hold {
        count.set(count.get() + 1);
        Hold(Rc::clone(count))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// One publication.
#[derive(Clone, Debug)]
struct Issue {
    at: Moment,
    snapshot: Snapshot,
    replies: Vec<Envelope>,
}

/// The bot, the run that was spared and the one that had ended.
type Recovery = (BotId, Option<RunId>, Option<(RunId, RunEnd)>);

/// All that is outside of the loop, and a record of what the loop did to it.
struct World {
    now: Moment,
    pace: Pace,
    budget: Budget,
    configured: Result<Vec<Configured>, String>,
    manners: BTreeMap<BotId, Manner>,
    shims: BTreeMap<RunId, Shim>,
    /// What shims and supervisors have left on the disk.
    records: BTreeMap<BotId, RunId>,
    exits: BTreeMap<BotId, Exit>,
    ledgers: BTreeMap<BotId, Ledger>,
    /// What the loop will hear at its next turn.
    news: VecDeque<News>,
    /// The supervisor's inbox (None) and the bots' outboxes.
    mail: BTreeMap<Option<BotId>, VecDeque<Envelope>>,
    /// How many files are in somebody's hands.
    claimed: Rc<Cell<usize>>,
    serial: u64,
    launched: Vec<(Moment, BotId)>,
    orders: Vec<Order>,
    letters: Vec<Letter>,
    issues: Vec<Issue>,
    /// Answers of bots that went to whoever asked.
    passed_on: Vec<Envelope>,
    facts: Vec<Fact>,
    /// The passes that were recorded.
    passes: Vec<Vec<MetricRow>>,
    /// What was noted for the audit.
    audited: Vec<String>,
    warnings: Vec<String>,
    forgotten: Vec<BotId>,
    /// When supervisors were killed.
    deaths: Vec<Moment>,
    /// What becomes of messages that bots answer negatively, by id; of others nobody knows.
    settled: BTreeMap<String, Settled>,
    recoveries: Vec<Recovery>,
    /// What the next recovery buries.
    doomed: Vec<Buried>,
    /// When messages in inboxes are due.
    due: BTreeMap<BotId, BTreeSet<Stamp>>,
    released: Vec<(Moment, BotId)>,
    /// Messages from bot to bot.
    delivered: Vec<(BotId, Envelope)>,
    refused: Vec<(Envelope, String)>,
    /// The runs that are asked from outside, and the bots whose logs are read, from when on.
    probed: Vec<(BotId, RunId)>,
    logged: BTreeMap<BotId, Stamp>,
    /// The runs about which their platforms are asked.
    platforms: BTreeMap<BotId, RunId>,
    /// What bots have written, and who else has their tokens.
    lines: BTreeMap<BotId, Vec<(Stamp, String)>>,
    rival: Option<String>,
    usage_targets: Vec<UsageTarget>,
}

impl World {
    fn new(configured: Vec<Configured>) -> World {
        World {
            now: Moment(1_000_000_000),
            pace: Pace::default(),
            budget: Budget::default(),
            configured: Ok(configured),
            manners: BTreeMap::new(),
            shims: BTreeMap::new(),
            records: BTreeMap::new(),
            exits: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            news: VecDeque::new(),
            mail: BTreeMap::new(),
            claimed: Rc::default(),
            serial: 0,
            launched: Vec::new(),
            orders: Vec::new(),
            letters: Vec::new(),
            issues: Vec::new(),
            passed_on: Vec::new(),
            facts: Vec::new(),
            passes: Vec::new(),
            audited: Vec::new(),
            warnings: Vec::new(),
            forgotten: Vec::new(),
            deaths: Vec::new(),
            settled: BTreeMap::new(),
            recoveries: Vec::new(),
            doomed: Vec::new(),
            due: BTreeMap::new(),
            released: Vec::new(),
            delivered: Vec::new(),
            refused: Vec::new(),
            probed: Vec::new(),
            logged: BTreeMap::new(),
            platforms: BTreeMap::new(),
            lines: BTreeMap::new(),
            rival: None,
            usage_targets: Vec::new(),
        }
    }

    /// What the last snapshot said of a run that lives.
    fn shown_of(&self, remnant: &Remnant) -> Option<BotStatus> {
        let Remnant::Alive { run, .. } = remnant else {
            return None;
        };
        let mut lines = self.issues.last()?.snapshot.bots.iter();
        lines.find(|line| line.run_id.as_deref() == Some(run.as_str())).cloned()
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn live(&self, bot: &BotId) -> Vec<&RunId> {
        let of_bot = self.shims.iter().filter(|(_, shim)| shim.bot == *bot);
        of_bot.map(|(run, _)| run).collect()
    }

    fn manner_of(&self, run: &RunId) -> Option<Manner> {
        let shim = self.shims.get(run)?;
        Some(self.manners.get(&shim.bot).copied().unwrap_or_default())
    }

    /// The run's shim has ended, and the loop will hear of it.
    fn end(&mut self, run: &RunId, end: End) {
        if let Some(shim) = self.shims.remove(run) {
            let (bot, run) = (shim.bot, run.clone());
            let exit = Exit {
                run: run.clone(),
                end: end.clone(),
                at: self.stamp(),
                asked: shim.is_asked,
            };
            self.exits.insert(bot.clone(), exit);
            self.news.push_back(News::Ended { bot, run, end });
        }
    }

    /// A live shim that some earlier supervisor started long ago.
    fn earlier(&mut self, bot: &str, number: u64) {
        let (bot, run) = (id_of(bot), run_of(number));
        let shim = Shim {
            bot: bot.clone(),
            pid: 77,
            has_reported: true,
            started_at: Stamp::from_unix_ms(1_600_000_000_000),
            is_asked: false,
            recipe: None,
        };
        self.records.insert(bot, run.clone());
        self.shims.insert(run, shim);
    }

    /// The supervisor is killed: what it had in memory is gone, and a shim that has not reported yet
    /// leaves without starting its bot.
    fn lose_supervisor(&mut self) {
        self.shims.retain(|_, shim| shim.has_reported);
        self.news.clear();
        self.deaths.push(self.now);
        // What nobody withdraws any more expires.
        self.letters.iter_mut().for_each(|letter| letter.is_retracted = true);
    }

    fn ask(&mut self, run: &RunId) {
        if let Some(shim) = self.shims.get_mut(run) {
            shim.is_asked = true;
        }
    }

    fn remnant_of(&self, bot: &BotId) -> Remnant {
        let Some(run) = self.records.get(bot).cloned() else {
            return Remnant::Nothing;
        };
        match (self.shims.get(&run), self.exits.get(bot)) {
            (Some(shim), _) => Remnant::Alive {
                run,
                pid: shim.pid,
                started_at: shim.started_at,
                recipe: shim.recipe.clone(),
                kernel: vec![IN_FORCE.to_owned()],
                ending: None,
            },
            (None, Some(exit)) if exit.run == run => Remnant::Ended {
                run,
                end: exit.end.clone(),
                at: exit.at,
                asked: exit.asked,
            },
            (None, _) => Remnant::Ended {
                run,
                end: End::Unknown("shim killed".to_owned()),
                at: self.stamp(),
                asked: false,
            },
        }
    }

    /// Puts a message into an outbox, or into the supervisor's inbox for None. No hint is given.
    fn put(&mut self, owner: Option<BotId>, kind: Kind, name: &str, payload: Value) -> String {
        let from = owner.as_ref().map_or("cli", BotId::as_str).to_owned();
        let id = format!("{:026}", self.next_serial());
        let envelope = Envelope::new(id.clone(), kind, name, &from, "supervisor", self.stamp()).with_payload(payload);
        self.mail.entry(owner).or_default().push_back(envelope);
        id
    }

    fn stamp(&self) -> Stamp {
        Stamp(WALL_AT_ZERO + i64::try_from(self.now.0).unwrap())
    }
}
