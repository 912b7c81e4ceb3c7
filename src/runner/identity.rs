//! Who this process is, as the supervisor says in its environment. Reads no file.

use std::ffi::OsString;
use std::path::PathBuf;

use ulid::Ulid;

use crate::model::bot::{BotId, BotIdError, RunId};
use crate::model::units::Stamp;
use crate::spool::{Mailbox, is_ulid};

/// One run of one bot and the files through which it speaks.
pub(super) struct Identity {
    pub(super) bot: BotId,
    pub(super) run: RunId,
    /// When the supervisor decided on this run.
    pub(super) since: Stamp,
    pub(super) inbox: Mailbox,
    pub(super) outbox: Mailbox,
    pub(super) heartbeat: PathBuf,
    /// The mark of the home; empty for one that no supervisor has told it.
    pub(super) home_id: String,
}

/// Why the environment names no bot.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("not set: {}: multibot runs this verb itself; make a bot with: multibot bot create NAME", .names.join(", "))]
    Missing { names: Vec<&'static str> },
    #[error("BOT_ID: {0}")]
    Bot(BotIdError),
    #[error("MULTIBOT_RUN_ID: {text:?} is not a ULID")]
    Run { text: String },
}

const VARIABLES: [&str; 5] = [
    "BOT_ID",
    "MULTIBOT_RUN_ID",
    "MULTIBOT_INBOX",
    "MULTIBOT_OUTBOX",
    "MULTIBOT_HEARTBEAT",
];

impl Identity {
    /// The identity that these variables give. One that is empty counts as missing; all that are missing are
    /// named in one go.
    pub(super) fn find(variable: impl Fn(&str) -> Option<OsString>) -> Result<Identity, Error> {
        let values = VARIABLES.map(|name| variable(name).filter(|value| !value.is_empty()));
        let [Some(bot), Some(run), Some(inbox), Some(outbox), Some(heartbeat)] = values else {
            let missing = VARIABLES.into_iter().zip(values).filter(|(_, value)| value.is_none());
            return Err(Error::Missing {
                names: missing.map(|(name, _)| name).collect(),
            });
        };
        let run = run.to_string_lossy();
        let ulid = Ulid::from_string(&run).ok().filter(|_| is_ulid(&run));
        let (Some(id), Some(ulid)) = (RunId::parse(&run), ulid) else {
            return Err(Error::Run { text: run.into_owned() });
        };
        Ok(Identity {
            bot: bot.to_string_lossy().parse().map_err(Error::Bot)?,
            run: id,
            since: Stamp::from_unix_ms(i64::try_from(ulid.timestamp_ms()).unwrap_or(i64::MAX)),
            inbox: Mailbox::new(inbox.into()),
            outbox: Mailbox::new(outbox.into()),
            heartbeat: heartbeat.into(),
            home_id: variable("MULTIBOT_HOME_ID")
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::new_id;
    use std::path::Path;

    fn find(changes: &[(&str, &str)]) -> Result<Identity, Error> {
        let run = new_id(Stamp::from_unix_ms(1_700_000_000_123));
        Identity::find(|name| {
            let value = match name {
                "BOT_ID" => "shop",
                "MULTIBOT_RUN_ID" => &run,
                "MULTIBOT_INBOX" => "/home/ipc/shop/inbox",
                "MULTIBOT_OUTBOX" => "/home/ipc/shop/outbox",
                "MULTIBOT_HEARTBEAT" => "/home/ipc/shop/heartbeat",
                _ => return None,
            };
            let changed = changes.iter().find(|(known, _)| *known == name);
            Some(changed.map_or(value, |(_, value)| value).into())
        })
    }

    #[test]
    fn the_environment_names_the_run_and_its_files() {
        let found = find(&[]).unwrap();
        assert_eq!(found.bot.as_str(), "shop");
        assert_eq!(found.since, Stamp::from_unix_ms(1_700_000_000_123));
        assert_eq!(found.inbox.dir(), Path::new("/home/ipc/shop/inbox"));
        assert_eq!(found.outbox.dir(), Path::new("/home/ipc/shop/outbox"));
        assert_eq!(found.heartbeat, Path::new("/home/ipc/shop/heartbeat"));
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        let nothing = Identity::find(|_| None).err().map(|error| error.to_string());
        assert_eq!(
            nothing.as_deref(),
            Some(
                "not set: BOT_ID, MULTIBOT_RUN_ID, MULTIBOT_INBOX, MULTIBOT_OUTBOX, MULTIBOT_HEARTBEAT: \
                 multibot runs this verb itself; make a bot with: multibot bot create NAME"
            )
        );
        for (name, value, said) in [
            ("MULTIBOT_OUTBOX", "", "not set: MULTIBOT_OUTBOX: "),
            ("BOT_ID", "Shop", "BOT_ID: \"Shop\" is not a bot id: "),
            ("MULTIBOT_RUN_ID", "1", "MULTIBOT_RUN_ID: \"1\" is not a ULID"),
            // The right letters, but a time that no ULID can hold.
            ("MULTIBOT_RUN_ID", "ZZZZZZZZZZZZZZZZZZZZZZZZZZ", "MULTIBOT_RUN_ID: "),
        ] {
            let error = find(&[(name, value)]).err().map(|error| error.to_string());
            let error = error.unwrap_or_default();
            assert!(error.starts_with(said) && !error.contains('\n'), "{error}");
        }
    }
}
