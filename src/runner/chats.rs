//! One after the other in each chat: a message is looked at when the one before it needs no more. Pure.

use std::collections::{HashMap, VecDeque};

use super::arrival::Message;
use crate::model::message::Envelope;

/// A message that is to be answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Task {
    pub(super) origin: Origin,
    pub(super) chat: String,
    pub(super) message: Message,
}

/// Where a message came from, and so what its answer goes to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Origin {
    /// A command that came back: the answer is its own.
    Command(Box<Envelope>),
    /// The platform; by the id that it is stored under.
    Arrival(String),
}

/// The chats in which a message is being worked on, each with what waits behind it.
#[derive(Debug, Default)]
pub(super) struct Chats {
    busy: HashMap<String, VecDeque<Task>>,
}

impl Chats {
    /// The task itself when its chat is free; else it waits there.
    pub(super) fn admit(&mut self, task: Task) -> Option<Task> {
        match self.busy.get_mut(&task.chat) {
            Some(waiting) => {
                waiting.push_back(task);
                None
            }
            None => Some(task),
        }
    }

    /// Whoever comes now waits, until [`next`](Chats::next) finds nobody.
    pub(super) fn occupy(&mut self, chat: &str) {
        self.busy.entry(chat.to_owned()).or_default();
    }

    /// The next task of a chat whose last one is over; None frees the chat.
    pub(super) fn next(&mut self, chat: &str) -> Option<Task> {
        let task = self.busy.get_mut(chat).and_then(VecDeque::pop_front);
        if task.is_none() {
            self.busy.remove(chat);
        }
        task
    }

    /// How many chats are being worked on.
    pub(super) fn busy(&self) -> usize {
        self.busy.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.busy.values().map(VecDeque::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(chat: &str, id: &str) -> Task {
        Task {
            origin: Origin::Arrival(id.to_owned()),
            chat: chat.to_owned(),
            message: Message::default(),
        }
    }

    #[test]
    fn a_busy_chat_keeps_its_order_and_holds_no_other() {
        let mut chats = Chats::default();
        assert!(chats.admit(task("a", "1")).is_some());
        chats.occupy("a");
        assert_eq!(chats.admit(task("a", "2")), None);
        assert_eq!(chats.admit(task("a", "3")), None);
        assert!(chats.admit(task("b", "4")).is_some());
        assert_eq!((chats.busy(), chats.waiting()), (1, 2));
        assert_eq!(chats.next("a"), Some(task("a", "2")));
        assert_eq!(chats.admit(task("a", "5")), None, "it is not free before nobody waits");
        assert_eq!(chats.next("a"), Some(task("a", "3")));
        assert_eq!(chats.next("a"), Some(task("a", "5")));
        assert_eq!(chats.next("a"), None);
        assert!(chats.admit(task("a", "6")).is_some());
    }
}
