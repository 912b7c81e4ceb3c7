//! `multibot up`

use std::io::IsTerminal;

use super::{apply, logs, start};
use crate::cli::args::Up;
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::daemon::{self, Hangup, Options};
use crate::output;

/// Applies a folder, then supervises in this process while a thread of its own shows the logs.
pub(in crate::cli) fn run(client: &Client, up: &Up, verbose: u8) -> Result<Exit, Failure> {
    if let Some(supervisor) = client.supervisor() {
        let pid = supervisor.pid;
        let way = "stop it with: multibot stop, or use: multibot apply";
        return Err(Failure::Refused(format!(
            "a supervisor already runs for this home (pid {pid}); {way}"
        )));
    }
    if let Some(path) = &up.path {
        let plan = apply::store(client, path)?;
        apply::tell(&plan);
    }
    client.home.create()?;
    let follower = logs::follow_all(client)?;
    let observer = start::status_observer(client.home.clone(), output::note);
    let hangup = if std::io::stdin().is_terminal() {
        Hangup::Stop
    } else {
        Hangup::Reload
    };
    let options = Options {
        verbose,
        hangup,
        listener: None,
        observer: Some(observer),
        succession: None,
        in_terminal: true,
    };
    let outcome = daemon::run(&client.home, options);
    follower.finish();
    start::ended(outcome?)
}
