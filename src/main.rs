//! The program: the hidden verbs under which it starts itself, else the command line.

use std::process::ExitCode;

use multibot::run::handover::{CHECK_VERB, RESUME_VERB};
use multibot::run::{RUNNER_VERB, SHIM_VERB, names};
use multibot::{cli, init, shim};

fn main() -> ExitCode {
    // The shim comes before everything else: what it does not touch costs no memory once per bot.
    let verb = std::env::args_os().nth(1);
    if verb.as_deref() == Some(SHIM_VERB.as_ref()) {
        shim::main();
        return ExitCode::SUCCESS;
    }
    names::use_built_in_sources();
    if std::process::id() == init::FIRST_PID {
        return init::main();
    }
    // Whatever is created below is the operator's alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    if verb.as_deref() == Some(RUNNER_VERB.as_ref()) {
        return multibot::runner::main(&std::env::args().nth(2).unwrap_or_default());
    }
    if verb.as_deref() == Some(cli::SUPERVISE_VERB.as_ref()) {
        return cli::supervise(std::env::args_os().nth(2).unwrap_or_default().into()).into();
    }
    let argument = |place| std::env::args_os().nth(place).unwrap_or_default();
    if verb.as_deref() == Some(RESUME_VERB.as_ref()) {
        return cli::resume(argument(2).into(), &argument(3).to_string_lossy()).into();
    }
    if verb.as_deref() == Some(CHECK_VERB.as_ref()) {
        return cli::check(argument(2).into()).into();
    }
    cli::main().into()
}
