//! What a bot of Telegram is told of its platform.

/// Settings of a bot that talks to Telegram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelegramPolicy {
    /// Where the Bot API is, without a slash at the end.
    pub api_root: String,
}
