//! The keys of bots that talk to Telegram.

use super::{Key, key};
use crate::config::kind::Kind;

pub(super) const TELEGRAM: &[Key] = &[key(
    "telegram.api_root",
    Kind::Url,
    Some("https://api.telegram.org"),
    "Where the Bot API is; another address is that of a Bot API server of your own.",
)];
