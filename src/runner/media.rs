//! Where the files of chats lie: names that no sender can abuse, and files that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
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

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    pub(super) files: usize,
    pub(super) bytes: u64,
}

/// Removes the oldest files of `received` and `sent` until the rest holds at most `quota` bytes.
pub(super) fn trim(root: &Path, quota: u64) -> Removed {
    let mut kept: Vec<(i64, u64, PathBuf)> = Vec::new();
    for folder in ["received", "sent"] {
        for chat in fs::read_dir(root.join(folder)).into_iter().flatten().flatten() {
            for file in fs::read_dir(chat.path()).into_iter().flatten().flatten() {
                if let Some(meta) = file.metadata().ok().filter(fs::Metadata::is_file) {
                    kept.push((meta.mtime(), meta.len(), file.path()));
                }
            }
        }
    }
    kept.sort();
    let mut total: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
    let mut removed = Removed::default();
    for (_, bytes, path) in kept {
        if total <= quota {
            break;
        }
        total -= bytes;
        if fs::remove_file(path).is_ok() {
            removed.files += 1;
            removed.bytes += bytes;
        }
    }
    removed
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

    #[test]
    fn the_oldest_files_go_first() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes, seconds) in [
            ("received/1/old", 10, 100),
            ("sent/1/mid", 20, 200),
            ("received/2/new", 30, 300),
        ] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, vec![0; bytes]).unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            File::options()
                .append(true)
                .open(&path)
                .unwrap()
                .set_modified(time)
                .unwrap();
        }
        assert_eq!(trim(dir.path(), 60), Removed::default());
        assert_eq!(trim(dir.path(), 45), Removed { files: 2, bytes: 30 });
        assert!(dir.path().join("received/2/new").exists() && !dir.path().join("sent/1/mid").exists());
        assert_eq!(trim(dir.path(), 0), Removed { files: 1, bytes: 30 });
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
