//! `multibot bot start|stop|restart|enable|disable`: what an operator wants, stored first and then
//! made so by the supervisor, if one runs.

use std::time::Duration;

use serde_json::json;

use crate::cli::args::Chosen;
use crate::cli::client::{Client, is_well};
use crate::cli::commands::start::tell_unwell;
use crate::cli::commands::stop::end_stray;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::clock;
use crate::config::{Settings, bot_spec};
use crate::model::bot::{BotId, Platform, State, Wanted};
use crate::output;
use crate::run::identity::boot_id;
use crate::store::{BotRecord, Store, Which};
use crate::supervisor::ledger;
use crate::supervisor::snapshot::BotStatus;

pub(super) fn start(client: &Client, chosen: &Chosen, force: bool, timeout: Duration) -> Result<Exit, Failure> {
    let mut bots = choose(client, chosen, |_| true)?;
    let store = client.store()?;
    if force {
        for bot in &bots {
            if !is_enabled(client, &store.bots().get(bot)?)? {
                set_enabled(client, std::slice::from_ref(bot), true)?;
            }
        }
    }
    bots = enabled_of(client, &store, bots, chosen.all)?;
    want(client, &store, &bots, Wanted::Up, "bot start")?;
    let Some(supervisor) = client.supervisor() else {
        for bot in &bots {
            ledger::forgive(&client.home.run_of(bot), &boot_id())
                .map_err(|error| Failure::Refused(error.to_string()))?;
        }
        output::note(&format!(
            "no supervisor runs; {} with: multibot start",
            start_words(&bots)
        ));
        return Ok(Exit::Done);
    };
    client.call(&supervisor, "start", json!({"bots": words(&bots)}))?;
    let settled = client.settle(&supervisor, "starting", concerns(&bots), Some(timeout))?;
    Ok(told(&settled, "running"))
}

pub(super) fn stop(client: &Client, chosen: &Chosen, force: bool, timeout: Option<Duration>) -> Result<Exit, Failure> {
    let bots = choose(client, chosen, |_| true)?;
    bring_down(client, &bots, force, timeout)?;
    output::note(&format!("{} stopped", names(&words(&bots))));
    Ok(Exit::Done)
}

pub(super) fn restart(client: &Client, chosen: &Chosen, force: bool, timeout: Duration) -> Result<Exit, Failure> {
    let supervisor = client.need_supervisor()?;
    // `--all` restarts what runs; it is no reason to start what was stopped on purpose.
    let mut bots = choose(client, chosen, |record| record.wanted == Wanted::Up)?;
    let store = client.store()?;
    bots = enabled_of(client, &store, bots, chosen.all)?;
    want(client, &store, &bots, Wanted::Up, "bot restart")?;
    client.call(
        &supervisor,
        "restart",
        json!({"bots": words(&bots), "mode": mode(force)}),
    )?;
    let settled = client.settle(&supervisor, "restarting", concerns(&bots), Some(timeout))?;
    Ok(told(&settled, "running"))
}

pub(super) fn enable(client: &Client, bots: &[BotId]) -> Result<Exit, Failure> {
    client.known(bots)?;
    set_enabled(client, bots, true)?;
    client.reload()?;
    output::note(&format!("{} enabled", names(&words(bots))));
    Ok(Exit::Done)
}

pub(super) fn disable(client: &Client, bots: &[BotId]) -> Result<Exit, Failure> {
    client.known(bots)?;
    set_enabled(client, bots, false)?;
    if client.reload()?.is_some()
        && let Some(supervisor) = client.supervisor()
    {
        client.settle(&supervisor, "stopping", concerns(bots), None)?;
    }
    output::note(&format!("{} disabled", names(&words(bots))));
    Ok(Exit::Done)
}

/// Stores that these bots are wanted down, and waits until nothing of them lives.
pub(super) fn bring_down(
    client: &Client,
    bots: &[BotId],
    force: bool,
    timeout: Option<Duration>,
) -> Result<(), Failure> {
    let store = client.store()?;
    want(client, &store, bots, Wanted::Down, "bot stop")?;
    let Some(supervisor) = client.supervisor() else {
        return bots.iter().try_for_each(|bot| end_stray(client, bot, force, timeout));
    };
    client.call(&supervisor, "stop", json!({"bots": words(bots), "mode": mode(force)}))?;
    let settled = client.settle(&supervisor, "stopping", concerns(bots), timeout)?;
    // What is held although it is wanted down may well run, and nobody can prove what it is.
    let may_run = |bot: &&BotStatus| bot.pid.is_some() || bot.state == State::Held.word();
    match settled.iter().find(may_run) {
        None => Ok(()),
        Some(bot) => {
            let reason = bot
                .reason
                .clone()
                .unwrap_or_else(|| "another command wants it up".to_owned());
            Err(Failure::Refused(format!("{} is still {}: {reason}", bot.id, bot.state)))
        }
    }
}

/// Whether anything of a bot runs, with or without a supervisor.
pub(in crate::cli) fn is_alive(client: &Client, bot: &BotId) -> bool {
    let is_running = client
        .last_run(bot)
        .is_some_and(|record| record.shim.is_alive() || record.process.is_alive());
    let is_starting = client
        .supervisor()
        .and_then(|it| client.snapshot_of(&it))
        .is_some_and(|snapshot| {
            snapshot
                .bots
                .iter()
                .any(|it| it.id == bot.as_str() && it.run_id.is_some())
        });
    is_running || is_starting
}

/// The bots that are meant; with `--all` those that suit.
fn choose(client: &Client, chosen: &Chosen, suits: impl Fn(&BotRecord) -> bool) -> Result<Vec<BotId>, Failure> {
    if !chosen.all {
        client.known(&chosen.ids)?;
        return Ok(chosen.ids.clone());
    }
    let Some(store) = client.read_store()? else {
        return Ok(Vec::new());
    };
    Ok(store
        .bots()
        .list()?
        .into_iter()
        .filter(suits)
        .map(|record| record.id)
        .collect())
}

/// Those of the bots that may run. A disabled one among all of them is told, one that was named is refused.
fn enabled_of(client: &Client, store: &Store, bots: Vec<BotId>, is_all: bool) -> Result<Vec<BotId>, Failure> {
    let mut enabled = Vec::new();
    for bot in bots {
        if is_enabled(client, &store.bots().get(&bot)?)? {
            enabled.push(bot);
        } else if is_all {
            output::note(&format!("{bot} is disabled and stays down"));
        } else {
            return Err(Failure::Refused(format!(
                "{bot} is disabled; let it run with: multibot bot enable {bot}"
            )));
        }
    }
    Ok(enabled)
}

fn want(client: &Client, store: &Store, bots: &[BotId], wanted: Wanted, action: &str) -> Result<(), Failure> {
    store.transaction(|store| {
        store.bots().set_wanted(Which::Only(bots), wanted, clock::stamp())?;
        bots.iter()
            .try_for_each(|bot| client.audit(store, action, Some(bot), &format!("wanted {}", wanted.word())))
    })
}

fn is_enabled(client: &Client, record: &BotRecord) -> Result<bool, Failure> {
    let settings = Settings::from_json(&record.settings_json)?;
    // A bot whose settings make no sense is held, not disabled.
    Ok(bot_spec(&record.id, &[&settings, &client.settings()?.defaults]).map_or(true, |spec| spec.enabled))
}

fn set_enabled(client: &Client, bots: &[BotId], enabled: bool) -> Result<(), Failure> {
    let store = client.store()?;
    let action = if enabled { "bot enable" } else { "bot disable" };
    store.transaction(|store| {
        for bot in bots {
            let record = store.bots().get(bot)?;
            let mut settings = Settings::from_json(&record.settings_json)?;
            settings.set("enabled", if enabled { "true" } else { "false" })?;
            let platform = settings
                .get("platform")
                .and_then(|word| Platform::from_word(word.as_str()?));
            store
                .bots()
                .update_settings(bot, platform, &settings.to_json(), clock::stamp())?;
            client.audit(store, action, Some(bot), "")?;
        }
        Ok(())
    })
}

fn concerns(bots: &[BotId]) -> impl Fn(&BotStatus) -> bool {
    let names: Vec<String> = bots.iter().map(BotId::to_string).collect();
    move |bot| names.contains(&bot.id)
}

/// Says how bots have come out, and with which code that is.
fn told(bots: &[BotStatus], word: &str) -> Exit {
    // Somebody else's stop may have come meanwhile: that bot is as it is wanted, and does not run.
    let of = |state: State| {
        let found = bots.iter().filter(move |bot| is_well(bot) && bot.state == state.word());
        found.map(|bot| bot.id.as_str()).collect::<Vec<&str>>()
    };
    let (running, stopped) = (of(State::Running), of(State::Stopped));
    if !running.is_empty() {
        output::note(&format!("{} {word}", names(&running)));
    }
    if !stopped.is_empty() {
        output::note(&format!("{} stopped meanwhile by another command", names(&stopped)));
    }
    tell_unwell(bots);
    if running.len() == bots.len() {
        Exit::Done
    } else {
        Exit::Failed
    }
}

fn words(bots: &[BotId]) -> Vec<&str> {
    bots.iter().map(BotId::as_str).collect()
}

fn mode(force: bool) -> &'static str {
    if force { "forced" } else { "graceful" }
}

/// A few names in full, many as their number.
fn names<S: AsRef<str>>(bots: &[S]) -> String {
    match bots.len() {
        0 => "no bots".to_owned(),
        1..=NAMES_MAX => bots.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", "),
        count => format!("{count} bots"),
    }
}

/// As many names as fit into a line.
const NAMES_MAX: usize = 5;

fn start_words(bots: &[BotId]) -> String {
    format!(
        "{} {}",
        names(&words(bots)),
        if bots.len() == 1 { "starts" } else { "start" }
    )
}
