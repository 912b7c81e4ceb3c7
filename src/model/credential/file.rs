//! The file that holds the same credentials as the store: its form, and what each side lacks.
//!
//! ```json
//! {"shared": {"app_secret": {"value": "…", "updatedAt": "2026-12-01T09:00:00Z"}},
//!  "bots": {"shop": {"token": {"value": "…", "updatedAt": "2026-12-01T09:00:00Z"}}}}
//! ```
//!
//! `updatedAt` is RFC 3339 or unix milliseconds. What else stands in the file is kept. Pure: no file is opened here,
//! and no error quotes a value.

use serde_json::{Map, Value, json};

use super::{Field, FieldName, Owner, checked_value};
use crate::model::bot::BotId;
use crate::model::units::Stamp;

/// The content of a file.
#[derive(Clone, Debug, Default)]
pub struct CredentialsFile {
    /// Everything, also what means nothing here.
    root: Redacted,
    fields: Vec<Field>,
}

/// JSON whose `Debug` shows nothing: it holds secrets.
#[derive(Clone, Default)]
struct Redacted(Map<String, Value>);

impl std::fmt::Debug for Redacted {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("[secret]")
    }
}

/// Which side may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The store takes over what the file has.
    Import,
    /// The file takes over what the store has.
    Export,
    Both,
}

/// A side of a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    File,
    Store,
}

/// What is to be written so that both sides are alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    pub to_store: Vec<Field>,
    pub to_file: Vec<Field>,
    /// Changed on both sides at the same time, and nobody said which one counts.
    pub conflicts: Vec<(Owner, FieldName)>,
    /// Alike already, or newer on the side that may not be changed from here.
    pub left: usize,
}

impl CredentialsFile {
    /// Reads a file's text; an empty one is an empty file. Errors with every fault, one a line. `now`: no time may
    /// lie more than a day after it, as it would win for ever.
    pub fn parse(text: &str, now: Stamp) -> Result<CredentialsFile, Vec<String>> {
        if text.trim().is_empty() {
            return Ok(CredentialsFile::default());
        }
        let root = match serde_json::from_str(text) {
            Ok(Value::Object(root)) => root,
            Ok(_) => return Err(vec!["it must hold one JSON object with shared and bots".to_owned()]),
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                return Err(vec![format!("not JSON at line {line}, column {column}")]);
            }
        };
        let mut reading = Reading::new(now);
        reading.group("shared", &Owner::Shared, root.get("shared"));
        match root.get("bots") {
            None => {}
            Some(Value::Object(bots)) => {
                for (id, entries) in bots {
                    match id.parse::<BotId>() {
                        Ok(bot) => reading.group(&format!("bots.{id}"), &Owner::Bot(bot), Some(entries)),
                        Err(error) => reading.faults.push(format!("bots: {error}")),
                    }
                }
            }
            Some(_) => reading
                .faults
                .push("bots: write an object with a bot's id for each".to_owned()),
        }
        if reading.faults.is_empty() {
            Ok(CredentialsFile {
                root: Redacted(root),
                fields: reading.fields,
            })
        } else {
            Err(reading.faults)
        }
    }

    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The text of the file with these fields in it, old or new.
    pub fn with(mut self, changed: &[Field]) -> String {
        let root = &mut self.root.0;
        for field in changed {
            let entries = match &field.owner {
                Owner::Shared => object(root, "shared"),
                Owner::Bot(id) => object(object(root, "bots"), id.as_str()),
            };
            let entry = object(entries, field.name.as_str());
            entry.insert("value".to_owned(), json!(field.value.reveal()));
            entry.insert("updatedAt".to_owned(), json!(field.updated_at.to_string()));
        }
        let mut text = serde_json::to_string_pretty(&self.root.0).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// The object under a name, made where it is missing. What was read is an object already.
fn object<'a>(map: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let value = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(inner) => inner,
        _ => unreachable!("it was made an object"),
    }
}

/// A day of clocks that differ.
const FUTURE_US: i64 = 86_400_000_000;

struct Reading {
    now: Stamp,
    fields: Vec<Field>,
    faults: Vec<String>,
}

impl Reading {
    fn new(now: Stamp) -> Reading {
        Reading {
            now,
            fields: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn group(&mut self, place: &str, owner: &Owner, entries: Option<&Value>) {
        let entries = match entries {
            None => return,
            Some(Value::Object(entries)) => entries,
            Some(_) => {
                return self
                    .faults
                    .push(format!("{place}: write an object with a name for each field"));
            }
        };
        for (name, entry) in entries {
            match self.field(owner, name, entry) {
                Ok(field) => self.fields.push(field),
                Err(why) => self.faults.push(format!("{place}: {why}")),
            }
        }
    }

    fn field(&self, owner: &Owner, name: &str, entry: &Value) -> Result<Field, String> {
        let name: FieldName = name.parse().map_err(|error| format!("{error}"))?;
        if name.is_token() && *owner == Owner::Shared {
            return Err("a token cannot be shared: put it under one bot".to_owned());
        }
        let value = entry["value"].as_str();
        let value = value.ok_or_else(|| format!(r#"{name}: it needs "value", a text"#))?;
        let value = checked_value(value).map_err(|why| format!("{name}: value: {why}"))?;
        let stamp = match &entry["updatedAt"] {
            Value::String(text) => Stamp::parse(text),
            Value::Number(number) => number.as_i64().map(Stamp::from_unix_ms),
            _ => None,
        };
        let way = r#"such as "2026-12-01T09:00:00Z""#;
        let stamp = stamp.ok_or_else(|| format!(r#"{name}: it needs "updatedAt", a time {way}"#))?;
        if stamp.0 > self.now.0.saturating_add(FUTURE_US) {
            return Err(format!(
                "{name}: updatedAt {stamp} lies in the future: nothing newer could ever win"
            ));
        }
        Ok(Field {
            owner: owner.clone(),
            name,
            value,
            updated_at: Stamp::from_unix_ms(stamp.unix_ms()),
        })
    }
}

/// Compares both sides entry by entry: the newer one wins, and what only one side has is copied.
pub fn exchange(store: &[Field], file: &[Field], direction: Direction, prefer: Option<Side>) -> Exchange {
    let mut plan = Exchange::default();
    let find = |fields: &'_ [Field], field: &Field| {
        let same = fields
            .iter()
            .find(|it| it.owner == field.owner && it.name == field.name);
        same.cloned()
    };
    for stored in store {
        let winner = match find(file, stored) {
            None => Some(Side::Store),
            Some(written) if written.value == stored.value => None,
            Some(written) if written.updated_at > stored.updated_at => Some(Side::File),
            Some(written) if written.updated_at < stored.updated_at => Some(Side::Store),
            Some(_) => {
                if prefer.is_none() {
                    plan.conflicts.push((stored.owner.clone(), stored.name.clone()));
                    continue;
                }
                prefer
            }
        };
        match (winner, direction) {
            (Some(Side::Store), Direction::Export | Direction::Both) => plan.to_file.push(stored.clone()),
            (Some(Side::File), Direction::Import | Direction::Both) => plan.to_store.extend(find(file, stored)),
            _ => plan.left += 1,
        }
    }
    for written in file.iter().filter(|written| find(store, written).is_none()) {
        match direction {
            Direction::Import | Direction::Both => plan.to_store.push(written.clone()),
            Direction::Export => plan.left += 1,
        }
    }
    plan
}

#[cfg(test)]
mod tests;
