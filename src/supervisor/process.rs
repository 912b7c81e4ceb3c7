//! The real host: processes through shims, mailboxes through the spool, configuration and history
//! through the store, time through the clock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use rustix::process::Signal;

use crate::clock;
use crate::config::{Settings, bot_spec, read_supervisor};
use crate::home::Home;
use crate::model::bot::{BotId, RunId};
use crate::model::fact::Fact;
use crate::model::message::Envelope;
use crate::model::units::{Moment, Stamp};
use crate::run::identity::boot_id;
use crate::run::record::read_run;
use crate::run::remains;
use crate::spool::{Claimed, DeadLetters, Defaults, Durability, Entry, Mailbox, Posted, Poster, ReadError};
use crate::store::{Access, AuditEntry, Store};

use super::environment::Account;
use super::host::{BoxCounts, Configuration, Configured, Found, Host, Launch, Mail, UsageTarget};
use super::ledger::{self, Ledger};
use super::machine::SpawnFailure;
use super::mail::SUPERVISOR;
use super::news::{News, Pace};
use super::publisher::Publisher;
use super::recipe::recipe;
use super::recorder::Recorder;
use super::shims::{Shims, Token};
use super::snapshot::Snapshot;
use super::watch::Watches;

/// What a host is made of; the composition root opens these.
pub struct Parts {
    pub home: Home,
    pub account: Account,
    pub store: Store,
    pub shims: Shims,
    /// The watches, or why there are none.
    pub watches: Result<Watches, String>,
    pub publisher: Publisher,
    pub recorder: Recorder,
    /// Tells the sampler whom to look at; None: nothing is sampled.
    pub sampler: Option<TellSampler>,
    /// The loop's own queue, for threads that this host starts.
    pub queue: SyncSender<News>,
    pub observer: Option<Observer>,
}

/// Hands targets to whoever samples.
pub type TellSampler = Box<dyn Fn(Vec<UsageTarget>)>;
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
    /// What is wrong with multibot.yaml now.
    settings_fault: Option<String>,
    /// Why not every mailbox is watched, once one is not.
    blindness: Option<String>,
    /// What the last scan of a mailbox found and nobody has read yet: a mailbox of many files is not
    /// listed anew for each of them.
    backlog: HashMap<Option<BotId>, VecDeque<Entry>>,
    /// The watched folders of each bot as they were when they were made and watched. A folder that was
    /// removed and made anew has another inode, and no watch.
    prepared: HashMap<BotId, [u64; 5]>,
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
        Ok(ProcessHost {
            parts,
            poster: Poster::new(),
            home_id,
            boot_id: boot_id(),
            defaults: Settings::new(),
            env: BTreeMap::new(),
            pace: Pace::default(),
            settings_fault: None,
            blindness,
            backlog: HashMap::new(),
            prepared: HashMap::new(),
        })
    }

    fn configured(
        &self,
        record: crate::store::BotRecord,
        tokens: &mut HashMap<BotId, crate::model::bot::Secret>,
    ) -> Configured {
        let settings = Settings::from_json(&record.settings_json).map_err(|fault| fault.to_string());
        let token = tokens.remove(&record.id);
        let recipe = settings.as_ref().map_or_else(
            |_| String::new(),
            |settings| recipe(&[settings, &self.defaults], token.as_ref()),
        );
        let spec = settings.and_then(|settings| {
            bot_spec(&record.id, &[&settings, &self.defaults]).map_err(|faults| one_line(&faults.to_string()))
        });
        Configured {
            token,
            recipe,
            id: record.id,
            index: record.index,
            wanted: record.wanted,
            spec,
        }
    }

    fn mailbox_of(&self, bot: Option<&BotId>) -> (Mailbox, DeadLetters) {
        let home = &self.parts.home;
        match bot {
            Some(bot) => (Mailbox::new(home.outbox_of(bot)), DeadLetters::new(home.dead_of(bot))),
            None => (
                Mailbox::new(home.supervisor_inbox()),
                DeadLetters::new(home.supervisor_dead()),
            ),
        }
    }

    /// Watches a bot's mailboxes. Where that cannot be, its bot runs all the same and everything is
    /// looked at again and again.
    fn watch(&mut self, bot: &BotId) {
        let dirs = self.watched(bot);
        let Ok(watches) = &mut self.parts.watches else { return };
        for dir in dirs {
            if let Err(error) = watches.add(&dir)
                && self.blindness.is_none()
            {
                let why = format!("cannot watch {}: {error}", dir.display());
                tracing::error!("{why}");
                self.blindness = Some(why);
            }
        }
    }

    /// The inodes of a bot's watched folders; None where one is missing.
    fn inodes(&self, bot: &BotId) -> Option<[u64; 5]> {
        let mut inodes = [0; 5];
        for (inode, dir) in inodes.iter_mut().zip(self.watched(bot)) {
            *inode = std::fs::metadata(dir).ok()?.ino();
        }
        Some(inodes)
    }

    /// The folders whose changes matter for one bot.
    fn watched(&self, bot: &BotId) -> [PathBuf; 5] {
        let home = &self.parts.home;
        [
            home.outbox_of(bot).join("new"),
            home.ipc_of(bot),
            home.inbox_of(bot).join("new"),
            home.inbox_of(bot).join("cur"),
            home.dead_of(bot),
        ]
    }
}

/// Files that are read between two scans of one mailbox: urgent ones that come meanwhile wait so long.
const BACKLOG_LEN_MAX: usize = 4096;

/// While some mailbox is not watched.
const RESCAN_EVERY: Duration = Duration::from_secs(1);

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("; ")
}

impl Host for ProcessHost {
    type Claim = Claimed;
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
        match read_supervisor(&self.parts.home.settings()) {
            Ok(settings) => {
                self.defaults = settings.defaults;
                self.env = settings.env;
                self.pace = Pace {
                    start_delay: settings.start_delay,
                    status_poll_interval: settings.status_poll_interval,
                };
                self.settings_fault = None;
            }
            // A slip in a file must not take the operator's stop away: what was read last goes on.
            Err(faults) => {
                let fault = one_line(&faults.to_string());
                tracing::error!("settings are not taken over: {fault}");
                self.settings_fault = Some(format!("settings are not taken over: {fault}"));
            }
        }
        let store = Store::open(&self.parts.home.database(), Access::Read).map_err(|error| error.to_string())?;
        let mut tokens: HashMap<_, _> = store
            .credentials()
            .tokens()
            .map_err(|error| error.to_string())?
            .into_iter()
            .collect();
        let records = store.bots().list().map_err(|error| error.to_string())?;
        let blocked = store
            .blocklist()
            .counts(clock::stamp())
            .map_err(|error| error.to_string())?;
        Ok(Configuration {
            pace: self.pace.clone(),
            bots: records
                .into_iter()
                .map(|record| self.configured(record, &mut tokens))
                .collect(),
            blocked: u64::from(blocked.blocked),
            blocked_permanent: u64::from(blocked.permanent),
        })
    }

    fn survey(&mut self, bots: &[BotId]) -> Vec<Found> {
        self.survey_home(bots)
    }

    fn recover_mail(&mut self, _bot: &BotId, _live: Option<&RunId>) {}

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
        let known = self.prepared.get(bot);
        if known.is_some() && known == self.inodes(bot).as_ref() {
            return Ok(());
        }
        let home = &self.parts.home;
        let boxes = [Mailbox::new(home.inbox_of(bot)), Mailbox::new(home.outbox_of(bot))];
        for mailbox in boxes {
            mailbox.create().map_err(|error| error.to_string())?;
        }
        for dir in [home.run_of(bot), home.dead_of(bot)] {
            crate::home::make_private(&dir).map_err(|source| format!("cannot make {}: {source}", dir.display()))?;
        }
        self.watch(bot);
        if let Some(inodes) = self.inodes(bot) {
            self.prepared.insert(bot.clone(), inodes);
        }
        Ok(())
    }

    fn rescan_every(&self) -> Option<Duration> {
        self.blindness.as_ref().map(|_| RESCAN_EVERY)
    }

    fn notes(&self) -> Vec<String> {
        let say = |why: &String| format!("mailboxes are read every {}s: {why}", RESCAN_EVERY.as_secs());
        self.blindness
            .iter()
            .map(say)
            .chain(self.settings_fault.clone())
            .collect()
    }

    fn forget(&mut self, bot: &BotId) {
        self.prepared.remove(bot);
        self.backlog.remove(&Some(bot.clone()));
        self.forget_runs(bot);
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

    fn next_mail(&mut self, bot: Option<&BotId>) -> Option<Mail<Claimed>> {
        let (mailbox, dead) = self.mailbox_of(bot);
        if self.backlog.get(&bot.cloned()).is_none_or(VecDeque::is_empty) {
            let entries = mailbox.scan().unwrap_or_else(|error| {
                tracing::error!("{error}");
                Vec::new()
            });
            let first = entries.into_iter().take(BACKLOG_LEN_MAX).collect();
            self.backlog.insert(bot.cloned(), first);
        }
        while let Some(entry) = self.backlog.get_mut(&bot.cloned()).and_then(VecDeque::pop_front) {
            let claimed = match mailbox.claim(&entry, SUPERVISOR) {
                Ok(Some(claimed)) => claimed,
                Ok(None) => continue,
                Err(error) => {
                    tracing::error!("{error}");
                    continue;
                }
            };
            let from = bot.map_or("cli", BotId::as_str);
            let read = claimed.read(&Defaults {
                from,
                to: SUPERVISOR,
                now: clock::stamp(),
            });
            match read {
                Ok(envelopes) => {
                    let names: Vec<&str> = envelopes.iter().map(|envelope| envelope.name.as_str()).collect();
                    tracing::debug!("from {from}: {}", names.join(", "));
                    return Some(Mail {
                        envelopes,
                        claim: claimed,
                    });
                }
                Err(ReadError::Unreadable(why)) => {
                    tracing::warn!("set aside {}: {why}", claimed.path().display());
                    if let Err(error) = dead.bury(claimed, &why.to_string(), clock::stamp()) {
                        tracing::error!("{error}");
                    }
                }
                Err(error) => tracing::error!("{error}"),
            }
        }
        None
    }

    fn finish(&mut self, claim: Claimed) {
        if let Err(error) = claim.finish() {
            tracing::error!("{error}");
        }
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
        let home = &self.parts.home;
        let inbox = Mailbox::new(home.inbox_of(bot)).counts().unwrap_or_default();
        let dead = DeadLetters::new(home.dead_of(bot)).count().unwrap_or_default();
        BoxCounts {
            inbox_new: inbox.new as u64,
            inbox_cur: inbox.cur as u64,
            dead: dead as u64,
        }
    }

    fn flush(&mut self) {
        self.parts.publisher.flush();
    }

    fn publish(&mut self, snapshot: Snapshot, replies: Vec<Envelope>) {
        if let Some(observe) = &self.parts.observer {
            observe(&snapshot);
        }
        self.parts.publisher.publish(snapshot, replies);
    }

    fn record(&mut self, facts: Vec<Fact>) {
        self.parts.recorder.record(facts);
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

    fn log(&mut self, line: &str) {
        tracing::info!("{line}");
    }

    fn warn(&mut self, line: &str) {
        tracing::warn!("{line}");
    }
}
