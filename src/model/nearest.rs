//! Finds the word that was probably meant.

/// Longer words are no typing slips, and comparing costs the product of both lengths.
const WORD_LEN_MAX: usize = 64;

/// The candidate that `word` is most likely a slip of; None when nothing is close. A word without a dot
/// is also compared with the last part of dotted candidates: `max_restarts` means `restart.max_restarts`.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters: Vec<char> = word.chars().collect();
    if letters.is_empty() || letters.len() > WORD_LEN_MAX {
        return None;
    }
    // A long group in front is no licence for a wilder guess behind it.
    let longest = word
        .split('.')
        .map(|part| part.chars().count())
        .max()
        .unwrap_or_default();
    let slips_max = (longest / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let whole = distance(&letters, candidate) * 2;
        let last = candidate.rsplit('.').next().unwrap_or(candidate);
        let score = if word.contains('.') || last == candidate {
            whole
        } else {
            whole.min(distance(&letters, last) * 2 + 1)
        };
        if score / 2 <= slips_max && score / 2 < letters.len() && best.is_none_or(|(known, _)| score < known) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// How many letters were added, dropped, replaced or swapped with their neighbour.
fn distance(word: &[char], candidate: &str) -> usize {
    let other: Vec<char> = candidate.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in word.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, counterpart) in other.iter().enumerate() {
            let replaced = last[column] + usize::from(letter != counterpart);
            let mut cost = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && *letter == other[column - 1] && word[row - 1] == *counterpart;
            if swapped {
                cost = cost.min(before_last[column - 1] + 1);
            }
            current.push(cost);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let words = ["restart", "restart.delay", "restart.max_restarts", "stop.grace", "env"];
        for (word, meant) in [
            ("restrat", Some("restart")),
            ("restart.dealy", Some("restart.delay")),
            ("max_restarts", Some("restart.max_restarts")),
            ("dely", Some("restart.delay")),
            ("env", Some("env")),
            ("emv", Some("env")),
            ("restrat.dely", Some("restart.delay")),
            ("restart.xyzxyz", None),
            ("stop.policy", None),
            ("q", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, words), meant, "{word}");
        }
    }

    proptest! {
        #[test]
        fn one_swap_is_one_slip(word in "[a-z]{4,12}", at in 0usize..3) {
            let mut letters: Vec<char> = word.chars().collect();
            letters.swap(at, at + 1);
            prop_assert!(distance(&letters, &word) <= 1);
            prop_assert_eq!(nearest(&word, [word.as_str()]), Some(word.as_str()));
        }

        #[test]
        fn no_text_panics(word in "\\PC{0,80}", other in "\\PC{0,20}") {
            let _ = nearest(&word, [other.as_str()]);
        }
    }
}
