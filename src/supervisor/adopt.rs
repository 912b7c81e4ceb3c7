//! How a supervisor takes up a home: what is configured, what earlier supervisors have left running, how
//! what they left has ended meanwhile, and only then anything new.

use std::collections::BTreeSet;

use super::asked::Asked;
use super::event_loop::Supervisor;
use super::fleet::{Counted, Discretion, Member, Place, Seen, Speaks};
use super::host::{Found, Host, Remnant};
use super::kernel::is_net_outgrown;
use super::ledger::Ledger;
use super::machine::{Bot, Effect, Event, Phase, Policy, Stage as StopStage, StopMode};
use super::news::News;
use super::people::Telling;
use super::recall::recall;
use super::recipe::differs;
use super::reload::placeholder;
use super::snapshot::{BotStatus, Stage};
use super::usage::standing_of;
use crate::model::bot::{BotId, Platform, RunId, Wanted};
use crate::model::credential::Fields;
use crate::model::judging::{Docket, JudgingPolicy, Signs};
use crate::model::units::{Moment, Stamp};

impl<H: Host> Supervisor<H> {
    /// Takes up the home as it is. Nothing is started, and no command is read, before everything that
    /// lives is known and a snapshot says so.
    pub fn open(&mut self) -> Result<(), String> {
        let configuration = self.host.load()?;
        self.take(&configuration);
        for configured in configuration.bots {
            self.add(configured);
        }
        let configured = self.fleet.ids();
        let found = self.host.survey(&configured);
        for it in found {
            let (bot, is_clear) = (it.bot.clone(), !matches!(it.remnant, Remnant::Unclear(_)));
            self.adopt(it);
            // Whoever is unclear may be working on what it claimed.
            if is_clear {
                self.recover(&bot, None);
            }
        }
        if self.host.was_left() {
            self.identity.adopted = 0;
        }
        self.identity.disk_free_bytes = self.host.disk_free();
        self.publish_now();
        self.host.flush();
        self.stage = Stage::Running;
        // Nobody knows what they were told last, and by whom.
        self.tell_everybody(Telling::All);
        self.resume();
        self.unread.insert(None);
        self.touch();
        self.host.log("supervisor is ready");
        Ok(())
    }

    /// Starts what is wanted, in the order in which the bots were created, and ends what is not: a stop
    /// may have been stored, or a bot removed, while no supervisor ran.
    fn resume(&mut self) {
        let members = self.fleet.members();
        let bots: BTreeSet<(u32, BotId)> = members.map(|(bot, member)| (member.index, bot.clone())).collect();
        for (_, bot) in bots {
            if self.fleet.get(&bot).is_some_and(Member::is_desired) {
                self.apply(&bot, Event::Resume);
            } else {
                self.apply(&bot, Event::WantDown(StopMode::Graceful));
            }
        }
        // What was changed while no supervisor ran holds from now on.
        for bot in std::mem::take(&mut self.outdated) {
            if self.fleet.get(&bot).is_some_and(Member::is_desired) {
                self.host.log(&format!("{bot}: its settings have changed meanwhile"));
                self.apply(&bot, Event::WantRestart(StopMode::Graceful));
            }
        }
    }

    /// Takes up one bot as it was found.
    fn adopt(&mut self, found: Found) {
        if self.fleet.get(&found.bot).is_none() {
            self.add_removed(&found.bot);
        }
        let (now, stamp) = (self.host.now(), self.host.stamp());
        let interval = self.pace.status_poll_interval;
        let Some(member) = self.fleet.get_mut(&found.bot) else {
            return;
        };
        let wanted = if member.is_desired() { Wanted::Up } else { Wanted::Down };
        member.bot = recall(&member.policy, wanted, &found, now, stamp);
        member.counted = Counted {
            ended: found.ledger.ended.as_deref().and_then(RunId::parse),
            refused: found.ledger.refused.as_deref().and_then(RunId::parse),
        };
        member.seen.last_end = found.last_end.clone();
        member.seen.limit_action = found.ledger.limit_action.clone();
        member.seen.speaks = found.live().map_or(Speaks::Nothing, |live| live.speaks());
        // It was asked by an earlier supervisor, whose questions are not counted.
        let is_polled = member.seen.speaks == Speaks::Ready && !interval.is_zero();
        member.seen.poll.next_at = is_polled.then(|| now + interval);
        if let Some(line) = &found.shown {
            let is_sampled = self.pace.sampling_period.is_some();
            member.take_shown(line, is_sampled, now, stamp);
        }
        member.seen.read_until = found.shown_at;
        member.seen.suits = found.live().and_then(|live| live.suits.clone());
        let is_counted = found.is_counted();
        member.noted = found.ledger;
        self.fleet.refresh(&found.bot);
        match found.remnant {
            Remnant::Nothing => {}
            Remnant::Alive {
                run,
                pid,
                started_at,
                recipe,
                kernel,
                ..
            } => {
                if let Some(member) = self.fleet.get_mut(&found.bot) {
                    (member.seen.pid, member.seen.started_at) = (Some(pid), Some(started_at));
                    let has = member.seen.suits.as_deref().or(recipe.as_deref());
                    member.seen.kernel = kernel;
                    let is_outgrown = is_net_outgrown(&member.seen.kernel, &member.policy.spec);
                    // By settings that are unusable it could not be started anew.
                    let is_usable = member.policy.unsupported.is_none();
                    if is_usable && (differs(has, &member.recipe) || is_outgrown) {
                        self.outdated.push(found.bot.clone());
                    }
                }
                self.take_up(&found.bot, run, pid);
            }
            Remnant::Ended { run, end, .. } if is_counted => {
                // The last supervisor may have died between the counting and the telling.
                if !found.is_told {
                    self.fact(&found.bot, Some(run), "exited", &end.to_string());
                }
            }
            Remnant::Ended { run, end, at, .. } => {
                self.ended(&found.bot, run.clone(), end, at);
                if let Some(member) = self.fleet.get_mut(&found.bot) {
                    member.counted.ended = Some(run);
                }
                self.note(&found.bot);
            }
            Remnant::Unclear(_) => {
                let reason = self.fleet.get(&found.bot).and_then(Member::reason).unwrap_or_default();
                self.fact(&found.bot, None, "held", &reason);
                self.host.warn(&format!("{}: held: {reason}", found.bot));
            }
        }
    }

    /// A run goes on under this supervisor. A stop that was under way when the last one died is asked for
    /// again: the word may not have reached the shim.
    fn take_up(&mut self, bot: &BotId, run: RunId, pid: u32) {
        self.targets_changed = true;
        self.identity.adopted += 1;
        self.fact(bot, Some(run.clone()), "adopted", &format!("pid {pid}"));
        self.host.log(&format!("{bot}: adopted (pid {pid})"));
        match self.fleet.get(bot).map(|member| &member.bot.phase) {
            Some(Phase::Stopping {
                stage: StopStage::Asked { .. },
                ..
            }) => self.perform(bot, Effect::Terminate { run }),
            Some(Phase::Stopping { .. }) => self.perform(bot, Effect::Kill { run }),
            _ => {}
        }
        self.watch_health(bot);
        self.watch_log(bot);
        self.handle(News::Outbox(bot.clone()));
    }

    /// A bot that was removed while no supervisor ran, and of which something lives.
    fn add_removed(&mut self, bot: &BotId) {
        let state_since = self.host.stamp();
        let member = Member {
            index: u32::MAX,
            desired: Wanted::Down,
            policy: Policy {
                spec: placeholder(bot),
                unsupported: None,
                judged: None,
            },
            token: None,
            fields: Fields::new(),
            recipe: String::new(),
            discretion: Discretion::new(Vec::new()),
            signs: Signs::of(Platform::None, &JudgingPolicy::default()),
            docket: Docket::default(),
            place: Place::Leaving,
            bot: Bot::new(Wanted::Down),
            seen: Seen::default(),
            counted: Counted::default(),
            noted: Ledger::default(),
            undecided: Vec::new(),
            state_since,
        };
        self.fleet.insert(bot.clone(), member);
    }

    /// Has the host note what the next supervisor must know of a bot, where that has changed.
    pub(super) fn note(&mut self, bot: &BotId) {
        let Some(member) = self.fleet.get_mut(bot) else { return };
        let ledger = member.ledger();
        if ledger != member.noted {
            self.host.note(bot, &ledger);
            member.noted = ledger;
        }
    }
}

impl<P> Member<P> {
    /// What the last snapshot said of the run that still lives.
    fn take_shown(&mut self, line: &BotStatus, is_sampled: bool, now: Moment, stamp: Stamp) {
        self.seen.connected = line.connected;
        self.seen.asked = Asked::of(line.asked.as_ref());
        self.seen.status_text = line.status_text.clone();
        if let (Some(since), true) = (line.state_since, line.state == self.bot.state().word()) {
            self.state_since = Stamp::from_unix_ms(since);
        }
        self.seen.heartbeat_at = line.heartbeat_at.map(Stamp::from_unix_ms);
        self.seen.health.earlier = line.probes.clone();
        self.seen.last_why = line.last_exit.as_ref().and_then(|exit| exit.why.clone());
        // Where nothing is sampled any more nobody would mend it.
        if is_sampled {
            self.seen.standings = line
                .limits
                .iter()
                .filter_map(|it| standing_of(it, now, stamp))
                .collect();
        }
    }
}
