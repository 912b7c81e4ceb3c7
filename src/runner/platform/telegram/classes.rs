//! What a refusal of the Bot API means for the chat. Pure; the texts are those of the API's own answers.

use crate::runner::platform::Class;

const SIGNS: [(u16, &str, Class); 14] = [
    (403, "blocked by the user", Class::Blocked),
    (403, "user is deactivated", Class::Deactivated),
    (403, "was kicked", Class::Kicked),
    (403, "not a member", Class::Kicked),
    (403, "group chat was deleted", Class::Kicked),
    (403, "", Class::NoRights),
    (400, "chat not found", Class::NoChat),
    (400, "user not found", Class::NoChat),
    (400, "peer_id_invalid", Class::NoChat),
    (400, "not enough rights", Class::NoRights),
    (400, "no rights", Class::NoRights),
    (400, "chat_write_forbidden", Class::NoRights),
    (400, "", Class::BadRequest),
    (413, "", Class::BadRequest),
];

pub(super) fn class(code: u16, text: &str) -> Class {
    let text = text.to_lowercase();
    let sign = SIGNS.iter().find(|(of, part, _)| *of == code && text.contains(part));
    sign.map_or(Class::Other, |(_, _, class)| *class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        for (code, text, expected) in [
            (403, "Forbidden: bot was blocked by the user", Class::Blocked),
            (403, "Forbidden: user is deactivated", Class::Deactivated),
            (403, "Forbidden: bot was kicked from the supergroup chat", Class::Kicked),
            (403, "Forbidden: bot is not a member of the channel chat", Class::Kicked),
            (
                403,
                "Forbidden: bot can't initiate conversation with a user",
                Class::NoRights,
            ),
            (400, "Bad Request: chat not found", Class::NoChat),
            (
                400,
                "Bad Request: not enough rights to send text messages to the chat",
                Class::NoRights,
            ),
            (400, "Bad Request: message is too long", Class::BadRequest),
            (413, "Request Entity Too Large", Class::BadRequest),
            (418, "teapot", Class::Other),
        ] {
            assert_eq!(class(code, text), expected, "{text}");
        }
    }
}
