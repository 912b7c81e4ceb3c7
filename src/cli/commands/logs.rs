//! `multibot logs`, and the logs that `multibot up` shows.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use serde_json::json;

use crate::cli::args::{LogOwner, Logs};
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::clock;
use crate::log::{Follower, LogLine, Query, Stream, merge, tail, tail_and_follow};
use crate::model::bot::BotId;
use crate::output::{self, Paint, Style};

/// Lines that are shown unless something else is asked for.
const LINES: usize = 100;
/// How often logs are looked at while they are followed and cannot be watched.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often bots that were created meanwhile are looked for.
const NEW_BOTS_EVERY: Duration = Duration::from_secs(1);

/// How the supervisor's own log is called among those of bots.
const SUPERVISOR: &str = "supervisor";

pub(in crate::cli) fn run(client: &Client, logs: &Logs) -> Result<Exit, Failure> {
    let since = logs.since.map(|since| since.from(clock::stamp()));
    let wanted = |line: &LogLine| {
        (!logs.err || line.stream == Stream::Err)
            && since.is_none_or(|since| line.at >= since)
            && logs.grep.as_ref().is_none_or(|grep| grep.is_match(&line.text))
    };
    let lines = logs.lines.unwrap_or(if since.is_some() { usize::MAX } else { LINES });
    let query = Query {
        lines,
        since,
        wanted: &wanted,
    };
    let sources = sources(client, &logs.owners)?;
    let printer = Printer {
        style: Style::of_stdout(),
        as_json: logs.json,
        has_names: logs.owners.len() != 1,
    };
    if !logs.follow {
        let tails = sources
            .iter()
            .map(|source| tail(&source.path, &query))
            .collect::<Result<Vec<_>, _>>()?;
        printer.newest(&sources, tails, lines)?;
        return Ok(Exit::Done);
    }
    let mut followed = Followed::default();
    let tails = followed.add(sources, &query)?;
    printer.newest(&followed.sources, tails, lines)?;
    // A follower that names its bots shows those; one that shows all shows new ones as well.
    let discover = logs.owners.is_empty().then_some(client);
    followed.run(&printer, &wanted, discover, &AtomicBool::new(false))?;
    Ok(Exit::Done)
}

/// One log and whose it is.
#[derive(Clone, Debug, PartialEq)]
struct Source {
    name: String,
    path: PathBuf,
}

/// The logs that are meant: those named, else all of them and the supervisor's.
fn sources(client: &Client, owners: &[LogOwner]) -> Result<Vec<Source>, Failure> {
    let of_supervisor = || Source {
        name: SUPERVISOR.to_owned(),
        path: client.home.supervisor_log(),
    };
    let of_bot = |bot: &BotId| Source {
        name: bot.to_string(),
        path: client.home.log_of(bot),
    };
    if owners.is_empty() {
        let bots = match client.read_store()? {
            Some(store) => store.bots().list()?,
            None => Vec::new(),
        };
        return Ok(bots
            .iter()
            .map(|bot| of_bot(&bot.id))
            .chain([of_supervisor()])
            .collect());
    }
    owners
        .iter()
        .map(|owner| match owner {
            LogOwner::Supervisor => Ok(of_supervisor()),
            // The log of a bot that was removed can still be read.
            LogOwner::Bot(bot) if client.home.log_of(bot).exists() => Ok(of_bot(bot)),
            LogOwner::Bot(bot) => client.known(std::slice::from_ref(bot)).map(|()| of_bot(bot)),
        })
        .collect()
}

struct Printer {
    style: Style,
    as_json: bool,
    has_names: bool,
}

impl Printer {
    /// The last lines of several logs together.
    fn newest(&self, sources: &[Source], logs: Vec<Vec<LogLine>>, lines: usize) -> Result<(), Failure> {
        let merged = merge(logs);
        let skip = merged.len().saturating_sub(lines);
        merged
            .iter()
            .skip(skip)
            .try_for_each(|(index, line)| self.print(&sources[*index], line))
    }

    fn print(&self, source: &Source, line: &LogLine) -> Result<(), Failure> {
        let (at, stream) = (line.at, line.stream.word());
        if self.as_json {
            let record = json!({"at": at.to_string(), "bot": source.name, "stream": stream, "text": line.text});
            return Ok(output::record(&record)?);
        }
        // A terminal must not obey what a bot has written; a pipe gets it as it was.
        let text = match self.style.width() {
            Some(_) => output::visible(&output::uncoloured(&line.text)),
            None => line.text.clone(),
        };
        let stream = match line.stream {
            Stream::Out => stream.to_owned(),
            Stream::Err => self.style.paint(Paint::Warning, stream),
        };
        let name = if self.has_names {
            format!(
                "{} ",
                self.style
                    .paint(Paint::of_name(&source.name), &format!("[{}]", source.name))
            )
        } else {
            String::new()
        };
        Ok(output::out(&format!("{at} {name}{stream} {text}"))?)
    }
}

/// Logs that are being followed.
#[derive(Default)]
struct Followed {
    sources: Vec<Source>,
    followers: Vec<Follower>,
}

impl Followed {
    /// Follows more logs; returns their newest lines.
    fn add(&mut self, sources: Vec<Source>, query: &Query<'_>) -> Result<Vec<Vec<LogLine>>, Failure> {
        let mut tails = Vec::new();
        for source in sources {
            let (lines, follower) = tail_and_follow(&source.path, query)?;
            tails.push(lines);
            self.sources.push(source);
            self.followers.push(follower);
        }
        Ok(tails)
    }

    /// Prints what is added until told to finish, or until nobody reads on.
    fn run(
        &mut self,
        printer: &Printer,
        wanted: &dyn Fn(&LogLine) -> bool,
        discover: Option<&Client>,
        finish: &AtomicBool,
    ) -> Result<(), Failure> {
        let changes = self.followers.first().and_then(|follower| watch(follower.directory()));
        let mut looked_at = clock::now();
        loop {
            let is_last = finish.load(Ordering::Relaxed);
            let added = self
                .followers
                .iter_mut()
                .map(Follower::poll)
                .collect::<Result<Vec<_>, _>>()?;
            for (index, line) in merge(added).iter().filter(|(_, line)| wanted(line)) {
                printer.print(&self.sources[*index], line)?;
            }
            if is_last {
                return Ok(());
            }
            match &changes {
                Some((_, changes)) => {
                    let _ = changes.recv_timeout(NEW_BOTS_EVERY);
                    while changes.try_recv().is_ok() {}
                }
                None => std::thread::sleep(LOOK_EVERY),
            }
            if let Some(client) = discover.filter(|_| clock::now().since(looked_at) >= NEW_BOTS_EVERY) {
                looked_at = clock::now();
                self.discover(client, printer, wanted)?;
            }
        }
    }

    /// Follows the logs of bots that are new, from their first line.
    fn discover(
        &mut self,
        client: &Client,
        printer: &Printer,
        wanted: &dyn Fn(&LogLine) -> bool,
    ) -> Result<(), Failure> {
        let fresh: Vec<Source> = sources(client, &[])?
            .into_iter()
            .filter(|source| !self.sources.contains(source))
            .collect();
        let first = self.sources.len();
        let tails = self.add(
            fresh,
            &Query {
                lines: usize::MAX,
                since: None,
                wanted,
            },
        )?;
        for (index, line) in merge(tails) {
            printer.print(&self.sources[first + index], &line)?;
        }
        Ok(())
    }
}

/// Wakes whenever something in the folder of logs changes; None where it cannot be watched.
fn watch(folder: &std::path::Path) -> Option<(RecommendedWatcher, Receiver<()>)> {
    let (sender, changes) = channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading a log raises events of its own.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            let _ = sender.send(());
        }
    })
    .ok()?;
    watcher.watch(folder, RecursiveMode::NonRecursive).ok()?;
    Some((watcher, changes))
}

/// A thread that shows all logs from now on.
pub(super) struct Following {
    finish: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Following {
    /// Shows what is left, and ends.
    pub(super) fn finish(self) {
        self.finish.store(true, Ordering::Relaxed);
        // A panic in there has already been told.
        let _ = self.thread.join();
    }
}

/// Starts to show all logs of a home, with what is added from now on.
pub(super) fn follow_all(client: &Client) -> Result<Following, Failure> {
    let client = Client {
        home: client.home.clone(),
    };
    let nothing = Query {
        lines: 0,
        since: None,
        wanted: &|_| true,
    };
    let mut followed = Followed::default();
    followed.add(sources(&client, &[])?, &nothing)?;
    let finish = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&finish);
    let printer = Printer {
        style: Style::of_stdout(),
        as_json: false,
        has_names: true,
    };
    let thread = std::thread::Builder::new()
        .name("logs".to_owned())
        .spawn(move || {
            match followed.run(&printer, &|_| true, Some(&client), &told) {
                Ok(()) => {}
                // As if the terminal had gone: a supervisor that nobody sees was not asked for.
                Err(Failure::Output(output::Error::Closed)) => {
                    output::note("nobody reads the logs any more: stopping");
                    // This process is there to hear it.
                    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
                }
                Err(failure) => output::error(&format!("logs are no longer shown: {failure}")),
            }
        })
        .map_err(Failure::io("cannot start to follow the logs"))?;
    Ok(Following { finish, thread })
}
