//! Where the files of chats lie: names that no sender can abuse.

use std::path::{Path, PathBuf};

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
