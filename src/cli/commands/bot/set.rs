//! `multibot bot set`

use crate::cli::args::Assignment;
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::token;
use crate::clock;
use crate::config::{Fault, Faults, Settings, TokenSource, bot_spec};
use crate::model::bot::{BotId, Platform, Secret};
use crate::output;

pub(super) fn run(client: &Client, id: &BotId, changes: &[Assignment]) -> Result<Exit, Failure> {
    client.known(std::slice::from_ref(id))?;
    let defaults = client.settings()?.defaults;
    let store = client.store()?;
    let (of_token, of_settings): (Vec<_>, Vec<_>) = changes.iter().partition(|change| is_of_token(&change.key));
    let new_token = of_token.last().map(|change| read_token(change)).transpose()?;
    store.transaction(|store| {
        let record = store.bots().get(id)?;
        let mut settings = Settings::from_json(&record.settings_json)?;
        let faults: Vec<Fault> = of_settings
            .iter()
            .filter_map(|change| settings.set(&change.key, &change.value).err())
            .collect();
        if !faults.is_empty() {
            // They are words of the command line, not of a file.
            return Err(Failure::Usage(Faults(faults).to_string()));
        }
        let here = std::env::current_dir().map_err(Failure::io("cannot tell the current directory"))?;
        settings.resolve_paths(&here)?;
        let spec = bot_spec(id, &[&settings, &defaults])?;
        if new_token.is_some() {
            store.credentials().set_token(id, new_token.as_ref(), clock::stamp())?;
        }
        token::refuse_in_command(&spec.command, store.credentials().token(id)?.as_ref())?;
        token::refuse_of_others(store, id, &spec)?;
        let platform = Some(spec.platform).filter(|platform| *platform != Platform::None);
        store
            .bots()
            .update_settings(id, platform, &settings.to_json(), clock::stamp())?;
        let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
        client.audit(store, "bot set", Some(id), &keys.join(" "))
    })?;
    let effect = match client.reload()? {
        None => "no supervisor runs; it holds from the next start on",
        Some(done)
            if done["restarted"]
                .as_array()
                .is_some_and(|bots| bots.iter().any(|bot| bot == id.as_str())) =>
        {
            "the bot restarts for it"
        }
        Some(_) => "it holds from now on",
    };
    output::note(&format!("changed {id}; {effect}"));
    Ok(Exit::Done)
}

fn is_of_token(key: &str) -> bool {
    key == "token.file" || key == "token.env"
}

/// A token is read from where it is named and stored; the place itself is not remembered, as with `apply`.
fn read_token(change: &Assignment) -> Result<Secret, Failure> {
    token::from_source(&match change.key.as_str() {
        "token.env" => TokenSource::Env(change.value.clone()),
        _ => TokenSource::File(change.value.clone().into()),
    })
}
