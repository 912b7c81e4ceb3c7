//! Brings back what ended runs had claimed, and what is due: the supervisor's part, carried out on the disk.
//!
//! Invariants: a message is in its new place, synced, before it leaves the old one; whatever is interrupted may be
//! done again and changes nothing that was done.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::claimed::{Claimed, ReadError};
use super::consumer::base_name;
use super::dead_letters::DeadLetters;
use super::envelope::{Defaults, to_fitting_line};
use super::later::LaterName;
use super::mailbox::Mailbox;
use super::name::FileName;
use super::progress::{Progress, is_progress};
use super::recovery::{Grave, Plan, RunEnd, expired, plan};
use super::{Error, Result, file};
use crate::model::message::Envelope;
use crate::model::queue::QueuePolicy;
use crate::model::units::Stamp;

/// A message, or a file that was none, that became a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buried {
    /// The message's id, or the file's name.
    pub id: String,
    /// Who sent it and may wait for an answer; None for a file.
    pub from: Option<String>,
    pub reason: String,
}

impl Buried {
    fn of(envelope: &Envelope, reason: String) -> Buried {
        Buried {
            id: envelope.id.clone(),
            from: Some(envelope.from.clone()),
            reason,
        }
    }
}

/// What a recovery did; what it could not do stays claimed and is tried again the next time.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Messages that are delivered again.
    pub back: usize,
    pub buried: Vec<Buried>,
    pub errors: Vec<Error>,
}

/// What was due.
#[derive(Debug, Default)]
pub struct Released {
    pub back: usize,
    /// Messages that have expired meanwhile.
    pub buried: Vec<Buried>,
    /// When the next one is due.
    pub next_due: Option<Stamp>,
}

impl Mailbox {
    /// Puts back what claimants have left. `end_of` says how a claimant ended, and None of one that lives: its
    /// claims are left alone. For the inbox that lies beside these dead letters.
    pub fn recover(
        &self,
        dead: &DeadLetters,
        defaults: &Defaults<'_>,
        rules: &QueuePolicy,
        end_of: &dyn Fn(&str) -> Option<RunEnd>,
    ) -> Result<Recovered> {
        let mut names = file::entries(&self.cur_dir())?;
        names.retain(|name| !is_progress(name));
        names.sort_unstable();
        let mut done = Recovered::default();
        for name in names {
            let outcome = match split(&name) {
                Some((claimant, posted)) => match end_of(claimant) {
                    Some(end) => {
                        let claimed = Claimed::found(self, &name, posted);
                        self.recover_file(claimed, (claimant, &end), dead, defaults, rules, &mut done)
                    }
                    None => Ok(()),
                },
                None => bury(
                    dead,
                    Claimed::found(self, &name, &name),
                    NAMELESS,
                    defaults.now,
                    &mut done,
                ),
            };
            done.errors.extend(outcome.err());
        }
        done.errors.extend(self.remove_orphans(end_of).err());
        Ok(done)
    }

    fn recover_file(
        &self,
        claimed: Claimed,
        run: (&str, &RunEnd),
        dead: &DeadLetters,
        defaults: &Defaults<'_>,
        rules: &QueuePolicy,
        done: &mut Recovered,
    ) -> Result<()> {
        let envelopes = match claimed.read(defaults) {
            Ok(envelopes) => envelopes,
            Err(ReadError::Unreadable(why)) => return bury(dead, claimed, &why.to_string(), defaults.now, done),
            Err(ReadError::Failed(error)) => return Err(error),
        };
        let progress = Progress::read(claimed.path())?;
        let plan = plan(&base_name(&claimed), envelopes, &progress, run, rules, defaults.now);
        self.carry_out(&plan, dead, defaults.now)?;
        Progress::end(claimed.path())?;
        done.back += plan.again.len() + plan.rest.map_or(0, |(_, rest)| rest.len());
        let buried = plan
            .graves
            .into_iter()
            .map(|grave| Buried::of(&grave.envelope, grave.reason));
        done.buried.extend(buried);
        Ok(())
    }

    /// Writes what a plan says. A message that has its new place already keeps it: the supervisor may have died
    /// after it had moved it.
    fn carry_out(&self, plan: &Plan, dead: &DeadLetters, now: Stamp) -> Result<()> {
        let taken = self.places(&dead.names()?)?;
        let is_new = |name: &FileName| !taken.contains(&(name.priority, name.micros, name.id.clone()));
        for (name, envelope) in plan.again.iter().filter(|(name, _)| is_new(name)) {
            self.put_back(name, std::slice::from_ref(envelope))?;
        }
        if let Some((name, rest)) = &plan.rest {
            self.put_back(name, rest)?;
        }
        if !plan.again.is_empty() || plan.rest.is_some() {
            file::sync_dir(&self.new_dir())?;
        }
        for grave in plan.graves.iter().filter(|grave| is_new(&grave.name)) {
            dead.keep(grave, "inbox", now)?;
        }
        Ok(())
    }

    /// Writes a file into `new/` under a name that stands for its bytes; the folder is not synced.
    pub(super) fn put_back(&self, name: &FileName, envelopes: &[Envelope]) -> Result<()> {
        self.put(&self.new_dir().join(name.to_string()), envelopes)
    }

    /// The same for any folder of this mailbox.
    pub(super) fn put(&self, path: &Path, envelopes: &[Envelope]) -> Result<()> {
        let mut lines = String::new();
        for envelope in envelopes {
            lines.push_str(&to_fitting_line(envelope));
            lines.push('\n');
        }
        let name = path.file_name().unwrap_or_default();
        file::put_durably(&self.dir().join("tmp").join(name), path, lines.as_bytes())
    }

    /// Progress files whose claimed file is gone, as far as nobody works with them.
    fn remove_orphans(&self, end_of: &dyn Fn(&str) -> Option<RunEnd>) -> Result<()> {
        for name in file::entries(&self.cur_dir())? {
            let Some(claimed) = name.as_bytes().strip_suffix(b".acked") else {
                continue;
            };
            let is_left = split(&name).is_none_or(|(claimant, _)| end_of(claimant).is_some());
            if is_left
                && self
                    .cur_dir()
                    .join(OsStr::from_bytes(claimed))
                    .symlink_metadata()
                    .is_err()
            {
                file::remove(&self.cur_dir().join(name))?;
            }
        }
        Ok(())
    }

    /// Puts what this claimant had claimed back as it was: for a reader that handles whole files.
    pub fn give_back(&self, claimant: &str) -> Result<usize> {
        let mut count = 0;
        for name in file::entries(&self.cur_dir())? {
            let Some((owner, posted)) = split(&name) else { continue };
            if owner != claimant || is_progress(&name) {
                continue;
            }
            let named = |number| file::fitted(posted, number, 0);
            count += usize::from(file::move_into(&self.cur_dir().join(&name), &self.new_dir(), named)?.is_some());
        }
        Ok(count)
    }

    /// Puts what is due by `now` back into `new/`; what has expired goes to the dead letters. Not synced: it is
    /// in one of the two places whatever happens.
    pub fn release_due(&self, dead: &DeadLetters, defaults: &Defaults<'_>) -> Result<Released> {
        let mut due = self.later()?;
        due.retain(|later| later.due() <= defaults.now);
        // Those with one key were posted in this order.
        due.sort_by(|a, b| a.name.cmp(&b.name));
        let mut done = Released::default();
        for later in due {
            let path = self.later_dir().join(later.to_string());
            let posted = OsString::from(later.name.to_string());
            let waiting = Claimed::at(self, path.clone(), posted.clone());
            let late = waiting.read(defaults).ok().and_then(|mut envelopes| {
                let reason = expired(envelopes.first()?, defaults.now)?;
                Some((envelopes.remove(0), reason))
            });
            if let Some((envelope, reason)) = late {
                let (name, buried) = (later.name, Buried::of(&envelope, reason.clone()));
                let grave = Grave { name, envelope, reason };
                dead.keep(&grave, "inbox", defaults.now)?;
                file::remove(&path)?;
                done.buried.push(buried);
                continue;
            }
            let moved = file::move_into(&path, &self.new_dir(), |number| file::fitted(&posted, number, 0))?;
            done.back += usize::from(moved.is_some());
        }
        done.next_due = self.later()?.first().map(LaterName::due);
        Ok(done)
    }
}

const NAMELESS: &str = "its name says not who claimed it";

fn bury(dead: &DeadLetters, claimed: Claimed, why: &str, now: Stamp, done: &mut Recovered) -> Result<()> {
    let (name, path) = (claimed.name().to_string_lossy().into_owned(), claimed.path().to_owned());
    dead.bury(claimed, why, now)?;
    done.buried.push(Buried {
        id: name,
        from: None,
        reason: why.to_owned(),
    });
    Progress::end(&path)
}

/// The claimant and the posted name of something in `cur/`.
pub(super) fn split(name: &OsStr) -> Option<(&str, &OsStr)> {
    let comma = name.as_bytes().iter().position(|byte| *byte == b',')?;
    let (claimant, posted) = name.as_bytes().split_at(comma);
    let claimant = std::str::from_utf8(claimant)
        .ok()
        .filter(|claimant| !claimant.is_empty())?;
    Some((claimant, OsStr::from_bytes(&posted[1..])))
}
