//! Reads one YAML file into its tree. A file that is missing, too large, not UTF-8 or not YAML is a fault.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::fault::Fault;
use super::yaml::{Node, Place, parse};

/// A thousand bots with every key fit; what is larger is not a configuration.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Why a file has no tree.
pub(super) enum SourceError {
    Missing(Fault),
    Bad(Fault),
}

impl SourceError {
    pub(super) fn into_fault(self) -> Fault {
        match self {
            SourceError::Missing(fault) | SourceError::Bad(fault) => fault,
        }
    }
}

pub(super) fn read_tree(path: &Path) -> Result<Node, SourceError> {
    let refuse = |place, message: String| SourceError::Bad(Fault::at(place, message).in_file(path));
    let bytes = match read_bytes(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let fault = Fault::new(format!("cannot read: {error}")).in_file(path);
            return Err(match error.kind() {
                io::ErrorKind::NotFound => SourceError::Missing(fault),
                _ => SourceError::Bad(fault),
            });
        }
    };
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(refuse(
            Place::default(),
            "larger than 4 MiB; split it into several files".to_owned(),
        ));
    }
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        Err(error) => {
            let place = end_of(&bytes[..error.valid_up_to()]);
            return Err(refuse(place, "not UTF-8 text".to_owned()));
        }
    };
    parse(text).map_err(|fault| refuse(fault.place, fault.message))
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe would be waited for, perhaps for ever.
    let kind = std::fs::metadata(path)?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Err(io::Error::other("it is a pipe or a device, not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The place right behind valid UTF-8.
fn end_of(valid: &[u8]) -> Place {
    let text = String::from_utf8_lossy(valid);
    let last_line = text.rsplit('\n').next().unwrap_or_default();
    Place {
        line: text.matches('\n').count() as u64 + 1,
        column: last_line.chars().count() as u64 + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreadable_files_say_why() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        let said = || {
            let fault = read_tree(&file)
                .map(|_| ())
                .map_err(SourceError::into_fault)
                .unwrap_err();
            fault.to_string().replace(&file.display().to_string(), "a.yaml")
        };
        assert_eq!(said(), "a.yaml: cannot read: No such file or directory (os error 2)");
        std::fs::write(&file, b"a: 1\nb: \xc3\xa4\xff\n").unwrap();
        assert_eq!(said(), "a.yaml:2:5: not UTF-8 text");
        std::fs::write(&file, "a: [\n").unwrap();
        assert_eq!(said(), "a.yaml:1:4: not valid YAML: unclosed bracket '['");
        std::fs::write(&file, "#".repeat(4 * 1024 * 1024 + 1)).unwrap();
        assert_eq!(said(), "a.yaml: larger than 4 MiB; split it into several files");
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert_eq!(said(), "a.yaml: cannot read: Is a directory (os error 21)");
    }
}
