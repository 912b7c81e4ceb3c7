//! `multibot completions`

use clap::CommandFactory;

use crate::cli::args::{Cli, Completions};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::output;

pub(in crate::cli) fn run(completions: &Completions) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, &mut Cli::command(), "multibot", &mut script);
    output::out(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
