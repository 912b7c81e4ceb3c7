//! What a webhook tells. Pure; the fields are those of the Cloud API's reference, unknown ones are ignored.

use serde_json::Value;

/// One thing that a webhook tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    Message(Message),
    /// Something that was sent did not arrive.
    Undelivered {
        /// The number of what was sent.
        id: String,
        recipient: String,
        code: u64,
        text: String,
    },
}

/// A message of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// `wamid.…`; the same when it is told twice.
    pub id: String,
    /// The phone number of its writer, which is also the chat.
    pub from: String,
    /// What the writer calls himself.
    pub name: Option<String>,
    /// Its text, the caption of its file, or the button that was chosen.
    pub text: String,
    /// The number, the type and the name of its file.
    pub media: Option<(String, String, String)>,
}

const FILES: [&str; 5] = ["image", "document", "audio", "video", "sticker"];

/// What the body of a webhook tells the phone number of this id; of others it may tell too.
pub fn notices(body: &Value, phone_id: &str) -> Vec<Notice> {
    let list = |value: &Value, field: &str| value[field].as_array().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for entry in list(body, "entry") {
        for change in list(&entry, "changes") {
            let value = &change["value"];
            let of_other = value["metadata"]["phone_number_id"]
                .as_str()
                .is_some_and(|id| id != phone_id);
            if of_other {
                continue;
            }
            let contacts = list(value, "contacts");
            let messages = list(value, "messages");
            found.extend(
                messages
                    .iter()
                    .filter_map(|it| message(it, &contacts))
                    .map(Notice::Message),
            );
            found.extend(list(value, "statuses").iter().filter_map(undelivered));
        }
    }
    found
}

fn message(value: &Value, contacts: &[Value]) -> Option<Message> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let from = text(&value["from"])?;
    let contact = contacts.iter().find(|contact| contact["wa_id"] == from.as_str());
    let kind = value["type"].as_str().unwrap_or_default();
    let body = &value[kind];
    let said = match kind {
        "text" => text(&body["body"]),
        "button" => text(&body["text"]),
        "interactive" => text(&body["button_reply"]["title"]).or_else(|| text(&body["list_reply"]["title"])),
        "location" => Some(format!("{},{}", body["latitude"], body["longitude"])),
        _ => text(&body["caption"]),
    };
    let media = FILES.contains(&kind).then(|| text(&body["id"])).flatten();
    let media = media.map(|id| {
        let mime = text(&body["mime_type"]).unwrap_or_default();
        let name = text(&body["filename"]).unwrap_or_else(|| format!("{kind}{}", extension(&mime)));
        (id, mime, name)
    });
    if said.is_none() && media.is_none() {
        return None;
    }
    Some(Message {
        id: text(&value["id"])?,
        from,
        name: contact.and_then(|contact| text(&contact["profile"]["name"])),
        text: said.unwrap_or_default(),
        media,
    })
}

/// The usual ending of files of this type.
fn extension(mime: &str) -> &'static str {
    match mime.split(';').next().unwrap_or_default() {
        "image/jpeg" => ".jpg",
        "image/png" => ".png",
        "image/webp" => ".webp",
        "audio/ogg" => ".ogg",
        "audio/mpeg" => ".mp3",
        "video/mp4" => ".mp4",
        "application/pdf" => ".pdf",
        _ => "",
    }
}

fn undelivered(status: &Value) -> Option<Notice> {
    if status["status"] != "failed" {
        return None;
    }
    let error = &status["errors"][0];
    let text = error["error_data"]["details"].as_str().or(error["title"].as_str());
    Some(Notice::Undelivered {
        id: status["id"].as_str()?.to_owned(),
        recipient: status["recipient_id"].as_str()?.to_owned(),
        code: error["code"].as_u64().unwrap_or(0),
        text: text.unwrap_or("no reason given").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn body(value: Value) -> Value {
        json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]})
    }

    #[test]
    fn messages_and_failures_are_told_apart() {
        let value = json!({
            "metadata": {"phone_number_id": "PH"},
            "contacts": [{"wa_id": "4917", "profile": {"name": "Ann"}}],
            "messages": [
                {"from": "4917", "id": "wamid.1", "timestamp": "1", "type": "text", "text": {"body": "hi"}},
                {"from": "4917", "id": "wamid.2", "type": "image", "image": {"id": "M1", "mime_type": "image/jpeg", "caption": "see"}},
                {"from": "4918", "id": "wamid.3", "type": "document", "document": {"id": "M2", "mime_type": "application/pdf", "filename": "a.pdf"}},
                {"from": "4918", "id": "wamid.4", "type": "interactive", "interactive": {"type": "button_reply", "button_reply": {"id": "x", "title": "Yes"}}},
                {"from": "4918", "id": "wamid.5", "type": "reaction", "reaction": {"emoji": "x"}},
            ],
            "statuses": [
                {"id": "wamid.9", "status": "delivered", "recipient_id": "4917"},
                {"id": "wamid.8", "status": "failed", "recipient_id": "4919", "errors": [{"code": 131026, "title": "Message undeliverable"}]},
            ],
        });
        let found = notices(&body(value.clone()), "PH");
        let message = |id: &str, from: &str, name: Option<&str>, text: &str, media: Option<[&str; 3]>| {
            Notice::Message(Message {
                id: id.into(),
                from: from.into(),
                name: name.map(str::to_owned),
                text: text.into(),
                media: media.map(|[id, mime, name]| (id.into(), mime.into(), name.into())),
            })
        };
        let undelivered = Notice::Undelivered {
            id: "wamid.8".into(),
            recipient: "4919".into(),
            code: 131026,
            text: "Message undeliverable".into(),
        };
        assert_eq!(
            found,
            [
                message("wamid.1", "4917", Some("Ann"), "hi", None),
                message(
                    "wamid.2",
                    "4917",
                    Some("Ann"),
                    "see",
                    Some(["M1", "image/jpeg", "image.jpg"])
                ),
                message("wamid.3", "4918", None, "", Some(["M2", "application/pdf", "a.pdf"])),
                message("wamid.4", "4918", None, "Yes", None),
                undelivered,
            ]
        );
        assert!(notices(&body(value), "OTHER").is_empty());
    }

    proptest! {
        #[test]
        fn nothing_that_can_be_told_is_too_much(text in "\\PC{0,40}", number in any::<i64>()) {
            for value in [json!(text), json!(number), json!([number]), json!({"id": text, "type": text, text.clone(): number}), json!(null)] {
                let _ = notices(&value, "PH");
                let _ = notices(&json!({"entry": value}), "PH");
                let _ = notices(&body(json!({"messages": [value, {"from": text, "id": value, "type": text}], "statuses": [value], "contacts": value})), "PH");
            }
        }
    }
}
