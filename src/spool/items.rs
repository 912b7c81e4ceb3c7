//! The messages of an inbox one by one, for an operator: where each is, and moving it by hand.
//!
//! Invariant: what is moved was claimed first, by a rename that only one can do, so that bot, supervisor and operator
//! never have a message twice. What a bot has claimed is its own.

use std::ffi::OsString;
use std::path::PathBuf;

use super::claimed::Claimed;
use super::dead_letters::{DeadLetters, reason_path};
use super::envelope::Defaults;
use super::file::{self, entries};
use super::mailbox::Mailbox;
use super::name::FileName;
use super::progress::{Progress, is_progress};
use super::requeue::split;
use super::{Error, Result};
use crate::model::message::Envelope;
use crate::model::units::Stamp;

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    New,
    Cur,
    Later,
    Held,
    Dead,
}

/// One message, or a file that is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub place: Place,
    pub path: PathBuf,
    /// The name that it was posted under, without what its place adds.
    pub file: String,
    /// None: it cannot be read.
    pub envelope: Option<Envelope>,
    /// Where it stands in its file.
    position: usize,
    /// How many are in the file.
    siblings: usize,
    pub posted_at: Stamp,
    /// When its retry is due.
    pub due: Option<Stamp>,
    /// Which run works on it.
    pub claimant: Option<String>,
    /// Why it is dead, or cannot be read.
    pub reason: Option<String>,
    /// The mailbox from which a dead letter came.
    pub from_box: Option<String>,
}

impl Place {
    pub const ALL: [Place; 5] = [Place::New, Place::Cur, Place::Later, Place::Held, Place::Dead];

    pub fn word(self) -> &'static str {
        match self {
            Place::New => "new",
            Place::Cur => "cur",
            Place::Later => "later",
            Place::Held => "held",
            Place::Dead => "dead",
        }
    }

    pub fn from_word(word: &str) -> Option<Place> {
        Place::ALL.into_iter().find(|place| place.word() == word)
    }
}

impl Item {
    /// Whether an operator means this one: by its id, or the name of its file.
    pub fn is_called(&self, word: &str) -> bool {
        self.file == word || self.envelope.as_ref().is_some_and(|envelope| envelope.id == word)
    }

    pub fn id(&self) -> &str {
        self.envelope.as_ref().map_or(&self.file, |envelope| &envelope.id)
    }
}

impl Mailbox {
    /// All messages, place by place in their order; those that are done are left out.
    pub fn items(&self, dead: &DeadLetters, defaults: &Defaults<'_>) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for entry in self.scan()? {
            let path = self.new_dir().join(entry.name());
            let posted = entry.name().to_owned();
            self.add(&mut items, (Place::New, path, posted), entry.posted_at(), defaults);
        }
        let mut claimed = entries(&self.cur_dir())?;
        claimed.retain(|name| !is_progress(name));
        claimed.sort_unstable();
        for name in claimed {
            let (claimant, posted) = split(&name).unwrap_or(("", &name));
            let at = FileName::of(posted, Stamp(0)).posted_at();
            let (path, first) = (self.cur_dir().join(&name), items.len());
            self.add(&mut items, (Place::Cur, path.clone(), posted.to_owned()), at, defaults);
            let progress = Progress::read(&path)?;
            let mut own = items.split_off(first);
            own.retain(|item| !progress.is_acked(item.id()));
            own.iter_mut()
                .for_each(|item| item.claimant = Some(claimant.to_owned()));
            items.append(&mut own);
        }
        for later in self.later()? {
            let (path, at) = (self.later_dir().join(later.to_string()), later.name.posted_at());
            let first = items.len();
            self.add(
                &mut items,
                (Place::Later, path, later.name.to_string().into()),
                at,
                defaults,
            );
            items[first..].iter_mut().for_each(|item| item.due = Some(later.due()));
        }
        let mut held = entries(&self.held_dir())?;
        held.sort_unstable();
        for name in held {
            let at = FileName::of(&name, Stamp(0)).posted_at();
            self.add(
                &mut items,
                (Place::Held, self.held_dir().join(&name), name),
                at,
                defaults,
            );
        }
        for letter in dead.list()? {
            let first = items.len();
            let name = letter.path.file_name().unwrap_or_default().to_owned();
            let at = letter.at.unwrap_or(Stamp(0));
            self.add(&mut items, (Place::Dead, letter.path, name), at, defaults);
            for item in &mut items[first..] {
                item.reason = letter.reason.clone().or(item.reason.take());
                item.from_box.clone_from(&letter.from_box);
            }
        }
        Ok(items)
    }

    fn add(&self, items: &mut Vec<Item>, file: (Place, PathBuf, OsString), posted_at: Stamp, defaults: &Defaults<'_>) {
        let (place, path, name) = file;
        let blank = Item {
            place,
            file: name.to_string_lossy().into_owned(),
            envelope: None,
            position: 0,
            siblings: 1,
            posted_at,
            due: None,
            claimant: None,
            reason: None,
            from_box: None,
            path: path.clone(),
        };
        match Claimed::at(self, path, name).read(defaults) {
            Ok(envelopes) => {
                let siblings = envelopes.len();
                items.extend(envelopes.into_iter().enumerate().map(|(position, envelope)| Item {
                    envelope: Some(envelope),
                    position,
                    siblings,
                    ..blank.clone()
                }));
            }
            Err(error) => items.push(Item {
                reason: Some(error.to_string()),
                ..blank
            }),
        }
    }

    /// Sets a message aside that waits; false when it does not wait any more.
    pub fn hold(&self, item: &Item, claimant: &str) -> Result<bool> {
        file::make_dir(&self.held_dir())?;
        self.take_out(item, claimant, Some(self.held_dir()))
    }

    /// Puts a message that is held, or waits for its retry, back among those that are delivered.
    pub fn release(&self, item: &Item, claimant: &str) -> Result<bool> {
        match item.place {
            Place::Later | Place::Held => self.take_out(item, claimant, Some(self.new_dir())),
            Place::New | Place::Cur | Place::Dead => Ok(false),
        }
    }

    /// Removes a message for good; false when it is gone already, or a bot works on it.
    pub fn discard(&self, item: &Item, claimant: &str) -> Result<bool> {
        if item.place == Place::Dead && item.siblings == 1 {
            let is_there = item.path.symlink_metadata().is_ok();
            file::remove(&item.path)?;
            file::remove(&reason_path(&item.path))?;
            return Ok(is_there);
        }
        self.take_out(item, claimant, None)
    }

    /// Moves one message out of its file into a folder, or nowhere; the others of the file stay where they are.
    fn take_out(&self, item: &Item, claimant: &str, into: Option<PathBuf>) -> Result<bool> {
        if item.place == Place::Cur {
            return Ok(false);
        }
        let home = item.path.parent().unwrap_or(self.dir()).to_owned();
        let (mine, posted) = (format!("{claimant},{}", item.file), OsString::from(&item.file));
        let cur = self.cur_dir();
        let Some(name) = file::move_into(&item.path, &cur, |number| file::fitted(mine.as_ref(), number, 0))? else {
            return Ok(false);
        };
        let path = cur.join(name);
        if item.siblings == 1 {
            match &into {
                Some(dir) => file::move_into(&path, dir, |number| file::fitted(&posted, number, 0)).map(|_| ())?,
                None => file::remove(&path)?,
            }
            return Ok(true);
        }
        let base = FileName::of(&posted, item.posted_at);
        let here = Defaults {
            from: "supervisor",
            to: "",
            now: item.posted_at,
        };
        let envelopes = Claimed::at(self, path.clone(), posted)
            .read(&here)
            .map_err(|error| Error::Reply {
                path: path.clone(),
                why: error.to_string(),
            })?;
        for (position, envelope) in envelopes.iter().enumerate() {
            let name = base.piece(position, base.attempt.max(envelope.attempt)).to_string();
            let dir = if position == item.position {
                into.as_ref()
            } else {
                Some(&home)
            };
            if let Some(dir) = dir {
                self.put(&dir.join(name), std::slice::from_ref(envelope))?;
                file::sync_dir(dir)?;
            }
        }
        file::remove(&path)?;
        Ok(true)
    }
}
