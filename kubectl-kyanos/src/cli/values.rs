//! Values of flags: sizes, times, names and metrics.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use proto::columns::SESSION_CHARS;
use proto::{side, v1};

use crate::metric::{METRICS, Metric};
use crate::suggestion::{WrongWord, suggest};

/// Smallest event ring, one page.
pub(crate) const MIN_RING: u64 = 4096;

/// Largest event ring, what the kernel maps at most in one ring.
pub(crate) const MAX_RING: u64 = 1 << 30;

/// Longest time that a flag takes.
const LONGEST_TIME: Duration = Duration::from_hours(365 * 24);

/// Values of `--errors`: without one it is `true`.
const ERRORS: [(&str, v1::Errors); 3] =
    [("true", v1::Errors::WithoutHandshake), ("false", v1::Errors::Untested), ("all", v1::Errors::All)];

/// Value of `--side` that passes both.
const BOTH_SIDES: &str = "all";

/// Secret that kubelets pull images with; it is copied into the session's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PullSecret {
    /// Where it is; the context's namespace when absent.
    pub(crate) namespace: Option<String>,
    /// Its name.
    pub(crate) name: String,
}

/// Reads `[NAMESPACE/]NAME`.
pub(crate) fn pull_secret(text: &str) -> Result<PullSecret, String> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, text),
    };
    if name.is_empty() || name.contains('/') || namespace.is_some_and(str::is_empty) {
        return Err("expected NAME or NAMESPACE/NAME".to_owned());
    }
    Ok(PullSecret { namespace: namespace.map(str::to_owned), name: name.to_owned() })
}

/// Reads a session name: a DNS label of at most [`SESSION_CHARS`] characters.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let letters =
        bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-');
    if bytes.len() <= SESSION_CHARS && letters && edge(bytes.first()) && edge(bytes.last()) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "a name has at most {SESSION_CHARS} lower case letters, digits and dashes, and begins and ends with a letter or digit"
    ))
}

/// Reads a size in bytes: `4096`, `64KiB`, `64K`, `2GiB`, `1MB` (powers of 1024 all of them).
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || "a size is a number of bytes, also with KiB, MiB or GiB".to_owned();
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let number: u64 = digits.parse().map_err(|_not_a_number| wrong())?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "ki" | "kib" => 10,
        "m" | "mb" | "mi" | "mib" => 20,
        "g" | "gb" | "gi" | "gib" => 30,
        "t" | "tb" | "ti" | "tib" => 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).ok_or_else(|| "that is more bytes than can be counted".to_owned())
}

/// Reads a size that fits 32 bits.
pub(crate) fn bytes32(text: &str) -> Result<u32, String> {
    u32::try_from(bytes(text)?).map_err(|_too_big| "at most 4GiB less one byte".to_owned())
}

/// Reads the size of an event ring.
pub(crate) fn ring(text: &str) -> Result<u32, String> {
    let size = bytes(text)?;
    if !size.is_power_of_two() || !(MIN_RING..=MAX_RING).contains(&size) {
        return Err("a ring is a power of two from 4KiB to 1GiB, such as 64KiB or 4MiB".to_owned());
    }
    u32::try_from(size).map_err(|error| error.to_string())
}

/// Reads a duration such as `90s`, `15m`, `1h` or `1h30m`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a duration is a number with s, m or h, such as 90s, 15m or 1h30m".to_owned();
    if let Ok(seconds) = text.parse::<u64>() {
        return bounded(Duration::from_secs(seconds));
    }
    let mut total = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let split = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
        let (digits, tail) = rest.split_at(split);
        let number: u64 = digits.parse().map_err(|_not_a_number| wrong())?;
        let mut letters = tail.chars();
        let scale = match letters.next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            _ => return Err(wrong()),
        };
        total = number.checked_mul(scale).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = letters.as_str();
    }
    if text.is_empty() { Err(wrong()) } else { bounded(Duration::from_secs(total)) }
}

fn bounded(found: Duration) -> Result<Duration, String> {
    if found > LONGEST_TIME { Err("at most 365d".to_owned()) } else { Ok(found) }
}

/// Reads a positive number of seconds, also `0.5` or `2m`.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let found = match text.parse::<f64>() {
        Ok(number) => bounded(Duration::try_from_secs_f64(number).map_err(|error| error.to_string())?)?,
        Err(_not_a_number) => duration(text)?,
    };
    if found.is_zero() { Err("must be more than 0".to_owned()) } else { Ok(found) }
}

/// Reads milliseconds into nanoseconds.
pub(crate) fn milliseconds(text: &str) -> Result<u64, String> {
    let wrong = || "a number of milliseconds, such as 100 or 0.5".to_owned();
    let number: f64 = text.trim_end_matches("ms").parse().map_err(|_not_a_number| wrong())?;
    let found = Duration::try_from_secs_f64(number / 1e3).map_err(|_out_of_range| wrong())?;
    u64::try_from(found.as_nanos()).map_err(|_too_long| wrong())
}

/// Reads a metric by its name or letter.
pub(crate) fn metric(text: &str) -> Result<Metric, WrongWord> {
    METRICS
        .iter()
        .find(|(name, short, ..)| *name == text || *short == Some(text))
        .map(|(_, _, metric, _)| Metric(*metric))
        .ok_or_else(|| {
            suggest(text, METRICS.map(|(name, ..)| name).as_slice(), &format!("one of {}", metrics()))
        })
}

/// Returns the help of `--metric`.
pub(crate) fn metric_help() -> String {
    format!("What is measured, several by commas: {}", metrics())
}

/// Names all metrics with their letters.
fn metrics() -> String {
    let words = METRICS.map(|(name, short, ..)| match short {
        Some(short) => format!("{short}|{name}"),
        None => name.to_owned(),
    });
    words.join(", ")
}

/// Parses which errors are wanted.
pub(crate) fn errors() -> impl TypedValueParser<Value = v1::Errors> {
    PossibleValuesParser::new(ERRORS.map(|(name, _)| name)).map(|given| {
        ERRORS.iter().find(|(name, _)| *name == given).map_or(v1::Errors::Untested, |(_, errors)| *errors)
    })
}

/// Parses a side, or both.
pub(crate) fn side() -> impl TypedValueParser<Value = v1::Side> {
    let names = side::WORDS.into_iter().chain([BOTH_SIDES]);
    PossibleValuesParser::new(names).map(|given| side::named(&given))
}
