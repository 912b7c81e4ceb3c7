//! What stamps, masking and rotation cost: lines on their way from a pipe's reads into the log file, against a plain
//! write of the same reads.

use std::fs::File;
use std::hint::black_box;
use std::io::Write;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use multibot::log::{Capture, LogFile, Mask, Stream};
use multibot::model::units::Stamp;

/// Bytes that one read of a busy pipe brings.
const READ_BYTES: usize = 4096;
const LINES: usize = 1000;

fn lines() -> Vec<u8> {
    (0..LINES)
        .map(|n| {
            format!(
                "INFO:shop:2026-11-23 22:33:01,{n:03} update {n} from chat 48151623{n:04} handled in 12.{n:03} ms\n"
            )
        })
        .collect::<String>()
        .into_bytes()
}

fn capture(bench: &mut Criterion) {
    let lines = lines();
    let dir = tempfile::tempdir().expect("a directory");
    let at = Stamp(1_700_000_000_000_000);
    let mut group = bench.benchmark_group("log");
    group.throughput(Throughput::Elements(LINES as u64));

    group.bench_function("plain write", |b| {
        let path = dir.path().join("plain.log");
        b.iter(|| {
            let mut file = File::create(&path).expect("a file");
            for read in lines.chunks(READ_BYTES) {
                file.write_all(black_box(read)).expect("write");
            }
        });
    });

    let mask = Mask::new(["123456789:AAEhBOweik9ai2o0c-nUcjUYLzUAD_qZ3Xk", "correct horse battery"]);
    group.bench_function("split, mask, stamp, write", |b| {
        let mut log = LogFile::open(dir.path().join("shop.log"), 10 << 20, 2);
        let mut capture = Capture::new(Stream::Out);
        b.iter(|| {
            for read in lines.chunks(READ_BYTES) {
                capture.push(black_box(read), at, &mask, &mut |lines| log.write(lines, at));
            }
        });
        assert!(log.fault().is_none());
    });
    group.bench_function("split, mask, stamp, write, a read for each line", |b| {
        let mut log = LogFile::open(dir.path().join("slow.log"), 10 << 20, 2);
        let mut capture = Capture::new(Stream::Out);
        b.iter(|| {
            for line in lines.split_inclusive(|&byte| byte == b'\n') {
                capture.push(black_box(line), at, &mask, &mut |lines| log.write(lines, at));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, capture);
criterion_main!(benches);
