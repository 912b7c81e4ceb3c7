//! Carries out a plan: what does not run at once, then one of the bots that run, and when that is well the others, a few at
//! a time.

use std::time::Duration;

use super::plan::{Plan, What};
use super::{Ready, Stored, put};
use crate::cli::client::{Client, is_well};
use crate::cli::commands::bot;
use crate::cli::failure::Failure;
use crate::config::Settings;
use crate::model::bot::BotId;
use crate::run::identity::Identity;

/// Bots that are changed together once the first one is well.
const WAVE: usize = 10;

/// What was done.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) stored: Stored,
    pub(super) removed: Vec<BotId>,
    /// Why the rest was left as it was, in one line.
    pub(super) stopped: Option<String>,
}

/// Errors where nothing more can be done; what was done before stays.
pub(super) fn carry_out(
    client: &Client,
    bots: &[Ready<'_>],
    plan: &Plan,
    defaults: &Settings,
    timeout: Duration,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    let waves = match client.supervisor() {
        Some(_) => waves(&running_changes(client, plan), bots),
        None => vec![bots.to_vec()],
    };
    let count = waves.len();
    for (number, wave) in waves.into_iter().enumerate() {
        outcome.stored.extend(put(client, &wave, defaults, Vec::new())?);
        client.reload()?;
        let is_last = number + 1 == count;
        if is_last || wave.is_empty() || number == 0 {
            continue;
        }
        let Some(supervisor) = client.supervisor() else {
            continue;
        };
        if let Some(why) = ails(client, &supervisor, &wave, timeout)? {
            let left = bots.len() - outcome.stored.len();
            outcome.stopped = Some(format!(
                "{why}; {left} bots keep their old settings: mend the files and apply them again"
            ));
            return Ok(outcome);
        }
    }
    for step in plan.steps.iter().filter(|step| matches!(step.what, What::Remove)) {
        bot::remove(client, &step.bot)?;
        outcome.removed.push(step.bot.clone());
    }
    Ok(outcome)
}

/// The bots of a plan whose change may restart a running process.
fn running_changes(client: &Client, plan: &Plan) -> Vec<BotId> {
    let is_changed =
        |what: &What| matches!(what, What::Change(changes) if !changes.secrets.iter().any(|name| name == "token"));
    let changed = plan.steps.iter().filter(|step| is_changed(&step.what));
    changed
        .map(|step| step.bot.clone())
        .filter(|id| bot::is_alive(client, id))
        .collect()
}

/// First all that can change at once, tokens among it as two bots may exchange theirs; then one that runs, then the
/// others in groups.
fn waves<'a>(running: &[BotId], bots: &[Ready<'a>]) -> Vec<Vec<Ready<'a>>> {
    let (careful, free): (Vec<_>, Vec<_>) = bots.iter().cloned().partition(|ready| running.contains(&ready.bot.id));
    let mut waves = vec![free];
    let mut rest = careful.into_iter();
    waves.extend(rest.next().map(|canary| vec![canary]));
    let rest: Vec<Ready<'a>> = rest.collect();
    waves.extend(rest.chunks(WAVE).map(<[Ready<'a>]>::to_vec));
    waves
}

/// What is wrong with the bots of a wave after it; None when all run as they are wanted.
fn ails(
    client: &Client,
    supervisor: &Identity,
    wave: &[Ready<'_>],
    timeout: Duration,
) -> Result<Option<String>, Failure> {
    let concerns = |id: &str| wave.iter().any(|ready| ready.bot.id.as_str() == id);
    match client.settle(supervisor, "changing", |bot| concerns(&bot.id), Some(timeout)) {
        Ok(after) => Ok(after.iter().find(|bot| !is_well(bot)).map(|bot| {
            let reason = bot
                .reason
                .as_deref()
                .map(|reason| format!(": {reason}"))
                .unwrap_or_default();
            format!("{} is {} with its new settings{reason}", bot.id, bot.state)
        })),
        Err(Failure::TimedOut { what, .. }) => Ok(Some(what)),
        Err(failure) => Err(failure),
    }
}
