//! The arguments of `multibot apply` and `multibot export`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::model::bot::BotId;
use crate::model::units::parse_duration;

#[derive(Clone, Debug, Args)]
pub struct Apply {
    /// File or folder with bots in YAML
    pub path: PathBuf,

    /// Only show what would change; exit code 10 where anything would
    #[arg(long)]
    pub dry_run: bool,

    /// Stop and remove the bots that no file names; messages that are not done go with them
    #[arg(long)]
    pub prune: bool,

    /// Do not ask, on a terminal
    #[arg(short, long)]
    pub yes: bool,

    /// Give up when a changed bot takes longer than this to run again
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1m")]
    pub timeout: Duration,

    /// Print JSON for scripts
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Export {
    /// Only these bots; without any, all
    #[arg(value_name = "BOT")]
    pub bots: Vec<BotId>,

    /// Write variables that look like secrets too
    #[arg(long)]
    pub with_secrets: bool,
}
