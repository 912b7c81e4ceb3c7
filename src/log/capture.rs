//! Turns the bytes of one output stream into complete lines, ready for the disk: split, masked, made readable.
//!
//! - A line ends with `\n`, `\r\n` or a lone `\r`: each redraw of a progress bar is a line of its own, nothing is lost.
//!   Empty lines are kept; only a lone `\r` with no text before it makes no line.
//! - Bytes that are no UTF-8 and control characters except tab and ESC (colours) are shown as `\xNN`.
//! - Secrets are replaced by `[masked]` before a line is split, so neither the end of a read nor of a piece reveals a
//!   part of one. Where secrets overlap, all their bytes are masked.
//! - A text longer than [`LOG_LINE_BYTES_MAX`] goes on in the next line; no character and no mask is torn by that.
//!
//! Invariant: what is written depends on the bytes alone, never on how reads cut them.
//! Memory: one line's text, plus what may still become a secret, plus a batch of complete lines.

use super::line::{HEAD_BYTES, Head, Stream};
use super::mask::{Mask, is_token_byte};
use crate::model::limits::LOG_LINE_BYTES_MAX;
use crate::model::units::Stamp;

/// Takes where complete lines go.
type Out<'a> = &'a mut dyn FnMut(&[u8]);

/// The text that stands for every secret.
pub(super) const MASKED: &[u8] = b"[masked]";
/// Complete lines are handed on when they are this many bytes, at the latest when all that was read is used up.
const BATCH_BYTES: usize = 8 * 1024;

/// One output stream of a bot, on its way into the log.
pub struct Capture {
    head: Head,
    /// The end of the current line that is not decided yet: it may be the beginning of a secret or of a character.
    held: Vec<u8>,
    /// Complete lines, then the current line as far as it is decided.
    buffer: Vec<u8>,
    /// Where in `buffer` the current line begins.
    line_from: usize,
    /// Bytes from here on that belong to a known secret.
    known: usize,
    /// Bytes from here on that belong to a token's sure part.
    token: usize,
    /// A token was begun: it goes on as long as its bytes do.
    token_open: bool,
    after_cr: bool,
}

impl Capture {
    pub fn new(stream: Stream) -> Capture {
        Capture {
            head: Head::new(stream),
            held: Vec::new(),
            buffer: Vec::new(),
            line_from: 0,
            known: 0,
            token: 0,
            token_open: false,
            after_cr: false,
        }
    }

    /// Takes what was just read. `out` gets one or more complete lines at a time; they bear the stamp `at`.
    pub fn push(&mut self, bytes: &[u8], at: Stamp, mask: &Mask, out: &mut dyn FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n' || byte == b'\r') {
            self.take(&rest[..end], true, at, mask, out);
            self.end_line(rest[end], at, out);
            rest = &rest[end + 1..];
        }
        self.take(rest, false, at, mask, out);
        self.hand_on(out);
    }

    /// Hands on an unterminated rest as a line, when there is one. More may be pushed afterwards.
    pub fn finish(&mut self, at: Stamp, mask: &Mask, out: &mut dyn FnMut(&[u8])) {
        self.take(&[], true, at, mask, out);
        if self.has_text() {
            self.end_line(b'\n', at, out);
        }
        self.after_cr = false;
        self.hand_on(out);
    }

    /// Takes a part of the current line. `ended` says that a line end follows it.
    fn take(&mut self, part: &[u8], ended: bool, at: Stamp, mask: &Mask, out: Out<'_>) {
        if self.held.is_empty() {
            let used = self.decide(part, ended, at, mask, out);
            self.held.extend_from_slice(&part[used..]);
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(part);
            let used = self.decide(&held, ended, at, mask, out);
            held.drain(..used);
            self.held = held;
        }
    }

    /// Appends as much of `text` to the line as can be decided now, and returns how many bytes that were: all of them
    /// when the line has ended.
    fn decide(&mut self, text: &[u8], ended: bool, at: Stamp, mask: &Mask, out: Out<'_>) -> usize {
        let limit = if ended {
            text.len()
        } else {
            text.len().saturating_sub(mask.reach() - 1)
        };
        let mut plain_from = 0;
        let mut here = 0;
        while here < limit {
            if self.known == 0 && self.token == 0 && !self.token_open {
                let next = text[here..limit].iter().position(|&byte| mask.may_start(byte));
                here = next.map_or(limit, |skipped| here + skipped);
                if here == limit {
                    break;
                }
            }
            let in_token = self.token > 0 || (self.token_open && is_token_byte(text[here]));
            let inside = in_token || self.known > 0;
            let hit = mask.hit(&text[here..]);
            let begins = hit.known > 0 || hit.token > 0;
            if begins && !inside {
                self.render(&text[plain_from..here], true, at, out);
                self.append(MASKED, at, out);
            }
            self.known = self.known.max(hit.known).saturating_sub(1);
            self.token = self.token.max(hit.token).saturating_sub(1);
            self.token_open = in_token || hit.token > 0;
            here += 1;
            if begins || inside {
                plain_from = here;
            }
        }
        plain_from + self.render(&text[plain_from..limit], ended, at, out)
    }

    /// Appends `text` in readable form and returns how many bytes were used: fewer than all only when it ends within a
    /// character and `complete` says that the rest of it may still come.
    fn render(&mut self, text: &[u8], complete: bool, at: Stamp, out: Out<'_>) -> usize {
        let mut rest = text;
        loop {
            let run = rest.iter().position(|&byte| !stands_for_itself(byte));
            let (plain, after) = rest.split_at(run.unwrap_or(rest.len()));
            self.append_run(plain, at, out);
            rest = after;
            if rest.is_empty() {
                return text.len();
            }
            let used = match first_char(rest) {
                First::Readable(bytes) => {
                    self.append(&rest[..bytes], at, out);
                    bytes
                }
                First::Cut if !complete => return text.len() - rest.len(),
                First::Cut => self.append_hex(&rest[..1], at, out),
                First::Unreadable(bytes) => self.append_hex(&rest[..bytes], at, out),
            };
            rest = &rest[used..];
        }
    }

    /// Appends bytes that may be split anywhere.
    fn append_run(&mut self, mut run: &[u8], at: Stamp, out: Out<'_>) {
        while !run.is_empty() {
            self.make_room(1, at, out);
            let room = LOG_LINE_BYTES_MAX - self.text_bytes();
            let (fits, rest) = run.split_at(run.len().min(room));
            self.buffer.extend_from_slice(fits);
            run = rest;
        }
    }

    /// Appends bytes that must stay together.
    fn append(&mut self, together: &[u8], at: Stamp, out: Out<'_>) {
        self.make_room(together.len(), at, out);
        self.buffer.extend_from_slice(together);
    }

    /// Appends each byte as `\xNN` and returns how many bytes that were.
    fn append_hex(&mut self, bytes: &[u8], at: Stamp, out: Out<'_>) -> usize {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for &byte in bytes {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            self.append(&[b'\\', b'x', DIGITS[high], DIGITS[low]], at, out);
        }
        bytes.len()
    }

    /// Begins a line where none is begun, and a new one where the current has no room for so many bytes.
    fn make_room(&mut self, bytes: usize, at: Stamp, out: Out<'_>) {
        if self.has_text() && self.text_bytes() + bytes > LOG_LINE_BYTES_MAX {
            self.close(at, out);
        }
        if !self.has_text() {
            self.buffer.resize(self.line_from + HEAD_BYTES, b' ');
        }
    }

    fn has_text(&self) -> bool {
        self.buffer.len() > self.line_from
    }

    fn text_bytes(&self) -> usize {
        self.buffer.len() - self.line_from - HEAD_BYTES
    }

    fn end_line(&mut self, end: u8, at: Stamp, out: Out<'_>) {
        self.known = 0;
        self.token = 0;
        self.token_open = false;
        match end {
            b'\r' if !self.has_text() => {}
            b'\n' if !self.has_text() && self.after_cr => self.after_cr = false,
            _ => {
                self.after_cr = end == b'\r';
                self.make_room(0, at, out);
                self.close(at, out);
            }
        }
    }

    /// Completes the current line, or one piece of it.
    fn close(&mut self, at: Stamp, out: Out<'_>) {
        self.buffer[self.line_from..self.line_from + HEAD_BYTES].copy_from_slice(self.head.at(at));
        self.buffer.push(b'\n');
        self.line_from = self.buffer.len();
        if self.line_from >= BATCH_BYTES {
            self.hand_on(out);
        }
    }

    fn hand_on(&mut self, out: Out<'_>) {
        if self.line_from > 0 {
            out(&self.buffer[..self.line_from]);
            self.buffer.drain(..self.line_from);
            self.line_from = 0;
        }
    }
}

/// What a text begins with where it is not plain ASCII, with its length in bytes.
enum First {
    Readable(usize),
    Unreadable(usize),
    /// The text ends before the character does.
    Cut,
}

fn first_char(text: &[u8]) -> First {
    let window = &text[..text.len().min(4)];
    let valid = match std::str::from_utf8(window) {
        Ok(valid) => valid,
        Err(error) => match (error.valid_up_to(), error.error_len()) {
            (0, Some(bytes)) => return First::Unreadable(bytes),
            (0, None) => return First::Cut,
            (valid, _) => std::str::from_utf8(&window[..valid]).unwrap_or_default(),
        },
    };
    match valid.chars().next() {
        Some(control) if control.is_control() => First::Unreadable(control.len_utf8()),
        Some(readable) => First::Readable(readable.len_utf8()),
        None => First::Unreadable(1),
    }
}

fn stands_for_itself(byte: u8) -> bool {
    const ESC: u8 = 0x1b;
    matches!(byte, b' '..=b'~' | b'\t' | ESC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT: Stamp = Stamp(1_700_000_000_000_000);
    const TOKEN: &str = "123456789:AAEhBOweik9ai2o0c-nUcjUYLzUAD_qZ3Xk";

    /// What the log holds after these reads.
    fn written<'a>(reads: impl IntoIterator<Item = &'a [u8]>, mask: &Mask) -> Vec<u8> {
        let mut capture = Capture::new(Stream::Out);
        let mut disk = Vec::new();
        for read in reads {
            capture.push(read, AT, mask, &mut |lines| disk.extend_from_slice(lines));
        }
        capture.finish(AT, mask, &mut |lines| disk.extend_from_slice(lines));
        disk
    }

    /// The texts of the lines that stand on `disk`.
    fn texts(disk: &[u8]) -> Vec<String> {
        let disk = std::str::from_utf8(disk).expect("a log is UTF-8");
        let head = format!("{AT} out ");
        disk.split_terminator('\n')
            .map(|line| line.strip_prefix(&head).expect("every line has its head").to_owned())
            .collect()
    }

    fn lines(text: &[u8], secrets: &[&str]) -> Vec<String> {
        texts(&written([text], &Mask::new(secrets)))
    }

    #[test]
    fn line_ends_of_all_kinds() {
        for (text, expected) in [
            ("", vec![]),
            ("one\ntwo\n", vec!["one", "two"]),
            ("no end", vec!["no end"]),
            ("\n\na\n\n", vec!["", "", "a", ""]),
            ("dos\r\n\r\nlines\r\n", vec!["dos", "", "lines"]),
            ("text mode\r\r\nnext", vec!["text mode", "next"]),
            ("\r 10%\r 20%\r 30%\ndone\n", vec![" 10%", " 20%", " 30%", "done"]),
            ("bar\r\n\nafter", vec!["bar", "", "after"]),
        ] {
            assert_eq!(lines(text.as_bytes(), &[]), expected, "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_made_visible() {
        for (text, expected) in [
            (
                &b"tab\tand \x1b[31mred\x1b[0m stay"[..],
                "tab\tand \x1b[31mred\x1b[0m stay",
            ),
            (b"nul \x00 bell \x07 del \x7f", "nul \\x00 bell \\x07 del \\x7f"),
            (b"latin \xfcber", "latin \\xfcber"),
            (b"cut \xe2\x82", "cut \\xe2\\x82"),
            (b"c1 \xc2\x9b", "c1 \\xc2\\x9b"),
            (
                "gr\u{fc}\u{df} \u{20ac} \u{1f600}".as_bytes(),
                "gr\u{fc}\u{df} \u{20ac} \u{1f600}",
            ),
        ] {
            assert_eq!(lines(text, &[]), [expected]);
        }
    }

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let token = TOKEN;
        for (text, expected) in [
            ("key hunter2 end".to_owned(), "key [masked] end"),
            ("hunter2hunter2".to_owned(), "[masked][masked]"),
            ("over hunter2nd".to_owned(), "over [masked]"),
            (
                "gr\u{fc}\u{df}e pass\u{fc}word.".to_owned(),
                "gr\u{fc}\u{df}e [masked].",
            ),
            ("?p=pass%C3%BCword&x".to_owned(), "?p=[masked]&x"),
            (format!("GET /bot{token}/getMe"), "GET /bot[masked]/getMe"),
            (format!("{token}{token}."), "[masked]."),
            (format!("u={token}hunter2!"), "u=[masked]!"),
            (format!("{token}-hunter2nd then"), "[masked] then"),
            (format!("{token}-a b2nd.c"), "[masked].c"),
            ("123456789:short 12:30".to_owned(), "123456789:short 12:30"),
        ] {
            let secrets = ["hunter2", "2nd", "pass\u{fc}word", "a b2nd", "x"];
            assert_eq!(lines(text.as_bytes(), &secrets), [expected], "{text}");
        }
    }

    #[test]
    fn a_mask_ends_with_its_line() {
        assert_eq!(lines(format!("{TOKEN}\nplain").as_bytes(), &[]), ["[masked]", "plain"]);
        assert_eq!(lines(b"hunt\ner2", &["hunter2"]), ["hunt", "er2"]);
    }

    #[test]
    fn a_long_line_is_split_between_characters_and_masks() {
        let max = LOG_LINE_BYTES_MAX;
        let full = "a".repeat(max);
        assert_eq!(lines(full.as_bytes(), &[]), [full.as_str()]);
        assert_eq!(lines(format!("{full}\n\nx").as_bytes(), &[]), [full.as_str(), "", "x"]);
        assert_eq!(lines(format!("{full}b").as_bytes(), &[]), [full.as_str(), "b"]);
        let short = &full[1..];
        for whole in ["\u{20ac}", "\u{1f600}"] {
            let text = format!("{short}{whole}");
            assert_eq!(lines(text.as_bytes(), &[]), [short, whole]);
        }
        assert_eq!(
            lines(format!("{short}hunter2").as_bytes(), &["hunter2"]),
            [short, "[masked]"]
        );
        assert_eq!(lines(format!("{short}\0").as_bytes(), &[]), [short, "\\x00"]);
    }

    #[test]
    fn buffers_stay_small_whatever_comes() {
        let mask = Mask::new(["hunter2"]);
        let mut capture = Capture::new(Stream::Err);
        for text in ["\0".repeat(100_000), "line\n".repeat(20_000), "\u{20ac}".repeat(50_000)] {
            capture.push(text.as_bytes(), AT, &mask, &mut |_| {});
            let needed = BATCH_BYTES + LOG_LINE_BYTES_MAX + 2 * (HEAD_BYTES + 1);
            assert!(capture.buffer.capacity() < 2 * needed, "{}", capture.buffer.capacity());
            assert!(capture.held.len() < mask.reach() + 4);
        }
    }

    /// Texts rich in secrets, parts of secrets, line ends, broken characters and split points.
    fn nasty_text(secrets: Vec<String>) -> impl Strategy<Value = Vec<u8>> {
        let known = prop::sample::select(secrets);
        let part = prop_oneof![
            4 => known.clone().prop_map(String::into_bytes),
            2 => known.prop_map(|secret| secret.bytes().flat_map(|b| format!("%{b:02x}").into_bytes()).collect()),
            2 => Just(TOKEN.as_bytes().to_vec()),
            1 => Just(TOKEN.replace(':', "%3A").into_bytes()),
            3 => "[a-c0-9: %]{0,8}".prop_map(String::into_bytes),
            2 => prop::sample::select(vec!["\n", "\r", "\r\n", "\u{20ac}", "\u{fc}"])
                .prop_map(|text| text.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..4),
            1 => (LOG_LINE_BYTES_MAX - 70..LOG_LINE_BYTES_MAX).prop_map(|bytes| vec![b'-'; bytes]),
        ];
        prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
    }

    fn secrets_and_text() -> impl Strategy<Value = (Vec<String>, Vec<u8>)> {
        prop::collection::vec(prop_oneof!["[a-c0-9:%\u{fc}]{2,9}", "[a-c0-9:%]{30,40}"], 1..5)
            .prop_flat_map(|secrets| (Just(secrets.clone()), nasty_text(secrets)))
    }

    /// Independent of the code above: which bytes of one line belong to an occurrence of a secret.
    fn secret_bytes(line: &[u8], secrets: &[String]) -> Vec<bool> {
        let mut covered = vec![false; line.len()];
        for from in 0..line.len() {
            for secret in secrets {
                if line[from..].starts_with(secret.as_bytes()) {
                    covered[from..from + secret.len()].fill(true);
                }
            }
        }
        covered
    }

    /// A byte that is no text is shown as `\x00`, which tells nothing of a secret that is spelled alike.
    fn without_escapes(line: &str) -> String {
        let mut parts = line.split("\\x");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |shown, part| shown + "\n" + part.get(2..).unwrap_or_default())
    }

    proptest! {
        #[test]
        fn cuts_of_reads_change_nothing(
            (secrets, text) in secrets_and_text(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mask = Mask::new(&secrets);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let cut = written(cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]), &mask);
            prop_assert_eq!(&texts(&cut), &texts(&written([text.as_slice()], &mask)));
            let tail = &text[text.len().saturating_sub(300)..];
            prop_assert_eq!(written(tail.chunks(1), &mask), written([tail], &mask));
        }

        #[test]
        fn any_bytes_cut_anywhere_give_the_same_lines(
            text in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"\r\n\x1b\t hunter2\xe2\x82\xac"[..])], 0..200),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mask = Mask::new(["hunter2"]);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let cut = texts(&written(cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]), &mask));
            prop_assert_eq!(&cut, &texts(&written([text.as_slice()], &mask)));
            prop_assert!(cut.iter().all(|line| !line.contains("hunter2") && !line.contains('\r')));
        }

        #[test]
        fn no_secret_reaches_the_disk((secrets, text) in secrets_and_text()) {
            let long = texts(&written([text.as_slice()], &Mask::new(&secrets)));
            let readable: Vec<String> = long.iter().map(|line| without_escapes(line)).collect();
            for piece in readable.iter().flat_map(|line| line.split("[masked]")) {
                prop_assert!(!secrets.iter().any(|secret| piece.contains(secret.as_str())), "{piece:?}");
                prop_assert!(!piece.contains(&TOKEN[TOKEN.len() - 35..]) || !piece.contains("123456:"), "{piece:?}");
            }
            prop_assert!(long.iter().all(|line| line.len() <= LOG_LINE_BYTES_MAX));
        }

        #[test]
        fn exactly_the_secret_bytes_are_missing(
            secrets in prop::collection::vec("[abc]{2,5}", 1..4),
            text in "[abcd]{0,60}",
        ) {
            let covered = secret_bytes(text.as_bytes(), &secrets);
            let kept: String = text.chars().zip(&covered).filter(|(_, c)| !**c).map(|(c, _)| c).collect();
            let line = texts(&written([text.as_bytes()], &Mask::new(&secrets))).concat();
            prop_assert_eq!(line.replace("[masked]", ""), kept);
        }

        #[test]
        fn without_secrets_every_readable_text_stays(parts in prop::collection::vec("[^\\p{Cc}]{0,40}", 1..6)) {
            let text = parts.join("\n") + "\n";
            prop_assert_eq!(lines(text.as_bytes(), &[]), parts);
        }

        #[test]
        fn the_split_loses_nothing(repeats in 1usize..9000, text in "[a-z\u{fc}\u{20ac}]{1,9}") {
            let long = text.repeat(repeats);
            prop_assert_eq!(lines(long.as_bytes(), &["hunter2"]).concat(), long);
        }
    }
}
