//! The thread that watches scenes, keeps the book and hands every word to the sinks.
//!
//! A word counts as told when it is safe in the mailbox of each sink that wants it; what cannot be written down or
//! posted is tried again. The thread sleeps until a scene comes or the book says that something is due.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock;
use crate::home::Home;
use crate::log::Mask;
use crate::model::alert::{Alert, AlertSettings, OpenInHome, Rule, Silence};
use crate::model::bot::{BotId, Secret};
use crate::model::units::Stamp;
use crate::spool::new_id;
use crate::store::{self, Access, Store};

use super::book::{Book, Change, Order};
use super::exec::has_program;
use super::futile::{Means, missing};
use super::notice::content;
use super::outage::{Outage, OutageWatch};
use super::rules::{Condition, conditions};
use super::scene::{Scene, Tick};
use super::sink::Sink;

/// What could not be written or posted is tried again after this time.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Alerts that are over are kept so long, and so many of them.
const KEEP: Duration = Duration::from_secs(90 * 86_400);
const KEEP_MAX: u32 = 10_000;

/// What the watcher is told.
enum News {
    Scene(Box<Scene>),
    Settings(Box<AlertSettings>),
    End,
}

/// What the watcher has to say to the supervisor.
#[derive(Clone, Debug, PartialEq)]
pub enum Feedback {
    /// The open alerts of the bots and of the home.
    Open(OpenInHome),
    /// Most bots fail together, or do so no more; with the shortest wait before a restart.
    Outage(Option<(Outage, Duration)>),
}

/// The way to the watcher; it may be copied.
#[derive(Clone)]
pub struct Speaker(Sender<News>);

impl Speaker {
    /// The home is so now.
    pub fn scene(&self, scene: Scene) {
        self.say(News::Scene(Box::new(scene)));
    }

    /// Settings, silences and acknowledgements may have changed, and words may lie in mailboxes.
    pub fn settings(&self, settings: AlertSettings) {
        self.say(News::Settings(Box::new(settings)));
    }

    fn say(&self, news: News) {
        // The watcher ends only with its supervisor.
        let _ = self.0.send(news);
    }
}

/// The running thread; dropping it ends it, with its sinks.
pub struct Watching {
    speaker: Speaker,
    thread: Option<JoinHandle<()>>,
}

/// Why no watcher could be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("cannot start the alerts: {0}")]
    Thread(#[from] io::Error),
}

impl Watching {
    pub fn speaker(&self) -> Speaker {
        self.speaker.clone()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.speaker.say(News::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts the watcher of a home. `tell` hands its feedback to the supervisor.
pub fn start(
    home: &Home,
    settings: &AlertSettings,
    tell: impl Fn(Feedback) + Send + 'static,
) -> Result<Watching, Error> {
    let store = Store::open(&home.database(), Access::History)?;
    let book = Book::resume(store.alerts().unfinished()?);
    let outage = book.open_of_home(Rule::Outage);
    let outage = outage.map(|alert| OutageWatch::resume(alert.raised_at, &alert.text));
    let mut watcher = Watcher {
        home: home.clone(),
        store,
        settings: settings.clone(),
        silences: Vec::new(),
        mask: Mask::new([""; 0]),
        outages: outage.unwrap_or_default(),
        book,
        scene: None,
        sinks: BTreeMap::new(),
        told: None,
        tell: Box::new(tell),
        must_retry: false,
        missing: Vec::new(),
        posted: BTreeSet::new(),
    };
    let (speaker, queue) = channel();
    let thread = std::thread::Builder::new()
        .name("alerts".to_owned())
        .spawn(move || watcher.run(&queue))?;
    Ok(Watching {
        speaker: Speaker(speaker),
        thread: Some(thread),
    })
}

struct Watcher {
    home: Home,
    store: Store,
    settings: AlertSettings,
    silences: Vec<Silence>,
    mask: Mask,
    book: Book,
    outages: OutageWatch,
    /// None before the supervisor has taken up its bots.
    scene: Option<Scene>,
    sinks: BTreeMap<String, Sink>,
    /// What the supervisor knows.
    told: Option<(OpenInHome, Option<Outage>)>,
    tell: Box<dyn Fn(Feedback) + Send>,
    must_retry: bool,
    /// What sinks need and the home does not have.
    missing: Vec<String>,
    /// Sinks that have a word already of which another one could not be given.
    posted: BTreeSet<(String, Change, String)>,
}

impl Watcher {
    fn run(&mut self, queue: &Receiver<News>) {
        self.take_settings(self.settings.clone());
        loop {
            let news = match self.next_due() {
                Some(wait) => queue.recv_timeout(wait),
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match news {
                Ok(first) => {
                    for news in std::iter::once(first).chain(queue.try_iter()) {
                        if matches!(news, News::End) {
                            return self.sinks.values().for_each(Sink::stop);
                        }
                        self.take(news);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.look();
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Scene(scene) => self.scene = Some(*scene),
            News::Settings(settings) => self.take_settings(*settings),
            News::End => {}
        }
    }

    fn take_settings(&mut self, settings: AlertSettings) {
        let is_kept = |name: &String, sink: &mut Sink| settings.sinks.get(name) == Some(&sink.policy);
        self.sinks.retain(is_kept);
        for (name, policy) in settings.sinks.iter().filter(|(_, policy)| policy.enabled) {
            if let Some(sink) = self.sinks.get(name) {
                sink.wake();
                continue;
            }
            match Sink::start(&self.home, name, policy) {
                Ok(sink) => {
                    self.sinks.insert(name.clone(), sink);
                }
                Err(error) => tracing::error!("cannot start sink {name}: {error}"),
            }
        }
        self.settings = settings;
        if let Err(error) = self.read_store() {
            tracing::warn!("alerts: {error}");
        }
    }

    /// What others have written: silences, acknowledgements, and the tokens that nobody may be told.
    fn read_store(&mut self) -> Result<(), store::Error> {
        let now = clock::stamp();
        self.silences = self.store.alerts().silences(now)?;
        let open = self.store.alerts().open()?;
        self.book.acknowledge(&open);
        let tokens = self.store.credentials().tokens()?;
        self.look_for_means(&tokens)?;
        self.mask = Mask::new(tokens.iter().map(|(_, token)| token.reveal().to_owned()));
        let before = Stamp(
            now.0
                .saturating_sub(i64::try_from(KEEP.as_micros()).unwrap_or(i64::MAX)),
        );
        self.store.alerts().prune(before, KEEP_MAX)?;
        Ok(())
    }

    /// Says once what sinks need and the home does not have.
    fn look_for_means(&mut self, tokens: &[(BotId, Secret)]) -> Result<(), store::Error> {
        let bots = self.store.bots().list()?.into_iter().map(|bot| bot.id).collect();
        let means = Means {
            bots: &bots,
            with_token: &tokens.iter().map(|(bot, _)| bot.clone()).collect(),
            has_program: &has_program,
        };
        let missing = missing(&self.settings.sinks, &means);
        for said in missing.iter().filter(|said| !self.missing.contains(*said)) {
            tracing::warn!("{said}");
        }
        self.missing = missing;
        Ok(())
    }

    /// Judges the newest scene and tells what is due.
    fn look(&mut self) {
        self.must_retry = false;
        let tick = tick();
        if let Some(scene) = self.scene.take() {
            let is_watched = self.settings.rule(Rule::Outage).enabled;
            let policy = &self.settings.outage;
            let outage = is_watched.then(|| self.outages.look(&scene, policy, tick)).flatten();
            let found = conditions(&scene, outage.as_ref(), &self.settings);
            let found = found.into_iter().map(|condition| self.masked(condition)).collect();
            let mut id = || new_id(clock::stamp());
            self.book.look(found, outage.as_ref(), &self.settings, tick, &mut id);
            self.scene = Some(scene);
            self.write();
            self.say_words(tick);
            self.feed_back(outage);
        }
        self.write();
    }

    fn masked(&self, mut condition: Condition) -> Condition {
        condition.text = self.mask.masked(&condition.text);
        condition
    }

    /// Writes the course of the alerts down.
    fn write(&mut self) {
        let unwritten = self.book.take_unwritten();
        for (place, alert) in unwritten.iter().enumerate() {
            if let Err(error) = self.store.alerts().put(alert) {
                tracing::warn!("alerts: {error}; it is tried again");
                self.book.give_back_unwritten(unwritten[place..].to_vec());
                self.must_retry = true;
                return;
            }
        }
    }

    fn say_words(&mut self, tick: Tick) {
        self.silences.retain(|silence| silence.until > tick.stamp);
        self.book.drop_silenced(&self.silences, tick.stamp);
        let order = Order {
            settings: &self.settings,
            silences: &self.silences,
        };
        for (change, alert) in self.book.words(order, tick) {
            if let Err(error) = self.post(change, &alert, tick.stamp) {
                tracing::warn!("alerts: {error}; it is tried again");
                self.must_retry = true;
                continue;
            }
            self.posted.retain(|(id, _, _)| *id != alert.id);
            if change == Change::Escalated
                && let Err(error) = self.store.alerts().forget_ack(&alert.id)
            {
                tracing::warn!("alerts: {error}");
            }
            self.book.told(change, &alert.id, tick.stamp);
        }
    }

    /// Posts a word to every sink that wants it and has not got it. The error is the last one; the others have it.
    fn post(&mut self, change: Change, alert: &Alert, now: Stamp) -> Result<(), crate::spool::Error> {
        let home = self.home.dir().display().to_string();
        let mut outcome = Ok(());
        for (name, sink) in &self.sinks {
            let word = (alert.id.clone(), change, name.clone());
            if self.posted.contains(&word) || !sink.policy.wants(alert.rule, alert.bot.as_ref(), alert.level) {
                continue;
            }
            // Whoever has not even got an older word needs no reminder of it.
            if change == Change::Reminded && sink.mailbox.has_word_of(&alert.id).unwrap_or(false) {
                continue;
            }
            // The same word has the same id, however often it is posted; of reminders there are many.
            let id = match change {
                Change::Raised | Change::Recovered => format!("{}-{}", alert.id, change.word()),
                Change::Escalated | Change::Reminded => format!("{}-{}-{}", alert.id, change.word(), now.unix_ms()),
            };
            match sink.mailbox.post(id, content(change, alert, &home), &sink.policy) {
                Ok(()) => {
                    self.posted.insert(word);
                    sink.wake();
                }
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    /// Tells the supervisor what has changed, and only that: its answer is another scene.
    fn feed_back(&mut self, outage: Option<Outage>) {
        let mut open = self.book.open_in_home();
        open.sinks_miss.clone_from(&self.missing);
        let (known_open, known_outage) = match self.told.take() {
            Some((open, outage)) => (Some(open), outage),
            None => (None, None),
        };
        if known_open.as_ref() != Some(&open) {
            (self.tell)(Feedback::Open(open.clone()));
        }
        if known_outage != outage {
            let delay = self.settings.outage.restart_delay;
            (self.tell)(Feedback::Outage(outage.clone().map(|outage| (outage, delay))));
        }
        self.told = Some((open, outage));
    }

    fn next_due(&self) -> Option<Duration> {
        let tick = tick();
        let order = Order {
            settings: &self.settings,
            silences: &self.silences,
        };
        let retry = self.must_retry.then_some(RETRY_AFTER);
        // Before the first scene nothing is judged.
        self.scene.as_ref()?;
        let calm = self
            .outages
            .next_due(&self.settings.outage)
            .map(|at| at.since(tick.now));
        [retry, calm, self.book.next_due(order, tick)]
            .into_iter()
            .flatten()
            .min()
    }
}

fn tick() -> Tick {
    Tick {
        now: clock::now(),
        stamp: clock::stamp(),
    }
}
