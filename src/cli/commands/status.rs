//! `multibot status`

use std::time::Duration;

use crate::cli::args::Status;
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::view::{self, View};
use crate::clock;
use crate::output::{self, Paint, Style};

pub(in crate::cli) fn run(client: &Client, status: &Status) -> Result<Exit, Failure> {
    if let Some(interval) = status.watch {
        return watch(client, status, interval);
    }
    let view = look(client, status)?;
    // What may be out of date is no reason to call all well.
    let exit = match (view.supervisor.running, view.all_well() && !view.supervisor.stale) {
        (false, _) => Exit::NoSupervisor,
        (true, true) => Exit::Done,
        (true, false) => Exit::Failed,
    };
    if status.json {
        output::document(&view)?;
    } else {
        print(&view)?;
    }
    Ok(exit)
}

/// Shows it again and again, until nobody reads on.
fn watch(client: &Client, status: &Status, interval: Duration) -> Result<Exit, Failure> {
    loop {
        let view = look(client, status)?;
        if status.json {
            output::record(&view)?;
        } else {
            let style = Style::of_stdout();
            output::clear(&style)?;
            output::out(&style.paint(Paint::Dim, &clock::stamp().to_string()))?;
            print(&view)?;
            if !style.is_screen() {
                output::out("")?;
            }
        }
        if !output::has_reader_for(interval) {
            return Ok(Exit::Done);
        }
    }
}

/// The home, or those of its bots that are meant.
fn look(client: &Client, status: &Status) -> Result<View, Failure> {
    let mut view = view::look(client)?;
    if !status.bots.is_empty() {
        let missing = status
            .bots
            .iter()
            .any(|bot| !view.bots.iter().any(|known| known.id == bot.as_str()));
        if missing {
            client.known(&status.bots)?;
        }
        view.only(&status.bots);
    }
    Ok(view)
}

fn print(view: &View) -> Result<(), Failure> {
    if !view.supervisor.running {
        output::note(&format!(
            "no supervisor runs for {}; start it with: multibot start",
            view.supervisor.home
        ));
    }
    for note in &view.supervisor.notes {
        output::note(&format!("note: {note}"));
    }
    if view.bots.is_empty() {
        output::note("no bots yet; create one with: multibot bot create demo");
    } else {
        output::out(&view.table(&Style::of_stdout()))?;
    }
    if let Some(line) = view.capacity_line() {
        output::out(&line)?;
    }
    Ok(output::out(&view.status_line())?)
}
