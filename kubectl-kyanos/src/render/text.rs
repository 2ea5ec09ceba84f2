//! Bytes that came from anywhere, as text that harms no terminal.
//!
//! JSON, YAML and CSV hold text as it is; what goes to a terminal passes [`one_line`] or [`lines`].

mod hidden;

use self::hidden::{Kind, kind};

/// What a tab becomes where lines stay lines.
const TAB: &str = "    ";

/// Renders a payload: text as it is, what is not text as `\xNN`, at most `limit` bytes of it.
///
/// Returns the text and whether it was cut.
pub(crate) fn payload(bytes: &[u8], limit: usize) -> (String, bool) {
    let cut = bytes.len() > limit;
    let bytes = if cut { bytes.get(..whole_characters(bytes, limit)).unwrap_or(bytes) } else { bytes };
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\n' | '\r' | '\t' => text.push(letter),
                control if control.is_control() => escape(control, &mut text),
                other => text.push(other),
            }
        }
        for byte in chunk.invalid() {
            escape_byte(*byte, &mut text);
        }
    }
    (text, cut)
}

/// Renders one line for a terminal: line ends and tabs as spaces, what would not be shown as `\xNN`, at most `width`
/// characters.
pub(crate) fn one_line(text: &str, width: usize) -> String {
    let line = shown(text, |_| Some(" "));
    if line.chars().count() <= width {
        return line;
    }
    let mut short: String = line.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Renders one line as [`one_line`] does; of one that is too long both ends stay.
pub(crate) fn both_ends(text: &str, width: usize) -> String {
    let line = one_line(text, usize::MAX);
    let length = line.chars().count();
    if length <= width {
        return line;
    }
    let room = width.saturating_sub(1);
    let head = room / 2;
    let tail = length.saturating_sub(room - head);
    line.chars().take(head).chain(['…']).chain(line.chars().skip(tail)).collect()
}

/// Renders lines for a terminal: they stay lines, and what would not be shown is `\xNN`.
pub(crate) fn lines(text: &str) -> String {
    shown(text, |letter| match letter {
        '\n' => Some("\n"),
        '\t' => Some(TAB),
        _ => None,
    })
}

/// Replaces characters that a terminal does not show, or obeys; `space` says what line ends and tabs become, if anything
/// but the like.
fn shown(text: &str, space: impl Fn(char) -> Option<&'static str>) -> String {
    let mut shown = String::with_capacity(text.len());
    // A mark is drawn onto what is before it, which must not be a column's edge.
    let mut stands = false;
    for letter in text.chars() {
        let spaced = matches!(letter, '\n' | '\r' | '\t').then(|| space(letter)).flatten();
        if let Some(spaced) = spaced {
            shown.push_str(spaced);
            stands = false;
            continue;
        }
        stands = match kind(letter) {
            Kind::Shown => {
                shown.push(letter);
                !letter.is_whitespace()
            }
            Kind::Mark if stands => {
                shown.push(letter);
                true
            }
            Kind::Mark | Kind::Hidden => {
                escape(letter, &mut shown);
                false
            }
        };
    }
    shown
}

/// Finds where to cut so that no character is split, if it is text around there.
fn whole_characters(bytes: &[u8], limit: usize) -> usize {
    let mut end = limit;
    // A character has at most four bytes.
    while end + 3 >= limit && end > 0 {
        match bytes.get(end) {
            Some(byte) if byte & 0xc0 == 0x80 => end -= 1,
            _ => return end,
        }
    }
    limit
}

fn escape(control: char, text: &mut String) {
    let mut buffer = [0; 4];
    for byte in control.encode_utf8(&mut buffer).bytes() {
        escape_byte(byte, text);
    }
}

fn escape_byte(byte: u8, text: &mut String) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    text.push_str("\\x");
    for nibble in [byte >> 4, byte & 15] {
        text.push(DIGITS.get(usize::from(nibble)).copied().unwrap_or('?'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_text_is_escaped() {
        assert_eq!(payload("a\tb\r\nü😀".as_bytes(), 100), ("a\tb\r\nü😀".to_owned(), false));
        assert_eq!(payload(b"a\x00\xffb\x1b[31m", 100).0, "a\\x00\\xffb\\x1b[31m");
        assert_eq!(payload("\u{9b}x".as_bytes(), 100).0, "\\xc2\\x9bx");
    }

    #[test]
    fn cutting_splits_no_character() {
        assert_eq!(payload("aü".as_bytes(), 2), ("a".to_owned(), true));
        assert_eq!(payload("aü".as_bytes(), 3), ("aü".to_owned(), false));
        assert_eq!(payload("😀😀".as_bytes(), 7), ("😀".to_owned(), true));
        assert_eq!(payload(b"\x80\x80\x80\x80\x80\x80", 5).0, "\\x80".repeat(5));
        assert_eq!(payload(b"abc", 0), (String::new(), true));
    }

    #[test]
    fn a_line_stays_one() {
        assert_eq!(one_line("SELECT\n1\u{7}", 40), "SELECT 1\\x07");
        assert_eq!(one_line("abcdef", 4), "abc…");
        assert_eq!(one_line("a\r\n\tb\u{2028}c\u{85}", 40), "a   b\\xe2\\x80\\xa8c\\xc2\\x85");
    }

    #[test]
    fn both_ends_of_a_long_name_stay() {
        assert_eq!(both_ends("orders-6d5f7c9b8-x2x4z/app", 11), "order…z/app");
        assert_eq!(both_ends("abc", 3), "abc");
        assert_eq!(both_ends("abcdef", 4), "a…ef");
        assert_eq!(both_ends("abcdef", 1), "…");
    }

    #[test]
    fn what_no_one_sees_is_escaped_and_what_can_be_read_is_not() {
        assert_eq!(one_line("bidi\u{202e}abc", 40), "bidi\\xe2\\x80\\xaeabc");
        assert_eq!(lines("a\n\tb\rc\u{feff}"), "a\n    b\\x0dc\\xef\\xbb\\xbf");
        for readable in ["Grüße 中文 שלום", "e\u{301}te\u{301}", "naïve — 10 €"] {
            assert_eq!(one_line(readable, 40), readable);
            assert_eq!(lines(readable), readable);
        }
        // Once more changes nothing.
        let once = one_line("\u{202e}\u{301}\u{7}x", 40);
        assert_eq!((one_line(&once, 40), lines(&once)), (once.clone(), once));
    }

    #[test]
    fn a_mark_needs_something_to_stand_on() {
        assert_eq!(one_line("\u{301}a", 40), "\\xcc\\x81a");
        assert_eq!(one_line("a \u{20dd}", 40), "a \\xe2\\x83\\x9d");
        assert_eq!(one_line("a\u{200d}\u{301}", 40), "a\\xe2\\x80\\x8d\\xcc\\x81");
        assert_eq!(lines("a\n\u{301}"), "a\n\\xcc\\x81");
    }

    #[test]
    fn nothing_hidden_is_left_whatever_comes() {
        let all: String = ('\0'..=char::MAX).collect();
        for shown in [one_line(&all, usize::MAX), lines(&all)] {
            let left: Vec<char> = shown.chars().filter(|letter| kind(*letter) == Kind::Hidden).collect();
            assert!(left.iter().all(|letter| *letter == '\n'), "{left:?}");
        }
    }

    #[test]
    fn payloads_in_json_stay_as_they_are() {
        let text = "a\u{202e}b\u{2028}c\u{fe0f}";
        assert_eq!(payload(text.as_bytes(), 100).0, text);
    }
}
