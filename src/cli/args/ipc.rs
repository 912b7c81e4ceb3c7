//! The verbs under `multibot ipc`: what a bot in a shell script says and hears.

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Map, Value};

use super::values;
use crate::cli::examples;
use crate::model::credential::FieldName;
use crate::model::units::parse_duration;

#[derive(Clone, Debug, Subcommand)]
pub enum IpcVerb {
    /// Say that the bot works
    ///
    /// With the setting ready.when=signal a bot counts as running only from here.
    #[command(after_long_help = examples::text("ipc ready"))]
    Ready,

    /// Show that the bot lives
    ///
    /// The first heartbeat makes them obligatory: a bot that has beaten once and then is silent for its
    /// heartbeat_timeout (60s) is restarted.
    #[command(after_long_help = examples::text("ipc heartbeat"))]
    Heartbeat,

    /// Tell something for the bot's history
    ///
    /// connected, disconnected, connection_failed and kicked say how the bot stands with its platform and show in
    /// `multibot status`; any other name is recorded. Keep secrets out of it.
    #[command(after_long_help = examples::text("ipc event"))]
    Event {
        /// What happened, such as connected or order_placed
        name: String,

        /// What there is to say about it, a JSON object
        #[arg(long, value_name = "JSON", value_parser = values::payload)]
        json: Option<Map<String, Value>>,
    },

    /// Wait for the next message, and print it
    ///
    /// The first line is ID NAME ATTEMPT SENDER. Behind it stands the message's text, of as many lines as it has;
    /// for a message without a text, its content as one line of JSON.
    ///
    /// The message is in hand until `ack`, `reply` or `fail` says what became of it: until then this prints the same
    /// one again. Whatever is in hand when the bot dies comes back with a higher ATTEMPT.
    ///
    /// Exit code 1 and no output mean that no message came in the time given.
    #[command(after_long_help = examples::text("ipc receive"))]
    Receive {
        /// Stop waiting after this time; without it, wait until one comes
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        timeout: Option<Duration>,

        /// Print the whole envelope as one line of JSON
        #[arg(long)]
        json: bool,
    },

    /// Say that the message in hand is handled, without an answer
    #[command(after_long_help = examples::text("ipc ack"))]
    Ack {
        /// ID of the message
        id: String,
    },

    /// Print the bot's credentials as they are now
    ///
    /// Its own fields and the shared ones, and its token under the name token. For a bot that was told by
    /// refresh_credentials that some have changed, or that does not want them in its environment.
    ///
    /// Without NAME these are assignments for eval of a shell, under the names that they have in the environment, as in
    /// BOT_APP_SECRET. With NAME it is the value alone; exit code 1 means that there is none.
    #[command(after_long_help = examples::text("ipc credentials"))]
    Credentials {
        /// Field, such as token or app_secret; without it: all
        name: Option<FieldName>,

        /// Print one JSON object with a text for each field
        #[arg(long)]
        json: bool,
    },

    /// Say that the message in hand could not be handled
    ///
    /// It comes again after a delay that grows with every attempt, until its attempts are spent.
    #[command(after_long_help = examples::text("ipc fail"))]
    Fail {
        /// ID of the message
        id: String,

        /// Why, in one line
        #[arg(long, value_name = "TEXT", default_value = "the bot could not handle it")]
        message: String,

        /// When it is to come again; that does not count as an attempt
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        retry_after: Option<Duration>,

        /// It is never to come again
        #[arg(long, conflicts_with = "retry_after")]
        permanent: bool,
    },

    /// Answer the message in hand, which is handled
    #[command(after_long_help = examples::text("ipc reply"))]
    Reply {
        /// ID of the message
        id: String,

        /// Answer with this text
        #[arg(long, value_name = "TEXT", conflicts_with = "json")]
        text: Option<String>,

        /// Answer with this content, a JSON object
        #[arg(long, value_name = "JSON", value_parser = values::payload)]
        json: Option<Map<String, Value>>,
    },
}
