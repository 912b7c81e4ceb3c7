//! How much waits in an inbox, and since when; reads only names.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;

use super::Result;
use super::file::entries;
use super::later::LaterName;
use super::mailbox::Mailbox;
use super::name::FileName;
use super::progress::is_progress;
use crate::model::units::Stamp;

/// Files by where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub new: usize,
    pub cur: usize,
    pub later: usize,
    pub held: usize,
    /// When the oldest message was posted that is neither done nor held.
    pub oldest: Option<Stamp>,
    /// When the first one in `later/` is due.
    pub next_due: Option<Stamp>,
}

impl Mailbox {
    /// Counts everything. A mailbox that does not exist is empty.
    pub fn census(&self) -> Result<Census> {
        let waiting = self.scan()?;
        let later = self.later()?;
        let claimed: Vec<FileName> = entries(&self.cur_dir())?
            .iter()
            .filter(|name| !is_progress(name))
            .map(posted_name)
            .collect();
        let posted = waiting
            .iter()
            .map(super::Entry::posted_at)
            .chain(later.iter().map(|later| later.name.posted_at()))
            .chain(claimed.iter().map(FileName::posted_at));
        Ok(Census {
            new: waiting.len(),
            cur: claimed.len(),
            later: later.len(),
            held: entries(&self.held_dir())?.len(),
            // A foreign file that is claimed has no time of its own.
            oldest: posted.filter(|at| at.0 > 0).min(),
            next_due: later.first().map(LaterName::due),
        })
    }

    /// The places of all messages that lie somewhere else than in `cur/` and among the dead letters of these names.
    pub(super) fn places(&self, dead: &[OsString]) -> Result<HashSet<(u8, u64, String)>> {
        let names = |dir: PathBuf| -> Result<Vec<FileName>> {
            let names = entries(&dir)?;
            Ok(names
                .iter()
                .filter_map(|name| FileName::parse(name.to_str()?))
                .collect())
        };
        let mut found = names(self.new_dir())?;
        found.extend(names(self.held_dir())?);
        found.extend(self.later()?.into_iter().map(|later| later.name));
        found.extend(dead.iter().filter_map(|name| FileName::parse(name.to_str()?)));
        let place = |name: FileName| (name.priority, name.micros, name.id);
        Ok(found.into_iter().map(place).collect())
    }
}

/// The name under which something in `cur/` was posted, for a foreign one without its time.
fn posted_name(claimed: &OsString) -> FileName {
    let text = claimed.to_string_lossy();
    let posted = text.split_once(',').map_or(text.as_ref(), |(_, posted)| posted);
    FileName::of(posted.as_ref(), Stamp(0))
}
