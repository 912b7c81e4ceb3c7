//! Where the files of chats lie: names that no sender can abuse, and files that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::model::units::show_size;

const NAME_CHARS_MAX: usize = 80;

/// Where a file from a chat is put; `id` makes the name its own, whatever its sender calls it.
pub(super) fn received(root: &Path, chat: &str, id: &str, name: &str) -> PathBuf {
    let file = format!("{id}-{}", safe_name(name));
    root.join("received").join(safe_name(chat)).join(file)
}

/// A name that is one file in its folder, no hidden one and no option: letters, digits and `. _ - + @` stay.
pub(super) fn safe_name(name: &str) -> String {
    let is_safe = |c: char| c.is_alphanumeric() || "._-+@".contains(c);
    let mapped = name.chars().map(|c| if is_safe(c) { c } else { '_' });
    let count = name.chars().count();
    // The end has the extension.
    let safe: String = mapped.skip(count.saturating_sub(NAME_CHARS_MAX)).collect();
    match safe.strip_prefix('.') {
        _ if safe.is_empty() => "_".to_owned(),
        Some(rest) => format!("_{rest}"),
        None => safe,
    }
}

/// Where a file could not be fetched.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed<E> {
    /// In one line.
    Here(String),
    There(E),
}

/// Refuses a file that is said to be longer than one may be.
pub(super) fn bounded<E>(bytes: Option<u64>, max: u64) -> Result<(), Failed<E>> {
    if bytes.is_some_and(|bytes| bytes > max) {
        let why = format!("the file is longer than media.max_file, {}", show_size(max));
        return Err(Failed::Here(why));
    }
    Ok(())
}

/// Brings a file to where it is to be; `fetch` writes it and says how long it is.
pub(super) fn bring<E>(into: &Path, fetch: impl FnOnce(&mut File) -> Result<u64, E>) -> Result<u64, Failed<E>> {
    let here = |error: io::Error| Failed::Here(format!("{}: {error}", into.display()));
    if let Some(dir) = into.parent() {
        fs::create_dir_all(dir).map_err(here)?;
    }
    let mut part = into.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut target = File::create(&part).map_err(here)?;
    let bytes = match fetch(&mut target) {
        Ok(bytes) => bytes,
        Err(fault) => {
            let _ = fs::remove_file(&part);
            return Err(Failed::There(fault));
        }
    };
    target.flush().and_then(|()| target.sync_data()).map_err(here)?;
    fs::rename(&part, into).map_err(here)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_stay_readable_and_cannot_leave_their_folder() {
        for (name, safe) in [
            ("menu.pdf", "menu.pdf"),
            ("Speisekarte März.pdf", "Speisekarte_März.pdf"),
            ("../../etc/passwd", "_._.._etc_passwd"),
            (".bashrc", "_bashrc"),
            ("..", "_."),
            ("", "_"),
            ("a\n\u{0}b", "a__b"),
        ] {
            assert_eq!(safe_name(name), safe, "{name:?}");
        }
        let path = received(Path::new("/m"), "-100", "ID", "a/b.jpg");
        assert_eq!(path, Path::new("/m/received/-100/ID-a_b.jpg"));
    }

    proptest! {
        #[test]
        fn a_safe_name_is_one_visible_file(name in "\\PC{0,200}") {
            let safe = safe_name(&name);
            prop_assert!(!safe.is_empty() && safe.chars().count() <= NAME_CHARS_MAX);
            prop_assert!(!safe.contains('/') && !safe.starts_with('.'));
            prop_assert_eq!(Path::new(&safe).file_name().unwrap().to_string_lossy(), safe.clone());
        }
    }
}
