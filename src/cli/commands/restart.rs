//! `multibot restart`

use std::time::Duration;

use super::{start, stop};
use crate::cli::args::{Start, Stop};
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;

/// What `multibot start` waits for wanted bots.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// A stop and a start. Which bots are wanted stays as it was; where no supervisor runs, one is started.
pub(in crate::cli) fn run(client: &Client, restart: &Stop, verbose: u8) -> Result<Exit, Failure> {
    // A slip in the settings must not be found out after everything was stopped.
    client.settings()?;
    stop::run(client, restart)?;
    let start = Start {
        foreground: false,
        timeout: START_TIME_MAX,
    };
    start::run(client, &start, verbose)
}
