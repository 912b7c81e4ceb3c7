//! The only place that reads time.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::units::{Moment, Stamp};

/// Now, on the monotonic clock that all processes of the host share.
pub fn now() -> Moment {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_nsec / 1000).unwrap_or(0);
    Moment(seconds * 1_000_000 + micros)
}

/// Now, on the wall clock. A clock set before 1970 reads as 1970.
pub fn stamp() -> Stamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Stamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_monotonic_clock_does_not_go_back() {
        let first = super::now();
        assert!(super::now() >= first);
        assert!(super::stamp().0 > 1_700_000_000_000_000);
    }
}
