//! The reading end of an inbox, as `ipc/README.md` asks it of every bot: claim, hand out one envelope after the
//! other, note which were answered.
//!
//! Knows neither outbox nor platform: its user posts the answer first and then says [`Consumer::ack`] or
//! [`Consumer::fail`]. Invariants: what was claimed is never lost, because it stands in `cur/` until all of it is
//! answered; an envelope does not overtake an earlier one of its order key that was given back. Everything that
//! must survive the process is on the disk, so a program that runs once for each step may use this as well, with
//! [`Consumer::resume`].

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Result;
use super::claimed::{Claimed, ReadError};
use super::dead_letters::DeadLetters;
use super::envelope::Defaults;
use super::failure::{Failure, Then};
use super::file::{entries, micros};
use super::later::OrderKey;
use super::mailbox::Mailbox;
use super::name::FileName;
use super::progress::{Mark, Progress, has_progress, is_progress};
use super::scan::{Entry, pick};
use crate::model::message::{Envelope, PRIORITY_CONTROL};
use crate::model::units::Stamp;

/// What an inbox has for its reader.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// To be handled. Post the answer, if one is due, then ack it; or post a [`Failure`], then fail it.
    Message(Envelope),
    /// Must not be handled now. Post this answer, then fail it.
    Refused { envelope: Envelope, failure: Failure },
    /// A file that was no message; it lies among the dead letters now.
    SetAside { name: String, why: String },
}

/// One run of a bot, as the reader of its inbox.
pub struct Consumer {
    inbox: Mailbox,
    dead: DeadLetters,
    bot: String,
    claimant: String,
    claims: u64,
    /// What the last scan found and nobody has claimed yet, and how many of it may be before the next scan.
    backlog: VecDeque<Entry>,
    left: usize,
    /// What had been given back at the time of the last scan.
    given_back: Vec<(OrderKey, FileName)>,
    /// Claimed files of which something is still to be handed out.
    open: VecDeque<Open>,
    /// The files of each envelope that is not answered yet; a message that was sent twice has two.
    in_hand: HashMap<String, VecDeque<PathBuf>>,
    files: HashMap<PathBuf, Vec<String>>,
}

struct Open {
    path: PathBuf,
    /// The name under which the file's pieces sort.
    name: FileName,
    rest: VecDeque<(usize, Envelope)>,
}

/// Who sends what names no sender: the supervisor alone posts into an inbox without being asked.
const SENDER: &str = "supervisor";
/// Files between two scans: what is urgent waits for so many at most.
const CLAIMS_PER_SCAN: usize = 256;

impl Consumer {
    /// A reader of this inbox, which lies beside its bot's dead letters. `run` is what it claims with.
    pub fn new(inbox: Mailbox, bot: &str, run: &str) -> Consumer {
        Consumer {
            dead: DeadLetters::new(inbox.dir().with_file_name("dead")),
            inbox,
            bot: bot.to_owned(),
            claimant: run.to_owned(),
            claims: 0,
            backlog: VecDeque::new(),
            left: 0,
            given_back: Vec::new(),
            open: VecDeque::new(),
            in_hand: HashMap::new(),
            files: HashMap::new(),
        }
    }

    /// Counts its claims on from this number: every sixteenth goes to the message that waits longest in the
    /// lowest class. For programs that claim once in their life; any number that varies will do.
    pub fn starting_at(mut self, claims: u64) -> Consumer {
        self.claims = claims;
        self
    }

    /// Takes up again what this run had claimed before and not answered; returns how many envelopes.
    pub fn resume(&mut self, now: Stamp) -> Result<usize> {
        let mut count = 0;
        for claimed in self.own_claims()? {
            if self.files.contains_key(claimed.path()) {
                continue;
            }
            let progress = Progress::read(claimed.path())?;
            // What cannot be read was set aside, or will be by the supervisor.
            if let Ok(envelopes) = claimed.read(&self.defaults(now)) {
                let name = base_name(&claimed);
                count += self.take_up(&claimed, name, envelopes, &progress);
            }
        }
        Ok(count)
    }

    /// The next envelope; None when nothing waits now. Never waits itself: use a [`super::Watch`].
    pub fn receive(&mut self, now: Stamp) -> Result<Option<Received>> {
        loop {
            while let Some(file) = self.open.front_mut() {
                let Some((place, envelope)) = file.rest.pop_front() else {
                    self.open.pop_front();
                    continue;
                };
                let name = file.name.piece(place, envelope.attempt);
                if let Some(received) = self.hand_out(&name, envelope, now)? {
                    return Ok(Some(received));
                }
            }
            let Some(claimed) = self.claim_next(now)? else {
                return Ok(None);
            };
            let name = base_name(&claimed);
            match claimed.read(&self.defaults(now)) {
                Ok(envelopes) => {
                    self.take_up(&claimed, name, envelopes, &Progress::default());
                }
                Err(ReadError::Unreadable(why)) => {
                    let (name, why) = (claimed.name().to_string_lossy().into_owned(), why.to_string());
                    self.dead.bury(claimed, &why, now)?;
                    return Ok(Some(Received::SetAside { name, why }));
                }
                // It stays claimed, for whoever recovers what a run has left.
                Err(ReadError::Failed(error)) => return Err(error),
            }
        }
    }

    /// The next envelope that its sender has posted as urgent (priority 0), for a reader that has no room for anything
    /// else; None when there is none.
    pub fn receive_urgent(&mut self, now: Stamp) -> Result<Option<Received>> {
        for entry in self.inbox.scan()? {
            if entry.priority() > PRIORITY_CONTROL {
                break;
            }
            self.backlog.retain(|known| known.name() != entry.name());
            let Some(claimed) = self.inbox.claim(&entry, &self.claimant)? else {
                continue;
            };
            let name = base_name(&claimed);
            // One that cannot be read has time until it is found in its turn by whoever recovers this run.
            if let Ok(envelopes) = claimed.read(&self.defaults(now)) {
                self.take_up(&claimed, name, envelopes, &Progress::default());
                // Before what was claimed earlier.
                self.open.rotate_right(1);
                return self.receive(now);
            }
        }
        Ok(None)
    }

    /// The first envelope of what was claimed, and taken up again, that is not answered: the one that this run has in
    /// hand if it handles one after the other.
    pub fn first_unanswered(&self) -> Option<&Envelope> {
        let mut open = self.open.iter();
        open.find_map(|file| file.rest.front().map(|(_, envelope)| envelope))
    }

    /// Notes that an envelope was handled; false when this run has none of that id in hand.
    pub fn ack(&mut self, id: &str) -> Result<bool> {
        self.mark(id, Mark::Acked)
    }

    /// Notes that an envelope was answered negatively: the supervisor moves it on. False when this run has none
    /// of that id in hand.
    pub fn fail(&mut self, id: &str) -> Result<bool> {
        // Whatever was listed before may hold what must wait for this one now.
        self.backlog.clear();
        self.mark(id, Mark::Failed)
    }

    /// Envelopes that were claimed and not handed out yet: they go back when this run ends.
    pub fn unread(&self) -> usize {
        self.open.iter().map(|file| file.rest.len()).sum()
    }

    fn defaults(&self, now: Stamp) -> Defaults<'_> {
        Defaults {
            from: SENDER,
            to: &self.bot,
            now,
        }
    }

    /// What is to be done with an envelope whose turn it is; None when that was nothing.
    fn hand_out(&mut self, name: &FileName, envelope: Envelope, now: Stamp) -> Result<Option<Received>> {
        // A bot that reads its shutdown late must end all the same.
        let is_shutdown = envelope.is_for_one_run() && envelope.name == "shutdown";
        if let Some(expires_at) = envelope
            .expires_at
            .filter(|expires_at| *expires_at < now && !is_shutdown)
        {
            if envelope.is_for_one_run() {
                self.ack(&envelope.id)?;
                return Ok(None);
            }
            let failure = Failure::new(format!("expired at {expires_at}"), Then::Bury);
            return Ok(Some(Received::Refused { envelope, failure }));
        }
        if let Some(key) = OrderKey::of(&envelope)
            && (waits_behind(&self.given_back, &key, name) || waits_behind(&self.given_back(now)?, &key, name))
        {
            let failure = Failure::new("an earlier message of its order_key waits", Then::WaitBehind);
            return Ok(Some(Received::Refused { envelope, failure }));
        }
        Ok(Some(Received::Message(envelope)))
    }

    /// Claims the next file. What was given back is looked up before what waits: it moves from there to here.
    fn claim_next(&mut self, now: Stamp) -> Result<Option<Claimed>> {
        loop {
            if self.left == 0 || self.backlog.is_empty() {
                self.given_back = self.given_back(now)?;
                self.backlog = self.inbox.scan()?.into();
                self.left = if self.given_back.is_empty() { CLAIMS_PER_SCAN } else { 1 };
            }
            let Some(entry) = pick(&self.backlog, self.claims).and_then(|place| self.backlog.remove(place)) else {
                return Ok(None);
            };
            self.left -= 1;
            if let Some(claimed) = self.inbox.claim(&entry, &self.claimant)? {
                self.claims = self.claims.wrapping_add(1);
                return Ok(Some(claimed));
            }
        }
    }

    /// Makes the envelopes of a file that are not answered yet the next ones; returns how many.
    fn take_up(&mut self, claimed: &Claimed, name: FileName, envelopes: Vec<Envelope>, progress: &Progress) -> usize {
        let ids = envelopes.iter().map(|envelope| envelope.id.clone()).collect();
        self.files.insert(claimed.path().to_owned(), ids);
        let mut seen = HashSet::new();
        let rest: VecDeque<(usize, Envelope)> = envelopes
            .into_iter()
            .enumerate()
            .filter(|(_, envelope)| progress.of(&envelope.id).is_none() && seen.insert(envelope.id.clone()))
            .map(|(place, mut envelope)| {
                envelope.attempt = envelope.attempt.max(name.attempt);
                (place, envelope)
            })
            .collect();
        for (_, envelope) in &rest {
            let paths = self.in_hand.entry(envelope.id.clone()).or_default();
            paths.push_back(claimed.path().to_owned());
        }
        let count = rest.len();
        let path = claimed.path().to_owned();
        self.open.push_back(Open { path, name, rest });
        count
    }

    fn mark(&mut self, id: &str, mark: Mark) -> Result<bool> {
        let Some(path) = self.in_hand.get(id).and_then(|paths| paths.front()).cloned() else {
            return Ok(false);
        };
        let ids = self.files.get(&path).map_or(&[][..], Vec::as_slice);
        if mark == Mark::Acked && ids.len() <= 1 {
            Progress::end(&path)?;
        } else if fs::symlink_metadata(&path).is_err() {
            // Somebody took the file away: its progress is of use to nobody.
            Progress::end(&path)?;
        } else {
            Progress::append(&path, id, mark)?;
            let progress = Progress::read(&path)?;
            if ids.iter().all(|id| progress.is_acked(id)) {
                Progress::end(&path)?;
            }
        }
        if let Some(paths) = self.in_hand.get_mut(id) {
            paths.pop_front();
            if paths.is_empty() {
                self.in_hand.remove(id);
            }
        }
        let is_open = |id: &String| self.in_hand.get(id).is_some_and(|paths| paths.contains(&path));
        if !self.files.get(&path).is_some_and(|ids| ids.iter().any(is_open)) {
            self.files.remove(&path);
            self.open.retain(|file| file.path != path);
        }
        Ok(true)
    }

    /// The order keys of what waits for a retry, or will as soon as the supervisor has read our answer, each with
    /// the place of its message.
    fn given_back(&self, now: Stamp) -> Result<Vec<(OrderKey, FileName)>> {
        let mut found = Vec::new();
        for claimed in self.own_claims()? {
            if !has_progress(claimed.path()) {
                continue;
            }
            let progress = Progress::read(claimed.path())?;
            if !progress.has_failed() {
                continue;
            }
            let name = base_name(&claimed);
            let envelopes = claimed.read(&self.defaults(now)).unwrap_or_default();
            for (place, envelope) in envelopes.iter().enumerate() {
                // Settled or not: it may be on its way back, past what else stands in this file.
                if progress.was_failed(&envelope.id)
                    && let Some(key) = OrderKey::of(envelope)
                {
                    found.push((key, name.piece(place, envelope.attempt)));
                }
            }
        }
        for later in self.inbox.later()? {
            found.extend(later.key.map(|key| (key, later.name)));
        }
        Ok(found)
    }

    /// What this run has in `cur/`, in the order of delivery.
    fn own_claims(&self) -> Result<Vec<Claimed>> {
        let start = format!("{},", self.claimant);
        let mut own = Vec::new();
        for name in entries(&self.inbox.cur_dir())? {
            if let Some(posted) = name.as_bytes().strip_prefix(start.as_bytes())
                && !is_progress(&name)
            {
                own.push(Claimed::found(&self.inbox, &name, std::ffi::OsStr::from_bytes(posted)));
            }
        }
        own.sort_by_cached_key(base_name);
        Ok(own)
    }
}

/// Whether an earlier message of this key was given back. A later one is none of its business: two that wait for
/// each other would wait for ever.
fn waits_behind(given_back: &[(OrderKey, FileName)], key: &OrderKey, name: &FileName) -> bool {
    given_back
        .iter()
        .any(|(other, waiting)| other == key && waiting.place() < name.place())
}

/// The name under which the pieces of a claimed file sort.
pub(super) fn base_name(claimed: &Claimed) -> FileName {
    FileName::of(claimed.name(), arrival_of(claimed.path()))
}

/// When a file came to where it is, as far as its folder tells.
fn arrival_of(path: &Path) -> Stamp {
    fs::symlink_metadata(path).map_or(Stamp(0), |found| micros(found.ctime(), found.ctime_nsec()))
}
