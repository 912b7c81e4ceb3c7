//! Text to stdout and stderr, whole lines at a time.
//!
//! Each call writes and flushes at once, so that followers see a line when it happens and nothing is
//! left to a destructor that could not report a full disk.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::style::Style;

/// Why stdout did not take a text.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The reader has gone: nothing is wrong, and nothing more is wanted.
    #[error("the reader of stdout has gone")]
    Closed,
    #[error("cannot write to stdout: {0}; see whether its disk is full")]
    Write(io::Error),
    #[error("cannot write the answer as JSON: {0}")]
    Encode(serde_json::Error),
}

/// Writes `text` to stdout, with a line end where it has none.
pub fn out(text: &str) -> Result<(), Error> {
    write_to(&mut io::stdout().lock(), text)
}

/// Whether somebody may still read stdout: a pipe whose other end was closed has no reader any more. For who waits
/// for something to print.
pub fn has_reader() -> bool {
    has_reader_for(Duration::ZERO)
}

/// Waits this long, or until nobody reads stdout any more; whether somebody still may then.
pub fn has_reader_for(time: Duration) -> bool {
    let stdout = io::stdout();
    let mut looked = [PollFd::new(&stdout, PollFlags::empty())];
    // A time that is too long for the system is for ever.
    let most = Timespec::try_from(time).ok();
    // What cannot be asked is found out by the next write.
    poll(&mut looked, most.as_ref()).is_err() || !looked[0].revents().contains(PollFlags::ERR)
}

/// Clears the terminal that stdout is, for text from its first line on; what cannot be cleared goes on below.
pub fn clear(style: &Style) -> Result<(), Error> {
    if style.is_screen() {
        let mut stdout = io::stdout().lock();
        return stdout
            .write_all(CLEAR)
            .and_then(|()| stdout.flush())
            .map_err(Error::Write);
    }
    Ok(())
}

/// To the first line, then everything from there on.
const CLEAR: &[u8] = b"\x1b[H\x1b[2J";

/// Says something about the work to stderr. A closed stderr is no reason to stop the work.
pub fn note(text: &str) {
    let _ = write_lines(&mut io::stderr().lock(), text);
}

/// Asks a person on stderr; the answer is typed behind it.
pub fn ask(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Whether a person sees what is asked.
pub fn has_terminal() -> bool {
    io::IsTerminal::is_terminal(&io::stderr())
}

/// Tells on stderr what went wrong, with the program's name in front.
pub fn error(text: &str) {
    note(&format!("multibot: {text}"));
}

/// `text` with everything that could move a terminal's cursor, recolour or reorder it spelled out:
/// `\n` as `\n`, ESC as `\x1b`. For one line of text that a bot or a file has written.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("    "),
            _ if letter.is_ascii_control() => {
                let _ = write!(shown, "\\x{:02x}", u32::from(letter));
            }
            _ if letter.is_control() || is_format(letter) => {
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(letter));
            }
            _ => shown.push(letter),
        }
    }
    shown
}

/// `text` without the colours and cursor movements that programs write for a terminal.
pub fn uncoloured(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, sequence)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        let end = sequence.find(|letter: char| ('@'..='~').contains(&letter));
        rest = end.map_or("", |end| &sequence[end + 1..]);
    }
    plain.push_str(rest);
    plain
}

/// `text` in lines of at most `width` letters, broken between words; all but the first are indented by `indent`. A
/// figure stays with the word behind it, which is its unit. A word that is longer than a line has one of its own.
pub fn wrapped(text: &str, width: usize, indent: usize) -> String {
    let mut lines: Vec<String> = vec![String::new()];
    let mut words = text.split(' ').peekable();
    while let Some(word) = words.next() {
        let mut part = word.to_owned();
        let mut ends_in_figure = is_figure(word);
        while let Some(unit) = words.next_if(|_| ends_in_figure) {
            part = format!("{part} {unit}");
            ends_in_figure = is_figure(unit);
        }
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(&part);
        } else if line.chars().count() + 1 + part.chars().count() <= width {
            line.push(' ');
            line.push_str(&part);
        } else {
            lines.push(format!("{}{part}", " ".repeat(indent)));
        }
    }
    lines.join("\n")
}

/// `5.0` or `(3`, and not `12:30,` or `85%`, which need no unit.
fn is_figure(word: &str) -> bool {
    let number = word.trim_start_matches(['(', '-']);
    !number.is_empty() && number.chars().all(|letter| letter.is_ascii_digit() || letter == '.')
}

/// Marks that have no width and change how their neighbours are read. The joiners of emoji and of
/// some scripts are not among them.
fn is_format(letter: char) -> bool {
    matches!(letter, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn write_to(stream: &mut impl Write, text: &str) -> Result<(), Error> {
    write_lines(stream, text).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Error::Closed,
        _ => Error::Write(error),
    })
}

fn write_lines(stream: &mut impl Write, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        stream.write_all(b"\n")?;
    }
    stream.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_break_between_words_and_never_inside_a_figure() {
        let text = "* shop: memory grows 4.0 MiB/h, its limit of 512.0 MiB is reached in about 28 h";
        for (width, expected) in [
            (100, text.to_owned()),
            (
                48,
                "* shop: memory grows 4.0 MiB/h, its limit of\n  512.0 MiB is reached in about 28 h".to_owned(),
            ),
            (
                52,
                "* shop: memory grows 4.0 MiB/h, its limit of\n  512.0 MiB is reached in about 28 h".to_owned(),
            ),
        ] {
            assert_eq!(wrapped(text, width, 2), expected, "{width}");
        }
        for width in 0..100 {
            let shown = wrapped(text, width, 2);
            assert_eq!(shown.replace("\n  ", " "), text);
            for figure in ["4.0 MiB/h,", "512.0 MiB", "28 h"] {
                assert!(shown.contains(figure), "{figure} at {width}: {shown}");
            }
            let fits = |line: &str| line.len() <= width || line.trim_start().split(' ').count() <= 2;
            assert!(shown.lines().all(fits), "{width}: {shown}");
        }
    }

    #[test]
    fn every_text_ends_with_exactly_one_line_end() {
        for (text, written) in [("a", "a\n"), ("a\n", "a\n"), ("a\nb", "a\nb\n"), ("", "\n")] {
            let mut stream = Vec::new();
            write_lines(&mut stream, text).unwrap();
            assert_eq!(String::from_utf8(stream).unwrap(), written);
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_fault_and_a_full_disk_is() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        assert!(matches!(write_to(&mut writer, "a"), Err(Error::Closed)));
        let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let said = write_to(&mut full, "a").unwrap_err().to_string();
        assert!(said.contains("No space left"), "{said}");
    }

    #[test]
    fn colours_are_taken_off() {
        for (text, plain) in [
            ("\x1b[31;1mred\x1b[0m end", "red end"),
            ("plain [31m", "plain [31m"),
            ("cut \x1b[3", "cut "),
            ("\x1b[2K\x1b[1Gbar", "bar"),
        ] {
            assert_eq!(uncoloured(text), plain);
        }
    }

    #[test]
    fn what_moves_a_cursor_is_spelled_out() {
        for (text, shown) in [
            ("plain ä 你", "plain ä 你"),
            ("\x1b[31mred", "\\x1b[31mred"),
            ("a\nb\rc\td", "a\\nb\\rc    d"),
            ("\u{9b}1m", "\\u{9b}1m"),
            ("\u{202e}abc", "\\u{202e}abc"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    proptest! {
        #[test]
        fn nothing_visible_is_a_control(text in any::<String>()) {
            prop_assert!(!visible(&text).chars().any(|letter| letter.is_control() || is_format(letter)));
        }
    }
}
