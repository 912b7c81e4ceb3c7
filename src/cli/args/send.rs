//! The arguments of `multibot send`.

use std::time::Duration;

use clap::{ArgGroup, Args};

use super::values::{self, PayloadArg};
use crate::model::units::parse_duration;

#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("content").args(["name", "text", "photo", "document", "ndjson", "all"]).multiple(true).required(true))]
pub struct Send {
    /// Bot that gets it
    #[arg(value_name = "BOT")]
    pub target: String,

    /// Name of the command: one that the bot understands; - reads many messages from stdin
    pub name: Option<String>,

    /// Send this text as a chat message (the command send_message)
    #[arg(long, value_name = "TEXT", conflicts_with = "name", allow_hyphen_values = true)]
    pub text: Option<String>,

    /// Chat that it goes to, as the bot's platform numbers it
    #[arg(long, value_name = "CHAT", conflicts_with_all = ["name", "all"], allow_hyphen_values = true)]
    pub to: Option<String>,

    /// Send this photo, a path, an address or the platform's number of it; --text is its caption
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "document"])]
    pub photo: Option<String>,

    /// Send this file, likewise
    #[arg(long, value_name = "FILE", conflicts_with = "name")]
    pub document: Option<String>,

    /// Content of the command, a JSON object; - reads it from stdin
    #[arg(long, value_name = "JSON", conflicts_with_all = ["text", "photo", "document"], allow_hyphen_values = true)]
    pub json: Option<PayloadArg>,

    /// Read many messages from stdin, one JSON object on each line
    #[arg(long, conflicts_with_all = ["name", "text", "json", "to", "photo", "document"])]
    pub ndjson: bool,

    /// Send the command to every bot
    #[arg(long, conflicts_with_all = ["name", "text", "photo", "document", "ndjson", "wait"])]
    pub all: bool,

    /// How urgent it is: 0 (most) to 9
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u8).range(0..=9))]
    pub priority: u8,

    /// After this time it is not worth handling and becomes a dead letter
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub expires: Option<Duration>,

    /// A second message with this key is not delivered (within queue.dedup_window, 1h by default)
    #[arg(long, value_name = "KEY", conflicts_with_all = ["ndjson", "all"], value_parser = values::key)]
    pub dedup_key: Option<String>,

    /// Messages with this key are handled in the order in which they were sent
    #[arg(long, value_name = "KEY", value_parser = values::key)]
    pub order_key: Option<String>,

    /// Wait for the bot's answer and print it
    #[arg(long, conflicts_with = "ndjson")]
    pub wait: bool,

    /// With --wait: how long to wait for the answer
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "30s", requires = "wait")]
    pub timeout: Duration,
}
