//! The arguments of `multibot blocklist`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::values::some_time;
use crate::cli::examples;
use crate::model::bot::BotId;

#[derive(Clone, Debug, Subcommand)]
pub enum BlocklistVerb {
    /// List the targets that are blocked now, until when and why
    #[command(after_long_help = examples::text("blocklist list"))]
    List(BlocklistList),

    /// Keep a bot away from a target, for a while or for ever
    #[command(after_long_help = examples::text("blocklist add"))]
    Add(BlocklistAdd),

    /// Let a bot talk to a target again
    #[command(after_long_help = examples::text("blocklist remove"))]
    Remove(BlocklistRemove),

    /// Count the blocked targets of each bot
    #[command(after_long_help = examples::text("blocklist stats"))]
    Stats(BlocklistStats),
}

#[derive(Clone, Debug, Args)]
pub struct BlocklistList {
    /// Only the targets of this bot
    pub bot: Option<BotId>,

    /// Print JSON for scripts
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct BlocklistAdd {
    pub bot: BotId,

    /// A chat, a phone number, or what else the bot talks to, as it names it
    #[arg(allow_hyphen_values = true)]
    pub target: String,

    /// For so long; without it for ever
    #[arg(long = "for", value_name = "TIME", value_parser = some_time)]
    pub length: Option<Duration>,

    /// Why, in one line
    #[arg(long, value_name = "TEXT", default_value = "by an operator")]
    pub reason: String,
}

#[derive(Clone, Debug, Args)]
pub struct BlocklistRemove {
    pub bot: BotId,

    #[arg(allow_hyphen_values = true)]
    pub target: String,
}

#[derive(Clone, Debug, Args)]
pub struct BlocklistStats {
    /// Print JSON for scripts
    #[arg(long)]
    pub json: bool,
}
