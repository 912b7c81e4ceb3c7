//! When which platform is asked about which bot: spread over the period, never faster than the home may ask, and not
//! while a platform is in trouble. Pure: the moment is a parameter.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::asking::AskingPolicy;
use crate::model::bot::BotId;
use crate::model::units::Moment;

/// The first question about a run comes within this time: whoever looks wants to see it answered.
const FIRST_WITHIN: Duration = Duration::from_secs(10);
/// How soon a refused token is tried once more.
const AGAIN_WITHIN: Duration = Duration::from_secs(2);
const PAUSE_MIN: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Whom to ask next.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    policy: AskingPolicy,
    turns: BTreeMap<BotId, Turn>,
    /// No question before this moment, by the home's budget.
    free_at: Moment,
    /// By the root of the API.
    pauses: BTreeMap<String, Pause>,
}

#[derive(Debug)]
struct Turn {
    root: String,
    next_at: Moment,
    asked: u32,
}

/// A platform that asks to wait, or does not answer.
#[derive(Clone, Copy, Debug, Default)]
struct Pause {
    until: Moment,
    /// In a row.
    silences: u32,
}

impl Schedule {
    pub(super) fn keep(&mut self, policy: AskingPolicy) {
        self.policy = policy;
    }

    /// From now on questions about this bot are due.
    pub(super) fn add(&mut self, bot: &BotId, root: &str, now: Moment) {
        let Some(period) = self.policy.period else {
            return self.put(bot, root, now);
        };
        self.put(bot, root, now + period.min(FIRST_WITHIN).mul_f64(fraction(bot, 0)));
    }

    fn put(&mut self, bot: &BotId, root: &str, next_at: Moment) {
        let root = root.to_owned();
        let turn = Turn {
            root,
            next_at,
            asked: 0,
        };
        self.turns.insert(bot.clone(), turn);
    }

    pub(super) fn remove(&mut self, bot: &BotId) {
        self.turns.remove(bot);
    }

    /// When somebody is to be asked; None: nobody.
    pub(super) fn next_at(&self) -> Option<Moment> {
        self.policy.period?;
        self.turns.values().map(|turn| self.due_at(turn)).min()
    }

    fn due_at(&self, turn: &Turn) -> Moment {
        let pause = self.pauses.get(&turn.root).copied().unwrap_or_default();
        turn.next_at.max(self.free_at).max(pause.until)
    }

    /// The bot whose turn it is, the longest overdue first. Its next turn is a period away, more or less.
    pub(super) fn take(&mut self, now: Moment) -> Option<BotId> {
        let period = self.policy.period?;
        let due = self.turns.iter().filter(|(_, turn)| self.due_at(turn) <= now);
        let (bot, _) = due.min_by_key(|(_, turn)| turn.next_at)?;
        let bot = bot.clone();
        let turn = self.turns.get_mut(&bot)?;
        turn.asked = turn.asked.wrapping_add(1);
        turn.next_at = now + period.mul_f64(0.9 + 0.2 * fraction(&bot, turn.asked));
        self.free_at = now + Duration::from_secs(1) / self.policy.calls_per_second.max(1);
        Some(bot)
    }

    /// A second question belongs to the first one.
    pub(super) fn ask_at_once(&mut self, bot: &BotId, now: Moment) {
        if let Some(turn) = self.turns.get_mut(bot) {
            turn.next_at = now;
        }
    }

    /// One word against a token is not enough.
    pub(super) fn ask_again_soon(&mut self, bot: &BotId, now: Moment) {
        if let Some(turn) = self.turns.get_mut(bot) {
            turn.next_at = turn.next_at.min(now + AGAIN_WITHIN);
        }
    }

    /// A platform answered.
    pub(super) fn heard(&mut self, root: &str) {
        self.pauses.remove(root);
    }

    /// A platform asks to wait.
    pub(super) fn wait(&mut self, root: &str, length: Duration, now: Moment) {
        let pause = self.pauses.entry(root.to_owned()).or_default();
        pause.until = pause.until.max(now + length);
    }

    /// A platform cannot be reached: all who would ask it wait, longer each time.
    pub(super) fn silent(&mut self, root: &str, now: Moment) {
        let pause = self.pauses.entry(root.to_owned()).or_default();
        let length = PAUSE_MIN * 2_u32.saturating_pow(pause.silences.min(10));
        pause.silences = pause.silences.saturating_add(1);
        let period = self.policy.period.unwrap_or(PAUSE_MAX);
        // Whoever asks more often wants to know sooner.
        pause.until = now + length.min(PAUSE_MAX).min(period.max(Duration::from_millis(100)) * 5);
    }
}

/// A number in 0..1 that depends on the bot and the turn alone (FNV-1a).
fn fraction(bot: &BotId, turn: u32) -> f64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in bot.as_str().bytes().chain(turn.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    let mixed = (hash ^ (hash >> 32)) & 0xffff_ffff;
    mixed as f64 / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::dice::Dice;

    const ROOT: &str = "https://api.telegram.org";

    fn policy(period_s: u64, calls: u32) -> AskingPolicy {
        AskingPolicy {
            period: Some(Duration::from_secs(period_s)),
            backlog_for: None,
            calls_per_second: calls,
        }
    }

    fn bot(number: usize) -> BotId {
        format!("bot-{number}").parse().unwrap()
    }

    fn schedule(bots: usize, policy: AskingPolicy) -> Schedule {
        let mut schedule = Schedule::default();
        schedule.keep(policy);
        (0..bots).for_each(|number| schedule.add(&bot(number), ROOT, Moment(0)));
        schedule
    }

    /// All questions until a moment.
    fn run(schedule: &mut Schedule, until: Moment) -> Vec<(Moment, BotId)> {
        let mut asked = Vec::new();
        while let Some(at) = schedule.next_at().filter(|at| *at < until) {
            asked.push((at, schedule.take(at).expect("somebody is due")));
        }
        asked
    }

    #[test]
    fn two_hundred_bots_keep_to_the_budget_and_are_all_asked() {
        let mut schedule = schedule(200, policy(60, 5));
        let asked = run(&mut schedule, Moment(130_000_000));
        for window in asked.windows(6) {
            assert!(
                window[5].0.since(window[0].0) >= Duration::from_millis(999),
                "{window:?}"
            );
        }
        for number in 0..200 {
            let times = asked.iter().filter(|(_, it)| *it == bot(number)).count();
            assert!((2..=4).contains(&times), "{number}: {times}");
        }
    }

    #[test]
    fn a_small_budget_is_shared_fairly() {
        let mut schedule = schedule(50, policy(10, 1));
        let asked = run(&mut schedule, Moment(200_000_000));
        let times = |number| asked.iter().filter(|(_, it)| *it == bot(number)).count();
        assert!((0..50).all(|number| (3..=5).contains(&times(number))));
    }

    #[test]
    fn nobody_is_asked_while_a_platform_wants_rest_and_others_are() {
        let mut schedule = schedule(3, policy(10, 5));
        schedule.add(&bot(9), "http://127.0.0.1:8081", Moment(0));
        schedule.wait(ROOT, Duration::from_secs(90), Moment(0));
        let asked = run(&mut schedule, Moment(80_000_000));
        assert!(!asked.is_empty() && asked.iter().all(|(_, it)| *it == bot(9)));
        let mut pauses = Vec::new();
        for _ in 0..8 {
            schedule.silent(ROOT, Moment(0));
            pauses.push(schedule.pauses[ROOT].until.0 / 1_000_000);
        }
        assert_eq!(pauses, [5, 10, 20, 40, 50, 50, 50, 50]);
        schedule.heard(ROOT);
        assert!(schedule.pauses.is_empty());
    }

    #[test]
    fn off_asks_nobody() {
        let mut schedule = schedule(3, AskingPolicy::default());
        assert_eq!((schedule.next_at(), schedule.take(Moment(1 << 50))), (None, None));
    }

    /// Whatever happens, the budget holds.
    #[test]
    fn a_walk() {
        for seed in 0..50 {
            let mut dice = Dice::new(seed);
            let mut schedule = schedule(20, policy(1 + dice.below(30), 1 + dice.below(9) as u32));
            let (mut now, mut last) = (Moment(0), None::<Moment>);
            for _ in 0..500 {
                now = now + Duration::from_millis(dice.below(900));
                let number = dice.below(25) as usize;
                match dice.below(8) {
                    0 => schedule.add(&bot(number), ROOT, now),
                    1 => schedule.remove(&bot(number)),
                    2 => schedule.ask_at_once(&bot(number), now),
                    3 => schedule.silent(ROOT, now),
                    4 => schedule.heard(ROOT),
                    _ => {}
                }
                if schedule.take(now).is_some() {
                    let least = Duration::from_secs(1) / schedule.policy.calls_per_second;
                    assert!(last.is_none_or(|last| now.since(last) >= least), "seed {seed}");
                    last = Some(now);
                }
            }
        }
    }
}
