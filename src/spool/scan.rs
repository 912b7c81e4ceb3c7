//! What waits in a mailbox, in the order of delivery. The scan is the truth; any wake-up is only a hint.
//!
//! Reads names, not contents. A name that is not multibot's own is taken as priority 5 at the time when it
//! arrived (its ctime, which a rename sets), so that a file moved in by hand queues behind what was there.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;

use super::file::{entries, micros};
use super::mailbox::Mailbox;
use super::name::FileName;
use super::{Error, Result};
use crate::model::limits::FAIR_CLAIM_EVERY;
use crate::model::message::PRIORITY_DEFAULT;
use crate::model::units::Stamp;

/// One file in `new/`, whatever it is. Entries sort in the order of delivery.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    priority: u8,
    micros: i64,
    name: OsString,
}

impl Entry {
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    pub fn priority(&self) -> u8 {
        self.priority
    }

    /// When it was posted, as its name says, or arrived.
    pub fn posted_at(&self) -> Stamp {
        Stamp(self.micros)
    }
}

/// Which of these sorted entries a consumer takes with its claim of this number: the first, or every sixteenth
/// time the oldest of the lowest class, so that nothing starves.
pub(super) fn pick(entries: &VecDeque<Entry>, claim: u64) -> Option<usize> {
    let lowest = entries.back()?.priority;
    if claim % FAIR_CLAIM_EVERY == FAIR_CLAIM_EVERY - 1 {
        return entries.iter().position(|entry| entry.priority == lowest);
    }
    Some(0)
}

impl Mailbox {
    /// The files in `new/`, sorted; dotfiles are left alone, and a mailbox that does not exist is empty.
    pub fn scan(&self) -> Result<Vec<Entry>> {
        let mut found = Vec::new();
        for name in entries(&self.new_dir())? {
            match name.to_str().and_then(FileName::parse) {
                Some(own) => found.push(Entry {
                    priority: own.priority,
                    micros: i64::try_from(own.micros).unwrap_or(i64::MAX),
                    name,
                }),
                None => found.extend(self.arrival(name)?),
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The entry of a foreign name; None when it is gone by now.
    fn arrival(&self, name: OsString) -> Result<Option<Entry>> {
        let path = self.new_dir().join(&name);
        match fs::symlink_metadata(&path) {
            Ok(found) => Ok(Some(Entry {
                priority: PRIORITY_DEFAULT,
                micros: micros(found.ctime(), found.ctime_nsec()).0,
                name,
            })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("look at", &path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

    fn names(mailbox: &Mailbox) -> Vec<String> {
        let entries = mailbox.scan().unwrap();
        entries
            .iter()
            .map(|entry| entry.name().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn files_moved_in_by_hand_queue_by_arrival_among_priority_5() {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = Mailbox::new(dir.path().join("inbox"));
        assert_eq!(names(&mailbox), Vec::<String>::new());
        mailbox.create().unwrap();
        let early = format!("5-00000000000000001-{ID}.1.ndjson");
        let late = format!("5-99999999999999999-{ID}.1.ndjson");
        let urgent = format!("0-99999999999999999-{ID}.1.ndjson");
        let lazy = format!("9-00000000000000001-{ID}.1.ndjson");
        for name in [&lazy, &late, "hand.json", ".hidden", &urgent, &early] {
            fs::write(mailbox.new_dir().join(name), "").unwrap();
        }
        assert_eq!(names(&mailbox), [&urgent, &early, "hand.json", &late, &lazy]);
        assert_eq!(mailbox.scan().unwrap()[2].priority(), 5);
    }
}
