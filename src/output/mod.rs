//! Values in, text out: the only place that prints. It knows streams and terminals, never what a bot is
//! doing or why.
//!
//! Invariants: what is asked for goes to stdout, everything said about it to stderr. A pipe gets plain
//! text: no colour, no wrapping, no trailing spaces, no progress. A reader that went away (`| head`) is
//! [`Error::Closed`], never a panic: callers stop, and the program ends as if all had been read.

mod csv;
mod json;
mod lines;
mod plot;
mod progress;
mod style;
mod table;

pub use csv::{csv_line, csv_row};
pub use json::{document, record};
pub use lines::{
    Error, ask, clear, error, has_reader, has_reader_for, has_terminal, note, out, uncoloured, visible, wrapped,
};
pub use plot::{Letters, Plot, Point};
pub use progress::Progress;
pub use style::{Paint, Style};
pub use table::{Cell, Column, Table};
