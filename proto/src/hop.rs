//! Words of hops: the same in SQL, in JSON and on a terminal.

use crate::v1::{HopDirection, HopMessage, HopPlace};
use crate::words;

/// Kinds of places.
const PLACES: [(HopPlace, &str); 3] =
    [(HopPlace::Process, "process"), (HopPlace::Nic, "nic"), (HopPlace::Socket, "socket")];

/// Ways of bytes.
const DIRECTIONS: [(HopDirection, &str); 2] = [(HopDirection::Out, "out"), (HopDirection::In, "in")];

/// Messages of an exchange.
const MESSAGES: [(HopMessage, &str); 2] =
    [(HopMessage::Request, "request"), (HopMessage::Response, "response")];

/// All words of places.
pub const PLACE_WORDS: [&str; PLACES.len()] = words::of(&PLACES);

/// All words of directions.
pub const DIRECTION_WORDS: [&str; DIRECTIONS.len()] = words::of(&DIRECTIONS);

/// All words of messages.
pub const MESSAGE_WORDS: [&str; MESSAGES.len()] = words::of(&MESSAGES);

/// Returns the word of a kind of place; empty where it is not known.
#[must_use]
pub fn place_word(place: HopPlace) -> &'static str {
    word(&PLACES, place)
}

/// Finds a kind of place by its word.
#[must_use]
pub fn place_named(word: &str) -> HopPlace {
    named(&PLACES, word)
}

/// Returns the word of a direction; empty where it is not known.
#[must_use]
pub fn direction_word(direction: HopDirection) -> &'static str {
    word(&DIRECTIONS, direction)
}

/// Finds a direction by its word.
#[must_use]
pub fn direction_named(word: &str) -> HopDirection {
    named(&DIRECTIONS, word)
}

/// Returns the word of a message; empty where it is not known.
#[must_use]
pub fn message_word(message: HopMessage) -> &'static str {
    word(&MESSAGES, message)
}

/// Finds a message by its word.
#[must_use]
pub fn message_named(word: &str) -> HopMessage {
    named(&MESSAGES, word)
}

fn word<T: Copy + PartialEq>(table: &[(T, &'static str)], value: T) -> &'static str {
    table.iter().find(|(known, _)| *known == value).map(|(_, word)| *word).unwrap_or_default()
}

fn named<T: Copy + Default>(table: &[(T, &str)], word: &str) -> T {
    table.iter().find(|(_, known)| *known == word).map_or_else(T::default, |(value, _)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_value_has_a_word_of_its_own() {
        let (mut places, mut directions, mut messages) = (0, 0, 0);
        for number in 1..100 {
            if let Ok(place) = HopPlace::try_from(number) {
                assert_eq!(place_named(place_word(place)), place);
                places += 1;
            }
            if let Ok(direction) = HopDirection::try_from(number) {
                assert_eq!(direction_named(direction_word(direction)), direction);
                directions += 1;
            }
            if let Ok(message) = HopMessage::try_from(number) {
                assert_eq!(message_named(message_word(message)), message);
                messages += 1;
            }
        }
        assert_eq!(
            (places, directions, messages),
            (PLACE_WORDS.len(), DIRECTION_WORDS.len(), MESSAGE_WORDS.len())
        );
        assert_eq!((place_word(HopPlace::Unspecified), place_named("")), ("", HopPlace::Unspecified));
        assert_eq!(message_named("nonsense"), HopMessage::Unspecified);
    }
}
