//! Probes as they are written: read into canonical JSON with every fault at its place, and typed.
//!
//! Canonical is what was written, each value in its kind's form and nothing added, so that a default may
//! change below it. Values of headers are never quoted in a fault.

use std::time::Duration;

use serde_json::{Map, Value};

use super::fault::Fault;
use super::kind::{Kind, scalar};
use super::yaml::{Entry, Node, Place, Shape};
use crate::model::nearest::nearest;
use crate::model::probe::{BacklogCheck, Check, HttpCheck, LogCheck, Probe, Role, TcpCheck};
use crate::model::units::parse_duration;

const NAME_LEN_MAX: usize = 32;
const DAY: Duration = Duration::from_secs(86_400);
const LENGTH: Kind = Kind::Duration {
    min: Duration::ZERO,
    max: DAY,
};
/// More often would measure little but the asking.
const PERIOD: Kind = Kind::Duration {
    min: Duration::from_millis(100),
    max: DAY,
};
const TIMEOUT: Kind = Kind::Duration {
    min: Duration::from_millis(1),
    max: Duration::from_secs(300),
};
const SOME_LENGTH: Kind = Kind::Duration {
    min: Duration::from_millis(1),
    max: DAY,
};
const THRESHOLD: Kind = Kind::Integer { min: 1, max: 1000 };
const METHOD: Kind = Kind::Words(&["GET", "HEAD", "POST", "PUT", "OPTIONS"]);

/// The fields of every probe, beside its check.
const FIELDS: &[(&str, Kind)] = &[
    ("role", Kind::Words(&["liveness", "readiness"])),
    ("initial_delay", LENGTH),
    ("period", PERIOD),
    ("timeout", TIMEOUT),
    ("failure_threshold", THRESHOLD),
    ("success_threshold", THRESHOLD),
];
const LOG_FIELDS: &[(&str, Kind)] = &[
    ("must_appear", Kind::Pattern),
    ("within", SOME_LENGTH),
    ("must_not_appear", Kind::Pattern),
];
const BACKLOG_FIELDS: &[(&str, Kind)] = &[
    ("mailbox", Kind::Words(&["inbox"])),
    ("max", Kind::Integer { min: 0, max: 1_000_000 }),
    ("growing_for", SOME_LENGTH),
];

const PERIOD_DEFAULT: Duration = Duration::from_secs(10);
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
const FAILURES_DEFAULT: u32 = 3;
const WITHIN_DEFAULT: Duration = Duration::from_secs(300);

/// Where a probe is being read: its dotted name, and what was found wrong.
struct Reader<'a> {
    faults: &'a mut Vec<Fault>,
}

/// The canonical value of `probes`. None with at least one fault, or where it was left empty.
pub(super) fn read_probes(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Value> {
    let known = faults.len();
    let mut reader = Reader { faults };
    let entries = match &node.shape {
        Shape::Null => return None,
        Shape::Map(entries) => entries,
        Shape::Scalar(_) | Shape::List(_) => {
            return reader.refuse(node.place, format!("{key}: write a mapping: {{api: {{http: URL}}}}"));
        }
    };
    let mut probes = Map::new();
    for entry in entries {
        if !is_name(&entry.name) {
            reader.refuse(
                entry.place,
                format!(
                    "{key}: {:?} is not a name of a probe: write at most {NAME_LEN_MAX} of a-z 0-9 _ -",
                    entry.name
                ),
            );
        } else if let Some(value) = reader.probe(&format!("{key}.{}", entry.name), &entry.node) {
            probes.insert(entry.name.clone(), value);
        }
    }
    (faults.len() == known).then_some(Value::Object(probes))
}

fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    (1..=NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(inner)
}

impl Reader<'_> {
    fn refuse(&mut self, place: Place, why: String) -> Option<Value> {
        self.faults.push(Fault::at(place, why));
        None
    }

    fn probe(&mut self, key: &str, node: &Node) -> Option<Value> {
        let Shape::Map(entries) = &node.shape else {
            let why = format!(
                "{key}: write a mapping with one of {}, such as {{tcp: 8080}}",
                Check::WORDS.join(", ")
            );
            return self.refuse(node.place, why);
        };
        let mut probe = Map::new();
        let mut checks: Vec<&Entry> = Vec::new();
        for entry in entries {
            let name = format!("{key}.{}", entry.name);
            let value = if let Some((_, kind)) = FIELDS.iter().find(|(field, _)| *field == entry.name) {
                kind.read(&name, &entry.node, self.faults)
            } else if Check::WORDS.contains(&entry.name.as_str()) {
                checks.push(entry);
                self.check(&name, &entry.name, &entry.node)
            } else {
                let known = FIELDS.iter().map(|(field, _)| *field).chain(Check::WORDS);
                self.unknown(key, entry, known)
            };
            probe.extend(value.map(|value| (entry.name.clone(), value)));
        }
        match checks.as_slice() {
            [_] => Some(Value::Object(probe)),
            [] => self.refuse(
                node.place,
                format!(
                    "{key}: nothing says how to ask: write one of {}",
                    Check::WORDS.join(", ")
                ),
            ),
            [first, second, ..] => self.refuse(
                second.place,
                format!(
                    "{key}: {} and {} stand beside each other: one probe asks one way, write a second probe",
                    first.name, second.name
                ),
            ),
        }
    }

    fn unknown(&mut self, key: &str, entry: &Entry, known: impl Iterator<Item = &'static str>) -> Option<Value> {
        let known: Vec<&str> = known.collect();
        let wrong = format!("unknown key {:?}", format!("{key}.{}", entry.name));
        let why = match nearest(&entry.name, known.iter().copied()) {
            Some(near) => format!("{wrong}, nearest is {:?}", format!("{key}.{near}")),
            None => format!("{wrong}; {key} has {}", known.join(", ")),
        };
        self.refuse(entry.place, why)
    }

    fn check(&mut self, key: &str, word: &str, node: &Node) -> Option<Value> {
        match word {
            "exec" => Kind::Argv.read(key, node, self.faults),
            "http" => self.http(key, node),
            "tcp" => self.one(key, node, |text| {
                tcp_of(text).map(|_| Value::from(text)).ok_or_else(|| {
                    format!("{text:?} is no address: write 8080, 127.0.0.1:8080, localhost:8080 or [::1]:8080")
                })
            }),
            "heartbeat" => self.one(key, node, |text| match text {
                "true" => Ok(Value::Bool(true)),
                _ => canonical(SOME_LENGTH, text).map_err(|why| format!("{why}, or true for heartbeat_timeout")),
            }),
            "status_request" => self.one(key, node, |text| match text {
                "true" => Ok(Value::Bool(true)),
                _ => Err(format!("{text:?}: write true, or remove the probe")),
            }),
            "log" => {
                let value = self.fields(key, node, LOG_FIELDS)?;
                let has = |field: &str| value.get(field).is_some();
                if has("must_appear") == has("must_not_appear") {
                    return self.refuse(
                        node.place,
                        format!("{key}: write either must_appear or must_not_appear"),
                    );
                }
                if has("within") && has("must_not_appear") {
                    return self.refuse(node.place, format!("{key}: within belongs to must_appear"));
                }
                Some(value)
            }
            _ => self.fields(key, node, BACKLOG_FIELDS),
        }
    }

    /// One text that `read` makes canonical.
    fn one(&mut self, key: &str, node: &Node, read: impl Fn(&str) -> Result<Value, String>) -> Option<Value> {
        let text = scalar(key, node, self.faults)?;
        match read(text) {
            Ok(value) => Some(value),
            Err(why) => self.refuse(node.place, format!("{key}: {why}")),
        }
    }

    /// A mapping of plain fields; None where one of them was refused.
    fn fields(&mut self, key: &str, node: &Node, fields: &'static [(&'static str, Kind)]) -> Option<Value> {
        let known = self.faults.len();
        let Shape::Map(entries) = &node.shape else {
            let names: Vec<&str> = fields.iter().map(|(field, _)| *field).collect();
            return self.refuse(node.place, format!("{key}: write a mapping with {}", names.join(", ")));
        };
        let mut map = Map::new();
        for entry in entries {
            let value = match fields.iter().find(|(field, _)| *field == entry.name) {
                Some((field, kind)) => kind.read(&format!("{key}.{field}"), &entry.node, self.faults),
                None => self.unknown(key, entry, fields.iter().map(|(field, _)| *field)),
            };
            map.extend(value.map(|value| (entry.name.clone(), value)));
        }
        (self.faults.len() == known).then_some(Value::Object(map))
    }

    fn http(&mut self, key: &str, node: &Node) -> Option<Value> {
        let Shape::Map(entries) = &node.shape else {
            return self.one(key, node, url);
        };
        let known = self.faults.len();
        let mut map = Map::new();
        for entry in entries {
            let name = format!("{key}.{}", entry.name);
            let value = match entry.name.as_str() {
                "url" => self.one(&name, &entry.node, url),
                "method" => METHOD.read(&name, &entry.node, self.faults),
                "headers" => self.headers(&name, &entry.node),
                "status" => self.one(&name, &entry.node, |text| {
                    statuses(text)
                        .map(|_| Value::from(text))
                        .ok_or_else(|| format!("{text:?} is no status: write 200, or 200-399"))
                }),
                "body" => Kind::Pattern.read(&name, &entry.node, self.faults),
                _ => {
                    let known = ["url", "method", "headers", "status", "body"];
                    self.unknown(key, entry, known.into_iter())
                }
            };
            map.extend(value.map(|value| (entry.name.clone(), value)));
        }
        if self.faults.len() > known {
            return None;
        }
        if !map.contains_key("url") {
            return self.refuse(node.place, format!("{key}: url is missing"));
        }
        Some(Value::Object(map))
    }

    /// No value is told: it may be a token.
    fn headers(&mut self, key: &str, node: &Node) -> Option<Value> {
        let Shape::Map(entries) = &node.shape else {
            return self.refuse(node.place, format!("{key}: write a mapping: {{Accept: text/plain}}"));
        };
        let mut headers = Map::new();
        for entry in entries {
            let is_name = !entry.name.is_empty()
                && entry
                    .name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
            match &entry.node.shape {
                Shape::Scalar(text) if is_name && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => {
                    headers.insert(entry.name.clone(), Value::from(text.as_str()));
                }
                _ => {
                    let why = format!("{key}: {:?} is not a header with one line of ASCII", entry.name);
                    return self.refuse(entry.place, why);
                }
            }
        }
        Some(Value::Object(headers))
    }
}

/// A text in the form of its kind, or why it is none.
fn canonical(kind: Kind, text: &str) -> Result<Value, String> {
    let mut faults = Vec::new();
    match kind.read("", &Node::scalar(text), &mut faults) {
        Some(value) => Ok(value),
        None => {
            let message = faults.into_iter().next().map(|fault| fault.message).unwrap_or_default();
            Err(message.trim_start_matches(": ").to_owned())
        }
    }
}

/// What is wrong is told without the text: an address may hold a password.
fn url(text: &str) -> Result<Value, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    let is_plain = text.bytes().all(|byte| (b'!'..=b'~').contains(&byte));
    let is_host = host.is_some_and(|host| {
        let host = host.rsplit('@').next().unwrap_or_default();
        !host.is_empty() && !host.starts_with(':')
    });
    if is_plain && is_host {
        Ok(Value::from(text))
    } else {
        Err(
            "it is no address to ask: write http:// or https:// and a host, such as http://127.0.0.1:8080/health"
                .to_owned(),
        )
    }
}

/// `8080`, `localhost:8080`, `127.0.0.1:8080` or `[::1]:8080`; a port alone is one of this host.
fn tcp_of(text: &str) -> Option<TcpCheck> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("127.0.0.1", text));
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    let host = if is_bracketed { &host[1..host.len() - 1] } else { host };
    let is_host = !host.is_empty() && !host.contains(['/', '[', ']']) && !host.contains(char::is_whitespace);
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    (is_host && (is_bracketed || !host.contains(':'))).then(|| TcpCheck {
        host: host.to_owned(),
        port,
    })
}

fn statuses(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| text.trim().parse().ok().filter(|status| (100..=599).contains(status));
    let (first, last) = (status(first)?, status(last)?);
    (first <= last).then_some((first, last))
}

/// The probes of a canonical value, in the order of their names.
pub(super) fn probes_of(value: Option<Value>) -> Vec<Probe> {
    let Some(Value::Object(map)) = value else {
        return Vec::new();
    };
    let mut probes: Vec<Probe> = map.iter().filter_map(|(name, value)| typed(name, value)).collect();
    probes.sort_by(|a, b| a.name.cmp(&b.name));
    probes
}

/// None for a probe that only a later version knows.
fn typed(name: &str, value: &Value) -> Option<Probe> {
    let check = Check::WORDS.iter().find_map(|word| check_of(word, value.get(word)?))?;
    let length = |field: &str, default| length_of(value, field).unwrap_or(default);
    let count = |field: &str, default| {
        let written = value.get(field).and_then(Value::as_u64);
        written.and_then(|count| u32::try_from(count).ok()).unwrap_or(default)
    };
    // Their own times say how long it may last.
    let is_lasting = matches!(check, Check::Heartbeat { .. } | Check::Log(_) | Check::Backlog(_));
    Some(Probe {
        name: name.to_owned(),
        role: value
            .get("role")
            .and_then(Value::as_str)
            .and_then(Role::from_word)
            .unwrap_or(Role::Liveness),
        initial_delay: length("initial_delay", Duration::ZERO),
        period: length("period", PERIOD_DEFAULT),
        timeout: length("timeout", TIMEOUT_DEFAULT),
        failure_threshold: count("failure_threshold", if is_lasting { 1 } else { FAILURES_DEFAULT }),
        success_threshold: count("success_threshold", 1),
        check,
    })
}

fn length_of(value: &Value, field: &str) -> Option<Duration> {
    parse_duration(value.get(field)?.as_str()?).ok()
}

fn check_of(word: &str, value: &Value) -> Option<Check> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
    Some(match word {
        "exec" => {
            let words = value.as_array()?.iter();
            Check::Exec(words.filter_map(|word| word.as_str().map(str::to_owned)).collect())
        }
        "http" => Check::Http(HttpCheck {
            url: value.as_str().map(str::to_owned).or_else(|| text("url"))?,
            method: text("method").unwrap_or_else(|| "GET".to_owned()),
            headers: match value.get("headers") {
                Some(Value::Object(headers)) => headers
                    .iter()
                    .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                    .collect(),
                _ => Vec::new(),
            },
            status: text("status").and_then(|text| statuses(&text)).unwrap_or((200, 399)),
            body: text("body"),
        }),
        "tcp" => Check::Tcp(tcp_of(value.as_str()?)?),
        "heartbeat" => Check::Heartbeat {
            max_age: value.as_str().and_then(|text| parse_duration(text).ok()),
        },
        "status_request" => Check::StatusRequest,
        "log" => Check::Log(match text("must_appear") {
            Some(pattern) => LogCheck::MustAppear {
                pattern,
                within: length_of(value, "within").unwrap_or(WITHIN_DEFAULT),
            },
            None => LogCheck::MustNotAppear {
                pattern: text("must_not_appear")?,
            },
        }),
        "backlog" => Check::Backlog(BacklogCheck {
            max: value.get("max").and_then(Value::as_u64),
            growing_for: length_of(value, "growing_for").unwrap_or(WITHIN_DEFAULT),
        }),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
