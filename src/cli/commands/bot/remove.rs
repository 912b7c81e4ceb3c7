//! `multibot bot remove`

use std::fs;
use std::io;
use std::path::Path;

use super::power;
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::model::bot::BotId;
use crate::output;
use crate::spool::{DeadLetters, Mailbox};
use crate::supervisor::ledger;

/// A bot that runs is stopped first, if the operator says so: what is removed must not run on. Its mailboxes go
/// with it, so messages that are not done are told before.
pub(super) fn run(client: &Client, id: &BotId, force: bool, purge: bool) -> Result<Exit, Failure> {
    if purge && client.known(std::slice::from_ref(id)).is_err() && client.home.log_of(id).exists() {
        return purge_removed(client, id);
    }
    client.known(std::slice::from_ref(id))?;
    if power::is_alive(client, id) {
        if !force {
            return Err(Failure::Refused(format!(
                "{id} runs: stop it first with: multibot bot stop {id}, or use --force"
            )));
        }
        power::bring_down(client, std::slice::from_ref(id), false, None)?;
    }
    if let Some(undone) = undone(client, id)?
        && !force
    {
        return Err(Failure::Refused(format!(
            "{id} has messages that are not done ({undone}): look with: multibot queue {id}, or drop them with --force"
        )));
    }
    let store = client.store()?;
    store.transaction(|store| {
        store.bots().remove(id)?;
        if purge {
            store.events().forget(id)?;
            store.metrics().forget(id)?;
        }
        client.audit(store, "bot remove", Some(id), if purge { "purged" } else { "" })
    })?;
    if client.reload()?.is_none() {
        // A running supervisor forgets it when it is down.
        ledger::remove(&client.home.run_of(id)).map_err(Failure::io(format!("cannot forget {id}")))?;
    }
    remove(&client.home.ipc_of(id))?;
    let log = client.home.log_of(id);
    if purge {
        remove_logs(&log)?;
        remove(&client.home.media_of(id))?;
        remove(&client.home.run_of(id))?;
        output::note(&format!("removed {id}, its log and its history"));
    } else {
        output::note(&format!("removed {id}; its log stays at {}", log.display()));
    }
    Ok(Exit::Done)
}

/// What an earlier removal has kept of a bot.
fn purge_removed(client: &Client, id: &BotId) -> Result<Exit, Failure> {
    client.store()?.transaction(|store| {
        store.events().forget(id)?;
        store.metrics().forget(id)?;
        client.audit(store, "bot remove", Some(id), "purged")
    })?;
    remove_logs(&client.home.log_of(id))?;
    remove(&client.home.media_of(id))?;
    remove(&client.home.run_of(id))?;
    output::note(&format!("removed the log and the history of {id}"));
    Ok(Exit::Done)
}

/// What waits for the bot or lies among its dead letters, in words; None where nothing does.
fn undone(client: &Client, id: &BotId) -> Result<Option<String>, Failure> {
    let census = Mailbox::new(client.home.inbox_of(id)).census()?;
    let dead = DeadLetters::new(client.home.dead_of(id)).count()?;
    let parts: Vec<String> = [
        (census.new, "new"),
        (census.cur, "being worked on"),
        (census.later, "waiting for their next attempt"),
        (census.held, "held"),
        (dead, "dead"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    Ok((!parts.is_empty()).then(|| parts.join(", ")))
}

fn remove(dir: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(dir) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Failure::io(format!("remove {}", dir.display()))(source))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The current log and the rotated ones: `shop.log`, `shop.log.1`, ….
fn remove_logs(log: &Path) -> Result<(), Failure> {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str())) else {
        return Ok(());
    };
    let failed = |source| Failure::io(format!("remove {}", log.display()))(source);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let is_own = found.to_str().is_some_and(|found| {
            let rest = found.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        if is_own {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}
