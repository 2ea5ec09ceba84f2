//! Secrets of addresses: user information, and values of a query or a fragment whose names say that they are secret.
//!
//! An address may hold another one, in its path or as a value, there often percent-encoded and more than once. So a
//! text is read as characters of which each has a level: how often it is encoded. What is encoded as often as an address
//! is, or less, divides that address; what is encoded more often is part of what it divides.

use super::REDACTED;

/// Last words of the names of values that are secrets.
const SECRET_LAST_WORDS: [&str; 13] = [
    "token",
    "key",
    "password",
    "passwd",
    "passphrase",
    "pass",
    "pwd",
    "secret",
    "signature",
    "sig",
    "credential",
    "credentials",
    "apikey",
];

/// Ends of such names that are written as one word, as in `accesstoken`.
const SECRET_ENDS: [&str; 5] = ["token", "password", "secret", "signature", "apikey"];

/// Longest name looked at; longer ones are none that somebody chose.
const MAX_NAME: usize = 128;

/// Returns an address, or a request's target, without its secrets.
pub(crate) fn address(address: &str) -> String {
    hide(address, false)
}

/// Returns a text without the secrets of the addresses that it holds among other words, as a header's value.
pub(crate) fn addresses(text: &str) -> String {
    hide(text, true)
}

/// Returns a host and port without user information.
pub(crate) fn authority(authority: &str) -> String {
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{REDACTED}@{host}"),
        None => address(authority),
    }
}

/// A character, and where it stands in the text.
#[derive(Clone, Copy, Debug)]
struct Unit {
    byte: u8,
    /// How often it is percent-encoded.
    level: u8,
    start: usize,
    end: usize,
}

fn hide(text: &str, among_words: bool) -> String {
    let marks = |byte| matches!(byte, b'?' | b'#' | b'@' | b'%');
    if !text.bytes().any(marks) {
        return text.to_owned();
    }
    let units = units(text.as_bytes());
    let mut secrets = users(&units, among_words);
    secrets.extend(values(&units, among_words));
    secrets.sort_unstable();
    let (mut shown, mut at) = (String::new(), 0);
    for (start, end) in secrets {
        // A secret value may hold an address with a secret of its own.
        if start >= at {
            shown.push_str(text.get(at..start).unwrap_or_default());
            shown.push_str(REDACTED);
            at = end;
        }
    }
    shown.push_str(text.get(at..).unwrap_or_default());
    shown
}

/// Returns a text's characters; `%2540` is an `@` of level 2.
fn units(text: &[u8]) -> Vec<Unit> {
    let mut units = Vec::with_capacity(text.len());
    let mut at = 0_usize;
    while let Some(byte) = text.get(at) {
        let (byte, level, length) = encoded(text.get(at..).unwrap_or_default()).unwrap_or((*byte, 0, 1));
        let end = at.saturating_add(length);
        units.push(Unit { byte, level, start: at, end });
        at = end;
    }
    units
}

/// Reads a percent-encoded character at the front: itself, its level and its length.
fn encoded(text: &[u8]) -> Option<(u8, u8, usize)> {
    let mut digits = text.strip_prefix(b"%")?;
    let mut level = 1_u8;
    while let Some(rest) = digits.strip_prefix(b"25") {
        let Some(next) = rest.get(..2).filter(|next| next.iter().all(u8::is_ascii_hexdigit)) else { break };
        (digits, level) = (rest, level.saturating_add(1));
        if next != b"25" {
            break;
        }
    }
    let code = digits.get(..2).filter(|code| code.iter().all(u8::is_ascii_hexdigit))?;
    let byte = u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok()?;
    Some((byte, level, text.len().saturating_sub(digits.len()).saturating_add(2)))
}

/// Returns where user information stands.
fn users(units: &[Unit], among_words: bool) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (at, window) in units.windows(3).enumerate() {
        let [colon, first, second] = window else { continue };
        let slashes = first.byte == b'/' && second.byte == b'/';
        // An address may go without its scheme (RFC 3986, section 4.2).
        let relative = among_words && at == 0 && colon.byte == b'/' && first.byte == b'/';
        let skipped = if relative { 2_usize } else { 3 };
        let absolute = colon.byte == b':' && slashes;
        if !relative && !absolute {
            continue;
        }
        let level = if relative { 0 } else { colon.level.max(first.level).max(second.level) };
        let rest = units.get(at.saturating_add(skipped)..).unwrap_or_default();
        let ends = |unit: &&Unit| {
            let divides = unit.level <= level && matches!(unit.byte, b'/' | b'?' | b'#' | b'\\');
            divides || unit.level < level && unit.byte == b'&' || among_words && is_outside(**unit)
        };
        let authority = rest.iter().take_while(|unit| !ends(unit));
        let user = authority.filter(|unit| unit.byte == b'@' && unit.level <= level).last();
        if let (Some(first), Some(sign)) = (rest.first(), user)
            && first.start < sign.start
        {
            found.push((first.start, sign.start));
        }
    }
    found
}

/// Returns where values stand that are secrets.
fn values(units: &[Unit], among_words: bool) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    // Where the name began that is being read; absent ahead of the first query and within values.
    let mut name: Option<usize> = None;
    let mut in_query = false;
    let mut at = 0_usize;
    while let Some(unit) = units.get(at) {
        let begun = name.and_then(|start| units.get(start..at));
        at = at.saturating_add(1);
        match unit.byte {
            b'?' | b'#' => (in_query, name) = (true, Some(at)),
            b'&' | b';' if in_query => name = Some(at),
            b'=' if begun.is_some_and(is_secret) => {
                let rest = units.get(at..).unwrap_or_default();
                let ends = |value: &&Unit| {
                    value.level <= unit.level && matches!(value.byte, b'&' | b'#')
                        || among_words && is_outside(**value)
                };
                let value = rest.iter().take_while(|unit| !ends(unit)).count();
                at = at.saturating_add(value);
                let (first, last) = (rest.first(), value.checked_sub(1).and_then(|last| rest.get(last)));
                found.extend(first.zip(last).map(|(first, last)| (first.start, last.end)));
                name = None;
            }
            b'=' => name = None,
            _ => {}
        }
    }
    found
}

/// Says whether a character of a text stands outside of every address.
fn is_outside(unit: Unit) -> bool {
    unit.level == 0 && (unit.byte.is_ascii_whitespace() || matches!(unit.byte, b'"' | b'<' | b'>'))
}

/// Says whether a name of a query says that its value is a secret.
fn is_secret(name: &[Unit]) -> bool {
    if name.len() > MAX_NAME {
        return false;
    }
    let name: Vec<u8> = name.iter().map(|unit| unit.byte).collect();
    is_secret_name(&String::from_utf8_lossy(&name))
}

/// Says whether a name says that its value is a secret: `X-Amz-Signature`, `api_key`, `accessToken`, `user[password]`.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let mut words = name.rsplit(|letter: char| !letter.is_alphanumeric());
    // The number of an element is no word.
    let last = words.find(|word| !word.is_empty() && !word.bytes().all(|byte| byte.is_ascii_digit()));
    let Some(last) = last else { return false };
    let whole = last.to_ascii_lowercase();
    let is_word = |word: &str| SECRET_LAST_WORDS.contains(&word);
    is_word(&whole)
        || is_word(&last_hump(last).to_ascii_lowercase())
        || SECRET_ENDS.iter().any(|end| whole.ends_with(end))
}

/// Returns the last word of `camelCase`.
fn last_hump(word: &str) -> &str {
    let humps = word.char_indices().zip(word.chars().skip(1));
    let hump = humps.filter(|((_, before), letter)| before.is_lowercase() && letter.is_uppercase()).last();
    hump.and_then(|((at, before), _)| word.get(at.saturating_add(before.len_utf8())..)).unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_information_is_hidden() {
        for (given, shown) in [
            ("http://u:p@h:80/x?y=1", "http://[redacted]@h:80/x?y=1"),
            ("/x@y", "/x@y"),
            ("/resize/http://u:p@h/a@b", "/resize/http://[redacted]@h/a@b"),
            ("http://h/?m=a@b", "http://h/?m=a@b"),
            ("/go?to=http://u:p@h/", "/go?to=http://[redacted]@h/"),
            ("/a/ftp://t@h/b/http://u:p%40q@i", "/a/ftp://[redacted]@h/b/http://[redacted]@i"),
            (
                "/go?to=http%3A%2F%2Fu%3Ap%40h%2Fx%40y&z=a@b",
                "/go?to=http%3A%2F%2F[redacted]%40h%2Fx%40y&z=a@b",
            ),
            ("/go?to=http%253a%252f%252fu%253ap%2540h", "/go?to=http%253a%252f%252f[redacted]%2540h"),
        ] {
            assert_eq!(address(given), shown, "{given}");
        }
        assert_eq!(authority("u:p@db:5432"), "[redacted]@db:5432");
        assert_eq!(authority("db:5432"), "db:5432");
        assert_eq!(addresses("//u:p@h/x, see"), "//[redacted]@h/x, see");
        assert_eq!(addresses("mail to a@b"), "mail to a@b");
    }

    #[test]
    fn secret_values_are_hidden_and_others_are_not() {
        for (given, shown) in [
            ("/a?token=1&b=2", "/a?token=[redacted]&b=2"),
            ("/a?X-Amz-Signature=1#f", "/a?X-Amz-Signature=[redacted]#f"),
            (
                "/a?accessToken=1&api_key=2&pass_key=",
                "/a?accessToken=[redacted]&api_key=[redacted]&pass_key=",
            ),
            ("/a?monkey=1&turnkeys=2&passage=3&design=4", "/a?monkey=1&turnkeys=2&passage=3&design=4"),
            ("/a?password=x;y/z?q", "/a?password=[redacted]"),
            ("/a?x=1;token=2", "/a?x=1;token=[redacted]"),
            ("/cb#access_token=1&state=2", "/cb#access_token=[redacted]&state=2"),
            ("/a=1&token=2", "/a=1&token=2"),
            ("/go?to=http://h/x?token=1&y=2", "/go?to=http://h/x?token=[redacted]&y=2"),
            (
                "/go?to=http%3A%2F%2Fh%2F%3Ftoken%3D1%26b%3D2&c=3",
                "/go?to=http%3A%2F%2Fh%2F%3Ftoken%3D[redacted]%26b%3D2&c=3",
            ),
            (
                "/go?to=%2F%3Fa%253Ftoken%253D1%2526b%253D2",
                "/go?to=%2F%3Fa%253Ftoken%253D[redacted]%2526b%253D2",
            ),
            ("/a?token=1%262&b=3", "/a?token=[redacted]&b=3"),
            ("/a?api%5Fkey=1", "/a?api%5Fkey=[redacted]"),
            (
                "/a?user[password]=1&tokens[0][token]=2&password[]=3&password[0]=4",
                "/a?user[password]=[redacted]&tokens[0][token]=[redacted]&password[]=[redacted]&password[0]=[redacted]",
            ),
            (
                "/a?secretKey=1&privateKey=2&SIG=3",
                "/a?secretKey=[redacted]&privateKey=[redacted]&SIG=[redacted]",
            ),
            ("/a?token=http://u:p@h/", "/a?token=[redacted]"),
            ("/100%?token=1&%", "/100%?token=[redacted]&%"),
            ("?", "?"),
        ] {
            assert_eq!(address(given), shown, "{given}");
        }
        assert_eq!(
            addresses("<http://h/?key=1>; rel=next, </y?sig=2>"),
            "<http://h/?key=[redacted]>; rel=next, </y?sig=[redacted]>"
        );
        assert_eq!(addresses("5; url=\"/x?token=1\" a=b"), "5; url=\"/x?token=[redacted]\" a=b");
    }
}
