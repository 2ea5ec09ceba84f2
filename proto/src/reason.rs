//! Why an exchange has no response, as a word: the same in SQL, in JSON and on a terminal.

use crate::v1::Reason;
use crate::words;

/// What is known, and its word.
const TABLE: [(Reason, &str); 1] = [(Reason::Unreadable, "unreadable")];

/// All words of reasons.
pub const WORDS: [&str; TABLE.len()] = words::of(&TABLE);

/// Returns the word of a reason; `None` where none is known.
#[must_use]
pub fn word(reason: Reason) -> Option<&'static str> {
    TABLE.iter().find(|(known, _)| *known == reason).map(|(_, word)| *word)
}

/// Finds a reason by its word; what is no such word says nothing.
#[must_use]
pub fn named(word: &str) -> Reason {
    TABLE.iter().find(|(_, known)| *known == word).map_or(Reason::Unspecified, |(reason, _)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_but_none_has_a_word_of_its_own() {
        let all: Vec<Reason> = (0..100).filter_map(|number| Reason::try_from(number).ok()).collect();
        assert!(all.len() > 1);
        for reason in all {
            assert_eq!(word(reason).map(named), (reason != Reason::Unspecified).then_some(reason));
        }
        assert_eq!(named("nonsense"), Reason::Unspecified);
    }
}
