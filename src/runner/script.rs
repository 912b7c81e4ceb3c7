//! What a bot in a shell script does through this binary: one step each time it is started.
//!
//! What is in hand between two steps stands in the inbox's `cur/`, how many were claimed in its `tmp/`. Invariant: an answer can be
//! read before the message counts as answered, so a script that dies in between answers twice rather than never.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::identity::{self, Identity};
use super::outbox::SUPERVISOR;
use super::request::SHUTDOWN;
use crate::clock;
use crate::model::blocking::REFRESH_BLOCKLIST;
use crate::model::message::{Envelope, Kind};
use crate::model::people::{REFRESH_ADMINS, REFRESH_PERMISSIONS};
use crate::spool::heartbeat::write_heartbeat;
use crate::spool::{self, Consumer, Durability, Failure, Poster, Received, Watch, new_id};

/// A watch is a hint that may be lost: this long after the last look, look again.
const RESCAN_INTERVAL: Duration = Duration::from_secs(30);

/// One step of the bot that the environment names.
pub struct Script {
    identity: Identity,
    inbox: Consumer,
    /// Claims of the steps before this one.
    claims: u64,
}

/// Why a step came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("not inside a bot: {} not set: only a program that multibot runs as a bot can use this", .names.join(", "))]
    NotABot { names: Vec<&'static str> },
    #[error("not inside a bot: {0}")]
    Identity(String),
    #[error("{id} is not in hand: {}", in_hand.as_ref().map_or("nothing is".to_owned(), |id| format!("{id} is")))]
    NotInHand { id: String, in_hand: Option<String> },
    #[error(transparent)]
    Spool(#[from] spool::Error),
}

/// Where the claims of all steps are counted, for the turn of the least urgent message.
fn count_path(identity: &Identity) -> PathBuf {
    identity.inbox.dir().join("tmp/claims")
}

fn counted(identity: &Identity) -> u64 {
    let count = fs::read_to_string(count_path(identity)).unwrap_or_default();
    count.parse().unwrap_or(0)
}

/// Whether this is a list that the supervisor tells: a script that wants it asks the command line.
fn is_list(envelope: &Envelope) -> bool {
    let lists = [REFRESH_ADMINS, REFRESH_PERMISSIONS, REFRESH_BLOCKLIST];
    envelope.is_for_one_run() && lists.contains(&envelope.name.as_str())
}

impl Script {
    /// The bot that these variables name.
    pub fn find(variable: impl Fn(&str) -> Option<OsString>) -> Result<Script, Error> {
        let identity = Identity::find(variable).map_err(|error| match error {
            identity::Error::Missing { names } => Error::NotABot { names },
            other => Error::Identity(other.to_string()),
        })?;
        let inbox = Consumer::new(identity.inbox.clone(), identity.bot.as_str(), identity.run.as_str());
        let claims = counted(&identity);
        Ok(Script {
            inbox: inbox.starting_at(claims),
            identity,
            claims,
        })
    }

    /// Replaces the bot's heartbeat.
    pub fn beat(&self) -> Result<(), Error> {
        let beat = self.envelope(Kind::Heartbeat, "heartbeat");
        let tmp = self.identity.outbox.dir().join("tmp");
        Ok(write_heartbeat(&tmp, &self.identity.heartbeat, &beat)?)
    }

    /// Says that the bot works. Worth nothing after a power cut.
    pub fn ready(&self) -> Result<(), Error> {
        self.post(self.envelope(Kind::Event, "ready"), Durability::None)
    }

    pub fn event(&self, name: &str, payload: Value) -> Result<(), Error> {
        let event = self.envelope(Kind::Event, name).with_payload(payload);
        self.post(event, Durability::Batch)
    }

    /// The message in hand, or the next one as soon as there is one; None after `timeout`. What must not be
    /// handled is answered on the way, and what was no message is told.
    pub fn receive(&mut self, timeout: Option<Duration>, tell: impl Fn(&str)) -> Result<Option<Envelope>, Error> {
        let watch = Watch::new(&self.identity.inbox);
        let until = timeout.map(|timeout| clock::now() + timeout);
        let is_new = self.inbox.resume(clock::stamp())? == 0;
        loop {
            if let Some(envelope) = self.take(&tell)? {
                if is_new {
                    // A count that is lost costs a turn of the least urgent, no more.
                    let _ = fs::write(count_path(&self.identity), self.claims.wrapping_add(1).to_string());
                }
                return Ok(Some(envelope));
            }
            let left = until.map_or(RESCAN_INTERVAL, |until| until.since(clock::now()));
            if left.is_zero() {
                return Ok(None);
            }
            watch.wait(left.min(RESCAN_INTERVAL));
        }
    }

    /// The message of this id is handled and needs no answer.
    pub fn ack(&mut self, id: &str) -> Result<(), Error> {
        self.in_hand(id)?;
        self.inbox.ack(id)?;
        Ok(())
    }

    /// Answers the message of this id, which is handled.
    pub fn reply(&mut self, id: &str, payload: Value) -> Result<(), Error> {
        let message = self.in_hand(id)?;
        let now = clock::stamp();
        let mut answer = message.response(new_id(now), now).with_payload(payload);
        self.identity.bot.as_str().clone_into(&mut answer.from);
        if message.name == "status_request" {
            "status_response".clone_into(&mut answer.name);
        }
        self.post(answer, Durability::Batch)?;
        self.inbox.ack(id)?;
        Ok(())
    }

    /// The message of this id could not be handled.
    pub fn fail(&mut self, id: &str, failure: &Failure) -> Result<(), Error> {
        let message = self.in_hand(id)?;
        self.give_back(&message, failure)
    }

    fn take(&mut self, tell: &impl Fn(&str)) -> Result<Option<Envelope>, Error> {
        while let Some(received) = self.inbox.receive(clock::stamp())? {
            match received {
                Received::Message(envelope) if self.is_of_an_earlier_run(&envelope) || is_list(&envelope) => {
                    self.inbox.ack(&envelope.id)?;
                }
                Received::Message(envelope) => return Ok(Some(envelope)),
                Received::Refused { envelope, failure } => self.give_back(&envelope, &failure)?,
                Received::SetAside { name, why } => tell(&format!("set aside {name}: {why}")),
            }
        }
        Ok(None)
    }

    /// The signal may end a run before it has read the message that came with it.
    fn is_of_an_earlier_run(&self, envelope: &Envelope) -> bool {
        let is_older = envelope.created_at.unix_ms() < self.identity.since.unix_ms();
        envelope.is_for_one_run() && envelope.name == SHUTDOWN && is_older
    }

    /// The message that the last receive handed out, if it is the one of this id.
    fn in_hand(&mut self, id: &str) -> Result<Envelope, Error> {
        self.inbox.resume(clock::stamp())?;
        match self.inbox.first_unanswered() {
            Some(envelope) if envelope.id == id => Ok(envelope.clone()),
            other => Err(Error::NotInHand {
                id: id.to_owned(),
                in_hand: other.map(|envelope| envelope.id.clone()),
            }),
        }
    }

    fn give_back(&mut self, message: &Envelope, failure: &Failure) -> Result<(), Error> {
        let now = clock::stamp();
        let answer = failure.answer(message, self.identity.bot.as_str(), new_id(now), now);
        self.post(answer, Durability::Batch)?;
        self.inbox.fail(&message.id)?;
        Ok(())
    }

    fn envelope(&self, kind: Kind, name: &str) -> Envelope {
        let now = clock::stamp();
        Envelope::new(new_id(now), kind, name, self.identity.bot.as_str(), SUPERVISOR, now)
    }

    fn post(&self, envelope: Envelope, durability: Durability) -> Result<(), Error> {
        let posted = self
            .identity
            .outbox
            .post(&mut Poster::new(), &[envelope], durability, clock::stamp());
        posted.map(drop).map_err(Error::Spool)
    }
}
