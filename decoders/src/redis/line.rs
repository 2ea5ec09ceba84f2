//! Splits lines into words: inline commands, and the commands that `MONITOR` shows.

/// Splits an inline command as the server's `sdssplitargs` does; nothing where its quotes do not match.
pub(super) fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut bytes = line.iter().copied().peekable();
    loop {
        while bytes.next_if(u8::is_ascii_whitespace).is_some() {}
        if bytes.peek().is_none() {
            return Some(words);
        }
        let mut word = Vec::new();
        while let Some(byte) = bytes.next_if(|byte| !byte.is_ascii_whitespace()) {
            match byte {
                b'"' | b'\'' => {
                    unquote(byte, &mut bytes, &mut word)?;
                    if bytes.peek().is_some_and(|byte| !byte.is_ascii_whitespace()) {
                        return None;
                    }
                }
                _ => word.push(byte),
            }
        }
        words.push(word);
    }
}

/// Splits an inline command of which the quotes do not match, which the server refuses: at white space.
pub(super) fn split_roughly(line: &[u8]) -> Vec<Vec<u8>> {
    let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.map(<[u8]>::to_vec).collect()
}

/// Splits a command of which each word is quoted: returns the words and how they are written. The last one may be cut.
pub(super) fn split_quoted(line: &[u8]) -> (Vec<Vec<u8>>, Vec<&[u8]>) {
    let (mut words, mut raw) = (Vec::new(), Vec::new());
    let mut rest = line;
    while let Some(start) = memchr::memchr(b'"', rest) {
        rest = rest.get(start..).unwrap_or_default();
        let mut bytes = rest.iter().copied().skip(1);
        let mut word = Vec::new();
        let whole = unquote(b'"', &mut bytes, &mut word).is_some();
        let used = if whole { rest.len().saturating_sub(bytes.len()) } else { rest.len() };
        raw.push(rest.get(..used).unwrap_or_default());
        words.push(word);
        rest = rest.get(used..).unwrap_or_default();
    }
    (words, raw)
}

/// Reads up to the closing `quote`.
fn unquote(quote: u8, bytes: &mut impl Iterator<Item = u8>, word: &mut Vec<u8>) -> Option<()> {
    loop {
        let byte = bytes.next()?;
        if byte == quote {
            return Some(());
        }
        if byte != b'\\' {
            word.push(byte);
            continue;
        }
        let escaped = bytes.next()?;
        match (quote, escaped) {
            (b'"', b'n') => word.push(b'\n'),
            (b'"', b'r') => word.push(b'\r'),
            (b'"', b't') => word.push(b'\t'),
            (b'"', b'a') => word.push(7),
            (b'"', b'b') => word.push(8),
            (b'"', b'x') => {
                let (high, low) = (bytes.next()?, bytes.next()?);
                let digits = [high, low];
                let value =
                    std::str::from_utf8(&digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
                word.push(value?);
            }
            (b'\'', other) if other != b'\'' => word.extend_from_slice(&[b'\\', other]),
            (_, other) => word.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[Vec<u8>]) -> Vec<String> {
        words.iter().map(|word| word.escape_ascii().to_string()).collect()
    }

    #[test]
    fn inline_words_are_split_as_the_server_splits_them() {
        for (line, want) in [
            ("SET a 1", Some(vec!["SET", "a", "1"])),
            ("  SET\ta  1 ", Some(vec!["SET", "a", "1"])),
            (r#"SET "a b" 'c d'"#, Some(vec!["SET", "a b", "c d"])),
            (r#"SET "\x41\n" ''"#, Some(vec!["SET", "A\\n", ""])),
            (r#"SET "a"b 1"#, None),
            (r#"AUTH "pw"#, None),
            ("", Some(vec![])),
        ] {
            assert_eq!(
                split(line.as_bytes()).map(|split| words(&split)),
                want.map(|want| want.iter().map(|word| (*word).to_owned()).collect()),
                "{line}"
            );
        }
        assert_eq!(words(&split_roughly(b"AUTH  \"pw x")), ["AUTH", "\\\"pw", "x"]);
    }

    #[test]
    fn quoted_words_are_read_up_to_a_cut() {
        let (all, raw) = split_quoted(br#""SET" "a\"b" "c"#);
        assert_eq!(words(&all), ["SET", "a\\\"b", "c"]);
        assert_eq!(raw, [br#""SET""#.as_slice(), br#""a\"b""#, br#""c"#]);
    }
}
