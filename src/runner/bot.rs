//! The loop of a built-in bot: takes messages from its inbox and its platform, answers them, beats, and ends when it is
//! told to.
//!
//! Never knows which platform it plays. Invariants: a message is marked only after everything that was said because
//! of it is in the outbox and was taken by the platform, so it may be handled twice but is never lost; an idle bot
//! wakes for its heartbeat and for nothing else.

mod chat;
mod files;
mod inbox;
mod link;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use serde_json::json;

use super::Error;
use super::arrivals::Arrivals;
use super::chats::Chats;
use super::identity::Identity;
use super::outbox::{Outbox, SUPERVISOR};
use super::outgoing::OutgoingFiles;
use super::platform::{Credentials, Platform, Ticket};
use super::stop::{Ending, Stop};
use crate::clock;
use crate::model::message::{Envelope, Kind};
use crate::model::people::People;
use crate::model::units::Moment;
use crate::run::brief::Brief;
use crate::spool::failure::Then;
use crate::spool::heartbeat::write_heartbeat;
use crate::spool::{self, Consumer, Failure, Waker, Watch, new_id};

use chat::{Finished, Forwards, Purpose};
use link::Link;

/// How often a bot shows that it lives: several beats fit into the shortest silence that is worth an alarm.
pub(super) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// Messages between two looks at the signals and the clock's part of the loop.
const MESSAGES_PER_TURN: usize = 256;
/// How soon a bot tries again when its mailboxes refuse to work.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// So many messages may be on their way to the platform before no more are taken.
const SENDING_MAX: usize = 128;
/// So many messages of chats may be in work.
const TASKS_MAX: usize = 256;

/// Where a line belongs: into the log as it is, or as something that went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Trouble,
}

/// Takes the lines that the bot has for its log.
pub(super) type Tell = Box<dyn Fn(Tone, &str) + Send>;

/// What is noted of a message once what was said because of it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mark {
    Acked(String),
    Failed(String),
    /// Of an arrival.
    Done(String),
}

/// What a bot is made of.
pub(super) struct Parts {
    pub(super) identity: Identity,
    pub(super) platform: Box<dyn Platform>,
    pub(super) brief: Brief,
    pub(super) credentials: Credentials,
    pub(super) waker: Waker,
    pub(super) tell: Tell,
    pub(super) heartbeat_interval: Duration,
}

/// One run of a bot.
pub(super) struct Bot {
    identity: Identity,
    brief: Brief,
    credentials: Credentials,
    platform: Box<dyn Platform>,
    inbox: Consumer,
    arrivals: Arrivals,
    outbox: Outbox,
    tell: Tell,
    waker: Waker,
    heartbeat_interval: Duration,
    started: Moment,
    next_beat: Moment,
    link: Link,
    /// Who asked for the connection that is being made.
    reconnects: Vec<Envelope>,
    people: People,
    /// Targets that it must leave alone.
    blocked: BTreeSet<String>,
    chats: Chats,
    tickets: HashMap<Ticket, Purpose>,
    last_ticket: Ticket,
    /// What the supervisor was asked, by the id of the question.
    asked: HashMap<String, chat::Asked>,
    forwards: Forwards,
    files: OutgoingFiles,
    /// When files are to be looked for that were not complete.
    look_at: Option<Moment>,
    programs: chat::Programs,
    finished: (Sender<Finished>, Receiver<Finished>),
    /// The users that the supervisor was told of, each with the name.
    seen: HashMap<String, Option<String>>,
    /// The strangers that were told that they are not heard.
    turned_away: HashSet<String>,
    messages_in: u64,
    messages_out: u64,
    ending: Option<Ending>,
    /// Messages that are handled but not marked, because what was said of them is not in the outbox yet.
    marks: Vec<Mark>,
    /// The last trouble told: the same one is not told at every attempt.
    trouble: Option<String>,
}

impl Bot {
    /// Errors when what has arrived for it cannot be looked at.
    pub(super) fn new(parts: Parts) -> Result<Bot, Error> {
        let now = clock::now();
        let identity = parts.identity;
        let (bot, run) = (identity.bot.as_str(), identity.run.as_str());
        Ok(Bot {
            inbox: Consumer::new(identity.inbox.clone(), bot, run),
            arrivals: Arrivals::open(&identity.inbox, bot, clock::stamp())?,
            outbox: Outbox::new(identity.outbox.clone(), identity.bot.clone()),
            identity,
            credentials: parts.credentials,
            platform: parts.platform,
            tell: parts.tell,
            waker: parts.waker.clone(),
            heartbeat_interval: parts.heartbeat_interval,
            started: now,
            next_beat: now,
            link: Link::Opening,
            reconnects: Vec::new(),
            people: People::default(),
            blocked: BTreeSet::new(),
            chats: Chats::default(),
            tickets: HashMap::new(),
            last_ticket: 0,
            asked: HashMap::new(),
            forwards: Forwards::default(),
            files: OutgoingFiles::open(&parts.brief.media, parts.waker).map_err(Error::Media)?,
            look_at: None,
            programs: chat::Programs::default(),
            brief: parts.brief,
            finished: mpsc::channel(),
            seen: HashMap::new(),
            turned_away: HashSet::new(),
            messages_in: 0,
            messages_out: 0,
            ending: None,
            marks: Vec::new(),
            trouble: None,
        })
    }

    /// Plays the bot until it is told to end. Errors when its platform refuses its credentials, and when its first or
    /// last words and answers could not be left.
    pub(super) fn run(mut self, watch: &Watch, stop: &Stop) -> Result<(), Error> {
        self.begin()?;
        loop {
            let idle = self.turn(stop);
            if stop.is_requested() {
                let asked = Ending::graceful(None, clock::now(), clock::stamp());
                self.ending.get_or_insert(asked);
            }
            if let Link::Refused(why) = &self.link {
                let why = why.clone();
                self.ending = Some(Ending::Forced);
                self.end(watch)?;
                return Err(Error::Unauthorized(why));
            }
            if self.ending.is_some() {
                return self.end(watch);
            }
            watch.wait(idle);
        }
    }

    /// Begins to connect, and hears what comes of that at once.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        self.beat_if_due();
        self.platform.connect(&self.credentials);
        self.hear_platform()?;
        self.outbox.flush(clock::stamp())?;
        Ok(())
    }

    /// Handles a part of what waits, and says for how long nothing more is due unless a message comes.
    pub(super) fn turn(&mut self, stop: &Stop) -> Duration {
        self.beat_if_due();
        self.give_up_questions();
        match self.take_some(stop) {
            Ok(is_done) => {
                self.trouble = None;
                if is_done { self.idle_time() } else { Duration::ZERO }
            }
            Err(error) => {
                self.complain(&error.to_string());
                self.idle_time().min(RETRY_DELAY)
            }
        }
    }

    fn idle_time(&self) -> Duration {
        let now = clock::now();
        let questions = self.asked.values().map(|asked| asked.until);
        let looks = self.look_at.into_iter();
        let next = questions.chain(looks).fold(self.next_beat, Moment::min);
        next.since(now)
    }

    /// Takes the first messages of all that wait; whether these were all.
    fn take_some(&mut self, stop: &Stop) -> spool::Result<bool> {
        self.settle()?;
        for _ in 0..MESSAGES_PER_TURN {
            if self.ending.is_some() || stop.is_requested() || matches!(self.link, Link::Refused(_)) {
                return Ok(false);
            }
            self.beat_if_due();
            if !self.step()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One thing of each kind that waits; whether there was any.
    fn step(&mut self) -> spool::Result<bool> {
        let heard = self.hear_platform()?;
        let finished = self.hear_programs()?;
        let arrived = self.ending.is_none() && self.take_arrival()?;
        let taken = self.take_message()?;
        let sending = self.ending.is_none() && self.send_files()?;
        Ok(heard || finished || arrived || taken || sending)
    }

    /// Says goodbye, after finishing what is in hand and taking what lies in the inbox at this moment, as far as the time
    /// allows.
    fn end(mut self, watch: &Watch) -> Result<(), Error> {
        self.platform.leave();
        if let Err(error) = self.take_rest(watch) {
            self.complain(&error.to_string());
        }
        self.return_unsent();
        self.outbox.tell("disconnected", json!({}), clock::stamp());
        let settled = self.settle();
        let waiting = self.identity.inbox.counts().map_or(0, |counts| counts.new);
        let rest = match waiting + self.inbox.unread() {
            0 => String::new(),
            1 => "; 1 message waits for its next run".to_owned(),
            many => format!("; {many} messages wait for its next run"),
        };
        (self.tell)(Tone::Plain, &format!("{} has ended{rest}", self.identity.bot));
        settled.map_err(Error::Spool)
    }

    fn take_rest(&mut self, watch: &Watch) -> spool::Result<()> {
        self.settle()?;
        // Asked anew for each: a message among them may change how much time there is.
        while let Some(Ending::Graceful { until }) = self.ending.filter(|ending| ending.has_time(clock::now())) {
            self.beat_if_due();
            if self.step()? {
                continue;
            }
            // What cannot be reached is not waited for.
            if !self.has_work() || !matches!(self.link, Link::Up(_)) {
                break;
            }
            let left = until.since(clock::now());
            watch.wait(left.min(self.idle_time()));
        }
        Ok(())
    }

    fn has_work(&self) -> bool {
        !self.tickets.is_empty() || self.chats.busy() > 0
    }

    /// What is not sent yet is sent by the next run: nobody has tried it in vain.
    fn return_unsent(&mut self) {
        let unsent = std::mem::take(&mut self.tickets).into_values();
        let commands = unsent
            .filter_map(Purpose::into_command)
            .chain(self.reconnects.drain(..));
        for command in commands.collect::<Vec<_>>() {
            let why = "the bot was stopped before it was sent";
            let failure = Failure::new(why, Then::RetryAfter(Duration::ZERO));
            self.outbox.give_back(&command, &failure, clock::stamp());
            self.marks.push(Mark::Failed(command.id));
        }
    }

    /// Posts what waits to be said, then marks the messages that it is about.
    fn settle(&mut self) -> spool::Result<()> {
        self.outbox.flush(clock::stamp())?;
        while let Some(mark) = self.marks.first() {
            match mark {
                Mark::Acked(id) => drop(self.inbox.ack(id)?),
                Mark::Failed(id) => drop(self.inbox.fail(id)?),
                Mark::Done(id) => self.arrivals.done(id)?,
            }
            self.marks.remove(0);
        }
        Ok(())
    }

    fn beat_if_due(&mut self) {
        let (now, stamp) = (clock::now(), clock::stamp());
        if now < self.next_beat {
            return;
        }
        self.next_beat = now + self.heartbeat_interval;
        let bot = self.identity.bot.as_str();
        let beat = Envelope::new(new_id(stamp), Kind::Heartbeat, "heartbeat", bot, SUPERVISOR, stamp);
        let tmp = self.identity.outbox.dir().join("tmp");
        if let Err(error) = write_heartbeat(&tmp, &self.identity.heartbeat, &beat) {
            self.complain(&error.to_string());
        }
    }

    fn complain(&mut self, trouble: &str) {
        if self.trouble.as_deref() != Some(trouble) {
            self.warn(trouble);
            self.trouble = Some(trouble.to_owned());
        }
    }

    fn warn(&self, line: &str) {
        (self.tell)(Tone::Trouble, line);
    }
}
