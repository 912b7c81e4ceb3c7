//! Looks at what bots use, and judges it by their limits. Knows nothing of how bots are run: it is
//! handed processes and hands back numbers.

pub mod advice;
pub mod availability;
pub mod open_files;
pub mod rules;
pub mod sampler;
