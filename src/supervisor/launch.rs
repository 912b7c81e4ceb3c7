//! What a run is started with: the orders for its shim.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use crate::home::Home;
use crate::model::bot::{BotSpec, RunId};
use crate::model::units::show_size;
use crate::run::brief::{BRIEF, BRIEF_BYTES_MAX, Brief};
use crate::run::orders::{LogOrders, MediaOrders, NotifyOrders, ORDERS_VERSION, Orders};

use super::environment::{self, Account, Secrets};
use super::host::Launch;
use super::kernel;
use super::process::ProcessHost;

/// Of what the environment of all bots of a home is made.
pub struct Ground<'a> {
    pub home: &'a Home,
    pub home_id: &'a str,
    /// The operator's account.
    pub account: &'a Account,
    /// `env` of multibot.yaml.
    pub settings: &'a BTreeMap<String, String>,
}

impl Ground<'_> {
    /// The environment of a bot, for one of its runs or for a program that works for it. Errors where its `env_file`
    /// cannot be read.
    pub fn environment(
        &self,
        spec: &BotSpec,
        index: u32,
        run: Option<&RunId>,
        secrets: &Secrets<'_>,
    ) -> Result<BTreeMap<String, String>, String> {
        let home = self.home;
        let env_file = env_file(spec)?;
        let media = spec.media.dir.clone().unwrap_or_else(|| home.media_of(&spec.id));
        let (inbox, outbox, heartbeat) = (
            home.inbox_of(&spec.id),
            home.outbox_of(&spec.id),
            home.heartbeat_of(&spec.id),
        );
        let identity = environment::Identity {
            bot: &spec.id,
            index,
            run,
            home_id: self.home_id,
            inbox: &inbox,
            outbox: &outbox,
            heartbeat: &heartbeat,
            media: &media,
        };
        let program = own_program();
        let base = environment::Base {
            account: self.account,
            program: program.as_deref(),
            settings: self.settings,
            inherited: &|name| std::env::var(name).ok(),
        };
        Ok(environment::build(spec, &base, &env_file, secrets, &identity))
    }
}

impl ProcessHost {
    /// The whole environment of one run. Errors where its `env_file` cannot be read.
    pub(super) fn environment(&self, launch: &Launch<'_>) -> Result<BTreeMap<String, String>, String> {
        let secrets = Secrets {
            token: launch.token,
            fields: launch.fields,
        };
        let spec = launch.spec;
        let mut env = self
            .ground()
            .environment(spec, launch.index, Some(launch.run), &secrets)?;
        if spec.is_built_in() {
            let media = spec
                .media
                .dir
                .clone()
                .unwrap_or_else(|| self.parts.home.media_of(&spec.id));
            let brief = brief(spec, media).to_text();
            if brief.len() > BRIEF_BYTES_MAX {
                return Err(format!(
                    "commands: they are {} long together, at most {} can be told to a bot: make them shorter, or programs",
                    show_size(brief.len() as u64),
                    show_size(BRIEF_BYTES_MAX as u64)
                ));
            }
            env.insert(BRIEF.to_owned(), brief);
        }
        Ok(env)
    }

    pub(super) fn ground(&self) -> Ground<'_> {
        Ground {
            home: &self.parts.home,
            home_id: &self.home_id,
            account: &self.parts.account,
            settings: &self.env,
        }
    }

    /// The orders of one run: what the shim needs and nothing else.
    pub(super) fn orders(&self, launch: &Launch<'_>) -> Result<Orders, String> {
        let (spec, home) = (launch.spec, &self.parts.home);
        let media = spec.media.dir.clone().unwrap_or_else(|| home.media_of(&spec.id));
        let mut env = self.environment(launch)?;
        let notify = self.notify(launch);
        let notify = environment::add_notify(&mut env, &notify.address, spec.heartbeat_timeout).then_some(notify);
        let secrets = environment::secrets_of(&env, launch.token, launch.fields);
        Ok(Orders {
            v: ORDERS_VERSION,
            run_id: launch.run.to_string(),
            bot: spec.id.to_string(),
            run_dir: home.run_of(&spec.id),
            lock: home.lock_of(&spec.id),
            log: LogOrders {
                path: home.log_of(&spec.id),
                max_size: spec.log.max_size,
                keep: spec.log.keep,
            },
            argv: self.argv(spec)?,
            env: env.into_iter().collect(),
            cwd: spec.cwd.clone().unwrap_or_else(|| home.dir().to_owned()),
            secrets: secrets.iter().map(|secret| secret.reveal().to_owned()).collect(),
            stop_signal: spec.stop.signal,
            grace_ms: u64::try_from(spec.stop.grace.as_millis()).unwrap_or(u64::MAX),
            recipe: Some(launch.recipe.to_owned()),
            media: Some(MediaOrders {
                dir: media,
                clean_on_start: spec.media.clean_on_start,
            }),
            kernel: kernel::orders(
                spec,
                &self.parts.delegation,
                &kernel::leaf_name(&self.home_id, home.dir(), &spec.id),
            ),
            notify,
        })
    }

    fn notify(&self, launch: &Launch<'_>) -> NotifyOrders {
        let (home, bot) = (&self.parts.home, &launch.spec.id);
        let uid = rustix::process::geteuid().as_raw();
        let run_dir = home.run_of(bot);
        let address = kernel::notify_address(&run_dir, launch.run.as_str(), uid);
        NotifyOrders {
            address: address.display().to_string(),
            outbox: home.outbox_of(bot),
            heartbeat: home.heartbeat_of(bot),
            watchdog_ms: u64::try_from(launch.spec.heartbeat_timeout.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The program and its arguments; a bot without a command is played by this program itself.
    fn argv(&self, spec: &BotSpec) -> Result<Vec<String>, String> {
        if !spec.is_built_in() {
            return Ok(spec.command.clone());
        }
        Ok(vec![
            crate::run::SELF.to_owned(),
            crate::run::RUNNER_VERB.to_owned(),
            spec.platform.word().to_owned(),
        ])
    }
}

/// Where this program lies; by its old place where another one lies there now, which is as good for a bot.
fn own_program() -> Option<PathBuf> {
    let program = std::fs::read_link(crate::run::SELF).ok()?;
    let text = program.to_str().unwrap_or_default();
    Some(text.strip_suffix(" (deleted)").map_or(program.clone(), PathBuf::from))
}

/// What a built-in bot is told of its settings.
pub(super) fn brief(spec: &BotSpec, media: PathBuf) -> Brief {
    Brief {
        media,
        media_max_file: spec.media.max_file,
        media_quota: spec.media.quota,
        chat: spec.chat.clone(),
        telegram: spec.telegram.clone(),
        whatsapp: spec.whatsapp.clone(),
    }
}

/// What the bot's `env_file` says now.
fn env_file(spec: &BotSpec) -> Result<BTreeMap<String, String>, String> {
    match &spec.env_file {
        None => Ok(BTreeMap::new()),
        Some(path) => {
            let is_readable = std::fs::metadata(path).is_ok_and(|meta| !meta.file_type().is_fifo() && !meta.is_dir());
            if !is_readable {
                return Err(format!("env_file {}: not a file that can be read", path.display()));
            }
            let text =
                std::fs::read_to_string(path).map_err(|source| format!("env_file {}: {source}", path.display()))?;
            environment::parse_env_file(&text).map_err(|why| format!("env_file {}: {why}", path.display()))
        }
    }
}
