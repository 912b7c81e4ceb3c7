//! `multibot apply`: what the files of a folder say becomes what is stored. The plan comes first; bots that run are changed
//! in waves.

mod plan;
mod waves;

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::cli::args::Apply;
use crate::cli::client::Client;
use crate::cli::commands::bot::SAMPLING_OFF;
use crate::cli::commands::credentials;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::{hidden, token};
use crate::clock;
use crate::config::{BotDocument, Fault, Faults, Settings, bot_spec, needs_sampling, read_bots};
use crate::model::bot::{BotId, Platform, Wanted};
use crate::output;
use crate::store::{self, NewBot, Put, Store};
use crate::supervisor::login::Given;

use plan::Plan;
use waves::Outcome;

/// What was stored, bot by bot.
pub(super) type Stored = Vec<(BotId, Put)>;

pub(in crate::cli) fn run(client: &Client, apply: &Apply) -> Result<Exit, Failure> {
    let settings = client.settings()?;
    let documents = read_bots(&apply.path, &settings.defaults)?;
    let mut faults = Vec::new();
    let bots = ready(&documents, &settings.defaults, &mut faults);
    let plan = Plan::make(client, &bots, apply.prune, &mut faults)?;
    try_all(client, &bots, &settings.defaults, &mut faults)?;
    if !faults.is_empty() {
        return Err(Failure::Config(Faults(faults)));
    }
    if apply.dry_run {
        if apply.json {
            output::document(&json!({"schema": 1, "plan": plan.to_json()}))?;
        } else {
            plan.show()?;
        }
        return Ok(if plan.changes_anything() {
            Exit::WouldChange
        } else {
            Exit::Done
        });
    }
    if plan.changes_anything() && !apply.json && hidden::can_ask() {
        plan.show()?;
        if !apply.yes && !hidden::is_agreed("apply this? [y/N] ")? {
            return Err(Failure::Refused("not applied".to_owned()));
        }
    }
    let outcome = waves::carry_out(client, &bots, &plan, &settings.defaults, apply.timeout)?;
    report(client, apply, &plan, &outcome)?;
    Ok(if outcome.stopped.is_none() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// Applies the file of one bot that its operator has edited: shows what would change, and asks.
pub(super) fn edited(client: &Client, file: &Path) -> Result<Exit, Failure> {
    let apply = Apply {
        path: file.to_owned(),
        dry_run: false,
        prune: false,
        yes: false,
        timeout: Duration::from_secs(60),
        json: false,
    };
    run(client, &apply)
}

/// Says what was done, and why the rest was not.
fn report(client: &Client, apply: &Apply, plan: &Plan, outcome: &Outcome) -> Result<(), Failure> {
    if apply.json {
        let bots: Vec<_> = outcome
            .stored
            .iter()
            .map(|(bot, put)| json!({"id": bot.as_str(), "outcome": word(*put)}))
            .chain(
                outcome
                    .removed
                    .iter()
                    .map(|bot| json!({"id": bot.as_str(), "outcome": "removed"})),
            )
            .collect();
        let running = client.supervisor().is_some();
        output::document(&json!({
            "schema": 1, "bots": bots, "supervisor_running": running, "plan": plan.to_json(),
            "stopped": outcome.stopped,
        }))?;
        return Ok(());
    }
    tell(&outcome.stored);
    for bot in &outcome.removed {
        output::note(&format!("{bot} removed"));
    }
    warn_unmeasured(client, &outcome.stored)?;
    match &outcome.stopped {
        Some(why) => output::error(&output::visible(why)),
        None if client.supervisor().is_none() => {
            output::note("no supervisor runs; the bots start with: multibot start");
        }
        None => {}
    }
    Ok(())
}

/// Reads all that the documents name, and gathers what cannot be had.
fn ready<'a>(documents: &'a [BotDocument], defaults: &Settings, faults: &mut Vec<Fault>) -> Vec<Ready<'a>> {
    let mut bots = Vec::new();
    for document in documents {
        match new_bot(document, defaults).and_then(|bot| Ok((bot, token::fields_from(document)?))) {
            Ok((bot, fields)) => bots.push(Ready { document, bot, fields }),
            Err(failure) => faults.push(placed(document, failure)),
        }
    }
    bots
}

/// Stores all of them and takes it back: whatever is wrong is told before anything is changed.
fn try_all(client: &Client, bots: &[Ready<'_>], defaults: &Settings, faults: &mut Vec<Fault>) -> Result<(), Failure> {
    if client.read_store()?.is_none() {
        return Ok(());
    }
    let tried = client.store()?.transaction(|store| {
        put_all(client, store, bots, defaults, faults)?;
        Err::<(), Abort>(Abort::Tried)
    });
    match tried {
        Err(Abort::Failed(failure)) => Err(failure),
        Ok(()) | Err(Abort::Tried) => Ok(()),
    }
}

/// Why a transaction is taken back.
enum Abort {
    Tried,
    Failed(Failure),
}

impl From<Failure> for Abort {
    fn from(failure: Failure) -> Abort {
        Abort::Failed(failure)
    }
}

impl From<store::Error> for Abort {
    fn from(error: store::Error) -> Abort {
        Abort::Failed(error.into())
    }
}

/// Checks every file and then stores all bots, or none where anything is wrong. All faults are told, each
/// with its place.
pub(super) fn store(client: &Client, path: &Path) -> Result<Stored, Failure> {
    let settings = client.settings()?;
    let documents = read_bots(path, &settings.defaults)?;
    let mut faults = Vec::new();
    let bots = ready(&documents, &settings.defaults, &mut faults);
    put(client, &bots, &settings.defaults, faults)
}

/// Stores these bots, or none of them where anything is wrong.
fn put(client: &Client, bots: &[Ready<'_>], defaults: &Settings, mut faults: Vec<Fault>) -> Result<Stored, Failure> {
    client.store()?.transaction(|store| {
        let stored = put_all(client, store, bots, defaults, &mut faults)?;
        if faults.is_empty() {
            Ok(stored)
        } else {
            Err(Failure::Config(Faults(std::mem::take(&mut faults))))
        }
    })
}

/// A bot's document, and all that was read for it.
#[derive(Clone)]
struct Ready<'a> {
    document: &'a BotDocument,
    bot: NewBot,
    fields: Given,
}

/// Stores what can be stored and gathers what cannot; the caller undoes it all if there is any fault.
fn put_all(
    client: &Client,
    store: &Store,
    bots: &[Ready<'_>],
    defaults: &Settings,
    faults: &mut Vec<Fault>,
) -> Result<Stored, Failure> {
    let now = clock::stamp();
    let mut stored = Stored::new();
    // Two bots may exchange their tokens: first every token that changes is let go.
    for Ready { bot, .. } in bots.iter().filter(|it| it.bot.token.is_some()) {
        let held = store.credentials().token(&bot.id)?;
        if held.is_some() && held != bot.token {
            store.credentials().set_token(&bot.id, None, now)?;
        }
    }
    for Ready { document, bot, fields } in bots {
        match store.bots().put(bot, now) {
            Ok(put) => {
                let is_new = match credentials::put(client, store, &bot.id, fields) {
                    Ok(is_new) => is_new,
                    Err(failure) => {
                        faults.push(placed(document, failure));
                        continue;
                    }
                };
                let put = if is_new && put == Put::Unchanged {
                    Put::Updated
                } else {
                    put
                };
                if put != Put::Unchanged {
                    client.audit(store, "apply", Some(&bot.id), word(put))?;
                }
                stored.push((bot.id.clone(), put));
            }
            Err(taken @ store::Error::TokenTaken { .. }) => faults.push(document.fault(taken.to_string())),
            Err(error) => return Err(error.into()),
        }
    }
    for Ready { document, bot, .. } in bots {
        let spec = bot_spec(&bot.id, &[&Settings::from_json(&bot.settings_json)?, defaults])?;
        if let Err(failure) = token::refuse_of_others(store, &bot.id, &spec) {
            faults.push(placed(document, failure));
        }
    }
    Ok(stored)
}

/// What a bot's document is refused for, at its place.
fn placed(document: &BotDocument, failure: Failure) -> Fault {
    document.fault(format!("{}: {failure}", document.id))
}

fn new_bot(document: &BotDocument, defaults: &Settings) -> Result<NewBot, Failure> {
    let token = document.token.as_ref().map(token::from_source).transpose()?;
    let mut settings = document.settings.clone();
    token::decide_platform(&mut settings, token.as_ref());
    let spec = bot_spec(&document.id, &[&settings, defaults])?;
    token::refuse_in_command(&spec.command, token.as_ref())?;
    Ok(NewBot {
        id: document.id.clone(),
        platform: Some(spec.platform).filter(|platform| *platform != Platform::None),
        settings_json: settings.to_json(),
        wanted: Wanted::Up,
        token,
    })
}

/// Says that nothing is measured where a bot that was stored counts on it.
fn warn_unmeasured(client: &Client, stored: &Stored) -> Result<(), Failure> {
    let settings = client.settings()?;
    let Some(store) = client.read_store()?.filter(|_| settings.sampling_period.is_none()) else {
        return Ok(());
    };
    for (bot, put) in stored {
        let own = Settings::from_json(&store.bots().get(bot)?.settings_json)?;
        if *put != Put::Unchanged && needs_sampling(&bot_spec(bot, &[&own, &settings.defaults])?) {
            output::note(SAMPLING_OFF);
            break;
        }
    }
    Ok(())
}

/// One line a bot that is not as it was.
pub(super) fn tell(stored: &Stored) {
    for (bot, put) in stored {
        output::note(&format!("{bot} {}", word(*put)));
    }
}

fn word(put: Put) -> &'static str {
    match put {
        Put::Created => "created",
        Put::Updated => "updated",
        Put::Unchanged => "unchanged",
    }
}
