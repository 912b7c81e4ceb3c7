//! `multibot credentials`: the secret fields of bots, without ever showing one. Works on the store, with and without a
//! supervisor; one that runs restarts the bots whose fields have changed.

mod file;

use std::collections::BTreeSet;

use serde_json::json;

use crate::cli::args::{CredentialsList, CredentialsSet, CredentialsVerb, FieldOf};
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::{hidden, token};
use crate::clock;
use crate::config::{Settings, legible_spec};
use crate::model::bot::BotId;
use crate::model::credential::file::Direction;
use crate::model::credential::{Field, Owner, checked_value};
use crate::model::units::show_age;
use crate::output::{self, Cell, Column, Style, Table};
use crate::store::Store;
use crate::supervisor::login::Given;

pub(in crate::cli) fn run(client: &Client, verb: &CredentialsVerb) -> Result<Exit, Failure> {
    match verb {
        CredentialsVerb::List(args) => list(client, args),
        CredentialsVerb::Set(args) => set(client, args),
        CredentialsVerb::Remove(args) => remove(client, &args.field),
        CredentialsVerb::Import(args) => file::run(client, args, Direction::Import),
        CredentialsVerb::Export(args) => file::run(client, args, Direction::Export),
        CredentialsVerb::Sync(args) => file::run(client, args, Direction::Both),
    }
}

fn list(client: &Client, args: &CredentialsList) -> Result<Exit, Failure> {
    client.known(args.bot.as_slice())?;
    let mut fields = match client.read_store()? {
        None => Vec::new(),
        Some(store) => store.credentials().fields()?,
    };
    if let Some(bot) = &args.bot {
        let own: BTreeSet<_> = fields
            .iter()
            .filter(|field| field.owner == Owner::Bot(bot.clone()))
            .map(|field| field.name.clone())
            .collect();
        fields.retain(|field| match &field.owner {
            Owner::Bot(id) => id == bot,
            Owner::Shared => !own.contains(&field.name),
        });
    }
    let now = clock::stamp();
    let mut table = Table::new(&[
        Column::Word("owner"),
        Column::Word("field"),
        Column::Word("variable"),
        Column::Number("changed"),
    ]);
    for field in fields {
        if args.json {
            let bot = match &field.owner {
                Owner::Shared => None,
                Owner::Bot(id) => Some(id.as_str()),
            };
            output::record(&json!({
                "bot": bot,
                "field": field.name.as_str(),
                "variable": field.name.variable(),
                "updated_at": field.updated_at.to_string(),
            }))?;
            continue;
        }
        table.row([
            Cell::from(field.owner.to_string()),
            field.name.to_string().into(),
            field.name.variable().into(),
            show_age(now.since(field.updated_at)).into(),
        ]);
    }
    if !args.json {
        output::out(&table.render(&Style::of_stdout()))?;
    }
    Ok(Exit::Done)
}

fn set(client: &Client, args: &CredentialsSet) -> Result<Exit, Failure> {
    let (owner, name) = (args.field.owner(), &args.field.name);
    if let Owner::Bot(id) = &owner {
        client.known(std::slice::from_ref(id))?;
    }
    let place = args
        .file
        .as_ref()
        .map_or("stdin".to_owned(), |path| path.display().to_string());
    let text = match &args.file {
        Some(path) => {
            std::fs::read_to_string(path).map_err(Failure::io(format!("cannot read the value from {place}")))?
        }
        None => hidden::read(&format!("{name} of {owner} (not shown): "))?,
    };
    let value = checked_value(&text).map_err(|why| Failure::Usage(format!("the value of {name} in {place}: {why}")))?;
    let value = if name.is_token() {
        token::checked(value.reveal(), &place)?
    } else {
        value
    };
    let field = Field {
        owner: owner.clone(),
        name: name.clone(),
        value,
        updated_at: clock::stamp(),
    };
    client.store()?.transaction(|store| {
        store_field(client, store, &field)?;
        note_in_audit(client, store, "credentials set", &field.owner, name.as_str())
    })?;
    tell(client, &format!("stored {name} of {owner}"))
}

fn remove(client: &Client, field: &FieldOf) -> Result<Exit, Failure> {
    let (owner, name) = (field.owner(), &field.name);
    let was_there = client.store()?.transaction(|store| {
        let was_there = store.credentials().remove(&owner, name)?;
        if was_there {
            note_in_audit(client, store, "credentials remove", &owner, name.as_str())?;
        }
        Ok::<_, Failure>(was_there)
    })?;
    if !was_there {
        output::note(&format!("{owner} has no {name}; nothing to do"));
        return Ok(Exit::Done);
    }
    tell(client, &format!("removed {name} of {owner}"))
}

/// Stores a field, unless a bot that it is for shows it in its command, which every user of the host can read.
fn store_field(client: &Client, store: &Store, field: &Field) -> Result<(), Failure> {
    let defaults = client.settings()?.defaults;
    for record in store.bots().list()? {
        if matches!(&field.owner, Owner::Bot(id) if *id != record.id) {
            continue;
        }
        let settings = Settings::from_json(&record.settings_json).unwrap_or_default();
        let spec = legible_spec(&record.id, &[&settings, &defaults]);
        token::refuse_in_command(&spec.command, Some(&field.value))?;
    }
    Ok(store.credentials().set(field)?)
}

/// Gives a bot the fields that its file names; whether one is new.
pub(in crate::cli) fn put(client: &Client, store: &Store, bot: &BotId, given: &Given) -> Result<bool, Failure> {
    let owner = Owner::Bot(bot.clone());
    let known = store.credentials().fields()?;
    let mut is_new = false;
    for (name, value) in given {
        let is_known = |field: &Field| field.owner == owner && field.name == *name && field.value == *value;
        if known.iter().any(is_known) {
            continue;
        }
        let field = Field {
            owner: owner.clone(),
            name: name.clone(),
            value: value.clone(),
            updated_at: clock::stamp(),
        };
        store_field(client, store, &field)?;
        note_in_audit(client, store, "credentials set", &owner, name.as_str())?;
        is_new = true;
    }
    Ok(is_new)
}

fn note_in_audit(client: &Client, store: &Store, action: &str, owner: &Owner, detail: &str) -> Result<(), Failure> {
    let (bot, detail) = match owner {
        Owner::Bot(id) => (Some(id), detail.to_owned()),
        Owner::Shared => (None, format!("{detail} (shared)")),
    };
    client.audit(store, action, bot, &detail)
}

/// Has a supervisor take over what was stored, and says what that means for the bots.
pub(in crate::cli) fn tell(client: &Client, done: &str) -> Result<Exit, Failure> {
    let effect = match client.reload()? {
        None => "no supervisor runs; it holds from the next start on".to_owned(),
        Some(answer) => {
            let parts = [
                ("restarted", "restarts for it"),
                ("told", "told by refresh_credentials"),
            ]
            .map(|(key, means)| {
                let bots = answer[key].as_array().cloned().unwrap_or_default();
                let names: Vec<&str> = bots.iter().filter_map(serde_json::Value::as_str).collect();
                (!names.is_empty()).then(|| format!("{means}: {}", names.join(", ")))
            });
            match parts.into_iter().flatten().collect::<Vec<_>>().as_slice() {
                [] => "no running bot is concerned".to_owned(),
                parts => parts.join("; "),
            }
        }
    };
    output::note(&format!("{done}; {effect}"));
    Ok(Exit::Done)
}
