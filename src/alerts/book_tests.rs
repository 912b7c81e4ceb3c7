//! Tables over the book of alerts; the seeded walks have a file of their own.

#[path = "book_walks.rs"]
mod walks;

use super::*;
use crate::model::alert::Level;

/// A book with what surrounds it, and a clock that is moved by hand.
struct Desk {
    book: Book,
    settings: AlertSettings,
    silences: Vec<Silence>,
    at_s: u64,
    ids: u32,
}

impl Desk {
    fn new() -> Desk {
        Desk {
            book: Book::default(),
            settings: AlertSettings::default(),
            silences: Vec::new(),
            at_s: 1000,
            ids: 0,
        }
    }

    fn tick(&self) -> Tick {
        Tick {
            now: Moment(self.at_s * 1_000_000),
            stamp: stamp(self.at_s),
        }
    }

    /// Looks at these conditions `after_s` later, and tells everything that is due.
    fn step(&mut self, after_s: u64, conditions: &[Condition]) -> Vec<String> {
        let words = self.hear(after_s, conditions);
        words
            .iter()
            .map(|(change, alert)| format!("{} {} {}", change.word(), alert.rule.word(), alert.level.word()))
            .collect()
    }

    fn hear(&mut self, after_s: u64, conditions: &[Condition]) -> Vec<(Change, Alert)> {
        self.at_s += after_s;
        let tick = self.tick();
        let ids = &mut self.ids;
        let mut new_id = || {
            *ids += 1;
            format!("{ids:08}")
        };
        self.book
            .look(conditions.to_vec(), None, &self.settings, tick, &mut new_id);
        self.book.drop_silenced(&self.silences, tick.stamp);
        let order = Order {
            settings: &self.settings,
            silences: &self.silences,
        };
        let words = self.book.words(order, tick);
        for (change, alert) in &words {
            self.book.told(*change, &alert.id, tick.stamp);
        }
        words
    }

    fn next_due_s(&self) -> Option<u64> {
        let order = Order {
            settings: &self.settings,
            silences: &self.silences,
        };
        self.book.next_due(order, self.tick()).map(|wait| wait.as_secs())
    }

    fn silence(&mut self, bot: Option<&str>, for_s: u64) {
        self.silences.push(Silence {
            bot: bot.map(|bot| bot.parse().unwrap()),
            rule: None,
            until: stamp(self.at_s + for_s),
            created_at: stamp(self.at_s),
            by: "cli:ann".to_owned(),
            reason: None,
        });
    }
}

fn stamp(s: u64) -> Stamp {
    Stamp(i64::try_from(s).unwrap() * 1_000_000)
}

fn of(rule: Rule, bot: &str) -> Condition {
    Condition {
        rule,
        bot: Some(bot.parse().unwrap()),
        level: rule.policy().level,
        text: "it is so".to_owned(),
        since: Since::Seen,
        outlook: Outlook::Open,
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_condition_is_raised_when_it_has_lasted_and_is_over_when_it_was_gone_for_a_while() {
    let mut desk = Desk::new();
    let down = [of(Rule::Down, "a")];
    assert_eq!(desk.step(0, &down), NOTHING);
    assert_eq!(desk.next_due_s(), Some(60));
    assert_eq!(desk.step(59, &down), NOTHING);
    assert_eq!(desk.step(1, &down), ["raised down critical"]);
    assert_eq!(desk.step(1, &down), NOTHING);
    assert_eq!(desk.step(1, &[]), NOTHING);
    assert_eq!(desk.next_due_s(), Some(10));
    // It comes back before it is over: nobody is told anything.
    assert_eq!(desk.step(5, &down), NOTHING);
    assert_eq!(desk.step(1, &[]), NOTHING);
    assert_eq!(desk.step(10, &[]), ["recovered down critical"]);
    assert_eq!(desk.next_due_s(), None);
    assert_eq!(desk.step(100, &[]), NOTHING);
}

#[test]
fn a_short_one_is_never_told() {
    let mut desk = Desk::new();
    for _ in 0..20 {
        assert_eq!(desk.step(1, &[of(Rule::Down, "a")]), NOTHING);
        assert_eq!(desk.step(50, &[]), NOTHING);
    }
}

#[test]
fn what_lasts_since_a_known_time_is_raised_by_that_time() {
    let mut desk = Desk::new();
    let beaten = |at_s| {
        [Condition {
            since: Since::At(stamp(at_s)),
            ..of(Rule::Heartbeat, "a")
        }]
    };
    assert_eq!(desk.step(0, &beaten(1000)), NOTHING);
    assert_eq!(desk.next_due_s(), Some(60));
    // A newer beat moves it on.
    assert_eq!(desk.step(50, &beaten(1050)), NOTHING);
    assert_eq!(desk.step(59, &beaten(1050)), NOTHING);
    assert_eq!(desk.step(1, &beaten(1050)), ["raised heartbeat critical"]);
    assert_eq!(desk.step(5, &beaten(1115)), NOTHING);
    assert_eq!(desk.step(10, &beaten(1125)), ["recovered heartbeat critical"]);
}

/// A bot that is ended for its silence has had its last beat long ago; what counts is that it does not come back.
#[test]
fn a_bot_that_is_ended_for_its_silence_counts_from_that_moment() {
    let mut desk = Desk::new();
    let beating = [Condition {
        since: Since::At(stamp(1000)),
        ..of(Rule::Heartbeat, "a")
    }];
    let ended = [of(Rule::Heartbeat, "a")];
    assert_eq!(desk.step(0, &beating), NOTHING);
    assert_eq!(desk.step(50, &ended), NOTHING);
    assert_eq!(desk.next_due_s(), Some(60));
    assert_eq!(desk.step(59, &ended), NOTHING);
    assert_eq!(desk.step(1, &ended), ["raised heartbeat critical"]);
}

#[test]
fn reminders_come_until_somebody_knows_of_it() {
    let mut desk = Desk::new();
    let held = [of(Rule::Held, "a")];
    assert_eq!(desk.step(0, &held), ["raised held warning"]);
    assert_eq!(desk.next_due_s(), Some(4 * 3600));
    assert_eq!(desk.step(4 * 3600, &held), ["reminded held warning"]);
    assert_eq!(desk.step(4 * 3600 - 1, &held), NOTHING);
    assert_eq!(desk.step(1, &held), ["reminded held warning"]);
    let mut stored: Vec<Alert> = desk.book.open.values().map(|entry| entry.alert.clone()).collect();
    stored[0].acked = Some(Acked {
        at: stamp(desk.at_s),
        by: "cli:ann".to_owned(),
    });
    desk.book.acknowledge(&stored);
    assert_eq!(desk.next_due_s(), None);
    assert_eq!(desk.step(100 * 3600, &held), NOTHING);
    assert_eq!(desk.step(0, &[]), NOTHING);
    assert_eq!(desk.step(10, &[]), ["recovered held warning"]);
    desk.settings.remind_after = None;
    assert_eq!(desk.step(0, &held), ["raised held warning"]);
    assert_eq!(desk.next_due_s(), None);
}

#[test]
fn what_becomes_worse_is_told_again_and_needs_a_new_acknowledgement() {
    let mut desk = Desk::new();
    let disk = |level| {
        [Condition {
            bot: None,
            level,
            ..of(Rule::DiskLow, "a")
        }]
    };
    assert_eq!(desk.step(0, &disk(Level::Warning)), ["raised disk_low warning"]);
    assert_eq!(desk.step(1, &disk(Level::Critical)), ["escalated disk_low critical"]);
    let open = desk.book.open_in_home();
    let of_home: Vec<(Rule, Level)> = open.of_home.iter().map(|alert| (alert.rule, alert.level)).collect();
    assert_eq!(
        (open.of_bots.len(), of_home),
        (0, vec![(Rule::DiskLow, Level::Critical)])
    );
    assert_eq!(desk.step(1, &disk(Level::Warning)), NOTHING);
    assert_eq!(desk.step(1, &[]), NOTHING);
    assert_eq!(desk.step(10, &[]), ["recovered disk_low warning"]);
}

#[test]
fn a_bot_that_is_given_up_is_told_once_more() {
    let mut desk = Desk::new();
    let looping = [of(Rule::CrashLoop, "a")];
    let given_up = [Condition {
        outlook: Outlook::GivenUp,
        text: "was given up".to_owned(),
        ..of(Rule::CrashLoop, "a")
    }];
    desk.step(0, &looping);
    assert_eq!(desk.step(5, &looping), ["raised crash_loop critical"]);
    let words = desk.hear(5, &given_up);
    assert_eq!(
        (words[0].0, words[0].1.text.as_str()),
        (Change::Escalated, "was given up")
    );
    assert_eq!(desk.step(5, &given_up), NOTHING);
    assert_eq!(desk.step(5, &looping), NOTHING);
}

#[test]
fn words_say_what_is_so_now() {
    let mut desk = Desk::new();
    desk.settings.remind_after = Some(Duration::from_secs(20));
    let backlog = |count: u32| {
        [Condition {
            text: format!("{count} messages wait"),
            ..of(Rule::Backlog, "a")
        }]
    };
    desk.step(0, &backlog(1001));
    desk.step(15, &backlog(1002));
    let words = desk.hear(5, &backlog(1003));
    assert_eq!(
        (words[0].0, words[0].1.text.as_str()),
        (Change::Reminded, "1003 messages wait")
    );
}

#[test]
fn the_end_of_a_silence_has_one_word_of_each_alert() {
    let mut desk = Desk::new();
    desk.settings.remind_after = Some(Duration::from_secs(5));
    desk.silence(None, 30);
    let held = [of(Rule::Held, "a")];
    assert_eq!(desk.step(0, &held), NOTHING);
    assert_eq!(desk.step(30, &held), ["raised held warning"]);
    assert_eq!(desk.step(4, &held), NOTHING);
    assert_eq!(desk.step(1, &held), ["reminded held warning"]);
}

#[test]
fn a_silence_holds_words_back_and_its_end_lets_them_out() {
    let mut desk = Desk::new();
    desk.silence(Some("a"), 100);
    let both = [of(Rule::Held, "a"), of(Rule::Held, "b")];
    assert_eq!(desk.step(1, &both), ["raised held warning"]);
    // It is listed all the same.
    assert_eq!(desk.book.open_in_home().of_bots.len(), 2);
    assert_eq!(desk.next_due_s(), Some(99));
    assert_eq!(desk.step(98, &both), NOTHING);
    assert_eq!(desk.step(1, &both), ["raised held warning"]);
    // What was never told has no recovery; what was told has one, silence or not.
    desk.silence(None, 1000);
    let three = [of(Rule::Held, "a"), of(Rule::Held, "b"), of(Rule::Held, "c")];
    assert_eq!(desk.step(1, &three), NOTHING);
    assert_eq!(desk.step(1, &[]), NOTHING);
    assert_eq!(desk.step(10, &[]), ["recovered held warning", "recovered held warning"]);
}

#[test]
fn what_another_alert_says_is_not_said_twice() {
    let mut desk = Desk::new();
    let all = [of(Rule::Down, "a"), of(Rule::CrashLoop, "a"), of(Rule::Down, "b")];
    assert_eq!(desk.step(0, &all), NOTHING);
    assert_eq!(desk.step(5, &all), ["raised crash_loop critical"]);
    assert_eq!(desk.step(60, &all), ["raised down critical"]);
    // The loop is over and it is still down.
    let rest = [of(Rule::Down, "a"), of(Rule::Down, "b")];
    assert_eq!(desk.step(1, &rest), NOTHING);
    assert_eq!(
        desk.step(10, &rest),
        ["recovered crash_loop critical", "raised down critical"]
    );
}

#[test]
fn what_comes_and_goes_with_the_runs_of_a_crash_loop_does_not_flap() {
    const COVERED: [Rule; 6] = [
        Rule::Limit,
        Rule::Memory,
        Rule::LimitWarn,
        Rule::Heartbeat,
        Rule::NotReady,
        Rule::Errors,
    ];
    for rule in COVERED {
        let mut desk = Desk::new();
        let looping = || of(Rule::CrashLoop, "a");
        let both = [looping(), of(rule, "a")];
        assert_eq!(desk.step(0, &[looping()]), NOTHING);
        assert_eq!(desk.step(5, &[looping()]), ["raised crash_loop critical"]);
        for _ in 0..20 {
            assert_eq!(desk.step(5, &both), NOTHING, "{rule:?}");
            assert_eq!(desk.step(70, &both), NOTHING, "{rule:?}");
            assert_eq!(desk.step(15, &[looping()]), NOTHING, "{rule:?}");
        }
        // Another bot is nothing to it, and the end of the loop lets out what still holds.
        desk.step(0, &[looping(), of(rule, "a"), of(rule, "b")]);
        let level = rule.policy().level.word();
        let raised = format!("raised {} {level}", rule.word());
        let others = [looping(), of(rule, "a"), of(rule, "b")];
        let heard = desk.step(70, &others);
        assert!(
            heard.len() <= 1 && heard.iter().all(|word| *word == raised),
            "{heard:?}"
        );
        let rest = [of(rule, "a"), of(rule, "b")];
        assert_eq!(desk.step(1, &rest), NOTHING);
        assert_eq!(
            desk.step(10, &rest),
            ["recovered crash_loop critical".to_owned(), raised]
        );
    }
    // What was open before the loop stays so as long as it is there.
    let mut desk = Desk::new();
    let both = [of(Rule::CrashLoop, "a"), of(Rule::Errors, "a")];
    assert_eq!(desk.step(0, &both[1..]), ["raised errors warning"]);
    desk.step(0, &both);
    assert_eq!(desk.step(5, &both), ["raised crash_loop critical"]);
    assert_eq!(desk.step(100, &both), NOTHING);
    assert_eq!(desk.step(1, &both[..1]), NOTHING);
    assert_eq!(desk.step(10, &both[..1]), ["recovered errors warning"]);
    assert_eq!(desk.step(1, &both), NOTHING);
}

#[test]
fn the_next_supervisor_goes_on_where_the_last_one_was() {
    let mut desk = Desk::new();
    let held = [of(Rule::Held, "a"), of(Rule::Held, "b"), of(Rule::Held, "c")];
    desk.step(0, &held);
    let mut left: Vec<Alert> = desk.book.take_unwritten();
    assert_eq!(left.len(), 3);
    // The first was over and not told so, the second is still so, the third has recovered meanwhile.
    left[0].recovered_at = Some(stamp(1001));
    desk.book = Book::resume(left);
    assert_eq!(desk.step(1, &held[1..2]), ["recovered held warning"]);
    assert_eq!(desk.step(10, &held[1..2]), ["recovered held warning"]);
    assert_eq!(desk.book.open_in_home().of_bots.len(), 1);
}

#[test]
fn what_became_worse_in_a_silence_is_told_after_it_although_the_supervisor_was_another_one() {
    let disk = |level| {
        [Condition {
            bot: None,
            level,
            ..of(Rule::DiskLow, "a")
        }]
    };
    let mut desk = Desk::new();
    assert_eq!(desk.step(0, &disk(Level::Warning)), ["raised disk_low warning"]);
    desk.silence(None, 100);
    assert_eq!(desk.step(1, &disk(Level::Critical)), NOTHING);
    let left = desk.book.take_unwritten();
    desk.book = Book::resume(left);
    assert_eq!(desk.step(50, &disk(Level::Critical)), NOTHING);
    assert_eq!(desk.step(50, &disk(Level::Critical)), ["escalated disk_low critical"]);
    assert_eq!(desk.step(50, &disk(Level::Critical)), NOTHING);
}

#[test]
fn adoption_is_told_once_and_never_open() {
    let mut desk = Desk::new();
    let adopted = [Condition {
        bot: None,
        ..of(Rule::Adopted, "a")
    }];
    assert_eq!(desk.step(0, &adopted), ["raised adopted info"]);
    assert_eq!(desk.step(100, &adopted), NOTHING);
    assert!(desk.book.open_of_home(Rule::Adopted).is_none());
    let written = desk.book.take_unwritten();
    assert!(written.iter().all(|alert| alert.recovered_at.is_some()));
    let mut silenced = Desk::new();
    silenced.silence(None, 50);
    assert_eq!(silenced.step(0, &adopted), NOTHING);
    assert_eq!(silenced.step(100, &adopted), NOTHING);
}

#[test]
fn what_could_not_be_written_waits_and_newer_forms_win() {
    let mut desk = Desk::new();
    desk.step(0, &[of(Rule::Held, "a")]);
    let failed = desk.book.take_unwritten();
    assert_eq!(failed[0].told, Told::Raised);
    desk.step(1, &[]);
    desk.step(10, &[]);
    desk.book.give_back_unwritten(failed);
    let written = desk.book.take_unwritten();
    assert_eq!(written.len(), 1);
    assert_eq!(written[0].told, Told::Recovered);
}
