//! Points in time, lengths of time and sizes: their types, how people write them and how they are shown.
//!
//! Durations are written `500ms`, `5s`, `10m`, `2h`, `7d`, or in sums such as `1h30m`; `0` needs no unit.
//! Sizes are written in bytes, or with `K M G T`, `KB MB GB TB` (both powers of 1000 when they end in `B`,
//! of 1024 otherwise) or `KiB MiB GiB TiB` (powers of 1024).

use std::fmt;
use std::time::Duration;

/// A point on the monotonic clock, in microseconds since boot. It is the same in every process of
/// the host and void after a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// The time that passed from `earlier` to `self`, zero when `earlier` is later.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Moment;
    fn add(self, length: Duration) -> Moment {
        Moment(
            self.0
                .saturating_add(u64::try_from(length.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

/// A point on the wall clock, in microseconds since 1970 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(pub i64);

impl Stamp {
    /// Milliseconds since 1970 UTC, as the store keeps times.
    pub fn unix_ms(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The stamp of so many milliseconds since 1970 UTC.
    pub fn from_unix_ms(ms: i64) -> Stamp {
        Stamp(ms.saturating_mul(1000))
    }

    /// The wall-clock time from `earlier` to `self`, zero when the clock was set back.
    pub fn since(self, earlier: Stamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads RFC 3339 (`2026-11-23T22:33:01Z`, any offset, fraction optional).
    pub fn parse(text: &str) -> Option<Stamp> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Stamp(t.as_microsecond()))
    }
}

/// RFC 3339 in UTC with six decimals, always 27 bytes long: `2026-11-23T22:33:01.000000Z`.
impl fmt::Display for Stamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(out, "{time:.6}"),
            Err(_) => write!(out, "1970-01-01T00:00:00.000000Z"),
        }
    }
}

/// Why a text is no duration or no size, in words that fit behind the name of the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("{0:?} is not a duration: write 500ms, 5s, 10m, 2h or 7d")]
    Duration(String),
    #[error("{0:?} is not a size: write bytes or a unit, as in 512KiB, 100MiB or 2GiB")]
    Size(String),
}

/// Reads a duration as people write it. Errors when a number has no known unit or the sum overflows.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let wrong = || UnitError::Duration(text.to_owned());
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total_us: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = split_number(rest).ok_or_else(wrong)?;
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let unit_us: u64 = match &after[..unit_end] {
            "us" => 1,
            "ms" => 1_000,
            "s" => 1_000_000,
            "m" => 60_000_000,
            "h" => 3_600_000_000,
            "d" => 86_400_000_000,
            _ => return Err(wrong()),
        };
        let part = scaled(number, unit_us).ok_or_else(wrong)?;
        total_us = total_us.checked_add(part).ok_or_else(wrong)?;
        rest = after[unit_end..].trim_start();
    }
    Ok(Duration::from_micros(total_us))
}

/// Reads a size in bytes as people write it. Errors on an unknown unit or a size over 2^63.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let wrong = || UnitError::Size(text.to_owned());
    let (number, unit) = split_number(text.trim()).ok_or_else(wrong)?;
    let unit_bytes: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(wrong()),
    };
    let bytes = scaled(number, unit_bytes).ok_or_else(wrong)?;
    if bytes > i64::MAX as u64 {
        Err(wrong())
    } else {
        Ok(bytes)
    }
}

/// Splits `12.5rest` into its number and what follows.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    if end == 0 { None } else { Some(text.split_at(end)) }
}

/// `number * unit` in whole units, with at most six decimals honoured; None on overflow or bad digits.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 6 || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut value = u128::from(whole) * u128::from(unit);
    if !fraction.is_empty() {
        let digits: u64 = fraction.parse().ok()?;
        value += u128::from(digits) * u128::from(unit) / 10u128.pow(u32::try_from(fraction.len()).ok()?);
    }
    u64::try_from(value).ok()
}

/// A duration in the form that [`parse_duration`] reads, exact: `1h30m`, `5s`, `250ms`, `0s`.
pub fn show_duration(length: Duration) -> String {
    let mut us = u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
    if us == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, name) in [
        (86_400_000_000, "d"),
        (3_600_000_000, "h"),
        (60_000_000, "m"),
        (1_000_000, "s"),
        (1_000, "ms"),
        (1, "us"),
    ] {
        if us >= unit {
            text.push_str(&format!("{}{name}", us / unit));
            us %= unit;
        }
    }
    text
}

/// A duration for people, its two largest units: `3d 4h`, `2m 5s`, `850ms`.
pub fn show_age(length: Duration) -> String {
    let s = length.as_secs();
    match s {
        0 => format!("{}ms", length.as_millis()),
        1..60 => format!("{s}s"),
        60..3600 => format!("{}m {}s", s / 60, s % 60),
        3600..86_400 => format!("{}h {}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {}h", s / 86_400, s % 86_400 / 3600),
    }
}

/// A size for people, one decimal above KiB: `812 B`, `4.0 KiB`, `1.5 GiB`.
pub fn show_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, ms) in [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("5s", 5000),
            ("1.5s", 1500),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "5 parsecs",
            "-5s",
            "5s!",
            "1.2.3s",
            "99999999999999999999d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("1K", 1024),
            ("100MiB", 104_857_600),
            ("1MB", 1_000_000),
            ("512M", 536_870_912),
            ("1.5GiB", 1_610_612_736),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "12XB", "-1", "9999999TiB", "1,5G"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_stamp_is_always_27_bytes_of_utc() {
        assert_eq!(Stamp(1_700_000_000_000_001).to_string(), "2023-11-14T22:13:20.000001Z");
        assert_eq!(Stamp(0).to_string().len(), 27);
    }

    proptest! {
        #[test]
        fn a_shown_duration_reads_back(us in 0u64..10_000_000_000_000) {
            let length = Duration::from_micros(us);
            prop_assert_eq!(parse_duration(&show_duration(length)), Ok(length));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
            let _ = Stamp::parse(&text);
        }

        #[test]
        fn a_stamp_reads_back(us in 0i64..4_000_000_000_000_000) {
            prop_assert_eq!(Stamp::parse(&Stamp(us).to_string()), Some(Stamp(us)));
        }
    }
}
