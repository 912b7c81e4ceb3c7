//! The keeper of one run: a small single-threaded process between the supervisor and a bot.
//!
//! It takes the bot's lock, makes sure that the previous run is gone, starts the bot, writes its
//! output to the log, and when the bot ends it ends every descendant and records how. It needs no
//! supervisor for any of that: after its first report it obeys two signals, SIGTERM (stop: the bot's
//! stop signal, grace, SIGKILL) and SIGQUIT (kill now), and speaks through files.
//!
//! Each byte and each page here is paid once per bot: nothing is allocated that is not needed.

mod capture;
mod datagram;
mod keeper;
mod limits;
mod notify;
mod spawn;
mod sweep;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::model::limits::{ORDERS_BYTES_MAX, SWEEP_TIME_MAX};
use crate::run::inheritance::receive_all_signals;
use crate::run::lock::Lock;
use crate::run::orders::{MediaOrders, Orders, Report};
use crate::run::{record, remains, strays};

/// Runs one bot to its end. The orders come over standard input, a socket, which also takes the
/// report; whatever cannot be done is told there.
pub fn main() {
    let _ = rustix::process::setsid();
    receive_all_signals();
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    // Not through std, which would keep a buffer of eight kilobytes for it.
    let Ok(fd) = rustix::stdio::stdin().try_clone_to_owned() else {
        return;
    };
    let mut supervisor = UnixStream::from(fd);
    let Some(orders) = receive(&mut supervisor) else { return };
    let _ = rustix::thread::set_name(&short_name(&orders.bot));
    let lock = match Lock::take(&orders.lock) {
        Ok(Some(lock)) => lock,
        Ok(None) => return report(&mut supervisor, &Report::Locked),
        Err(source) => {
            let why = format!("cannot lock {}: {source}", orders.lock.display());
            return report(&mut supervisor, &Report::SpawnFailed { why });
        }
    };
    if let Err(pid) = clear_previous(&orders) {
        return report(&mut supervisor, &Report::PreviousAlive { pid });
    }
    if let Some(media) = &orders.media
        && let Err(why) = prepare_media(media)
    {
        return report(&mut supervisor, &Report::SpawnFailed { why });
    }
    match limits::prepare(&orders.kernel) {
        Ok(in_force) => keeper::keep(orders, in_force, supervisor, &lock),
        Err(pid) => report(&mut supervisor, &Report::PreviousAlive { pid }),
    }
}

/// Reads one line of orders; None when the supervisor has gone or speaks another language.
fn receive(supervisor: &mut UnixStream) -> Option<Orders> {
    let mut line = Vec::new();
    let mut chunk = [0u8; 4096];
    while line.last() != Some(&b'\n') {
        let count = supervisor.read(&mut chunk).ok()?;
        if count == 0 || line.len() > 2 * ORDERS_BYTES_MAX {
            return None;
        }
        line.extend_from_slice(&chunk[..count]);
    }
    serde_json::from_slice(&line).ok()
}

/// Tells the supervisor what became of its orders. One that has died meanwhile will learn it from
/// the records.
fn report(supervisor: &mut UnixStream, report: &Report) {
    if let Ok(mut line) = serde_json::to_vec(report) {
        line.push(b'\n');
        let _ = supervisor.write_all(&line);
    }
}

/// The lock says that no shim lives, not that no bot does: one whose shim was killed may be left. A torn
/// record cannot say whom to look for; then everything that bears this bot's marks must be gone.
fn clear_previous(orders: &Orders) -> Result<(), u32> {
    match record::read_run(&orders.run_dir) {
        Ok(None) => Ok(()),
        Ok(Some(previous)) => {
            let exit = record::read_exit(&orders.run_dir);
            let ended = matches!(exit, Ok(Some(exit)) if exit.run_id == previous.run_id && exit.survivors.is_empty());
            if ended {
                Ok(())
            } else {
                remains::clear(&previous, SWEEP_TIME_MAX)
            }
        }
        Err(_) => clear_marked(orders),
    }
}

fn clear_marked(orders: &Orders) -> Result<(), u32> {
    let value = |name: &str| {
        let mut entries = orders.env.iter();
        entries
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value.as_str())
    };
    let inbox = Path::new(value("MULTIBOT_INBOX"));
    // ipc/<bot>/inbox
    let ipc = inbox.parent().and_then(Path::parent).unwrap_or(inbox);
    let found = strays::of_home(value("MULTIBOT_HOME_ID"), ipc);
    let runs: BTreeSet<String> = found
        .into_iter()
        .filter(|it| it.bot == orders.bot)
        .map(|it| it.run_id)
        .collect();
    runs.iter()
        .try_for_each(|run| remains::clear_marked(run, SWEEP_TIME_MAX))
}

/// Makes the bot's media folders, empty ones if so ordered. Whatever else lies in `media.dir` is not
/// multibot's: the operator may have named a folder that holds more.
fn prepare_media(media: &MediaOrders) -> Result<(), String> {
    let attempt = || -> std::io::Result<()> {
        for name in ["received", "outgoing", "sent"] {
            let folder = media.dir.join(name);
            if media.clean_on_start && folder.exists() {
                std::fs::remove_dir_all(&folder)?;
            }
            crate::home::make_private(&folder)?;
        }
        Ok(())
    };
    attempt().map_err(|source| format!("cannot prepare media folder {}: {source}", media.dir.display()))
}

/// Fifteen bytes are what the kernel shows.
fn short_name(bot: &str) -> std::ffi::CString {
    let name: String = format!("mb:{bot}").chars().filter(char::is_ascii).take(15).collect();
    std::ffi::CString::new(name).unwrap_or_default()
}

/// Whether the other end of this socket is closed.
fn has_hung_up(socket: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::RDHUP)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
}

/// A poll timeout from a length of time, exact to the nanosecond.
fn timespec(length: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(length.subsec_nanos()),
    }
}
