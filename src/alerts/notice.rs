//! One word of an alert on its way to a sink: its content as JSON, its envelope, and its form for people.

use serde_json::{Value, json};

use crate::model::alert::{Alert, SinkPolicy};
use crate::model::message::{Envelope, Kind};
use crate::model::units::{Stamp, show_age};

use super::book::Change;

/// Longest text that a chat takes, with room to spare.
const CHAT_CHARS_MAX: usize = 1900;
/// Alerts that a summary names one by one.
const SUMMARY_LINES_MAX: usize = 10;
/// Deliveries are ended by their age, not by their number.
const ATTEMPTS_MAX: u32 = 1_000_000;

/// The content of one word, as webhooks and hooks get it. `home` is the directory.
pub fn content(change: Change, alert: &Alert, home: &str) -> Value {
    json!({
        "version": 1,
        "id": alert.id,
        "change": change.word(),
        "rule": alert.rule.word(),
        "bot": alert.bot.as_ref().map(|bot| bot.as_str()),
        "level": alert.level.word(),
        "text": alert.text,
        "raised_at": alert.raised_at.to_string(),
        "recovered_at": alert.recovered_at.map(|at| at.to_string()),
        "home": home,
    })
}

/// The content of a test, which is about nothing.
pub fn test_content(id: &str, home: &str, now: Stamp) -> Value {
    json!({
        "version": 1,
        "id": id,
        "change": "test",
        "rule": "test",
        "bot": null,
        "level": "info",
        "text": "this is a test of multibot alerts; nothing is wrong",
        "raised_at": now.to_string(),
        "recovered_at": null,
        "home": home,
    })
}

/// Many words in one, for a sink that had its share of this minute.
pub fn summary(contents: &[Value]) -> Value {
    let lines: Vec<String> = contents.iter().take(SUMMARY_LINES_MAX).map(line).collect();
    let more = contents.len().saturating_sub(lines.len());
    let mut text = format!("{} alerts: {}", contents.len(), lines.join(" | "));
    if more > 0 {
        text.push_str(&format!(" | and {more} more"));
    }
    let levels = ["critical", "warning"];
    let worst = levels
        .into_iter()
        .find(|level| contents.iter().any(|content| content["level"] == *level));
    json!({
        "version": 1,
        "id": contents.first().map(|content| content["id"].clone()),
        "change": "summary",
        "rule": null,
        "bot": null,
        "level": worst.unwrap_or("info"),
        "text": text,
        "raised_at": contents.first().map(|content| content["raised_at"].clone()),
        "recovered_at": null,
        "home": contents.first().map(|content| content["home"].clone()),
        "alerts": contents,
    })
}

/// One line for people: `[critical] shop: is not running (backoff): exited with code 1`.
pub fn line(content: &Value) -> String {
    let word = |key: &str| content[key].as_str().unwrap_or_default();
    let head = match word("change") {
        "recovered" => "recovered".to_owned(),
        "reminded" => format!("{}, still", word("level")),
        "escalated" => format!("{}, worse", word("level")),
        "test" => "test".to_owned(),
        _ => word("level").to_owned(),
    };
    let bot = content["bot"].as_str().map(|bot| format!("{bot}: "));
    let bot = bot.unwrap_or_default();
    let ends = (Stamp::parse(word("raised_at")), Stamp::parse(word("recovered_at")));
    match ends {
        (Some(raised), Some(recovered)) if head == "recovered" => {
            let length = show_age(recovered.since(raised));
            format!(
                "[{head}] {bot}{} is over after {length}; it was: {}",
                word("rule"),
                word("text")
            )
        }
        _ => format!("[{head}] {bot}{}", word("text")),
    }
}

/// The same, no longer than a chat takes.
pub fn chat_line(content: &Value) -> String {
    let line = line(content);
    match line.char_indices().nth(CHAT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The envelope of one delivery; `id` is its own.
pub fn envelope(id: String, sink: &str, content: Value, policy: &SinkPolicy, now: Stamp) -> Envelope {
    let name = content["change"].as_str().unwrap_or("alert").to_owned();
    let mut envelope = Envelope::new(id, Kind::Event, &name, "supervisor", sink, now).with_payload(content);
    envelope.max_attempts = ATTEMPTS_MAX;
    let age = i64::try_from(policy.expire_after.as_micros()).unwrap_or(i64::MAX);
    envelope.expires_at = Some(Stamp(now.0.saturating_add(age)));
    envelope
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(change: &str, level: &str, bot: Option<&str>) -> Value {
        json!({"change": change, "level": level, "bot": bot, "text": "is down", "id": "A", "home": "/h"})
    }

    #[test]
    fn a_line_says_how_bad_it_is_and_of_whom() {
        for (content, said) in [
            (about("raised", "critical", Some("shop")), "[critical] shop: is down"),
            (
                about("recovered", "critical", Some("shop")),
                "[recovered] shop: is down",
            ),
            (about("reminded", "warning", None), "[warning, still] is down"),
            (about("escalated", "critical", None), "[critical, worse] is down"),
        ] {
            assert_eq!(line(&content), said);
        }
    }

    #[test]
    fn a_recovery_says_of_what_and_after_how_long() {
        let mut content = about("recovered", "critical", Some("shop"));
        content["rule"] = "down".into();
        content["raised_at"] = "2026-11-23T08:00:00Z".into();
        content["recovered_at"] = "2026-11-23T08:02:05Z".into();
        assert_eq!(
            line(&content),
            "[recovered] shop: down is over after 2m 5s; it was: is down"
        );
    }

    #[test]
    fn a_summary_counts_all_and_names_some() {
        let all = vec![about("raised", "warning", Some("shop")); 12];
        let summary = summary(&all);
        assert_eq!(summary["alerts"].as_array().unwrap().len(), 12);
        assert_eq!(summary["level"], "warning");
        let text = summary["text"].as_str().unwrap();
        assert!(text.starts_with("12 alerts: [warning] shop: is down | "), "{text}");
        assert!(text.ends_with(" | and 2 more"), "{text}");
    }

    #[test]
    fn a_chat_gets_no_more_than_it_takes() {
        let mut long = about("raised", "info", None);
        long["text"] = "é".repeat(5000).into();
        assert_eq!(chat_line(&long).chars().count(), CHAT_CHARS_MAX + 1);
    }
}
