//! What the Bot API tells, as arrivals. Pure; <https://core.telegram.org/bots/api#update> names the fields.

use serde_json::Value;

use crate::runner::arrival::{Arrival, File, Message, What};

/// The kinds of updates that a bot asks for.
pub(super) const KINDS: [&str; 3] = ["message", "channel_post", "my_chat_member"];

/// The number of an update; None where it has none, so that it is not one.
pub(super) fn number(update: &Value) -> Option<i64> {
    update["update_id"].as_i64()
}

/// What an update tells a bot; None where that is nothing.
pub(super) fn arrival(update: &Value) -> Option<Arrival> {
    let id = number(update)?.to_string();
    let (body, what) = KINDS.iter().find_map(|kind| {
        let body = update.get(*kind)?;
        let what = if *kind == "my_chat_member" {
            membership(body)?
        } else {
            What::Message(message(body)?)
        };
        Some((body, what))
    })?;
    let chat = body["chat"]["id"].as_i64()?.to_string();
    Some(Arrival { id, chat, what })
}

fn membership(body: &Value) -> Option<What> {
    match body["new_chat_member"]["status"].as_str()? {
        "kicked" | "left" => Some(What::Kicked),
        "member" | "administrator" | "creator" => Some(What::Joined),
        // Restricted: it may still be there or not; the next message tells.
        _ => None,
    }
}

/// None for a message about the chat itself, such as that somebody has joined.
fn message(body: &Value) -> Option<Message> {
    let text = body["text"].as_str().or_else(|| body["caption"].as_str());
    let file = file(body);
    if text.is_none() && file.is_none() {
        return None;
    }
    let user = &body["from"];
    Some(Message {
        message: body["message_id"].as_i64().map(|id| id.to_string()),
        user: user["id"].as_i64().map(|id| id.to_string()),
        username: user["username"].as_str().map(str::to_owned),
        text: text.unwrap_or_default().to_owned(),
        is_group: body["chat"]["type"] != "private",
        file,
    })
}

/// The file of a message: of a photo its largest size.
fn file(body: &Value) -> Option<File> {
    let sizes = body["photo"].as_array();
    let photo = sizes.and_then(|sizes| {
        sizes
            .iter()
            .max_by_key(|size| size["file_size"].as_u64().or(size["width"].as_u64()))
    });
    let kinds = [
        "document",
        "video",
        "audio",
        "voice",
        "video_note",
        "animation",
        "sticker",
    ];
    let named = || kinds.iter().find_map(|kind| Some((*kind, body.get(*kind)?)));
    let (kind, found) = photo.map(|found| ("photo", found)).or_else(named)?;
    let extension = match kind {
        "photo" => ".jpg",
        "video" | "video_note" | "animation" => ".mp4",
        "voice" => ".ogg",
        "sticker" => ".webp",
        _ => "",
    };
    let name = found["file_name"].as_str().map(str::to_owned);
    Some(File {
        id: found["file_id"].as_str()?.to_owned(),
        name: name.unwrap_or_else(|| format!("{kind}{extension}")),
        bytes: found["file_size"].as_u64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_message_is_read_with_its_writer_and_its_file() {
        let update = json!({"update_id": 7, "message": {"message_id": 5, "date": 0, "text": "hi",
            "from": {"id": 42, "is_bot": false, "first_name": "Ann", "username": "ann"},
            "chat": {"id": -100, "type": "supergroup"}}});
        let Some(Arrival {
            id,
            chat,
            what: What::Message(message),
        }) = arrival(&update)
        else {
            panic!()
        };
        assert_eq!((id.as_str(), chat.as_str()), ("7", "-100"));
        assert_eq!(
            (message.user.as_deref(), message.username.as_deref()),
            (Some("42"), Some("ann"))
        );
        assert_eq!(
            (message.text.as_str(), message.is_group, message.file),
            ("hi", true, None)
        );

        let update = json!({"update_id": 8, "message": {"message_id": 6, "caption": "look", "chat": {"id": 1, "type": "private"},
            "photo": [{"file_id": "small", "file_size": 10}, {"file_id": "large", "file_size": 900}, {"file_id": "mid", "file_size": 90}]}});
        let Some(Arrival {
            what: What::Message(message),
            ..
        }) = arrival(&update)
        else {
            panic!()
        };
        let file = message.file.unwrap();
        assert_eq!(
            (message.text.as_str(), file.id.as_str(), file.name.as_str()),
            ("look", "large", "photo.jpg")
        );

        let post = json!({"update_id": 9, "channel_post": {"message_id": 1, "text": "x", "chat": {"id": -5, "type": "channel"}}});
        assert!(matches!(
            arrival(&post),
            Some(Arrival {
                what: What::Message(Message { user: None, .. }),
                ..
            })
        ));
    }

    #[test]
    fn who_may_be_in_a_chat_is_told_and_the_rest_is_nothing() {
        let member = |status: &str| {
            arrival(&json!({"update_id": 1, "my_chat_member": {"chat": {"id": -5},
                "new_chat_member": {"status": status}}}))
            .map(|arrival| arrival.what)
        };
        assert_eq!(member("kicked"), Some(What::Kicked));
        assert_eq!(member("left"), Some(What::Kicked));
        assert_eq!(member("member"), Some(What::Joined));
        assert_eq!(member("restricted"), None);
        for update in [
            json!({"update_id": 1}),
            json!({"message": {"text": "x", "chat": {"id": 1}}}),
            json!({"update_id": 1, "message": {"new_chat_members": [], "chat": {"id": 1}}}),
            json!({"update_id": 1, "edited_message": {"text": "x", "chat": {"id": 1}}}),
        ] {
            assert_eq!(arrival(&update), None, "{update}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_can_be_told_is_too_much(text in "\\PC{0,80}", id in any::<i64>()) {
            for value in [json!(text), json!(id), json!([id]), json!({"id": text, "text": id}), json!(null)] {
                for kind in KINDS {
                    let _ = arrival(&json!({"update_id": id, kind: value}));
                    let _ = arrival(&json!({"update_id": id, kind: {"chat": {"id": id}, "text": text, "photo": value, "from": value}}));
                }
            }
        }
    }
}
