//! Holds the JSON Schemas and the examples of `ipc/` against what this module writes and accepts.

use proptest::prelude::*;
use regex_lite::Regex;
use serde_json::{Value, json};

use super::envelope::tests::{DEFAULTS, envelopes};
use super::envelope::{FIELDS, from_line, to_line};
use crate::model::message::Kind;

const README: &str = include_str!("../../ipc/README.md");

/// Every schema, by the name of its file.
const SCHEMAS: [(&str, &str); 11] = [
    ("envelope", include_str!("../../ipc/envelope.schema.json")),
    ("heartbeat", include_str!("../../ipc/heartbeat.schema.json")),
    ("shutdown", include_str!("../../ipc/shutdown.schema.json")),
    ("status_request", include_str!("../../ipc/status_request.schema.json")),
    ("status_response", include_str!("../../ipc/status_response.schema.json")),
    ("ready", include_str!("../../ipc/ready.schema.json")),
    ("error", include_str!("../../ipc/error.schema.json")),
    ("send_message", include_str!("../../ipc/send_message.schema.json")),
    (
        "refresh_credentials",
        include_str!("../../ipc/refresh_credentials.schema.json"),
    ),
    ("refresh_admins", include_str!("../../ipc/refresh_admins.schema.json")),
    (
        "refresh_permissions",
        include_str!("../../ipc/refresh_permissions.schema.json"),
    ),
];

fn schema(name: &str) -> Option<Value> {
    let (_, text) = SCHEMAS.into_iter().find(|(known, _)| *known == name)?;
    Some(serde_json::from_str(text).unwrap())
}

/// Whether a value fits a schema. Only the keywords that the schemas use; an unknown one is a panic, so that
/// no constraint passes unchecked.
fn fits(schema: &Value, value: &Value) -> bool {
    schema
        .as_object()
        .unwrap()
        .iter()
        .all(|(keyword, wanted)| match keyword.as_str() {
            "$schema" | "title" | "description" => true,
            "type" => match wanted {
                Value::Array(types) => types.iter().any(|one| is_type(one, value)),
                one => is_type(one, value),
            },
            "anyOf" => wanted.as_array().unwrap().iter().any(|one| fits(one, value)),
            "items" => value
                .as_array()
                .is_none_or(|items| items.iter().all(|item| fits(wanted, item))),
            "enum" => wanted.as_array().unwrap().contains(value),
            "pattern" => {
                let pattern = Regex::new(wanted.as_str().unwrap()).unwrap();
                value.as_str().is_none_or(|text| pattern.is_match(text))
            }
            "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().unwrap()),
            "required" => {
                let mut names = wanted.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                value
                    .as_object()
                    .is_none_or(|fields| names.all(|name| fields.contains_key(name)))
            }
            "properties" => {
                let mut fields = value.as_object().into_iter().flatten();
                fields.all(|(name, value)| wanted.get(name).is_none_or(|schema| fits(schema, value)))
            }
            unknown => panic!("the keyword {unknown} is not checked"),
        })
}

fn is_type(wanted: &Value, value: &Value) -> bool {
    match wanted.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        unknown => panic!("the type {unknown} is not checked"),
    }
}

fn minimal() -> Value {
    json!({"id": "a", "kind": "event", "name": "x"})
}

/// Asserts that the schema and the code judge this envelope alike, and returns their verdict.
fn accepted(value: &Value) -> bool {
    let by_code = from_line(&value.to_string(), &DEFAULTS);
    let by_schema = fits(&schema("envelope").unwrap(), value);
    assert_eq!(by_schema, by_code.is_ok(), "{value}: the code says {by_code:?}");
    by_schema
}

#[test]
fn the_schema_names_the_fields_that_the_code_knows() {
    let envelope = schema("envelope").unwrap();
    let mut named: Vec<&String> = envelope["properties"].as_object().unwrap().keys().collect();
    named.sort();
    let mut known = FIELDS.to_vec();
    known.sort_unstable();
    assert_eq!(named, known);
    let kinds: Vec<&str> = Kind::ALL.into_iter().map(Kind::word).collect();
    assert_eq!(envelope["properties"]["kind"]["enum"], json!(kinds));
}

#[test]
fn schema_and_code_judge_every_field_alike() {
    assert!(accepted(&minimal()));
    for field in ["id", "kind", "name"] {
        let mut without = minimal();
        without.as_object_mut().unwrap().remove(field);
        assert!(!accepted(&without), "{field}");
    }
    let texts = [
        "",
        "a",
        "A.b_c-9",
        "a:b",
        "_x",
        "-x",
        "a b",
        "a\nb",
        "shop@mesh%2F",
        "2026-01-31T08:30:00Z",
    ];
    let times = [
        "2026-01-31T08:30:00.123456789+02:00",
        "2026-01-31 08:30:00z",
        "2026-01-31",
        "2026-01-31T08:30:00",
    ];
    let values = texts
        .into_iter()
        .chain(times)
        .map(Value::from)
        .chain([&"k".repeat(256), &"k".repeat(257), &"ä".repeat(256)].map(|text| json!(text)))
        .chain([0u64, 1, 2, 9, 10, 4_294_967_295, 4_294_967_296].map(Value::from))
        .chain([
            json!(-1),
            json!(1.5),
            json!(true),
            json!(null),
            json!([]),
            json!({}),
            json!({"k": [1]}),
        ])
        .chain(Kind::ALL.map(|kind| json!(kind.word())));
    for value in values {
        let verdicts = FIELDS.map(|field| {
            let mut envelope = minimal();
            envelope[field] = value.clone();
            accepted(&envelope)
        });
        let unknown = json!({"id": "a", "kind": "event", "name": "x", "trace": value});
        assert!(accepted(&unknown), "{value}");
        assert!(verdicts.contains(&false), "{value} cannot suit every field");
    }
    for value in [json!(1), json!("x"), json!([]), json!(null)] {
        assert!(!accepted(&value));
    }
}

/// The JSON examples of the guide: each line that is an object, in a block marked json.
fn examples() -> Vec<Value> {
    let blocks = README.split("```json\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("```").next().unwrap_or_default().lines());
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

#[test]
fn the_examples_of_the_guide_are_true() {
    let mut shown = Vec::new();
    for example in examples() {
        assert!(accepted(&example), "{example}");
        let envelope = from_line(&example.to_string(), &DEFAULTS).unwrap();
        let payload = match envelope.kind {
            Kind::Heartbeat => None,
            Kind::Error => schema("error"),
            Kind::Command | Kind::Response | Kind::Event => schema(&envelope.name),
        };
        assert!(
            payload.is_none_or(|schema| fits(&schema, &envelope.payload)),
            "{example}"
        );
        if envelope.kind == Kind::Heartbeat {
            assert!(fits(&schema("heartbeat").unwrap(), &example), "{example}");
        }
        shown.push(envelope.name);
    }
    for (name, _) in SCHEMAS.iter().skip(1) {
        assert!(shown.iter().any(|known| known == name), "the guide shows no {name}");
    }
}

#[test]
fn a_payload_that_lacks_what_it_must_have_does_not_fit() {
    for (name, bad) in [
        ("shutdown", json!({"mode": "graceful"})),
        ("shutdown", json!({"mode": "slow", "deadline": "2026-01-31T08:30:00Z"})),
        ("shutdown", json!({"mode": "forced", "deadline": "soon"})),
        ("error", json!({})),
        ("error", json!({"message": "m", "retry_after": -1})),
        ("error", json!({"message": "m", "permanent": "yes"})),
        ("send_message", json!({"text": 5})),
        ("send_message", json!({"text": "hello", "chat": true})),
        ("refresh_admins", json!({"admins": [5]})),
        ("refresh_permissions", json!({})),
        ("refresh_credentials", json!({"fields": [5]})),
        ("status_response", json!({"detail": []})),
        ("status_response", json!({"connected": "yes"})),
        ("status_response", json!({"uptime_s": -1})),
        ("status_response", json!({"messages_in": 1.5})),
        ("ready", json!("ready")),
        ("status_request", json!(null)),
        ("heartbeat", json!({"id": "a", "kind": "event", "name": "heartbeat"})),
    ] {
        assert!(!fits(&schema(name).unwrap(), &bad), "{name}: {bad}");
    }
}

#[test]
fn the_guide_names_every_schema_and_every_field() {
    for (name, _) in SCHEMAS {
        assert!(README.contains(&format!("({name}.schema.json)")), "{name}");
    }
    for field in FIELDS {
        assert!(README.contains(&format!("| `{field}` ")), "{field}");
    }
}

proptest! {
    #[test]
    fn what_the_code_writes_fits_the_schema(envelope in envelopes()) {
        let line: Value = serde_json::from_str(&to_line(&envelope)).unwrap();
        prop_assert!(fits(&schema("envelope").unwrap(), &line));
    }

    #[test]
    fn schema_and_code_judge_any_text_alike(
        field in proptest::sample::select(vec!["id", "name", "from", "to", "correlation_id", "dedup_key", "order_key"]),
        text in "[ -~\\t\\n\u{7f}ä]{0,6}|[A-Za-z0-9._:%@-]{60,70}|[a-z@%.-]{190,194}",
    ) {
        let mut envelope = minimal();
        envelope[field] = json!(text);
        accepted(&envelope);
    }
}
