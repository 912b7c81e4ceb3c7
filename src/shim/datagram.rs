//! What a bot says through sd_notify: one datagram of `NAME=value` lines. Pure.

use std::time::Duration;

use crate::model::limits::EXTENSION_MAX;

/// One word of the protocol that means something here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Ready,
    Stopping,
    Status(String),
    Alive,
    /// The bot's own watchdog says that it is not well.
    Triggered,
    /// What the bot is about, starting or stopping, takes so much longer from now on.
    Extend(Duration),
}

/// The known words of a datagram, in their order. Unknown ones are passed over; a datagram that is no text
/// says nothing.
pub(super) fn words(datagram: &[u8]) -> Vec<Word> {
    let text = std::str::from_utf8(datagram).unwrap_or_default();
    text.lines().filter_map(word).collect()
}

fn word(line: &str) -> Option<Word> {
    Some(match line.split_once('=')? {
        ("READY", "1") => Word::Ready,
        ("STOPPING", "1") => Word::Stopping,
        ("WATCHDOG", "1") => Word::Alive,
        ("WATCHDOG", "trigger") => Word::Triggered,
        ("STATUS", text) => Word::Status(shown(text)),
        ("EXTEND_TIMEOUT_USEC", number) => {
            let length = Duration::from_micros(number.trim().parse().ok()?);
            Word::Extend(length.min(EXTENSION_MAX))
        }
        _ => return None,
    })
}

/// One line for people: nothing in it moves a cursor. It is not cut here: half a secret is found by no mask.
fn shown(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_as_libraries_send_them() {
        for (datagram, expected) in [
            ("READY=1", vec![Word::Ready]),
            (
                "READY=1\nSTATUS=Serving 3 chats\nMAINPID=7\n",
                vec![Word::Ready, Word::Status("Serving 3 chats".into())],
            ),
            ("STATUS=a=b\u{1b}[31m", vec![Word::Status("a=b[31m".into())]),
            ("STATUS=", vec![Word::Status(String::new())]),
            ("WATCHDOG=1", vec![Word::Alive]),
            ("WATCHDOG=trigger", vec![Word::Triggered]),
            ("STOPPING=1\nEXTEND_TIMEOUT_USEC=2500000", {
                vec![Word::Stopping, Word::Extend(Duration::from_millis(2500))]
            }),
            ("EXTEND_TIMEOUT_USEC=99999999999999", vec![Word::Extend(EXTENSION_MAX)]),
            (
                "EXTEND_TIMEOUT_USEC=-1\nREADY=0\nWATCHDOG_USEC=5\nFDSTORE=1\n=\n\nREADY",
                vec![],
            ),
            ("EXTEND_TIMEOUT_USEC=99999999999999999999999999", vec![]),
        ] {
            assert_eq!(words(datagram.as_bytes()), expected, "{datagram}");
        }
        assert_eq!(words(b"READY=1\n\xff"), []);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_none_say_too_much(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            for word in words(&bytes) {
                check(&word)?;
            }
        }

        #[test]
        fn lines_are_read_each_by_itself(
            lines in prop::collection::vec("(READY|STATUS|WATCHDOG|STOPPING|EXTEND_TIMEOUT_USEC|X)=(1|trigger|\\PC{0,9}|[0-9]{0,25})", 0..6),
        ) {
            let each: Vec<Word> = lines.iter().flat_map(|line| words(line.as_bytes())).collect();
            let together = words(lines.join("\n").as_bytes());
            prop_assert_eq!(&each, &together);
            for word in together {
                check(&word)?;
            }
        }
    }

    fn check(word: &Word) -> Result<(), TestCaseError> {
        match word {
            Word::Status(text) => {
                prop_assert!(!text.chars().any(char::is_control));
            }
            Word::Extend(length) => prop_assert!(*length <= EXTENSION_MAX),
            Word::Ready | Word::Stopping | Word::Alive | Word::Triggered => {}
        }
        Ok(())
    }
}
