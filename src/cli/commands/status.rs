//! `multibot status`

use crate::cli::args::Status;
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::view::{self, View};
use crate::output::{self, Style};

pub(in crate::cli) fn run(client: &Client, status: &Status) -> Result<Exit, Failure> {
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
