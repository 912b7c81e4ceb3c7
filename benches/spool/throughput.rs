//! Durable messages per second for 1, 16 and 256 producers, and in batches: the product's own ways into an inbox
//! beside a bare write, fsync, rename, fsync loop and SQLite in WAL with synchronous=FULL, one insert a transaction.
//!
//! All contenders take turns within a round and start from the same state of the disk, so that a busy or a slow
//! moment meets them alike; a figure is the median of the rounds. Each has what it would have in use: SQLite one
//! connection behind a lock, a sender its own poster, everybody one inbox.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use multibot::model::message::Envelope;
use multibot::model::queue::{Durability, QueuePolicy};
use multibot::spool::envelope::{Defaults, to_line};
use multibot::spool::{DeadLetters, Delivery, Mailbox, Parcel, Poster, Shared, Submitted, Writer};
use rusqlite::Connection;

use crate::{NOW, bare, message};

/// Producers, and messages that each of them sends in a round.
const CROWDS: [(usize, usize); 3] = [(1, 256), (16, 32), (256, 8)];
/// What `multibot send BOT -` makes of its stdin: files of so many, here as many as a bot's inbox takes.
const BATCHES: usize = 16;
const BATCH: usize = 512;
const ROUNDS: usize = 9;

/// A way to bring messages to the disk; runs a round and says how long it took.
type Contender<'a> = (&'static str, Box<dyn Fn() -> Duration + 'a>);

/// Measures everything and prints it; `quick` only shows that all of it works.
pub(crate) fn measure(quick: bool) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on the disk that is measured");
    let ground = Ground::new(dir.path());
    let rounds = if quick { 1 } else { ROUNDS };
    println!("\ndurable messages per second, median of {rounds} rounds (part of the bare loop / of SQLite)");
    for (producers, each) in CROWDS {
        let each = if quick { each.min(8) } else { each };
        let contenders: Vec<Contender<'_>> = vec![
            (
                "bare write+fsync+rename+fsync",
                Box::new(|| ground.bare(producers, each)),
            ),
            ("SQLite WAL FULL", Box::new(|| ground.sqlite(producers, each))),
            (
                "submit, a sender that stays",
                Box::new(|| ground.submit(producers, each)),
            ),
            ("submit, a sender a message", Box::new(|| ground.send(producers, each))),
            (
                "the writer, one queue for all",
                Box::new(|| ground.hand_over(producers, each)),
            ),
            (
                "outbox to inbox, the writer",
                Box::new(|| ground.carry(producers, each)),
            ),
        ];
        let title = format!("{producers} producers x {each} messages");
        compare(&ground, &title, producers * each, rounds, &contenders);
    }
    let batches = if quick { 2 } else { BATCHES };
    let contenders: Vec<Contender<'_>> = vec![
        ("bare, a file a message", Box::new(|| ground.bare(1, 256))),
        ("bare, a file a batch", Box::new(|| ground.bare_batches(batches))),
        ("submit, batches of 512", Box::new(|| ground.batches(batches))),
    ];
    compare(
        &ground,
        &format!("{batches} batches x {BATCH} messages"),
        batches * BATCH,
        rounds,
        &contenders,
    );
}

/// Lets the contenders take turns, the first one another in each round.
fn compare(ground: &Ground, title: &str, messages: usize, rounds: usize, contenders: &[Contender<'_>]) {
    let mut rates = vec![Vec::new(); contenders.len()];
    for round in 0..rounds {
        for turn in 0..contenders.len() {
            let which = (round + turn) % contenders.len();
            let (name, run) = &contenders[which];
            // The one with a file a message would take minutes for as many as there are in batches.
            let sent = if *name == "bare, a file a message" {
                256
            } else {
                messages
            };
            rates[which].push(sent as f64 / run().as_secs_f64());
            ground.clear();
        }
    }
    let medians: Vec<f64> = rates.into_iter().map(median).collect();
    let sqlite = contenders.iter().position(|(name, _)| name.starts_with("SQLite"));
    println!("{title}");
    for ((name, _), rate) in contenders.iter().zip(&medians) {
        let of_bare = rate / medians[0];
        let of_sqlite = sqlite.map_or_else(String::new, |at| format!(" {:6.2} x SQLite", rate / medians[at]));
        println!("  {name:<32} {rate:>9.0} msg/s {of_bare:6.2} x bare{of_sqlite}");
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The folders in which all of it happens.
struct Ground {
    dir: PathBuf,
    inbox: Mailbox,
    policy: QueuePolicy,
    /// One for each producer that stays, from round to round.
    posters: Vec<Mutex<Poster>>,
    /// Names of files are never used twice.
    number: AtomicU64,
    database: Mutex<Connection>,
}

impl Ground {
    fn new(dir: &Path) -> Ground {
        let policy = QueuePolicy::default();
        let inbox = Mailbox::new(dir.join("shop/inbox")).bounded(&policy);
        inbox.create_inbox().expect("the inbox is new");
        for name in ["tmp", "new"] {
            fs::create_dir_all(dir.join("bare").join(name)).expect("the folder is new");
        }
        let database = Connection::open(dir.join("messages.db")).expect("a database");
        let setup = "pragma journal_mode = wal; pragma synchronous = full;
                     create table message (id integer primary key, line text not null);";
        database.execute_batch(setup).expect("a table");
        Ground {
            dir: dir.to_owned(),
            inbox,
            policy,
            posters: (0..256).map(|_| Mutex::default()).collect(),
            number: AtomicU64::new(0),
            database: Mutex::new(database),
        }
    }

    /// Takes everything away again and lets the disk come to rest.
    fn clear(&self) {
        let outboxes = fs::read_dir(&self.dir).expect("the folder is there");
        let outboxes = outboxes.map(|entry| entry.expect("an entry").path().join("outbox"));
        let folders = outboxes.chain([self.inbox.dir().to_owned(), self.dir.join("bare")]);
        for folder in folders.flat_map(|folder| [folder.join("new"), folder.join("cur")]) {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                fs::remove_file(entry.expect("an entry").path()).expect("a file");
            }
        }
        let database = self.database.lock().expect("nobody panicked");
        database
            .execute_batch("delete from message; pragma wal_checkpoint(truncate);")
            .expect("an empty table");
        rustix::fs::sync();
    }

    fn bare(&self, producers: usize, each: usize) -> Duration {
        let line = to_line(&message()) + "\n";
        crowd(producers, |_| (0..each).for_each(|_| self.bare_file(line.as_bytes())))
    }

    fn bare_batches(&self, batches: usize) -> Duration {
        let lines = (to_line(&message()) + "\n").repeat(BATCH);
        crowd(1, |_| (0..batches).for_each(|_| self.bare_file(lines.as_bytes())))
    }

    fn bare_file(&self, bytes: &[u8]) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let name = format!("5-{number:017}-01M85CVS2CGFFP0QF385J00CGA.1.ndjson");
        let dir = self.dir.join("bare");
        bare(&dir.join("tmp"), &dir.join("new"), &name, bytes, true).expect("a bare post");
    }

    fn sqlite(&self, producers: usize, each: usize) -> Duration {
        let line = to_line(&message());
        crowd(producers, |_| {
            for _ in 0..each {
                let database = self.database.lock().expect("nobody panicked");
                let mut insert = database
                    .prepare_cached("insert into message (line) values (?1)")
                    .expect("a statement");
                insert.execute([&line]).expect("an insert");
            }
        })
    }

    /// Senders that stay: a bot's runner, or whoever has the library.
    fn submit(&self, producers: usize, each: usize) -> Duration {
        crowd(producers, |number| {
            let mut poster = self.posters[number].lock().expect("nobody panicked");
            (0..each).for_each(|_| self.submit_one(&mut poster));
        })
    }

    /// What each `multibot send` does, without its process.
    fn send(&self, producers: usize, each: usize) -> Duration {
        crowd(producers, |_| {
            for _ in 0..each {
                self.inbox.create_inbox().expect("the inbox");
                self.submit_one(&mut Poster::new());
            }
        })
    }

    fn submit_one(&self, poster: &mut Poster) {
        let sent = [message()];
        let done = &mut Submitted::default();
        self.inbox
            .submit(poster, &sent, &self.policy, NOW, done)
            .expect("a post");
    }

    fn batches(&self, batches: usize) -> Duration {
        crowd(1, |_| {
            let mut poster = Poster::new();
            for _ in 0..batches {
                let sent: Vec<Envelope> = (0..BATCH).map(|_| message()).collect();
                let done = &mut Submitted::default();
                self.inbox
                    .submit(&mut poster, &sent, &self.policy, NOW, done)
                    .expect("a post");
            }
        })
    }

    /// The writer's group commit by itself: what comes while it waits for the disk goes into its next file.
    fn hand_over(&self, producers: usize, each: usize) -> Duration {
        let writer = Writer::start(|line| panic!("{line}")).expect("a thread");
        let writer = Mutex::new(writer);
        let start = Instant::now();
        crowd(producers, |_| {
            for _ in 0..each {
                let parcel = self.parcel(None, vec![message()]);
                writer.lock().expect("nobody panicked").deliver(parcel);
            }
        });
        drop(writer);
        start.elapsed()
    }

    fn parcel(&self, claimed: Option<Shared>, envelopes: Vec<Envelope>) -> Parcel {
        let to_inbox = |envelope| Delivery {
            inbox: self.inbox.clone(),
            policy: self.policy.clone(),
            envelope,
        };
        Parcel {
            claimed,
            deliveries: envelopes.into_iter().map(to_inbox).collect(),
            refused: Vec::new(),
            dead: DeadLetters::new(self.dir.join("dead")),
            now: NOW,
        }
    }

    /// From bots to a bot as the supervisor does it: each message lies in a file of its sender's outbox, which is
    /// claimed, read, delivered durably and only then taken away.
    fn carry(&self, producers: usize, each: usize) -> Duration {
        let outboxes: Vec<Mailbox> = (0..producers).map(|number| self.outbox(number)).collect();
        for outbox in &outboxes {
            let mut poster = Poster::new();
            for _ in 0..each {
                outbox
                    .post(&mut poster, &[message()], Durability::None, NOW)
                    .expect("a post");
            }
        }
        rustix::fs::sync();
        let start = Instant::now();
        let writer = Writer::start(|line| panic!("{line}")).expect("a thread");
        outboxes.iter().for_each(|outbox| self.carry_all(outbox, &writer));
        drop(writer);
        let time = start.elapsed();
        assert!(
            outboxes
                .iter()
                .all(|outbox| outbox.counts().expect("counts") == Default::default())
        );
        time
    }

    fn outbox(&self, number: usize) -> Mailbox {
        let outbox = Mailbox::new(self.dir.join(format!("sender-{number}/outbox")));
        outbox.create().expect("an outbox");
        outbox
    }

    fn carry_all(&self, outbox: &Mailbox, writer: &Writer) {
        let defaults = Defaults {
            from: "cli",
            to: "shop",
            now: NOW,
        };
        for entry in outbox.scan().expect("a scan") {
            let claimed = outbox
                .claim(&entry, "supervisor")
                .expect("a claim")
                .expect("nobody else");
            let envelopes = claimed.read(&defaults).expect("what was posted");
            writer.deliver(self.parcel(Some(Shared::new(claimed)), envelopes));
        }
    }
}

/// Runs so many at once; the time from the first start to the last end.
fn crowd(producers: usize, work: impl Fn(usize) + Sync) -> Duration {
    let start = Instant::now();
    thread::scope(|scope| {
        for number in 0..producers {
            let work = &work;
            scope.spawn(move || work(number));
        }
    });
    start.elapsed()
}
