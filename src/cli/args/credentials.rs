//! The arguments of `multibot credentials`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use crate::cli::examples;
use crate::model::bot::BotId;
use crate::model::credential::{FieldName, Owner};

#[derive(Clone, Debug, Subcommand)]
pub enum CredentialsVerb {
    /// List which fields there are, and when they were changed; never their values
    #[command(after_long_help = examples::text("credentials list"))]
    List(CredentialsList),

    /// Store a field of a bot, or one that all bots share
    ///
    /// The value comes from a file or from stdin, never from the command line, which every user of the host can
    /// read; on a terminal it is asked for and not shown. A bot whose fields change is restarted.
    #[command(after_long_help = examples::text("credentials set"))]
    Set(CredentialsSet),

    /// Take a field away
    #[command(after_long_help = examples::text("credentials remove"))]
    Remove(CredentialsRemove),

    /// Take over from a JSON file what is newer there, or only there
    #[command(after_long_help = examples::text("credentials import"))]
    Import(CredentialsFileArgs),

    /// Write into a JSON file what is newer here, or only here
    #[command(after_long_help = examples::text("credentials export"))]
    Export(CredentialsFileArgs),

    /// Make a JSON file and the store alike, in both directions
    ///
    /// In the file each field is an object with value and updatedAt, a time in RFC 3339 or in milliseconds since
    /// 1970: those of all bots under "shared", those of a bot under "bots" and its id. For each field the newer
    /// side wins; what only one side has is copied to the other, so what is to go must be taken away on both. A
    /// field with one time and two values is a conflict: it is named and left as it is on both sides.
    ///
    /// The file holds secrets: it is written with mode 0600 and refused when others may read it. Whatever else it
    /// holds is kept.
    ///
    /// Exit code 0 means that both sides are alike, 1 that there are conflicts.
    #[command(after_long_help = examples::text("credentials sync"))]
    Sync(CredentialsFileArgs),
}

#[derive(Clone, Debug, Args)]
pub struct CredentialsList {
    /// Only what this bot has, with the shared ones
    pub bot: Option<BotId>,

    /// Print JSON for scripts
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("owner").required(true).args(["bot", "shared"]))]
pub struct FieldOf {
    /// Name of the field: such as token, app_secret or phone_id
    #[arg(value_name = "FIELD")]
    pub name: FieldName,

    /// The bot that has it
    #[arg(long, value_name = "BOT")]
    bot: Option<BotId>,

    /// All bots have it that have none of this name themselves
    #[arg(long)]
    shared: bool,
}

impl FieldOf {
    pub fn owner(&self) -> Owner {
        // The parser asks for exactly one of both.
        self.bot.clone().map_or(Owner::Shared, Owner::Bot)
    }
}

#[derive(Clone, Debug, Args)]
pub struct CredentialsSet {
    #[command(flatten)]
    pub field: FieldOf,

    /// File that holds the value and nothing else; without it stdin
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct CredentialsRemove {
    #[command(flatten)]
    pub field: FieldOf,
}

/// A side that wins where both were changed at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preferred {
    File,
    Store,
}

#[derive(Clone, Debug, Args)]
pub struct CredentialsFileArgs {
    /// The JSON file
    pub file: PathBuf,

    /// The side that wins a conflict
    #[arg(long, value_name = "SIDE")]
    pub prefer: Option<Preferred>,

    /// Say what would be done, and do nothing; exit code 10 where something would be
    #[arg(long)]
    pub dry_run: bool,
}
