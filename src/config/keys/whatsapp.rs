//! The keys of bots that talk to WhatsApp's Cloud API.

use super::{Key, key};
use crate::config::kind::Kind;

pub(super) const WHATSAPP: &[Key] = &[
    key(
        "whatsapp.api_root",
        Kind::Url,
        Some("https://graph.facebook.com"),
        "Where the Graph API is.",
    ),
    key(
        "whatsapp.version",
        Kind::Text,
        Some("v23.0"),
        "Version of the Graph API.",
    ),
    key(
        "whatsapp.listen",
        Kind::Text,
        None,
        "Address and port where a built-in bot takes webhooks, such as 127.0.0.1:8090, behind a proxy that speaks HTTPS. \
         It needs the credentials app_secret and verify_token then, and always token and phone_id. Without it the bot \
         only sends.",
    ),
];
