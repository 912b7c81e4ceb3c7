//! The one definition of the command line. The parser, the help, the manual pages and the completions
//! all come from it. It reads what was written and does nothing.
//!
//! A doc comment here is what an operator reads: the first paragraph after `-h`, all of it after
//! `--help` and in the manual. It promises only what this version does.

mod alerts;
mod apply;
mod blocklist;
mod bot;
mod credentials;
mod history;
mod import;
mod ipc;
mod people;
mod queue;
mod send;
mod values;

pub use alerts::{AlertAck, AlertList, AlertSilence, AlertSinks, AlertTest, AlertVerb, Alerts};
pub use apply::{Apply, Export};
pub use blocklist::{BlocklistAdd, BlocklistList, BlocklistRemove, BlocklistStats, BlocklistVerb};
pub use bot::{BotVerb, Chosen, Create, Named, RotateToken};
pub use credentials::{
    CredentialsFileArgs, CredentialsList, CredentialsRemove, CredentialsSet, CredentialsVerb, FieldOf, Preferred,
};
pub use history::{Audit, AuditVerb, Check, Events, Metrics};
pub use import::{ImportDotenv, ImportVerb};
pub use ipc::IpcVerb;
pub use people::{AdminVerb, PermissionVerb};
pub use queue::{Picked, Queue, QueueVerb};
pub use send::Send;
pub(crate) use values::payload;
pub use values::{Assignment, LogOwner, PayloadArg, Since, TokenArg};

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

use super::examples;
use crate::model::bot::BotId;
use crate::model::units::parse_duration;

/// Runs many chat bots on one host, each in its own process
///
/// multibot starts every bot in a process of its own, watches that it works, restarts it with
/// judgement, and says what happened. A bot is any program in any language, or the built-in one. One
/// supervisor looks after all bots of one home directory.
///
/// Everything about one bot stands under `multibot bot`; every command explains itself with `--help`,
/// with examples.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "multibot",
    version,
    after_long_help = examples::text(""),
    arg_required_else_help = true,
    subcommand_required = true,
    subcommand_value_name = "COMMAND",
    max_term_width = 100
)]
pub struct Cli {
    /// Directory of the bots and all about them [default: ~/.local/state/multibot]
    #[arg(long, global = true, value_name = "DIR", help_heading = GLOBAL)]
    pub home: Option<PathBuf>,

    /// Log more in `up` and `start --foreground`: -v debug, -vv trace
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = GLOBAL)]
    pub verbose: u8,

    #[command(subcommand)]
    pub verb: Verb,
}

const GLOBAL: &str = "Global options";

#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Apply a file or folder of bots and run all bots here, in the foreground
    ///
    /// Creates or updates the bots that PATH describes, as `multibot apply` does, then runs the
    /// supervisor in this terminal and follows the logs of all bots. Ctrl-C stops the bots and ends it.
    ///
    /// Good for trying things out, and for containers: as process 1 multibot reaps orphans, hands signals on,
    /// and has a child supervise. `multibot start` does the same as this in the background.
    #[command(after_long_help = examples::text("up"))]
    Up(Up),

    /// Start the supervisor in the background, and with it every wanted bot
    ///
    /// Returns when every wanted bot is running or has failed, and says which; on a terminal it shows
    /// how far it is. Where a supervisor runs already, that one goes on and this is no fault.
    ///
    /// Exit code 0 means that every wanted bot runs, 1 that some bot does not.
    #[command(after_long_help = examples::text("start"))]
    Start(Start),

    /// Stop all bots, then the supervisor
    ///
    /// Every bot is asked to end by its stop signal (stop.signal) and has its grace (stop.grace, 10s by
    /// default); then it is killed with all that it started. Which bots are wanted does not change: the
    /// next `multibot start` brings the same ones back.
    ///
    /// SIGTERM to the supervisor does the same. Only --keep-bots, and a supervisor that is killed, leave
    /// the bots running.
    #[command(after_long_help = examples::text("stop"))]
    Stop(Stop),

    /// Stop all bots and the supervisor, and start them again
    ///
    /// For settings of the supervisor that only a start takes up. One bot alone is restarted with
    /// `multibot bot restart`.
    #[command(after_long_help = examples::text("restart"))]
    Restart(Stop),

    /// Have another version of multibot take over the supervisor and its bots
    ///
    /// The new program first looks at the home and says whether it can take it over; if not, nothing
    /// changes. Then the supervisor begins nothing more and becomes the new program: its pid stays, and
    /// every bot goes on as the process that it is. A program that is not ready in time, or ends at once,
    /// is followed by the previous one. What a new schema cannot undo is taken back from a copy.
    ///
    /// Keep this command running until it has ended: it brings the previous version back if the new one
    /// dies before it can do that by itself.
    #[command(after_long_help = examples::text("upgrade"))]
    Upgrade(Upgrade),

    /// Show what every bot is doing, and whether all is well
    ///
    /// One row for each bot: what is wanted, what is so, and why. The last line counts them. The states
    /// are explained in multibot-lifecycle(7).
    ///
    /// Exit code 0 means that every wanted bot runs, 1 that some bot does not (unhealthy and held count
    /// as not running), 3 that no supervisor runs. A bot that was stopped on purpose spoils nothing.
    #[command(after_long_help = examples::text("status"))]
    Status(Status),

    /// List the bots that there are, with or without a running supervisor
    #[command(after_long_help = examples::text("list"))]
    List(List),

    /// Create, change, start and stop single bots
    ///
    /// A bot is wanted up or wanted down. `start` and `stop` change that for good: it holds across
    /// restarts of the supervisor and of the host, whatever the bot does.
    #[command(
        subcommand,
        arg_required_else_help = true,
        subcommand_value_name = "COMMAND",
        after_long_help = examples::text("bot")
    )]
    Bot(BotVerb),

    /// Create and update bots as YAML files describe them
    ///
    /// PATH is one file, or a folder of which every *.yaml and *.yml file is read. All files are checked
    /// first; with any fault in them nothing is changed, and every fault is told with its file, line
    /// and column. Bots that no file names stay as they are.
    ///
    /// The keys are explained in multibot-bot(5).
    #[command(after_long_help = examples::text("apply"))]
    Apply(Apply),

    /// Say why a bot is as it is, what happens next, and what you can do
    #[command(after_long_help = examples::text("explain"))]
    Explain {
        /// Bot to explain
        bot: BotId,

        /// Print JSON for scripts
        #[arg(long)]
        json: bool,
    },

    /// Make bots of what another tool had
    #[command(
        subcommand,
        arg_required_else_help = true,
        subcommand_value_name = "COMMAND",
        after_long_help = examples::text("import")
    )]
    Import(ImportVerb),

    /// Print the JSON Schema of a bot's YAML file, for editors
    #[command(after_long_help = examples::text("schema"))]
    Schema,

    /// Write the bots as YAML that apply reads with no change
    ///
    /// Tokens and credentials are not written, and variables that look like secrets only with --with-secrets.
    #[command(after_long_help = examples::text("export"))]
    Export(Export),

    /// Keep bots away from targets that do not want them
    ///
    /// A target is a chat, a phone number, or what else a bot talks to. One is blocked for an hour after three failed
    /// connections in a row, and for ever when it has thrown the bot out, has blocked it, or is there no more; the
    /// keys under blocklist in multibot-bot(5) change that. Messages to it are refused with the reason, and a bot that
    /// serves that target alone (name@target) is held until the block is over.
    #[command(
        subcommand,
        arg_required_else_help = true,
        subcommand_value_name = "COMMAND",
        after_long_help = examples::text("blocklist")
    )]
    Blocklist(BlocklistVerb),

    /// Say who is an admin in the chats of all bots
    ///
    /// Admins may use every command of every bot, those for admins alone included: ?admin ?refresh ?setperm ?removeperm
    /// ?listperms ?relogin. They are known by the number that their platform gives them, so a new name changes nothing.
    /// All running bots are told at once.
    #[command(
        subcommand,
        arg_required_else_help = true,
        subcommand_value_name = "COMMAND",
        after_long_help = examples::text("admin")
    )]
    Admin(AdminVerb),

    /// Say who may use a command in the chats of all bots
    ///
    /// Without a permission a command is for everybody, or for whom the bot's settings say (see COMMANDS in
    /// multibot-bot(5)). All running bots are told at once.
    #[command(
        subcommand,
        arg_required_else_help = true,
        subcommand_value_name = "COMMAND",
        after_long_help = examples::text("permission")
    )]
    Permission(PermissionVerb),

    /// Keep what bots must have and nobody may see: tokens, keys, secrets
    ///
    /// A bot has fields of its own and those that all bots share, and finds each in a variable: app_secret in
    /// BOT_APP_SECRET, the token in BOT_TOKEN. More variables are named under credentials.env, see multibot-bot(5).
    /// Values are never shown, and masked in the logs.
    #[command(
        subcommand,
        arg_required_else_help = true,
        subcommand_value_name = "COMMAND",
        after_long_help = examples::text("credentials")
    )]
    Credentials(CredentialsVerb),

    /// Show what bots have written, and follow it
    ///
    /// Several logs are shown as one, ordered by time, each line with its bot in front. Without a name
    /// all bots are shown, and the supervisor's own log as `[supervisor]`. Tokens were masked before they
    /// were written.
    #[command(after_long_help = examples::text("logs"))]
    Logs(Logs),

    /// Send a message or a command to a bot
    ///
    /// The message is put into the bot's inbox and is safe there: it is accepted while the bot is down or
    /// no supervisor runs, and read when the bot runs again. The bot must read its inbox for this to have
    /// an effect; the built-in ones do. What it cannot handle comes again or ends as a dead letter:
    /// `multibot queue` shows where each message is.
    ///
    /// With `-` instead of a name many messages are read from stdin, one JSON object on each line, with
    /// name and payload, or text, and as you like priority, expires_at, dedup_key, order_key, id. They
    /// are put into the inbox 512 at a time; the first line that is wrong ends it, and what was accepted
    /// before stays accepted.
    #[command(
        override_usage = "multibot send [OPTIONS] <BOT> <NAME|--text <TEXT>|->\n       multibot send [OPTIONS] --all <NAME>",
        after_long_help = examples::text("send")
    )]
    Send(Send),

    /// Show the messages of bots and where they are; repeat, hold back or drop them
    ///
    /// Messages wait (new), are worked on (cur), wait for their next attempt (later), are held back by
    /// an operator (held), or could not be delivered or read (dead). Works with and without a supervisor.
    /// Without a command the messages are listed.
    #[command(
        override_usage = "multibot queue [BOT] [COMMAND]",
        subcommand_value_name = "COMMAND",
        after_long_help = examples::text("queue")
    )]
    Queue(Queue),

    /// Show what is wrong, acknowledge and silence it, and try out who is told
    ///
    /// An alert is raised when something is wrong for long enough, and is over when it was well for a while; whoever
    /// the sinks of multibot.yaml name is told of both. Rules, sinks and what they are sent are explained in
    /// multibot-alerts(7). Works with and without a supervisor. Without a command the open alerts are listed.
    #[command(
        subcommand_value_name = "COMMAND",
        after_long_help = examples::text("alerts")
    )]
    Alerts(Alerts),

    /// Inside a bot that is a shell script: say and hear what other bots do through a library
    ///
    /// Which bot that is, and where its mailboxes are, stands in the environment that multibot starts it with;
    /// elsewhere these commands only say so. Bots in other languages do the same with the files that ipc/README.md
    /// describes, or with the libraries beside it.
    #[command(
        subcommand,
        arg_required_else_help = true,
        subcommand_value_name = "COMMAND",
        after_long_help = examples::text("ipc")
    )]
    Ipc(IpcVerb),

    /// Show how bots did over time: memory, CPU, uptime, restarts, queues, and what to do about it
    ///
    /// Without BOT one row for each bot. With BOT plots over time, the figures, and recommendations where the history
    /// gives good reason for one. Works with and without a supervisor.
    ///
    /// Uptime is the share of the time in which the bot was wanted up; time in which no supervisor looked does not
    /// count. Where events of the bot are kept no more, uptime and restarts come from what was measured, and failures
    /// and recovery are those of the events that are left. Recovery is the mean time from a failure until the bot was running again. p95 is the time from the post
    /// of a message until the bot was done with it that 95 of 100 messages kept; it is taken when the message leaves
    /// the inbox, to a sixteenth, and for a longer time the worst of the short ones stands. Messages are counted by
    /// file, without those of highest priority, which the supervisor's own questions have.
    ///
    /// The table is in short figures: up% is the uptime, rst and /day the restarts, mttr the recovery, mem and max the
    /// memory now and at most, in units of 1024, err the errors. --json and --csv have them in full.
    ///
    /// How long all of that is kept stands in multibot.yaml(5), under history.
    #[command(after_long_help = examples::text("metrics"))]
    Metrics(Metrics),

    /// Say in one line whether all is well, for Nagios and cron
    ///
    /// Prints one line in the form of Nagios' plugins, with figures behind the bar. Exit code 0 is OK, 1 WARNING,
    /// 2 CRITICAL, 3 UNKNOWN; a wrong command line and --help are 3 as well.
    ///
    /// Critical is that no supervisor runs, or that a bot which is wanted up is failed, held, unhealthy, down or at
    /// the end of a limit. A warning is that one waits to be restarted, takes long to start, is not ready, comes near
    /// a limit or has open alerts, or that many messages wait. A bot that was stopped on purpose spoils nothing.
    ///
    /// Five troubles are told at the most, the worst ones, and how many more there are. While most bots fail together
    /// that is critical and told first, and the bots that wait for its end are not told one by one.
    #[command(after_long_help = examples::text("check"))]
    Check(Check),

    /// Show what happened: starts, ends, restarts, and what bots said of themselves
    #[command(after_long_help = examples::text("events"))]
    Events(Events),

    /// Show who changed what, and what limits have done
    #[command(after_long_help = examples::text("audit"))]
    Audit(Audit),

    /// Print the completions of a shell
    ///
    /// Put the text where your shell looks for completions; the examples show how.
    #[command(after_long_help = examples::text("completions"))]
    Completions(Completions),
}

#[derive(Clone, Debug, Args)]
pub struct Up {
    /// File or folder with bots in YAML
    ///
    /// Without it the bots that there are already are run.
    pub path: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct Start {
    /// Stay in the foreground, for systemd, containers and a look at it
    #[arg(long, conflicts_with = "timeout")]
    pub foreground: bool,

    /// Stop waiting after this time; the bots go on starting
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1m")]
    pub timeout: Duration,
}

#[derive(Clone, Debug, Args)]
pub struct Stop {
    /// Kill the bots at once, without stop signal and grace
    #[arg(long)]
    pub force: bool,

    /// Stop the supervisor alone; the bots go on, and the next start takes them over
    ///
    /// Their keepers go on with their logs and note how they end. Nothing restarts them meanwhile.
    #[arg(long, conflicts_with = "force")]
    pub keep_bots: bool,

    /// Stop waiting after this time; the stop itself goes on
    ///
    /// Without it this waits until all bots are down, or one cannot be brought down.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
}

#[derive(Clone, Debug, Args)]
pub struct Upgrade {
    /// The program that takes over; without it, this very program
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,

    /// How long the new program may take until it has taken over
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "30s")]
    pub timeout: Duration,
}

#[derive(Clone, Debug, Args)]
pub struct Status {
    /// Only these bots; they alone decide the exit code then
    #[arg(value_name = "BOT")]
    pub bots: Vec<BotId>,

    /// Show it anew again and again, until Ctrl-C; names of bots come before this
    ///
    /// A terminal is cleared each time. A pipe or a file gets one table after the other, each below its time, and with
    /// --json one object on each line.
    #[arg(long, value_name = "INTERVAL", value_parser = values::interval, num_args = 0..=1, default_missing_value = "2s")]
    pub watch: Option<Duration>,

    /// Print JSON for scripts
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct List {
    /// Print JSON for scripts
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Logs {
    /// Only these bots; `supervisor` is the supervisor's own log
    #[arg(value_name = "BOT")]
    pub owners: Vec<LogOwner>,

    /// Go on showing new lines, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,

    /// How many lines to show, the newest ones
    ///
    /// Without it: 100, or with --since all lines from then on.
    #[arg(short = 'n', long, value_name = "N")]
    pub lines: Option<usize>,

    /// Only what was written to stderr
    #[arg(long)]
    pub err: bool,

    /// Only lines from this time on
    ///
    /// A time such as 2026-11-23T08:00:00Z, or how long ago: 10m, 2h, 7d.
    #[arg(long, value_name = "TIME")]
    pub since: Option<Since>,

    /// Only lines that match this regular expression
    ///
    /// It may match anywhere in a line's text. (?i) in front ignores upper and lower case.
    #[arg(long, value_name = "REGEX")]
    pub grep: Option<regex_lite::Regex>,

    /// Print JSON for scripts, one object on each line
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Completions {
    pub shell: clap_complete::Shell,
}
