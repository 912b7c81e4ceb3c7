//! What is to be sent as calls of the Bot API. Pure, but for the file that an upload reads.

use std::collections::VecDeque;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::runner::platform::form;
use crate::runner::platform::split::{CAPTION_UNITS_MAX, TEXT_UNITS_MAX, split, units};
use crate::runner::platform::{Content, Outgoing, Source};

/// One call. Its parameters are JSON; a file beside them makes it a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) method: &'static str,
    pub(super) parameters: Map<String, Value>,
    pub(super) file: Option<Upload>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Upload {
    /// The parameter that it stands for.
    pub(super) field: &'static str,
    pub(super) path: PathBuf,
}

/// The largest file that the Bot API takes.
const UPLOAD_BYTES_MAX: u64 = 50 << 20;

/// The calls that send this to its chat, in order; at least one. `parse_mode` is the bot's own, for texts that name none.
pub(super) fn calls(chat: &str, outgoing: Outgoing, parse_mode: Option<&str>) -> VecDeque<Call> {
    let mode = outgoing.parse_mode.or_else(|| parse_mode.map(str::to_owned));
    let reply_to = outgoing.reply_to.as_deref().and_then(|id| id.parse::<i64>().ok());
    let call = |method: &'static str, fields: Value| {
        let mut parameters = Map::new();
        parameters.insert("chat_id".to_owned(), chat_id(chat));
        if let Value::Object(fields) = fields {
            parameters.extend(fields);
        }
        let has_text = parameters.contains_key("text") || parameters.contains_key("caption");
        if let Some(mode) = mode.as_deref().filter(|mode| has_text && !mode.is_empty()) {
            parameters.insert("parse_mode".to_owned(), mode.into());
        }
        Call {
            method,
            parameters,
            file: None,
        }
    };
    let texts = |text: &str| -> VecDeque<Call> {
        let parts = split(text, TEXT_UNITS_MAX).into_iter();
        parts.map(|part| call("sendMessage", json!({"text": part}))).collect()
    };
    let mut calls = match outgoing.content {
        Content::Text(text) => texts(&text),
        Content::Photo { source, caption } => with_file(&call, &texts, "sendPhoto", "photo", source, &caption),
        Content::Document { source, caption } => with_file(&call, &texts, "sendDocument", "document", source, &caption),
        Content::Edit { message, text } => {
            let message = message.parse::<i64>().map_or_else(|_| message.into(), Value::from);
            VecDeque::from([call("editMessageText", json!({"message_id": message, "text": text}))])
        }
        Content::Action(action) => VecDeque::from([call("sendChatAction", json!({"action": action}))]),
        // In the Bot API's own words: its method is sendMessage.
        Content::Template(fields) => VecDeque::from([call("sendMessage", fields)]),
    };
    if let (Some(reply_to), Some(first)) = (reply_to, calls.front_mut()) {
        let reply = json!({"message_id": reply_to, "allow_sending_without_reply": true});
        first.parameters.insert("reply_parameters".to_owned(), reply);
    }
    calls
}

/// A file with its caption; what is longer than a caption may be follows as texts.
fn with_file(
    call: &dyn Fn(&'static str, Value) -> Call,
    texts: &dyn Fn(&str) -> VecDeque<Call>,
    method: &'static str,
    field: &'static str,
    source: Source,
    caption: &str,
) -> VecDeque<Call> {
    let is_short = units(caption) <= CAPTION_UNITS_MAX;
    let mut first = match caption {
        text if !text.is_empty() && is_short => call(method, json!({"caption": text})),
        _ => call(method, json!({})),
    };
    match source {
        Source::Path(path) => first.file = Some(Upload { field, path }),
        Source::Remote(remote) => {
            first.parameters.insert(field.to_owned(), remote.into());
        }
    }
    let mut calls = VecDeque::from([first]);
    if !is_short {
        calls.extend(texts(caption));
    }
    calls
}

/// A chat's number, or the @name of a public one.
fn chat_id(chat: &str) -> Value {
    chat.parse::<i64>().map_or_else(|_| chat.into(), Value::from)
}

/// The type and the bytes of a call's body. Errors, in one line, where its file cannot be sent.
pub(super) fn body(call: &Call) -> Result<(String, Vec<u8>), String> {
    let Some(upload) = &call.file else {
        let body = Value::Object(call.parameters.clone()).to_string();
        return Ok(("application/json".to_owned(), body.into_bytes()));
    };
    let fields = call.parameters.iter().map(|(name, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (name.as_str(), text)
    });
    form::encode(
        fields,
        upload.field,
        &upload.path,
        "application/octet-stream",
        UPLOAD_BYTES_MAX,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn made(outgoing: Outgoing) -> Vec<(&'static str, Value)> {
        calls("42", outgoing, None)
            .into_iter()
            .map(|call| (call.method, Value::Object(call.parameters)))
            .collect()
    }

    fn outgoing(content: Content) -> Outgoing {
        Outgoing {
            content,
            ..Outgoing::text(Some("42"), "")
        }
    }

    #[test]
    fn each_content_has_its_method() {
        let remote = || Source::Remote("https://example.org/a.jpg".into());
        for (content, method, parameters) in [
            (
                Content::Text("hi".into()),
                "sendMessage",
                json!({"chat_id": 42, "text": "hi"}),
            ),
            (
                Content::Photo {
                    source: remote(),
                    caption: "see".into(),
                },
                "sendPhoto",
                json!({"chat_id": 42, "caption": "see", "photo": "https://example.org/a.jpg"}),
            ),
            (
                Content::Document {
                    source: remote(),
                    caption: String::new(),
                },
                "sendDocument",
                json!({"chat_id": 42, "document": "https://example.org/a.jpg"}),
            ),
            (
                Content::Edit {
                    message: "5".into(),
                    text: "new".into(),
                },
                "editMessageText",
                json!({"chat_id": 42, "message_id": 5, "text": "new"}),
            ),
            (
                Content::Action("typing".into()),
                "sendChatAction",
                json!({"chat_id": 42, "action": "typing"}),
            ),
        ] {
            assert_eq!(made(outgoing(content)), [(method, parameters)]);
        }
    }

    #[test]
    fn long_texts_and_captions_are_sent_in_parts_and_the_first_one_replies() {
        let mut long = Outgoing::text(Some("42"), &"x".repeat(9000));
        long.reply_to = Some("7".into());
        let parts = made(long);
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[0].1["reply_parameters"]["message_id"], 7);
        assert!(parts[1].1.get("reply_parameters").is_none());
        let caption = "y".repeat(1025);
        let photo = Content::Photo {
            source: Source::Remote("id".into()),
            caption: caption.clone(),
        };
        let [first, second] = made(outgoing(photo)).try_into().unwrap();
        assert!(first.1.get("caption").is_none());
        assert_eq!(second, ("sendMessage", json!({"chat_id": 42, "text": caption})));
    }

    #[test]
    fn a_text_is_read_as_its_sender_or_else_the_bot_says() {
        let mode = |own: Option<&str>, of_bot: Option<&str>| {
            let mut outgoing = Outgoing::text(Some("@news"), "hi");
            outgoing.parse_mode = own.map(str::to_owned);
            let call = calls("@news", outgoing, of_bot).remove(0).unwrap();
            assert_eq!(call.parameters["chat_id"], "@news");
            call.parameters.get("parse_mode").cloned()
        };
        assert_eq!(mode(None, None), None);
        assert_eq!(mode(None, Some("HTML")), Some(json!("HTML")));
        assert_eq!(mode(Some("MarkdownV2"), Some("HTML")), Some(json!("MarkdownV2")));
        assert_eq!(mode(Some(""), Some("HTML")), None);
    }

    #[test]
    fn an_upload_is_a_form_with_the_bytes_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a\"b.txt");
        fs::write(&path, b"\x00bytes").unwrap();
        let source = Source::Path(path);
        let call = calls(
            "42",
            outgoing(Content::Document {
                source,
                caption: "c".into(),
            }),
            None,
        )
        .remove(0)
        .unwrap();
        let (kind, body) = body(&call).unwrap();
        let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
        let text = String::from_utf8_lossy(&body);
        assert!(text.contains("name=\"chat_id\"\r\n\r\n42\r\n"), "{text}");
        assert!(text.contains("name=\"document\"; filename=\"a_b.txt\"\r\n"), "{text}");
        assert!(
            text.contains("\r\n\r\n\u{0}bytes\r\n--") && text.ends_with(&format!("--{boundary}--\r\n")),
            "{text}"
        );
        let folder = Source::Path(dir.path().to_owned());
        let call = calls(
            "42",
            outgoing(Content::Photo {
                source: folder,
                caption: String::new(),
            }),
            None,
        )
        .remove(0)
        .unwrap();
        assert!(super::body(&call).unwrap_err().ends_with("not a file that can be sent"));
    }
}
