//! `multibot bot set`

use crate::cli::args::Assignment;
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::token;
use crate::clock;
use crate::config::{Fault, Faults, Settings, bot_spec};
use crate::model::bot::{BotId, Platform};
use crate::output;

pub(super) fn run(client: &Client, id: &BotId, changes: &[Assignment]) -> Result<Exit, Failure> {
    client.known(std::slice::from_ref(id))?;
    let defaults = client.settings()?.defaults;
    let store = client.store()?;
    store.transaction(|store| {
        let record = store.bots().get(id)?;
        let mut settings = Settings::from_json(&record.settings_json)?;
        let faults: Vec<Fault> = changes
            .iter()
            .filter_map(|change| settings.set(&change.key, &change.value).err())
            .collect();
        if !faults.is_empty() {
            return Err(Failure::Config(Faults(faults)));
        }
        let here = std::env::current_dir().map_err(Failure::io("cannot tell the current directory"))?;
        settings.resolve_paths(&here)?;
        let spec = bot_spec(id, &[&settings, &defaults])?;
        token::refuse_in_command(&spec.command, store.credentials().token(id)?.as_ref())?;
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
