//! What a command asks of the bot. Pure: an envelope in, a request or the fault of its sender out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::platform::{Content, Outgoing, Source};
use crate::model::blocking::REFRESH_BLOCKLIST;
use crate::model::credential::REFRESH_CREDENTIALS;
use crate::model::message::Envelope;
use crate::model::people::{Level, REFRESH_ADMINS, REFRESH_PERMISSIONS};
use crate::model::units::Stamp;

/// A command that the bot knows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    Shutdown {
        is_forced: bool,
        /// When the bot is killed; None when the sender did not say it so that it can be read.
        deadline: Option<Stamp>,
    },
    Status,
    Reconnect,
    Send(Outgoing),
    /// The admins of all bots from now on.
    Admins(BTreeSet<String>),
    /// Who may use which command from now on.
    Permissions(BTreeMap<String, Level>),
    /// Its credentials have changed.
    Credentials,
    /// The targets that the bot must leave alone from now on.
    Blocklist(BTreeSet<String>),
}

/// Why a command cannot be obeyed, in one line for its sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("unknown command {name:?}; known are {}", KNOWN.join(", "))]
    Unknown { name: String },
    #[error(r#"{name} needs {field} in its payload, as in {{"{field}":"hello"}}"#)]
    Missing { name: String, field: &'static str },
    #[error("{name}: {field} must be a string, found {found}")]
    NotText {
        name: String,
        field: &'static str,
        found: &'static str,
    },
}

pub(super) const SHUTDOWN: &str = "shutdown";
const STATUS: &str = "status_request";
const RECONNECT: &str = "restart_connection";
const SEND: &str = "send_message";
const EDIT: &str = "edit_message";
const ACTION: &str = "chat_action";
const KNOWN: [&str; 10] = [
    ACTION,
    EDIT,
    REFRESH_ADMINS,
    REFRESH_BLOCKLIST,
    REFRESH_CREDENTIALS,
    REFRESH_PERMISSIONS,
    RECONNECT,
    SEND,
    SHUTDOWN,
    STATUS,
];

impl Request {
    /// Reads the command in this envelope.
    pub(super) fn read(envelope: &Envelope) -> Result<Request, Fault> {
        match envelope.name.as_str() {
            SHUTDOWN => Ok(Request::Shutdown {
                is_forced: envelope.payload["mode"] == "forced",
                deadline: envelope.payload["deadline"].as_str().and_then(Stamp::parse),
            }),
            STATUS => Ok(Request::Status),
            RECONNECT => Ok(Request::Reconnect),
            SEND => message(envelope).and_then(|content| outgoing(envelope, content)),
            EDIT => {
                let message = needed(envelope, "message")?;
                let text = needed(envelope, "text")?;
                outgoing(envelope, Content::Edit { message, text })
            }
            ACTION => outgoing(envelope, Content::Action(needed(envelope, "action")?)),
            REFRESH_CREDENTIALS => Ok(Request::Credentials),
            REFRESH_ADMINS => texts(envelope, "admins").map(Request::Admins),
            REFRESH_BLOCKLIST => texts(envelope, "targets").map(Request::Blocklist),
            REFRESH_PERMISSIONS => {
                let all = envelope.payload["permissions"].as_object();
                let all = all.ok_or_else(|| missing(envelope, "permissions"))?;
                let levels = all
                    .iter()
                    .filter_map(|(command, level)| Some((command.clone(), Level::from_word(level.as_str()?)?)));
                Ok(Request::Permissions(levels.collect()))
            }
            unknown => Err(Fault::Unknown {
                name: unknown.to_owned(),
            }),
        }
    }
}

/// What a message holds: a photo or a document with its caption, a template, or a text.
fn message(envelope: &Envelope) -> Result<Content, Fault> {
    let caption = |envelope| Ok(text(envelope, "caption")?.unwrap_or_default());
    if let Some(photo) = text(envelope, "photo")? {
        return Ok(Content::Photo {
            source: source(photo),
            caption: caption(envelope)?,
        });
    }
    if let Some(document) = text(envelope, "document")? {
        return Ok(Content::Document {
            source: source(document),
            caption: caption(envelope)?,
        });
    }
    match envelope.payload.get("template") {
        Some(template @ Value::Object(_)) => Ok(Content::Template(template.clone())),
        _ => needed(envelope, "text").map(Content::Text),
    }
}

/// A path of this host, where it looks like one; else an address or a number of the platform's.
fn source(text: String) -> Source {
    let is_path = text.starts_with('/') || text.starts_with("./");
    if is_path {
        Source::Path(text.into())
    } else {
        Source::Remote(text)
    }
}

fn outgoing(envelope: &Envelope, content: Content) -> Result<Request, Fault> {
    Ok(Request::Send(Outgoing {
        chat: text(envelope, "chat")?,
        user: text(envelope, "user")?,
        content,
        reply_to: text(envelope, "reply_to")?,
        parse_mode: text(envelope, "parse_mode")?,
    }))
}

/// A list of texts in the payload.
fn texts(envelope: &Envelope, field: &'static str) -> Result<BTreeSet<String>, Fault> {
    let list = envelope.payload[field]
        .as_array()
        .ok_or_else(|| missing(envelope, field))?;
    let texts = list.iter().filter_map(|entry| entry.as_str().map(str::to_owned));
    Ok(texts.collect())
}

fn needed(envelope: &Envelope, field: &'static str) -> Result<String, Fault> {
    text(envelope, field)?.ok_or_else(|| missing(envelope, field))
}

fn missing(envelope: &Envelope, field: &'static str) -> Fault {
    Fault::Missing {
        name: envelope.name.clone(),
        field,
    }
}

/// A field of the payload; null counts as missing. Chats, users and messages may be numbers. A value is never repeated: it
/// may be a secret.
fn text(envelope: &Envelope, field: &'static str) -> Result<Option<String>, Fault> {
    let is_number = ["chat", "user", "message", "reply_to"].contains(&field);
    let found = match &envelope.payload[field] {
        Value::Null => return Ok(None),
        Value::String(text) => return Ok(Some(text.clone())),
        Value::Number(number) if is_number && !number.is_f64() => return Ok(Some(number.to_string())),
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Err(Fault::NotText {
        name: envelope.name.clone(),
        field,
        found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::message::Kind;
    use serde_json::json;

    fn read(name: &str, payload: Value) -> Result<Request, Fault> {
        Request::read(&Envelope::new("a".into(), Kind::Command, name, "cli", "shop", Stamp(0)).with_payload(payload))
    }

    fn send(chat: Option<&str>, text: &str) -> Request {
        Request::Send(Outgoing::text(chat, text))
    }

    fn content(content: Content) -> Request {
        let mut outgoing = Outgoing::text(Some("7"), "");
        outgoing.content = content;
        Request::Send(outgoing)
    }

    #[test]
    fn requests_as_they_are_sent() {
        let until = "2026-01-31T08:30:10.000000Z";
        let shutdown = |is_forced, deadline| Request::Shutdown { is_forced, deadline };
        for (name, payload, request) in [
            (
                "shutdown",
                json!({"mode": "graceful", "deadline": until}),
                shutdown(false, Stamp::parse(until)),
            ),
            (
                "shutdown",
                json!({"mode": "forced", "deadline": until}),
                shutdown(true, Stamp::parse(until)),
            ),
            ("shutdown", json!({}), shutdown(false, None)),
            (
                "shutdown",
                json!({"mode": 1, "deadline": "soon"}),
                shutdown(false, None),
            ),
            ("status_request", json!({}), Request::Status),
            ("restart_connection", json!({}), Request::Reconnect),
            ("send_message", json!({"text": "hi"}), send(None, "hi")),
            ("send_message", json!({"text": "", "chat": null}), send(None, "")),
            (
                "send_message",
                json!({"text": "hi", "chat": "7"}),
                send(Some("7"), "hi"),
            ),
            (
                "send_message",
                json!({"text": "hi", "chat": -7}),
                send(Some("-7"), "hi"),
            ),
            (
                "send_message",
                json!({"chat": "7", "photo": "/m/a.jpg", "caption": "look"}),
                content(Content::Photo {
                    source: Source::Path("/m/a.jpg".into()),
                    caption: "look".into(),
                }),
            ),
            (
                "send_message",
                json!({"chat": 7, "document": "https://example.org/a.pdf"}),
                content(Content::Document {
                    source: Source::Remote("https://example.org/a.pdf".into()),
                    caption: String::new(),
                }),
            ),
            (
                "edit_message",
                json!({"chat": "7", "message": 5, "text": "new"}),
                content(Content::Edit {
                    message: "5".into(),
                    text: "new".into(),
                }),
            ),
            (
                "chat_action",
                json!({"chat": "7", "action": "typing"}),
                content(Content::Action("typing".into())),
            ),
            (
                "refresh_admins",
                json!({"admins": ["1", "2"]}),
                Request::Admins(["1".to_owned(), "2".to_owned()].into()),
            ),
            (
                "refresh_permissions",
                json!({"permissions": {"ping": "admin"}}),
                Request::Permissions([("ping".to_owned(), Level::Admin)].into()),
            ),
        ] {
            assert_eq!(read(name, payload.clone()), Ok(request), "{name} {payload}");
        }
    }

    #[test]
    fn faults_name_the_command_the_field_and_the_way_out() {
        for (name, payload, said) in [
            (
                "nonsense",
                json!({}),
                r#"unknown command "nonsense"; known are chat_action, edit_message, refresh_admins, refresh_blocklist, refresh_credentials, refresh_permissions, restart_connection, send_message, shutdown, status_request"#,
            ),
            (
                "send_message",
                json!({}),
                r#"send_message needs text in its payload, as in {"text":"hello"}"#,
            ),
            (
                "send_message",
                json!({"text": null}),
                r#"send_message needs text in its payload, as in {"text":"hello"}"#,
            ),
            (
                "send_message",
                json!({"text": 5}),
                "send_message: text must be a string, found a number",
            ),
            (
                "send_message",
                json!({"text": ["a"]}),
                "send_message: text must be a string, found a list",
            ),
            (
                "send_message",
                json!({"text": {}}),
                "send_message: text must be a string, found an object",
            ),
            (
                "send_message",
                json!({"text": true}),
                "send_message: text must be a string, found true or false",
            ),
            (
                "send_message",
                json!({"text": "a", "chat": 7.5}),
                "send_message: chat must be a string, found a number",
            ),
        ] {
            assert_eq!(read(name, payload).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn every_known_name_is_known() {
        let all =
            json!({"text": "a", "message": "1", "action": "typing", "admins": [], "permissions": {}, "targets": []});
        for name in KNOWN {
            assert!(read(name, all.clone()).is_ok(), "{name}");
        }
        assert!(matches!(read("dance", all), Err(Fault::Unknown { .. })));
    }
}
