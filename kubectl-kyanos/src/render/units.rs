//! Numbers for people: durations, sizes, counts and times.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Renders nanoseconds with three digits that matter: `850ns`, `12.3µs`, `4.56ms`, `1.23s`.
pub(crate) fn duration(ns: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"), (1, "ns")];
    let (scale, unit) = UNITS.into_iter().find(|(scale, _)| ns >= *scale).unwrap_or((1, "ns"));
    scaled(ns, scale, unit)
}

/// Renders bytes with three digits that matter: `512B`, `1.50KiB`, `100MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 5] =
        [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];
    let (scale, unit) = UNITS.into_iter().find(|(scale, _)| bytes >= *scale).unwrap_or((1, "B"));
    scaled(bytes, scale, unit)
}

/// Renders a count with commas: `12,345`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Renders nanoseconds since the Unix epoch as RFC 3339 in UTC with nine digits.
pub(crate) fn rfc3339(ns: u64) -> String {
    match Timestamp::from_nanosecond(i128::from(ns)) {
        Ok(time) => format!("{time:.9}"),
        // Beyond the year 9999, which no clock shows.
        Err(_out_of_range) => String::new(),
    }
}

/// Renders the time of day with milliseconds.
pub(crate) fn clock(ns: u64, zone: &TimeZone) -> String {
    match Timestamp::from_nanosecond(i128::from(ns)) {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%H:%M:%S.%3f").to_string(),
        Err(_out_of_range) => String::new(),
    }
}

/// Renders the time of day.
pub(crate) fn time_of_day(ns: u64, zone: &TimeZone) -> String {
    match Timestamp::from_nanosecond(i128::from(ns)) {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string(),
        Err(_out_of_range) => String::new(),
    }
}

/// Renders a whole time span: `42s`, `3m05s`, `2h10m`.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Turns nanoseconds into milliseconds.
#[expect(clippy::cast_precision_loss, reason = "durations beyond 104 days lose nanoseconds only")]
pub(crate) fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// Turns a quantile of nanoseconds or bytes into a whole number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, which is meant"
)]
pub(crate) fn whole(value: f64) -> u64 {
    value.round() as u64
}

fn scaled(number: u64, scale: u64, unit: &str) -> String {
    let whole = number / scale;
    let thousandths = number % scale * 1000 / scale;
    if scale == 1 || whole >= 100 {
        format!("{whole}{unit}")
    } else if whole >= 10 {
        format!("{whole}.{}{unit}", thousandths / 100)
    } else {
        format!("{whole}.{:02}{unit}", thousandths / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_matter() {
        let durations =
            [(0, "0ns"), (999, "999ns"), (1_000, "1.00µs"), (12_345, "12.3µs"), (5_000_000_000, "5.00s")];
        for (ns, text) in durations {
            assert_eq!(duration(ns), text);
        }
        // More than 32 bits of nanoseconds.
        assert_eq!(duration(u64::from(u32::MAX) + 1), "4.29s");
        assert_eq!(size(1023), "1023B");
        assert_eq!(size(104_857_600), "100MiB");
        assert_eq!(count(0), "0");
        assert_eq!(count(12_345), "12,345");
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn times_are_utc_with_nanoseconds() {
        assert_eq!(rfc3339(1_700_000_000_000_000_001), "2023-11-14T22:13:20.000000001Z");
        assert_eq!(clock(1_700_000_000_123_456_789, &TimeZone::UTC), "22:13:20.123");
        assert_eq!(age(42), "42s");
        assert_eq!(age(3700), "1h01m");
    }
}
