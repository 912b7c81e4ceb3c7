//! JSON on stdout: one readable document, or a stream of records with one on each line.
//!
//! Where the output goes changes nothing, so that what a person sees on a terminal is what a script gets.

use serde::Serialize;

use super::lines::{Error, out};

/// Prints one document, indented by two spaces.
pub fn document(value: &impl Serialize) -> Result<(), Error> {
    out(&serde_json::to_string_pretty(value).map_err(Error::Encode)?)
}

/// Prints one record of a stream (NDJSON): compact, on a line of its own.
pub fn record(value: &impl Serialize) -> Result<(), Error> {
    out(&serde_json::to_string(value).map_err(Error::Encode)?)
}
