//! The home: the directory that holds one supervisor's world. Knows where everything lies and makes
//! the folders; never reads or writes what is in them.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::model::bot::BotId;

/// One supervisor's directory, absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    dir: PathBuf,
}

/// Why there is no usable home.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error("no home directory: set --home DIR, or one of MULTIBOT_HOME, XDG_STATE_HOME and HOME")]
    Unknown,
    #[error("home {dir} cannot be created or written: {source}; choose another with --home or mend its permissions")]
    Unusable { dir: String, source: io::Error },
    #[error(
        "home {dir} belongs to uid {owner}, and this is uid {me}: run multibot as its owner or choose another with --home"
    )]
    ForeignOwner { dir: String, owner: u32, me: u32 },
    #[error("home {dir} is not a directory: choose another with --home")]
    NotADirectory { dir: String },
}

impl Home {
    /// The home that these settings mean: the flag, else `MULTIBOT_HOME`, else `XDG_STATE_HOME/multibot`,
    /// else `~/.local/state/multibot`. Empty values count as unset.
    pub fn find(flag: Option<PathBuf>, env: impl Fn(&str) -> Option<OsString>) -> Result<Home, HomeError> {
        let var = |name| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let dir = flag
            .filter(|dir| !dir.as_os_str().is_empty())
            .or_else(|| var("MULTIBOT_HOME"))
            .or_else(|| var("XDG_STATE_HOME").map(|dir| dir.join("multibot")))
            .or_else(|| var("HOME").map(|dir| dir.join(".local/state/multibot")))
            .ok_or(HomeError::Unknown)?;
        let dir = std::path::absolute(&dir).map_err(|source| HomeError::Unusable {
            dir: dir.display().to_string(),
            source,
        })?;
        Ok(Home { dir })
    }

    /// Checks that the home is ours, or does not exist yet. Only its owner may work in it: files made
    /// by another user, root included, would lock the owner out.
    pub fn check(&self) -> Result<(), HomeError> {
        let meta = match fs::metadata(&self.dir) {
            Ok(meta) => meta,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(self.unusable(source)),
        };
        if !meta.is_dir() {
            return Err(HomeError::NotADirectory {
                dir: self.dir.display().to_string(),
            });
        }
        let me = rustix::process::geteuid().as_raw();
        if meta.uid() != me {
            return Err(HomeError::ForeignOwner {
                dir: self.dir.display().to_string(),
                owner: meta.uid(),
                me,
            });
        }
        Ok(())
    }

    /// Makes the home and its fixed folders, 0700. A home that others may enter is closed.
    pub fn create(&self) -> Result<(), HomeError> {
        self.check()?;
        let wrap = |source| self.unusable(source);
        for dir in [
            self.dir.clone(),
            self.dir.join("run"),
            self.locks(),
            self.dir.join("logs"),
            self.dir.join("ipc"),
            self.dir.join("ipc/supervisor"),
            self.replies(),
            self.dir.join("media"),
        ] {
            make_private(&dir).map_err(wrap)?;
        }
        let mode = fs::metadata(&self.dir).map_err(wrap)?.permissions().mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o700)).map_err(wrap)?;
        }
        Ok(())
    }

    /// Whether anything was ever created here.
    pub fn exists(&self) -> bool {
        self.dir.is_dir()
    }

    fn unusable(&self, source: io::Error) -> HomeError {
        HomeError::Unusable {
            dir: self.dir.display().to_string(),
            source,
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn settings(&self) -> PathBuf {
        self.dir.join("multibot.yaml")
    }

    pub fn database(&self) -> PathBuf {
        self.dir.join("multibot.db")
    }

    pub fn supervisor_lock(&self) -> PathBuf {
        self.dir.join("run/supervisor.lock")
    }

    pub fn snapshot(&self) -> PathBuf {
        self.dir.join("run/status.json")
    }

    pub fn locks(&self) -> PathBuf {
        self.dir.join("run/locks")
    }

    pub fn lock_of(&self, bot: &BotId) -> PathBuf {
        self.locks().join(format!("{bot}.lock"))
    }

    /// Where a bot's `run.json` and `exit.json` lie.
    pub fn run_of(&self, bot: &BotId) -> PathBuf {
        self.dir.join("run").join(bot.as_str())
    }

    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    pub fn log_of(&self, bot: &BotId) -> PathBuf {
        self.logs().join(format!("{bot}.log"))
    }

    pub fn supervisor_log(&self) -> PathBuf {
        self.logs().join("supervisor.log")
    }

    /// The parent of a bot's mailboxes.
    pub fn ipc_of(&self, bot: &BotId) -> PathBuf {
        self.dir.join("ipc").join(bot.as_str())
    }

    pub fn inbox_of(&self, bot: &BotId) -> PathBuf {
        self.ipc_of(bot).join("inbox")
    }

    pub fn outbox_of(&self, bot: &BotId) -> PathBuf {
        self.ipc_of(bot).join("outbox")
    }

    pub fn dead_of(&self, bot: &BotId) -> PathBuf {
        self.ipc_of(bot).join("dead")
    }

    pub fn heartbeat_of(&self, bot: &BotId) -> PathBuf {
        self.ipc_of(bot).join("heartbeat")
    }

    pub fn supervisor_inbox(&self) -> PathBuf {
        self.dir.join("ipc/supervisor/inbox")
    }

    pub fn supervisor_dead(&self) -> PathBuf {
        self.dir.join("ipc/supervisor/dead")
    }

    /// What one sink of alerts is to pass on.
    pub fn sink_of(&self, sink: &str) -> PathBuf {
        self.dir.join("ipc/supervisor/sinks").join(sink)
    }

    pub fn replies(&self) -> PathBuf {
        self.dir.join("ipc/supervisor/replies")
    }

    pub fn media_of(&self, bot: &BotId) -> PathBuf {
        self.dir.join("media").join(bot.as_str())
    }
}

/// Makes a folder and its missing parents, 0700; one that exists is left as it is.
pub fn make_private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(flag: Option<&str>, vars: &[(&str, &str)]) -> Result<Home, HomeError> {
        Home::find(flag.map(PathBuf::from), |name| {
            vars.iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_flag_wins_then_the_variables_in_order() {
        let all = [("MULTIBOT_HOME", "/m"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
        for (flag, vars, dir) in [
            (Some("/f"), &all[..], "/f"),
            (None, &all[..], "/m"),
            (None, &all[1..], "/x/multibot"),
            (None, &all[2..], "/h/.local/state/multibot"),
            (
                None,
                &[("MULTIBOT_HOME", ""), ("HOME", "/h")],
                "/h/.local/state/multibot",
            ),
        ] {
            assert_eq!(find(flag, vars).unwrap().dir(), Path::new(dir));
        }
        assert!(matches!(find(None, &[]), Err(HomeError::Unknown)));
    }

    #[test]
    fn a_home_is_private_even_if_its_folder_was_not() {
        let dir = tempfile::tempdir().unwrap();
        let home = find(Some(dir.path().join("h").to_str().unwrap()), &[]).unwrap();
        fs::create_dir(home.dir()).unwrap();
        fs::set_permissions(home.dir(), fs::Permissions::from_mode(0o755)).unwrap();
        home.create().unwrap();
        assert_eq!(fs::metadata(home.dir()).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(home.replies().is_dir());
    }

    #[test]
    fn a_file_is_no_home() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let home = find(file.path().to_str(), &[]).unwrap();
        assert!(matches!(home.create(), Err(HomeError::NotADirectory { .. })));
    }
}
