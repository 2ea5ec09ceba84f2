//! Which end of the connection the observed process is, as a word: the same in SQL, in JSON and on a terminal.

use crate::v1::Side;
use crate::words;

/// What is known, and its word.
const TABLE: [(Side, &str); 2] = [(Side::Client, "client"), (Side::Server, "server")];

/// All words of sides.
pub const WORDS: [&str; TABLE.len()] = words::of(&TABLE);

/// Returns the word of a side; `None` where it is not known.
#[must_use]
pub fn word(side: Side) -> Option<&'static str> {
    TABLE.iter().find(|(known, _)| *known == side).map(|(_, word)| *word)
}

/// Finds a side by its word; what is no such word says nothing.
#[must_use]
pub fn named(word: &str) -> Side {
    TABLE.iter().find(|(_, known)| *known == word).map_or(Side::Unspecified, |(side, _)| *side)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_side_has_a_word_of_its_own() {
        let all: Vec<Side> = (0..100).filter_map(|number| Side::try_from(number).ok()).collect();
        assert!(all.len() > 2);
        for side in all {
            assert_eq!(word(side).map(named), (side != Side::Unspecified).then_some(side));
        }
        assert_eq!(named("nonsense"), Side::Unspecified);
    }
}
