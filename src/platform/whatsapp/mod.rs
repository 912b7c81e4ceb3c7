//! WhatsApp's Cloud API: its requests, what its answers mean, and the webhooks by which it tells.

mod client;
mod signature;
mod webhook;

pub use client::{Client, Fault, Media};
pub use signature::is_signed;
pub use webhook::{Message, Notice, notices};
