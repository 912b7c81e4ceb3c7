//! Values in, text out: the only place that prints. It knows streams and terminals, never what a bot is
//! doing or why.
//!
//! Invariants: what is asked for goes to stdout, everything said about it to stderr. A pipe gets plain
//! text: no colour, no wrapping, no trailing spaces, no progress. A reader that went away (`| head`) is
//! [`Error::Closed`], never a panic: callers stop, and the program ends as if all had been read.

mod json;
mod lines;
mod progress;
mod style;
mod table;

pub use json::{document, record};
pub use lines::{Error, error, note, out, uncoloured, visible};
pub use progress::Progress;
pub use style::{Paint, Style};
pub use table::{Cell, Column, Table};
