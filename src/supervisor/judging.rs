//! Judges bots by what their platforms say of them, whoever the bots are: hears signs, decides by
//! `model/judging.rs`, and holds.

use crate::model::bot::{BotId, End};
use crate::model::judging::{Class, Judgement, LAST_WORDS, Sign, Weight};
use crate::model::units::Stamp;

use super::event_loop::Supervisor;
use super::host::Host;
use super::machine::{Because, Event, Phase};
use super::snapshot::Stage;

/// Enough of a line to recognise it.
const EVIDENCE_CHARS_MAX: usize = 160;

impl<H: Host> Supervisor<H> {
    /// A live run has said something of its platform.
    pub(super) fn heard_of_platform(&mut self, bot: &BotId, name: &str, message: Option<&str>) {
        let at = self.host.stamp();
        let evidence = match message {
            Some(message) => format!("it said {name}: {message}"),
            None => format!("it said {name}"),
        };
        if self.weigh(bot, Sign::Event(name), &evidence, at, false) {
            self.apply(bot, Event::Judged);
        }
    }

    /// Lines of its log that may mean something.
    pub(super) fn lines_of_platform(&mut self, bot: &BotId, lines: &[(Stamp, String)]) {
        for (at, line) in lines {
            if self.weigh(bot, Sign::Line(line), line, *at, false) {
                return self.apply(bot, Event::Judged);
            }
        }
    }

    /// A run ends: its exit code, or what it wrote last, may be a sign. What somebody else ended had no last words.
    pub(super) fn judge_end(&mut self, bot: &BotId, end: &End, at: Stamp) {
        let Some(member) = self.fleet.get(bot) else { return };
        let is_unasked = matches!(
            member.bot.phase,
            Phase::Spawning { .. } | Phase::Starting { .. } | Phase::Running { .. }
        );
        let End::Code(code) = end else { return };
        if !is_unasked || self.weigh(bot, Sign::Exit(*code), &end.to_string(), at, true) {
            return;
        }
        let Some(member) = self.fleet.get(bot).filter(|member| member.signs.has_lines()) else {
            return;
        };
        let began_at = member.seen.launched_at.or(member.seen.started_at).unwrap_or_default();
        let last = Stamp(at.0 - i64::try_from(LAST_WORDS.as_micros()).unwrap_or(0));
        for (at, line) in self.host.last_words(bot, last.max(began_at)) {
            if self.weigh(bot, Sign::Line(&line), &line, at, true) {
                return;
            }
        }
    }

    /// Weighs one sign; whether the bot is held for it. What follows is the caller's: the run may have ended.
    fn weigh(&mut self, bot: &BotId, sign: Sign<'_>, evidence: &str, at: Stamp, is_last: bool) -> bool {
        let Some(member) = self.fleet.get_mut(bot) else {
            return false;
        };
        let is_leaving = self.stage == Stage::Leaving || member.policy.judged.is_some();
        // Whoever is stopped on purpose is not judged by what comes of it.
        let is_asked = matches!(
            member.bot.phase,
            Phase::Stopping {
                because: Because::Asked,
                ..
            }
        );
        if is_leaving || is_asked || !member.is_desired() {
            return false;
        }
        let Some(class) = member.signs.meaning(sign) else {
            return false;
        };
        if !member.docket.hear(class, Weight::of(sign, class, is_last), at) {
            return false;
        }
        self.judge(bot, class, evidence);
        true
    }

    /// Holds a bot from now on, in the store as well.
    pub(super) fn judge(&mut self, bot: &BotId, class: Class, evidence: &str) {
        let at = self.host.stamp();
        let Some(member) = self.fleet.get_mut(bot) else { return };
        let mut evidence = shortened(&member.discretion.masked(evidence));
        let token = member.token.clone().filter(|_| class == Class::Conflict);
        if let Some(rival) = token.and_then(|token| self.host.rival(bot, &token)) {
            evidence = format!("{rival}; {evidence}");
        }
        let judgement = Judgement { class, evidence, at };
        let why = judgement.reason(bot.as_str());
        if let Some(member) = self.fleet.get_mut(bot) {
            member.docket.clear(at);
            member.policy.judged = Some(judgement.clone());
        }
        self.host.hold(bot, &judgement);
        self.host.audit("hold", bot, &why);
        self.fact(
            bot,
            None,
            "judged",
            &format!("{}: {}", class.word(), judgement.evidence),
        );
        self.touch();
    }
}

fn shortened(line: &str) -> String {
    let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(EVIDENCE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}
