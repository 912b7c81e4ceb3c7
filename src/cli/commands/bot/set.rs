//! `multibot bot set` and `bot unset`

use crate::cli::args::Assignment;
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::token;
use crate::clock;
use crate::config::{Fault, Faults, KEYS, SecretSource, Settings, bot_spec, needs_sampling};
use crate::model::bot::{BotId, Platform, Secret};
use crate::output;

/// Told where a setting does nothing for that reason.
pub(in crate::cli) const SAMPLING_OFF: &str =
    "sampling.period is off in multibot.yaml: until it is set there, limits and log probes do nothing";

/// One setting as it is to be.
enum Change<'a> {
    Set(&'a Assignment),
    Unset(&'a str),
}

impl Change<'_> {
    fn key(&self) -> &str {
        match self {
            Change::Set(set) => &set.key,
            Change::Unset(key) => key,
        }
    }
}

pub(super) fn run(client: &Client, id: &BotId, assignments: &[Assignment]) -> Result<Exit, Failure> {
    let changes: Vec<Change<'_>> = assignments
        .iter()
        .map(|set| match set.value.is_empty() && !Settings::may_be_empty(&set.key) {
            true => Change::Unset(&set.key),
            false => Change::Set(set),
        })
        .collect();
    make(client, id, &changes, "bot set")
}

/// Takes settings away, variables among them.
pub(super) fn unset(client: &Client, id: &BotId, keys: &[String]) -> Result<Exit, Failure> {
    let changes: Vec<Change<'_>> = keys.iter().map(|key| Change::Unset(key)).collect();
    make(client, id, &changes, "bot unset")
}

fn make(client: &Client, id: &BotId, changes: &[Change<'_>], action: &str) -> Result<Exit, Failure> {
    client.known(std::slice::from_ref(id))?;
    let supervisor = client.settings()?;
    let defaults = supervisor.defaults;
    let store = client.store()?;
    let (of_token, of_settings): (Vec<_>, Vec<_>) = changes.iter().partition(|change| is_of_token(change.key()));
    let new_token = match of_token.last() {
        Some(Change::Set(set)) => Some(read_token(set)?),
        Some(Change::Unset(key)) => {
            let what =
                format!("{key}: a token is not taken away here; give another with: multibot bot rotate-token {id}");
            return Err(Failure::Usage(what));
        }
        None => None,
    };
    let (spec, unset) = store.transaction(|store| {
        let record = store.bots().get(id)?;
        let mut settings = Settings::from_json(&record.settings_json)?;
        let (mut unset, mut faults) = (Vec::new(), Vec::<Fault>::new());
        for change in &of_settings {
            match change {
                Change::Unset(key) => match settings.unset(key) {
                    Ok(was_set) => unset.push(((*key).to_owned(), was_set)),
                    Err(fault) => faults.push(fault),
                },
                Change::Set(set) => faults.extend(settings.set(&set.key, &set.value).err()),
            }
        }
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
        let keys: Vec<&str> = changes.iter().map(Change::key).collect();
        client.audit(store, action, Some(id), &keys.join(" "))?;
        Ok((spec, unset))
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
    let is_measured = |change: &Change<'_>| ["limits.", "probes"].iter().any(|head| change.key().starts_with(head));
    if supervisor.sampling_period.is_none() && changes.iter().any(is_measured) && needs_sampling(&spec) {
        output::note(SAMPLING_OFF);
    }
    for (key, was_set) in unset {
        let before = if was_set { "taken away" } else { "was not set" };
        output::note(&format!("{key}: {before}; {}", what_holds_now(&key, &defaults)));
    }
    Ok(Exit::Done)
}

/// What holds for a key that the bot's own settings do not have. Entries of mappings and arguments may be secret,
/// and are not shown.
fn what_holds_now(key: &str, defaults: &Settings) -> String {
    let known = KEYS.iter().find(|known| known.name == key);
    match defaults.get(key) {
        Some(value) if value.is_object() || value.is_array() => {
            "what defaults of multibot.yaml say holds now".to_owned()
        }
        Some(value) => format!("{} holds now, from defaults of multibot.yaml", Settings::show(value)),
        None => match known.map(|known| known.default) {
            Some(Some(default)) => format!("{default} holds now, the default"),
            Some(None) => "it has no value now; multibot-bot(5) says what that means".to_owned(),
            None => "there is none now".to_owned(),
        },
    }
}

fn is_of_token(key: &str) -> bool {
    key == "token.file" || key == "token.env"
}

/// A token is read from where it is named and stored; the place itself is not remembered, as with `apply`.
fn read_token(change: &Assignment) -> Result<Secret, Failure> {
    token::from_source(&match change.key.as_str() {
        "token.env" => SecretSource::Env(change.value.clone()),
        _ => SecretSource::File(change.value.clone().into()),
    })
}
