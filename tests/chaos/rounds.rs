//! The rounds: blows of every kind while messages flow, then the reckoning.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::dice::Dice;
use crate::ledger::{self, Ledger};
use crate::strike::{self, Strike};
use crate::suite::harness::{Home, is_alive, kill, wait_until};
use crate::watch;

pub(crate) const BOTS: [&str; 3] = ["alpha", "beta", "gamma"];
const SENDERS: u64 = 2;
const ROUNDS: u64 = 6;
const SEED: u64 = 1;
/// A blow that waits for a point which does not come falls all the same.
const STRIKE_PATIENCE: Duration = Duration::from_millis(300);

/// Nothing waits long, and nobody gives up: it is the supervisor's crashes that are tried here.
const SETTINGS: &str = "\
start_delay: 0s
sampling: {period: off}
defaults:
  ready: {min_uptime: 0s}
  restart: {delay: 10ms, factor: 1, max_restarts: 100000}
  stop: {grace: 5s}
";

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().expect(name))
}

#[test]
fn nothing_is_lost_and_nobody_runs_twice() {
    let rounds = from_environment("MULTIBOT_CHAOS_ROUNDS", ROUNDS);
    let seed = from_environment("MULTIBOT_CHAOS_SEED", SEED);
    let home = Home::with_settings(SETTINGS);
    for bot in BOTS {
        home.ok(&["bot", "create", bot]);
    }
    let mut ledger = Ledger::default();
    for number in 0..rounds {
        let round_seed = seed + number;
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            round(&home, round_seed, &mut ledger);
        }));
        assert!(
            outcome.is_ok(),
            "round {number} failed: MULTIBOT_CHAOS_SEED={round_seed} MULTIBOT_CHAOS_ROUNDS=1"
        );
    }
    let hits = strike::HITS.load(Ordering::Relaxed);
    println!("{rounds} rounds from seed {seed}, {hits} blows right before a rename, unlink or fsync: {ledger}");
}

fn round(home: &Home, seed: u64, ledger: &mut Ledger) {
    home.run(&["start"]);
    let is_over = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch::until(home, &BOTS, &is_over));
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let is_over = &is_over;
                scope.spawn(move || ledger::send_until(home, Dice::new(seed * SENDERS + sender), is_over))
            })
            .collect();
        strike_round(home, &mut Dice::new(seed));
        is_over.store(true, Ordering::Relaxed);
        let sent: Vec<_> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
        watcher.join().unwrap();
        sent
    });
    for part in sent {
        ledger.add(part);
    }
    calm(home, ledger);
}

/// A handful of blows, with pauses of any length between them.
fn strike_round(home: &Home, dice: &mut Dice) {
    for _ in 0..3 + dice.below(5) {
        std::thread::sleep(Duration::from_micros(dice.below(120_000)));
        blow(home, dice);
    }
}

fn blow(home: &Home, dice: &mut Dice) {
    let bot = dice.pick(&BOTS);
    let supervisor = watch::supervisor(home);
    let (run, shim) = watch::processes_of_run(home, bot);
    match dice.below(10) {
        0 => end(supervisor),
        1 => end(shim),
        2 => end(run),
        3 => strike_at(supervisor, dice),
        4 => strike_at(run, dice),
        5 => strike_at(shim, dice),
        6 => drop(home.run(&["bot", "restart", bot])),
        7 => interrupted(home, dice, &["bot", "stop", bot]),
        8 => interrupted(home, dice, &["start"]),
        _ => drop(home.run(&["start"])),
    }
    if supervisor.is_none() || dice.one_in(2) {
        home.run(&["start"]);
    }
}

fn end(pid: Option<u32>) {
    if let Some(pid) = pid {
        kill(pid, Signal::KILL);
    }
}

fn strike_at(pid: Option<u32>, dice: &mut Dice) {
    let nth = 1 + u32::try_from(dice.below(12)).unwrap();
    match pid.map(|pid| (pid, Strike::prepare(pid, nth))) {
        Some((_, Some(strike))) => drop(strike.carry_out(STRIKE_PATIENCE)),
        // No ptrace here: the blow falls wherever the process is.
        Some((pid, None)) => kill(pid, Signal::KILL),
        None => {}
    }
}

/// A command that is killed at any moment.
fn interrupted(home: &Home, dice: &mut Dice, args: &[&str]) {
    let command = home.spawn(args);
    std::thread::sleep(Duration::from_micros(dice.below(20_000)));
    kill(command.pid(), Signal::KILL);
}

/// Lets everything come to rest, and looks at what became of it.
fn calm(home: &Home, ledger: &mut Ledger) {
    for bot in BOTS {
        // A stop that was interrupted may have been stored or not.
        home.run(&["bot", "start", bot]);
    }
    wait_until("every bot runs", home, || home.run(&["start"]).status == Some(0));
    wait_until("everything accepted is answered or buried", home, || {
        ledger.settle(home, &BOTS);
        ledger.is_settled()
    });
    let supervisor = home.supervisor_pid();
    home.ok(&["stop"]);
    assert!(!is_alive(supervisor));
    home.assert_nothing_left();
    let database = rusqlite::Connection::open(home.path("multibot.db")).unwrap();
    let verdict: String = database
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(verdict, "ok");
}
