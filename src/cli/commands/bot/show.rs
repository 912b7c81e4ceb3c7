//! `multibot bot show`

use serde_json::{Map, Value, json};

use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::view;
use crate::config::{KEYS, Settings, is_sensitive};
use crate::model::bot::BotId;
use crate::output::{self, Cell, Column, Style, Table};

/// Stands where a value must not be seen.
const HIDDEN: &str = "[hidden]";

pub(super) fn run(client: &Client, id: &BotId, as_json: bool) -> Result<Exit, Failure> {
    client.known(std::slice::from_ref(id))?;
    let Some(store) = client.read_store()? else {
        return Ok(Exit::Done);
    };
    let record = store.bots().get(id)?;
    let settings = shown(&Settings::from_json(&record.settings_json)?);
    let mut view = view::look(client)?;
    view.only(std::slice::from_ref(id));
    let status = view.bots.pop();
    if as_json {
        let settings: Map<String, Value> = settings.into_iter().collect();
        output::document(&json!({
            "schema": 1, "id": id.as_str(), "index": record.index, "wanted": record.wanted.word(),
            "has_token": record.has_token, "created_at": record.created_at.to_string(),
            "updated_at": record.updated_at.to_string(), "settings": settings, "status": status,
        }))?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[Column::Word("key"), Column::Text("value")]);
    let mut row = |key: &str, value: String| table.row([Cell::from(key.to_owned()), Cell::from(value)]);
    row("id", id.to_string());
    row("index", record.index.to_string());
    row("wanted", record.wanted.word().to_owned());
    if let Some(status) = status {
        let reason = Some(status.explanation()).filter(|reason| !reason.is_empty());
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        row("state", format!("{}{reason}", status.state));
        status.status_text.iter().for_each(|text| row("says", text.clone()));
        status.kernel.iter().for_each(|limit| row("kernel", limit.clone()));
        row("pid", status.pid.map_or("-".to_owned(), |pid| pid.to_string()));
        for (what, used) in status.usage() {
            row(what, used);
        }
    }
    row("token", if record.has_token { HIDDEN } else { "none" }.to_owned());
    row("created", record.created_at.to_string());
    for (key, value) in &settings {
        row(key, Settings::show(value));
    }
    row("log", client.home.log_of(id).display().to_string());
    output::out(&table.render(&Style::of_stdout()))?;
    Ok(Exit::Done)
}

/// Every setting that holds, and whether the bot's own settings, the defaults of multibot.yaml or multibot say so.
pub(super) fn effective(client: &Client, id: &BotId, as_json: bool) -> Result<Exit, Failure> {
    client.known(std::slice::from_ref(id))?;
    let Some(store) = client.read_store()? else {
        return Ok(Exit::Done);
    };
    let own = Settings::from_json(&store.bots().get(id)?.settings_json)?;
    let defaults = client.settings()?.defaults;
    let (own, defaults) = (shown(&own), shown(&defaults));
    let of = |layer: &[(String, Value)], name: &str| {
        let found = layer.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| Settings::show(value))
    };
    let mut table = Table::new(&[Column::Word("key"), Column::Word("from"), Column::Text("value")]);
    for key in KEYS {
        let (from, value) = match (of(&own, key.name), of(&defaults, key.name), key.default) {
            // Entries of both hold beside each other.
            (Some(own), Some(below), _) if key.is_mapping() => ("bot, multibot.yaml", format!("{own} over {below}")),
            (Some(own), ..) => ("bot", own),
            (None, Some(below), _) => ("multibot.yaml", below),
            (None, None, Some(default)) => ("default", default.to_owned()),
            (None, None, None) => continue,
        };
        if as_json {
            output::record(&json!({"key": key.name, "from": from, "value": value}))?;
            continue;
        }
        table.row([Cell::from(key.name.to_owned()), from.to_owned().into(), value.into()]);
    }
    if !as_json {
        output::out(&table.render(&Style::of_stdout()))?;
    }
    Ok(Exit::Done)
}

/// What the operator wrote, without the values of variables that look like secrets and of headers.
fn shown(settings: &Settings) -> Vec<(String, Value)> {
    let hide = |key: &str, value: &Value| match (key, value) {
        ("env", Value::Object(env)) => hidden(env, is_sensitive),
        ("probes", probes) => without_headers(probes),
        (_, other) => other.clone(),
    };
    settings
        .iter()
        .map(|(key, value)| (key.to_owned(), hide(key, value)))
        .collect()
}

/// The same mapping without the values of those names.
fn hidden(map: &Map<String, Value>, is_secret: impl Fn(&str) -> bool) -> Value {
    let hide = |(name, value): (&String, &Value)| {
        let value = if is_secret(name) { json!(HIDDEN) } else { value.clone() };
        (name.clone(), value)
    };
    Value::Object(map.iter().map(hide).collect())
}

fn without_headers(probes: &Value) -> Value {
    let mut probes = probes.clone();
    for probe in probes.as_object_mut().into_iter().flat_map(Map::values_mut) {
        if let Some(headers) = probe.pointer_mut("/http/headers")
            && let Some(map) = headers.as_object()
        {
            *headers = hidden(map, |_| true);
        }
    }
    probes
}
