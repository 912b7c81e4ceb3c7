//! What was sent, what was accepted, and what became of it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::dice::Dice;
use crate::rounds::BOTS;
use crate::suite::harness::Home;

/// What one sender did: the texts that it tried to send, each once, and the ids under which they were
/// accepted.
#[derive(Default)]
pub(crate) struct Sent {
    tried: Vec<String>,
    accepted: Vec<(String, String)>,
}

/// All that was sent in all rounds.
#[derive(Default)]
pub(crate) struct Ledger {
    /// The id under which each text was seen; empty until it was.
    ids: BTreeMap<String, String>,
    /// What waits for its end: text by id.
    open: BTreeMap<String, String>,
    answered: usize,
    buried: usize,
}

/// Messages in one batch from stdin.
const BATCH_MAX: u64 = 40;

/// Sends numbered texts to bots until it is over, one by one, in batches, and by commands that are killed. A
/// message counts as accepted when the command says so.
pub(crate) fn send_until(home: &Home, mut dice: Dice, is_over: &AtomicBool) -> Sent {
    let mut sent = Sent::default();
    while !is_over.load(Ordering::Relaxed) {
        let bot = dice.pick(&BOTS);
        match dice.below(8) {
            0 => send_batch(home, bot, &mut dice, &mut sent),
            1 => send_killed(home, bot, &mut dice, &mut sent),
            _ => send_one(home, bot, &mut dice, &mut sent),
        }
    }
    sent
}

fn send_one(home: &Home, bot: &str, dice: &mut Dice, sent: &mut Sent) {
    let text = sent.next_text(dice);
    let outcome = home.run(&["send", bot, "--text", &text]);
    if outcome.status == Some(0) {
        let id = outcome.err.split("accepted as ").nth(1).and_then(|rest| rest.get(..26));
        let id = id.unwrap_or_else(|| panic!("no id in {outcome:?}")).to_owned();
        sent.accepted.push((id, text));
    }
}

fn send_batch(home: &Home, bot: &str, dice: &mut Dice, sent: &mut Sent) {
    let batch: Vec<(String, String)> = (0..1 + dice.below(BATCH_MAX))
        .map(|_| (new_id(dice), sent.next_text(dice)))
        .collect();
    let line = |(id, text): &(String, String)| format!("{}\n", serde_json::json!({"id": id, "text": text}));
    let lines: String = batch.iter().map(line).collect();
    if home.run_with_stdin(&["send", bot, "-"], &lines).status == Some(0) {
        sent.accepted.extend(batch);
    }
}

/// Nobody knows whether this one was accepted; if it was, it must not come twice under two ids.
fn send_killed(home: &Home, bot: &str, dice: &mut Dice, sent: &mut Sent) {
    let text = sent.next_text(dice);
    let mut command = home.command(&["send", bot, "--text", &text]);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_micros(dice.below(4_000)));
    let _ = child.kill();
    child.wait().unwrap();
}

/// A ULID of any time.
fn new_id(dice: &mut Dice) -> String {
    let (high, low) = (u128::from(dice.below(1 << 60)), u128::from(dice.below(u64::MAX)));
    ulid::Ulid(high << 64 | low).to_string()
}

impl Sent {
    fn next_text(&mut self, dice: &mut Dice) -> String {
        let text = format!("{:x}-{}", dice.below(u64::MAX), self.tried.len());
        self.tried.push(text.clone());
        text
    }
}

impl Ledger {
    pub(crate) fn add(&mut self, sent: Sent) {
        self.ids
            .extend(sent.tried.into_iter().map(|text| (text, String::new())));
        self.open.extend(sent.accepted);
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes up what has come to an end since the last look.
    pub(crate) fn settle(&mut self, home: &Home, bots: &[&str]) {
        for entry in fs::read_dir(home.path("ipc/supervisor/replies"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let Ok(bytes) = fs::read(entry.path()) else { continue };
            let Ok(reply) = serde_json::from_slice::<Value>(&bytes) else {
                continue;
            };
            let (Some(id), Some(text)) = (reply["correlation_id"].as_str(), reply["payload"]["text"].as_str()) else {
                continue;
            };
            self.note(id, text);
            self.answered += usize::from(self.open.remove(id).is_some());
            let _ = fs::remove_file(entry.path());
        }
        for bot in bots {
            self.look_at_dead(home, bot);
        }
    }

    fn look_at_dead(&mut self, home: &Home, bot: &str) {
        for entry in fs::read_dir(home.path(&format!("ipc/{bot}/dead")))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            let Ok(content) = fs::read_to_string(&path) else {
                continue;
            };
            if path.extension().is_some_and(|ending| ending == "reason") {
                continue;
            }
            for line in content
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            {
                let (Some(id), Some(text)) = (line["id"].as_str(), line["payload"]["text"].as_str()) else {
                    continue;
                };
                let reason = fs::read_to_string(format!("{}.reason", path.display())).unwrap_or_default();
                assert!(
                    reason.contains("reason"),
                    "{} lies dead without a reason",
                    path.display()
                );
                self.note(id, text);
                self.buried += usize::from(self.open.remove(id).is_some());
            }
        }
    }

    /// A text that came to an end was sent, and under one id only.
    fn note(&mut self, id: &str, text: &str) {
        let known = self
            .ids
            .get_mut(text)
            .unwrap_or_else(|| panic!("{text:?} (id {id}) was never sent"));
        assert!(
            known.is_empty() || known == id,
            "{text:?} has two ids: {known} and {id}"
        );
        id.clone_into(known);
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} messages tried, {} accepted and answered, {} accepted and in dead letters",
            self.ids.len(),
            self.answered,
            self.buried
        )
    }
}
