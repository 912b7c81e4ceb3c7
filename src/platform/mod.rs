//! The chat platforms as they are reached from outside: requests out, answers and their meaning back.
//!
//! Knows neither the spool nor who calls it: the built-in bots, the judge of tokens and later a relay speak through
//! the same clients. Nothing here waits longer than it is told, retries by itself or remembers a call.

pub mod http;
pub mod listener;
pub mod telegram;
pub mod whatsapp;
