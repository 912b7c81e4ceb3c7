//! The arguments of `multibot alerts`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::Since;
use super::values;
use crate::cli::examples;
use crate::model::alert::Rule;
use crate::model::bot::BotId;
use crate::model::units::parse_duration;

#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Alerts {
    #[command(subcommand)]
    pub verb: Option<AlertVerb>,

    #[command(flatten)]
    pub list: AlertList,
}

#[derive(Clone, Debug, Subcommand)]
pub enum AlertVerb {
    /// List the alerts that are open, or all that are kept
    #[command(after_long_help = examples::text("alerts list"))]
    List(AlertList),

    /// Acknowledge open alerts: no more reminders of them
    ///
    /// They stay open, and their recovery is told. One that becomes worse is told again.
    #[command(after_long_help = examples::text("alerts ack"))]
    Ack(AlertAck),

    /// Keep alerts from being told for a while
    ///
    /// They are listed all the same. What is still open when the silence ends is told then. Without --for and
    /// --clear the silences are listed.
    #[command(after_long_help = examples::text("alerts silence"))]
    Silence(AlertSilence),

    /// List the sinks, what waits in each, and why
    ///
    /// A sink is failing while the first of its words could not be delivered; all others wait behind that.
    #[command(after_long_help = examples::text("alerts sinks"))]
    Sinks(AlertSinks),

    /// Send a test alert to every sink, or to one, and see whether it arrives
    ///
    /// It takes the way of every alert. Without a running supervisor it waits in the mailbox of its sink.
    ///
    /// Exit code 0 means that every sink has delivered, 1 that some has not.
    #[command(after_long_help = examples::text("alerts test"))]
    Test(AlertTest),
}

#[derive(Clone, Debug, Args)]
pub struct AlertList {
    /// Those that are over as well
    #[arg(long)]
    pub all: bool,

    /// Only those of this bot
    #[arg(long, value_name = "BOT")]
    pub bot: Option<BotId>,

    /// Only those that were raised from this time on; those that are over as well
    ///
    /// A time such as 2026-11-23T08:00:00Z, or how long ago: 10m, 2h, 7d.
    #[arg(long, value_name = "TIME")]
    pub since: Option<Since>,

    /// Print JSON for scripts, one object on each line
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct AlertAck {
    /// Ids of alerts
    #[arg(value_name = "ID", required_unless_present_any = ["bot", "all"])]
    pub ids: Vec<String>,

    /// All open ones of this bot
    #[arg(long, value_name = "BOT", conflicts_with = "ids")]
    pub bot: Option<BotId>,

    /// All open ones
    #[arg(long, conflicts_with_all = ["ids", "bot"])]
    pub all: bool,
}

#[derive(Clone, Debug, Args)]
pub struct AlertSilence {
    /// Only alerts of this bot
    pub bot: Option<BotId>,

    /// Only alerts of this rule
    #[arg(long, value_name = "RULE", value_parser = values::rule())]
    pub rule: Option<Rule>,

    /// How long
    #[arg(long = "for", value_name = "TIME", value_parser = values::some_time, conflicts_with = "clear")]
    pub lasting: Option<Duration>,

    /// Why, for whoever lists the silences
    #[arg(long, value_name = "TEXT", requires = "lasting")]
    pub reason: Option<String>,

    /// End the silences of this bot and rule, or all of them
    #[arg(long)]
    pub clear: bool,

    /// Print JSON for scripts, one object on each line
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct AlertSinks {
    /// Print JSON for scripts, one object on each line
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct AlertTest {
    /// Only this sink
    pub sink: Option<String>,

    /// How long to wait until it has arrived
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "15s")]
    pub timeout: Duration,

    /// Print JSON for scripts, one object on each line
    #[arg(long)]
    pub json: bool,
}
