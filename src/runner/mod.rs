//! The built-in bots: what runs when a bot has no command of its own. One process plays one bot. And the steps of
//! bots that are shell scripts, which play themselves through this binary.
//!
//! Owns the bot's side of the spool contract in `ipc/README.md` and the platforms behind one trait. Knows
//! nothing of the supervisor but its name: a bot in any language could do the same with the same files.

mod bot;
mod commands;
mod identity;
mod outbox;
mod platform;
mod request;
pub mod script;
mod stop;

#[cfg(test)]
mod tests;

use std::io;
use std::process::ExitCode;

use crate::output;
use crate::spool::{self, Watch};

use bot::{Bot, HEARTBEAT_INTERVAL, Tone};
use identity::Identity;
use platform::Platform;
use stop::Stop;

/// Plays the bot that the environment names on the platform of this word, until it is told to end. The code
/// is 0 after a stop, 1 when the bot could not begin or leave its last words, 2 when the word or the
/// environment makes no sense.
pub fn main(platform: &str) -> ExitCode {
    match prepare(platform).and_then(|(identity, platform)| play(identity, platform)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&output::visible(&error.to_string()));
            ExitCode::from(error.code())
        }
    }
}

/// Why a bot could not be played to its end.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Identity(#[from] identity::Error),
    #[error(transparent)]
    Platform(#[from] platform::Error),
    #[error("cannot connect: {0}")]
    Connect(platform::Error),
    #[error("cannot listen for signals: {0}")]
    Signals(#[from] io::Error),
    #[error(transparent)]
    Spool(#[from] spool::Error),
}

impl Error {
    fn code(&self) -> u8 {
        match self {
            Error::Identity(_) | Error::Platform(_) => 2,
            Error::Connect(_) | Error::Signals(_) | Error::Spool(_) => 1,
        }
    }
}

fn prepare(platform: &str) -> Result<(Identity, Box<dyn Platform>), Error> {
    let platform = platform::open(platform)?;
    Ok((Identity::find(|name| std::env::var_os(name))?, platform))
}

fn play(identity: Identity, platform: Box<dyn Platform>) -> Result<(), Error> {
    // The watch comes before the first look into the inbox, the signals before the bot says that it is ready.
    let watch = Watch::new(&identity.inbox);
    let stop = Stop::new(watch.waker());
    stop.listen()?;
    let tell = |tone, line: &str| match tone {
        // A log that has gone is no reason to stop answering.
        Tone::Plain => drop(output::out(&output::visible(line))),
        Tone::Trouble => output::note(&output::visible(line)),
    };
    Bot::new(identity, platform, Box::new(tell), HEARTBEAT_INTERVAL).run(&watch, &stop)
}
