//! Seeded walks over the book of alerts.

use super::*;
use crate::model::dice::Dice;

#[test]
fn walks_keep_the_promises() {
    const RULES: [Rule; 5] = [Rule::Down, Rule::Held, Rule::CrashLoop, Rule::Memory, Rule::Limit];
    for seed in 0..300 {
        let mut dice = Dice::new(seed);
        let mut desk = Desk::new();
        desk.settings.remind_after = Some(Duration::from_secs(300));
        let mut holding: Vec<Condition> = Vec::new();
        // What the sinks know: the alert by its key, raised and not yet recovered.
        let mut known: BTreeMap<(Rule, Option<BotId>), String> = BTreeMap::new();
        let mut last_change: BTreeMap<(Rule, Option<BotId>), u64> = BTreeMap::new();
        for _ in 0..400 {
            let bot = ["a", "b"][usize::try_from(dice.below(2)).unwrap()];
            let condition = of(RULES[usize::try_from(dice.below(5)).unwrap()], bot);
            match dice.below(4) {
                0 => holding.retain(|it| (it.rule, &it.bot) != (condition.rule, &condition.bot)),
                1 => holding.push(condition.clone()),
                2 if dice.below(10) == 0 => desk.silence(Some(bot), 1 + dice.below(100)),
                3 if dice.below(30) == 0 => {
                    // A supervisor dies and the next one goes on with what was written.
                    let mut left: Vec<Alert> = desk.book.open.values().map(|entry| entry.alert.clone()).collect();
                    left.extend(desk.book.over.iter().cloned());
                    desk.book = Book::resume(left);
                }
                _ => {}
            }
            for (change, alert) in desk.hear(dice.below(20), &holding) {
                let key = (alert.rule, alert.bot.clone());
                let is_silent = desk
                    .silences
                    .iter()
                    .any(|silence| silence.until > stamp(desk.at_s) && silence.covers(alert.rule, alert.bot.as_ref()));
                match change {
                    Change::Raised => {
                        assert_eq!(
                            known.insert(key.clone(), alert.id.clone()),
                            None,
                            "seed {seed}: two open"
                        );
                        assert!(!is_silent, "seed {seed}: a raise in a silence");
                        last_change.insert(key, desk.at_s);
                    }
                    Change::Recovered => {
                        assert_eq!(known.remove(&key), Some(alert.id), "seed {seed}: recovered unheard");
                        let begun = last_change[&key];
                        assert!(
                            desk.at_s - begun >= 10,
                            "seed {seed}: flaps within {}",
                            desk.at_s - begun
                        );
                    }
                    Change::Reminded => {
                        assert_eq!(
                            known.get(&key),
                            Some(&alert.id),
                            "seed {seed}: reminded of what is over"
                        );
                        assert!(!is_silent && alert.acked.is_none(), "seed {seed}");
                    }
                    Change::Escalated => panic!("seed {seed}: nothing becomes worse here"),
                }
            }
        }
        // Everything ends: with nothing wrong each alert that was told is recovered, and nothing is due.
        for (change, alert) in desk.hear(0, &[]).into_iter().chain(desk.hear(1000, &[])) {
            if change == Change::Recovered {
                known.remove(&(alert.rule, alert.bot.clone()));
            }
        }
        assert!(known.is_empty(), "seed {seed}: {known:?}");
        assert_eq!(desk.next_due_s(), None, "seed {seed}");
    }
}

/// A book that sleeps until `next_due` misses nothing that one which looks every second says.
#[test]
fn sleeping_until_the_next_due_moment_misses_nothing() {
    for seed in 0..100 {
        let mut dice = Dice::new(seed);
        let conditions: Vec<Condition> = [Rule::Down, Rule::Held, Rule::NotReady]
            .into_iter()
            .filter(|_| dice.below(3) > 0)
            .map(|rule| of(rule, "a"))
            .collect();
        let silence_s = dice.below(200);
        let new = || {
            let mut desk = Desk::new();
            desk.settings.remind_after = Some(Duration::from_secs(100));
            desk.silence(None, silence_s);
            desk
        };
        let (mut awake, mut asleep) = (new(), new());
        let mut heard = Vec::new();
        for second in 0..500 {
            let words = awake.step(u64::from(second > 0), &conditions);
            heard.extend(words.into_iter().map(|word| (awake.at_s, word)));
        }
        let mut heard_asleep: Vec<(u64, String)> = Vec::new();
        let mut wait = Some(0);
        while let Some(after_s) = wait.filter(|wait| asleep.at_s + wait < 1500) {
            let words = asleep.step(after_s, &conditions);
            heard_asleep.extend(words.into_iter().map(|word| (asleep.at_s, word)));
            wait = asleep.next_due_s();
            assert_ne!(wait, Some(0), "seed {seed}: a busy loop");
        }
        assert_eq!(heard, heard_asleep, "seed {seed}");
    }
}
