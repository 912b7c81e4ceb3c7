//! The types of single arguments: how they are read, and that those which may be secret stay unseen.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::{Map, Value};

use crate::model::alert::Rule;
use crate::model::bot::{BotId, Platform, Secret};
use crate::model::units::{Stamp, parse_duration};
use crate::spool::Place;

/// Where `--token` says that the token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenArg {
    Given(Secret),
    /// `-`: the first line of stdin.
    Stdin,
}

/// Where `--json` says that the content is.
#[derive(Clone, Debug, PartialEq)]
pub enum PayloadArg {
    Given(Map<String, Value>),
    /// `-`: all of stdin.
    Stdin,
}

/// A length of time that is not nothing.
pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("it must be longer than nothing, such as 2h".to_owned()),
        Ok(length) => Ok(length),
        Err(error) => Err(error.to_string()),
    }
}

/// How long to wait between two looks. A shorter time would keep a processor busy and show no more.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(length) if length < INTERVAL_MIN => Err("write 100ms or more, such as 2s".to_owned()),
        Ok(length) => Ok(length),
        Err(error) => Err(error.to_string()),
    }
}

const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// `KEY=VALUE`. Its `Debug` shows only the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Assignment {
    pub key: String,
    pub value: String,
}

/// A point in time as people give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    At(Stamp),
    Ago(Duration),
}

/// Whose log is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOwner {
    Bot(BotId),
    Supervisor,
}

impl Since {
    /// The point itself, seen from `now`.
    pub fn from(self, now: Stamp) -> Stamp {
        match self {
            Since::At(at) => at,
            Since::Ago(length) => Stamp(
                now.0
                    .saturating_sub(i64::try_from(length.as_micros()).unwrap_or(i64::MAX)),
            ),
        }
    }
}

impl FromStr for TokenArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<TokenArg, &'static str> {
        match text.trim() {
            "" => Err("it is empty"),
            "-" => Ok(TokenArg::Stdin),
            token => Ok(TokenArg::Given(Secret::new(token.to_owned()))),
        }
    }
}

impl FromStr for Assignment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Assignment, &'static str> {
        match text.split_once('=') {
            Some(("", _)) => Err("nothing stands before the ="),
            Some((key, value)) => Ok(Assignment {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            None => Err("there is no = in it"),
        }
    }
}

impl fmt::Debug for Assignment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}=…", self.key)
    }
}

impl FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Since, &'static str> {
        let at = Stamp::parse(text).map(Since::At);
        at.or_else(|| parse_duration(text).map(Since::Ago).ok())
            .ok_or("write a time such as 2026-11-23T08:00:00Z, or how long ago, such as 10m or 2h")
    }
}

impl FromStr for LogOwner {
    type Err = <BotId as FromStr>::Err;

    fn from_str(text: &str) -> Result<LogOwner, Self::Err> {
        match text {
            "supervisor" => Ok(LogOwner::Supervisor),
            _ => text.parse().map(LogOwner::Bot),
        }
    }
}

/// Reads a platform by its word.
pub(super) fn platform() -> impl TypedValueParser<Value = Platform> {
    PossibleValuesParser::new(Platform::ALL.map(Platform::word))
        .try_map(|word| Platform::from_word(&word).ok_or("it is no platform"))
}

/// Reads how many there are to be.
pub(super) fn count(text: &str) -> Result<u32, &'static str> {
    match text.parse() {
        Ok(0) | Err(_) => Err("write a whole number from 1 on"),
        Ok(number) => Ok(number),
    }
}

/// Reads a place of messages by its word.
pub(super) fn place() -> impl TypedValueParser<Value = Place> {
    PossibleValuesParser::new(Place::ALL.map(Place::word))
        .try_map(|word| Place::from_word(&word).ok_or("it is no place"))
}

/// Reads a rule of alerts by its word.
pub(super) fn rule() -> impl TypedValueParser<Value = Rule> {
    PossibleValuesParser::new(Rule::ALL.map(Rule::word)).try_map(|word| Rule::from_word(&word).ok_or("it is no rule"))
}

/// Reads a dedup or order key.
pub(super) fn key(text: &str) -> Result<String, &'static str> {
    let is_good = (1..=256).contains(&text.chars().count()) && !text.chars().any(|c| c.is_ascii_control());
    is_good
        .then(|| text.to_owned())
        .ok_or("write 1 to 256 characters without control characters")
}

impl FromStr for PayloadArg {
    type Err = String;

    fn from_str(text: &str) -> Result<PayloadArg, String> {
        match text.trim() {
            "-" => Ok(PayloadArg::Stdin),
            text => payload(text).map(PayloadArg::Given),
        }
    }
}

/// Reads a message's content: one JSON object.
pub(crate) fn payload(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err("it must be a JSON object, such as {\"chat\": 42}".to_owned()),
        Err(error) => Err(format!("it is not JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_give_them() {
        let now = Stamp::parse("2026-11-23T08:00:00Z").unwrap();
        for (text, at) in [
            ("10m", "2026-11-23T07:50:00Z"),
            ("1h30m", "2026-11-23T06:30:00Z"),
            ("2026-11-22T10:00:00+02:00", "2026-11-22T08:00:00Z"),
        ] {
            let since: Since = text.parse().unwrap();
            assert_eq!(since.from(now), Stamp::parse(at).unwrap(), "{text}");
        }
        for text in ["yesterday", "", "10", "2026-11-22"] {
            assert!(text.parse::<Since>().is_err(), "{text}");
        }
    }

    #[test]
    fn assignments() {
        let read = |text: &str| text.parse::<Assignment>().map(|set| (set.key, set.value));
        assert_eq!(read("a.b=c=d"), Ok(("a.b".to_owned(), "c=d".to_owned())));
        assert_eq!(read("a="), Ok(("a".to_owned(), String::new())));
        assert!(read("=a").is_err() && read("a").is_err());
    }

    #[test]
    fn what_may_be_secret_is_not_in_its_debug() {
        let set: Assignment = "API_KEY=hunter2".parse().unwrap();
        let token: TokenArg = "123:hunter2".parse().unwrap();
        assert!(!format!("{set:?} {token:?}").contains("hunter2"));
    }

    #[test]
    fn a_dash_means_stdin() {
        assert_eq!("-".parse(), Ok(TokenArg::Stdin));
        assert_eq!(" 1:a\n".parse(), Ok(TokenArg::Given(Secret::new("1:a".into()))));
        assert!(" ".parse::<TokenArg>().is_err());
    }

    #[test]
    fn the_supervisor_has_a_log_too() {
        assert_eq!("supervisor".parse(), Ok(LogOwner::Supervisor));
        assert_eq!("shop".parse(), Ok(LogOwner::Bot("shop".parse().unwrap())));
        assert!("Shop".parse::<LogOwner>().is_err());
    }

    #[test]
    fn payloads_are_objects() {
        assert!(payload("{\"a\": 1}").is_ok());
        for text in ["1", "[]", "{", ""] {
            assert!(payload(text).is_err(), "{text}");
        }
    }
}
