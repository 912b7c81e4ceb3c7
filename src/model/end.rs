//! How a run ended, and the signals that end one.

use std::fmt;

use super::units::show_size;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Code(i32),
    Signal {
        number: i32,
        core: bool,
    },
    OutOfMemory(Oom),
    /// Nobody saw it: the reason, such as `shim killed`.
    Unknown(String),
}

/// How the kernel's killing for want of memory was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oom {
    /// The kernel counts it in the bot's own group, under this `memory.max` in bytes; without one the memory of a
    /// group above, or of the host, was used up.
    Counted { limit: Option<u64> },
    /// The host's counter grew during the run: it may have been somebody else.
    Suspected,
}

impl End {
    pub fn is_success(&self) -> bool {
        *self == End::Code(0)
    }
}

impl fmt::Display for End {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Code(code) => write!(out, "exited with code {code}"),
            End::Signal { number, core } => {
                write!(out, "killed by {}", signal_name(*number))?;
                if *core { out.write_str(" (core dumped)") } else { Ok(()) }
            }
            End::OutOfMemory(Oom::Counted { limit: Some(bytes) }) => {
                write!(
                    out,
                    "killed by the kernel: out of memory (memory.max {})",
                    show_size(*bytes)
                )
            }
            End::OutOfMemory(Oom::Counted { limit: None }) => {
                out.write_str("killed by the kernel: out of memory (of the host or of a group above)")
            }
            End::OutOfMemory(Oom::Suspected) => out.write_str(
                "killed by SIGKILL, probably by the kernel: out of memory (it killed a process of this host for that \
                 during the run)",
            ),
            End::Unknown(why) => write!(out, "end unknown: {why}"),
        }
    }
}

/// The signals that a bot may be stopped with or killed by, by number.
const SIGNALS: [(i32, &str); 17] = [
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (10, "SIGUSR1"),
    (11, "SIGSEGV"),
    (12, "SIGUSR2"),
    (13, "SIGPIPE"),
    (14, "SIGALRM"),
    (15, "SIGTERM"),
    (24, "SIGXCPU"),
    (25, "SIGXFSZ"),
];

/// `SIGTERM` for 15; `signal 40` where Linux has no common name.
pub fn signal_name(number: i32) -> String {
    match SIGNALS.iter().find(|(known, _)| *known == number) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("signal {number}"),
    }
}

/// The number of `TERM`, `SIGTERM`, `term` or `15`; None for anything that is no signal.
pub fn signal_number(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let full = if upper.starts_with("SIG") {
        upper
    } else {
        format!("SIG{upper}")
    };
    match SIGNALS.iter().find(|(_, name)| *name == full) {
        Some((number, _)) => Some(*number),
        None => text
            .parse()
            .ok()
            .filter(|number| SIGNALS.iter().any(|(known, _)| known == number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_any_spelling() {
        for text in ["TERM", "SIGTERM", "term", "15"] {
            assert_eq!(signal_number(text), Some(15), "{text}");
        }
        for text in ["", "SIGNOPE", "0", "40", "65", "-1"] {
            assert_eq!(signal_number(text), None, "{text}");
        }
    }

    #[test]
    fn ends_in_words() {
        assert_eq!(End::Code(3).to_string(), "exited with code 3");
        assert_eq!(End::Signal { number: 9, core: false }.to_string(), "killed by SIGKILL");
        let counted = Oom::Counted { limit: Some(512 << 20) };
        assert_eq!(
            End::OutOfMemory(counted).to_string(),
            "killed by the kernel: out of memory (memory.max 512.0 MiB)"
        );
    }
}
