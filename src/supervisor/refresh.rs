//! How a run learns that its token or other credentials have changed: it is restarted, or it is told their names and
//! reads the values itself.
//!
//! A run that was told counts as one with the new values, also for later supervisors; one that refuses is restarted.

use serde_json::json;

use crate::model::bot::{BotId, BotSpec};
use crate::model::credential::{REFRESH_CREDENTIALS, Refresh, TOKEN, changed};
use crate::model::message::{Envelope, Kind, PRIORITY_CONTROL};

use super::event_loop::Supervisor;
use super::fleet::Member;
use super::host::{Configured, Host};
use super::kernel::is_net_outgrown;
use super::machine::{Event, StopMode};
use super::mail::SUPERVISOR;
use super::reload::runs_alike;

/// What a new configuration means for the run of a bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Means {
    Nothing,
    /// It must be started anew.
    Restart,
    /// It is told that these fields have changed.
    Tell(Vec<String>),
}

/// What it means for a bot's run, if it has one.
pub(super) fn means<P>(member: &Member<P>, configured: &Configured, spec: &BotSpec) -> Means {
    if member.bot.live_run().is_none() {
        return Means::Nothing;
    }
    if !runs_alike(&member.policy.spec, spec) || is_net_outgrown(&member.seen.kernel, spec) {
        return Means::Restart;
    }
    let fields = changed(
        (member.token.as_ref(), &member.fields),
        (configured.token.as_ref(), &configured.fields),
    );
    // A built-in bot opens its connection anew with them. A new token makes it another account, which begins anew.
    let is_told = spec.is_built_in() && !fields.iter().any(|field| field == TOKEN);
    match if is_told {
        Refresh::Command
    } else {
        spec.credentials_refresh
    } {
        _ if fields.is_empty() => Means::Nothing,
        Refresh::Restart => Means::Restart,
        Refresh::Command => Means::Tell(fields),
    }
}

impl<H: Host> Supervisor<H> {
    /// Tells a run which of its fields have changed; false where that cannot be done.
    pub(super) fn tell_changed(&mut self, bot: &BotId, fields: &[String]) -> bool {
        let (stamp, id) = (self.host.stamp(), self.host.new_id());
        let mut command = Envelope::new(id, Kind::Command, REFRESH_CREDENTIALS, SUPERVISOR, bot.as_str(), stamp);
        command.priority = PRIORITY_CONTROL;
        let run = self.fleet.get(bot).and_then(|member| member.bot.live_run()).cloned();
        match self
            .host
            .post(bot, command.with_payload(json!({"fields": fields})), true)
        {
            Ok(posted) => {
                if let Some(member) = self.fleet.get_mut(bot) {
                    member.seen.refreshes.push(posted);
                }
                self.fact(bot, run, REFRESH_CREDENTIALS, &fields.join(", "));
                true
            }
            Err(error) => {
                self.host.warn(&format!(
                    "{bot}: restarts, as it cannot be told of new credentials: {error}"
                ));
                false
            }
        }
    }

    /// A run that does not take its new credentials is started with them.
    pub(super) fn hear_refusal(&mut self, bot: &BotId, answer: &Envelope) {
        let is_desired = self.fleet.get(bot).is_some_and(Member::is_desired);
        if answer.name != REFRESH_CREDENTIALS || answer.to != SUPERVISOR || !is_desired {
            return;
        }
        let why = answer.payload["message"].as_str().unwrap_or("it does not say why");
        let masked = self.fleet.get(bot).map(|member| member.discretion.masked(why));
        let shown = masked.unwrap_or_default();
        self.host.warn(&format!(
            "{bot}: restarts, as it refuses {REFRESH_CREDENTIALS}: {shown}"
        ));
        self.apply(bot, Event::WantRestart(StopMode::Graceful));
    }
}
