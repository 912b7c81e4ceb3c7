//! The built-in bots: what runs when a bot has no command of its own. One process plays one bot. And the steps of
//! bots that are shell scripts, which play themselves through this binary.
//!
//! Owns the bot's side of the spool contract in `ipc/README.md` and the platforms behind one trait. Knows
//! nothing of the supervisor but its name: a bot in any language could do the same with the same files.

mod arrival;
mod arrivals;
mod bot;
mod chats;
mod commands;
pub mod credentials;
mod identity;
mod lanes;
mod media;
mod outbox;
mod outgoing;
mod platform;
mod request;
pub mod script;
mod stop;

#[cfg(test)]
mod tests;

use std::io;
use std::process::ExitCode;

use crate::model::bot::Secret;
use crate::model::judging::UNAUTHORIZED_CODE;
use crate::output;
use crate::run::brief::{BRIEF, Brief};
use crate::spool::{self, Watch};

use bot::{Bot, HEARTBEAT_INTERVAL, Parts, Tone};
use identity::Identity;
use stop::Stop;

/// A field `app_secret` of the bot's credentials is in `BOT_APP_SECRET`.
const FIELD_PREFIX: &str = "BOT_";

/// Plays the bot that the environment names on the platform of this word, until it is told to end. The code
/// is 0 after a stop, 1 when the bot could not begin or leave its last words, 2 when the word or the
/// environment makes no sense, 77 when the platform refuses its credentials.
pub fn main(platform: &str) -> ExitCode {
    match play(platform) {
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
    #[error("{0}")]
    Brief(String),
    #[error("the platform refuses its credentials: {0}")]
    Unauthorized(String),
    #[error("cannot listen for signals: {0}")]
    Signals(#[from] io::Error),
    #[error("cannot watch for files to be sent: {0}")]
    Media(io::Error),
    #[error(transparent)]
    Spool(#[from] spool::Error),
}

impl Error {
    fn code(&self) -> u8 {
        match self {
            Error::Identity(_) | Error::Platform(_) | Error::Brief(_) => 2,
            Error::Signals(_) | Error::Media(_) | Error::Spool(_) => 1,
            Error::Unauthorized(_) => u8::try_from(UNAUTHORIZED_CODE).unwrap_or(1),
        }
    }
}

fn play(platform: &str) -> Result<(), Error> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let brief = match variable(BRIEF) {
        Some(text) => Brief::parse(&text.to_string_lossy()).map_err(Error::Brief)?,
        None => Brief::default(),
    };
    let identity = Identity::find(variable)?;
    // The watch comes before the first look into the inbox, the signals before the bot says that it is ready.
    let watch = Watch::new(&identity.inbox);
    let platform = platform::open(platform, &brief, watch.waker())?;
    let stop = Stop::new(watch.waker());
    stop.listen()?;
    let tell = |tone, line: &str| match tone {
        // A log that has gone is no reason to stop answering.
        Tone::Plain => drop(output::out(&output::visible(line))),
        Tone::Trouble => output::note(&output::visible(line)),
    };
    let bot = Bot::new(Parts {
        identity,
        platform,
        brief,
        credentials: credentials(),
        waker: watch.waker(),
        tell: Box::new(tell),
        heartbeat_interval: HEARTBEAT_INTERVAL,
    })?;
    bot.run(&watch, &stop)
}

/// What the environment has of the bot's credentials: whatever could be a field.
fn credentials() -> platform::Credentials {
    let field = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        let name = name.to_str()?.strip_prefix(FIELD_PREFIX)?.to_ascii_lowercase();
        let value = value.into_string().ok().filter(|value| !value.is_empty())?;
        Some((name, Secret::new(value)))
    };
    std::env::vars_os().filter_map(field).collect()
}
