//! What waits in `later/` for its retry: `<due unix micros, 17 digits>-<key, 16 hex>-<NAME>`.
//!
//! Invariant: the names, sorted as text, are in the order in which they are due, and `NAME` is the name under
//! which the message goes back to `new/`, into its old place.

use std::fmt;

use sha2::{Digest, Sha256};

use super::Result;
use super::file::entries;
use super::mailbox::Mailbox;
use super::name::{FileName, MICROS_MAX};
use crate::model::message::Envelope;
use crate::model::units::Stamp;

/// What keeps its order: messages of one sender with one priority and one order key. Two of them may have one
/// key by chance; then one waits for nothing, and nothing is lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OrderKey(String);

/// The key of what promises no order.
const NO_KEY: &str = "0000000000000000";

/// A name in `later/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaterName {
    pub due: u64,
    /// None: it keeps no order.
    pub key: Option<OrderKey>,
    pub name: FileName,
}

impl OrderKey {
    /// None for an envelope that keeps no order.
    pub fn of(envelope: &Envelope) -> Option<OrderKey> {
        let key = envelope.order_key.as_ref()?;
        let text = format!("{}\0{}\0{key}", envelope.from, envelope.priority);
        let digest = Sha256::digest(text.as_bytes());
        Some(OrderKey(
            digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect(),
        ))
    }
}

impl LaterName {
    pub fn new(due: Stamp, key: Option<OrderKey>, name: FileName) -> LaterName {
        let due = u64::try_from(due.0).unwrap_or(0).min(MICROS_MAX);
        LaterName { due, key, name }
    }

    /// Takes only what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<LaterName> {
        let mut parts = text.splitn(3, '-');
        let (due, key, name) = (parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let later = LaterName {
            due: due.parse().ok().filter(|due| *due <= MICROS_MAX)?,
            key: (key != NO_KEY).then(|| OrderKey(key.to_owned())),
            name: FileName::parse(name)?,
        };
        (key.len() == NO_KEY.len() && key.chars().all(is_hex) && later.to_string() == text).then_some(later)
    }

    pub fn due(&self) -> Stamp {
        Stamp(i64::try_from(self.due).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for LaterName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.as_ref().map_or(NO_KEY, |key| key.0.as_str());
        write!(out, "{:017}-{key}-{}", self.due, self.name)
    }
}

impl Mailbox {
    /// What waits in `later/`, the earliest first; names that are not multibot's own are left out.
    pub fn later(&self) -> Result<Vec<LaterName>> {
        let mut names: Vec<String> = entries(&self.later_dir())?
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .collect();
        names.sort_unstable();
        Ok(names.iter().filter_map(|name| LaterName::parse(name)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::envelope::tests::{NOW, envelopes};
    use proptest::prelude::*;

    const NAME: &str = "5-01700000000000001-01ARZ3NDEKTSV4RRFFQ69G5FAV.2.ndjson";

    #[test]
    fn only_the_canonical_spelling_is_a_name() {
        let good = format!("01700000000000009-00ff00ff00ff00ff-{NAME}");
        let read = LaterName::parse(&good).unwrap();
        assert_eq!(
            (read.due, read.name.to_string().as_str()),
            (1_700_000_000_000_009, NAME)
        );
        assert_eq!(read.key, Some(OrderKey("00ff00ff00ff00ff".to_owned())));
        for bad in [
            NAME.to_owned(),
            good.replace("00ff00ff00ff00ff", "00FF00ff00ff00ff"),
            good.replace("00ff00ff00ff00ff", "00ff"),
            good.replace("017000000000", "17000000000"),
            good.replace(".2.", ".02."),
        ] {
            assert_eq!(LaterName::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn the_key_is_of_sender_priority_and_order_key() {
        let mut one = Envelope::new(
            "a".into(),
            crate::model::message::Kind::Command,
            "x",
            "cli",
            "shop",
            NOW,
        );
        assert_eq!(OrderKey::of(&one), None);
        one.order_key = Some("chat-1".to_owned());
        // Other clients compute the same, for example: printf 'cli\0005\000chat-1' | sha256sum
        assert_eq!(OrderKey::of(&one), Some(OrderKey("799437e9d75a231f".to_owned())));
    }

    proptest! {
        #[test]
        fn a_name_reads_back(envelope in envelopes(), due in 0..4_000_000_000_000_000i64) {
            let name = FileName::parse(NAME).unwrap();
            let later = LaterName::new(Stamp(due), OrderKey::of(&envelope), name);
            prop_assert_eq!(LaterName::parse(&later.to_string()), Some(later));
        }
    }
}
