//! The JSON Schema of a bot's YAML file, for editors. Pure; made of the same table as everything else.
//!
//! It helps to write and says less than `apply`, which looks at each value and at what keys mean together.

use serde_json::{Map, Value, json};

use super::keys::{KEYS, Key};
use super::kind::Kind;

/// The schema, with every key of a bot, its words and its documentation.
pub fn json_schema() -> Value {
    let mut properties = Map::new();
    for key in KEYS {
        place(&mut properties, key.name, of_key(key));
    }
    let source = json!({
        "type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
        "properties": {"env": {"type": "string"}, "file": {"type": "string"}},
        "description": "Where the secret is found: a variable of the shell that applies the file, or a file that holds nothing else.",
    });
    properties.insert("token".to_owned(), source.clone());
    place(
        &mut properties,
        "credentials.fields",
        json!({"type": "object", "additionalProperties": source, "description": "Where more secret fields are found."}),
    );
    let id = json!({"type": "string", "description": "Name of the bot; without it the file's name."});
    properties.insert("id".to_owned(), id);
    let mut top = properties.clone();
    let one = json!({"type": "object", "additionalProperties": false, "properties": properties, "required": ["id"]});
    let bots = json!({"type": "array", "items": one, "description": "Several bots in one file."});
    top.insert("bots".to_owned(), bots);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Bots of multibot",
        "type": "object",
        "additionalProperties": false,
        "properties": top,
    })
}

/// Puts a schema at the place that a dotted key names.
fn place(properties: &mut Map<String, Value>, key: &str, schema: Value) {
    let Some((group, rest)) = key.split_once('.') else {
        properties.insert(key.to_owned(), schema);
        return;
    };
    let below = properties
        .entry(group.to_owned())
        .or_insert_with(|| json!({"type": "object", "additionalProperties": false, "properties": {}}));
    if let Some(below) = below["properties"].as_object_mut() {
        place(below, rest, schema);
    }
}

fn of_key(key: &Key) -> Value {
    let mut schema = of_kind(key.kind);
    schema["description"] = key.doc.into();
    if let Some(default) = key.default {
        schema["default"] = default.into();
    }
    schema
}

fn of_kind(kind: Kind) -> Value {
    let list = |items: Value| json!({"type": "array", "items": items});
    match kind {
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Integer { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Signed { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Factor => json!({"type": "number", "minimum": 1}),
        Kind::Words(words) => json!({"enum": words}),
        Kind::Argv => json!({"type": "array", "items": {"type": ["string", "number"]}, "minItems": 1}),
        Kind::Names | Kind::Senders | Kind::Rules => list(json!({"type": "string"})),
        Kind::Texts { .. } => list(json!({"type": ["string", "number"]})),
        Kind::Variables => json!({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}),
        Kind::Probes | Kind::Commands => json!({"type": "object", "additionalProperties": {"type": "object"}}),
        Kind::Classes => list(json!({"type": "object"})),
        Kind::Percent
        | Kind::Duration { .. }
        | Kind::DurationOr { .. }
        | Kind::Size { .. }
        | Kind::SizeOr { .. }
        | Kind::OrShare { .. }
        | Kind::Signal => json!({"type": ["string", "number"]}),
        Kind::Path | Kind::Pattern | Kind::Text | Kind::Url => json!({"type": "string"}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_place_and_its_words() {
        let schema = json_schema();
        for key in KEYS {
            let path = format!("/properties/{}", key.name.replace('.', "/properties/"));
            let found = schema.pointer(&path).unwrap_or_else(|| panic!("{}", key.name));
            assert_eq!(found["description"], key.doc);
        }
        assert_eq!(
            schema["properties"]["restart"]["properties"]["policy"]["enum"][0],
            "always"
        );
        assert!(schema["properties"]["bots"]["items"]["properties"]["command"].is_object());
        assert!(schema["properties"]["credentials"]["properties"]["fields"].is_object());
    }
}
