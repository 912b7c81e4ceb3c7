//! Comma-separated values (RFC 4180), with plain line ends: a header, then one line a record.

use super::lines::{Error, out};

/// Prints one line of cells.
pub fn csv_row<T: AsRef<str>>(cells: impl IntoIterator<Item = T>) -> Result<(), Error> {
    out(&csv_line(cells))
}

/// One line of cells, without its end.
pub fn csv_line<T: AsRef<str>>(cells: impl IntoIterator<Item = T>) -> String {
    let quoted = cells.into_iter().map(|cell| quoted(cell.as_ref()));
    quoted.collect::<Vec<_>>().join(",")
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_would_be_misread_is_quoted() {
        for (cells, line) in [
            (&["a", "b"][..], "a,b"),
            (&["", ""], ","),
            (
                &["a,b", "say \"hi\"", "two\nlines"],
                "\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\"",
            ),
        ] {
            assert_eq!(csv_line(cells), line);
        }
    }

    /// A reader as the standard has it.
    fn read(line: &str) -> Vec<String> {
        let (mut cells, mut cell, mut is_quoted) = (Vec::new(), String::new(), false);
        let mut letters = line.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '"' if is_quoted && letters.peek() == Some(&'"') => {
                    letters.next();
                    cell.push('"');
                }
                '"' => is_quoted = !is_quoted,
                ',' if !is_quoted => cells.push(std::mem::take(&mut cell)),
                _ => cell.push(letter),
            }
        }
        cells.push(cell);
        cells
    }

    proptest! {
        #[test]
        fn every_line_reads_back(cells in proptest::collection::vec(".{0,9}|[,\"\n\r]{0,4}", 1..6)) {
            prop_assert_eq!(read(&csv_line(&cells)), cells);
        }
    }
}
