//! What publishing and reading a snapshot costs at 100 and 1000 bots, beside writing and reading the
//! same number of bytes as they are. Each bot has two probes and all limits, as a well watched fleet does.

use std::fs;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use multibot::run::identity::Identity;
use multibot::supervisor::snapshot::{
    BotStatus, LimitStatus, ProbeStatus, SNAPSHOT_VERSION, Snapshot, Stage, Supervisor,
};

const MEASURES: [&str; 8] = [
    "memory",
    "cpu",
    "open_files",
    "threads",
    "processes",
    "connections",
    "output",
    "halted",
];

fn limits() -> Vec<LimitStatus> {
    let limit = |what: &&str| LimitStatus {
        what: (*what).to_owned(),
        warn: Some(419_430_400.0),
        max: Some(524_288_000.0),
        level: "ok".to_owned(),
        ..LimitStatus::default()
    };
    MEASURES.iter().map(limit).collect()
}

fn probes() -> Vec<ProbeStatus> {
    let probe = |role: &str| ProbeStatus {
        name: "api".to_owned(),
        role: role.to_owned(),
        kind: "http".to_owned(),
        state: "passing".to_owned(),
        since: Some(1_795_477_595_216),
        answer: Some("HTTP 200".to_owned()),
        answered_at: Some(1_795_477_595_216),
        failures: 0,
    };
    vec![probe("liveness"), probe("readiness")]
}

fn snapshot(bots: u32) -> Snapshot {
    let bot = |index: u32| BotStatus {
        id: format!("bot-{index}"),
        index,
        platform: "none".to_owned(),
        wanted: "up".to_owned(),
        enabled: true,
        state: "running".to_owned(),
        reason: None,
        pid: Some(1000 + index),
        run_id: Some("01M85CVS2CGFFP0QF385J00CGA".to_owned()),
        started_at: Some(1_795_477_595_216),
        restarts: index % 3,
        last_exit: None,
        next_restart_at: None,
        memory_bytes: Some(20 << 20),
        cpu_percent: Some(1.5),
        heartbeat_at: Some(1_795_477_595_216),
        inbox_new: Some(0),
        inbox_cur: Some(0),
        inbox_later: Some(0),
        inbox_held: Some(0),
        inbox_oldest_at: None,
        dead: Some(0),
        connected: Some(true),
        limits: limits(),
        probes: probes(),
        ready: Some(true),
        open_files: Some(12),
        threads: Some(4),
        processes: Some(1),
        connections: Some(2),
        errors_per_minute: Some(0),
        ..BotStatus::default()
    };
    let identity = Identity {
        pid: 1,
        start_ticks: 1,
        boot_id: "boot".to_owned(),
        pid_ns: 1,
    };
    Snapshot {
        schema: SNAPSHOT_VERSION,
        generated_at: 1_795_477_595_216,
        supervisor: Supervisor {
            stage: Stage::Running,
            ..Supervisor::new(identity, "0.1.0", 1_795_477_595_216)
        },
        blocked: 0,
        blocked_permanent: 0,
        bots: (0..bots).map(bot).collect(),
    }
}

fn publish(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("status.json");
    let mut group = criterion.benchmark_group("snapshot");
    group.measurement_time(Duration::from_secs(3));
    for bots in [100, 1000] {
        let whole = snapshot(bots);
        let bytes = serde_json::to_vec(&whole).expect("a snapshot is JSON");
        group.bench_function(BenchmarkId::new("floor: write the bytes", bots), |bench| {
            bench.iter(|| fs::write(&path, &bytes).expect("writable"));
        });
        group.bench_function(BenchmarkId::new("encode and write", bots), |bench| {
            bench.iter(|| fs::write(&path, serde_json::to_vec(&whole).expect("JSON")).expect("writable"));
        });
        group.bench_function(BenchmarkId::new("floor: read the bytes", bots), |bench| {
            bench.iter(|| black_box(fs::read(&path).expect("readable")));
        });
        group.bench_function(BenchmarkId::new("read and decode", bots), |bench| {
            bench.iter(|| {
                let read: Snapshot = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
                black_box(read)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, publish);
criterion_main!(benches);
