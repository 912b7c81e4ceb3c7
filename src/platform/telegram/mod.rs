//! Telegram's Bot API: its requests and what its answers mean.

mod client;

pub use client::{Client, Fault};

/// Where the Bot API is when nobody says otherwise.
pub const API_ROOT: &str = "https://api.telegram.org";
