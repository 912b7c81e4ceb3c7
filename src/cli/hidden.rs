//! Asks a person on the terminal: for a secret, without showing it, or whether something is to be done. In a pipe all of
//! stdin is the secret.

use std::io::{self, IsTerminal, Read};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use super::failure::Failure;
use crate::output;

/// Longer than any secret, so that a wrong file in the pipe is noticed.
const BYTES_MAX: u64 = 64 * 1024;
const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const CTRL_U: u8 = 21;
const BACKSPACE: [u8; 2] = [8, 127];

/// A line of a person, or what a pipe brings. Errors when the person gives up with Ctrl-C.
pub(super) fn read(prompt: &str) -> Result<String, Failure> {
    let cannot = || Failure::io("cannot read the value from stdin");
    let stdin = io::stdin();
    let mut bytes = Vec::new();
    if stdin.is_terminal() {
        output::ask(prompt);
        let _quiet = Quiet::begin().map_err(cannot())?;
        let outcome = read_line(&mut stdin.lock(), &mut bytes).map_err(cannot());
        output::ask("\n");
        if outcome? == Line::GivenUp {
            return Err(Failure::Refused("given up; nothing was changed".to_owned()));
        }
    } else {
        stdin.lock().take(BYTES_MAX).read_to_end(&mut bytes).map_err(cannot())?;
    }
    String::from_utf8(bytes).map_err(|_| Failure::Usage("the value on stdin is not UTF-8".to_owned()))
}

/// Whether a person answers with yes. Anything else is no.
pub(super) fn is_agreed(question: &str) -> Result<bool, Failure> {
    output::ask(question);
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(Failure::io("cannot read the answer"))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Whether a person can be asked: both ends of the talk are a terminal.
pub(super) fn can_ask() -> bool {
    io::stdin().is_terminal() && output::has_terminal()
}

#[derive(PartialEq, Eq)]
enum Line {
    Ended,
    GivenUp,
}

/// Reads key by key, as the terminal does not gather lines now.
fn read_line(input: &mut impl Read, line: &mut Vec<u8>) -> io::Result<Line> {
    let mut key = [0];
    loop {
        if input.read(&mut key)? == 0 {
            return Ok(Line::Ended);
        }
        match key[0] {
            b'\n' | b'\r' | CTRL_D => return Ok(Line::Ended),
            CTRL_C => return Ok(Line::GivenUp),
            CTRL_U => line.clear(),
            key if BACKSPACE.contains(&key) => {
                // A character of several bytes goes as a whole.
                while line.pop().is_some_and(|byte| byte & 0xC0 == 0x80) {}
            }
            key => line.push(key),
        }
    }
}

/// The terminal without echo, for as long as this lives. Signals come as keys, so that nothing ends the program
/// before the terminal is as it was.
struct Quiet {
    before: Termios,
}

impl Quiet {
    fn begin() -> io::Result<Quiet> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Quiet { before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_was_left_of_the_keys() {
        for (keys, line) in [
            ("abc\n rest", "abc"),
            ("abx\u{7f}c\r", "abc"),
            ("aé\u{7f}b\n", "ab"),
            ("wrong\u{15}right\n", "right"),
            ("\u{7f}a\u{4}", "a"),
            ("end", "end"),
        ] {
            let mut read = Vec::new();
            assert!(read_line(&mut keys.as_bytes(), &mut read).unwrap() == Line::Ended);
            assert_eq!(String::from_utf8(read).unwrap(), line, "{keys:?}");
        }
        assert!(read_line(&mut "ab\u{3}".as_bytes(), &mut Vec::new()).unwrap() == Line::GivenUp);
    }
}
