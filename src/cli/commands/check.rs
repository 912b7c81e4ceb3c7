//! `multibot check`, for Nagios and cron: one line on stdout and one of four codes, whatever happens.

use crate::cli::args::Check;
use crate::cli::client::{Client, is_halted};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::verdict::{Bounds, Level, Verdict, judge};
use crate::clock;
use crate::home::Home;
use crate::model::bot::BotId;
use crate::output;

pub(in crate::cli) fn run(home: Option<std::path::PathBuf>, check: &Check) -> Exit {
    let verdict = look(home, check).unwrap_or_else(|failure| {
        let told = failure.to_string();
        Verdict::plain(Level::Unknown, told.lines().collect::<Vec<_>>().join("; "))
    });
    say(&verdict)
}

/// Instead of a check: the command line was wrong.
pub(in crate::cli) fn refused(why: &str) -> Exit {
    say(&Verdict::plain(Level::Unknown, why))
}

fn say(verdict: &Verdict) -> Exit {
    // Nobody reads on: the code is all that is left.
    let _ = output::out(&verdict.line());
    Exit::Check(verdict.level)
}

fn look(home: Option<std::path::PathBuf>, check: &Check) -> Result<Verdict, Failure> {
    let client = Client::new(Home::find(home, |name| std::env::var_os(name))?)?;
    if !client.home.dir().is_dir() {
        let why = format!("there is no home at {}", client.home.dir().display());
        return Ok(Verdict::plain(Level::Unknown, why));
    }
    client.not_elsewhere()?;
    let named: Vec<BotId> = check
        .bots
        .iter()
        .map(|bot| bot.parse().map_err(|error| Failure::Usage(format!("{error}"))))
        .collect::<Result<_, _>>()?;
    client.known(&named)?;
    let Some(supervisor) = client.supervisor() else {
        let why = format!("no supervisor runs for {}", client.home.dir().display());
        return Ok(Verdict::plain(Level::Critical, why));
    };
    if is_halted(&supervisor) {
        let why = format!("the supervisor (pid {}) is halted by a signal", supervisor.pid);
        return Ok(Verdict::plain(Level::Critical, why));
    }
    let Some(snapshot) = client.snapshot_of(&supervisor) else {
        let why = "the supervisor has not published its state: it is just starting, or cannot write it";
        return Ok(Verdict::plain(Level::Critical, why));
    };
    let known = |bot: &BotId| snapshot.bots.iter().any(|it| it.id == bot.as_str());
    if let Some(unseen) = named.iter().find(|bot| !known(bot)) {
        let why = format!("{unseen}: the supervisor does not know it yet");
        return Ok(Verdict::plain(Level::Critical, why));
    }
    let bounds = Bounds {
        warn_queue: check.warn_queue,
        critical_queue: check.critical_queue,
        warn_start: check.warn_start,
    };
    Ok(judge(&snapshot, &check.bots, &bounds, clock::stamp()))
}
