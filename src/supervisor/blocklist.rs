//! Keeps bots from targets that do not want them: hears what bots say of targets, whoever the bots are, and refuses
//! what is to go to a blocked one. What it means stands in `model/blocking.rs`, what is so in the store.

use std::time::Duration;

use serde_json::Value;

use crate::model::blocking::{Heard, Standing};
use crate::model::bot::BotId;
use crate::model::judging::{Class, Judgement};
use crate::model::message::Envelope;
use crate::model::units::Stamp;
use crate::store::BlockedTarget;

use super::event_loop::Supervisor;
use super::host::Host;
use super::snapshot::Stage;

/// The command that has something for a chat.
const SEND: &str = "send_message";

/// Why a bot that serves one target must stay away, if that is blocked.
pub(super) fn judgement_of_target(bot: &BotId, blocklist: &[BlockedTarget]) -> Option<Judgement> {
    let own = target_of(bot)?;
    let found = blocklist.iter().find(|it| it.bot == *bot && it.target == own)?;
    Some(Judgement {
        class: Class::Target,
        evidence: found.entry.shown(),
        at: found.entry.blocked_at,
    })
}

/// The place that a bot serves alone: what follows the @ of its id, decoded.
fn target_of(bot: &BotId) -> Option<String> {
    let (_, target) = bot.as_str().split_once('@')?;
    Some(decoded(target))
}

/// `%2B49` is `+49`. What is no encoding stands for itself.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        match after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(b'%');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What an event says of a target; None where it says nothing.
fn meaning(envelope: &Envelope) -> Option<Heard> {
    let class = envelope.payload["class"].as_str();
    match (envelope.name.as_str(), class) {
        ("connected", _) => Some(Heard::Connected),
        ("connection_failed", _) => Some(Heard::ConnectionFailed),
        ("kicked", _) | ("delivery_failed", Some("kicked")) => Some(Heard::Unwanted("kicked")),
        ("delivery_failed", Some("blocked")) => Some(Heard::Unwanted("blocked by the user")),
        ("delivery_failed", Some("deactivated")) => Some(Heard::Unwanted("account deactivated")),
        ("delivery_failed", Some("no_chat")) => Some(Heard::Unwanted("chat not found")),
        _ => None,
    }
}

/// A chat as bots write it: numbers are as good as texts.
fn target_in(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

impl<H: Host> Supervisor<H> {
    /// A bot has told an event: it may be about one of its targets.
    pub(super) fn heard_of_target(&mut self, bot: &BotId, envelope: &Envelope) {
        let Some(heard) = meaning(envelope) else { return };
        let named = target_in(&envelope.payload["target"]);
        let Some(target) = named.or_else(|| target_of(bot)) else {
            return;
        };
        let Some(policy) = self.fleet.get(bot).map(|member| member.policy.spec.blocking) else {
            return;
        };
        match self.host.hear_of_target(bot, &target, heard, &policy) {
            Ok(None) => {}
            Ok(Some(entry)) => {
                let shown = format!("{target}: {}", entry.shown());
                self.fact(bot, None, "target_blocked", &shown);
                self.host.audit("blocklist add", bot, &shown);
                self.blocklist_changed();
            }
            Err(error) => self
                .host
                .warn(&format!("{bot}: its target {target} is not blocked: {error}")),
        }
    }

    fn blocklist_changed(&mut self) {
        // It is stored: whoever is leaving or beginning leaves it to the next look.
        if self.stage != Stage::Running {
            return;
        }
        if let Err(error) = self.reload() {
            self.host.warn(&format!("the blocklist is not taken over: {error}"));
        }
    }

    /// Takes over who is blocked, and when that changes by itself.
    pub(super) fn take_blocklist(&mut self, blocklist: Vec<BlockedTarget>) {
        let (now, stamp) = (self.host.now(), self.host.stamp());
        let ends = blocklist.iter().filter_map(|it| match it.entry.standing {
            Standing::Until(until) => Some(until),
            Standing::Counted | Standing::ForEver => None,
        });
        // A moment later: until then it is blocked.
        let wait = |until: Stamp| until.since(stamp) + Duration::from_millis(1);
        self.unblock_at = ends.min().map(|until| now + wait(until));
        self.blocklist = blocklist;
    }

    /// Lets go whose time is over.
    pub(super) fn unblock_if_due(&mut self) {
        if self.unblock_at.is_none_or(|at| at > self.host.now()) {
            return;
        }
        self.unblock_at = None;
        for (bot, target) in self.host.sweep_blocklist() {
            self.fact(&bot, None, "target_unblocked", &target);
        }
        self.blocklist_changed();
    }

    /// Why a message must not go to its chat.
    pub(super) fn blocked_for(&self, bot: &BotId, envelope: &Envelope) -> Option<String> {
        if envelope.name != SEND {
            return None;
        }
        let chat = target_in(&envelope.payload["chat"])?;
        let found = self.blocklist.iter().find(|it| it.bot == *bot && it.target == chat)?;
        Some(format!("{chat} is blocked for {bot} {}", found.entry.shown()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_decoded() {
        for (text, plain) in [
            ("a-b", "a-b"),
            ("%2B49", "+49"),
            ("50%", "50%"),
            ("%C3%A9%", "é%"),
            ("%zz", "%zz"),
        ] {
            assert_eq!(decoded(text), plain);
        }
    }
}
