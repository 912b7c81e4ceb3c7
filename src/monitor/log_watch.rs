//! The thread that reads the logs of bots: every period it counts error lines and looks for what probes of
//! logs wait for. It reads what the shims have written, so secrets are masked already.
//!
//! A bot that floods its log costs a bounded amount of reading; the older part of what it wrote is skipped.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use regex_lite::Regex;

use super::error_lines::{ErrorLines, Marks};
use crate::clock;
use crate::log::{Gap, RawLine, Tap};
use crate::model::bot::{BotId, RunId};
use crate::model::judging::{SIGNS_MIN, Sign, Signs};
use crate::model::limits::LOG_WATCH_BYTES_MAX;
use crate::model::units::{Stamp, show_size};

/// A bot whose log is to be read.
pub struct Target {
    pub run: RunId,
    pub path: PathBuf,
    /// Older lines are of earlier runs.
    pub since: Stamp,
    /// None: the usual marks of errors.
    pub errors_pattern: Option<String>,
    /// The patterns that probes wait for, by the probe's name.
    pub patterns: Vec<(String, String)>,
    /// What lines may say of the bot's platform.
    pub signs: Signs,
}

/// What one look found of one bot.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub bot: BotId,
    pub run: RunId,
    /// Errors in all lines that were read.
    pub errors: u64,
    /// Those of them that were written within the last minute.
    pub recent: u64,
    /// The newest line that matched, for each probe that had one.
    pub matched: Vec<Match>,
    /// Lines that are signs of what its platform says, oldest first.
    pub signs: Vec<(Stamp, String)>,
    /// What of its log was not read, in words; None: everything was.
    pub unread: Option<String>,
}

/// A line that a probe waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    pub probe: String,
    pub line: String,
    /// When it was written; None where that cannot be told.
    pub at: Option<Stamp>,
}

/// A bot to look at, or one that is not looked at any more.
pub type Order = (BotId, Option<Target>);

/// What a bot has written before it was first looked at: its start is in it.
const BEFORE_BYTES: u64 = 256 * 1024;
/// Enough of a line to recognise it.
const LINE_BYTES_MAX: usize = 200;
/// Lines that are signs, of one look: more say nothing more.
const SIGNS_MAX: usize = 8 * SIGNS_MIN;
/// Errors a minute are those of so long.
const RECENT: Duration = Duration::from_secs(60);

/// Starts the thread. `tell` is called once a pass with the bots of which there is something to tell, also when
/// there is none: silence is news to a probe.
pub fn start(period: Duration, tell: impl Fn(Vec<Finding>) + Send + 'static) -> io::Result<Sender<Order>> {
    let (sender, queue) = channel();
    std::thread::Builder::new()
        .name("logs".to_owned())
        .spawn(move || watch_all(&queue, period, &tell))?;
    Ok(sender)
}

fn watch_all(queue: &Receiver<Order>, period: Duration, tell: &impl Fn(Vec<Finding>)) {
    let mut watches: BTreeMap<BotId, Watch> = BTreeMap::new();
    let mut next_at = clock::now() + period;
    loop {
        let news = if watches.is_empty() {
            queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            queue.recv_timeout(next_at.since(clock::now()))
        };
        match news {
            Ok((bot, target)) => {
                if watches.is_empty() {
                    next_at = clock::now() + period;
                }
                match target {
                    Some(target) => match watches.get_mut(&bot) {
                        Some(watch) => watch.go_on(&bot, target),
                        None => {
                            let watch = Watch::begin(&bot, target);
                            watches.insert(bot, watch);
                        }
                    },
                    None => {
                        // Its last words.
                        let last = watches.remove(&bot).and_then(|mut watch| watch.look(&bot));
                        tell(last.into_iter().collect());
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                tell(watches.iter_mut().filter_map(|(bot, watch)| watch.look(bot)).collect());
                next_at = clock::now() + period;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What is remembered of one bot between two looks.
struct Watch {
    tap: Option<Tap>,
    target: Target,
    marks: Marks,
    lines: ErrorLines,
    patterns: Vec<(String, Regex)>,
    /// Something was skipped, or could not be read, and that was told.
    told: Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Trouble,
}

impl Watch {
    fn begin(bot: &BotId, target: Target) -> Watch {
        let mut watch = Watch {
            tap: None,
            marks: Marks::Usual,
            lines: ErrorLines::default(),
            patterns: Vec::new(),
            told: Told::Nothing,
            target,
        };
        match Tap::new(&watch.target.path, BEFORE_BYTES) {
            Ok(tap) => watch.tap = Some(tap),
            Err(error) => watch.tell_trouble(bot, &error.to_string()),
        }
        watch.compile();
        watch
    }

    /// The next run of the same bot, or other patterns: reading goes on where it was.
    fn go_on(&mut self, bot: &BotId, target: Target) {
        if self.tap.is_none() {
            *self = Watch::begin(bot, target);
            return;
        }
        if self.target.run != target.run {
            self.told = Told::Nothing;
        }
        self.target = target;
        self.compile();
    }

    fn compile(&mut self) {
        self.marks = Marks::of(self.target.errors_pattern.as_deref());
        let patterns = self.target.patterns.iter();
        // A pattern that is none was refused when it was written.
        self.patterns = patterns
            .filter_map(|(name, pattern)| Some((name.clone(), Regex::new(pattern).ok()?)))
            .collect();
    }

    fn look(&mut self, bot: &BotId) -> Option<Finding> {
        let mut tap = self.tap.take()?;
        let (mut errors, mut recent) = (0, 0);
        let mut matched: BTreeMap<&str, (String, Option<Stamp>)> = BTreeMap::new();
        let (since, now) = (self.target.since, clock::stamp());
        // Lines come in order: once one is of this run, the others are too.
        let mut is_ours = false;
        let mut signs = VecDeque::new();
        let (lines, marks, patterns, known) = (&mut self.lines, &self.marks, &self.patterns, &self.target.signs);
        let outcome = tap.read(LOG_WATCH_BYTES_MAX, |line: RawLine<'_>| {
            let at = line.at();
            is_ours = is_ours || at.is_some_and(|at| at >= since);
            if !is_ours {
                return;
            }
            if lines.count(marks, line.stream, line.text) {
                errors += 1;
                recent += u64::from(at.is_none_or(|at| now.since(at) < RECENT));
            }
            if known.has_lines() && known.meaning(Sign::Line(&String::from_utf8_lossy(line.text))).is_some() {
                signs.push_back((at.unwrap_or(now), String::from_utf8_lossy(line.text).into_owned()));
                if signs.len() > SIGNS_MAX {
                    signs.pop_front();
                }
            }
            for (name, pattern) in patterns {
                let text = String::from_utf8_lossy(line.text);
                if pattern.is_match(&text) {
                    matched.insert(name, (shortened(&text), at));
                }
            }
        });
        let matched: Vec<Match> = matched
            .into_iter()
            .map(|(probe, (line, at))| Match {
                probe: probe.to_owned(),
                line,
                at,
            })
            .collect();
        self.tap = Some(tap);
        let unread = match outcome {
            Ok(Gap::Nothing) => None,
            Ok(Gap::Bytes(skipped)) => Some(format!("{} of its log were not read", show_size(skipped))),
            Ok(Gap::Unknown) => Some("a part of its log was gone before it was read".to_owned()),
            Err(error) => {
                self.tell_trouble(bot, &error.to_string());
                Some("its log could not be read".to_owned())
            }
        };
        if let Some(unread) = &unread {
            self.tell_trouble(bot, &format!("{unread}: it writes too much"));
        }
        let is_told = errors > 0 || !matched.is_empty() || !signs.is_empty() || unread.is_some();
        is_told.then(|| Finding {
            bot: bot.clone(),
            run: self.target.run.clone(),
            errors,
            recent,
            matched,
            signs: signs.into(),
            unread,
        })
    }

    fn tell_trouble(&mut self, bot: &BotId, why: &str) {
        if self.told == Told::Nothing {
            tracing::warn!("{bot}: {why}");
            self.told = Told::Trouble;
        }
    }
}

fn shortened(line: &str) -> String {
    let end = line
        .char_indices()
        .map(|(at, _)| at)
        .take_while(|at| *at <= LINE_BYTES_MAX)
        .last();
    if line.len() <= LINE_BYTES_MAX {
        line.to_owned()
    } else {
        format!("{}…", &line[..end.unwrap_or_default()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn target(path: &std::path::Path, since: i64, patterns: &[&str]) -> Target {
        Target {
            run: RunId::parse(&format!("{since:026}")).unwrap(),
            path: path.to_owned(),
            since: Stamp(since),
            errors_pattern: None,
            patterns: patterns
                .iter()
                .map(|text| ((*text).to_owned(), (*text).to_owned()))
                .collect(),
            signs: Signs::of(crate::model::bot::Platform::Telegram, &Default::default()),
        }
    }

    fn append(path: &std::path::Path, at: i64, text: &str) {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        writeln!(file, "{} out {text}", Stamp(at)).unwrap();
    }

    #[test]
    fn lines_of_this_run_are_counted_and_matched_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.log");
        let bot: BotId = "shop".parse().unwrap();
        append(&path, 10, "ERROR of an earlier run, tick");
        append(&path, 20, "ERROR a");
        append(&path, 21, "tick 1");
        append(&path, 22, "tick 2");
        let mut watch = Watch::begin(&bot, target(&path, 15, &["tick", "tock"]));
        let found = watch.look(&bot).unwrap();
        assert_eq!(
            (found.errors, found.recent, found.matched),
            (
                1,
                0,
                vec![Match {
                    probe: "tick".into(),
                    line: "tick 2".into(),
                    at: Some(Stamp(22))
                }]
            ),
            "what was written long ago is no error of this minute"
        );
        assert_eq!(watch.look(&bot), None);
        append(&path, 30, "ERROR b");
        watch.go_on(&bot, target(&path, 25, &["ERROR"]));
        append(&path, 31, &format!("ERROR {}", "x".repeat(1000)));
        let found = watch.look(&bot).unwrap();
        assert_eq!(
            (found.errors, found.run),
            (2, RunId::parse(&format!("{:026}", 25)).unwrap())
        );
        assert!(found.matched[0].line.ends_with('…') && found.matched[0].line.len() < 210);
    }

    #[test]
    fn what_was_skipped_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.log");
        let bot: BotId = "shop".parse().unwrap();
        let now = clock::stamp();
        append(&path, now.0, "tick");
        let mut watch = Watch::begin(&bot, target(&path, now.0, &["tick"]));
        assert_eq!(watch.look(&bot).unwrap().unread, None);
        let line = format!("{} out {}\n", now, "y".repeat(1000));
        let mut flood = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        flood.write_all(line.repeat(10 * 1024).as_bytes()).unwrap();
        append(&path, now.0, "ERROR of now");
        let found = watch.look(&bot).unwrap();
        assert_eq!((found.errors, found.recent, found.matched), (1, 1, vec![]));
        assert_eq!(found.unread.as_deref(), Some("2.1 MiB of its log were not read"));
        std::fs::remove_file(&path).unwrap();
        append(&path, now.0 + 1, "after it");
        let found = watch.look(&bot).unwrap();
        assert_eq!(
            found.unread.as_deref(),
            Some("a part of its log was gone before it was read")
        );
        append(&path, now.0, "quiet");
        assert_eq!(watch.look(&bot), None);
    }

    #[test]
    fn old_errors_are_not_of_the_last_minute() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.log");
        let bot: BotId = "shop".parse().unwrap();
        append(&path, 10, "ERROR of long ago");
        append(&path, clock::stamp().0, "ERROR of now");
        let found = Watch::begin(&bot, target(&path, 0, &[])).look(&bot).unwrap();
        assert_eq!((found.errors, found.recent), (2, 1));
    }

    #[test]
    fn every_pass_is_told_and_the_last_words_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.log");
        let bot: BotId = "shop".parse().unwrap();
        let (told, heard) = channel();
        let orders = start(Duration::from_millis(20), move |findings| {
            let _ = told.send(findings.iter().map(|finding| finding.errors).sum::<u64>());
        })
        .unwrap();
        orders.send((bot.clone(), Some(target(&path, 0, &[])))).unwrap();
        let patience = Duration::from_secs(20);
        assert_eq!(heard.recv_timeout(patience), Ok(0), "silence is told");
        append(&path, 5, "FATAL");
        orders.send((bot, None)).unwrap();
        while heard.recv_timeout(patience).unwrap() != 1 {}
    }
}
