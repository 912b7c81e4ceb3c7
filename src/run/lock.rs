//! Locks that a process holds for its life: one for the home's supervisor, one for each bot's shim.
//!
//! A lock file is never unlinked: a second file of the same name would be a second lock. Nobody
//! takes a lock to find out whether its holder lives, for that would break those who start; life is
//! told by [`Identity`](super::identity::Identity).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// A lock that is held until this value is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock if nobody holds it; None when somebody does. The file is created (0600) if
    /// missing and closed on exec, so that no child keeps it.
    pub fn take(path: &Path) -> io::Result<Option<Lock>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        match fs2::FileExt::try_lock(&file) {
            Ok(()) => Ok(Some(Lock { file })),
            Err(fs2::TryLockError::WouldBlock) => Ok(None),
            Err(fs2::TryLockError::Error(source)) => Err(source),
        }
    }

    /// The lock that the program before this one in the same process held, if this open file is it.
    pub fn inherited(path: &Path, file: OwnedFd) -> io::Result<Option<Lock>> {
        let file = File::from(file);
        let (mine, named) = (file.metadata()?, std::fs::metadata(path)?);
        if (mine.dev(), mine.ino()) != (named.dev(), named.ino()) {
            return Ok(None);
        }
        match fs2::FileExt::try_lock(&file) {
            Ok(()) => Ok(Some(Lock { file })),
            Err(fs2::TryLockError::WouldBlock) => Ok(None),
            Err(fs2::TryLockError::Error(source)) => Err(source),
        }
    }

    /// The same lock once more: it is free when both are gone.
    pub fn share(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    /// Writes who holds the lock into its file, for those who want to talk to the holder.
    pub fn sign(&self, text: &str) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        // In this order, so that who signs with the same words again is not missed by a reader in between.
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let held = Lock::take(&path).unwrap().unwrap();
        held.sign("somebody with a long name").unwrap();
        held.sign("somebody").unwrap();
        assert!(Lock::take(&path).unwrap().is_none());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "somebody");
        let shared = held.share().unwrap();
        drop(held);
        assert!(Lock::take(&path).unwrap().is_none());
        let other = File::open(dir.path()).unwrap().into();
        assert!(Lock::inherited(&path, other).unwrap().is_none());
        let held = Lock::inherited(&path, shared).unwrap().unwrap();
        assert!(Lock::take(&path).unwrap().is_none());
        drop(held);
        assert!(Lock::take(&path).unwrap().is_some());
    }
}
