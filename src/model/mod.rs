//! The words of the domain: plain values that every other module may use. No I/O, no clock, no process.

pub mod alert;
pub mod bot;
pub mod end;
pub mod fact;
pub mod limits;
pub mod message;
#[cfg(test)]
pub(crate) mod mutation;
pub mod nearest;
pub mod queue;
pub mod units;
