//! What this host hands to those who look at bots from outside: whom to ask, and whose log to read. They are
//! other modules, which the composition root knows.

use std::path::PathBuf;

use crate::model::asking::AskingPolicy;
use crate::model::bot::{BotId, Platform, RunId, Secret};
use crate::model::credential::Fields;
use crate::model::judging::JudgingPolicy;
use crate::model::probe::{Check, LogCheck, Probe};
use crate::model::units::{Moment, Stamp};

use super::host::{Launch, LogTarget, PlatformTarget, ProbeTarget};
use super::process::ProcessHost;

/// The probes of one run that take a process or a connection.
pub struct ProbeLookout {
    pub run: RunId,
    /// When the run began, from which `initial_delay` counts.
    pub began_at: Moment,
    pub probes: Vec<Probe>,
    /// What a program that asks is started with: the bot's own environment without its token.
    pub env: Vec<(String, String)>,
    pub cwd: PathBuf,
}

/// How a bot's log is read.
pub struct LogLookout {
    pub run: RunId,
    pub path: PathBuf,
    /// Older lines are of earlier runs.
    pub since: Stamp,
    /// None: the usual marks of errors.
    pub errors_pattern: Option<String>,
    pub checks: Vec<(String, LogCheck)>,
    /// Whose words may be signs of what is wrong.
    pub platform: Platform,
    pub judging: JudgingPolicy,
}

/// How the platform of one run is asked.
pub struct PlatformLookout {
    pub run: RunId,
    pub api_root: String,
    pub token: Secret,
}

/// What those who ask platforms are told.
pub enum PlatformOrder {
    /// How often, for all of them.
    Policy(AskingPolicy),
    /// Whom; None: not any more.
    Target(BotId, Option<PlatformLookout>),
}

/// Hands a bot's orders on; None: it is not looked at any more.
pub type TellProber = Box<dyn Fn(BotId, Option<ProbeLookout>)>;
pub type TellLogWatch = Box<dyn Fn(BotId, Option<LogLookout>)>;
pub type TellPlatformProbe = Box<dyn Fn(PlatformOrder)>;

impl ProcessHost {
    pub(super) fn order_probes(&mut self, bot: &BotId, target: Option<ProbeTarget<'_>>) {
        let Some(target) = target else {
            if self.probed.remove(bot) {
                (self.parts.prober)(bot.clone(), None);
            }
            return;
        };
        let probes: Vec<Probe> = target
            .spec
            .probes
            .iter()
            .filter(|probe| probe.check.is_outside())
            .cloned()
            .collect();
        let has_program = probes.iter().any(|probe| matches!(probe.check, Check::Exec(_)));
        let orders = ProbeLookout {
            run: target.run.clone(),
            began_at: target.began_at,
            probes,
            env: if has_program {
                self.env_of_probes(&target)
            } else {
                Vec::new()
            },
            cwd: target
                .spec
                .cwd
                .clone()
                .unwrap_or_else(|| self.parts.home.dir().to_owned()),
        };
        self.probed.insert(bot.clone());
        (self.parts.prober)(bot.clone(), Some(orders));
    }

    fn env_of_probes(&self, target: &ProbeTarget<'_>) -> Vec<(String, String)> {
        let launch = Launch {
            run: target.run,
            index: target.index,
            spec: target.spec,
            token: None,
            // Programs that only ask need no secrets.
            fields: &Fields::new(),
            recipe: "",
        };
        match self.environment(&launch) {
            Ok(env) => env.into_iter().collect(),
            Err(why) => {
                let bot = &target.spec.id;
                tracing::warn!("{bot}: its probes run without what stands there: {why}");
                let spec = crate::model::bot::BotSpec {
                    env_file: None,
                    ..target.spec.clone()
                };
                let launch = Launch { spec: &spec, ..launch };
                self.environment(&launch).unwrap_or_default().into_iter().collect()
            }
        }
    }

    pub(super) fn order_platform(&mut self, bot: &BotId, target: Option<PlatformTarget<'_>>) {
        let orders = target.map(|target| PlatformLookout {
            run: target.run.clone(),
            api_root: target.api_root.to_owned(),
            token: target.token.clone(),
        });
        if orders.is_some() {
            self.asked.insert(bot.clone());
        } else if !self.asked.remove(bot) {
            return;
        }
        (self.parts.platform_probe)(PlatformOrder::Target(bot.clone(), orders));
    }

    pub(super) fn order_log(&mut self, bot: &BotId, target: Option<LogTarget<'_>>) {
        let Some(log_watch) = &self.parts.log_watch else { return };
        let orders = target.map(|target| LogLookout {
            run: target.run.clone(),
            path: self.parts.home.log_of(bot),
            since: target.since,
            errors_pattern: target.spec.errors_pattern.clone(),
            checks: target
                .spec
                .probes
                .iter()
                .filter_map(|probe| match &probe.check {
                    Check::Log(check) => Some((probe.name.clone(), check.clone())),
                    _ => None,
                })
                .collect(),
            platform: target.spec.platform,
            judging: target.spec.judging.clone(),
        });
        if orders.is_some() {
            self.logged.insert(bot.clone());
        } else if !self.logged.remove(bot) {
            return;
        }
        log_watch(bot.clone(), orders);
    }
}
