//! The verbs that look back: `metrics`, `events`, `audit`, and `check`, which looks for a monitoring system.

use clap::{Args, Subcommand};

use super::values::{self, Since};
use crate::cli::examples;
use crate::model::bot::BotId;

#[derive(Clone, Debug, Args)]
pub struct Metrics {
    /// Only this bot, with plots and recommendations
    pub bot: Option<BotId>,

    /// From this time on
    ///
    /// A time such as 2026-11-23T08:00:00Z, or how long ago: 10m, 2h, 7d. A time of up to an hour is shown by single
    /// passes of the sampler, one of up to two days by minutes, a longer one by hours.
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub since: Since,

    /// Print JSON for scripts
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,

    /// Print comma-separated values: a row for each bot, or with BOT for each point in time
    #[arg(long)]
    pub csv: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Events {
    /// Only this bot
    pub bot: Option<BotId>,

    /// Go on showing what happens, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,

    /// How many events to show, the newest ones
    ///
    /// Without it: 50, or with --since all of them.
    #[arg(short = 'n', long = "lines", value_name = "N", value_parser = values::count)]
    pub lines: Option<u32>,

    /// Only what happened from this time on
    ///
    /// A time such as 2026-11-23T08:00:00Z, or how long ago: 10m, 2h, 7d.
    #[arg(long, value_name = "TIME")]
    pub since: Option<Since>,

    /// Only what happened before this time
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    pub until: Option<Since>,

    /// Only events of this name, such as exited
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Print JSON for scripts, one object on each line
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Check {
    /// Only these bots; the supervisor must run for them all the same
    #[arg(value_name = "BOT")]
    pub bots: Vec<String>,

    /// Warn when more messages than this wait for one bot
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub warn_queue: u64,

    /// Critical when more messages than this wait for one bot; without it they never are
    #[arg(long, value_name = "N")]
    pub critical_queue: Option<u64>,

    /// Warn when a bot needs longer than this to start
    #[arg(long, value_name = "TIME", value_parser = crate::model::units::parse_duration, default_value = "1m")]
    pub warn_start: std::time::Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum AuditVerb {
    /// Say whether the audit is as it was written
    ///
    /// Each entry bears a hash over the one before it. An entry that was changed or taken away, and an end that was cut
    /// off, show; exit code 1 then.
    #[command(after_long_help = examples::text("audit verify"))]
    Verify,
}

#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Audit {
    #[command(subcommand)]
    pub verb: Option<AuditVerb>,

    /// Only what was done since then
    ///
    /// A time such as 2026-11-23T08:00:00Z, or how long ago: 10m, 2h, 7d.
    #[arg(long, value_name = "TIME")]
    pub since: Option<Since>,

    /// Only what was done by whom this is a part of the name
    #[arg(long, value_name = "TEXT")]
    pub actor: Option<String>,

    /// Only what concerns this bot
    #[arg(long, value_name = "BOT")]
    pub bot: Option<BotId>,

    /// How many entries to show, the newest ones
    #[arg(short = 'n', long = "lines", value_name = "N", default_value = "50", value_parser = values::count)]
    pub lines: u32,

    /// Print JSON for scripts
    #[arg(long)]
    pub json: bool,
}
