//! What the bot hears of its platform: how the connection stands, what has arrived, what was sent.

use serde_json::{Value, json};

use super::chat::Purpose;
use super::{Bot, Mark, Tone};
use crate::clock;
use crate::runner::arrival::Arrival;
use crate::runner::platform::{Class, News, Outcome, Receipt, Ticket};
use crate::spool;

/// How the connection stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// The first word of the platform is waited for.
    Opening,
    /// Under this name, where the platform gives one.
    Up(Option<String>),
    Down(String),
    /// The credentials are worth nothing: the bot ends.
    Refused(String),
}

impl Bot {
    /// Hears all that the platform has to tell; whether that was anything.
    pub(super) fn hear_platform(&mut self) -> spool::Result<bool> {
        let mut is_any = false;
        while let Some(news) = self.platform.news() {
            is_any = true;
            match news {
                News::Arrived { arrivals, receipt } => self.store(&arrivals, receipt)?,
                News::Settled { ticket, outcome } => {
                    self.settled(ticket, outcome);
                }
                News::Connected { name } => self.connected(name),
                News::Unreachable { why } => self.unreachable(why),
                News::Unauthorized { why } => self.unauthorized(why),
                News::Conflict { why } => {
                    self.warn(&format!("conflict: {why}"));
                    self.tell_event("conflict", json!({"message": why}));
                }
                News::Moved { from, to } => {
                    self.warn(&format!("chat {from} has become {to}: write to that from now on"));
                    self.tell_event("chat_moved", json!({"from": from, "to": to}));
                }
            }
        }
        if is_any {
            self.settle()?;
        }
        Ok(is_any)
    }

    pub(super) fn tell_event(&mut self, name: &str, payload: Value) {
        self.outbox.tell(name, payload, clock::stamp());
    }

    /// Closes the connection and opens another one, without a new process.
    pub(super) fn reconnect(&mut self) {
        self.tell_event("disconnected", json!({}));
        self.link = match std::mem::replace(&mut self.link, Link::Opening) {
            // It is not ready before its first connection.
            Link::Opening => Link::Opening,
            Link::Up(_) | Link::Down(_) | Link::Refused(_) => Link::Down("it is being connected anew".to_owned()),
        };
        self.platform.connect(&self.credentials);
    }

    fn connected(&mut self, name: Option<String>) {
        self.tell_event("connected", json!({}));
        let (bot, platform) = (&self.identity.bot, self.platform.word());
        let named = name.as_ref().map(|name| format!(" as @{name}")).unwrap_or_default();
        let line = if self.link == Link::Opening {
            format!("{bot} is ready on {platform}{named}")
        } else {
            format!("{bot} is connected to {platform}{named}")
        };
        (self.tell)(Tone::Plain, &line);
        self.first_word();
        self.link = Link::Up(name);
        for command in std::mem::take(&mut self.reconnects) {
            self.outbox.answer(&command, json!({"connected": true}), clock::stamp());
            self.marks.push(Mark::Acked(command.id));
        }
    }

    /// A bot that waits for its platform works: whatever is asked of it is heard, and sent when that can be.
    fn unreachable(&mut self, why: String) {
        self.warn(&format!("not connected to {}: {why}", self.platform.word()));
        self.tell_event("connection_failed", json!({"message": why}));
        self.first_word();
        for command in std::mem::take(&mut self.reconnects) {
            self.refuse(command, why.clone());
        }
        self.link = Link::Down(why);
    }

    fn unauthorized(&mut self, why: String) {
        if matches!(self.link, Link::Refused(_)) {
            return;
        }
        self.warn(&format!("the platform refuses its credentials: {why}"));
        self.tell_event("unauthorized", json!({"message": why}));
        self.link = Link::Refused(why);
    }

    fn first_word(&mut self) {
        if self.link == Link::Opening {
            self.tell_event("ready", json!({}));
        }
    }

    /// Keeps what has arrived before the platform forgets it.
    fn store(&mut self, arrivals: &[Arrival], receipt: Receipt) -> spool::Result<()> {
        let stored = self.arrivals.store(arrivals, clock::stamp());
        receipt.give(stored.is_ok());
        stored
    }

    /// What came of something that the bot had asked its platform for.
    fn settled(&mut self, ticket: Ticket, outcome: Outcome) {
        let Some(purpose) = self.tickets.remove(&ticket) else {
            return;
        };
        if let (Outcome::Refused { class, why }, Some(chat)) = (&outcome, purpose.chat()) {
            self.not_delivered(&chat, *class, why);
        }
        match (purpose, outcome) {
            (Purpose::Command(command), Outcome::Sent { messages }) => {
                self.messages_out += 1;
                let answer = json!({"message": messages.first(), "messages": messages});
                self.outbox.answer(&command, answer, clock::stamp());
                self.marks.push(Mark::Acked(command.id));
            }
            (Purpose::Command(command), Outcome::CameBack(message)) => self.came_back(command, message),
            (Purpose::Command(command), Outcome::Refused { class, why }) => {
                self.refuse(command, format!("{}: {why}", class.word()));
            }
            (Purpose::Command(command), Outcome::Fetched { .. }) => self.marks.push(Mark::Acked(command.id)),
            (Purpose::Media(file), outcome) => self.file_is_over(&file, &outcome),
            (Purpose::Reply { arrival, .. }, _) => self.marks.push(Mark::Done(arrival)),
            (Purpose::Relay(id), _) => self.marks.push(Mark::Acked(id)),
            (Purpose::File(task), Outcome::Fetched { path, bytes }) => {
                let told = json!({"chat": task.chat, "path": path, "bytes": bytes});
                self.tell_event("media_received", told);
                self.keep_quota();
                self.decide(task, Some(path));
            }
            (Purpose::File(task), Outcome::Refused { why, .. }) => {
                self.warn(&format!("a file from {} is not fetched: {why}", task.chat));
                self.tell_event("media_failed", json!({"chat": task.chat, "message": why}));
                self.decide(task, None);
            }
            (Purpose::File(task), Outcome::Sent { .. } | Outcome::CameBack(_)) => self.decide(task, None),
        }
    }

    fn not_delivered(&mut self, chat: &str, class: Class, why: &str) {
        self.warn(&format!("not delivered to {chat}: {why}"));
        if class == Class::BadRequest {
            // The message's own fault tells nothing of its target.
            return;
        }
        let told = json!({"target": chat, "class": class.word(), "message": why});
        self.tell_event("delivery_failed", told);
    }
}
