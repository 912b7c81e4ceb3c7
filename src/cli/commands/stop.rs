//! `multibot stop`

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::json;

use crate::cli::args::Stop;
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::clock;
use crate::model::bot::BotId;
use crate::model::limits::SWEEP_TIME_MAX;
use crate::model::units::Moment;
use crate::output::{self, Progress};
use crate::run::identity::Identity;
use crate::run::record::{RunRecord, read_exit};
use crate::run::{remains, strays};

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Asks the supervisor to end with all its bots and waits for it. A home without a supervisor may
/// still have bots whose supervisor was killed: those are ended here.
pub(in crate::cli) fn run(client: &Client, stop: &Stop) -> Result<Exit, Failure> {
    let begun = clock::now();
    if stop.keep_bots {
        return leave(client, stop, begun);
    }
    match client.supervisor() {
        None => {
            let strays = end_strays(client, stop, begun)?;
            end_marked(client)?;
            output::note(&match strays {
                0 => "no supervisor runs".to_owned(),
                count => format!("no supervisor runs; {count} bots without one are stopped"),
            });
        }
        Some(supervisor) => {
            let running = client
                .snapshot_of(&supervisor)
                .map_or(0, |it| it.bots.iter().filter(|bot| bot.pid.is_some()).count());
            ask(client, &supervisor, stop)?;
            wait_for_end(client, &supervisor, stop, running, begun)?;
            end_strays(client, stop, begun)?;
            output::note(&format!(
                "stopped: supervisor (pid {}) and {running} bots",
                supervisor.pid
            ));
        }
    }
    Ok(Exit::Done)
}

/// Ends the supervisor alone.
fn leave(client: &Client, stop: &Stop, begun: Moment) -> Result<Exit, Failure> {
    let Some(supervisor) = client.supervisor() else {
        output::note("no supervisor runs");
        return Ok(Exit::Done);
    };
    if let Err(failure) = client
        .store()
        .and_then(|store| client.audit(&store, "stop", None, "keep bots"))
    {
        output::note(&format!("this stop is not in the audit: {failure}"));
    }
    match client.call(&supervisor, "shutdown", json!({"keep_bots": true})) {
        Ok(_) | Err(Failure::NoSupervisor { .. }) => {}
        Err(failure) => return Err(failure),
    }
    while supervisor.is_alive() {
        check_time(stop.timeout, begun)?;
        std::thread::sleep(LOOK_EVERY);
    }
    let alive = match client.read_store()? {
        None => 0,
        Some(store) => {
            let bots = store.bots().list()?;
            let runs = bots.iter().filter_map(|bot| client.last_run(&bot.id));
            runs.filter(|run| run.process.is_alive()).count()
        }
    };
    let go_on = if alive == 1 {
        "1 bot goes on".to_owned()
    } else {
        format!("{alive} bots go on")
    };
    output::note(&format!(
        "stopped: supervisor (pid {}); {go_on}, and the next start takes over",
        supervisor.pid
    ));
    Ok(Exit::Done)
}

/// The word goes through the inbox. A supervisor that does not take it is killed if the operator
/// forces it; its bots are then ended by the signals that their shims obey.
fn ask(client: &Client, supervisor: &Identity, stop: &Stop) -> Result<(), Failure> {
    let mode = if stop.force { "forced" } else { "graceful" };
    // A full disk or a broken store is no reason to let the bots run on.
    if let Err(failure) = client
        .store()
        .and_then(|store| client.audit(&store, "stop", None, mode))
    {
        output::note(&format!("this stop is not in the audit: {failure}"));
    }
    match client.call(supervisor, "shutdown", json!({"mode": mode})) {
        Ok(_) | Err(Failure::NoSupervisor { .. }) => Ok(()),
        Err(Failure::NoAnswer { pid }) if stop.force => {
            output::note(&format!("the supervisor (pid {pid}) does not answer and is killed"));
            signal(supervisor, Signal::KILL);
            Ok(())
        }
        Err(Failure::Spool(error)) => {
            output::note(&format!("{error}; the supervisor is asked by a signal instead"));
            signal(supervisor, Signal::TERM);
            Ok(())
        }
        // A second stop while the first goes on only waits with it.
        Err(Failure::Supervisor(_)) => Ok(()),
        Err(failure) => Err(failure),
    }
}

fn wait_for_end(
    client: &Client,
    supervisor: &Identity,
    stop: &Stop,
    running: usize,
    begun: Moment,
) -> Result<(), Failure> {
    let progress = Progress::start("stopping", running);
    while supervisor.is_alive() {
        if let Some(snapshot) = client.snapshot_of(supervisor) {
            let open: Vec<_> = snapshot.bots.iter().filter(|bot| bot.pid.is_some()).collect();
            progress.set(
                running.saturating_sub(open.len()),
                open.first().map_or("", |bot| &bot.id),
            );
        }
        check_time(stop.timeout, begun)?;
        std::thread::sleep(LOOK_EVERY);
    }
    progress.finish();
    Ok(())
}

fn check_time(timeout: Option<Duration>, begun: Moment) -> Result<(), Failure> {
    match timeout {
        Some(after) if clock::now().since(begun) >= after => Err(Failure::TimedOut {
            what: "not everything is stopped".to_owned(),
            after,
        }),
        Some(_) | None => Ok(()),
    }
}

/// Ends all bots whose shim lives although no supervisor does; says how many there were.
fn end_strays(client: &Client, stop: &Stop, begun: Moment) -> Result<usize, Failure> {
    let Some(store) = client.read_store()? else {
        return Ok(0);
    };
    let bots = store.bots().list()?;
    let strays: Vec<RunRecord> = bots.iter().filter_map(|bot| stray(client, &bot.id)).collect();
    end_all(&strays, stop.force, stop.timeout, begun)?;
    Ok(strays.len())
}

/// Ends what bears this home's marks and belongs to no shim and no record.
fn end_marked(client: &Client) -> Result<(), Failure> {
    let Some(store) = client.read_store()? else {
        return Ok(());
    };
    let found = strays::of_home(&store.home_id()?, &client.home.dir().join("ipc"));
    let runs: BTreeMap<String, String> = found.into_iter().map(|it| (it.run_id, it.bot)).collect();
    for (run, bot) in runs {
        remains::clear_marked(&run, SWEEP_TIME_MAX)
            .map_err(|pid| Failure::Refused(format!("{bot}: pid {pid} cannot be killed")))?;
    }
    Ok(())
}

/// Ends one bot that runs without a supervisor, if it does.
pub(super) fn end_stray(client: &Client, bot: &BotId, force: bool, timeout: Option<Duration>) -> Result<(), Failure> {
    end_all(&Vec::from_iter(stray(client, bot)), force, timeout, clock::now())
}

fn stray(client: &Client, bot: &BotId) -> Option<RunRecord> {
    let dir = client.home.run_of(bot);
    let record = client.last_run(bot)?;
    let has_ended =
        matches!(read_exit(&dir), Ok(Some(exit)) if exit.run_id == record.run_id && exit.survivors.is_empty());
    let is_left = !has_ended && !remains::living(&record).is_empty();
    (record.shim.is_alive() || is_left).then_some(record)
}

fn end_all(strays: &[RunRecord], force: bool, timeout: Option<Duration>, begun: Moment) -> Result<(), Failure> {
    let word = if force { Signal::QUIT } else { Signal::TERM };
    for stray in strays {
        signal(&stray.shim, word);
    }
    while strays.iter().any(|stray| stray.shim.is_alive()) {
        check_time(timeout, begun)?;
        std::thread::sleep(LOOK_EVERY);
    }
    // Whose shim was killed has nobody else to end it.
    for stray in strays {
        remains::clear(stray, SWEEP_TIME_MAX)
            .map_err(|pid| Failure::Refused(format!("{}: pid {pid} cannot be killed", stray.bot)))?;
    }
    Ok(())
}

/// Signals exactly this process; one that has ended needs none.
pub(super) fn signal(process: &Identity, signal: Signal) {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else {
        return;
    };
    if let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty())
        && process.is_alive()
    {
        let _ = pidfd_send_signal(&pidfd, signal);
        let _ = pidfd_send_signal(&pidfd, Signal::CONT);
    }
}
