//! The arguments of `multibot import`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::examples;

#[derive(Clone, Debug, Subcommand)]
pub enum ImportVerb {
    /// Make bots of an .env file with several tokens in one variable
    ///
    /// TELEGRAM_BOT_TOKEN=t1,t2,t3 makes bot-0, bot-1 and bot-2, each with its own token in BOT_TOKEN and
    /// TELEGRAM_BOT_TOKEN and every other variable of the file. MEDIA_TMP_LOCATION becomes the media folder,
    /// CLEAN_UP_MEDIADIR empties it before each run. Without a command the built-in bot of Telegram plays them.
    #[command(after_long_help = examples::text("import dotenv"))]
    Dotenv(ImportDotenv),
}

#[derive(Clone, Debug, Args)]
pub struct ImportDotenv {
    /// The .env file
    pub file: PathBuf,

    /// What the names of the bots begin with
    #[arg(long, value_name = "NAME", default_value = "bot")]
    pub name: String,

    /// Only show what would be created; exit code 10
    #[arg(long)]
    pub dry_run: bool,

    /// Create them down
    #[arg(long)]
    pub no_start: bool,

    /// Print JSON for scripts
    #[arg(long)]
    pub json: bool,

    /// Program and arguments of the bots
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}
