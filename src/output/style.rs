//! How a stream looks: its colours and its width. Colours only help, they never carry what the text
//! does not say.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use super::plot::Letters;
use crate::model::bot::State;

/// What one stream can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    has_colour: bool,
    width: Option<u16>,
    has_blocks: bool,
    is_screen: bool,
}

/// What a piece of text means to the eye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    Good,
    Warning,
    Bad,
    /// On its way somewhere.
    Moving,
    Dim,
    Bold,
    /// One of a few colours that tell names apart.
    Name(u8),
}

/// Colours of names: none of those that states have a meaning for, readable on dark and on light.
const NAME_COLOURS: [&str; 6] = ["34", "35", "94", "95", "36;1", "34;1"];

impl Style {
    pub fn of_stdout() -> Style {
        Style::of(&io::stdout(), |name| std::env::var_os(name))
    }

    pub fn of_stderr() -> Style {
        Style::of(&io::stderr(), |name| std::env::var_os(name))
    }

    fn of(stream: &(impl IsTerminal + AsFd), env: impl Fn(&str) -> Option<OsString>) -> Style {
        if !stream.is_terminal() {
            return Style::plain();
        }
        let size = rustix::termios::tcgetwinsize(stream).ok();
        Style {
            has_colour: wants_colour(&env),
            width: size.map(|size| size.ws_col).filter(|columns| *columns > 0),
            has_blocks: is_utf8(&env),
            is_screen: is_capable(&env),
        }
    }

    /// What a pipe or a file gets.
    pub fn plain() -> Style {
        Style {
            has_colour: false,
            width: None,
            has_blocks: false,
            is_screen: false,
        }
    }

    /// Columns of the terminal; None for a pipe, where nothing is wrapped.
    pub fn width(&self) -> Option<u16> {
        self.width
    }

    /// The same in a part of the terminal.
    pub(super) fn narrowed(self, width: u16) -> Style {
        Style {
            width: Some(width),
            ..self
        }
    }

    /// The letters for plots: more than ASCII on a terminal whose locale can show it.
    pub fn letters(&self) -> Letters {
        if self.has_blocks {
            Letters::Unicode
        } else {
            Letters::Ascii
        }
    }

    pub fn has_colour(&self) -> bool {
        self.has_colour
    }

    /// Whether this is a terminal of which any place can be written to, not only the next line.
    pub fn is_screen(&self) -> bool {
        self.is_screen
    }

    /// `text` in its colour, or as it is where the stream has none.
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        if self.has_colour && !text.is_empty() {
            format!("\x1b[{}m{text}\x1b[0m", paint.code())
        } else {
            text.to_owned()
        }
    }
}

impl Paint {
    pub fn of_state(state: State) -> Paint {
        match state {
            State::Running => Paint::Good,
            State::Unhealthy | State::Backoff => Paint::Warning,
            State::Failed | State::Held => Paint::Bad,
            State::Starting | State::Stopping | State::Adopting => Paint::Moving,
            State::Stopped => Paint::Dim,
        }
    }

    /// The same colour for the same name, today and tomorrow (FNV-1a).
    pub fn of_name(name: &str) -> Paint {
        let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        let index = (hash ^ (hash >> 16)) % NAME_COLOURS.len() as u32;
        Paint::Name(u8::try_from(index).unwrap_or(0))
    }

    fn code(self) -> &'static str {
        match self {
            Paint::Good => "32",
            Paint::Warning => "33",
            Paint::Bad => "31",
            Paint::Moving => "36",
            Paint::Dim => "2",
            Paint::Bold => "1",
            Paint::Name(index) => NAME_COLOURS[usize::from(index) % NAME_COLOURS.len()],
        }
    }
}

/// Whether a terminal may be coloured: not with `NO_COLOR` set to anything, nor where `TERM` is unset,
/// empty or `dumb`.
fn wants_colour(env: impl Fn(&str) -> Option<OsString>) -> bool {
    let refused = env("NO_COLOR").is_some_and(|value| !value.is_empty());
    is_capable(&env) && !refused
}

/// Whether the terminal obeys more than line ends.
fn is_capable(env: &impl Fn(&str) -> Option<OsString>) -> bool {
    env("TERM").is_some_and(|value| !value.is_empty() && value != "dumb")
}

/// Whether the locale's letters are UTF-8: the first of these variables that is set decides.
fn is_utf8(env: &impl Fn(&str) -> Option<OsString>) -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| env(name).filter(|value| !value.is_empty()));
    set.is_some_and(|locale| {
        let locale = locale.to_string_lossy().to_lowercase();
        locale.ends_with("utf-8") || locale.ends_with("utf8")
    })
}

#[cfg(test)]
impl Style {
    pub(crate) fn of_terminal(width: u16) -> Style {
        Style {
            has_colour: true,
            width: Some(width),
            has_blocks: true,
            is_screen: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn colour_is_refused_by_no_color_and_dumb_terminals() {
        for (no_color, term, colour) in [
            (None, Some("xterm"), true),
            (Some(""), Some("xterm"), true),
            (Some("1"), Some("xterm"), false),
            (None, Some("dumb"), false),
            (None, Some(""), false),
            (None, None, false),
        ] {
            let env = |name: &str| if name == "NO_COLOR" { no_color } else { term }.map(OsString::from);
            assert_eq!(wants_colour(env), colour, "{no_color:?} {term:?}");
        }
    }

    #[test]
    fn blocks_are_drawn_where_the_locale_has_them() {
        for (all, ctype, lang, has) in [
            (None, None, Some("C.UTF-8"), true),
            (None, None, Some("de_DE.utf8"), true),
            (None, None, Some("C"), false),
            (None, None, None, false),
            (Some("C"), None, Some("C.UTF-8"), false),
            (Some(""), Some("en_US.UTF-8"), Some("C"), true),
        ] {
            let env = |name: &str| match name {
                "LC_ALL" => all,
                "LC_CTYPE" => ctype,
                _ => lang,
            };
            assert_eq!(
                is_utf8(&|name: &str| env(name).map(OsString::from)),
                has,
                "{all:?} {ctype:?} {lang:?}"
            );
        }
    }

    #[test]
    fn a_file_is_plain_whatever_the_environment_says() {
        let file = tempfile::tempfile().unwrap();
        let style = Style::of(&file, |_| Some("xterm".into()));
        assert_eq!(style, Style::plain());
        assert_eq!(style.paint(Paint::Bad, "failed"), "failed");
    }

    #[test]
    fn paint_ends_where_its_text_ends() {
        let style = Style::of_terminal(80);
        assert_eq!(style.paint(Paint::Good, "running"), "\x1b[32mrunning\x1b[0m");
        assert_eq!(style.paint(Paint::Good, ""), "");
    }

    #[test]
    fn names_keep_their_colour_and_differ() {
        assert_eq!(Paint::of_name("shop"), Paint::Name(0));
        let seen: BTreeSet<&str> = (0..50).map(|n| Paint::of_name(&format!("bot-{n}")).code()).collect();
        assert_eq!(seen.len(), NAME_COLOURS.len());
    }
}
