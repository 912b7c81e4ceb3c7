//! The arguments of `multibot queue`.

use clap::{Args, Subcommand};

use super::values;
use crate::cli::examples;
use crate::model::bot::BotId;
use crate::spool::Place;

#[derive(Clone, Debug, Args)]
pub struct Queue {
    /// Only this bot
    pub bot: Option<BotId>,

    #[command(subcommand)]
    pub verb: Option<QueueVerb>,
}

#[derive(Clone, Debug, Subcommand)]
pub enum QueueVerb {
    /// List messages and where they are
    #[command(after_long_help = examples::text("queue list"))]
    List {
        /// Only those in this place
        #[arg(long = "in", value_name = "PLACE", value_parser = values::place())]
        place: Option<Place>,

        /// Print JSON for scripts, one object on each line
        #[arg(long)]
        json: bool,
    },

    /// Show one message, with its content and what went wrong with it before
    #[command(after_long_help = examples::text("queue show"))]
    Show {
        /// Id of the message, or the name of its file
        id: String,

        /// Print JSON for scripts
        #[arg(long)]
        json: bool,
    },

    /// Deliver messages again: dead letters from their first attempt on, those that wait at once
    ///
    /// A dead letter keeps its history. One that could not be read stays: mend or drop it.
    #[command(after_long_help = examples::text("queue retry"))]
    Retry(Picked),

    /// Hold messages back until they are released
    #[command(after_long_help = examples::text("queue hold"))]
    Hold(Picked),

    /// Release messages that were held back
    #[command(after_long_help = examples::text("queue release"))]
    Release(Picked),

    /// Remove messages for good
    #[command(after_long_help = examples::text("queue drop"))]
    Drop(Picked),

    /// Count the messages in each place
    #[command(after_long_help = examples::text("queue stats"))]
    Stats {
        /// Print JSON for scripts
        #[arg(long)]
        json: bool,
    },
}

/// Which messages are meant.
#[derive(Clone, Debug, Args)]
pub struct Picked {
    /// Ids of messages, or names of their files
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub ids: Vec<String>,

    /// All of the bot, in the place that --in names
    #[arg(long, conflicts_with = "ids", requires = "place")]
    pub all: bool,

    /// Only those in this place
    #[arg(long = "in", value_name = "PLACE", value_parser = values::place())]
    pub place: Option<Place>,

    /// Print JSON for scripts
    #[arg(long)]
    pub json: bool,
}
