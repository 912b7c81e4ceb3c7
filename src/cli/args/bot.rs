//! The verbs under `multibot bot`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::values::{self, Assignment, TokenArg};
use crate::cli::examples;
use crate::model::bot::{BotId, Platform};
use crate::model::units::parse_duration;

#[derive(Clone, Debug, Subcommand)]
pub enum BotVerb {
    /// Create a bot from a command, or a built-in one
    ///
    /// Without a command the built-in bot of the platform is played by multibot itself. In this version
    /// that is loopback, which needs no token and no network. A built-in bot of another platform is kept
    /// as held.
    ///
    /// The bot is wanted up: it starts at once where a supervisor runs, else with the next `multibot
    /// start`; the command says which. It does not see this shell's environment: it gets what you give
    /// it here, and what multibot-bot(5) lists.
    ///
    /// A token on the command line is seen by other users of the host while this command runs. `--token
    /// -` reads it from stdin, --token-file from a file. The bot finds it as BOT_TOKEN. Two bots cannot
    /// have the same token.
    #[command(after_long_help = examples::text("bot create"))]
    Create(Box<Create>),

    /// Show one bot: its settings and its state
    ///
    /// Tokens are never shown, nor the values of variables that look like secrets.
    #[command(after_long_help = examples::text("bot show"))]
    Show {
        /// Bot to show
        id: BotId,

        /// Show every setting that holds, and where each comes from
        #[arg(long)]
        effective: bool,

        /// Print JSON for scripts
        #[arg(long)]
        json: bool,
    },

    /// Change settings of a bot
    ///
    /// The keys are those of the YAML files with dots between the levels, as in restart.delay; they
    /// are explained in multibot-bot(5). Lists of names are separated by commas. One variable of the
    /// environment is env.NAME, one probe is probes.NAME.
    ///
    /// Nothing behind the = takes a setting away: what `defaults` of multibot.yaml say holds again, or the
    /// built-in default, and the answer says which. Only env.NAME= is a variable with an empty value; env=
    /// takes all variables away. An empty list is [].
    ///
    /// Either all are changed or, with a fault in one of them, none. Where a supervisor runs it takes the
    /// change over at once, and restarts the bot only if its process must be started anew for it.
    #[command(after_long_help = examples::text("bot set"))]
    Set {
        /// Bot to change
        id: BotId,

        /// Settings and their new values
        #[arg(value_name = "KEY=VALUE", required = true)]
        settings: Vec<Assignment>,
    },

    /// Open a bot's settings in an editor, and show what would change before it does
    ///
    /// The editor is $VISUAL or $EDITOR, else vi. What cannot be applied is told and can be edited again.
    #[command(after_long_help = examples::text("bot edit"))]
    Edit {
        /// Bot to change
        id: BotId,
    },

    /// Take settings of a bot away
    ///
    /// What `defaults` of multibot.yaml say holds again, or the built-in default, and the answer says which. One entry of
    /// a mapping is named with a dot: env.PORT, probes.api, commands.hours.
    #[command(after_long_help = examples::text("bot unset"))]
    Unset {
        /// Bot to change
        id: BotId,

        /// Settings that are to go
        #[arg(value_name = "KEY", required = true)]
        keys: Vec<String>,
    },

    /// Remove a bot
    ///
    /// Its settings, its token and its mailboxes are removed; its log and its history stay, unless
    /// --purge is given. A bot that runs, or for which messages wait, is refused: stop it first, look with
    /// `multibot queue`, or use --force.
    #[command(after_long_help = examples::text("bot remove"))]
    Remove {
        /// Bot to remove
        id: BotId,

        /// Remove it although it runs or messages wait: it is stopped, they are dropped
        #[arg(long)]
        force: bool,

        /// Remove its log and its history too
        #[arg(long)]
        purge: bool,
    },

    /// Start bots: from now on they are wanted up
    ///
    /// Waits until they are running or have failed. Earlier failures are forgiven, a wait for the next
    /// restart is over. A bot that runs already goes on.
    #[command(
        override_usage = "multibot bot start [OPTIONS] <BOT...|--all>",
        after_long_help = examples::text("bot start")
    )]
    Start {
        #[command(flatten)]
        chosen: Chosen,

        /// Enable those that are disabled
        #[arg(long)]
        force: bool,

        /// Stop waiting after this time; the bots go on starting
        #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1m")]
        timeout: Duration,
    },

    /// Stop bots: from now on they are wanted down
    ///
    /// They stay down, also when the host restarts, until `multibot bot start`. A bot is asked to end by
    /// its stop signal and has its grace; then it is killed with all that it started.
    #[command(
        override_usage = "multibot bot stop [OPTIONS] <BOT...|--all>",
        after_long_help = examples::text("bot stop")
    )]
    Stop {
        #[command(flatten)]
        chosen: Chosen,

        /// Kill them at once, without stop signal and grace
        #[arg(long)]
        force: bool,

        /// Stop waiting after this time; the stop itself goes on
        ///
        /// Without it this waits until they are down, or one cannot be brought down.
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        timeout: Option<Duration>,
    },

    /// Restart bots: stop them and start them anew
    ///
    /// Waits until they are running again or have failed. A bot that is down is started.
    #[command(
        override_usage = "multibot bot restart [OPTIONS] <BOT...|--all>",
        after_long_help = examples::text("bot restart")
    )]
    Restart {
        #[command(flatten)]
        chosen: Chosen,

        /// Kill them at once, without stop signal and grace
        #[arg(long)]
        force: bool,

        /// Stop waiting after this time; the restart goes on
        #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1m")]
        timeout: Duration,
    },

    /// Let bots run again that were disabled
    ///
    /// Those that are wanted up start.
    #[command(after_long_help = examples::text("bot enable"))]
    Enable(Named),

    /// Keep bots from running, whatever is wanted
    ///
    /// They stop if they run. Their settings stay, and so does whether they are wanted up.
    #[command(after_long_help = examples::text("bot disable"))]
    Disable(Named),

    /// Let bots run again that are held because their platform has refused them
    ///
    /// Mend what was wrong first: the reason that `multibot status` shows says what it was. A new token lets go by
    /// itself.
    #[command(after_long_help = examples::text("bot unhold"))]
    Unhold(Named),

    /// Get a bot's credentials by its login program, which may ask you
    ///
    /// It is the program of login.exec, started with the bot's environment in the bot's folder. It asks on the terminal
    /// and prints one JSON object on stdout, with a text for each field: {"session": "...", "token": "..."}. These are
    /// stored for the bot as by `multibot credentials set`, and a bot that runs takes them over. Where the program ends
    /// with another code than 0, takes longer than login.timeout or prints anything else, nothing is stored.
    ///
    /// In a chat an admin has it run with ?relogin; there it cannot ask.
    #[command(after_long_help = examples::text("bot login"))]
    Login {
        #[arg(value_name = "BOT")]
        id: BotId,
    },

    /// Give a bot another token, and take the old one back if the bot does not run with it
    ///
    /// On telegram the new token is tried first: it must be accepted and belong to the same bot. Then it is stored, the
    /// bot restarts once, and if it is not running within the time given it has its old token again. Nothing shows
    /// either of them.
    #[command(
        override_usage = "multibot bot rotate-token [OPTIONS] <BOT> <--token -|--token-file <FILE>>",
        after_long_help = examples::text("bot rotate-token")
    )]
    RotateToken(RotateToken),
}

#[derive(Clone, Debug, Args)]
pub struct RotateToken {
    #[arg(value_name = "BOT")]
    pub id: BotId,

    /// The new token; `-` reads it from stdin, where no process list shows it
    #[arg(long, value_name = "TOKEN", required_unless_present = "token_file")]
    pub token: Option<TokenArg>,

    /// File that holds the new token and nothing else
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,

    /// Take it although it is another bot's, or nobody can say whose it is
    #[arg(long)]
    pub force: bool,

    /// How long the bot may take to run with it
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1m")]
    pub timeout: Duration,
}

#[derive(Clone, Debug, Args)]
pub struct Create {
    /// Name of the bot: a-z 0-9 . _ - and at most 63 characters
    pub id: BotId,

    /// Program and its arguments, after --
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,

    /// What the bot talks to
    ///
    /// Without it: none for a bot with a command. For a built-in one telegram if its token looks like
    /// one of Telegram, else loopback.
    #[arg(long, value_parser = values::platform())]
    pub platform: Option<Platform>,

    /// The bot's token; - reads it from stdin
    #[arg(long, conflicts_with = "token_file", help_heading = TOKEN)]
    pub token: Option<TokenArg>,

    /// File that holds the token and nothing else
    #[arg(long, value_name = "FILE", help_heading = TOKEN)]
    pub token_file: Option<PathBuf>,

    /// One more variable, beside BOT_TOKEN, in which the bot finds its token
    #[arg(long, value_name = "NAME", help_heading = TOKEN)]
    pub token_env: Vec<String>,

    /// A variable of the bot's environment
    #[arg(long, value_name = "NAME=VALUE", help_heading = ENVIRONMENT)]
    pub env: Vec<Assignment>,

    /// File with NAME=value lines, read at every start; --env wins over it
    #[arg(long, value_name = "FILE", help_heading = ENVIRONMENT)]
    pub env_file: Option<PathBuf>,

    /// Working directory of the bot
    ///
    /// Without it: the directory in which this command is run.
    #[arg(long, value_name = "DIR", help_heading = ENVIRONMENT)]
    pub cwd: Option<PathBuf>,

    /// YAML file with more settings; flags win over it
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,

    /// Leave the bot down until `multibot bot start`
    #[arg(long)]
    pub no_start: bool,
}

const TOKEN: &str = "Token";
const ENVIRONMENT: &str = "Environment";

/// Some bots by name, or all.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Chosen {
    /// Bots by name
    #[arg(value_name = "BOT")]
    pub ids: Vec<BotId>,

    /// All bots
    #[arg(long)]
    pub all: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Named {
    /// Bots by name
    #[arg(value_name = "BOT", required = true)]
    pub ids: Vec<BotId>,
}
