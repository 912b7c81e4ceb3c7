//! What posting costs beside the bare steps that any durable mailbox must take: write, fsync, rename, fsync of
//! the folder. The two take turns, post by post, in one folder, and only one of them is timed: creating a file costs
//! ext4 more the more was deleted lately, and both must meet that alike. The ratio is what counts, not the times.
//!
//! After that come the rates of many producers and of batches (`spool/throughput.rs`). `-- --quick` shows that all of
//! it works, `-- rates` measures the rates only.

#![expect(clippy::print_stdout, reason = "a bench shows its figures")]

#[path = "spool/throughput.rs"]
mod throughput;

use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group};
use multibot::model::message::{Envelope, Kind};
use multibot::model::units::Stamp;
use multibot::spool::envelope::{Defaults, from_line, to_line};
use multibot::spool::{Durability, Mailbox, Poster, new_id};

const NOW: Stamp = Stamp(1_700_000_000_000_000);

fn message() -> Envelope {
    let payload = serde_json::json!({ "text": "x".repeat(60) });
    Envelope::new(new_id(NOW), Kind::Command, "send_message", "cli", "shop", NOW).with_payload(payload)
}

fn mailbox(dir: &Path) -> Mailbox {
    let mailbox = Mailbox::new(dir.join("inbox"));
    mailbox.create().expect("the mailbox is new");
    mailbox
}

fn empty(mailbox: &Mailbox) {
    for entry in fs::read_dir(mailbox.new_dir()).expect("new/ is there") {
        fs::remove_file(entry.expect("an entry").path()).expect("a file");
    }
}

/// One durable file without any check.
fn bare(tmp: &Path, new: &Path, name: &str, bytes: &[u8], sync: bool) -> std::io::Result<()> {
    let (from, to) = (tmp.join(name), new.join(name));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&from)?;
    file.write_all(bytes)?;
    if sync {
        file.sync_all()?;
    }
    fs::rename(from, to)?;
    if sync { File::open(new)?.sync_all() } else { Ok(()) }
}

/// Times `rounds` runs of `measured`, each after an untimed run of `other`; empties the mailbox now and then.
fn timed(mailbox: &Mailbox, rounds: u64, mut measured: impl FnMut(), mut other: impl FnMut()) -> Duration {
    let mut total = Duration::ZERO;
    for round in 0..rounds {
        other();
        let start = Instant::now();
        measured();
        total += start.elapsed();
        if round % 500 == 499 {
            empty(mailbox);
        }
    }
    empty(mailbox);
    total
}

fn post(bench: &mut Criterion) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on the disk that is measured");
    let mailbox = mailbox(dir.path());
    let (tmp, new) = (mailbox.dir().join("tmp"), mailbox.new_dir());
    let envelope = message();
    let line = to_line(&envelope);
    for (durability, label) in [(Durability::Batch, "synced"), (Durability::None, "unsynced")] {
        let mut number = 0u64;
        let mut bare = || {
            number += 1;
            let name = format!("5-{number:017}-{}.1.ndjson", envelope.id);
            bare(&tmp, &new, &name, line.as_bytes(), durability == Durability::Batch).expect("a bare post");
        };
        let mut poster = Poster::new();
        let mut spool = || {
            let sent = std::slice::from_ref(&envelope);
            mailbox.post(&mut poster, sent, durability, NOW).expect("a post");
        };
        let mut group = bench.benchmark_group(format!("post one message, {label}"));
        group.sample_size(20);
        group.bench_function("bare", |bencher| {
            bencher.iter_custom(|rounds| timed(&mailbox, rounds, &mut bare, &mut spool));
        });
        group.bench_function("spool", |bencher| {
            bencher.iter_custom(|rounds| timed(&mailbox, rounds, &mut spool, &mut bare));
        });
        group.finish();
    }
}

fn wire(bench: &mut Criterion) {
    let envelope = message();
    let line = to_line(&envelope);
    let defaults = Defaults {
        from: "cli",
        to: "shop",
        now: NOW,
    };
    bench.bench_function("envelope to line", |bencher| {
        bencher.iter(|| to_line(black_box(&envelope)))
    });
    bench.bench_function("line to envelope", |bencher| {
        bencher.iter(|| from_line(black_box(&line), &defaults));
    });
}

criterion_group!(benches, post, wire);

fn main() {
    let has = |word: &str| std::env::args().any(|arg| arg == word);
    if !has("rates") {
        benches();
        Criterion::default().configure_from_args().final_summary();
    }
    // `cargo test --benches` passes neither: it runs a bench once to see that it works.
    throughput::measure(has("--quick") || has("--test") || !has("--bench"));
}
