//! Figures of few letters, for a table that has many columns: five at the most, or what cannot be said in five.
//! JSON and CSV have them in full.

use std::time::Duration;

/// One decimal and no sign of its unit. Rounded down: only what is whole is told as 100.0.
pub(super) fn percent(percent: f64) -> String {
    // What was rounded before may lie a hair below.
    format!("{:.1}", (percent * 10.0 + 1e-6).floor() / 10.0)
}

/// One decimal below 10.
pub(super) fn number(value: f64) -> String {
    if value < 9.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// `9999`, `123k`, `12M`
pub(super) fn count(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..10_000_000 => format!("{}k", count / 1000),
        _ => format!("{}M", count / 1_000_000),
    }
}

/// In its largest unit: `25ms`, `59s`, `3h`.
pub(super) fn age(length: Duration) -> String {
    let s = length.as_secs();
    match s {
        0 => format!("{}ms", length.as_millis()),
        1..60 => format!("{s}s"),
        60..3600 => format!("{}m", s / 60),
        3600..86_400 => format!("{}h", s / 3600),
        _ => format!("{}d", s / 86_400),
    }
}

/// In units of 1024, with one decimal below 10: `812`, `4.2M`, `1023M`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["", "K", "M", "G", "T"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => bytes.to_string(),
        _ => format!("{}{}", number(value), UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (value, shown) in [
            (100.0, "100.0"),
            (99.996, "99.9"),
            (99.9, "99.9"),
            (0.04, "0.0"),
            (57.3, "57.3"),
        ] {
            assert_eq!(percent(value), shown);
        }
        for (value, shown) in [(0.0, "0.0"), (9.94, "9.9"), (9.96, "10"), (400.2, "400")] {
            assert_eq!(number(value), shown);
        }
        for (value, shown) in [
            (0, "0"),
            (9999, "9999"),
            (123_456, "123k"),
            (9_999_999, "9999k"),
            (10_000_000, "10M"),
        ] {
            assert_eq!(count(value), shown);
        }
        for (ms, shown) in [
            (999, "999ms"),
            (59_999, "59s"),
            (3_599_000, "59m"),
            (86_399_000, "23h"),
            (8_640_000_000, "100d"),
        ] {
            assert_eq!(age(Duration::from_millis(ms)), shown);
        }
        for (bytes, shown) in [
            (812, "812"),
            (1023, "1023"),
            (1024, "1.0K"),
            ((4 << 20) + (1 << 18), "4.2M"),
            (1023 << 20, "1023M"),
            ((1 << 30) - 1, "1.0G"),
            (40 << 30, "40G"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }
}
