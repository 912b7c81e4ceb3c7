//! Kinds of values: what may stand behind a key, and its canonical form.
//!
//! A canonical value is JSON that reads back as itself: durations are texts such as `1m30s`, sizes stay as
//! written, numbers and truth values are JSON's own. It never holds null.

mod lists;

use std::time::Duration;

use serde_json::{Number, Value};

use self::lists::{read_argv, read_names, read_rules, read_senders, read_texts, read_variables};
use super::classes::read_classes;
use super::commands::read_commands;
use super::fault::Fault;
use super::probe::read_probes;
use super::yaml::{Node, Shape};
use crate::model::bot::{signal_name, signal_number};
use crate::model::nearest::nearest;
use crate::model::units::{parse_duration, parse_size, show_duration, show_size};

/// Above this a delay outgrows any outage within a few failures.
const FACTOR_MAX: f64 = 100.0;
/// A thousand cores.
const PERCENT_MAX: f64 = 100_000.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Integer {
        min: u64,
        max: u64,
    },
    /// A whole number that may be below zero.
    Signed {
        min: i64,
        max: i64,
    },
    /// A number from 1 to 100.
    Factor,
    /// Percent of one core, written `80`, `80%` or `150.5`.
    Percent,
    Duration {
        min: Duration,
        max: Duration,
    },
    /// A duration, or this word for none at all.
    DurationOr {
        word: &'static str,
        min: Duration,
        max: Duration,
    },
    Size {
        min: u64,
    },
    /// A size, or one of these words.
    SizeOr {
        words: &'static [&'static str],
        min: u64,
    },
    /// A value of that kind, or `80%`: a share of something else. There a percent sign always means the share.
    OrShare {
        unit: &'static Kind,
        of: &'static str,
    },
    Signal,
    Words(&'static [&'static str]),
    Path,
    /// A program and its arguments.
    Argv,
    /// Names of environment variables.
    Names,
    /// Ids of bots, or `*` for all.
    Senders,
    /// Environment variables and their values.
    Variables,
    /// A regular expression.
    Pattern,
    /// Probes by name.
    Probes,
    /// Any text of one line.
    Text,
    /// An address of HTTP. It may be a secret, so nothing that is told of it shows it.
    Url,
    /// Rules of alerts, by name.
    Rules,
    /// Signs and the classes that they mean.
    Classes,
    /// Short texts of one line without spaces.
    Texts {
        what: &'static str,
    },
    /// Commands of a bot, by name.
    Commands,
}

impl Kind {
    /// What may be written, for the manual: `duration, 0s to 1h`.
    pub fn describe(self) -> String {
        match self {
            Kind::Bool => "true or false".to_owned(),
            Kind::Integer { min, max } => format!("whole number, {min} to {max}"),
            Kind::Signed { min, max } => format!("whole number, {min} to {max}"),
            Kind::Factor => format!("number, 1 to {FACTOR_MAX}"),
            Kind::Percent => "percent of one core, such as 80 or 150%".to_owned(),
            Kind::Duration { min, max } => format!("duration, {} to {}", show_duration(min), show_duration(max)),
            Kind::DurationOr { word, min, max } => {
                format!("duration, {} to {}, or {word}", show_duration(min), show_duration(max))
            }
            Kind::Size { min } => format!("size, at least {}", show_size(min)),
            Kind::SizeOr { words, min } => format!("size, at least {}, or {}", show_size(min), words.join(" or ")),
            Kind::OrShare { unit, of } => format!("{}, or 1% to 100% of {of}", unit.describe()),
            Kind::Signal => "signal, by name or number".to_owned(),
            Kind::Words(words) => words.join(" | "),
            Kind::Path => "path".to_owned(),
            Kind::Argv => "list of the program and its arguments".to_owned(),
            Kind::Names => "list of variable names".to_owned(),
            Kind::Senders => "list of bots, or [\"*\"]".to_owned(),
            Kind::Variables => "mapping of variable names to values".to_owned(),
            Kind::Pattern => "regular expression".to_owned(),
            Kind::Probes => "mapping of names to probes".to_owned(),
            Kind::Text => "text".to_owned(),
            Kind::Url => "address that begins with https:// or http://".to_owned(),
            Kind::Rules => "list of rules".to_owned(),
            Kind::Classes => "list of mappings with match or exit, and class".to_owned(),
            Kind::Texts { what } => format!("list of texts, each a {what}"),
            Kind::Commands => "mapping of names to commands".to_owned(),
        }
    }

    /// The canonical value of what was written behind `key`. None with at least one fault, or without a
    /// fault where a list or mapping that may be empty was left empty.
    pub(super) fn read(self, key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Value> {
        match self {
            Kind::Argv => read_argv(key, node, faults),
            Kind::Names => read_names(key, node, faults),
            Kind::Senders => read_senders(key, node, faults),
            Kind::Variables => read_variables(key, node, faults),
            Kind::Probes => read_probes(key, node, faults),
            Kind::Rules => read_rules(key, node, faults),
            Kind::Classes => read_classes(key, node, faults),
            Kind::Texts { what } => read_texts(key, what, node, faults),
            Kind::Commands => read_commands(key, node, faults),
            _ => {
                let text = scalar(key, node, faults)?;
                match self.read_scalar(text) {
                    Ok(value) => Some(value),
                    Err(why) => {
                        faults.push(Fault::at(node.place, format!("{key}: {why}")));
                        None
                    }
                }
            }
        }
    }

    /// What was written in one text, as in `bot set`: lists of names separated by commas, lists and
    /// mappings otherwise in JSON, everything else as in YAML.
    pub(super) fn node_of_text(self, text: &str) -> Node {
        let json = || {
            serde_json::from_str::<Value>(text)
                .ok()
                .map(|value| Node::from_json(&value))
        };
        match self {
            Kind::Argv | Kind::Variables | Kind::Probes | Kind::Classes | Kind::Commands => {
                json().unwrap_or_else(|| Node::scalar(text))
            }
            Kind::Names | Kind::Senders | Kind::Rules | Kind::Texts { .. } if text.trim_start().starts_with('[') => {
                json().unwrap_or_else(|| Node::scalar(text))
            }
            Kind::Names | Kind::Senders | Kind::Rules | Kind::Texts { .. } => {
                Node::list(text.split(',').map(str::trim).filter(|name| !name.is_empty()))
            }
            _ => Node::scalar(text),
        }
    }

    /// A scalar's canonical value, or why it is none, in words that follow the key.
    fn read_scalar(self, text: &str) -> Result<Value, String> {
        match self {
            Kind::Bool => match text {
                "true" | "True" | "TRUE" => Ok(Value::Bool(true)),
                "false" | "False" | "FALSE" => Ok(Value::Bool(false)),
                _ => Err(format!("{text:?} is neither true nor false")),
            },
            Kind::Integer { min, max } => match text.parse::<u64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(Value::from(number)),
                _ => Err(format!("{text:?} is not a whole number from {min} to {max}")),
            },
            Kind::Signed { min, max } => match text.parse::<i64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(Value::from(number)),
                _ => Err(format!("{text:?} is not a whole number from {min} to {max}")),
            },
            Kind::Factor => match decimal(text) {
                Some(number) if (1.0..=FACTOR_MAX).contains(&number) => Ok(number_value(number)),
                _ => Err(format!("{text:?} is not a number from 1 to {FACTOR_MAX}")),
            },
            Kind::Percent => match decimal(text.strip_suffix('%').unwrap_or(text).trim_end()) {
                Some(number) if number > 0.0 && number <= PERCENT_MAX => Ok(number_value(number)),
                _ => Err(format!("{text:?} is not a share of one core: write 80, 80% or 150.5")),
            },
            Kind::DurationOr { word, .. } if text == word => Ok(Value::from(word)),
            Kind::DurationOr { word, min, max } => {
                read_duration(text, min, max).map_err(|why| format!("{why}, or {word}"))
            }
            Kind::Duration { min, max } => read_duration(text, min, max),
            Kind::Size { min } => read_size(text, min),
            Kind::SizeOr { words, .. } if words.contains(&text) => Ok(Value::from(text)),
            Kind::SizeOr { words, min } => {
                read_size(text, min).map_err(|why| format!("{why}, or {}", words.join(" or ")))
            }
            Kind::OrShare { unit, of } => match text.strip_suffix('%') {
                None => unit.read_scalar(text),
                Some(share) => match decimal(share.trim_end()) {
                    Some(share) if (1.0..=100.0).contains(&share) => Ok(Value::from(format!("{share}%"))),
                    _ => Err(format!("{text:?} is not a share of {of}: write 1% to 100%")),
                },
            },
            Kind::Signal => match signal_number(text) {
                Some(number) => Ok(Value::from(signal_word(number))),
                None => Err(format!(
                    "{text:?} is not a signal: write TERM, INT, HUP, QUIT, USR1 or another name or number"
                )),
            },
            Kind::Words(words) if words.contains(&text) => Ok(Value::from(text)),
            Kind::Words(words) => Err(no_such_word(text, words)),
            Kind::Path => path_fault(text).map_or_else(|| Ok(Value::from(text)), Err),
            Kind::Pattern => pattern_fault(text).map_or_else(|| Ok(Value::from(text)), Err),
            Kind::Text if text.trim().is_empty() => Err("it is empty".to_owned()),
            Kind::Text if text.contains(['\n', '\0']) => Err("it must be one line".to_owned()),
            Kind::Text => Ok(Value::from(text.trim())),
            Kind::Url if is_url(text.trim()) => Ok(Value::from(text.trim())),
            Kind::Url => Err("it is no address: write https://… or http://…".to_owned()),
            Kind::Argv
            | Kind::Names
            | Kind::Senders
            | Kind::Variables
            | Kind::Rules
            | Kind::Probes
            | Kind::Classes
            | Kind::Texts { .. }
            | Kind::Commands => Err("it is not one value".to_owned()),
        }
    }
}

/// Why a text is no path to keep, in words that follow the key.
pub(super) fn path_fault(text: &str) -> Option<String> {
    if text.is_empty() {
        Some("the path is empty".to_owned())
    } else if text.contains('\0') {
        Some("the path holds a NUL character".to_owned())
    } else if text == "~" || text.starts_with("~/") {
        Some(format!(
            "{text:?} is not expanded: write the full path, such as /home/me/x"
        ))
    } else {
        None
    }
}

/// Why a text is no pattern, in words that follow the key.
fn pattern_fault(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some("the pattern is empty and would match every line".to_owned());
    }
    let error = regex_lite::Regex::new(text).err()?;
    let first = error.to_string().lines().next().unwrap_or_default().to_owned();
    Some(format!("{text:?} is not a regular expression: {first}"))
}

/// The text of a node that must be one value.
pub(super) fn scalar<'a>(key: &str, node: &'a Node, faults: &mut Vec<Fault>) -> Option<&'a str> {
    let found = match &node.shape {
        Shape::Scalar(text) => return Some(text),
        Shape::Null => {
            faults.push(Fault::at(
                node.place,
                format!("{key} has no value: write one or remove the key"),
            ));
            return None;
        }
        Shape::List(_) => "a list",
        Shape::Map(_) => "a mapping",
    };
    faults.push(Fault::at(
        node.place,
        format!("{key}: found {found}, expected one value"),
    ));
    None
}

fn no_such_word(text: &str, words: &'static [&'static str]) -> String {
    let list = words.join(", ");
    match nearest(text, words.iter().copied()) {
        Some(word) => format!("{text:?} is none of {list}; nearest is {word:?}"),
        None => format!("{text:?} is none of {list}"),
    }
}

fn read_duration(text: &str, min: Duration, max: Duration) -> Result<Value, String> {
    let length = parse_duration(text).map_err(|error| error.to_string())?;
    if length < min {
        Err(format!("{text:?} is too short: write at least {}", show_duration(min)))
    } else if length > max {
        Err(format!("{text:?} is too long: write at most {}", show_duration(max)))
    } else {
        Ok(Value::from(show_duration(length)))
    }
}

fn read_size(text: &str, min: u64) -> Result<Value, String> {
    match parse_size(text) {
        Ok(bytes) if bytes < min && text.trim().bytes().all(|byte| byte.is_ascii_digit()) => Err(format!(
            "{text:?} is a number of bytes, less than {}: write a unit, such as {}MiB",
            show_size(min),
            text.trim()
        )),
        Ok(bytes) if bytes < min => Err(format!("{text:?} is less than {}", show_size(min))),
        Ok(_) => Ok(Value::from(text.trim())),
        Err(error) => Err(error.to_string()),
    }
}

/// A number in plain digits; exponents, signs and `inf` are not what people mean here.
fn decimal(text: &str) -> Option<f64> {
    let plain = text.len() <= 20 && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if plain { text.parse().ok() } else { None }
}

fn number_value(number: f64) -> Value {
    if number.fract() == 0.0 && number <= PERCENT_MAX {
        Value::from(number as u64)
    } else {
        Number::from_f64(number).map_or(Value::Null, Value::Number)
    }
}

/// `TERM` for 15; the number itself where it has no name.
fn signal_word(number: i32) -> String {
    signal_name(number)
        .strip_prefix("SIG")
        .map_or_else(|| number.to_string(), str::to_owned)
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_clean = text.chars().all(|c| c.is_ascii_graphic());
    is_clean && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KEYS;

    #[test]
    fn the_manual_can_describe_every_key() {
        let described = |name: &str| {
            let key = KEYS.iter().find(|key| key.name == name);
            key.map(|key| key.kind.describe()).unwrap_or_default()
        };
        for (name, text) in [
            ("stop.grace", "duration, 0s to 1h"),
            ("restart.retry_failed", "duration, 1ms to 3650d, or never"),
            ("restart.factor", "number, 1 to 100"),
            ("log.keep", "whole number, 1 to 1000"),
            ("log.max_size", "size, at least 4.0 KiB"),
            ("kernel.memory_max", "size, at least 1.0 MiB, or auto or off"),
            ("nice", "whole number, -20 to 19"),
            ("restart.policy", "always | on-failure | never"),
        ] {
            assert_eq!(described(name), text);
        }
    }

    const MEMORY: Kind = Kind::SizeOr {
        words: &["auto", "off"],
        min: 1024,
    };

    #[test]
    fn what_is_neither_a_size_nor_a_word_is_told_both() {
        assert_eq!(
            MEMORY.read_scalar("1").unwrap_err(),
            "\"1\" is a number of bytes, less than 1.0 KiB: write a unit, such as 1MiB, or auto or off"
        );
        let nice = Kind::Signed { min: -20, max: 19 };
        assert!(nice.read_scalar("20").is_err() && nice.read_scalar("low").is_err());
    }

    #[test]
    fn a_canonical_value_reads_as_itself() {
        for (kind, text) in [
            (Kind::Percent, "150.5%"),
            (Kind::Factor, "1.25"),
            (Kind::Signal, "15"),
            (Kind::Size { min: 1 }, " 1.5 GiB "),
            (Kind::Signed { min: -20, max: 19 }, "-7"),
            (MEMORY, "off"),
            (MEMORY, "2GiB"),
        ] {
            let value = kind.read_scalar(text).unwrap();
            let mut faults = Vec::new();
            assert_eq!(kind.read("key", &Node::from_json(&value), &mut faults), Some(value));
            assert_eq!(faults, []);
        }
        for text in ["inf", "NaN", "1e3", "-1", "+1", "", ".", "%"] {
            assert!(
                Kind::Percent.read_scalar(text).is_err() && Kind::Factor.read_scalar(text).is_err(),
                "{text}"
            );
        }
    }
}
