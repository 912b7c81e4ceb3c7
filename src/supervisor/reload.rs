//! Takes over what the store says: which bots there are, how they are to run, and what is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::model::bot::{BotId, BotSpec, Platform, State, Wanted};
use crate::model::judging::{Docket, Signs};
use crate::model::usage::Standing;

use super::environment::secrets_of;
use super::event_loop::Supervisor;
use super::fleet::{Counted, Discretion, Member, Place, Seen};
use super::host::{Configured, Host};
use super::ledger::Ledger;
use super::machine::{Bot, Event, Policy, StopMode};
use super::news::News;
use super::refresh::{Means, means};

/// What a bot says that runs on although its settings have become unusable.
pub(super) const NOT_TAKEN_OVER: &str = "its new settings are not taken over";

/// What a reload meant for bots that ran.
pub(super) struct Effect {
    /// Those that are restarted because what they run with has changed.
    pub(super) restarted: Vec<String>,
    /// Those that were told of changed credentials.
    pub(super) told: Vec<String>,
}

impl<H: Host> Supervisor<H> {
    /// Makes the fleet what the store says: adds, changes, starts, stops and removes.
    pub(super) fn reload(&mut self) -> Result<Effect, String> {
        let (asked, told) = self.take_over()?;
        let mut restarted = Vec::new();
        for (bot, event) in asked {
            if matches!(event, Event::WantRestart(_)) {
                restarted.push(bot.to_string());
            }
            self.apply(&bot, event);
        }
        Ok(Effect { restarted, told })
    }

    /// Takes over what the store says. Returns what it asks for, bot by bot, to be applied, and who was told of changed
    /// credentials.
    pub(super) fn take_over(&mut self) -> Result<(BTreeMap<BotId, Event>, Vec<String>), String> {
        let configuration = self.host.load()?;
        self.take(&configuration);
        let known: BTreeSet<BotId> = configuration
            .bots
            .iter()
            .map(|configured| configured.id.clone())
            .collect();
        let (mut asked, mut told) = (BTreeMap::new(), Vec::new());
        for configured in configuration.bots {
            let bot = configured.id.clone();
            let event = match self.fleet.get(&bot) {
                Some(_) => self.change(configured, &mut told),
                None => {
                    self.add(configured);
                    self.fleet
                        .get(&bot)
                        .is_some_and(Member::is_desired)
                        .then_some(Event::WantUp)
                }
            };
            asked.extend(event.map(|event| (bot, event)));
        }
        for bot in self.fleet.ids() {
            if !known.contains(&bot) {
                if let Some(member) = self.fleet.get_mut(&bot) {
                    member.place = Place::Leaving;
                    // Created again before it is gone, it is wanted anew.
                    member.desired = Wanted::Down;
                }
                asked.insert(bot, Event::WantDown(StopMode::Graceful));
            }
        }
        self.touch();
        Ok((asked, told))
    }

    pub(super) fn add(&mut self, configured: Configured) {
        let bot = configured.id.clone();
        if let Err(error) = self.host.prepare(&bot) {
            self.host.warn(&format!("{bot}: {error}"));
        }
        let policy = policy_of(&configured);
        let state_since = self.host.stamp();
        let member = Member {
            index: configured.index,
            desired: configured.wanted,
            discretion: Discretion::new(secrets_of(
                &policy.spec.env,
                configured.token.as_ref(),
                &configured.fields,
            )),
            signs: Signs::of(policy.spec.platform, &policy.spec.judging),
            docket: Docket::default(),
            policy,
            token: configured.token,
            fields: configured.fields,
            recipe: configured.recipe,
            place: Place::Configured,
            bot: Bot::new(Wanted::Down),
            seen: Seen::default(),
            counted: Counted::default(),
            noted: Ledger::default(),
            undecided: Vec::new(),
            state_since,
        };
        self.fleet.insert(bot.clone(), member);
        self.handle(News::Counts(bot.clone()));
        self.handle(News::Outbox(bot));
    }

    /// A run whose new settings are unusable goes on with its old ones: a slip must not stop a bot that works. It
    /// is held when it is to be started the next time. Only what is wanted is taken over.
    fn keep(&mut self, configured: &Configured, new: Policy) -> Option<Event> {
        let member = self.fleet.get_mut(&configured.id)?;
        let was_desired = member.is_desired();
        member.index = configured.index;
        member.desired = configured.wanted;
        member.policy.spec.enabled = new.spec.enabled;
        member.policy.unsupported = new.unsupported;
        let is_judged_anew = member.policy.judged.is_none() && new.judged.is_some();
        member.policy.judged = new.judged;
        member.place = Place::Configured;
        match (was_desired, member.is_desired()) {
            (true, false) => Some(Event::WantDown(StopMode::Graceful)),
            (false, true) => Some(Event::WantUp),
            (true, true) if is_judged_anew => Some(Event::Judged),
            (true, true) | (false, false) => None,
        }
    }

    /// Takes over a bot's new configuration; says what it asks for. A bot that is told of it is added to `told`.
    fn change(&mut self, configured: Configured, told: &mut Vec<String>) -> Option<Event> {
        let bot = configured.id.clone();
        let policy = policy_of(&configured);
        let now = self.host.stamp();
        let member = self.fleet.get_mut(&bot)?;
        let was_desired = member.is_desired();
        if let (Some(why), true) = (&policy.unsupported, member.bot.live_run().is_some()) {
            if member.policy.unsupported.as_ref() != Some(why) {
                self.host.warn(&format!("{bot}: {NOT_TAKEN_OVER}: {why}"));
            }
            return self.keep(&configured, policy);
        }
        let means = means(member, &configured, &policy.spec);
        let was_held_by_config = member.policy.unsupported != policy.unsupported;
        let is_judged_anew = member.policy.judged.is_none() && policy.judged.is_some();
        let is_let_go = member.policy.judged.is_some() && policy.judged.is_none();
        if is_let_go || member.token != configured.token {
            member.docket.clear(now);
        }
        if (member.policy.spec.platform, &member.policy.spec.judging) != (policy.spec.platform, &policy.spec.judging) {
            member.signs = Signs::of(policy.spec.platform, &policy.spec.judging);
        }
        member.index = configured.index;
        member.desired = configured.wanted;
        let is_secret_new = member.token != configured.token
            || member.fields != configured.fields
            || member.policy.spec.env != policy.spec.env;
        if is_secret_new {
            let secrets = secrets_of(&policy.spec.env, configured.token.as_ref(), &configured.fields);
            member.discretion.learn(secrets);
        }
        // What was told of an old limit is no longer so.
        let (old, new) = (&member.policy.spec.limits, &policy.spec.limits);
        let is_kept = |it: &Standing| old.of(it.measure) == new.of(it.measure);
        member.seen.standings.retain(is_kept);
        member.policy = policy;
        member.token = configured.token;
        member.fields = configured.fields;
        if member.bot.live_run().is_some() && means != Means::Restart && member.recipe != configured.recipe {
            member.seen.suits = Some(configured.recipe.clone());
        }
        // Whoever gave up with the old settings is tried with the new ones at once.
        let gave_up = matches!(member.bot.state(), State::Failed | State::Backoff);
        let is_mended = gave_up && member.recipe != configured.recipe;
        member.recipe = configured.recipe;
        member.place = Place::Configured;
        let is_desired = member.is_desired();
        // Deadlines and limits follow the policy while the process stays.
        self.targets_changed = true;
        self.watch_health(&bot);
        self.watch_log(&bot);
        self.fleet.refresh(&bot);
        self.note(&bot);
        let is_outdated = match &means {
            Means::Tell(fields) if was_desired && is_desired => {
                let is_told = self.tell_changed(&bot, fields);
                told.extend(is_told.then(|| bot.to_string()));
                !is_told
            }
            Means::Tell(_) | Means::Nothing => false,
            Means::Restart => true,
        };
        match (was_desired, is_desired) {
            (true, false) => Some(Event::WantDown(StopMode::Graceful)),
            (false, true) => Some(Event::WantUp),
            (true, true) if is_outdated => Some(Event::WantRestart(StopMode::Graceful)),
            (true, true) if is_judged_anew => Some(Event::Judged),
            (true, true) if was_held_by_config || is_let_go || is_mended => Some(Event::WantUp),
            (true, true) | (false, false) => None,
        }
    }
}

/// What the machine may know of a bot, and whether this version can run it.
fn policy_of(configured: &Configured) -> Policy {
    match &configured.spec {
        Ok(spec) => Policy {
            spec: spec.clone(),
            unsupported: unsupported(spec),
            judged: configured.judged.clone(),
        },
        Err(unusable) => Policy {
            spec: (*unusable.legible).clone(),
            unsupported: Some(unusable.why.clone()),
            judged: configured.judged.clone(),
        },
    }
}

fn unsupported(spec: &BotSpec) -> Option<String> {
    match spec.platform {
        Platform::Loopback | Platform::None | Platform::Telegram | Platform::WhatsappCloud => None,
        _ if !spec.is_built_in() => None,
        Platform::Discord | Platform::Whatsapp => {
            Some(format!("platform {} has no built-in bot", spec.platform.word()))
        }
    }
}

/// Stands in for a configuration that is not stored any more, so that the bot can be shown and stopped.
pub(super) fn placeholder(bot: &BotId) -> BotSpec {
    let defaults = crate::config::Settings::new();
    crate::config::bot_spec(bot, &[&defaults]).unwrap_or_else(|_| unreachable!("the defaults are valid"))
}

/// Whether a running process would be started the same way under both.
pub(super) fn runs_alike(old: &BotSpec, new: &BotSpec) -> bool {
    let launched = |spec: &BotSpec| {
        let BotSpec {
            command,
            cwd,
            env,
            env_file,
            env_inherit,
            token_env,
            credentials_env,
            stop,
            log,
            media,
            platform,
            kernel,
            ..
        } = spec.clone();
        (
            command,
            cwd,
            env,
            env_file,
            env_inherit,
            token_env,
            credentials_env,
            stop,
            log,
            media,
            platform,
            kernel,
        )
    };
    let told = |spec: &BotSpec| spec.is_built_in().then(|| super::launch::brief(spec, PathBuf::new()));
    launched(old) == launched(new) && told(old) == told(new)
}
