//! Long texts in the parts that a platform takes. Pure.

/// UTF-16 units in one message, which is how the Bot API counts; the Cloud API takes at least as much.
pub(super) const TEXT_UNITS_MAX: usize = 4096;
/// The same for the caption of a photo or document.
pub(super) const CAPTION_UNITS_MAX: usize = 1024;

pub(super) fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The text in parts of at most `max` units, at least 2: cut behind a line where one ends in the second half, else behind
/// a space there, else anywhere between two characters. Nothing is lost: the parts together are the text.
pub(super) fn split(text: &str, max: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(end) = end_of_units(rest, max) {
        let half = end / 2;
        let cut = |mark: char| rest[..end].rfind(mark).map(|at| at + 1).filter(|at| *at > half);
        let at = cut('\n').or_else(|| cut(' ')).unwrap_or(end);
        parts.push(&rest[..at]);
        rest = &rest[at..];
    }
    parts.push(rest);
    parts
}

/// Where the first `max` units end, in bytes; None when the text is not longer.
fn end_of_units(text: &str, max: usize) -> Option<usize> {
    let mut units = 0;
    text.char_indices().find_map(|(at, character)| {
        units += character.len_utf16();
        (units > max).then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_is_cut_where_it_hurts_least() {
        assert_eq!(split("", 4), [""]);
        assert_eq!(split("abcd", 4), ["abcd"]);
        assert_eq!(split("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(split("ab\ncdef", 5), ["ab\n", "cdef"]);
        assert_eq!(split("abc def", 5), ["abc ", "def"]);
        assert_eq!(
            split("a bcdefg", 5),
            ["a bcd", "efg"],
            "a cut in the first half would make crumbs"
        );
        assert_eq!(split("😀😀😀", 4), ["😀😀", "😀"]);
        assert_eq!(split(&"x".repeat(4097), TEXT_UNITS_MAX).len(), 2);
    }

    proptest! {
        #[test]
        fn no_part_is_too_long_and_nothing_is_lost(text in "[a😀ä \\n]{0,60}", max in 2usize..20) {
            let parts = split(&text, max);
            prop_assert_eq!(parts.concat(), text.clone());
            prop_assert!(parts.iter().all(|part| units(part) <= max));
            prop_assert!(text.is_empty() || parts.iter().all(|part| !part.is_empty()));
        }
    }
}
