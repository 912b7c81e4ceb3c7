//! The words of the domain: plain values that every other module may use. No I/O, no clock, no process.

pub mod alert;
pub mod asking;
pub mod blocking;
pub mod bot;
pub mod chat;
pub mod credential;
#[cfg(test)]
pub(crate) mod dice;
pub mod end;
pub mod fact;
pub mod judging;
pub mod kernel;
pub mod limits;
pub mod message;
pub mod metric;
#[cfg(test)]
pub(crate) mod mutation;
pub mod nearest;
pub mod people;
pub mod probe;
pub mod queue;
pub mod telegram;
pub mod units;
pub mod usage;
pub mod whatsapp;
