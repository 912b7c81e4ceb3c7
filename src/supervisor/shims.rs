//! The supervisor's side of its shims: starts them, hears their one report, sends them two signals,
//! and learns of their ends. A shim is always meant by its pidfd, never by a pid.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};

use crate::model::bot::{BotId, RunId};
use crate::run::identity::Identity;
use crate::run::orders::{Orders, Report};

/// The two things that epoll tells of a shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    Report,
    End,
}

/// Which shim, and what is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(u64);

impl Token {
    fn new(serial: u64, sign: Sign) -> Token {
        Token(serial << 1 | u64::from(sign == Sign::End))
    }

    fn serial(self) -> u64 {
        self.0 >> 1
    }

    fn sign(self) -> Sign {
        if self.0 & 1 == 1 { Sign::End } else { Sign::Report }
    }
}

/// A shim as its supervisor knows it.
struct Shim {
    bot: BotId,
    run: RunId,
    pidfd: OwnedFd,
    /// Open until the report has come. Closing it before tells the shim to leave.
    reports: Option<UnixStream>,
    heard: Heard,
}

/// What a shim has said so far.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Nothing,
    Spawned,
    Refused,
}

/// What happened to a shim.
pub enum ShimNews {
    Reported { bot: BotId, run: RunId, report: Report },
    Ended { bot: BotId, run: RunId, heard: Heard },
}

/// All shims of this supervisor, own and found.
pub struct Shims {
    epoll: Arc<OwnedFd>,
    by_serial: HashMap<u64, Shim>,
    serial_of: HashMap<RunId, u64>,
    next_serial: u64,
}

/// How long a new shim may leave its orders unread before the supervisor gives up on it: the orders
/// fit into the socket's buffer, so only a host in deep trouble comes near.
const ORDERS_TIME_MAX: Duration = Duration::from_secs(2);

impl Shims {
    /// `tell` is called from a thread of its own whenever a shim has something to be looked at.
    pub fn start(tell: impl Fn(Token) + Send + 'static) -> io::Result<Shims> {
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        let watched = Arc::clone(&epoll);
        std::thread::Builder::new().name("exits".to_owned()).spawn(move || {
            let mut ready = Vec::with_capacity(64);
            loop {
                ready.clear();
                match epoll::wait(watched.as_fd(), rustix::buffer::spare_capacity(&mut ready), None) {
                    Ok(_) => ready
                        .iter()
                        .for_each(|event: &epoll::Event| tell(Token(event.data.u64()))),
                    Err(rustix::io::Errno::INTR) => {}
                    Err(_) => return,
                }
            }
        })?;
        Ok(Shims {
            epoll,
            by_serial: HashMap::new(),
            serial_of: HashMap::new(),
            next_serial: 1,
        })
    }

    /// Starts a shim and hands it its orders.
    pub fn spawn(&mut self, bot: &BotId, run: &RunId, orders: &Orders) -> io::Result<()> {
        let (mut ours, theirs) = UnixStream::pair()?;
        let mut line = serde_json::to_vec(orders)?;
        line.push(b'\n');
        let child = Command::new("/proc/self/exe")
            .arg0("multibot")
            .arg(crate::run::SHIM_VERB)
            .arg(bot.as_str())
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::other("no pid"))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        ours.set_write_timeout(Some(ORDERS_TIME_MAX))?;
        let handed = ours.write_all(&line);
        ours.set_nonblocking(true)?;
        // A shim that could not be told leaves by itself; its end is news like any other.
        let reports = handed.is_ok().then_some(ours);
        self.insert(Shim {
            bot: bot.clone(),
            run: run.clone(),
            pidfd,
            reports,
            heard: Heard::Nothing,
        })
    }

    /// Takes up a shim of an earlier supervisor. None when it has ended meanwhile.
    pub fn take_up(&mut self, bot: &BotId, run: &RunId, shim: &Identity) -> io::Result<Option<()>> {
        let Some(pid) = i32::try_from(shim.pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(source) => return Err(source.into()),
        };
        // The pidfd holds this very process; only now is the look at its start time worth anything.
        if !shim.is_alive() {
            // One that ended while this process became another program is still its child.
            reap(pidfd.as_fd());
            return Ok(None);
        }
        // One that somebody has halted would neither log nor obey.
        let _ = pidfd_send_signal(pidfd.as_fd(), Signal::CONT);
        self.insert(Shim {
            bot: bot.clone(),
            run: run.clone(),
            pidfd,
            reports: None,
            heard: Heard::Spawned,
        })?;
        Ok(Some(()))
    }

    fn insert(&mut self, shim: Shim) -> io::Result<()> {
        let serial = self.next_serial;
        self.next_serial += 1;
        self.watch(shim.pidfd.as_fd(), Token::new(serial, Sign::End))?;
        if let Some(reports) = &shim.reports {
            self.watch(reports.as_fd(), Token::new(serial, Sign::Report))?;
        }
        self.serial_of.insert(shim.run.clone(), serial);
        self.by_serial.insert(serial, shim);
        Ok(())
    }

    /// One shot: a pidfd stays readable for ever once its process has ended.
    fn watch(&self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
        Ok(epoll::add(&*self.epoll, fd, epoll::EventData::new_u64(token.0), flags)?)
    }

    /// Looks at what a token told of.
    pub fn look(&mut self, token: Token) -> Vec<ShimNews> {
        let serial = token.serial();
        let mut news: Vec<ShimNews> = self.hear(serial).into_iter().collect();
        if token.sign() == Sign::End
            && let Some(shim) = self.by_serial.remove(&serial)
        {
            self.serial_of.remove(&shim.run);
            // Ours are reaped; those of an earlier supervisor have another parent.
            reap(shim.pidfd.as_fd());
            news.push(ShimNews::Ended {
                bot: shim.bot,
                run: shim.run,
                heard: shim.heard,
            });
        }
        news
    }

    /// Reads the one report of a shim, if it is there. It is far smaller than what a socket delivers
    /// in one piece.
    fn hear(&mut self, serial: u64) -> Option<ShimNews> {
        let shim = self.by_serial.get_mut(&serial)?;
        let mut reports = shim.reports.take()?;
        let mut line = Vec::new();
        // Ends at the shim's close, or with what is there of it now.
        let _ = reports.read_to_end(&mut line);
        let report: Report = serde_json::from_slice(&line).ok()?;
        shim.heard = if matches!(report, Report::Spawned { .. }) {
            Heard::Spawned
        } else {
            Heard::Refused
        };
        Some(ShimNews::Reported {
            bot: shim.bot.clone(),
            run: shim.run.clone(),
            report,
        })
    }

    /// Signals the shim of a run; one that has ended needs none.
    pub fn signal(&mut self, run: &RunId, signal: Signal) {
        let Some(shim) = self.serial_of.get(run).and_then(|serial| self.by_serial.get(serial)) else {
            return;
        };
        let _ = pidfd_send_signal(shim.pidfd.as_fd(), signal);
        // A shim that somebody halted must go on to obey.
        let _ = pidfd_send_signal(shim.pidfd.as_fd(), Signal::CONT);
    }

    /// Calls back orders that were not carried out yet: a shim whose socket closes leaves.
    pub fn call_back(&mut self, run: &RunId) {
        if let Some(shim) = self
            .serial_of
            .get(run)
            .and_then(|serial| self.by_serial.get_mut(serial))
            && shim.heard == Heard::Nothing
        {
            shim.reports = None;
        }
    }
}

/// Takes a child that has ended off the process table; somebody else's is left to its parent.
fn reap(process: BorrowedFd<'_>) {
    let _ = waitid(WaitId::PidFd(process), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
}
