//! What a command asks of the bot. Pure: an envelope in, a request or the fault of its sender out.

use serde_json::Value;

use crate::model::message::Envelope;
use crate::model::units::Stamp;

/// A command that the bot knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Shutdown {
        is_forced: bool,
        /// When the bot is killed; None when the sender did not say it so that it can be read.
        deadline: Option<Stamp>,
    },
    Status,
    Reconnect,
    Send {
        /// None: the bot's main chat.
        chat: Option<String>,
        text: String,
    },
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
const KNOWN: [&str; 4] = [RECONNECT, SEND, SHUTDOWN, STATUS];

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
            SEND => Ok(Request::Send {
                chat: text(envelope, "chat")?,
                text: text(envelope, "text")?.ok_or_else(|| Fault::Missing {
                    name: envelope.name.clone(),
                    field: "text",
                })?,
            }),
            unknown => Err(Fault::Unknown {
                name: unknown.to_owned(),
            }),
        }
    }
}

/// A field of the payload; null counts as missing. A value is never repeated: it may be a secret.
fn text(envelope: &Envelope, field: &'static str) -> Result<Option<String>, Fault> {
    let found = match &envelope.payload[field] {
        Value::Null => return Ok(None),
        Value::String(text) => return Ok(Some(text.clone())),
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
        Request::Send {
            chat: chat.map(str::to_owned),
            text: text.to_owned(),
        }
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
                r#"unknown command "nonsense"; known are restart_connection, send_message, shutdown, status_request"#,
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
                json!({"text": "a", "chat": 7}),
                "send_message: chat must be a string, found a number",
            ),
        ] {
            assert_eq!(read(name, payload).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn every_known_name_is_known() {
        for name in KNOWN {
            assert!(read(name, json!({"text": "a"})).is_ok(), "{name}");
        }
        for name in ["refresh_admins", "refresh_permissions", "refresh_credentials"] {
            assert!(matches!(read(name, json!({})), Err(Fault::Unknown { .. })), "{name}");
        }
    }
}
