//! What is wrong with a configuration: one line for each fault, with its place.

use std::fmt;
use std::path::{Path, PathBuf};

use super::yaml::Place;

/// One fault. Shown as `bot_configs/sales.yaml:7:3: unknown key "restrat", nearest is "restart"`;
/// without a file (a `bot set`, stored settings) or a line only what is known of the place is shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    pub file: Option<PathBuf>,
    /// Counted from 1; 0: no line.
    pub line: u64,
    /// Counted from 1, in characters; 0: no column.
    pub column: u64,
    pub message: String,
}

/// All faults that were found, in the order of files and lines; shown one a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Fault {
        Fault::at(Place::default(), message)
    }

    pub(super) fn at(place: Place, message: impl Into<String>) -> Fault {
        Fault {
            file: None,
            line: place.line,
            column: place.column,
            message: message.into(),
        }
    }

    pub(super) fn in_file(mut self, file: &Path) -> Fault {
        self.file = Some(file.to_owned());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(out, "{}:", file.display())?;
            if self.line > 0 {
                write!(out, "{}:{}:", self.line, self.column)?;
            }
            out.write_str(" ")?;
        }
        out.write_str(&self.message)
    }
}

impl Faults {
    /// The faults of one file by line and column, each once: an alias can repeat one.
    pub(super) fn of_file(mut faults: Vec<Fault>, file: &Path) -> Vec<Fault> {
        faults.sort_by_key(|fault| (fault.line, fault.column));
        faults.dedup();
        faults.into_iter().map(|fault| fault.in_file(file)).collect()
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Faults {
        Faults(vec![fault])
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            fault.fmt(out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_with_as_much_place_as_is_known() {
        let placed = Fault::at(Place { line: 7, column: 3 }, "unknown key");
        assert_eq!(
            placed.clone().in_file(Path::new("a/b.yaml")).to_string(),
            "a/b.yaml:7:3: unknown key"
        );
        let unread = Fault::new("cannot read").in_file(Path::new("a/b.yaml"));
        assert_eq!(unread.to_string(), "a/b.yaml: cannot read");
        assert_eq!(Faults(vec![placed, Fault::new("x")]).to_string(), "unknown key\nx");
    }
}
