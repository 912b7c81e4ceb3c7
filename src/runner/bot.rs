//! The loop of a built-in bot: takes messages from its inbox, answers them, beats, and ends when it is told to.
//!
//! Never knows which platform it plays. Invariants: a message is acked only after everything that was said because
//! of it is in the outbox, so it may be handled twice but is never lost; an idle bot wakes for its heartbeat and
//! for nothing else.

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock;
use crate::model::message::{Envelope, Kind};
use crate::model::units::Moment;
use crate::spool::failure::Then;
use crate::spool::heartbeat::write_heartbeat;
use crate::spool::{self, Consumer, Failure, Received, Watch, new_id};

use super::Error;
use super::commands::{Standing, reply};
use super::identity::Identity;
use super::outbox::{Outbox, SUPERVISOR};
use super::platform::{self, Incoming, Platform};
use super::request::{Request, SHUTDOWN};
use super::stop::{Ending, Stop};

/// How often a bot shows that it lives: several beats fit into the shortest silence that is worth an alarm.
pub(super) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// Messages between two looks at the signals and the clock's part of the loop.
const MESSAGES_PER_TURN: usize = 256;
/// How soon a bot tries again when its mailboxes refuse to work.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Where a line belongs: into the log as it is, or as something that went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Trouble,
}

/// Takes the lines that the bot has for its log.
pub(super) type Tell = Box<dyn Fn(Tone, &str) + Send>;

/// What is noted of a message once its answer can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Acked,
    Failed,
}

/// One run of a bot.
pub(super) struct Bot {
    identity: Identity,
    platform: Box<dyn Platform>,
    inbox: Consumer,
    outbox: Outbox,
    tell: Tell,
    heartbeat_interval: Duration,
    started: Moment,
    next_beat: Moment,
    is_connected: bool,
    messages_in: u64,
    messages_out: u64,
    ending: Option<Ending>,
    /// A message that is handled but not marked, because its answers are not in the outbox yet.
    in_hand: Option<(String, Mark)>,
    /// The last trouble told: the same one is not told at every attempt.
    trouble: Option<String>,
}

impl Bot {
    pub(super) fn new(
        identity: Identity,
        platform: Box<dyn Platform>,
        tell: Tell,
        heartbeat_interval: Duration,
    ) -> Bot {
        let now = clock::now();
        Bot {
            inbox: Consumer::new(identity.inbox.clone(), identity.bot.as_str(), identity.run.as_str()),
            outbox: Outbox::new(identity.outbox.clone(), identity.bot.clone()),
            identity,
            platform,
            tell,
            heartbeat_interval,
            started: now,
            next_beat: now,
            is_connected: false,
            messages_in: 0,
            messages_out: 0,
            ending: None,
            in_hand: None,
            trouble: None,
        }
    }

    /// Plays the bot until it is told to end. Errors when it cannot connect or cannot say that it is ready,
    /// and when its last words and answers could not be left.
    pub(super) fn run(mut self, watch: &Watch, stop: &Stop) -> Result<(), Error> {
        self.begin()?;
        loop {
            let idle = self.turn(stop);
            if stop.is_requested() {
                let asked = Ending::graceful(None, clock::now(), clock::stamp());
                self.ending.get_or_insert(asked);
            }
            if self.ending.is_some() {
                return self.end();
            }
            watch.wait(idle);
        }
    }

    pub(super) fn begin(&mut self) -> Result<(), Error> {
        self.beat_if_due();
        let connected = self.connect();
        if connected.is_ok() {
            self.outbox.tell("ready", json!({}), clock::stamp());
        }
        self.outbox.flush(clock::stamp())?;
        connected.map_err(Error::Connect)?;
        let (bot, platform) = (&self.identity.bot, self.platform.word());
        (self.tell)(Tone::Plain, &format!("{bot} is ready on {platform}"));
        Ok(())
    }

    /// Handles a part of what waits, and says for how long nothing more is due unless a message comes.
    pub(super) fn turn(&mut self, stop: &Stop) -> Duration {
        self.beat_if_due();
        let until_beat = |bot: &Bot| bot.next_beat.since(clock::now());
        match self.take_some(stop) {
            Ok(is_done) => {
                self.trouble = None;
                if is_done { until_beat(self) } else { Duration::ZERO }
            }
            Err(error) => {
                self.complain(&error.to_string());
                until_beat(self).min(RETRY_DELAY)
            }
        }
    }

    /// Takes the first messages of the inbox; whether these were all.
    fn take_some(&mut self, stop: &Stop) -> spool::Result<bool> {
        self.settle()?;
        for _ in 0..MESSAGES_PER_TURN {
            if self.ending.is_some() || stop.is_requested() {
                return Ok(false);
            }
            self.beat_if_due();
            match self.inbox.receive(clock::stamp())? {
                Some(received) => self.take(received)?,
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Says goodbye, after taking what lies in the inbox at this moment as far as the time allows.
    fn end(mut self) -> Result<(), Error> {
        if let Err(error) = self.take_rest() {
            self.complain(&error.to_string());
        }
        self.is_connected = false;
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

    fn take_rest(&mut self) -> spool::Result<()> {
        self.settle()?;
        // Asked anew for each: a message among them may change how much time there is.
        while self.ending.is_some_and(|ending| ending.has_time(clock::now())) {
            self.beat_if_due();
            match self.inbox.receive(clock::stamp())? {
                Some(received) => self.take(received)?,
                None => break,
            }
        }
        Ok(())
    }

    /// Does what one message asks for, answers and marks it.
    fn take(&mut self, received: Received) -> spool::Result<()> {
        self.in_hand = match received {
            Received::Message(envelope) => {
                let mark = self.hear(&envelope);
                Some((envelope.id, mark))
            }
            Received::Refused { envelope, failure } => {
                self.outbox.give_back(&envelope, &failure, clock::stamp());
                Some((envelope.id, Mark::Failed))
            }
            Received::SetAside { name, why } => {
                self.warn(&format!("set aside {name}: {why}"));
                None
            }
        };
        self.settle()
    }

    /// Posts what waits to be said, then marks the message that it answers.
    fn settle(&mut self) -> spool::Result<()> {
        self.outbox.flush(clock::stamp())?;
        match &self.in_hand {
            Some((id, Mark::Acked)) => self.inbox.ack(id)?,
            Some((id, Mark::Failed)) => self.inbox.fail(id)?,
            None => return Ok(()),
        };
        self.in_hand = None;
        Ok(())
    }

    /// One envelope from the inbox.
    fn hear(&mut self, envelope: &Envelope) -> Mark {
        let now = clock::stamp();
        if let Some(why) = self.unheard(envelope) {
            self.warn(&format!("left {} {} unhandled: {why}", envelope.name, envelope.id));
            return Mark::Acked;
        }
        let outcome = match Request::read(envelope) {
            Ok(Request::Status) => {
                self.outbox.report(envelope, self.status(), now);
                return Mark::Acked;
            }
            Ok(Request::Shutdown { is_forced, deadline }) => {
                let asked = if is_forced {
                    Ending::Forced
                } else {
                    Ending::graceful(deadline, clock::now(), now)
                };
                self.ending = Some(self.ending.map_or(asked, |earlier| earlier.then(asked)));
                // The supervisor sees the end itself; anybody else waits for a word.
                if envelope.from == SUPERVISOR {
                    return Mark::Acked;
                }
                Ok(json!({}))
            }
            Ok(Request::Reconnect) => self.reconnect().map_err(|error| error.to_string()),
            Ok(Request::Send { chat, text }) => self.send(chat.as_deref(), &text).map_err(|error| error.to_string()),
            Err(fault) => Err(fault.to_string()),
        };
        match outcome {
            Ok(payload) => {
                self.outbox.answer(envelope, payload, now);
                Mark::Acked
            }
            // Asked once more it would say the same.
            Err(message) => {
                self.outbox.give_back(envelope, &Failure::new(message, Then::Bury), now);
                Mark::Failed
            }
        }
    }

    /// Why an envelope is not for this bot at this time; None when it is.
    fn unheard(&self, envelope: &Envelope) -> Option<String> {
        if envelope.kind != Kind::Command {
            return Some(format!("it is of kind {}, not command", envelope.kind.word()));
        }
        // The signal may end a run before it has read the message that came with it. Its successor must not take
        // that for itself.
        let is_older = envelope.created_at.unix_ms() < self.identity.since.unix_ms();
        (envelope.name == SHUTDOWN && is_older).then(|| "it was meant for an earlier run".to_owned())
    }

    fn status(&self) -> Value {
        let standing = if self.is_connected {
            "connected"
        } else {
            "not connected"
        };
        json!({
            "detail": format!("{standing} to {}", self.platform.word()),
            "connected": self.is_connected,
            "uptime_s": clock::now().since(self.started).as_secs(),
            "messages_in": self.messages_in,
            "messages_out": self.messages_out,
        })
    }

    fn connect(&mut self) -> Result<(), platform::Error> {
        let outcome = self.platform.connect();
        self.is_connected = outcome.is_ok();
        let (event, payload) = match &outcome {
            Ok(()) => ("connected", json!({})),
            Err(error) => ("connection_failed", json!({"message": error.to_string()})),
        };
        self.outbox.tell(event, payload, clock::stamp());
        outcome
    }

    fn reconnect(&mut self) -> Result<Value, platform::Error> {
        self.outbox.tell("disconnected", json!({}), clock::stamp());
        self.connect()?;
        Ok(json!({"connected": true}))
    }

    /// Sends a text to a chat. The answer to what comes back is the result.
    fn send(&mut self, chat: Option<&str>, text: &str) -> Result<Value, platform::Error> {
        Ok(match self.platform.send(chat, text)? {
            Some(incoming) => json!({"text": self.receive(&incoming)}),
            None => json!({}),
        })
    }

    /// A message from a chat: counted, told to the history without its text, and answered.
    fn receive(&mut self, incoming: &Incoming) -> String {
        self.messages_in += 1;
        let told = json!({"chat": incoming.chat, "length": incoming.text.chars().count()});
        self.outbox.tell("message_received", told, clock::stamp());
        let standing = Standing {
            uptime: clock::now().since(self.started),
            run: &self.identity.run,
            messages_in: self.messages_in,
            messages_out: self.messages_out,
        };
        let reply = reply(&incoming.text, &standing);
        self.messages_out += 1;
        reply
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
