//! Alerts: what is wrong with a home and its bots, told once when it begins and once when it ends, to whoever the
//! operator named.
//!
//! Knows neither supervisor nor monitor. The composition root hands it scenes (`scene.rs`), plain values of one moment.
//! `rules.rs` says what is wrong in one, `outage.rs` whether that is one cause, `book.rs` what has to be told; all three
//! are pure. `watcher.rs` is the thread around them, `sink.rs` the mailbox and the thread of each sink, `delivery.rs` and
//! `exec.rs` the last step outside.

pub mod book;
pub mod delivery;
pub mod exec;
pub mod futile;
pub mod notice;
pub mod outage;
pub mod rules;
pub mod scene;
pub mod sink;
pub mod watcher;

pub use book::Change;
pub use delivery::host_of;
pub use notice::test_content;
pub use outage::Outage;
pub use sink::{Backlog, Fate, SinkBox};
pub use watcher::{Error, Feedback, Speaker, Watching, start};
