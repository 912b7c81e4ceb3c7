//! The platform without a network: whatever is sent comes back as if a user had written it.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::{Class, Content, Credentials, News, Outcome, Outgoing, PlainTexts, Platform, Ticket};
use crate::runner::arrival::{File, Message};

/// Has one chat, and is always connected.
#[derive(Default)]
pub(super) struct Loopback {
    news: VecDeque<News>,
}

const WORD: &str = "loopback";
/// The only chat, and who writes in it when nobody else is named.
pub(in crate::runner) const CHAT: &str = "loopback";

impl Platform for Loopback {
    fn word(&self) -> &'static str {
        WORD
    }

    fn plain_texts(&self) -> PlainTexts {
        PlainTexts::ComeBack
    }

    fn connect(&mut self, _: &Credentials) {
        self.news.push_back(News::Connected { name: None });
    }

    fn leave(&mut self) {}

    fn send(&mut self, ticket: Ticket, outgoing: Outgoing) {
        let outcome = come_back(outgoing);
        self.news.push_back(News::Settled { ticket, outcome });
    }

    fn fetch(&mut self, ticket: Ticket, _: &File, _: PathBuf) {
        let outcome = refused(Class::BadRequest, "no files come from loopback".to_owned());
        self.news.push_back(News::Settled { ticket, outcome });
    }

    fn news(&mut self) -> Option<News> {
        self.news.pop_front()
    }
}

fn come_back(outgoing: Outgoing) -> Outcome {
    match (outgoing.chat.as_deref(), outgoing.content) {
        (None | Some(CHAT), Content::Text(text)) => Outcome::CameBack(Message {
            user: Some(outgoing.user.unwrap_or_else(|| CHAT.to_owned())),
            text,
            ..Message::default()
        }),
        (None | Some(CHAT), Content::Photo { .. } | Content::Document { .. }) => Outcome::Sent { messages: Vec::new() },
        (None | Some(CHAT), _) => refused(Class::BadRequest, "loopback takes texts and files alone".to_owned()),
        (Some(other), _) => refused(
            Class::BadRequest,
            format!("no chat {other:?} on {WORD}: its only chat is {CHAT:?}"),
        ),
    }
}

fn refused(class: Class, why: String) -> Outcome {
    Outcome::Refused { class, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_from_the_only_chat() {
        for chat in [None, Some("loopback")] {
            let Outcome::CameBack(message) = come_back(Outgoing::text(chat, "hello")) else {
                panic!()
            };
            assert_eq!(
                (message.user.as_deref(), message.text.as_str()),
                (Some("loopback"), "hello")
            );
        }
        let named = Outgoing {
            user: Some("7".into()),
            ..Outgoing::text(None, "x")
        };
        assert!(matches!(come_back(named), Outcome::CameBack(Message { user: Some(user), .. }) if user == "7"));
        assert_eq!(
            come_back(Outgoing::text(Some("42"), "hello")),
            refused(
                Class::BadRequest,
                r#"no chat "42" on loopback: its only chat is "loopback""#.to_owned()
            )
        );
    }
}
