//! The real host: processes through shims, mailboxes through the spool, configuration and history
//! through the store, time through the clock.

mod holding;
mod loading;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ffi::OsString;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use rustix::process::Signal;

use crate::clock;
use crate::config::{Settings, SupervisorSettings};
use crate::home::Home;
use crate::model::blocking::{BlockingPolicy, Heard, TargetEntry};
use crate::model::bot::{BotId, RunId, Secret};
use crate::model::fact::Fact;
use crate::model::judging::Judgement;
use crate::model::limits::DISK_FREE_BYTES_MIN;
use crate::model::message::Envelope;
use crate::model::metric::MetricRow;
use crate::model::people::Change;
use crate::model::queue::QueuePolicy;
use crate::model::units::{Moment, Stamp, show_size};
use crate::run::delegation::Delegation;
use crate::run::identity::boot_id;
use crate::run::record::read_run;
use crate::run::remains;
use crate::run::rivals;
use crate::spool::{Buried, Durability, Entry, Mailbox, Posted, Poster, RunEnd, Settled, Shared, Writer};
use crate::store::{AuditEntry, By, Store};

use super::capacity::Budget;
use super::environment::Account;
use super::host::{
    BoxCounts, Configuration, Found, Host, Launch, LogTarget, LoginTarget, Mail, PlatformTarget, ProbeTarget,
    UsageTarget,
};
use super::ledger::{self, Ledger};
use super::login::{Given, Logins};
use super::lookouts::{TellLogWatch, TellPlatformProbe, TellProber};
use super::machine::SpawnFailure;
use super::mail::SUPERVISOR;
use super::mailboxes::{Inodes, inode_of};
use super::news::{News, Pace};
use super::publisher::Publisher;
use super::recorder::Recorder;
use super::routes::Outgoing;
use super::shims::{Shims, Token};
use super::snapshot::Snapshot;
use super::traffic::{Passed, Traffic};
use super::watch::Watches;

/// What a host is made of; the composition root opens these.
pub struct Parts {
    pub home: Home,
    pub account: Account,
    pub store: Store,
    pub shims: Shims,
    /// Where each run can have a group of its own, or why none can.
    pub delegation: Result<Delegation, String>,
    /// The watches, or why there are none.
    pub watches: Result<Watches, String>,
    /// What the watches tell of inboxes.
    pub traffic: Traffic,
    pub publisher: Publisher,
    pub recorder: Recorder,
    /// Carries messages between bots.
    pub writer: Writer,
    /// Tells the sampler whom to look at; None: nothing is sampled.
    pub sampler: Option<TellSampler>,
    /// Has bots asked by their probes.
    pub prober: TellProber,
    /// How many of their probes wait because too many others do not answer.
    pub late_probes: Box<dyn Fn() -> usize>,
    /// Has the logs of bots read; None: they are not read.
    pub log_watch: Option<TellLogWatch>,
    /// Has the platforms of bots asked about them.
    pub platform_probe: TellPlatformProbe,
    /// The loop's own queue, for threads that this host starts.
    pub queue: SyncSender<News>,
    pub observer: Option<Observer>,
    /// Sees multibot.yaml whenever it was read.
    pub settings_observer: SettingsObserver,
}

/// Hands targets to whoever samples.
pub type TellSampler = Box<dyn Fn(Vec<UsageTarget>)>;
/// Sees the settings that hold from now on.
pub type SettingsObserver = Box<dyn Fn(&SupervisorSettings)>;
/// Sees every snapshot before it is published.
pub type Observer = Box<dyn Fn(&Snapshot)>;

pub struct ProcessHost {
    pub(super) parts: Parts,
    poster: Poster,
    pub(super) home_id: String,
    pub(super) boot_id: String,
    /// `defaults` of multibot.yaml, as last read.
    pub(super) defaults: Settings,
    /// `env` of multibot.yaml, likewise.
    pub(super) env: BTreeMap<String, String>,
    pace: Pace,
    /// `budget` and `max_bots`, likewise.
    budget: Budget,
    /// What is wrong with multibot.yaml now.
    settings_fault: Option<String>,
    /// Why not every mailbox is watched, once one is not.
    pub(super) blindness: Option<String>,
    /// The supervisor's own `new/` as it was when it was watched.
    pub(super) own_inode: Option<u64>,
    /// How many messages each waiting file of a bot's inbox holds.
    pub(super) waiting: HashMap<BotId, HashMap<OsString, u64>>,
    /// What happened to mailboxes and was mended, and when last.
    pub(super) incidents: BTreeMap<String, Stamp>,
    /// What the last scan of a mailbox found and nobody has read yet: a mailbox of many files is not
    /// listed anew for each of them.
    pub(super) backlog: HashMap<Option<BotId>, VecDeque<Entry>>,
    /// The watched folders of each bot as they were when they were made and watched. A folder that was
    /// removed and made anew has another inode, and no watch.
    pub(super) prepared: HashMap<BotId, Inodes>,
    /// Bots that are asked by their probes, and whose logs are read.
    pub(super) probed: BTreeSet<BotId>,
    pub(super) logged: BTreeSet<BotId>,
    /// Bots about which their platforms are asked.
    pub(super) asked: BTreeSet<BotId>,
    /// Judgements that the store has not taken yet.
    pub(super) unstored: BTreeMap<BotId, Judgement>,
    /// The last supervisor had left its bots on purpose.
    pub(super) was_left: bool,
    pub(super) logins: Logins,
}

/// A message in a bot's inbox, and the box it lies in.
pub struct PostedTo {
    mailbox: Mailbox,
    posted: Posted,
}

impl ProcessHost {
    pub fn new(parts: Parts) -> Result<ProcessHost, crate::store::Error> {
        let home_id = parts.store.home_id()?;
        let blindness = parts.watches.as_ref().err().cloned();
        let own_inode = inode_of(&parts.home.supervisor_inbox().join("new"));
        Ok(ProcessHost {
            parts,
            poster: Poster::new(),
            home_id,
            boot_id: boot_id(),
            defaults: Settings::new(),
            env: BTreeMap::new(),
            pace: Pace::default(),
            budget: Budget::default(),
            settings_fault: None,
            blindness,
            own_inode,
            waiting: HashMap::new(),
            incidents: BTreeMap::new(),
            backlog: HashMap::new(),
            prepared: HashMap::new(),
            probed: BTreeSet::new(),
            logged: BTreeSet::new(),
            asked: BTreeSet::new(),
            unstored: BTreeMap::new(),
            was_left: false,
            logins: Logins::default(),
        })
    }
}

/// While some mailbox is not watched.
const RESCAN_EVERY: Duration = Duration::from_secs(1);

impl Host for ProcessHost {
    type Claim = Shared;
    type Posted = PostedTo;

    fn now(&self) -> Moment {
        clock::now()
    }

    fn stamp(&self) -> Stamp {
        clock::stamp()
    }

    fn new_run(&mut self) -> RunId {
        RunId::parse(&self.new_id()).unwrap_or_else(|| unreachable!("a ULID is a run id"))
    }

    fn new_id(&mut self) -> String {
        crate::spool::new_id(clock::stamp())
    }

    fn load(&mut self) -> Result<Configuration, String> {
        self.load_all()
    }

    fn survey(&mut self, bots: &[BotId]) -> Vec<Found> {
        self.survey_home(bots)
    }

    fn note(&mut self, bot: &BotId, ledger: &Ledger) {
        if let Err(error) = ledger::write(&self.parts.home.run_of(bot), &self.boot_id, ledger) {
            tracing::error!("{bot}: {error}; a supervisor that is killed now counts it anew");
        }
    }

    fn look(&mut self, token: Token) -> Vec<News> {
        self.parts
            .shims
            .look(token)
            .into_iter()
            .filter_map(|news| self.understand(news))
            .collect()
    }

    fn prepare(&mut self, bot: &BotId) -> Result<(), String> {
        self.mend(bot).map(|_| ())
    }

    fn mend(&mut self, bot: &BotId) -> Result<bool, String> {
        let known = self.prepared.get(bot).copied();
        if known.is_some() && known == self.inodes(bot) {
            return Ok(false);
        }
        self.make_mailboxes(bot)?;
        if known.is_some() {
            let at = clock::stamp();
            self.incidents
                .insert(format!("folders of {bot} were removed and made anew"), at);
        }
        Ok(known.is_some())
    }

    fn deliver(&mut self, sender: &BotId, claim: Option<Shared>, outgoing: Outgoing) {
        self.send_on(sender, claim, outgoing);
    }

    fn sweep(&mut self, bot: &BotId) {
        self.sweep_mailboxes(bot);
    }

    fn look_after(&mut self) -> Result<bool, String> {
        if self.blindness.is_some() {
            self.watch_anew();
        }
        self.mend_own()
    }

    fn hints_lost(&mut self) {
        let what = "hints of changed mailboxes were lost, and all were read again".to_owned();
        self.incidents.insert(what, clock::stamp());
    }

    fn rescan_every(&self) -> Option<Duration> {
        self.blindness.as_ref().map(|_| RESCAN_EVERY)
    }

    fn notes(&self) -> Vec<String> {
        let say = |why: &String| format!("mailboxes are read every {}s: {why}", RESCAN_EVERY.as_secs());
        let incidents = self.incidents.iter().map(|(what, at)| format!("{what} at {at}"));
        let disk = fs2::available_space(self.parts.home.dir())
            .ok()
            .filter(|free| *free < DISK_FREE_BYTES_MIN)
            .map(|free| {
                format!(
                    "the disk is nearly full ({} free): messages are refused until there is room",
                    show_size(free)
                )
            });
        let late = (self.parts.late_probes)();
        let late = (late > 0).then(|| format!("{late} probes are asked late: too many others do not answer"));
        self.blindness
            .iter()
            .map(say)
            .chain(disk)
            .chain(late)
            .chain(self.settings_fault.clone())
            .chain(incidents)
            .collect()
    }

    fn disk_free(&self) -> Option<u64> {
        fs2::available_space(self.parts.home.dir()).ok()
    }

    fn was_left(&self) -> bool {
        self.was_left
    }

    fn forget(&mut self, bot: &BotId) {
        self.prepared.remove(bot);
        self.waiting.remove(bot);
        self.parts.traffic.forget(bot);
        self.backlog.remove(&Some(bot.clone()));
        self.forget_runs(bot);
        self.order_probes(bot, None);
        self.order_log(bot, None);
        self.order_platform(bot, None);
        let dirs = self.watched(bot);
        if let Ok(watches) = &mut self.parts.watches {
            dirs.iter().for_each(|dir| watches.remove(dir));
        }
    }

    fn spawn(&mut self, launch: &Launch<'_>) -> Result<(), SpawnFailure> {
        let orders = self.orders(launch).map_err(SpawnFailure::Command)?;
        tracing::debug!("{}: starts a shim for run {}", launch.spec.id, launch.run);
        self.parts
            .shims
            .spawn(&launch.spec.id, launch.run, &orders)
            .map_err(|source| SpawnFailure::Passing(format!("cannot start a shim: {source}")))
    }

    fn terminate(&mut self, run: &RunId) {
        self.parts.shims.call_back(run);
        self.parts.shims.signal(run, Signal::TERM);
    }

    fn kill(&mut self, run: &RunId) {
        self.parts.shims.call_back(run);
        self.parts.shims.signal(run, Signal::QUIT);
    }

    fn abandon(&mut self, run: &RunId) {
        self.parts.shims.signal(run, Signal::KILL);
    }

    fn survivor(&mut self, bot: &BotId, run: &RunId) -> Option<u32> {
        let record = read_run(&self.parts.home.run_of(bot)).ok()??;
        if record.run_id == run.as_str() {
            remains::living(&record).first().copied()
        } else {
            None
        }
    }

    fn next_mail(&mut self, bot: Option<&BotId>) -> Option<Mail<Shared>> {
        self.read_next(bot)
    }

    fn post(&mut self, bot: &BotId, envelope: Envelope, durable: bool) -> Result<PostedTo, String> {
        let mailbox = Mailbox::new(self.parts.home.inbox_of(bot));
        tracing::debug!("to {bot}: {}", envelope.name);
        let durability = if durable { Durability::Batch } else { Durability::None };
        let posted = mailbox
            .post(&mut self.poster, &[envelope], durability, clock::stamp())
            .map_err(|error| error.to_string())?;
        Ok(PostedTo { mailbox, posted })
    }

    fn retract(&mut self, _bot: &BotId, posted: PostedTo) {
        if let Err(error) = posted.mailbox.retract(&posted.posted) {
            tracing::warn!("{error}");
        }
    }

    fn counts(&mut self, bot: &BotId) -> BoxCounts {
        self.count(bot)
    }

    fn settle(
        &mut self,
        bot: &BotId,
        rules: &QueuePolicy,
        answer: &Envelope,
        is_over: bool,
    ) -> Result<Settled, String> {
        self.settle_negative(bot, rules, answer, is_over)
    }

    fn recover(
        &mut self,
        bot: &BotId,
        rules: &QueuePolicy,
        live: Option<&RunId>,
        ended: Option<(&RunId, RunEnd)>,
    ) -> (usize, Vec<Buried>) {
        self.recover_claims(bot, rules, live, ended)
    }

    fn release_due(&mut self, bot: &BotId) -> Result<(Vec<Buried>, Option<Stamp>), String> {
        self.release_from_later(bot)
    }

    fn flush(&mut self) {
        self.parts.publisher.flush();
    }

    fn publish(&mut self, snapshot: Snapshot, replies: Vec<Envelope>, claims: Vec<Shared>) {
        if let Some(observe) = &self.parts.observer {
            observe(&snapshot);
        }
        self.parts.publisher.publish(snapshot, replies, claims);
    }

    fn pass_on(&mut self, answers: Vec<(Envelope, Option<Shared>)>) {
        self.parts.publisher.pass_on(answers);
    }

    fn record(&mut self, facts: Vec<Fact>, claims: Vec<Shared>) {
        self.parts.recorder.record(facts, claims);
    }

    fn record_metrics(&mut self, rows: Vec<MetricRow>) {
        self.parts.recorder.measure(rows);
    }

    fn passed(&self, bot: &BotId) -> Passed {
        self.parts.traffic.take(bot)
    }

    fn audit(&mut self, action: &str, bot: &BotId, detail: &str) {
        self.parts.recorder.audit(AuditEntry {
            at: clock::stamp(),
            actor: SUPERVISOR.to_owned(),
            action: action.to_owned(),
            bot: Some(bot.clone()),
            detail: detail.to_owned(),
        });
    }

    fn watch_usage(&mut self, targets: Vec<UsageTarget>) {
        if let Some(sampler) = &self.parts.sampler {
            sampler(targets);
        }
    }

    fn watch_probes(&mut self, bot: &BotId, target: Option<ProbeTarget<'_>>) {
        self.order_probes(bot, target);
    }

    fn watch_platform(&mut self, bot: &BotId, target: Option<PlatformTarget<'_>>) {
        self.order_platform(bot, target);
    }

    fn hear_of_target(
        &mut self,
        bot: &BotId,
        target: &str,
        heard: Heard,
        policy: &BlockingPolicy,
    ) -> Result<Option<TargetEntry>, String> {
        let stored = self.store_word_of_target(bot, target, heard, policy);
        stored.map_err(|error| error.to_string())
    }

    fn log_in(&mut self, target: &LoginTarget<'_>) -> Result<(), String> {
        self.start_login(target)
    }

    fn keep_login(&mut self, bot: &BotId, given: &Given, by: &By) -> Result<(), String> {
        self.store_login(bot, given, by).map_err(|error| error.to_string())
    }

    fn change_people(&mut self, change: &Change, by: &By) -> Result<String, String> {
        self.store_people(change, by).map_err(|error| error.to_string())
    }

    fn is_admin(&mut self, user: &str) -> Result<bool, String> {
        self.has_admin(user).map_err(|error| error.to_string())
    }

    fn see_user(&mut self, bot: &BotId, user: &str, username: &str) -> Result<(), String> {
        self.store_user(bot, user, username).map_err(|error| error.to_string())
    }

    fn sweep_blocklist(&mut self) -> Vec<(BotId, String)> {
        self.forget_expired_targets().unwrap_or_else(|error| {
            tracing::warn!("what has expired on the blocklist stays there: {error}");
            Vec::new()
        })
    }

    fn hold(&mut self, bot: &BotId, judgement: &Judgement) {
        self.keep_judgement(bot, judgement);
    }

    fn last_words(&mut self, bot: &BotId, since: Stamp) -> Vec<(Stamp, String)> {
        self.last_lines(bot, since)
    }

    fn rival(&mut self, bot: &BotId, token: &Secret) -> Option<String> {
        rivals::of_token(token, &self.home_id, bot.as_str())
    }

    fn watch_log(&mut self, bot: &BotId, target: Option<LogTarget<'_>>) {
        self.order_log(bot, target);
    }

    fn log(&mut self, line: &str) {
        tracing::info!("{line}");
    }

    fn warn(&mut self, line: &str) {
        tracing::warn!("{line}");
    }
}
