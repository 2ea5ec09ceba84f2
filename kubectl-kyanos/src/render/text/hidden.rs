//! Characters that a terminal does not show, or that change how it shows others.

use std::ops::RangeInclusive;

use unicode_general_category::{GeneralCategory, get_general_category};

/// Characters that fonts and terminals leave out although their category does not say so: the property
/// `Default_Ignorable_Code_Point` of the Unicode Character Database, file `DerivedCoreProperties.txt`.
const IGNORABLE_CHARACTERS: [RangeInclusive<char>; 17] = [
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{61c}'..='\u{61c}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{202a}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fff8}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];

/// Categories of what commands a terminal, changes the direction of text or ends a line.
const HIDDEN_CATEGORIES: [GeneralCategory; 5] = [
    GeneralCategory::Control,
    GeneralCategory::Format,
    GeneralCategory::LineSeparator,
    GeneralCategory::ParagraphSeparator,
    GeneralCategory::Surrogate,
];

/// Categories of what is drawn onto the character before it and takes no place of its own.
const MARK_CATEGORIES: [GeneralCategory; 2] =
    [GeneralCategory::NonspacingMark, GeneralCategory::EnclosingMark];

/// What a character does on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It shows as itself.
    Shown,
    /// It is drawn onto the character before it.
    Mark,
    /// It commands the terminal, changes the direction of text, ends a line, or shows nothing.
    Hidden,
}

/// Says what a character does on a terminal.
pub(super) fn kind(letter: char) -> Kind {
    if letter.is_ascii() {
        return if letter.is_ascii_control() { Kind::Hidden } else { Kind::Shown };
    }
    if is_no_character(letter) || IGNORABLE_CHARACTERS.iter().any(|range| range.contains(&letter)) {
        return Kind::Hidden;
    }
    let category = get_general_category(letter);
    if HIDDEN_CATEGORIES.contains(&category) {
        Kind::Hidden
    } else if MARK_CATEGORIES.contains(&category) {
        Kind::Mark
    } else {
        Kind::Shown
    }
}

/// Code points that never are characters.
fn is_no_character(letter: char) -> bool {
    let code = u32::from(letter);
    code & 0xfffe == 0xfffe || (0xfdd0..=0xfdef).contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_format_and_separator_character_is_hidden() {
        let mut counts = [0_usize; 5];
        for letter in '\0'..=char::MAX {
            let category = get_general_category(letter);
            if let Some(place) = HIDDEN_CATEGORIES.iter().position(|hidden| *hidden == category) {
                counts[place] += 1;
                assert_eq!(kind(letter), Kind::Hidden, "{:x}", u32::from(letter));
            }
        }
        // As many as Unicode has: the crate's table is not empty, and none is passed over.
        assert_eq!((counts[0], counts[2], counts[3]), (65, 1, 1));
        assert!(counts[1] >= 170, "{counts:?}");
    }

    #[test]
    fn what_changes_direction_or_shows_nothing_is_hidden_by_name() {
        let named = "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}\u{ad}\u{34f}\u{115f}\u{3164}\u{ffa0}\u{fe0f}\u{e0100}\u{e0041}\u{e0001}\u{180e}\u{1d173}\u{fff9}\u{ffff}\u{fdd0}\u{10ffff}\u{85}\u{9b}\u{7f}\u{1b}\u{2028}\u{2029}";
        for letter in named.chars() {
            assert_eq!(kind(letter), Kind::Hidden, "{:x}", u32::from(letter));
        }
    }

    #[test]
    fn what_can_be_read_is_shown() {
        for letter in "aZ0 ~\u{a0}äßçЖ中あ한אعกक€—…→✓😀\u{fffd}\u{e000}".chars() {
            assert_eq!(kind(letter), Kind::Shown, "{letter}");
        }
        for letter in ['\u{301}', '\u{20dd}', '\u{5b0}', '\u{64e}'] {
            assert_eq!(kind(letter), Kind::Mark);
        }
    }
}
