//! Alerts: what is wrong with a home and its bots, told once when it begins and once when it ends, to whoever the
//! operator named.
//!
//! Knows neither supervisor nor monitor. The composition root hands it scenes (`scene.rs`), plain values of one moment.
//! `rules.rs` says what is wrong in one, `outage.rs` whether that is one cause, `book.rs` what has to be told; all three
//! are pure.

mod book;
mod outage;
mod rules;
pub mod scene;

pub use book::Change;
pub use outage::Outage;
