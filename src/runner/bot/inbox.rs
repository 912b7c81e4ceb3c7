//! What comes by the bot's inbox: commands of its supervisor and of whoever has something for its chats, and answers to
//! what it has asked.

use serde_json::{Value, json};

use super::chat::Purpose;
use super::link::Link;
use super::{Bot, Mark, SENDING_MAX};
use crate::clock;
use crate::model::message::{Envelope, Kind};
use crate::runner::credentials;
use crate::runner::outbox::SUPERVISOR;
use crate::runner::request::{Request, SHUTDOWN};
use crate::runner::stop::Ending;
use crate::spool::failure::Then;
use crate::spool::{self, Failure, Received};

/// What becomes of a message that was heard.
enum Heard {
    /// It is answered with this.
    Answer(Value),
    Refusal(String),
    /// It needs no answer, or has one.
    Over,
    /// What it asks for takes time.
    InWork,
}

impl Bot {
    /// Takes one message; whether there was one. While much is on its way to the platform, only what is urgent is taken.
    pub(super) fn take_message(&mut self) -> spool::Result<bool> {
        let now = clock::stamp();
        let received = if self.tickets.len() < SENDING_MAX {
            self.inbox.receive(now)?
        } else {
            self.inbox.receive_urgent(now)?
        };
        match received {
            None => return Ok(false),
            Some(Received::Message(envelope)) => self.hear(envelope),
            Some(Received::Refused { envelope, failure }) => {
                self.outbox.give_back(&envelope, &failure, now);
                self.marks.push(Mark::Failed(envelope.id));
            }
            Some(Received::SetAside { name, why }) => self.warn(&format!("set aside {name}: {why}")),
        }
        // What came back at once is answered before the next message is taken.
        self.hear_platform()?;
        self.settle()?;
        Ok(true)
    }

    /// One envelope from the inbox.
    fn hear(&mut self, envelope: Envelope) {
        let now = clock::stamp();
        if let Some(why) = self.unheard(&envelope) {
            self.warn(&format!("left {} {} unhandled: {why}", envelope.name, envelope.id));
            self.marks.push(Mark::Acked(envelope.id));
            return;
        }
        let heard = match envelope.kind {
            Kind::Response | Kind::Error => self.hear_answer(&envelope),
            Kind::Command | Kind::Event | Kind::Heartbeat => match Request::read(&envelope) {
                Ok(request) => self.obey(&envelope, request),
                Err(fault) => Heard::Refusal(fault.to_string()),
            },
        };
        match heard {
            Heard::Answer(payload) => {
                self.outbox.answer(&envelope, payload, now);
                self.marks.push(Mark::Acked(envelope.id));
            }
            Heard::Over => self.marks.push(Mark::Acked(envelope.id)),
            Heard::Refusal(why) => self.refuse(envelope, why),
            Heard::InWork => {}
        }
    }

    /// Asked once more the bot would say the same.
    pub(super) fn refuse(&mut self, envelope: Envelope, why: String) {
        let failure = Failure::new(why, Then::Bury);
        self.outbox.give_back(&envelope, &failure, clock::stamp());
        self.marks.push(Mark::Failed(envelope.id));
    }

    fn obey(&mut self, envelope: &Envelope, request: Request) -> Heard {
        match request {
            Request::Status => {
                let status = self.status();
                self.outbox.report(envelope, status, clock::stamp());
                Heard::Over
            }
            Request::Shutdown { is_forced, deadline } => {
                let asked = if is_forced {
                    Ending::Forced
                } else {
                    Ending::graceful(deadline, clock::now(), clock::stamp())
                };
                self.ending = Some(self.ending.map_or(asked, |earlier| earlier.then(asked)));
                // The supervisor sees the end itself; anybody else waits for a word.
                if envelope.from == SUPERVISOR {
                    return Heard::Over;
                }
                Heard::Answer(json!({}))
            }
            Request::Reconnect => {
                self.reconnects.push(envelope.clone());
                self.reconnect();
                Heard::InWork
            }
            Request::Send(outgoing) if outgoing.chat.as_ref().is_some_and(|chat| self.blocked.contains(chat)) => {
                let chat = outgoing.chat.unwrap_or_default();
                let why = format!("blocked: {chat} is blocked for {}", self.identity.bot);
                self.warn(&why);
                Heard::Refusal(why)
            }
            Request::Send(outgoing) => {
                self.send(Purpose::Command(envelope.clone()), outgoing);
                Heard::InWork
            }
            Request::Admins(admins) => {
                self.people.admins = admins;
                Heard::Over
            }
            Request::Credentials => match self.read_credentials() {
                Ok(()) => {
                    self.reconnect();
                    Heard::Over
                }
                // Whoever is refused starts the bot anew, with them.
                Err(error) => Heard::Refusal(error.to_string()),
            },
            Request::Blocklist(targets) => {
                self.blocked = targets;
                Heard::Over
            }
            Request::Permissions(permissions) => {
                self.people.permissions = permissions;
                Heard::Over
            }
        }
    }

    /// An answer to a question of the bot's own, or to a message that it has forwarded.
    fn hear_answer(&mut self, envelope: &Envelope) -> Heard {
        let id = envelope.correlation_id.as_deref().unwrap_or_default();
        if let Some(asked) = self.asked.remove(id) {
            let field = if envelope.kind == Kind::Error {
                "message"
            } else {
                "text"
            };
            let text = envelope.payload[field].as_str().unwrap_or("done").to_owned();
            self.finish(asked.task, Some(text));
            return Heard::Over;
        }
        let named = envelope.payload["chat"].as_str().map(str::to_owned);
        let chat = self.forwards.take(id).or(named);
        match (chat, envelope.payload["text"].as_str(), envelope.kind) {
            (Some(chat), Some(text), Kind::Response) => {
                let outgoing = crate::runner::platform::Outgoing::text(Some(&chat), text);
                self.send(Purpose::Relay(envelope.id.clone()), outgoing);
                Heard::InWork
            }
            (Some(_), None, Kind::Response) => Heard::Over,
            _ => {
                self.warn(&format!(
                    "left an answer of {} unhandled: nothing was asked",
                    envelope.from
                ));
                Heard::Over
            }
        }
    }

    /// Why an envelope is not for this bot at this time; None when it is.
    fn unheard(&self, envelope: &Envelope) -> Option<String> {
        let is_answer = matches!(envelope.kind, Kind::Response | Kind::Error) && envelope.correlation_id.is_some();
        if envelope.kind != Kind::Command && !is_answer {
            return Some(format!("it is of kind {}, not command", envelope.kind.word()));
        }
        // The signal may end a run before it has read the message that came with it. Its successor must not take
        // that for itself.
        let is_older = envelope.created_at.unix_ms() < self.identity.since.unix_ms();
        (envelope.name == SHUTDOWN && is_older).then(|| "it was meant for an earlier run".to_owned())
    }

    fn read_credentials(&mut self) -> Result<(), credentials::Error> {
        let identity = &self.identity;
        let fields = credentials::current(&identity.bot, &identity.home_id, identity.inbox.dir())?;
        let named = fields
            .into_iter()
            .map(|(name, value)| (name.as_str().to_owned(), value));
        self.credentials = named.collect();
        Ok(())
    }

    fn status(&self) -> Value {
        let platform = self.platform.word();
        let detail = match &self.link {
            Link::Up(Some(name)) => format!("connected to {platform} as @{name}"),
            Link::Up(None) => format!("connected to {platform}"),
            Link::Opening => format!("connecting to {platform}"),
            Link::Down(why) | Link::Refused(why) => format!("not connected to {platform}: {why}"),
        };
        json!({
            "detail": detail,
            "connected": matches!(self.link, Link::Up(_)),
            "uptime_s": clock::now().since(self.started).as_secs(),
            "messages_in": self.messages_in,
            "messages_out": self.messages_out,
        })
    }
}
