//! What the loop does with envelopes: the commands of operators in the supervisor's inbox, and what
//! bots say in their outboxes.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::model::bot::{BotId, RunId, State};
use crate::model::limits::{MISSED_ANSWERS_MAX, STATUS_CHARS_MAX};
use crate::model::message::{Envelope, Kind, PRIORITY_CONTROL};
use crate::model::units::{Stamp, show_duration};
use crate::run::orders::VIA_NOTIFY;
use crate::spool::is_ulid;

use super::event_loop::Supervisor;
use super::fleet::{Member, Speaks};
use super::host::{Host, Mail};
use super::leave::{Parting, Upgrade};
use super::machine::{Event, Phase, StopMode, Then};
use super::people::Telling;
use super::routes::Outgoing;
use super::snapshot::Stage;

/// Files that one turn takes from one mailbox: a bot that floods its outbox delays nobody else.
const FILES_PER_TURN: usize = 32;
/// Files that are read before a run's end is handled; the rest is read by later turns.
const FILES_BEFORE_END: usize = 4096;

/// The name under which the supervisor posts and is addressed.
pub(super) const SUPERVISOR: &str = "supervisor";

impl<H: Host> Supervisor<H> {
    /// Reads a few files of every mailbox that may hold some. What a bot says before its start is
    /// reported waits for that report, else its readiness would be lost.
    pub(super) fn read_some(&mut self) {
        for owner in std::mem::take(&mut self.unread) {
            if owner.as_ref().is_some_and(|bot| self.is_spawning(bot)) {
                continue;
            }
            if self.read(owner.as_ref(), FILES_PER_TURN) {
                self.unread.insert(owner);
            }
        }
    }

    fn is_spawning(&self, bot: &BotId) -> bool {
        let phase = self.fleet.get(bot).map(|member| &member.bot.phase);
        matches!(phase, Some(Phase::Spawning { .. }))
    }

    /// Reads what a bot has posted until now.
    pub(super) fn read_all(&mut self, bot: &BotId) {
        if self.read(Some(bot), FILES_BEFORE_END) {
            self.unread.insert(Some(bot.clone()));
        }
    }

    /// Answers what lies in the inbox of a supervisor that has stopped: left there, it would be a command
    /// to the next one.
    pub(super) fn refuse_all(&mut self) {
        self.read(None, FILES_BEFORE_END);
    }

    /// Reads up to `limit` files; says whether there may be more.
    fn read(&mut self, owner: Option<&BotId>, limit: usize) -> bool {
        for _ in 0..limit {
            if owner.is_none() && self.is_making_way() {
                return false;
            }
            let Some(mail) = self.host.next_mail(owner) else {
                return false;
            };
            match owner {
                Some(bot) => self.read_file(bot, mail),
                // A command that was begun is not obeyed again by the next supervisor.
                None => mail.envelopes.into_iter().for_each(|envelope| self.obey(envelope)),
            }
        }
        true
    }

    /// One file of an outbox. It is finished when everything in it is in the history, answered and delivered.
    fn read_file(&mut self, bot: &BotId, mail: Mail<H::Claim>) {
        self.in_hand = Some(mail.claim.clone());
        let mut outgoing = Outgoing::default();
        for envelope in mail.envelopes {
            if self.is_for_others(bot, &envelope) {
                self.tally.heard(bot, &envelope);
                self.route(bot, envelope, &mut outgoing);
            } else {
                self.hear(bot, envelope);
            }
        }
        self.in_hand = None;
        if !outgoing.is_empty() {
            self.host.deliver(bot, Some(mail.claim.clone()), outgoing);
        }
        self.recording.push(mail.claim.clone());
        self.answering.push(mail.claim);
        self.touch();
    }

    /// One envelope from a bot.
    fn hear(&mut self, bot: &BotId, envelope: Envelope) {
        let Some(member) = self.fleet.get_mut(bot) else { return };
        self.tally.heard(bot, &envelope);
        let run = member.speaker().cloned();
        let is_first = run.is_some() && !is_translated(&envelope) && member.seen.speaks == Speaks::Nothing;
        if run.is_some() && !is_translated(&envelope) {
            member.seen.speaks = member.seen.speaks.max(Speaks::Spool);
        }
        if is_first && envelope.kind != Kind::Heartbeat {
            self.tell_lists(bot, Telling::News);
        }
        let Some(member) = self.fleet.get_mut(bot) else { return };
        // Whose outbox it lay in is certain; what the envelope says of it is not.
        let envelope = Envelope {
            from: bot.to_string(),
            ..envelope
        };
        match envelope.kind {
            Kind::Heartbeat => self.heartbeat(bot),
            Kind::Response if is_answer(member, &envelope) => self.answered(bot, run, &envelope),
            Kind::Error if envelope.correlation_id.is_some() => self.given_back(bot, envelope),
            // A bot need not say whom it answers: the command's id tells.
            Kind::Response if envelope.correlation_id.as_deref().is_some_and(is_ulid) => {
                self.reply_to_asker(bot, envelope)
            }
            Kind::Command if self.asked_by_bot(bot, &envelope) => {
                self.fact(bot, run, &envelope.name, &one_line(&envelope.payload));
            }
            Kind::Response | Kind::Error | Kind::Event | Kind::Command => self.told(bot, run, &envelope),
        }
    }

    /// An event: the few names that mean something to the supervisor, and all into the history.
    pub(super) fn told(&mut self, bot: &BotId, run: Option<RunId>, envelope: &Envelope) {
        let is_event = envelope.kind == Kind::Event;
        if let Some(member) = self.fleet.get_mut(bot).filter(|_| run.is_some()) {
            match envelope.name.as_str() {
                "connected" if is_event => member.seen.connected = Some(true),
                "disconnected" | "connection_failed" | "kicked" if is_event => member.seen.connected = Some(false),
                _ => {}
            }
        }
        if envelope.name == "error" && matches!(envelope.kind, Kind::Event | Kind::Error) {
            self.count_error(bot);
        }
        let live = run.clone().filter(|_| is_event);
        if let Some(run) = &live
            && self.note_word(bot, run, envelope)
        {
            return;
        }
        self.fact(bot, run, &envelope.name, &one_line(&envelope.payload));
        self.touch();
        if is_event {
            self.heard_of_target(bot, envelope);
        }
        if is_event && envelope.name == "user_seen" {
            self.saw_user(bot, &envelope.payload);
        }
        match (envelope.name.as_str(), live) {
            (name @ ("unauthorized" | "conflict"), Some(_)) => {
                let message = envelope.payload.get("message").and_then(Value::as_str);
                self.heard_of_platform(bot, name, message);
            }
            ("ready", Some(run)) => self.became_ready(bot, run, is_translated(envelope)),
            ("watchdog_triggered", Some(run)) => {
                let why = "its own watchdog says that it is not well".to_owned();
                let then = Then::Restart;
                self.apply(bot, Event::Unhealthy { run, why, then });
            }
            _ => {}
        }
    }

    /// What a bot says again and again and only the newest of counts: no part of the history. False for any
    /// other event.
    fn note_word(&mut self, bot: &BotId, run: &RunId, envelope: &Envelope) -> bool {
        match envelope.name.as_str() {
            "status" => {
                let Some(text) = envelope.payload.get("text").and_then(Value::as_str) else {
                    return false;
                };
                if let Some(member) = self.fleet.get_mut(bot) {
                    // Masked before it is cut: half a secret is found by no mask.
                    let masked = member.discretion.masked(text);
                    let shown = masked.chars().filter(|c| !c.is_control()).take(STATUS_CHARS_MAX);
                    member.seen.status_text = Some(shown.collect()).filter(|text: &String| !text.is_empty());
                }
            }
            "extend_timeout" => {
                let Some(micros) = envelope.payload.get("usec").and_then(Value::as_u64) else {
                    return false;
                };
                let (run, length) = (run.clone(), Duration::from_micros(micros));
                self.apply(bot, Event::Extend { run, length });
            }
            _ => return false,
        }
        self.touch();
        true
    }

    /// `is_translated`: it need not know of requests for its status.
    fn became_ready(&mut self, bot: &BotId, run: RunId, is_translated: bool) {
        let next_at = self.host.now() + self.pace.status_poll_interval;
        if let Some(member) = self.fleet.get_mut(bot).filter(|_| !is_translated) {
            member.seen.speaks = Speaks::Ready;
            member.seen.poll.next_at = (!self.pace.status_poll_interval.is_zero()).then_some(next_at);
        }
        if !is_translated {
            self.tell_lists(bot, Telling::News);
        } else if self
            .fleet
            .get(bot)
            .is_some_and(|member| member.seen.speaks == Speaks::Nothing)
        {
            // Its word came by sd_notify: it reads no inbox.
            self.untell(bot);
        }
        self.apply(bot, Event::Ready { run });
    }

    pub(super) fn heartbeat(&mut self, bot: &BotId) {
        let stamp = self.host.stamp();
        let Some(member) = self.fleet.get_mut(bot) else { return };
        let Some(run) = member.speaker().cloned() else { return };
        member.seen.heartbeat_at = Some(stamp);
        member.seen.speaks = member.seen.speaks.max(Speaks::Spool);
        self.touch();
        self.apply(bot, Event::Heartbeat { run });
    }

    /// A bot answered a question for its status.
    fn answered(&mut self, bot: &BotId, run: Option<RunId>, envelope: &Envelope) {
        if let Some(member) = self.fleet.get_mut(bot).filter(|_| run.is_some()) {
            member.seen.poll.missed = 0;
            if let Some(connected) = envelope.payload.get("connected").and_then(Value::as_bool) {
                member.seen.connected = Some(connected);
            }
            // A bot that tells its status unasked may leave the question unread.
            if let Some((_, posted)) = member.seen.poll.asked.take() {
                self.host.retract(bot, posted);
            }
        }
        let is_of_probe = self.probe_answered(bot, envelope.correlation_id.as_deref());
        // The history would hold little else.
        if !is_of_probe || envelope.correlation_id.is_none() {
            self.fact(bot, run, &envelope.name, &one_line(&envelope.payload));
        }
        self.touch();
    }

    /// Asks a bot for its status, or gives it up when it has missed too many questions.
    pub(super) fn poll_status(&mut self, bot: &BotId) {
        let now = self.host.now();
        let interval = self.pace.status_poll_interval;
        let Some(member) = self.fleet.get_mut(bot) else { return };
        if member.bot.state() != State::Running {
            // A bot that is being stopped is asked no more.
            member.seen.poll.next_at = None;
            return;
        }
        let unanswered = member.seen.poll.asked.take();
        member.seen.poll.next_at = Some(now + interval);
        if let Some((_, posted)) = unanswered {
            member.seen.poll.missed += 1;
            let (missed, run) = (member.seen.poll.missed, member.bot.live_run().cloned());
            self.host.retract(bot, posted);
            if missed >= MISSED_ANSWERS_MAX
                && let Some(run) = run
            {
                let why = format!(
                    "no answer to {missed} status requests ({} apart)",
                    show_duration(interval)
                );
                self.apply(
                    bot,
                    Event::Unhealthy {
                        run,
                        why,
                        then: Then::Restart,
                    },
                );
                return;
            }
        }
        if let Some((id, posted)) = self.post_status_request(bot, interval)
            && let Some(member) = self.fleet.get_mut(bot)
        {
            let recent = &mut member.seen.poll.recent;
            recent.truncate(MISSED_ANSWERS_MAX as usize);
            recent.insert(0, id.clone());
            member.seen.poll.asked = Some((id, posted));
        }
        self.fleet.refresh(bot);
    }

    /// Posts the question for a bot's status, which is worth nothing after so long. None where that cannot be done,
    /// which is told.
    pub(super) fn post_status_request(&mut self, bot: &BotId, lasting: Duration) -> Option<(String, H::Posted)> {
        let (stamp, id) = (self.host.stamp(), self.host.new_id());
        let to = bot.as_str();
        let mut question = Envelope::new(id.clone(), Kind::Command, "status_request", SUPERVISOR, to, stamp);
        question.priority = PRIORITY_CONTROL;
        question.expires_at = Some(Stamp(stamp.0 + i64::try_from(lasting.as_micros()).unwrap_or(0)));
        match self.host.post(bot, question, false) {
            Ok(posted) => Some((id, posted)),
            Err(error) => {
                self.host.warn(&format!("{bot}: cannot ask for status: {error}"));
                None
            }
        }
    }

    /// Puts a question that could not be answered in time again, without counting it.
    pub(super) fn ask_anew(&mut self, bot: &BotId) {
        let now = self.host.now();
        let Some(member) = self.fleet.get_mut(bot) else { return };
        if let Some((_, posted)) = member.seen.poll.asked.take() {
            member.seen.poll.next_at = Some(now);
            self.host.retract(bot, posted);
        }
    }

    /// Tells a bot that knows the spool that it is being stopped, together with the signal.
    pub(super) fn announce_shutdown(&mut self, bot: &BotId, mode: StopMode) {
        let (stamp, id) = (self.host.stamp(), self.host.new_id());
        let Some(member) = self.fleet.get(bot) else { return };
        if member.seen.speaks == Speaks::Nothing && !member.policy.spec.is_built_in() {
            return;
        }
        let (word, grace) = match mode {
            StopMode::Graceful => ("graceful", member.policy.spec.stop.grace),
            StopMode::Forced => ("forced", Duration::ZERO),
        };
        let deadline = Stamp(stamp.0 + i64::try_from(grace.as_micros()).unwrap_or(0));
        let mut command = Envelope::new(id, Kind::Command, "shutdown", SUPERVISOR, bot.as_str(), stamp)
            .with_payload(json!({"mode": word, "deadline": deadline.to_string()}));
        command.priority = PRIORITY_CONTROL;
        command.expires_at = Some(deadline);
        match self.host.post(bot, command, false) {
            Ok(posted) => {
                if let Some(member) = self.fleet.get_mut(bot) {
                    member.seen.shutdown.push(posted);
                }
            }
            Err(error) => self.host.warn(&format!("{bot}: cannot announce its shutdown: {error}")),
        }
    }

    /// Withdraws what a run that has ended has not read and no other run should.
    pub(super) fn withdraw(&mut self, bot: &BotId) {
        let Some(member) = self.fleet.get_mut(bot) else { return };
        let asked = member.seen.poll.asked.take().map(|(_, posted)| posted);
        let by_probes = member.seen.health.rest();
        let told = std::mem::take(&mut member.seen.told)
            .into_values()
            .map(|(_, posted)| posted);
        let words = member.seen.shutdown.drain(..).chain(member.seen.refreshes.drain(..));
        let unread: Vec<_> = words.chain(asked).chain(by_probes).chain(told).collect();
        for posted in unread {
            self.host.retract(bot, posted);
        }
    }

    /// One command of an operator. The answer goes out after a snapshot that shows its effect.
    fn obey(&mut self, envelope: Envelope) {
        if envelope.kind != Kind::Command {
            return;
        }
        if envelope.expires_at.is_some_and(|at| at < self.host.stamp()) {
            self.host
                .warn(&format!("command {} came too late and is not obeyed", envelope.name));
            return;
        }
        // A stop that goes on may still be hurried, and one who leaves may still be asked to stop.
        let is_stop = matches!(self.stage, Stage::Stopping | Stage::Leaving) && envelope.name == "shutdown";
        let outcome = if self.stage == Stage::Running || is_stop {
            self.execute(&envelope)
        } else {
            Err("the supervisor is stopping".to_owned())
        };
        let payload = match outcome {
            Ok(done) => json!({"ok": true, "done": done}),
            Err(error) => {
                self.host
                    .warn(&format!("command {} from {}: {error}", envelope.name, envelope.from));
                json!({"ok": false, "error": error})
            }
        };
        let (id, stamp) = (self.host.new_id(), self.host.stamp());
        self.replies.push(envelope.response(id, stamp).with_payload(payload));
        self.touch();
    }

    fn execute(&mut self, envelope: &Envelope) -> Result<Value, String> {
        let mode = match envelope.payload.get("mode").and_then(Value::as_str) {
            Some("forced") => StopMode::Forced,
            Some(_) | None => StopMode::Graceful,
        };
        match envelope.name.as_str() {
            "ping" => Ok(json!({})),
            "shutdown" => {
                if envelope.payload["keep_bots"] == true {
                    self.begin_leave(Parting::KeepBots)?;
                } else {
                    self.begin_stop(mode);
                }
                Ok(json!({}))
            }
            "upgrade" => {
                self.begin_leave(Parting::Upgrade(Upgrade::of(&envelope.payload)?))?;
                Ok(json!({}))
            }
            "reload" => {
                let effect = self.reload()?;
                Ok(json!({"restarted": effect.restarted, "told": effect.told}))
            }
            "start" => self.each(envelope, |member| member.is_desired(), Event::WantUp),
            "stop" => self.each(envelope, |member| !member.is_desired(), Event::WantDown(mode)),
            "restart" => self.each(envelope, |member| member.is_desired(), Event::WantRestart(mode)),
            other => Err(format!("unknown command {other:?}")),
        }
    }

    /// Reads the store anew and applies an event to the named bots that it still suits. One wrong name
    /// and none of them is touched.
    fn each(
        &mut self,
        envelope: &Envelope,
        suits: fn(&Member<H::Posted>) -> bool,
        event: Event,
    ) -> Result<Value, String> {
        let words = envelope
            .payload
            .get("bots")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let named = words
            .map(|word| {
                word.as_str()
                    .unwrap_or_default()
                    .parse()
                    .map_err(|error| format!("{error}"))
            })
            .collect::<Result<BTreeSet<BotId>, String>>()?;
        let (mut asked, _) = self.take_over()?;
        let unknown = named.iter().find(|bot| self.fleet.get(bot).is_none()).cloned();
        let mut done = Vec::new();
        for bot in named.into_iter().filter(|_| unknown.is_none()) {
            if !self.fleet.get(&bot).is_some_and(suits) {
                continue;
            }
            // The command says more than what is stored: a stop by force is not begun with grace.
            if event != Event::WantUp {
                asked.remove(&bot);
            }
            done.push(bot);
        }
        for (bot, event) in asked {
            self.apply(&bot, event);
        }
        for bot in &done {
            self.apply(bot, event.clone());
        }
        if let Some(unknown) = unknown {
            return Err(format!("no bot {unknown}"));
        }
        let done: Vec<&str> = done.iter().map(BotId::as_str).collect();
        Ok(json!({"bots": done}))
    }
}

/// Whether this answers one of the supervisor's own questions for status.
fn is_answer<P>(member: &Member<P>, envelope: &Envelope) -> bool {
    let recent = &member.seen.poll.recent;
    let is_ours = |id: &String| recent.contains(id) || member.seen.health.has_asked(Some(id));
    envelope.name == "status_response" && envelope.correlation_id.as_ref().is_none_or(is_ours)
}

/// Whether a shim has said this for a bot that speaks sd_notify.
fn is_translated(envelope: &Envelope) -> bool {
    envelope.payload.get("via").and_then(Value::as_str) == Some(VIA_NOTIFY)
}

/// A payload in one line, for the history.
fn one_line(payload: &Value) -> String {
    if payload.as_object().is_some_and(serde_json::Map::is_empty) || payload.is_null() {
        return String::new();
    }
    payload.to_string()
}
