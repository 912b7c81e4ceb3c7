//! `multibot bot remove`

use super::power;
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::model::bot::BotId;
use crate::output;
use crate::supervisor::ledger;

/// A bot that runs is stopped first, if the operator says so: what is removed must not run on.
pub(super) fn run(client: &Client, id: &BotId, force: bool) -> Result<Exit, Failure> {
    client.known(std::slice::from_ref(id))?;
    if power::is_alive(client, id) {
        if !force {
            return Err(Failure::Refused(format!(
                "{id} runs: stop it first with: multibot bot stop {id}, or use --force"
            )));
        }
        power::bring_down(client, std::slice::from_ref(id), false, None)?;
    }
    let store = client.store()?;
    store.transaction(|store| {
        store.bots().remove(id)?;
        client.audit(store, "bot remove", Some(id), "")
    })?;
    if client.reload()?.is_none() {
        // A running supervisor forgets it when it is down.
        ledger::remove(&client.home.run_of(id)).map_err(Failure::io(format!("cannot forget {id}")))?;
    }
    output::note(&format!(
        "removed {id}; its log stays at {}",
        client.home.log_of(id).display()
    ));
    Ok(Exit::Done)
}
