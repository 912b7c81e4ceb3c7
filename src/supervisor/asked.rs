//! What the platforms of bots answered when they were asked, and what follows from it.

use crate::model::asking::{Pile, Word};
use crate::model::bot::{BotId, Platform, RunId};
use crate::model::judging::Class;
use crate::model::units::Stamp;

use super::event_loop::Supervisor;
use super::host::{Host, PlatformTarget};
use super::machine::{Event, Phase, Then};
use super::snapshot::{AskedStatus, Stage};

/// What one platform has said of one bot.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    name: Option<String>,
    pending: Option<u64>,
    at: Option<Stamp>,
    unreachable: Option<String>,
    /// Why a run was restarted, until updates have become fewer.
    stalled: Option<String>,
    /// Of the current run.
    pub pile: Pile,
}

impl Asked {
    /// As an earlier supervisor published it.
    pub fn of(shown: Option<&AskedStatus>) -> Asked {
        let shown = shown.cloned().unwrap_or_default();
        Asked {
            name: shown.name,
            pending: shown.pending,
            at: shown.at.map(Stamp::from_unix_ms),
            unreachable: shown.unreachable,
            stalled: shown.stalled,
            pile: Pile::default(),
        }
    }

    pub fn of_next_run(self) -> Asked {
        Asked {
            pile: Pile::default(),
            ..self
        }
    }

    /// None before anything was heard.
    pub fn status(&self) -> Option<AskedStatus> {
        let status = AskedStatus {
            name: self.name.clone(),
            pending: self.pending,
            at: self.at.map(Stamp::unix_ms),
            unreachable: self.unreachable.clone(),
            stalled: self.stalled.clone(),
        };
        (status != AskedStatus::default()).then_some(status)
    }
}

impl<H: Host> Supervisor<H> {
    /// Has the platform of a bot that runs asked about it.
    pub(super) fn watch_platform(&mut self, bot: &BotId) {
        let Some(member) = self.fleet.get(bot) else { return };
        let target = match (&member.bot.phase, &member.token) {
            (Phase::Running { run, .. }, Some(token)) if member.policy.spec.platform == Platform::Telegram => {
                Some(PlatformTarget {
                    run,
                    api_root: &member.policy.spec.telegram.api_root,
                    token,
                })
            }
            _ => None,
        };
        self.host.watch_platform(bot, target);
    }

    /// A platform was asked about a run.
    pub(super) fn platform_said(&mut self, bot: &BotId, run: &RunId, word: Word) {
        let (now, stamp, longest) = (self.host.now(), self.host.stamp(), self.pace.asking.backlog_for);
        let Some(member) = self.fleet.get_mut(bot) else { return };
        // What is said while a supervisor leaves is said to the next one again.
        let is_running = matches!(&member.bot.phase, Phase::Running { run: live, .. } if live == run);
        if !is_running || self.stage == Stage::Leaving {
            return;
        }
        let asked = &mut member.seen.asked;
        let mut why = None;
        match word {
            Word::Name(name) => {
                if asked.name.as_ref() == Some(&name) {
                    return;
                }
                asked.name = Some(name);
            }
            Word::Pending(pending) => {
                if asked.pending.is_some_and(|before| pending < before) || pending == 0 {
                    asked.stalled = None;
                }
                let is_news = asked.pending != Some(pending) || asked.unreachable.is_some();
                (asked.pending, asked.at, asked.unreachable) = (Some(pending), Some(stamp), None);
                why = longest.and_then(|longest| asked.pile.look(pending, longest, now));
                // Two hundred bots that say the same every minute would else publish for that alone.
                if !is_news && why.is_none() {
                    return;
                }
            }
            Word::Unreachable(why) => {
                if asked.unreachable.is_some() {
                    return;
                }
                asked.unreachable = Some(member.discretion.masked(&why));
            }
            Word::Unauthorized(text) => {
                self.judge(bot, Class::Credentials, &text);
                return self.apply(bot, Event::Judged);
            }
        }
        if let Some(why) = &why {
            asked.stalled = Some(why.clone());
        }
        self.touch();
        if let Some(why) = why {
            self.host.audit("platform restart", bot, &why);
            let (run, then) = (run.clone(), Then::Restart);
            self.apply(bot, Event::Unhealthy { run, why, then });
        }
    }
}
