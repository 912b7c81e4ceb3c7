//! `multibot apply`

use std::path::Path;

use serde_json::json;

use crate::cli::args::Apply;
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::token;
use crate::clock;
use crate::config::{BotDocument, Settings, bot_spec, read_bots};
use crate::model::bot::{BotId, Platform, Wanted};
use crate::output;
use crate::store::{NewBot, Put};

/// What was stored, bot by bot.
pub(super) type Stored = Vec<(BotId, Put)>;

pub(in crate::cli) fn run(client: &Client, apply: &Apply) -> Result<Exit, Failure> {
    let stored = store(client, &apply.path)?;
    let answer = client.reload()?;
    if apply.json {
        let bots: Vec<_> = stored
            .iter()
            .map(|(bot, put)| json!({"id": bot.as_str(), "outcome": word(*put)}))
            .collect();
        output::document(&json!({"schema": 1, "bots": bots, "supervisor_running": answer.is_some()}))?;
        return Ok(Exit::Done);
    }
    tell(&stored);
    if answer.is_none() {
        output::note("no supervisor runs; the bots start with: multibot start");
    }
    Ok(Exit::Done)
}

/// Checks every file and then stores all bots, or none where anything is wrong.
pub(super) fn store(client: &Client, path: &Path) -> Result<Stored, Failure> {
    let settings = client.settings()?;
    let documents = read_bots(path, &settings.defaults)?;
    let bots = documents
        .iter()
        .map(|document| new_bot(document, &settings.defaults))
        .collect::<Result<Vec<_>, _>>()?;
    let store = client.store()?;
    let now = clock::stamp();
    store.transaction(|store| {
        let mut stored = Stored::new();
        for bot in &bots {
            let put = store.bots().put(bot, now)?;
            if put != Put::Unchanged {
                client.audit(store, "apply", Some(&bot.id), word(put))?;
            }
            stored.push((bot.id.clone(), put));
        }
        for bot in &bots {
            let spec = bot_spec(
                &bot.id,
                &[&Settings::from_json(&bot.settings_json)?, &settings.defaults],
            )?;
            token::refuse_of_others(store, &bot.id, &spec)?;
        }
        Ok(stored)
    })
}

fn new_bot(document: &BotDocument, defaults: &crate::config::Settings) -> Result<NewBot, Failure> {
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
