//! What a login program is, and what its output means.

use std::time::Duration;

use serde_json::Value;

use super::{FieldName, FieldNameError, checked_value};
use crate::model::bot::Secret;

/// Output of a login program beyond which it is refused.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// How a bot's credentials are got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginPolicy {
    /// Program and arguments; empty: nothing gets them.
    pub exec: Vec<String>,
    pub timeout: Duration,
}

/// The fields that a program printed, in the order of their names; else what is wrong with its output, in one line that
/// shows no part of a value.
pub fn parse_output(output: &[u8]) -> Result<Vec<(FieldName, Secret)>, String> {
    if output.len() > OUTPUT_BYTES_MAX {
        return Err("its output is longer than 64 KiB".to_owned());
    }
    let entries = match serde_json::from_slice(output) {
        Ok(Value::Object(entries)) if entries.is_empty() => return Err("it printed no field".to_owned()),
        Ok(Value::Object(entries)) => entries,
        Ok(_) => return Err("it printed JSON that is no object: print {\"FIELD\": \"VALUE\"}".to_owned()),
        Err(_) if output.trim_ascii().is_empty() => {
            return Err("it printed nothing: print {\"FIELD\": \"VALUE\"}".to_owned());
        }
        Err(error) => {
            return Err(format!(
                "it printed no JSON object (line {}, column {}): print {{\"FIELD\": \"VALUE\"}} alone, and what is for people on stderr",
                error.line(),
                error.column()
            ));
        }
    };
    let mut fields = Vec::new();
    for (name, value) in entries {
        let name: FieldName = name.parse().map_err(|error: FieldNameError| error.to_string())?;
        let Value::String(text) = value else {
            return Err(format!("the value of {name} is no text"));
        };
        let value = checked_value(&text).map_err(|why| format!("the value of {name}: {why}"))?;
        if name.is_token() && value.reveal().contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("the value of token has white space inside: it must be one word".to_owned());
        }
        fields.push((name, value));
    }
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_of_texts_is_fields() {
        let fields = parse_output(b" {\"token\": \"1:a \", \"app_secret\": \"x y\"}\n").unwrap();
        let shown: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}={}", value.reveal()))
            .collect();
        assert_eq!(shown, ["app_secret=x y", "token=1:a"]);
    }

    #[test]
    fn anything_else_is_refused_without_being_shown() {
        let long = format!("{{\"k\": \"{}\"}}", "s3cret".repeat(11_000));
        for (output, why) in [
            ("", "printed nothing"),
            (" \n", "printed nothing"),
            ("s3cret", "no JSON object (line 1, column 1)"),
            ("{\"k\": \"s3cret\"} s3cret", "no JSON object (line 1"),
            ("\"s3cret\"", "no object"),
            ("{}", "no field"),
            ("{\"k\": 1}", "the value of k is no text"),
            ("{\"k\": \" \"}", "the value of k: it is empty"),
            ("{\"token\": \"s3cret b\"}", "white space"),
            ("{\"App-Secret\": \"s3cret\"}", "\"App-Secret\" is no name of a field"),
            (&long, "longer than 64 KiB"),
        ] {
            let error = parse_output(output.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{error}");
            assert!(!error.contains("s3cret") && !error.contains('\n'), "{error}");
        }
    }
}
