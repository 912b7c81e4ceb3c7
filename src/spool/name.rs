//! The names of mailbox files: `<priority 0-9>-<unix micros, 17 digits>-<ulid>.<attempt>.ndjson`.
//!
//! Invariant: the names of one folder, sorted as text, are in the order of delivery.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use sha2::{Digest, Sha256};
use ulid::Ulid;

use crate::model::message::PRIORITY_DEFAULT;
use crate::model::units::Stamp;

/// A well-formed name. `micros` is the sender's own time in microseconds since 1970, `id` the ULID of the
/// first envelope inside, `attempt` counts from 1.
///
/// Fields stand in the order in which they decide.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileName {
    pub priority: u8,
    pub micros: u64,
    pub id: String,
    pub attempt: u32,
}

/// Seventeen digits of microseconds reach the year 5138.
pub const MICROS_MAX: u64 = 99_999_999_999_999_999;

impl FileName {
    /// Takes only what [`fmt::Display`] writes, so that one file has one name; None for anything else.
    pub fn parse(text: &str) -> Option<FileName> {
        let stem = text.strip_suffix(".ndjson")?;
        let (front, attempt) = stem.rsplit_once('.')?;
        let mut parts = front.splitn(3, '-');
        let (priority, micros, id) = (parts.next()?, parts.next()?, parts.next()?);
        let name = FileName {
            priority: priority.parse().ok().filter(|priority| *priority <= 9)?,
            micros: micros.parse().ok().filter(|micros| *micros <= MICROS_MAX)?,
            id: id.to_owned(),
            attempt: attempt.parse().ok().filter(|attempt| *attempt >= 1)?,
        };
        (is_ulid(id) && name.to_string() == text).then_some(name)
    }

    /// The name that any file may be given when it is written anew: its own, or for a foreign one that of its
    /// class at the time when it arrived, always the same for one name and time.
    pub fn of(name: &OsStr, arrived: Stamp) -> FileName {
        let own = name.to_str().and_then(FileName::parse);
        own.unwrap_or_else(|| {
            let micros = u64::try_from(arrived.0).unwrap_or(0).min(MICROS_MAX);
            let mut hash = Sha256::new();
            hash.update(micros.to_be_bytes());
            hash.update(name.as_bytes());
            let mut id = [0; 16];
            id.copy_from_slice(&hash.finalize()[..16]);
            FileName {
                priority: PRIORITY_DEFAULT,
                micros,
                id: Ulid::from_bytes(id).to_string(),
                attempt: 1,
            }
        })
    }

    pub fn posted_at(&self) -> Stamp {
        Stamp(i64::try_from(self.micros).unwrap_or(i64::MAX))
    }

    /// Where it stands among others, whatever its attempt.
    pub fn place(&self) -> (u8, u64, &str) {
        (self.priority, self.micros, &self.id)
    }

    /// The name of the envelope at this place in the file, as a file of its own. Places count on in the id, so
    /// that pieces of one file keep its order, also when a piece of several is taken apart once more.
    pub fn piece(&self, place: usize, attempt: u32) -> FileName {
        let first = Ulid::from_string(&self.id).map_or(0, |id| id.0);
        FileName {
            id: Ulid(first.wrapping_add(place as u128)).to_string(),
            attempt,
            ..self.clone()
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}-{:017}-{}.{}.ndjson",
            self.priority, self.micros, self.id, self.attempt
        )
    }
}

/// Whether a text is a ULID in its one canonical spelling, and with that a safe file name.
pub fn is_ulid(text: &str) -> bool {
    Ulid::from_string(text).is_ok_and(|id| id.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mutation::mutated;
    use proptest::prelude::*;

    const ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

    #[test]
    fn only_the_canonical_spelling_is_a_name() {
        let good = format!("5-01700000000000001-{ID}.1.ndjson");
        assert_eq!(
            FileName::parse(&good).map(|name| name.micros),
            Some(1_700_000_000_000_001)
        );
        for bad in [
            "".to_owned(),
            "x.ndjson".to_owned(),
            good.replace(".ndjson", ".json"),
            good.replace("5-", "10-"),
            good.replace("5-0", "+5-0"),
            good.replace("-017", "-17"),
            good.replace(".1.", ".0."),
            good.replace(".1.", ".01."),
            good.replace(".1.", ".4294967296."),
            good.replace(".1.", "."),
            good.replace(ID, &ID.to_lowercase()),
            good.replace(ID, "Z1ARZ3NDEKTSV4RRFFQ69G5FAV"),
            good.replace(ID, "../../../../../../etc/pass"),
            format!(" {good}"),
        ] {
            assert_eq!(FileName::parse(&bad), None, "{bad}");
        }
    }

    prop_compose! {
        fn names()(priority in 0u8..=9, micros in 0..=MICROS_MAX, id in any::<u128>(), attempt in 1u32..) -> FileName {
            FileName { priority, micros, id: Ulid(id).to_string(), attempt }
        }
    }

    #[test]
    fn pieces_keep_the_order_of_their_file_however_often_it_is_taken_apart() {
        let whole = FileName::parse(&format!("5-01700000000000001-{ID}.1.ndjson")).unwrap();
        assert_eq!(whole.piece(0, 1), whole);
        assert_eq!(whole.piece(3, 2).piece(4, 3), whole.piece(7, 3));
        assert!(whole.piece(1, 9).to_string() < whole.piece(2, 1).to_string());
        let last = FileName {
            id: Ulid(u128::MAX).to_string(),
            ..whole
        };
        assert!(is_ulid(&last.piece(1, 1).id));
    }

    #[test]
    fn a_foreign_file_gets_one_name_in_its_place() {
        let of = |name: &str, arrived| FileName::of(OsStr::new(name), Stamp(arrived));
        let own = format!("0-01700000000000001-{ID}.4.ndjson");
        assert_eq!(of(&own, 7).to_string(), own);
        assert_eq!(of("x.json", 7), of("x.json", 7));
        assert_ne!(of("x.json", 7).id, of("y.json", 7).id);
        let name = of("x.json", 7);
        assert_eq!((name.priority, name.micros, name.attempt), (5, 7, 1));
        assert_eq!(FileName::parse(&name.to_string()), Some(name));
    }

    proptest! {
        #[test]
        fn a_name_reads_back(name in names()) {
            prop_assert_eq!(FileName::parse(&name.to_string()), Some(name));
        }

        #[test]
        fn names_sort_by_priority_then_time(a in names(), b in names()) {
            let by_fields = (a.priority, a.micros).cmp(&(b.priority, b.micros));
            prop_assume!(by_fields.is_ne());
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), by_fields);
        }

        #[test]
        fn any_name_gets_one_of_multibots_own_that_reads_back(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..80),
                mutated(names().prop_map(|name| name.to_string()), &["-", ".", "0", "+", "..", "/", ".ndjson", "\u{fc}"]),
            ],
            arrived in any::<i64>(),
            place in 0usize..512,
        ) {
            let text = String::from_utf8_lossy(&bytes);
            if let Some(name) = FileName::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
            let name = FileName::of(OsStr::from_bytes(&bytes), Stamp(arrived));
            prop_assert_eq!(FileName::parse(&name.to_string()), Some(name.clone()));
            let piece = name.piece(place, 7);
            prop_assert_eq!(FileName::parse(&piece.to_string()), Some(piece));
        }

        #[test]
        fn what_parses_is_canonical(text in "[0-9]-[0-9]{16,18}-[0-9A-Z]{26}\\.[0-9]{1,3}\\.ndjson") {
            if let Some(name) = FileName::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
