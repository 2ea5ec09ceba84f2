//! Bytes that came from anywhere, as text that harms no terminal.

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

/// Renders one line: control characters as `\xNN`, line ends as spaces, at most `width` characters.
pub(crate) fn one_line(text: &str, width: usize) -> String {
    let mut line = String::with_capacity(text.len().min(width));
    for letter in text.chars() {
        match letter {
            '\n' | '\r' | '\t' => line.push(' '),
            control if control.is_control() => escape(control, &mut line),
            other => line.push(other),
        }
    }
    if line.chars().count() <= width {
        return line;
    }
    let mut short: String = line.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
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
    }
}
