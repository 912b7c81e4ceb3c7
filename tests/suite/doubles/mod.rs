//! Doubles of the platforms: what their servers do, as far as a bot can tell, on a port of this host.

pub(crate) mod graph;
pub(crate) mod http;
pub(crate) mod telegram;
