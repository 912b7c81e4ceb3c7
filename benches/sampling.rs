//! What one pass of the sampler costs, in CPU time of this process: over 10, 100 and 1000 runs, each a shell in
//! the place of its shim and a sleeping bot below it, with and without a limit on connections.
//!
//! `-- --quick` shows that it works.

#![expect(clippy::print_stdout, reason = "a bench tells its figures")]

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use multibot::model::bot::RunId;
use multibot::model::units::Moment;
use multibot::model::usage::Limits;
use multibot::monitor::sampler::{Sampler, Target};
use rustix::time::{ClockId, clock_gettime};

fn main() {
    let has = |word: &str| std::env::args().any(|arg| arg == word);
    // `cargo test --benches` does not pass --bench: it runs a bench once to see that it works.
    let quick = has("--quick") || has("--test") || !has("--bench");
    let (crowds, passes): (&[usize], u64) = if quick { (&[3], 2) } else { (&[10, 100, 1000], 20) };
    for runs in crowds {
        let mut crowd = Crowd::new(*runs);
        measure("as they are", &crowd, passes);
        for target in &mut crowd.targets {
            target.limits.connections.max = Some(100.0);
        }
        // Only where somebody has a connection are the files of the bots looked at one by one.
        let door = TcpListener::bind("127.0.0.1:0").expect("a port");
        let near = TcpStream::connect(door.local_addr().expect("an address")).expect("a connection");
        measure("with connections counted", &crowd, passes);
        drop(near);
    }
}

/// Runs that sleep; each shell ends when its input is closed.
struct Crowd {
    shims: Vec<Child>,
    targets: Vec<Target>,
}

impl Crowd {
    fn new(runs: usize) -> Crowd {
        let mut crowd = Crowd {
            shims: Vec::new(),
            targets: Vec::new(),
        };
        for number in 0..runs {
            let script = "sleep 100000 >/dev/null & echo $!; read x; kill $!";
            let mut shim = Command::new("sh")
                .args(["-c", script])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("a shell");
            let mut line = String::new();
            let told = shim.stdout.take().expect("its output");
            BufReader::new(told).read_line(&mut line).expect("a line");
            crowd.targets.push(Target {
                bot: format!("bot-{number}").parse().expect("an id"),
                run: RunId::parse(&format!("{number:026}")).expect("a run"),
                pid: line.trim().parse().expect("a pid"),
                limits: Limits::default(),
                known: Vec::new(),
            });
            crowd.shims.push(shim);
        }
        crowd
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for shim in &mut self.shims {
            drop(shim.stdin.take());
            let _ = shim.wait();
        }
    }
}

fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1000.0 + time.tv_nsec as f64 / 1e6
}

fn measure(name: &str, crowd: &Crowd, passes: u64) {
    let mut sampler = Sampler::new().expect("a /proc");
    let at = |pass: u64| Moment(pass * 5_000_000);
    // The first one learns what there is.
    sampler.pass(&crowd.targets, at(0));
    let mut costs: Vec<f64> = (1..=passes)
        .map(|pass| {
            let before = cpu_ms();
            let samples = sampler.pass(&crowd.targets, at(pass));
            assert_eq!(samples.len(), crowd.targets.len());
            assert!(
                samples
                    .iter()
                    .all(|it| it.usage.processes == 1 && it.usage.memory_bytes > 0)
            );
            cpu_ms() - before
        })
        .collect();
    costs.sort_by(f64::total_cmp);
    let (runs, p50, worst) = (crowd.targets.len(), costs[costs.len() / 2], costs[costs.len() - 1]);
    println!("  {runs:>5} runs, {name:<26} p50 {p50:7.2} ms of CPU  worst {worst:7.2} ms");
}
