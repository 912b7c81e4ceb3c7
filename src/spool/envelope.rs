//! The wire form of an envelope: one JSON object on one line, as `ipc/envelope.schema.json` says.
//!
//! Never looks into a payload. Invariants: what [`to_line`] writes of a sound envelope [`from_line`] reads
//! back unchanged; no fault repeats a value, because a value may be a secret.

use serde_json::{Map, Value};

use crate::model::limits::{ENVELOPE_BYTES_MAX, ID_BYTES_MAX};
use crate::model::message::{ENVELOPE_VERSION, Envelope, Kind, MAX_ATTEMPTS_DEFAULT, PRIORITY_DEFAULT, Setback};
use crate::model::units::Stamp;

/// What the reader knows of an envelope that does not say it itself.
#[derive(Clone, Copy, Debug)]
pub struct Defaults<'a> {
    pub from: &'a str,
    pub to: &'a str,
    /// Stands in for a missing `created_at`.
    pub now: Stamp,
}

/// Why a text is no envelope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("{bytes} bytes long, at most {ENVELOPE_BYTES_MAX} are read: put large content into the media folder")]
    TooLong { bytes: usize },
    #[error("not valid JSON at {at}")]
    Json { at: String },
    #[error("not a JSON object")]
    NotObject,
    #[error("version {0} is newer than {ENVELOPE_VERSION}: update multibot")]
    Version(u64),
    #[error("{field} is missing")]
    Missing { field: &'static str },
    #[error("{field} must be {rule}")]
    Field { field: &'static str, rule: &'static str },
}

/// Every field that version 1 knows.
pub const FIELDS: [&str; 16] = [
    "v",
    "id",
    "kind",
    "name",
    "from",
    "to",
    "correlation_id",
    "dedup_key",
    "order_key",
    "priority",
    "created_at",
    "expires_at",
    "attempt",
    "max_attempts",
    "history",
    "payload",
];

/// The envelope as one line, without its newline.
pub fn to_line(envelope: &Envelope) -> String {
    Value::Object(to_fields(envelope)).to_string()
}

/// The same for an envelope that is written anew: as much of its history is forgotten, the oldest first, as it
/// takes for the line to be read again.
pub(super) fn to_fitting_line(envelope: &Envelope) -> String {
    let mut fitting = envelope.clone();
    loop {
        let line = to_line(&fitting);
        if line.len() <= ENVELOPE_BYTES_MAX || fitting.history.is_empty() {
            return line;
        }
        fitting.history.remove(0);
    }
}

/// Reads one envelope. Unknown fields are kept as they are; a known one that is null counts as missing. Errors name the
/// field and what it must be.
pub fn from_line(line: &str, defaults: &Defaults<'_>) -> Result<Envelope, Fault> {
    if line.len() > ENVELOPE_BYTES_MAX {
        return Err(Fault::TooLong { bytes: line.len() });
    }
    let fields = Fields(parse_object(line)?);
    match fields.number("v", 1, u64::MAX, "a whole number from 1")? {
        Some(version) if version > u64::from(ENVELOPE_VERSION) => return Err(Fault::Version(version)),
        Some(_) | None => {}
    }
    let kind = fields.text("kind", KIND_RULE, |word| Kind::from_word(word).is_some())?;
    let kind = kind.as_deref().and_then(Kind::from_word);
    let count = |field, default| {
        let number = fields.number(field, 1, u64::from(u32::MAX), "a whole number from 1 to 4294967295")?;
        Ok(number.and_then(|number| u32::try_from(number).ok()).unwrap_or(default))
    };
    let priority = fields.number("priority", 0, 9, "a whole number from 0 to 9")?;
    let payload = match fields.get("payload") {
        None => Value::Object(Map::new()),
        Some(payload @ Value::Object(_)) => payload.clone(),
        Some(_) => {
            return Err(Fault::Field {
                field: "payload",
                rule: "a JSON object",
            });
        }
    };
    let history = fields.history()?;
    Ok(Envelope {
        id: required("id", fields.text("id", ID_RULE, is_id)?)?,
        kind: required("kind", kind)?,
        name: required("name", fields.text("name", NAME_RULE, is_name)?)?,
        from: fields.address("from")?.unwrap_or_else(|| defaults.from.to_owned()),
        to: fields.address("to")?.unwrap_or_else(|| defaults.to.to_owned()),
        correlation_id: fields.text("correlation_id", ID_RULE, is_id)?,
        dedup_key: fields.text("dedup_key", KEY_RULE, is_key)?,
        order_key: fields.text("order_key", KEY_RULE, is_key)?,
        priority: priority
            .and_then(|number| u8::try_from(number).ok())
            .unwrap_or(PRIORITY_DEFAULT),
        created_at: fields.time("created_at")?.unwrap_or(defaults.now),
        expires_at: fields.time("expires_at")?,
        attempt: count("attempt", 1)?,
        max_attempts: count("max_attempts", MAX_ATTEMPTS_DEFAULT)?,
        history,
        unknown: fields.unknown(),
        payload,
    })
}

/// The envelope as a JSON value.
pub fn to_value(envelope: &Envelope) -> Value {
    Value::Object(to_fields(envelope))
}

fn to_fields(envelope: &Envelope) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| {
        fields.insert(key.to_owned(), value);
    };
    let optional = [
        ("correlation_id", &envelope.correlation_id),
        ("dedup_key", &envelope.dedup_key),
        ("order_key", &envelope.order_key),
    ];
    put("v", ENVELOPE_VERSION.into());
    put("id", envelope.id.as_str().into());
    put("kind", envelope.kind.word().into());
    put("name", envelope.name.as_str().into());
    put("from", envelope.from.as_str().into());
    put("to", envelope.to.as_str().into());
    for (key, text) in optional {
        if let Some(text) = text {
            put(key, text.as_str().into());
        }
    }
    put("priority", envelope.priority.into());
    put("created_at", envelope.created_at.to_string().into());
    if let Some(expires_at) = envelope.expires_at {
        put("expires_at", expires_at.to_string().into());
    }
    put("attempt", envelope.attempt.into());
    put("max_attempts", envelope.max_attempts.into());
    if !envelope.history.is_empty() {
        put("history", envelope.history.iter().map(setback_value).collect());
    }
    for (key, value) in &envelope.unknown {
        put(key, value.clone());
    }
    // Last, so that a shell finds its end.
    put("payload", envelope.payload.clone());
    fields
}

fn setback_value(setback: &Setback) -> Value {
    let mut fields = Map::new();
    fields.insert("at".to_owned(), setback.at.to_string().into());
    fields.insert("why".to_owned(), setback.why.as_str().into());
    if let Some(run) = &setback.run {
        fields.insert("run".to_owned(), run.as_str().into());
    }
    Value::Object(fields)
}

fn parse_object(text: &str) -> Result<Map<String, Value>, Fault> {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Fault::NotObject),
        Err(error) if error.line() > 1 => Err(Fault::Json {
            at: format!("line {}, column {}", error.line(), error.column()),
        }),
        Err(error) => Err(Fault::Json {
            at: format!("column {}", error.column()),
        }),
    }
}

fn required<T>(field: &'static str, value: Option<T>) -> Result<T, Fault> {
    value.ok_or(Fault::Missing { field })
}

const KIND_RULE: &str = "command, response, event, heartbeat or error";
const ID_RULE: &str = "1 to 64 letters, digits or . _ : -, the first a letter or digit";
const NAME_RULE: &str = "1 to 64 letters, digits or . _ -, the first a letter, digit or _";
const ADDRESS_RULE: &str = "a bot's id, supervisor, cli or *";
const KEY_RULE: &str = "1 to 256 characters without control characters";
const TIME_RULE: &str = "a time in RFC 3339, as in 2026-01-31T08:30:00Z";

fn is_id(text: &str) -> bool {
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    first && text.len() <= ID_BYTES_MAX && text.chars().all(|c| c.is_ascii_alphanumeric() || "._:-".contains(c))
}

fn is_name(text: &str) -> bool {
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    first && text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn is_address(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    first && text.len() <= 192 && text.chars().all(|c| c.is_ascii_alphanumeric() || "._%@-".contains(c))
}

fn is_key(text: &str) -> bool {
    (1..=256).contains(&text.chars().count()) && !text.chars().any(|c| c.is_ascii_control())
}

/// The fields of one object, read by name and type.
struct Fields(Map<String, Value>);

impl Fields {
    fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    fn text(
        &self,
        field: &'static str,
        rule: &'static str,
        holds: impl Fn(&str) -> bool,
    ) -> Result<Option<String>, Fault> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(text)) if holds(text) => Ok(Some(text.clone())),
            Some(_) => Err(Fault::Field { field, rule }),
        }
    }

    fn address(&self, field: &'static str) -> Result<Option<String>, Fault> {
        self.text(field, ADDRESS_RULE, is_address)
    }

    fn time(&self, field: &'static str) -> Result<Option<Stamp>, Fault> {
        let text = self.text(field, TIME_RULE, |text| Stamp::parse(text).is_some())?;
        Ok(text.as_deref().and_then(Stamp::parse))
    }

    /// Only an explanation: what is not understood in it is left out.
    fn history(&self) -> Result<Vec<Setback>, Fault> {
        let entries = match self.get("history") {
            None => return Ok(Vec::new()),
            Some(Value::Array(entries)) => entries,
            Some(_) => {
                let rule = "a list of what went wrong";
                return Err(Fault::Field { field: "history", rule });
            }
        };
        let read = |entry: &Value| {
            Some(Setback {
                at: Stamp::parse(entry["at"].as_str()?)?,
                why: entry["why"].as_str()?.to_owned(),
                run: entry["run"].as_str().map(str::to_owned),
            })
        };
        Ok(entries.iter().filter_map(read).collect())
    }

    /// The fields that nobody here knows.
    fn unknown(&self) -> Map<String, Value> {
        let unknown = self.0.iter().filter(|(key, _)| !FIELDS.contains(&key.as_str()));
        unknown.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn number(&self, field: &'static str, min: u64, max: u64, rule: &'static str) -> Result<Option<u64>, Fault> {
        match self.get(field) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) if (min..=max).contains(&number) => Ok(Some(number)),
                Some(_) | None => Err(Fault::Field { field, rule }),
            },
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::mutation::{mutated, mutated_object};
    use proptest::option;
    use proptest::prelude::*;
    use serde_json::json;

    pub(in crate::spool) const NOW: Stamp = Stamp(1_700_000_000_000_000);
    pub(in crate::spool) const DEFAULTS: Defaults<'static> = Defaults {
        from: "shop",
        to: "supervisor",
        now: NOW,
    };

    /// Every envelope that multibot itself may write.
    pub(in crate::spool) fn envelopes() -> impl Strategy<Value = Envelope> {
        let address = "[a-z0-9][a-z0-9._-]{0,20}(@[a-z0-9%]{1,9})?";
        let stamp = (0i64..4_000_000_000_000_000).prop_map(Stamp);
        let words = (
            "[A-Za-z0-9][A-Za-z0-9._:-]{0,63}",
            "[A-Za-z0-9_][A-Za-z0-9._-]{0,63}",
            address,
            address,
        );
        let keys = (
            option::of("[A-Za-z0-9][A-Za-z0-9._:-]{0,63}"),
            option::of("\\PC{1,256}"),
            option::of("\\PC{1,256}"),
        );
        let numbers = (0u8..=9, 1u32.., 1u32..);
        let payload = proptest::collection::btree_map(".{0,8}", ".{0,40}", 0..4);
        let setback = (stamp.clone(), ".{0,20}", option::of("[A-Z0-9]{26}"));
        let setback = setback.prop_map(|(at, why, run)| Setback { at, why, run });
        let kept = (
            proptest::collection::vec(setback, 0..3),
            proptest::collection::btree_map("x_[a-z]{0,6}", ".{0,20}", 0..3),
            payload,
        );
        (
            words,
            proptest::sample::select(Kind::ALL.to_vec()),
            keys,
            numbers,
            (stamp.clone(), option::of(stamp)),
            kept,
        )
            .prop_map(|(words, kind, keys, numbers, times, kept)| Envelope {
                id: words.0,
                kind,
                name: words.1,
                from: words.2,
                to: words.3,
                correlation_id: keys.0,
                dedup_key: keys.1,
                order_key: keys.2,
                priority: numbers.0,
                created_at: times.0,
                expires_at: times.1,
                attempt: numbers.1,
                max_attempts: numbers.2,
                history: kept.0,
                unknown: kept.1.into_iter().map(|(key, value)| (key, json!(value))).collect(),
                payload: json!(kept.2),
            })
    }

    /// What damages JSON, or changes what it says.
    const WORDS: &[&str] = &[
        "\"",
        "\\",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "-1",
        "1e999",
        "0.1",
        "\\u0000",
        "\\ud800",
        "\n",
        "\"payload\":5,",
        "\"history\":[{}],",
        "\"v\":2,",
        "18446744073709551616",
        "2026-01-31T08:30:00Z",
    ];

    /// Whoever requeues a message writes what was read, again and again: nothing may drift or become unreadable.
    fn reads_alike(line: &str) -> Result<(), TestCaseError> {
        if let Ok(read) = from_line(line, &DEFAULTS) {
            let written = to_line(&read);
            prop_assert!(!written.contains('\n'));
            prop_assert_eq!(from_line(&written, &DEFAULTS), Ok(read));
        }
        Ok(())
    }

    #[test]
    fn three_fields_are_enough() {
        let read = from_line(r#"{"id":"a1","kind":"event","name":"ready"}"#, &DEFAULTS);
        let expected = Envelope::new("a1".to_owned(), Kind::Event, "ready", "shop", "supervisor", NOW);
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn null_counts_as_missing() {
        let line = r#"{"v":null,"id":"a","kind":"event","name":"x","from":null,"expires_at":null,"payload":null}"#;
        let read = from_line(line, &DEFAULTS).unwrap();
        assert_eq!(
            (read.from.as_str(), read.expires_at, read.payload),
            ("shop", None, json!({}))
        );
        let no_id = from_line(r#"{"id":null,"kind":"event","name":"x"}"#, &DEFAULTS);
        assert_eq!(no_id, Err(Fault::Missing { field: "id" }));
    }

    #[test]
    fn a_number_does_not_drift_however_often_it_is_written_anew() {
        let line = r#"{"id":"a","kind":"event","name":"x","payload":{"n":-3.202847500509452e+97,"m":0.1,"k":18446744073709551615}}"#;
        let mut read = from_line(line, &DEFAULTS).unwrap();
        for _ in 0..3 {
            let written = to_line(&read);
            assert!(
                written.ends_with(r#"{"n":-3.202847500509452e+97,"m":0.1,"k":18446744073709551615}}"#),
                "{written}"
            );
            read = from_line(&written, &DEFAULTS).unwrap();
        }
    }

    #[test]
    fn a_fault_names_the_field_and_keeps_the_value_to_itself() {
        for (line, text) in [
            ("", "not valid JSON at column 0"),
            ("{\"id\":\n\"a\" 5}", "not valid JSON at line 2, column 5"),
            ("[1]", "not a JSON object"),
            (
                r#"{"v":2,"id":"a","kind":"event","name":"x"}"#,
                "version 2 is newer than 1: update multibot",
            ),
            (r#"{"id":"a","name":"x"}"#, "kind is missing"),
            (
                r#"{"id":"a","kind":"event","name":"x","priority":10}"#,
                "priority must be a whole number from 0 to 9",
            ),
            (
                r#"{"id":"a","kind":"event","name":"x","payload":"123:secret"}"#,
                "payload must be a JSON object",
            ),
            (
                r#"{"id":"a","kind":"event","name":"x","from":"123:secret"}"#,
                "from must be a bot's id, supervisor, cli or *",
            ),
        ] {
            assert_eq!(from_line(line, &DEFAULTS).unwrap_err().to_string(), text, "{line}");
        }
    }

    #[test]
    fn an_envelope_may_fill_its_limit_and_no_more() {
        let line = |pad: usize| format!(r#"{{"id":"a","kind":"event","name":"x","pad":"{}"}}"#, "p".repeat(pad));
        let room = ENVELOPE_BYTES_MAX - line(0).len();
        assert!(from_line(&line(room), &DEFAULTS).is_ok());
        let bytes = ENVELOPE_BYTES_MAX + 1;
        assert_eq!(from_line(&line(room + 1), &DEFAULTS), Err(Fault::TooLong { bytes }));
    }

    proptest! {
        #[test]
        fn a_line_reads_back(envelope in envelopes()) {
            let line = to_line(&envelope);
            // The guide promises this start to bots that take a line apart without a JSON library.
            let start = format!(r#"{{"v":1,"id":"{}","kind":"{}","name":"{}","#, envelope.id, envelope.kind.word(), envelope.name);
            prop_assert!(line.starts_with(&start) && !line.contains('\n'));
            prop_assert_eq!(from_line(&line, &DEFAULTS), Ok(envelope));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            let _ = from_line(&text, &DEFAULTS);
        }

        #[test]
        fn what_is_read_of_a_nearly_right_object_is_written_so_that_it_reads_alike(
            fields in mutated_object(envelopes().prop_map(|envelope| to_fields(&envelope)), &FIELDS),
        ) {
            reads_alike(&Value::Object(fields).to_string())?;
        }

        #[test]
        fn what_is_read_of_a_damaged_line_is_written_so_that_it_reads_alike(
            line in mutated(envelopes().prop_map(|envelope| to_line(&envelope)), WORDS),
        ) {
            reads_alike(&String::from_utf8_lossy(&line))?;
        }
    }
}
