//! What differs between two settings of one bot, in words that may be shown. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::settings::Settings;
use super::variable::is_sensitive;

/// One key, or one entry of a mapping, that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// As `bot set` takes it: `restart.delay`, `env.PORT`, `probes.api`.
    pub key: String,
    /// What was written; None where nothing was, or where it is not shown.
    pub before: Option<String>,
    pub after: Option<String>,
    pub how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Added,
    Changed,
    Removed,
}

/// Everything that differs, by key. Values that may be secret, or are no single value, are left out.
pub fn differences(before: &Settings, after: &Settings) -> Vec<Difference> {
    let keys: BTreeSet<&str> = before.iter().chain(after.iter()).map(|(key, _)| key).collect();
    let mut found = Vec::new();
    for key in keys {
        match (before.get(key), after.get(key)) {
            (Some(old), Some(new)) if old == new => {}
            (old, new) if is_mapping(old) || is_mapping(new) => found.extend(entries(key, old, new)),
            (old, new) => found.extend(difference(key.to_owned(), old, new)),
        }
    }
    found
}

fn is_mapping(value: Option<&Value>) -> bool {
    value.is_some_and(Value::is_object)
}

fn entries(key: &str, old: Option<&Value>, new: Option<&Value>) -> Vec<Difference> {
    let names = |value: Option<&Value>| -> BTreeSet<String> {
        let entries = value.and_then(Value::as_object);
        entries.into_iter().flatten().map(|(name, _)| name.clone()).collect()
    };
    let all: BTreeSet<String> = names(old).union(&names(new)).cloned().collect();
    let entry = |value: Option<&Value>, name: &str| value.and_then(|value| value.get(name)).cloned();
    all.into_iter()
        .filter_map(|name| {
            let (old, new) = (entry(old, &name), entry(new, &name));
            difference(format!("{key}.{name}"), old.as_ref(), new.as_ref())
        })
        .collect()
}

fn difference(key: String, old: Option<&Value>, new: Option<&Value>) -> Option<Difference> {
    let how = match (old, new) {
        (None, None) => return None,
        (Some(old), Some(new)) if old == new => return None,
        (None, Some(_)) => How::Added,
        (Some(_), Some(_)) => How::Changed,
        (Some(_), None) => How::Removed,
    };
    let name = key.strip_prefix("env.");
    let shown = |value: &Value| {
        let is_secret = name.is_some_and(is_sensitive);
        // Arguments are shown by `bot show` as well; what stands in a mapping or a list of mappings is long.
        let is_short = !value.is_object() && !value.as_array().is_some_and(|items| items.iter().any(Value::is_object));
        (is_short && !is_secret).then(|| Settings::show(value))
    };
    Some(Difference {
        before: old.and_then(shown),
        after: new.and_then(shown),
        key,
        how,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_and_each_entry_that_differs_is_named_and_no_secret_shown() {
        let settings = |text: &str| Settings::from_json(text).unwrap();
        let before = settings(
            r#"{"restart.delay":"1s","cwd":"/a","env":{"PORT":"1","API_KEY":"old","GONE":"x"},"probes":{"api":{"tcp":"80"}}}"#,
        );
        let after = settings(
            r#"{"restart.delay":"2s","env":{"PORT":"1","API_KEY":"new","NEW":"y"},"probes":{"api":{"tcp":"81"}},"command":["a","b"]}"#,
        );
        let found = differences(&before, &after);
        let short: Vec<(&str, How, Option<&str>, Option<&str>)> = found
            .iter()
            .map(|it| (it.key.as_str(), it.how, it.before.as_deref(), it.after.as_deref()))
            .collect();
        assert_eq!(
            short,
            [
                ("command", How::Added, None, Some("[\"a\",\"b\"]")),
                ("cwd", How::Removed, Some("/a"), None),
                ("env.API_KEY", How::Changed, None, None),
                ("env.GONE", How::Removed, Some("x"), None),
                ("env.NEW", How::Added, None, Some("y")),
                ("probes.api", How::Changed, None, None),
                ("restart.delay", How::Changed, Some("1s"), Some("2s")),
            ]
        );
        assert!(differences(&after, &after).is_empty());
    }
}
