//! The platform without a network: whatever is sent comes back as if a user had written it.

use super::{Error, Incoming, Platform};

/// Has one chat, and is always connected.
pub(super) struct Loopback;

const WORD: &str = "loopback";
/// The only chat.
const CHAT: &str = "loopback";

impl Platform for Loopback {
    fn word(&self) -> &'static str {
        WORD
    }

    fn connect(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn send(&mut self, chat: Option<&str>, text: &str) -> Result<Option<Incoming>, Error> {
        match chat {
            None | Some(CHAT) => Ok(Some(Incoming {
                chat: CHAT.to_owned(),
                text: text.to_owned(),
            })),
            Some(other) => Err(Error::NoChat {
                platform: WORD,
                chat: other.to_owned(),
                only: CHAT,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_from_the_only_chat() {
        for chat in [None, Some("loopback")] {
            let back = Loopback.send(chat, "hello").unwrap().unwrap();
            assert_eq!((back.chat.as_str(), back.text.as_str()), ("loopback", "hello"));
        }
        let refused = Loopback.send(Some("42"), "hello").unwrap_err().to_string();
        assert_eq!(refused, r#"no chat "42" on loopback: its only chat is "loopback""#);
    }
}
