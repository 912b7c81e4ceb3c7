//! Puts a supervisor together: opens what it needs, starts its threads, and turns the news of each
//! source into news for the loop. It decides nothing about bots.

mod monitoring;
mod watching;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::alerts::{self, Speaker};
use crate::clock;
use crate::config::{Faults, SupervisorSettings, read_supervisor};
use crate::home::{Home, HomeError};
use crate::log::LogFile;
use crate::model::limits::{LOCK_RETRY_TIME, QUEUE_LEN_MAX, REPLY_AGE_MAX};
use crate::monitor::probes;
use crate::run::delegation::Delegation;
use crate::run::identity::Identity;
use crate::run::inheritance::{keep_open_files_from_children, receive_all_signals};
use crate::run::lock::Lock;
use crate::spool::{self, Mailbox, Writer};
use crate::store::{self, Access, Store};
use crate::supervisor::environment::Account;
use crate::supervisor::event_loop::Supervisor;
use crate::supervisor::leave::{Parting, Upgrade};
use crate::supervisor::machine::StopMode;
use crate::supervisor::news::News;
use crate::supervisor::process::{Observer, Parts, ProcessHost};
use crate::supervisor::publisher::Publisher;
use crate::supervisor::recorder::{Recorder, RecorderError};
use crate::supervisor::shims::Shims;
use crate::supervisor::snapshot;
use crate::supervisor::traffic::Traffic;
use crate::supervisor::watch::{Hint, Watches};
use crate::trace;

/// How a supervisor is to run.
pub struct Options {
    /// How far below the configured level its log goes.
    pub verbose: u8,
    pub hangup: Hangup,
    /// Sees every line of the supervisor's own log.
    pub listener: Option<trace::Listener>,
    /// Sees every snapshot before it is published.
    pub observer: Option<Observer>,
    /// What the program before this one in the same process has left; None for a first one.
    pub succession: Option<Succession>,
    /// It ends with its terminal, and no other program can take its place.
    pub in_terminal: bool,
}

/// How a program takes the place of another one.
#[derive(Debug, Default)]
pub struct Succession {
    pub lock: Option<Lock>,
    pub image: u32,
    /// Why the one that was to run does not.
    pub came_back: Option<String>,
}

/// What SIGHUP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    Reload,
    /// The terminal that this supervisor belongs to is gone.
    Stop,
}

/// How a supervisor ended.
#[derive(Debug)]
pub enum Outcome {
    Stopped,
    /// The bots go on.
    Left,
    /// The bots go on, and another program is to take them over while the lock is held.
    Upgrade {
        upgrade: Upgrade,
        lock: Lock,
        image: u32,
    },
    /// Another supervisor has this home; its pid where it is known.
    AlreadyRunning {
        pid: Option<u32>,
    },
}

/// Why no supervisor could be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error("{0}")]
    Settings(#[from] Faults),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Recorder(#[from] RecorderError),
    #[error(transparent)]
    Alerts(#[from] alerts::Error),
    #[error(transparent)]
    Spool(#[from] spool::Error),
    #[error("cannot lock {}: {source}", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("cannot start {what}: {source}")]
    Start { what: &'static str, source: io::Error },
    #[error("{0}")]
    Open(String),
}

/// Runs the supervisor of a home until it is asked to stop.
pub fn run(home: &Home, options: Options) -> Result<Outcome, Error> {
    let settings = read_supervisor(&home.settings())?;
    home.create()?;
    keep_open_files_from_children();
    receive_all_signals();
    // It was started through a path that is no name.
    let _ = rustix::thread::set_name(c"multibot");
    let mut succession = options.succession.unwrap_or_default();
    let lock = match succession.lock.take() {
        Some(lock) => Some(lock),
        None => take_lock(home)?,
    };
    let Some(lock) = lock else {
        return Ok(Outcome::AlreadyRunning {
            pid: holder(home).map(|identity| identity.pid),
        });
    };
    let identity = Identity::me().ok_or_else(|| start_error("itself")(io::Error::other("/proc is not mounted")))?;
    let signature = serde_json::to_string(&identity).unwrap_or_default();
    lock.sign(&signature).map_err(|source| Error::Lock {
        path: home.supervisor_lock(),
        source,
    })?;
    start_log(home, &settings, options.verbose, options.listener)?;
    if succession.came_back.is_some()
        && let Some(aside) = Store::take_back(&home.database())?
    {
        tracing::warn!(
            "the database is the copy from before; what came after is in {}",
            aside.display()
        );
    }
    Store::migrate(&home.database())?;
    // A supervisor must not keep a file system busy that somebody wants to unmount.
    let _ = std::env::set_current_dir("/");
    let inbox = Mailbox::new(home.supervisor_inbox());
    inbox.create()?;
    // What the last supervisor had claimed and not answered; most of it has expired.
    inbox.give_back("supervisor")?;
    sweep(home);
    let (queue, news) = sync_channel(QUEUE_LEN_MAX);
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(start_error("signal handling"))?;
    start_signals(signals, options.hangup, queue.clone()).map_err(start_error("signal handling"))?;
    let prober = monitoring::start_prober(&queue);
    // It outlives the loop, so that the last words are safe before this ends.
    let watching = watching::start(home, &settings, &queue)?;
    let observer = watching::observer(home, watching.speaker(), options.observer);
    let host = open_host(home, &settings, (observer, watching.speaker()), &queue, &prober)?;
    let image = succession.image;
    let about = about(identity, succession, options.in_terminal);
    let parting = supervise(host, about, &news)?;
    // Programs that ask would outlive whoever reads their answer.
    prober.close();
    Ok(outcome_of(parting, lock, image))
}

/// What became of a supervisor, as its log and its caller hear it.
fn outcome_of(parting: Parting, lock: Lock, image: u32) -> Outcome {
    match parting {
        Parting::Stop => {
            tracing::info!("supervisor has stopped");
            Outcome::Stopped
        }
        Parting::KeepBots => {
            tracing::info!("supervisor has left; its bots go on");
            Outcome::Left
        }
        Parting::Upgrade(upgrade) => {
            tracing::info!("supervisor makes way for {}", upgrade.program.display());
            Outcome::Upgrade { upgrade, lock, image }
        }
    }
}

/// What it tells of itself before anything is known.
fn about(identity: Identity, succession: Succession, in_terminal: bool) -> snapshot::Supervisor {
    snapshot::Supervisor {
        image: succession.image,
        came_back: succession.came_back,
        in_terminal,
        ..snapshot::Supervisor::new(identity, env!("CARGO_PKG_VERSION"), clock::stamp().unix_ms())
    }
}

fn supervise(host: ProcessHost, about: snapshot::Supervisor, news: &Receiver<News>) -> Result<Parting, Error> {
    let mut supervisor = Supervisor::new(host, about);
    supervisor.open().map_err(Error::Open)?;
    Ok(supervisor.run(news))
}

/// Who holds a home, as its lock file tells; None where that process has ended.
pub fn holder(home: &Home) -> Option<Identity> {
    let text = fs::read_to_string(home.supervisor_lock()).ok()?;
    serde_json::from_str::<Identity>(&text).ok().filter(Identity::is_alive)
}

/// Whether a supervisor that cannot be seen from here holds a home: one in another pid namespace, as in a
/// container that shares the folder. Its lock is asked only where its file names such a one.
pub fn is_held_elsewhere(home: &Home) -> bool {
    let named = fs::read_to_string(home.supervisor_lock())
        .ok()
        .and_then(|text| serde_json::from_str::<Identity>(&text).ok());
    let is_foreign = named.is_some_and(|identity| identity.is_of_another_namespace());
    is_foreign && matches!(Lock::take(&home.supervisor_lock()), Ok(None))
}

/// Two starts at one moment, or one right after a stop: the lock may be free in an instant.
fn take_lock(home: &Home) -> Result<Option<Lock>, Error> {
    let path = home.supervisor_lock();
    let until = clock::now() + LOCK_RETRY_TIME;
    loop {
        match Lock::take(&path) {
            Ok(Some(lock)) => return Ok(Some(lock)),
            Ok(None) if clock::now() < until => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) => return Ok(None),
            Err(source) => return Err(Error::Lock { path, source }),
        }
    }
}

fn start_log(
    home: &Home,
    settings: &SupervisorSettings,
    verbose: u8,
    listener: Option<trace::Listener>,
) -> Result<(), Error> {
    let file = LogFile::open(home.supervisor_log(), settings.log.max_size, settings.log.keep);
    let wish = std::env::var("MULTIBOT_LOG").ok();
    let wished = wish.as_deref().and_then(|word| word.parse().ok());
    let level = match (wished.unwrap_or(settings.log_level), verbose) {
        (level, 0) => level,
        (level, 1) => level.max(tracing::Level::DEBUG),
        (_, _) => tracing::Level::TRACE,
    };
    trace::start(file, level, listener).map_err(start_error("the log"))?;
    if let (Some(word), None) = (wish, wished) {
        tracing::warn!("MULTIBOT_LOG={word} is no level: use error, warn, info, debug or trace");
    }
    Ok(())
}

/// Removes what writers and readers that died have left behind.
fn sweep(home: &Home) {
    let now = clock::stamp();
    let removed = [
        spool::replies::sweep_replies(&home.replies(), now, REPLY_AGE_MAX),
        Mailbox::new(home.supervisor_inbox()).sweep_tmp(now),
    ];
    for error in removed.into_iter().filter_map(Result::err) {
        tracing::warn!("{error}");
    }
}

fn open_host(
    home: &Home,
    settings: &SupervisorSettings,
    (observer, speaker): (Observer, Speaker),
    queue: &SyncSender<News>,
    prober: &Arc<probes::Prober>,
) -> Result<ProcessHost, Error> {
    let shims = {
        let queue = queue.clone();
        Shims::start(move |token| tell(&queue, News::Shim(token))).map_err(start_error("the watch over shims"))?
    };
    let traffic = Traffic::default();
    let watches = start_watches(home, traffic.clone(), queue.clone()).map_err(|error| error.to_string());
    if let Err(why) = &watches {
        tracing::error!("mailboxes are not watched: {why}");
    }
    let uid = rustix::process::geteuid().as_raw();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let parts = Parts {
        home: home.clone(),
        account: Account::find(&passwd, uid).unwrap_or_else(|| unknown_account(uid)),
        store: Store::open(&home.database(), Access::Read)?,
        shims,
        delegation: take_delegation(),
        watches,
        traffic,
        publisher: Publisher::start(home.snapshot(), home.replies()).map_err(start_error("the publisher"))?,
        recorder: Recorder::start(&home.database(), settings.history.clone())?,
        writer: Writer::start(|line| tracing::warn!("{line}")).map_err(start_error("the writer"))?,
        sampler: monitoring::start_sampler(settings.sampling_period, queue)?,
        prober: monitoring::tell_prober(prober),
        late_probes: monitoring::late_probes(prober),
        platform_probe: monitoring::start_platform_probe(queue)?,
        log_watch: monitoring::start_log_watch(settings.sampling_period, queue)?,
        queue: queue.clone(),
        observer: Some(observer),
        settings_observer: watching::settings_observer(speaker),
    };
    Ok(ProcessHost::new(parts)?)
}

fn take_delegation() -> Result<Delegation, String> {
    let delegation = Delegation::take();
    match &delegation {
        Ok(it) if it.controllers.is_empty() => {
            tracing::debug!("runs have groups of their own in {}, without limits", it.dir.display());
        }
        Ok(it) => tracing::info!(
            "runs have groups of their own in {}: {}",
            it.dir.display(),
            it.controllers.join(", ")
        ),
        Err(why) => tracing::info!("the kernel sets no limits to groups of processes: {why}"),
    }
    delegation
}

/// A uid without a line in `/etc/passwd`, as in many containers.
fn unknown_account(uid: u32) -> Account {
    Account {
        name: uid.to_string(),
        home: std::env::var("HOME").unwrap_or_else(|_| "/".to_owned()),
        shell: String::new(),
    }
}

fn start_watches(home: &Home, traffic: Traffic, queue: SyncSender<News>) -> notify::Result<Watches> {
    let ipc = home.dir().join("ipc");
    let (hints, pending) = channel();
    std::thread::Builder::new()
        .name("hints".to_owned())
        .spawn(move || forward_hints(&pending, &queue))
        .map_err(notify::Error::io)?;
    let mut watches = Watches::start(ipc, traffic, move |hint| {
        // The forwarder ends only when this watcher is gone.
        let _ = hints.send(hint);
    })?;
    watches.add(&home.supervisor_inbox().join("new"))?;
    Ok(watches)
}

/// Takes every hint at once and passes each on once: the loop waits for the watcher when it adds a
/// watch, so the watcher must never wait for the loop.
fn forward_hints(pending: &Receiver<Hint>, queue: &SyncSender<News>) {
    while let Ok(first) = pending.recv() {
        let distinct: BTreeSet<Hint> = std::iter::once(first).chain(pending.try_iter()).collect();
        for hint in distinct {
            tell(queue, news_of(hint));
        }
    }
}

fn news_of(hint: Hint) -> News {
    match hint {
        Hint::SupervisorInbox => News::Inbox,
        Hint::Outbox(bot) => News::Outbox(bot),
        Hint::Heartbeat(bot) => News::Heartbeat(bot),
        Hint::Counts(bot) => News::Counts(bot),
        Hint::Folders(bot) => News::Folders(bot),
        Hint::Everything => News::HintsLost,
    }
}

/// SIGTERM and SIGINT stop; a second SIGINT is a user who will not wait.
fn start_signals(mut signals: Signals, hangup: Hangup, queue: SyncSender<News>) -> io::Result<()> {
    let listen = move || {
        let mut mode = StopMode::Graceful;
        for signal in signals.forever() {
            match signal {
                SIGHUP if hangup == Hangup::Reload => tell(&queue, News::Reload),
                SIGINT => {
                    tell(&queue, News::Stop(mode));
                    mode = StopMode::Forced;
                }
                _ => tell(&queue, News::Stop(StopMode::Graceful)),
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(listen)
        .map(|_| ())
}

/// Waits while the queue is full. Only a loop that has ended takes no more news.
fn tell(queue: &SyncSender<News>, news: News) {
    let _ = queue.send(news);
}

fn start_error(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Start { what, source }
}
