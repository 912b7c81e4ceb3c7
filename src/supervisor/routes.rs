//! What bots have for each other: who may send what to whom.
//!
//! Decides only; the host delivers. A bot takes messages from those that it names in `accept_from`, and answers
//! from every bot, because it has asked for them.

use crate::model::bot::{BotId, BotSpec};
use crate::model::message::{Envelope, Kind};
use crate::model::queue::QueuePolicy;

use super::event_loop::Supervisor;
use super::fleet::Place;
use super::host::Host;
use super::mail::SUPERVISOR;

/// The address of every bot.
const EVERYBODY: &str = "*";

/// What one file of an outbox has for other bots.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    pub deliveries: Vec<(BotId, QueuePolicy, Envelope)>,
    /// What goes nowhere, and why.
    pub refused: Vec<(Envelope, String)>,
}

impl Outgoing {
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.refused.is_empty()
    }
}

impl<H: Host> Supervisor<H> {
    /// Whether an envelope in a bot's outbox is for other bots.
    pub(super) fn is_for_others(&self, sender: &BotId, envelope: &Envelope) -> bool {
        let to = envelope.to.as_str();
        // A command to itself is a note for later, and needs its own word in accept_from.
        let is_own_word = to == sender.as_str() && envelope.kind != Kind::Command;
        if envelope.kind == Kind::Heartbeat || is_own_word || to == SUPERVISOR || to == "cli" {
            return false;
        }
        // A bot need not know whom it answers, and an error is first of all about the message that it answers.
        if envelope.correlation_id.is_some() && matches!(envelope.kind, Kind::Response | Kind::Error) {
            return envelope.kind == Kind::Response && self.is_bot(to);
        }
        true
    }

    /// Whether a configured bot has this id.
    pub(super) fn is_bot(&self, id: &str) -> bool {
        self.configured(id).is_some()
    }

    /// Finds the way of an envelope that is for others.
    pub(super) fn route(&self, sender: &BotId, mut envelope: Envelope, outgoing: &mut Outgoing) {
        // Whose outbox it lay in is certain; what the envelope says of it is not.
        sender.as_str().clone_into(&mut envelope.from);
        if envelope.to == EVERYBODY {
            let before = outgoing.deliveries.len();
            for (bot, member) in self.fleet.members() {
                let spec = &member.policy.spec;
                if bot != sender && member.place == Place::Configured && accepts(spec, sender) {
                    let mut copy = envelope.clone();
                    bot.as_str().clone_into(&mut copy.to);
                    outgoing.deliveries.push((bot.clone(), spec.queue.clone(), copy));
                }
            }
            if outgoing.deliveries.len() == before {
                let reason = format!("no bot accepts messages from {sender}: set its accept_from");
                outgoing.refused.push((envelope, reason));
            }
            return;
        }
        let is_answer = envelope.correlation_id.is_some() && matches!(envelope.kind, Kind::Response | Kind::Error);
        match self.configured(&envelope.to) {
            None => {
                let reason = format!("no bot {}", envelope.to);
                outgoing.refused.push((envelope, reason));
            }
            Some((bot, spec)) if is_answer || accepts(spec, sender) => {
                if let Some(reason) = self.blocked_for(&bot, &envelope) {
                    return outgoing.refused.push((envelope, reason));
                }
                outgoing.deliveries.push((bot, spec.queue.clone(), envelope));
            }
            Some((bot, _)) => {
                let reason = format!("{bot} accepts no messages from {sender}: set its accept_from");
                outgoing.refused.push((envelope, reason));
            }
        }
    }

    fn configured(&self, id: &str) -> Option<(BotId, &BotSpec)> {
        let bot: BotId = id.parse().ok()?;
        let member = self
            .fleet
            .get(&bot)
            .filter(|member| member.place == Place::Configured)?;
        Some((bot, &member.policy.spec))
    }
}

fn accepts(spec: &BotSpec, sender: &BotId) -> bool {
    let names = |accepted: &String| accepted == EVERYBODY || accepted == sender.as_str();
    spec.accept_from.iter().any(names)
}
