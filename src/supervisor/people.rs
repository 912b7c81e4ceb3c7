//! What bots must know of the home to behave in their chats: the admins, the permissions, and for built-in ones the
//! targets to leave alone. And what bots ask for in the name of an admin who writes in a chat.
//!
//! Each list is told whole, in a command of its own, and only when it differs from what the run was told last. A newer
//! one takes an unread older one back, so that at most one of each lies in an inbox.

use serde_json::{Value, json};

use crate::model::blocking::{REFRESH_BLOCKLIST, Standing};
use crate::model::bot::{BotId, ReadyWhen};
use crate::model::message::{Envelope, Kind, PRIORITY_CONTROL};
use crate::model::people::{Change, Level, REFRESH_ADMINS, REFRESH_PERMISSIONS, UserRef};
use crate::store::By;

use super::event_loop::Supervisor;
use super::fleet::{Member, Speaks};
use super::host::Host;
use super::mail::SUPERVISOR;

/// What a bot may ask of its supervisor.
const REQUESTS: [&str; 4] = ["set_admin", "set_permission", "remove_permission", "refresh"];

/// Whether all is told, or only what a run does not know yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Telling {
    All,
    News,
}

impl<H: Host> Supervisor<H> {
    /// Tells every run that listens what it must know.
    pub(super) fn tell_everybody(&mut self, telling: Telling) {
        for bot in self.fleet.ids() {
            if self.fleet.get(&bot).is_some_and(listens) {
                self.tell_lists(&bot, telling);
            }
        }
    }

    /// Tells one run what it must know. It is called before the run counts as ready: before its start, if it will read
    /// its inbox as far as anybody knows, else when it shows that it does.
    pub(super) fn tell_lists(&mut self, bot: &BotId, telling: Telling) {
        let Some(member) = self.fleet.get(bot) else { return };
        let mut lists = vec![
            (REFRESH_ADMINS, self.people.admins_payload(), json!({"admins": []})),
            (
                REFRESH_PERMISSIONS,
                self.people.permissions_payload(),
                json!({"permissions": {}}),
            ),
        ];
        if member.policy.spec.is_built_in() {
            lists.push((REFRESH_BLOCKLIST, self.blocked_payload(bot), json!({"targets": []})));
        }
        for (name, list, unsaid) in lists {
            let known = self.fleet.get(bot).and_then(|member| member.seen.told.get(name));
            // What it was never told is empty.
            let is_known = known.map_or(&unsaid, |(list, _)| list) == &list;
            if telling == Telling::News && is_known {
                continue;
            }
            self.tell_list(bot, name, list);
        }
    }

    /// Takes back what was told to a run that turns out to have no use for it.
    pub(super) fn untell(&mut self, bot: &BotId) {
        let told = self
            .fleet
            .get_mut(bot)
            .map(|member| std::mem::take(&mut member.seen.told));
        for (_, posted) in told.unwrap_or_default().into_values() {
            self.host.retract(bot, posted);
        }
    }

    fn tell_list(&mut self, bot: &BotId, name: &'static str, list: Value) {
        let (stamp, id) = (self.host.stamp(), self.host.new_id());
        let mut command = Envelope::new(id, Kind::Command, name, SUPERVISOR, bot.as_str(), stamp);
        command.priority = PRIORITY_CONTROL;
        let posted = self.host.post(bot, command.with_payload(list.clone()), false);
        let Some(member) = self.fleet.get_mut(bot) else { return };
        match posted {
            Ok(posted) => {
                if let Some((_, older)) = member.seen.told.insert(name, (list, posted)) {
                    self.host.retract(bot, older);
                }
            }
            Err(error) => self.host.warn(&format!("{bot}: cannot be told by {name}: {error}")),
        }
    }

    fn blocked_payload(&self, bot: &BotId) -> Value {
        let own = self.blocklist.iter().filter(|it| it.bot == *bot);
        let blocked = own.filter(|it| it.entry.standing != Standing::Counted);
        json!({"targets": blocked.map(|it| it.target.as_str()).collect::<Vec<_>>()})
    }

    /// A bot has seen somebody, and under which name.
    pub(super) fn saw_user(&mut self, bot: &BotId, payload: &Value) {
        let text = |field: &str| payload[field].as_str().filter(|text| !text.is_empty());
        if let (Some(user), Some(username)) = (text("user"), text("username"))
            && let Err(error) = self.host.see_user(bot, user, username)
        {
            self.host
                .warn(&format!("{bot}: the name of a user is not kept: {error}"));
        }
    }

    /// A command in a bot's outbox; whether it was for the supervisor. It is answered into the bot's inbox.
    pub(super) fn asked_by_bot(&mut self, bot: &BotId, envelope: &Envelope) -> bool {
        if envelope.name == "login" {
            self.asked_for_login(bot, envelope);
            return true;
        }
        if !REQUESTS.contains(&envelope.name.as_str()) {
            return false;
        }
        let outcome = self.do_for(bot, envelope);
        if let Err(why) = &outcome {
            self.host.warn(&format!("{bot}: {} is refused: {why}", envelope.name));
        }
        self.answer_bot(bot, envelope, outcome);
        true
    }

    /// Answers a bot, which shows the line in the chat where it was asked.
    pub(super) fn answer_bot(&mut self, bot: &BotId, asked: &Envelope, outcome: Result<String, String>) {
        let (stamp, id) = (self.host.stamp(), self.host.new_id());
        let mut answer = asked.response(id, stamp);
        SUPERVISOR.clone_into(&mut answer.from);
        bot.as_str().clone_into(&mut answer.to);
        let answer = match outcome {
            Ok(text) => answer.with_payload(json!({"text": text})),
            Err(message) => {
                answer.kind = Kind::Error;
                answer.with_payload(json!({"message": message}))
            }
        };
        if let Err(error) = self.host.post(bot, answer, true) {
            self.host
                .warn(&format!("{bot}: {} cannot be answered: {error}", asked.name));
        }
    }

    fn do_for(&mut self, bot: &BotId, envelope: &Envelope) -> Result<String, String> {
        let payload = &envelope.payload;
        let text = |field: &str| payload[field].as_str().unwrap_or_default();
        let by = self.admin_behind(bot, payload)?;
        let change = match envelope.name.as_str() {
            "refresh" => return self.refresh_all(),
            "set_admin" => {
                let user = UserRef::parse(text("user")).map_err(|error| error.to_string())?;
                if payload["remove"] == true {
                    Change::RemoveAdmin(user)
                } else {
                    Change::AddAdmin(user)
                }
            }
            "set_permission" => {
                let level = Level::from_word(text("level")).ok_or("level must be admin or user")?;
                Change::set_permission(text("command"), level).map_err(|error| error.to_string())?
            }
            _ => Change::remove_permission(text("command")).map_err(|error| error.to_string())?,
        };
        let said = self.host.change_people(&change, &by)?;
        self.reload()?;
        Ok(said)
    }

    /// Who asks, if that is an admin. The bot has looked already; what the store says counts.
    pub(super) fn admin_behind(&mut self, bot: &BotId, payload: &Value) -> Result<By, String> {
        let by = &payload["by"];
        let text = |field: &str| by[field].as_str().filter(|text| !text.is_empty());
        let user = text("user").ok_or("nobody is named who asks: write by.user")?;
        if !self.host.is_admin(user)? {
            return Err(format!("{user} is no admin"));
        }
        Ok(By {
            actor: text("name").map_or(user.to_owned(), |name| format!("{user} (@{name})")),
            bot: Some(bot.clone()),
            chat: text("chat").map(str::to_owned),
        })
    }

    /// Reads everything anew and tells every bot, whatever it knows.
    fn refresh_all(&mut self) -> Result<String, String> {
        let effect = self.reload()?;
        self.tell_everybody(Telling::All);
        let told = self.fleet.members().filter(|(_, member)| listens(member)).count();
        let (admins, commands) = (self.people.admins.len(), self.people.permissions.len());
        let restarts = match effect.restarted.len() {
            0 => String::new(),
            many => format!(", {many} restarted for new credentials or settings"),
        };
        Ok(format!(
            "refreshed: {admins} admins, {commands} permissions, {told} bots told{restarts}"
        ))
    }
}

/// Whether a run that is about to begin will read its inbox, as far as can be known: what lies there before its first
/// word must not come before the lists.
pub(super) fn will_listen<P>(member: &Member<P>) -> bool {
    let spec = &member.policy.spec;
    let has_spoken = member.seen.speaks.max(member.seen.spoke_before) >= Speaks::Spool;
    spec.is_built_in() || has_spoken || spec.ready.when == ReadyWhen::Signal
}

/// Whether a run takes what lies in its inbox.
fn listens<P>(member: &Member<P>) -> bool {
    let speaks = member.policy.spec.is_built_in() || member.seen.speaks >= Speaks::Spool;
    speaks && member.bot.live_run().is_some()
}
