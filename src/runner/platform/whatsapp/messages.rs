//! What is to be sent, in the words of the Cloud API, and what a refusal means for its receiver. Pure.

use std::collections::VecDeque;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::runner::platform::split::{TEXT_UNITS_MAX, split};
use crate::runner::platform::{Class, Content, Outgoing, Source};

/// One message; a file is uploaded before it is named in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) message: Value,
    pub(super) upload: Option<Upload>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Upload {
    /// The kind of message that it is for.
    pub(super) kind: &'static str,
    pub(super) path: PathBuf,
}

/// The parts in order, at least one. Errors with what WhatsApp has no words for.
pub(super) fn parts(chat: &str, outgoing: Outgoing) -> Result<VecDeque<Part>, String> {
    let reply_to = outgoing.reply_to;
    let part = |kind: &str, content: Value| {
        let to = chat.trim_start_matches('+');
        let mut message = json!({
            "messaging_product": "whatsapp", "recipient_type": "individual", "to": to, "type": kind, kind: content,
        });
        if let Some(reply_to) = &reply_to {
            message["context"] = json!({"message_id": reply_to});
        }
        Part { message, upload: None }
    };
    let file = |kind: &'static str, source: Source, caption: String| {
        let mut content = json!({});
        if !caption.is_empty() {
            content["caption"] = caption.into();
        }
        let upload = match source {
            Source::Path(path) => {
                if kind == "document" {
                    content["filename"] = path.file_name().unwrap_or_default().to_string_lossy().into();
                }
                Some(Upload { kind, path })
            }
            Source::Remote(remote) => {
                let field = if remote.contains("://") { "link" } else { "id" };
                content[field] = remote.into();
                None
            }
        };
        let part = part(kind, content);
        VecDeque::from([Part { upload, ..part }])
    };
    Ok(match outgoing.content {
        Content::Text(text) => split(&text, TEXT_UNITS_MAX)
            .into_iter()
            .map(|text| part("text", json!({"body": text})))
            .collect(),
        Content::Photo { source, caption } => file("image", source, caption),
        Content::Document { source, caption } => file("document", source, caption),
        Content::Template(template) => VecDeque::from([part("template", template)]),
        Content::Edit { .. } => return Err("whatsapp cannot change what was sent".to_owned()),
        Content::Action(_) => return Err("whatsapp shows no chat actions".to_owned()),
    })
}

/// The type that a file of this name has, as far as the API wants to know it.
pub(super) fn mime(path: &std::path::Path) -> &'static str {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    match extension.to_str().unwrap_or_default() {
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "webp" => "image/webp",
        "pdf" => "application/pdf",
        "txt" | "log" | "csv" => "text/plain",
        "mp4" => "video/mp4",
        "mp3" => "audio/mpeg",
        "ogg" => "audio/ogg",
        _ => "application/octet-stream",
    }
}

/// What a code of the API means for the one who should have got it.
pub(super) fn class(code: u64) -> Class {
    match code {
        // Cannot be delivered: no account, or one that takes nothing from us.
        131_026 => Class::NoChat,
        131_050 => Class::Blocked,
        // Not among the numbers that a test account may write to.
        131_030 => Class::NoRights,
        100 | 131_008 | 131_009 | 131_021 | 131_051 | 131_052 | 131_053 | 132_000..=132_099 => Class::BadRequest,
        // Among them 131047: the user has been silent for a day, and only a template may be sent.
        _ => Class::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(content: Content) -> Vec<Value> {
        let outgoing = Outgoing {
            content,
            ..Outgoing::text(Some("+4917"), "")
        };
        parts("+4917", outgoing)
            .unwrap()
            .into_iter()
            .map(|part| part.message)
            .collect()
    }

    fn expected(kind: &str, content: Value) -> Value {
        json!({"messaging_product": "whatsapp", "recipient_type": "individual", "to": "4917", "type": kind, kind: content})
    }

    #[test]
    fn each_content_has_its_type() {
        let link = || Source::Remote("https://example.org/a.pdf".to_owned());
        for (content, kind, said) in [
            (Content::Text("hi".into()), "text", json!({"body": "hi"})),
            (
                Content::Photo {
                    source: Source::Remote("M1".into()),
                    caption: "see".into(),
                },
                "image",
                json!({"caption": "see", "id": "M1"}),
            ),
            (
                Content::Document {
                    source: link(),
                    caption: String::new(),
                },
                "document",
                json!({"link": "https://example.org/a.pdf"}),
            ),
            (
                Content::Template(json!({"name": "hello", "language": {"code": "en"}})),
                "template",
                json!({"name": "hello", "language": {"code": "en"}}),
            ),
        ] {
            assert_eq!(made(content), [expected(kind, said)]);
        }
        assert_eq!(made(Content::Text("x".repeat(5000))).len(), 2);
        let local = Content::Document {
            source: Source::Path("/m/a.pdf".into()),
            caption: String::new(),
        };
        let outgoing = Outgoing {
            content: local,
            reply_to: Some("wamid.1".into()),
            ..Outgoing::text(None, "")
        };
        let part = parts("4917", outgoing).unwrap().remove(0).unwrap();
        assert_eq!(part.message["document"], json!({"filename": "a.pdf"}));
        assert_eq!(part.message["context"], json!({"message_id": "wamid.1"}));
        assert_eq!(part.upload.unwrap().kind, "document");
        for content in [
            Content::Action("typing".into()),
            Content::Edit {
                message: "1".into(),
                text: "x".into(),
            },
        ] {
            let outgoing = Outgoing {
                content,
                ..Outgoing::text(None, "")
            };
            assert!(parts("4917", outgoing).is_err());
        }
    }

    #[test]
    fn only_what_will_never_arrive_speaks_of_its_receiver() {
        for (code, expected) in [
            (131_026, Class::NoChat),
            (131_050, Class::Blocked),
            (131_047, Class::Other),
            (100, Class::BadRequest),
            (132_001, Class::BadRequest),
            (1, Class::Other),
        ] {
            assert_eq!(class(code), expected, "{code}");
        }
    }
}
