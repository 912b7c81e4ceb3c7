//! A bot's secret fields: its token, and whatever else its platform asks for.

pub mod file;
pub mod login;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::bot::{BotId, Secret};
use super::units::Stamp;

/// The name of a field: `[a-z][a-z0-9_]{0,31}`, such as `token`, `app_secret` or `phone_id`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldName(String);

/// Why a text names no field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a field: write small letters, digits and _, beginning with a letter, such as app_secret")]
pub struct FieldNameError(pub String);

/// The field that every platform knows, and that no two bots may share.
pub const TOKEN: &str = "token";
const NAME_LEN_MAX: usize = 32;
/// Longer than any key or certificate that a platform gives out.
pub const FIELD_BYTES_MAX: usize = 16 * 1024;
/// The owner's name of what all bots share; no bot can be called so.
pub const SHARED: &str = "*";

/// Whose field it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// Every bot that has no field of this name itself.
    Shared,
    Bot(BotId),
}

/// A field as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub owner: Owner,
    pub name: FieldName,
    pub value: Secret,
    /// Cut to milliseconds.
    pub updated_at: Stamp,
}

/// The command that tells a bot which of its fields have changed.
pub const REFRESH_CREDENTIALS: &str = "refresh_credentials";

/// What a changed token or field means for a bot that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// It reads the new values in its environment, at its next start, which is now.
    Restart,
    /// It is told which ones, and reads them itself.
    Command,
}

/// The fields of one bot beside its token, by name.
pub type Fields = BTreeMap<FieldName, Secret>;

impl FieldName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_token(&self) -> bool {
        self.0 == TOKEN
    }

    /// The variable in which a bot finds the field: `app_secret` in `BOT_APP_SECRET`.
    pub fn variable(&self) -> String {
        format!("BOT_{}", self.0.to_ascii_uppercase())
    }
}

impl FromStr for FieldName {
    type Err = FieldNameError;

    fn from_str(text: &str) -> Result<FieldName, FieldNameError> {
        let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let is_name = text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(is_inner);
        // Their variables would be those in which a bot finds its own name.
        let is_taken = text == "id" || text == "index";
        if is_name && !is_taken && text.len() <= NAME_LEN_MAX {
            Ok(FieldName(text.to_owned()))
        } else {
            Err(FieldNameError(text.chars().take(2 * NAME_LEN_MAX).collect()))
        }
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

impl Owner {
    /// A bot's id, or `*`.
    pub fn word(&self) -> &str {
        match self {
            Owner::Shared => SHARED,
            Owner::Bot(id) => id.as_str(),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Shared => out.pad("shared"),
            Owner::Bot(id) => out.pad(id.as_str()),
        }
    }
}

/// A value without the white space around it; what is wrong with it otherwise, without showing it.
pub fn checked_value(text: &str) -> Result<Secret, &'static str> {
    let value = text.trim();
    if value.is_empty() {
        return Err("it is empty");
    }
    if value.len() > FIELD_BYTES_MAX {
        return Err("it is longer than 16 KiB");
    }
    if value.contains('\0') {
        return Err("it holds a zero byte, which no variable can");
    }
    Ok(Secret::new(value.to_owned()))
}

/// The names of the fields, and of the token, that two states do not share, in order.
pub fn changed(old: (Option<&Secret>, &Fields), new: (Option<&Secret>, &Fields)) -> Vec<String> {
    let names: BTreeSet<&FieldName> = old.1.keys().chain(new.1.keys()).collect();
    let fields = names.into_iter().filter(|name| old.1.get(name) != new.1.get(name));
    let mut changed: Vec<String> = fields.map(FieldName::to_string).collect();
    if old.0 != new.0 {
        changed.push(TOKEN.to_owned());
        changed.sort();
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_what_changed_are_told() {
        let fields = |text: &str| -> Fields {
            let pairs = text.split_whitespace().map(|pair| pair.split_once('=').unwrap());
            pairs
                .map(|(name, value)| (name.parse().unwrap(), Secret::new(value.to_owned())))
                .collect()
        };
        let secret = |text: &str| Secret::new(text.to_owned());
        for (old, new, told) in [
            (("1:a", ""), ("1:a", ""), ""),
            (("1:a", "k=1 m=2"), ("1:a", "k=1 m=3 n=4"), "m n"),
            (("1:a", "z=1 a=1"), ("1:b", ""), "a token z"),
        ] {
            let names = changed(
                (Some(&secret(old.0)), &fields(old.1)),
                (Some(&secret(new.0)), &fields(new.1)),
            );
            assert_eq!(names.join(" "), told);
        }
        assert_eq!(
            changed((None, &fields("")), (Some(&secret("1:a")), &fields(""))),
            ["token"]
        );
    }

    #[test]
    fn names_are_those_that_make_a_variable() {
        for (text, variable) in [
            ("token", "BOT_TOKEN"),
            ("app_secret", "BOT_APP_SECRET"),
            ("k2", "BOT_K2"),
        ] {
            assert_eq!(text.parse::<FieldName>().unwrap().variable(), variable);
        }
        for text in ["", "App", "2k", "_x", "a-b", "a b", "id", "index", "é", &"a".repeat(33)] {
            assert!(text.parse::<FieldName>().is_err(), "{text}");
        }
    }

    #[test]
    fn values_are_refused_without_being_shown() {
        assert_eq!(checked_value(" a b \n"), Ok(Secret::new("a b".into())));
        let long = "x".repeat(FIELD_BYTES_MAX + 1);
        for text in ["", " \n", "a\0b", &long] {
            assert!(checked_value(text).is_err());
        }
    }
}
