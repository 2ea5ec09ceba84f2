//! How bytes are written in zone files: strings, hexadecimal digits, base 64 and base 32, and times.

/// The alphabet of RFC 4648, section 4.
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The alphabet with extended hexadecimal digits (RFC 4648, section 7), as hashed names are written.
const BASE32: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";

/// Writes data of unknown meaning (RFC 3597, section 5).
pub(in crate::dns) fn raw(data: &[u8]) -> String {
    format!("\\# {} {}", data.len(), hex(data)).trim_end().to_owned()
}

/// Writes a character string in quotes (RFC 1035, section 5.1).
pub(super) fn quoted(text: &[u8]) -> String {
    format!("\"{}\"", escaped(text))
}

/// Writes what stands between the quotes of a character string.
pub(super) fn escaped(text: &[u8]) -> String {
    text.iter().map(|byte| escaped_byte(*byte)).collect()
}

fn escaped_byte(byte: u8) -> String {
    match byte {
        b'"' | b'\\' => format!("\\{}", char::from(byte)),
        0x20..=0x7e => char::from(byte).to_string(),
        _ => format!("\\{byte:03}"),
    }
}

/// Writes digits in lower case.
pub(super) fn hex(data: &[u8]) -> String {
    let digits: Vec<String> = data.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

/// Writes digits in upper case, as digests are.
pub(super) fn upper_hex(data: &[u8]) -> String {
    hex(data).to_ascii_uppercase()
}

/// Writes base 64 with padding.
pub(super) fn base64(data: &[u8]) -> String {
    let mut text = digits(data, 6, BASE64);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// Writes base 32 with extended hexadecimal digits, without padding.
pub(super) fn base32(data: &[u8]) -> String {
    digits(data, 5, BASE32)
}

/// Writes `bits` bits a digit.
fn digits(data: &[u8], bits: u32, alphabet: &[u8]) -> String {
    let mut text = String::new();
    let (mut held, mut count) = (0_u32, 0_u32);
    let mut push = |value: u32| {
        let digit = usize::try_from(value).ok().and_then(|value| alphabet.get(value));
        text.extend(digit.map(|digit| char::from(*digit)));
    };
    let mask = (1_u32 << bits).wrapping_sub(1);
    for byte in data {
        held = (held << 8 | u32::from(*byte)) & 0xffff;
        count = count.saturating_add(8);
        while count >= bits {
            count = count.saturating_sub(bits);
            push(held >> count & mask);
        }
    }
    if count > 0 {
        push(held << bits.saturating_sub(count) & mask);
    }
    text
}

/// Writes seconds since 1970 as `YYYYMMDDHHmmSS` (RFC 4034, section 3.2).
pub(super) fn time(seconds: u32) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// Returns year, month and day of the day so many days after 1970 began.
fn date(mut days: u32) -> (u32, u32, u32) {
    let leap = |year: u32| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut year = 1970_u32;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days = days.saturating_sub(length);
        year = year.saturating_add(1);
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1_u32;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days = days.saturating_sub(length);
        month = month.saturating_add(1);
    }
    (year, month, days.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_64_and_32_are_those_of_the_standard() {
        let vectors: [(&str, &str, &str); 6] = [
            ("f", "Zg==", "CO"),
            ("fo", "Zm8=", "CPNG"),
            ("foo", "Zm9v", "CPNMU"),
            ("foob", "Zm9vYg==", "CPNMUOG"),
            ("fooba", "Zm9vYmE=", "CPNMUOJ1"),
            ("foobar", "Zm9vYmFy", "CPNMUOJ1E8"),
        ];
        for (text, in_64, in_32) in vectors {
            assert_eq!((&*base64(text.as_bytes()), &*base32(text.as_bytes())), (in_64, in_32));
        }
        assert_eq!((base64(b""), base32(b"")), (String::new(), String::new()));
    }

    #[test]
    fn times_know_leap_years() {
        let times = [
            (0, "19700101000000"),
            (951_782_400, "20000229000000"),
            (1_709_251_199, "20240229235959"),
            (1_735_689_599, "20241231235959"),
            (4_107_542_400, "21000301000000"),
            (u32::MAX, "21060207062815"),
        ];
        for (seconds, text) in times {
            assert_eq!(time(seconds), text);
        }
    }

    #[test]
    fn strings_can_be_read_back() {
        assert_eq!(quoted(b"two \"words\" \\ \x00\xff;"), r#""two \"words\" \\ \000\255;""#);
        assert_eq!(raw(&[]), "\\# 0");
        assert_eq!(raw(&[0xab, 1]), "\\# 2 ab01");
    }
}
