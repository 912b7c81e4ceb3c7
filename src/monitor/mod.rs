//! Looks at what bots use, asks them whether they work, and reads what they write. Knows nothing of how bots
//! are run: it is handed processes, probes and paths, and hands back numbers and answers.

pub mod advice;
pub mod availability;
mod error_lines;
pub mod log_watch;
pub mod open_files;
pub mod platform_probe;
mod platform_schedule;
pub mod probes;
pub mod rules;
pub mod sampler;
