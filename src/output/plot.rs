//! A small plot of one figure over time, in text: bars from a base line, an axis with units, times below. Pure.
//!
//! Where nothing was measured nothing is drawn, and a measured zero is a line. It needs no colour and fits the width
//! that it is given.

use std::time::Duration;

use crate::model::units::Stamp;

/// What to draw.
pub struct Plot<'a> {
    pub title: &'a str,
    /// How a value is written at the axis, with its unit.
    pub show: &'a dyn Fn(f64) -> String,
    pub from: Stamp,
    pub to: Stamp,
    /// Values from zero on, each with the time that it holds for.
    pub points: &'a [Point],
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub from: Stamp,
    pub to: Stamp,
    pub value: f64,
}

/// The letters that a stream can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letters {
    Ascii,
    /// With the eighths of blocks.
    Unicode,
}

const HEIGHT: usize = 5;
/// A stream without a width, and a terminal that is too narrow for anything.
const WIDTH_USUAL: usize = 80;
const WIDTH_MIN: usize = 32;
/// Over so short a time minutes alone would all look the same.
const SHORT_SPAN: Duration = Duration::from_secs(1800);
const BLOCKS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
const SIGNS: [&str; 2] = [".", "#"];

impl Plot<'_> {
    /// The plot as lines, none of them wider than `width` columns.
    pub fn draw(&self, width: Option<usize>, letters: Letters) -> String {
        let width = width.unwrap_or(WIDTH_USUAL).clamp(WIDTH_MIN, 2 * WIDTH_USUAL);
        let highest = self.points.iter().map(|point| point.value).fold(0.0, f64::max);
        let top = top_of(highest);
        let labels = [(self.show)(top), (self.show)(top / 2.0), (self.show)(0.0)];
        let margin = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
        let columns = width.saturating_sub(margin + 2).max(1);
        let bars = self.bars(columns);
        let (edge, corner, dash) = match letters {
            Letters::Ascii => ("|", "+", "-"),
            Letters::Unicode => ("│", "└", "─"),
        };
        let mut lines = vec![self.title.to_owned()];
        for row in (0..HEIGHT).rev() {
            let label = match row {
                row if row == HEIGHT - 1 => &labels[0],
                row if row == HEIGHT / 2 => &labels[1],
                0 => &labels[2],
                _ => "",
            };
            let cells: String = bars.iter().map(|bar| cell(*bar, top, row, letters)).collect();
            lines.push(format!("{label:>margin$} {edge}{cells}").trim_end().to_owned());
        }
        lines.push(format!("{:margin$} {corner}{}", "", dash.repeat(columns)));
        lines.push(format!("{:margin$}  {}", "", self.times(columns)).trim_end().to_owned());
        lines.join("\n")
    }

    /// The highest value in each column; None where nothing was measured.
    fn bars(&self, columns: usize) -> Vec<Option<f64>> {
        let span = (self.to.0 - self.from.0).max(1) as f64;
        let column = |at: Stamp| (at.0 - self.from.0) as f64 / span * columns as f64;
        let mut bars: Vec<Option<f64>> = vec![None; columns];
        for point in self.points {
            let (first, last) = (column(point.from), column(point.to));
            if last < 0.0 || first >= columns as f64 {
                continue;
            }
            let first = first.max(0.0) as usize;
            // What ends where a column begins is not in it.
            let last = ((last.ceil() - 1.0).max(first as f64) as usize).min(columns - 1);
            for bar in &mut bars[first..=last] {
                *bar = Some(bar.map_or(point.value, |known| known.max(point.value)));
            }
        }
        bars
    }

    /// The begin, as many times between as fit, and the end.
    fn times(&self, columns: usize) -> String {
        let count = (columns / 18).clamp(1, 5);
        let mut line = String::new();
        for number in 0..=count {
            let place = columns * number / count;
            let at = Stamp(self.from.0 + (self.to.0 - self.from.0) / count as i64 * number as i64);
            let text = short_time(at, self.to.since(self.from));
            let start = if number == count {
                columns.saturating_sub(text.len())
            } else {
                place
            };
            let used = line.chars().count();
            if number == 0 || start > used {
                line.push_str(&" ".repeat(start.saturating_sub(used)));
                line.push_str(&text);
            }
        }
        line
    }
}

/// `11-25 08:00Z`, in UTC; of a short time `08:00:30Z`.
fn short_time(at: Stamp, span: Duration) -> String {
    let text = at.to_string();
    if span <= SHORT_SPAN {
        format!("{}Z", &text[11..19])
    } else {
        format!("{} {}Z", &text[5..10], &text[11..16])
    }
}

/// One character of a bar: how much of this row it fills.
fn cell(bar: Option<f64>, top: f64, row: usize, letters: Letters) -> &'static str {
    let Some(value) = bar else { return " " };
    let signs: &[&str] = match letters {
        Letters::Ascii => &SIGNS,
        Letters::Unicode => &BLOCKS,
    };
    let steps = signs.len();
    // Zero is a line, so that it is not taken for a gap.
    let filled = ((value / top * (HEIGHT * steps) as f64).round() as usize).max(1);
    match filled.saturating_sub(row * steps) {
        0 => " ",
        above => signs[above.min(steps) - 1],
    }
}

/// The end of the axis: not below the highest value, and with room for what is near zero.
fn top_of(highest: f64) -> f64 {
    if highest > 0.0 && highest.is_finite() {
        highest
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Stamp {
        Stamp((1_700_000_000 + second) * 1_000_000)
    }

    fn point(from: i64, to: i64, value: f64) -> Point {
        Point {
            from: at(from),
            to: at(to),
            value,
        }
    }

    fn drawn(points: &[Point], width: usize, letters: Letters) -> String {
        let show = |value: f64| format!("{value:.0} MiB");
        let plot = Plot {
            title: "memory",
            show: &show,
            from: at(0),
            to: at(3600),
            points,
        };
        plot.draw(Some(width), letters)
    }

    #[test]
    fn a_plot_has_an_axis_bars_and_gaps() {
        let points = [point(0, 900, 80.0), point(900, 1800, 20.0), point(2700, 3600, 0.0)];
        let lines = [
            "memory",
            "80 MiB |########",
            "       |########",
            "40 MiB |########",
            "       |########........",
            " 0 MiB |################        ........",
            "       +--------------------------------",
            "        11-14 22:13Z        11-14 23:13Z",
        ];
        assert_eq!(drawn(&points, 40, Letters::Ascii), lines.join("\n"));
    }

    #[test]
    fn blocks_show_eighths() {
        let points: Vec<Point> = (0..32).map(|n| point(n * 112, (n + 1) * 112, n as f64)).collect();
        let shown = drawn(&points, 41, Letters::Unicode);
        let last = shown.lines().nth(5).unwrap();
        assert!(last.starts_with(" 0 MiB │▁▁▃▄▅▆█"), "{shown}");
        assert!(shown.contains("31 MiB │"), "{shown}");
    }

    #[test]
    fn nothing_measured_is_an_empty_plot() {
        let shown = drawn(&[], 40, Letters::Ascii);
        assert!(!shown.contains(['#', '.']), "{shown}");
        assert_eq!(shown.lines().count(), 8);
    }

    proptest! {
        #[test]
        fn it_fits_and_never_panics(
            spots in proptest::collection::vec((-1000_i64..5000, 0_i64..4000, 0_f64..1e12), 0..20),
            width in 1_usize..300,
        ) {
            let points: Vec<Point> = spots.iter().map(|(from, length, value)| point(*from, from + length, *value)).collect();
            for letters in [Letters::Ascii, Letters::Unicode] {
                let shown = drawn(&points, width, letters);
                prop_assert!(shown.lines().all(|line| line.trim_end() == line));
                let most = shown.lines().map(|line| line.chars().count()).max().unwrap();
                prop_assert!(most <= width.clamp(WIDTH_MIN, 2 * WIDTH_USUAL), "{most} of {width}\n{shown}");
                prop_assert!(letters == Letters::Unicode || shown.is_ascii());
            }
        }
    }
}
