//! A login that an admin asks for in a chat: the program runs on a thread of its own, and the chat is answered when it
//! has ended.

use std::thread;

use super::environment::Secrets;
use super::event_loop::Supervisor;
use super::host::{Host, LoginTarget};
use super::login::{Given, Login, Talk};
use super::news::News;
use super::process::ProcessHost;
use super::snapshot::Stage;
use crate::model::bot::BotId;
use crate::model::message::Envelope;
use crate::store::By;

/// Who waits for a login.
pub(super) struct Asker {
    asked: Envelope,
    by: By,
}

impl<H: Host> Supervisor<H> {
    /// A bot asks for its login program in the name of somebody.
    pub(super) fn asked_for_login(&mut self, bot: &BotId, envelope: &Envelope) {
        if let Err(why) = self.begin_login(bot, envelope) {
            self.host.warn(&format!("{bot}: login is refused: {why}"));
            self.answer_bot(bot, envelope, Err(why));
        }
    }

    fn begin_login(&mut self, bot: &BotId, envelope: &Envelope) -> Result<(), String> {
        let by = self.admin_behind(bot, &envelope.payload)?;
        if self.logins.contains_key(bot) {
            return Err("a login is under way already".to_owned());
        }
        let member = self.fleet.get(bot).ok_or_else(|| format!("no bot {bot}"))?;
        self.host.log_in(&LoginTarget {
            spec: &member.policy.spec,
            index: member.index,
            secrets: Secrets {
                token: member.token.as_ref(),
                fields: &member.fields,
            },
        })?;
        let asked = envelope.clone();
        self.logins.insert(bot.clone(), Asker { asked, by });
        Ok(())
    }

    /// A login program has ended. The answer is there before the restart that it may mean.
    pub(super) fn logged_in(&mut self, bot: &BotId, outcome: Result<Given, String>) {
        let Some(Asker { asked, by }) = self.logins.remove(bot) else {
            return;
        };
        let outcome = outcome.and_then(|given| {
            self.host.keep_login(bot, &given, &by)?;
            let names: Vec<&str> = given.iter().map(|(name, _)| name.as_str()).collect();
            Ok(format!("logged in: {} stored", names.join(", ")))
        });
        let is_new = outcome.is_ok();
        if let Err(why) = &outcome {
            self.host.warn(&format!("{bot}: login failed: {why}"));
        }
        self.answer_bot(bot, &asked, outcome);
        if is_new
            && self.stage == Stage::Running
            && let Err(error) = self.reload()
        {
            self.host.warn(&format!("reload failed: {error}"));
        }
    }
}

impl ProcessHost {
    pub(super) fn start_login(&self, target: &LoginTarget<'_>) -> Result<(), String> {
        let login = Login::of(target.spec, target.index, &self.ground(), &target.secrets)?;
        let (bot, queue) = (target.spec.id.clone(), self.parts.queue.clone());
        let ticket = self.logins.begin(login.id());
        let work = move || {
            let outcome = login.run(Talk::Nobody);
            drop(ticket);
            // A supervisor that has ended wants to know no more.
            let _ = queue.send(News::LoggedIn { bot, outcome });
        };
        let started = thread::Builder::new().name("login".to_owned()).spawn(work);
        started
            .map(drop)
            .map_err(|error| format!("cannot start a thread: {error}"))
    }
}
