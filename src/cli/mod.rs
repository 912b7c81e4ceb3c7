//! The command line: what may be written, what it means, and the code that the program ends with.
//!
//! Never decides what becomes of a bot: it writes configuration, posts commands and shows what is so.

pub mod args;
mod client;
mod commands;
pub mod examples;
pub mod exit;
mod failure;
mod hidden;
mod retrospect;
mod token;
pub mod usage;
mod verdict;
mod view;

use args::{Cli, Verb};
use client::Client;
pub use commands::start::SUPERVISE_VERB;
use exit::Exit;
use failure::Failure;

use crate::home::Home;
use crate::log::Mask;
use crate::output;

/// What is masked has the shape of a token; no values are known here.
const NO_SECRETS: [&str; 0] = [];

/// Runs what the command line says; the program ends with the result.
pub fn main() -> Exit {
    let is_check = usage::is_check(std::env::args_os());
    let cli = match usage::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(usage::Instead::Wrong(text)) if is_check => return commands::check::refused(&text),
        Err(instead) => {
            let exit = instead.print().unwrap_or_else(|error| ended(&error.into()));
            // Whoever asks a check for its help has not checked anything.
            return if is_check {
                Exit::Check(verdict::Level::Unknown)
            } else {
                exit
            };
        }
    };
    run(cli).unwrap_or_else(|failure| ended(&failure))
}

/// Becomes the background supervisor of a home: the process that `multibot start` starts.
pub fn supervise(home: std::path::PathBuf) -> Exit {
    match Home::find(Some(home), |_| None) {
        Ok(home) => commands::start::supervise(&home),
        Err(error) => ended(&error.into()),
    }
}

/// Takes a home over from the program that ran before in this process.
pub fn resume(home: std::path::PathBuf, handover: &str) -> Exit {
    // What a program that is not read well would have said is not needed to go on with the bots.
    let handover = serde_json::from_str(handover).unwrap_or_default();
    match Home::find(Some(home), |_| None) {
        Ok(home) => commands::resume::resume(&home, handover),
        Err(error) => ended(&error.into()),
    }
}

/// Says whether this program could take a home over.
pub fn check(home: std::path::PathBuf) -> Exit {
    let checked = Home::find(Some(home), |_| None)
        .map_err(Failure::from)
        .and_then(|home| commands::resume::check(&home));
    checked.unwrap_or_else(|failure| ended(&failure))
}

fn run(mut cli: Cli) -> Result<Exit, Failure> {
    // Two verbs need no home, so that they work where none can be found; one has a word of its own for that.
    match cli.verb {
        Verb::Completions(completions) => return commands::completions::run(&completions),
        Verb::Ipc(verb) => return commands::ipc::run(verb),
        Verb::Check(check) => return Ok(commands::check::run(cli.home, &check)),
        verb => cli.verb = verb,
    }
    let client = Client::new(Home::find(cli.home, |name| std::env::var_os(name))?)?;
    let is_of_files = matches!(
        cli.verb,
        Verb::Send(_) | Verb::Queue(_) | Verb::Logs(_) | Verb::Metrics(_) | Verb::Events(_) | Verb::Audit(_)
    );
    if !is_of_files {
        client.not_elsewhere()?;
    }
    match cli.verb {
        Verb::Up(up) => commands::up::run(&client, &up, cli.verbose),
        Verb::Start(start) => commands::start::run(&client, &start, cli.verbose),
        Verb::Stop(stop) => commands::stop::run(&client, &stop),
        Verb::Restart(restart) => commands::restart::run(&client, &restart, cli.verbose),
        Verb::Upgrade(upgrade) => commands::upgrade::run(&client, &upgrade),
        Verb::Status(status) => commands::status::run(&client, &status),
        Verb::List(list) => commands::list::run(&client, &list),
        Verb::Bot(verb) => commands::bot::run(&client, verb),
        Verb::Import(verb) => commands::import::run(&client, &verb),
        Verb::Schema => commands::schema(),
        Verb::Explain { bot, json } => commands::explain::run(&client, &bot, json),
        Verb::Export(export) => commands::export::run(&client, &export),
        Verb::Admin(verb) => commands::people::admin(&client, &verb),
        Verb::Permission(verb) => commands::people::permission(&client, &verb),
        Verb::Blocklist(verb) => commands::blocklist::run(&client, &verb),
        Verb::Credentials(verb) => commands::credentials::run(&client, &verb),
        Verb::Apply(apply) => commands::apply::run(&client, &apply),
        Verb::Logs(logs) => commands::logs::run(&client, &logs),
        Verb::Send(send) => commands::send::run(&client, send),
        Verb::Alerts(alerts) => commands::alerts::run(&client, &alerts),
        Verb::Queue(queue) => commands::queue::run(&client, &queue),
        Verb::Metrics(metrics) => commands::metrics::run(&client, &metrics),
        Verb::Check(check) => Ok(commands::check::run(Some(client.home.dir().to_owned()), &check)),
        Verb::Events(events) => commands::events::run(&client, &events),
        Verb::Audit(audit) => commands::audit::run(&client, &audit),
        Verb::Ipc(verb) => commands::ipc::run(verb),
        Verb::Completions(completions) => commands::completions::run(&completions),
    }
}

/// Says why a command failed, one line a fault, and with which code that is.
fn ended(failure: &Failure) -> Exit {
    let exit = failure.exit();
    if exit != Exit::Done {
        // A value that is shown because it is wrong may be a token in the wrong place.
        let mask = Mask::new(NO_SECRETS);
        let tell = |line: &str| output::error(&mask.masked(line));
        failure.to_string().lines().for_each(tell);
    }
    exit
}
