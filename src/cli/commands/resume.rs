//! The hidden verbs behind `multibot upgrade`: a program that says whether it could take a home over, and
//! one that does, in the process of the program before it.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::start;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::config::read_supervisor;
use crate::daemon::{self, Hangup, Options, Outcome, Succession};
use crate::home::Home;
use crate::model::units::show_duration;
use crate::output;
use crate::run::SELF;
use crate::run::handover::{CheckReport, Handover, become_program};
use crate::run::inheritance::{hand_on, take_over};
use crate::run::lock::Lock;
use crate::store::Store;
use crate::supervisor::leave::Upgrade;
use crate::supervisor::process::Observer;
use crate::supervisor::snapshot::Stage;

/// Looks at a home and changes nothing in it.
pub(in crate::cli) fn check(home: &Home) -> Result<Exit, Failure> {
    let fault = read_supervisor(&home.settings()).err().map(|faults| faults.to_string());
    let report = match Store::outlook(&home.database()) {
        Ok(outlook) => CheckReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            found: outlook.found.to_string(),
            newest: outlook.newest.to_string(),
            breaks: outlook.breaks(),
            fault,
        },
        Err(error) => CheckReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            found: String::new(),
            newest: String::new(),
            breaks: false,
            fault: Some(error.to_string()),
        },
    };
    output::record(&report)?;
    Ok(Exit::Done)
}

/// Takes a home over. Whatever keeps this program from it within its time brings the one before it back.
pub(in crate::cli) fn resume(home: &Home, handover: Handover) -> Exit {
    // First of all, before anything else is opened.
    let previous = handover.previous.and_then(take_over);
    let lock = handover.lock.and_then(take_over);
    let lock = lock.and_then(|file| Lock::inherited(&home.supervisor_lock(), file).ok()?);
    let patience = Duration::from_millis(handover.patience_ms);
    let way_back = Arc::new(WayBack::of(home, &handover, previous, lock.as_ref()));
    let guard = Guard::arm(Arc::clone(&way_back), patience);
    if !handover.foreground {
        // A process that leads a session already stays where it is.
        let _ = rustix::process::setsid();
    }
    let options = Options {
        verbose: handover.verbose,
        hangup: Hangup::Reload,
        listener: handover.foreground.then(start::listener),
        observer: Some(observer(home, handover.foreground, guard)),
        succession: Some(Succession {
            lock,
            image: handover.image,
            came_back: handover.came_back.clone(),
        }),
        in_terminal: false,
    };
    match daemon::run(home, options) {
        Ok(outcome) => end(home, outcome, handover.foreground, handover.verbose),
        Err(error) => {
            if !way_back.is_well.load(Ordering::Acquire) {
                way_back.go(&error.to_string());
            }
            tracing::error!("{error}");
            crate::cli::ended(&error.into())
        }
    }
}

/// What the end of a supervisor's loop leads to.
pub(in crate::cli) fn end(home: &Home, outcome: Outcome, is_foreground: bool, verbose: u8) -> Exit {
    let ended = match outcome {
        Outcome::Upgrade { upgrade, lock, image } => {
            let handover = Handover {
                foreground: is_foreground,
                verbose,
                image,
                ..Handover::default()
            };
            Err(make_way(home, &upgrade, &lock, handover))
        }
        Outcome::AlreadyRunning { .. } if !is_foreground => Ok(Exit::Done),
        outcome => start::ended(outcome),
    };
    ended.unwrap_or_else(|failure| crate::cli::ended(&failure))
}

/// Becomes the next program, or, where that cannot be, this one anew. Returns only if neither can be.
fn make_way(home: &Home, upgrade: &Upgrade, lock: &Lock, handover: Handover) -> Failure {
    let attempt = || -> std::io::Result<std::io::Error> {
        let lock = lock.share()?;
        let previous = File::open(SELF)?;
        let next = Handover {
            lock: Some(hand_on(&lock)?),
            previous: Some(hand_on(&previous)?),
            image: handover.image + 1,
            patience_ms: u64::try_from(upgrade.patience.as_millis()).unwrap_or(u64::MAX),
            ..handover.clone()
        };
        let refused = become_program(&upgrade.program, home.dir(), &next);
        let anew = Handover {
            previous: None,
            came_back: Some(format!("cannot run {}: {refused}", upgrade.program.display())),
            ..next
        };
        // Its number must not be handed on for nothing.
        drop(previous);
        Ok(become_program(SELF.as_ref(), home.dir(), &anew))
    };
    let source = attempt().unwrap_or_else(|error| error);
    Failure::Io {
        what: "the supervisor has left its bots and cannot go on; run multibot start".to_owned(),
        source,
    }
}

/// How to become the program again that ran before.
struct WayBack {
    home: Home,
    previous: Option<OwnedFd>,
    lock: Option<OwnedFd>,
    handover: Handover,
    is_well: AtomicBool,
}

impl WayBack {
    fn of(home: &Home, handover: &Handover, previous: Option<OwnedFd>, lock: Option<&Lock>) -> WayBack {
        WayBack {
            home: home.clone(),
            previous,
            lock: lock.and_then(|lock| lock.share().ok()),
            handover: handover.clone(),
            is_well: AtomicBool::new(false),
        }
    }

    /// Returns only if there is no way back.
    fn go(&self, why: &str) {
        let Some(previous) = &self.previous else { return };
        let handover = Handover {
            lock: self.lock.as_ref().and_then(|lock| hand_on(lock).ok()),
            previous: None,
            image: self.handover.image + 1,
            came_back: Some(why.to_owned()),
            ..self.handover.clone()
        };
        tracing::error!("{why}; the previous program comes back");
        let program = PathBuf::from(format!("/proc/self/fd/{}", previous.as_raw_fd()));
        let error = become_program(&program, self.home.dir(), &handover);
        tracing::error!("the previous program cannot be run: {error}");
    }
}

/// Watches that this program is well in time, from before it does anything.
struct Guard {
    calm: Sender<()>,
    way_back: Arc<WayBack>,
}

impl Guard {
    fn arm(way_back: Arc<WayBack>, patience: Duration) -> Option<Guard> {
        way_back.previous.as_ref()?;
        let (calm, wait) = channel();
        let watched = Arc::clone(&way_back);
        let watch = move || match wait.recv_timeout(patience) {
            Err(RecvTimeoutError::Timeout) => {
                watched.go(&format!("it was not ready within {}", show_duration(patience)));
            }
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {}
        };
        // Without a thread the command that asked for the upgrade is the only guard.
        std::thread::Builder::new().name("guard".to_owned()).spawn(watch).ok()?;
        Some(Guard { calm, way_back })
    }

    fn disarm(&self) {
        self.way_back.is_well.store(true, Ordering::Release);
        // A guard that has ended needs no word.
        let _ = self.calm.send(());
    }
}

/// Calms the guard when the bots are under this program's care; else as in every supervisor.
fn observer(home: &Home, is_foreground: bool, guard: Option<Guard>) -> Observer {
    let tell = is_foreground.then(|| start::status_observer(home.clone(), output::note));
    Box::new(move |snapshot| {
        if snapshot.supervisor.stage == Stage::Running
            && let Some(guard) = &guard
        {
            guard.disarm();
        }
        if let Some(tell) = &tell {
            tell(snapshot);
        }
    })
}
