//! A short name for what a run is started with, as far as an operator wrote it. It stands in the run's
//! record, so that the next supervisor knows whether a run that it adopts is still what is wanted.
//!
//! It is made of what is stored, not of what follows from it: a later version with other defaults must not
//! take every run that it adopts for changed.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::config::Settings;
use crate::model::bot::Secret;
use crate::model::credential::Fields;

/// What the name is made of; another number is another way, and the names do not compare.
const WAY: &str = "1";
/// The settings that a running process would have to be started anew for.
const KEYS: [&str; 10] = [
    "command",
    "credentials.env",
    "cwd",
    "env",
    "env_file",
    "env_inherit",
    "nice",
    "platform",
    "token_env",
    "weight",
];
/// Likewise, of a built-in bot alone: it is told them at its start.
const TOLD: [&str; 6] = [
    "allowed_users",
    "commands",
    "prefixes",
    "strangers",
    "telegram.",
    "whatsapp.",
];
const FAMILIES: [&str; 4] = ["kernel.", "log.", "media.", "stop."];
/// Enough of the digest that no two recipes of one bot are alike.
const DIGITS: usize = 32;

/// The name of these settings, this token and these fields; what stands first comes before what follows.
pub(super) fn recipe(layers: &[&Settings], token: Option<&Secret>, fields: &Fields) -> String {
    let mut written: BTreeMap<String, String> = BTreeMap::new();
    let is_built_in = layers.iter().all(|layer| layer.get("command").is_none());
    let is_told = |key: &str| {
        is_built_in
            && TOLD
                .iter()
                .any(|told| key == *told || told.ends_with('.') && key.starts_with(told))
    };
    for (key, value) in layers.iter().rev().flat_map(|layer| layer.iter()) {
        match value {
            Value::Object(variables) if key == "env" => {
                let named = variables
                    .iter()
                    .map(|(name, value)| (format!("env.{name}"), value.to_string()));
                written.extend(named);
            }
            value if KEYS.contains(&key) || is_told(key) || FAMILIES.iter().any(|family| key.starts_with(family)) => {
                written.insert(key.to_owned(), value.to_string());
            }
            _ => {}
        }
    }
    let mut digest = Sha256::new();
    for (key, value) in written {
        digest.update(format!("{key}={value}\n"));
    }
    digest.update(token.map_or("", Secret::reveal));
    for (name, value) in fields {
        digest.update(format!("\n{name}="));
        digest.update(value.reveal());
    }
    let hex: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{WAY}:{}", &hex[..DIGITS])
}

/// Whether a run was started with something else. What is not known is not held against it.
pub(super) fn differs(run: Option<&str>, wanted: &str) -> bool {
    let way = |name: &str| name.split_once(':').map(|(way, _)| way.to_owned());
    run.is_some_and(|run| way(run) == way(wanted) && run != wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::new();
        for (key, text) in pairs {
            settings.set(key, text).unwrap();
        }
        settings
    }

    #[test]
    fn only_what_a_process_is_started_with_counts() {
        let base = [("command", "[\"a\"]"), ("env.A", "1"), ("stop.grace", "5s")];
        let token = Secret::new("1:x".to_owned());
        let name = |pairs: &[(&str, &str)], defaults: &[(&str, &str)], token: Option<&Secret>| {
            recipe(&[&settings(pairs), &settings(defaults)], token, &Fields::new())
        };
        let plain = name(&base, &[], None);
        assert_eq!(
            plain,
            name(
                &[base[2], base[1], base[0]],
                &[("env.A", "2"), ("stop.grace", "9s")],
                None
            )
        );
        assert_eq!(
            plain,
            name(&[&base[..], &[("restart.delay", "9s")]].concat(), &[], None)
        );
        for other in [
            name(&base, &[], Some(&token)),
            name(&base, &[("env.B", "2")], None),
            name(&base, &[("kernel.pids_max", "9")], None),
            name(&base, &[("nice", "9")], None),
            name(&[("command", "[\"b\"]"), base[1], base[2]], &[], None),
            name(&base[..2], &[], None),
        ] {
            assert!(differs(Some(&plain), &other), "{other}");
        }
        assert!(!differs(None, &plain) && !differs(Some("2:abc"), &plain));
    }
}
