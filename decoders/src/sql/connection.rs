//! Secrets inside of texts that say how to connect: addresses, pairs of names and values, commands of a shell.
//!
//! Sources: <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>,
//! <https://dev.mysql.com/doc/refman/8.4/en/federated-create-connection.html>.

use std::ops::Range;

use super::names;

/// Names whose value goes to the end of the line, as a header's does.
const LINE_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "x-api-key", "cookie"];

/// Longest address whose user information is looked for.
const MAX_ADDRESS: usize = 1024;

/// Flags of common programs whose value is a secret, or a user with one.
const SECRET_FLAGS: [&[u8]; 7] = [b"-u", b"-p", b"-a", b"-P", b"--user", b"--password", b"--pass"];

/// What kind of text it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Style {
    /// Names and values of libpq: a value without quotes ends at white space only.
    pub(super) libpq: bool,
    /// A command of a shell.
    pub(super) shell: bool,
    /// The end of the text is missing.
    pub(super) cut: bool,
}

/// Returns where the secrets of `text` lie.
pub(super) fn secrets(text: &[u8], style: Style) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for at in memchr::memmem::find_iter(text, b"://") {
        found.extend(user(text, at.saturating_add(3), style.cut));
    }
    let mut known = 0_usize;
    for at in memchr::memchr2_iter(b'=', b':', text) {
        // What is a value already needs no look.
        if at >= known
            && let Some(value) = pair(text, at, style)
        {
            known = value.end;
            found.push(value);
        }
    }
    if style.shell {
        flags(text, &mut found);
    }
    found
}

/// Returns where the user information of the address lies whose authority begins at `start`.
fn user(text: &[u8], start: usize, cut: bool) -> Option<Range<usize>> {
    let rest = text.get(start..)?;
    let rest = rest.get(..MAX_ADDRESS).unwrap_or(rest);
    let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'\'' | b'"' | b'<' | b'>');
    let rest = rest.get(..rest.iter().position(ends).unwrap_or(rest.len()))?;
    let authority = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    let (authority, path) = rest.split_at_checked(authority.unwrap_or(rest.len()))?;
    let end = if let Some(at) = memchr::memrchr(b'@', authority) {
        at
    } else {
        let colon = memchr::memchr(b':', authority)?;
        let port = authority.get(colon.saturating_add(1)..)?.iter().all(u8::is_ascii_digit);
        let cut = cut && start.saturating_add(rest.len()) == text.len();
        match memchr::memchr(b'@', path) {
            // A password that holds the sign which ends it.
            Some(at) if !port => authority.len().saturating_add(at),
            None if cut && path.is_empty() => rest.len(),
            _ => return None,
        }
    };
    Some(start..start.saturating_add(end))
}

/// Returns where the value lies that `=` or `:` at `at` gives to a secret name.
fn pair(text: &[u8], at: usize, style: Style) -> Option<Range<usize>> {
    let before = text.get(..at)?.trim_ascii_end();
    let (before, quoted) = match before.split_last() {
        Some((b'"' | b'\'' | b'`', head)) => (head, true),
        _ => (before, false),
    };
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'%');
    let start = before.iter().rposition(|byte| !letter(byte)).map_or(0, |at| at.saturating_add(1));
    let name = names::lower(&percent_decoded(before.get(start..)?));
    let colon = text.get(at) == Some(&b':');
    let header = LINE_HEADERS.contains(&name.as_str());
    let queried = start.checked_sub(1).and_then(|at| before.get(at)).is_some_and(|byte| b"?&".contains(byte));
    let secret = names::is_secret(&name) || header || queried && names::is_secret_in_query(&name);
    if !secret || colon && !quoted && !header {
        return None;
    }
    let mut value = at.saturating_add(1);
    if !colon && text.get(value) == Some(&b'>') {
        value = value.saturating_add(1);
    }
    while text.get(value).is_some_and(u8::is_ascii_whitespace) {
        value = value.saturating_add(1);
    }
    let rest = text.get(value..)?;
    let (ahead, length) = match rest.first()? {
        quote @ (b'\'' | b'"' | b'`') => (1, quoted_length(rest.get(1..)?, *quote)),
        b'{' | b'[' if colon => return None,
        b'{' => (1, memchr::memchr(b'}', rest.get(1..)?).unwrap_or(rest.len())),
        _ if header => (0, rest.iter().position(|byte| b"\r\n\"'".contains(byte)).unwrap_or(rest.len())),
        _ if style.libpq && !queried => (0, libpq_length(rest)),
        _ => (0, bare_length(rest)),
    };
    let start = value.saturating_add(ahead);
    let end = start.saturating_add(length).min(text.len());
    (start < end).then_some(start..end)
}

/// Returns how long a value is whose opening quote is read: up to the closing one, which may be doubled or escaped inside.
fn quoted_length(rest: &[u8], quote: u8) -> usize {
    let mut at = 0_usize;
    while let Some(byte) = rest.get(at) {
        let next = rest.get(at.saturating_add(1));
        // Two quotes at once are an empty value, three a value that begins with one.
        let empty = at == 0 && rest.get(1) == Some(&quote) && rest.get(2) != Some(&quote);
        let escaped = *byte == b'\\' || *byte == quote && next == Some(&quote) && !empty;
        if *byte == quote && !escaped {
            return at;
        }
        at = at.saturating_add(if escaped { 2 } else { 1 });
    }
    rest.len()
}

/// Returns how long a value of libpq without quotes is. A word without `=` behind it is no pair: it belongs to the value.
fn libpq_length(rest: &[u8]) -> usize {
    let mut end = 0_usize;
    let mut at = 0_usize;
    while let Some(byte) = rest.get(at) {
        if *byte == b'\\' {
            at = at.saturating_add(2);
        } else if byte.is_ascii_whitespace() {
            end = if end == 0 { at } else { end };
            let next = rest.get(at..).unwrap_or_default().trim_ascii_start();
            let word = next.iter().position(u8::is_ascii_whitespace).unwrap_or(next.len());
            let blank = rest.len().saturating_sub(at).saturating_sub(next.len());
            let after = next.get(word..).unwrap_or_default().trim_ascii_start();
            if next.get(..word).unwrap_or_default().contains(&b'=') || after.first() == Some(&b'=') {
                return at;
            }
            at = at.saturating_add(blank).saturating_add(word);
        } else {
            at = at.saturating_add(1);
        }
    }
    rest.trim_ascii_end().len()
}

/// Returns how long a value without quotes is: `;`, `,` and `&` end it only where another pair follows.
fn bare_length(rest: &[u8]) -> usize {
    let ends = |(at, byte): (usize, &u8)| match byte {
        b'"' | b'\'' | b'`' => true,
        b';' | b',' | b'&' => {
            let next = rest.get(at.saturating_add(1)..).unwrap_or_default();
            let next = next.trim_ascii_start();
            let name = next.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"_-. ".contains(byte));
            let name = name.count();
            next.is_empty() || name > 0 && next.get(name) == Some(&b'=')
        }
        _ => byte.is_ascii_whitespace(),
    };
    rest.iter().enumerate().position(ends).unwrap_or(rest.len())
}

/// Finds what follows flags such as `-u`.
fn flags(text: &[u8], found: &mut Vec<Range<usize>>) {
    let mut at = 0_usize;
    let mut announced = false;
    for word in text.split(u8::is_ascii_whitespace) {
        let range = at..at.saturating_add(word.len());
        at = range.end.saturating_add(1);
        if word.is_empty() {
            continue;
        }
        let flag = SECRET_FLAGS.iter().find(|flag| word.starts_with(flag));
        if std::mem::take(&mut announced) {
            found.push(range);
        } else if let Some(flag) = flag {
            announced = word.len() == flag.len();
            if !announced && (flag.len() == 2 || word.get(flag.len()) == Some(&b'=')) {
                found.push(range.start.saturating_add(flag.len())..range.end);
            }
        }
    }
}

fn percent_decoded(name: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((byte, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(letter) if *byte == b'%' => {
                decoded.push(letter);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                decoded.push(*byte);
                rest = tail;
            }
        }
    }
    decoded
}
