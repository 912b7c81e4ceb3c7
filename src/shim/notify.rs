//! Hears a bot that speaks sd_notify and says the same into its outbox, so that it is one of those that speak
//! the spool, whether a supervisor listens at this moment or not.
//!
//! What a bot repeats costs no more than its newest word: a word that nobody has read yet is replaced.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use serde_json::{Value, json};

use super::datagram::{Word, words};
use crate::clock;
use crate::model::message::{Envelope, Kind};
use crate::model::units::Moment;
use crate::run::orders::{NotifyOrders, VIA_NOTIFY};
use crate::spool::heartbeat::write_heartbeat;
use crate::spool::{Durability, Mailbox, Posted, Poster, new_id};

/// The protocol's own bound is the page.
const DATAGRAM_BYTES_MAX: usize = 4096;
/// Datagrams in one turn: a bot that sends without end must not keep the shim from its signals. It waits
/// meanwhile, for the kernel holds only a few.
const DATAGRAMS_PER_TURN: usize = 16;
/// Words of one kind are passed on at most this often.
const WORD_INTERVAL: Duration = Duration::from_millis(500);
/// Beats are passed on at most this often, and often enough for the shortest patience.
const BEAT_INTERVAL_MAX: Duration = Duration::from_millis(100);

/// The bot's socket. A bot that sends nothing costs no more than that.
pub(super) struct Notify {
    socket: UnixDatagram,
    orders: NotifyOrders,
    bot: String,
    pace: Pace,
    voice: Option<Box<Voice>>,
}

/// What is needed to post once the bot has spoken.
struct Voice {
    outbox: Mailbox,
    poster: Poster,
    /// The last post of each word that is replaced while nobody has read it.
    status: Option<Posted>,
    extension: Option<Posted>,
}

impl Notify {
    /// Makes the socket in which the bot finds whoever listens. The error is one line.
    pub(super) fn open(orders: &NotifyOrders, bot: &str) -> Result<Notify, String> {
        let address = Path::new(&orders.address);
        let socket = bind(address).map_err(|source| format!("cannot make {}: {source}", orders.address))?;
        Ok(Notify {
            socket,
            pace: Pace::new(Duration::from_millis(orders.watchdog_ms)),
            orders: orders.clone(),
            bot: bot.to_owned(),
            voice: None,
        })
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// When a word that was put off is to be passed on.
    pub(super) fn due_at(&self) -> Option<Moment> {
        self.pace.due_at()
    }

    /// Passes on what the bot has said until now. Returns the longest time that it asks for, counted from
    /// now.
    pub(super) fn hear(&mut self) -> Option<Duration> {
        let mut buffer = [0u8; DATAGRAM_BYTES_MAX + 1];
        let mut more_time = None;
        for _ in 0..DATAGRAMS_PER_TURN {
            let Ok(count) = self.socket.recv(&mut buffer) else {
                break;
            };
            // A longer one arrives cut, and half of it may mean something else.
            if count > DATAGRAM_BYTES_MAX {
                continue;
            }
            for word in words(&buffer[..count]) {
                if let Word::Extend(length) = word {
                    more_time = more_time.max(Some(length));
                }
                self.pace.take(word);
            }
        }
        self.pass_on();
        more_time
    }

    /// Passes on what is due by now. What cannot be written is lost, as with any bot: a full disk must not
    /// stop the shim.
    pub(super) fn pass_on(&mut self) {
        for word in self.pace.due(clock::now()) {
            let _ = self.say(word);
        }
    }

    /// The bot has ended: whatever it said last is passed on.
    pub(super) fn finish(&mut self) {
        self.hear();
        for word in self.pace.rest() {
            let _ = self.say(word);
        }
    }

    fn say(&mut self, word: Word) -> crate::spool::Result<()> {
        let (name, payload) = match word {
            Word::Alive => return self.beat(),
            Word::Ready => ("ready", json!({})),
            Word::Stopping => ("stopping", json!({})),
            Word::Triggered => ("watchdog_triggered", json!({})),
            Word::Status(text) => ("status", json!({ "text": text })),
            Word::Extend(length) => ("extend_timeout", json!({ "usec": length.as_micros() as u64 })),
        };
        let envelope = self.envelope(Kind::Event, name, payload);
        let outbox = &self.orders.outbox;
        let voice = self.voice.get_or_insert_with(|| Voice::new(outbox));
        voice.post(envelope)
    }

    fn beat(&mut self) -> crate::spool::Result<()> {
        let beat = self.envelope(Kind::Heartbeat, "heartbeat", json!({}));
        write_heartbeat(&self.orders.outbox.join("tmp"), &self.orders.heartbeat, &beat)
    }

    fn envelope(&self, kind: Kind, name: &str, mut payload: Value) -> Envelope {
        let now = clock::stamp();
        payload["via"] = Value::from(VIA_NOTIFY);
        Envelope::new(new_id(now), kind, name, &self.bot, "supervisor", now).with_payload(payload)
    }
}

impl Drop for Notify {
    /// Nobody listens any more: a sender is told so by the missing file.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.orders.address);
    }
}

impl Voice {
    fn new(outbox: &Path) -> Box<Voice> {
        Box::new(Voice {
            outbox: Mailbox::new(outbox.to_owned()),
            poster: Poster::new(),
            status: None,
            extension: None,
        })
    }

    fn post(&mut self, envelope: Envelope) -> crate::spool::Result<()> {
        let mut last = match envelope.name.as_str() {
            "status" => Some(&mut self.status),
            "extend_timeout" => Some(&mut self.extension),
            _ => None,
        };
        if let Some(unread) = last.as_mut().and_then(|last| last.take()) {
            // Whoever is reading it reads both.
            let _ = self.outbox.retract(&unread);
        }
        let now = envelope.created_at;
        let posted = self.outbox.post(&mut self.poster, &[envelope], Durability::None, now)?;
        if let Some(last) = last {
            *last = Some(posted);
        }
        Ok(())
    }
}

/// Binds the socket; one of an earlier shim that was killed gives way. The lock of the bot is held.
fn bind(address: &Path) -> io::Result<UnixDatagram> {
    if let Some(folder) = address.parent() {
        let meta = make_folder(folder)?;
        let is_private = meta.is_dir()
            && meta.uid() == rustix::process::geteuid().as_raw()
            && meta.permissions().mode() & 0o077 == 0;
        if !is_private {
            return Err(io::Error::other(format!(
                "{} is not a private folder",
                folder.display()
            )));
        }
    }
    let socket = match UnixDatagram::bind(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            fs::remove_file(address)?;
            UnixDatagram::bind(address)?
        }
        other => other?,
    };
    fs::set_permissions(address, fs::Permissions::from_mode(0o600))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A run's own folder is there; the short one for deep homes may not be.
fn make_folder(folder: &Path) -> io::Result<fs::Metadata> {
    match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            crate::home::make_private(folder)?;
            fs::symlink_metadata(folder)
        }
        other => other,
    }
}

/// Decides which words are passed on, and when. Pure.
struct Pace {
    said: Vec<Word>,
    status: Paced<String>,
    extension: Paced<Duration>,
    beat: Paced<()>,
    once: Vec<Word>,
}

/// A word that may be repeated without end.
struct Paced<T> {
    interval: Duration,
    next_at: Moment,
    /// The newest one that was not passed on.
    pending: Option<T>,
}

impl<T> Paced<T> {
    fn new(interval: Duration) -> Paced<T> {
        Paced {
            interval,
            next_at: Moment::default(),
            pending: None,
        }
    }

    fn due_at(&self) -> Option<Moment> {
        self.pending.as_ref().map(|_| self.next_at)
    }

    fn due(&mut self, now: Moment) -> Option<T> {
        if self.next_at > now {
            return None;
        }
        let word = self.pending.take()?;
        self.next_at = now + self.interval;
        Some(word)
    }
}

impl Pace {
    /// `patience` is the silence that the supervisor bears.
    fn new(patience: Duration) -> Pace {
        Pace {
            said: Vec::new(),
            status: Paced::new(WORD_INTERVAL),
            extension: Paced::new(WORD_INTERVAL),
            beat: Paced::new(BEAT_INTERVAL_MAX.min(patience / 4)),
            once: Vec::new(),
        }
    }

    fn take(&mut self, word: Word) {
        match word {
            Word::Status(text) => self.status.pending = Some(text),
            Word::Extend(length) => self.extension.pending = Some(length),
            Word::Alive => self.beat.pending = Some(()),
            // These say it once and for all.
            Word::Ready | Word::Stopping | Word::Triggered => {
                if !self.once.contains(&word) {
                    self.once.push(word.clone());
                    self.said.push(word);
                }
            }
        }
    }

    fn due_at(&self) -> Option<Moment> {
        [self.status.due_at(), self.extension.due_at(), self.beat.due_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// What is to be passed on now, the status first: whoever sees the bot ready sees what it says as well.
    fn due(&mut self, now: Moment) -> Vec<Word> {
        let status = self.status.due(now).map(Word::Status);
        let extension = self.extension.due(now).map(Word::Extend);
        let beat = self.beat.due(now).map(|()| Word::Alive);
        let said = self.said.drain(..);
        status.into_iter().chain(extension).chain(beat).chain(said).collect()
    }

    /// Everything that was put off.
    fn rest(&mut self) -> Vec<Word> {
        self.due(Moment(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment(1_000_000 + ms * 1000)
    }

    fn status(text: &str) -> Word {
        Word::Status(text.to_owned())
    }

    #[test]
    fn a_flood_becomes_its_newest_word_at_times() {
        let mut pace = Pace::new(Duration::from_secs(60));
        let mut passed = Vec::new();
        for ms in 0..1700 {
            pace.take(status(&format!("{ms}")));
            passed.extend(pace.due(at(ms)));
        }
        assert_eq!(passed, ["0", "500", "1000", "1500"].map(status));
        assert_eq!(pace.due_at(), Some(at(2000)));
        assert_eq!(pace.due(at(2000)), [status("1699")]);
        assert_eq!((pace.due_at(), pace.due(at(9000))), (None, vec![]));
    }

    #[test]
    fn beats_come_through_as_often_as_patience_needs() {
        for (patience_ms, beats) in [(60_000, 10), (100, 40)] {
            let mut pace = Pace::new(Duration::from_millis(patience_ms));
            let passed = (0..1000).filter(|ms| {
                pace.take(Word::Alive);
                !pace.due(at(*ms)).is_empty()
            });
            assert_eq!(passed.count(), beats, "{patience_ms}");
        }
    }

    #[test]
    fn what_is_said_once_is_said_once_and_at_once() {
        let mut pace = Pace::new(Duration::from_secs(60));
        for word in [
            Word::Ready,
            Word::Ready,
            Word::Stopping,
            Word::Triggered,
            Word::Triggered,
            Word::Ready,
        ] {
            pace.take(word);
        }
        pace.take(status("serving"));
        let expected = [status("serving"), Word::Ready, Word::Stopping, Word::Triggered];
        assert_eq!(pace.due(at(0)), expected);
        pace.take(Word::Ready);
        assert_eq!(pace.due(at(5000)), []);
    }

    #[test]
    fn the_last_word_is_not_lost_with_the_bot() {
        let mut pace = Pace::new(Duration::from_secs(60));
        pace.take(status("working"));
        pace.due(at(0));
        pace.take(status("failed: no network"));
        assert_eq!(pace.due(at(1)), []);
        assert_eq!(pace.rest(), [status("failed: no network")]);
    }

    #[test]
    fn unread_words_are_replaced_and_the_socket_goes_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, outbox) = (dir.path().join("run"), dir.path().join("outbox"));
        Mailbox::new(outbox.clone()).create().unwrap();
        let orders = NotifyOrders {
            address: folder.join("notify").display().to_string(),
            outbox: outbox.clone(),
            heartbeat: dir.path().join("heartbeat"),
            watchdog_ms: 60_000,
        };
        for _ in 0..2 {
            // The second one finds what a killed shim leaves.
            std::mem::forget(Notify::open(&orders, "shop").unwrap());
        }
        let mut notify = Notify::open(&orders, "shop").unwrap();
        let bot = UnixDatagram::unbound().unwrap();
        let count = || fs::read_dir(outbox.join("new")).unwrap().count();
        for (text, files) in [
            ("READY=1\nSTATUS=one", 2),
            ("WATCHDOG=1\nnonsense", 2),
            ("STATUS=two", 2),
        ] {
            bot.send_to(text.as_bytes(), &orders.address).unwrap();
            assert_eq!(notify.hear(), None);
            assert_eq!(count(), files, "{text}");
        }
        bot.send_to(&[b'x'; DATAGRAM_BYTES_MAX + 9], &orders.address).unwrap();
        bot.send_to(b"EXTEND_TIMEOUT_USEC=3000000", &orders.address).unwrap();
        assert_eq!(notify.hear(), Some(Duration::from_secs(3)));
        assert!(orders.heartbeat.is_file());
        notify.finish();
        assert_eq!(count(), 3);
        let all: String = fs::read_dir(outbox.join("new"))
            .unwrap()
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        assert!(all.contains("two") && !all.contains("one\""), "{all}");
        drop(notify);
        assert!(!Path::new(&orders.address).exists());
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        let address = open.join("notify").display().to_string();
        let error = Notify::open(&NotifyOrders { address, ..orders }, "shop").err().unwrap();
        assert!(error.contains("is not a private folder"), "{error}");
    }
}
