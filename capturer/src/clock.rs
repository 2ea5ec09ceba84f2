//! Kernel times as times of day.
//!
//! Kernel events carry `CLOCK_MONOTONIC`; users see the Unix epoch. One offset converts between them, so durations
//! are never touched by it.

use nix::time::{ClockId, clock_gettime};

/// Samples of the offset that are taken, the tightest of which counts: a preempted sample is off by the preemption.
const OFFSET_SAMPLES: usize = 16;

/// A deviation that means that the clock was set, not slewed; smaller ones would only make starts jitter.
const STEP_NS: i64 = 5_000_000;

/// Converts `CLOCK_MONOTONIC` to nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    offset_ns: i64,
}

// === impl Clock ===

impl Clock {
    /// Samples the offset between the clocks.
    #[must_use]
    pub fn sampled() -> Self {
        Self { offset_ns: sample() }
    }

    /// Samples again and follows if the time of day was set since.
    pub fn anchor(&mut self) {
        let offset_ns = sample();
        if (offset_ns - self.offset_ns).abs() > STEP_NS {
            self.offset_ns = offset_ns;
        }
    }

    /// Returns `monotonic_ns` as nanoseconds since the Unix epoch.
    #[must_use]
    pub fn epoch(&self, monotonic_ns: u64) -> u64 {
        monotonic_ns.saturating_add_signed(self.offset_ns)
    }
}

/// Returns `CLOCK_MONOTONIC` in nanoseconds, the clock of kernel events.
#[must_use]
pub fn monotonic_ns() -> u64 {
    u64::try_from(read(ClockId::CLOCK_MONOTONIC)).unwrap_or(0)
}

fn sample() -> i64 {
    let tightest = (0..OFFSET_SAMPLES)
        .map(|_| {
            let before = read(ClockId::CLOCK_MONOTONIC);
            let epoch = read(ClockId::CLOCK_REALTIME);
            let after = read(ClockId::CLOCK_MONOTONIC);
            (after - before, epoch - (before + (after - before) / 2))
        })
        .min_by_key(|(width, _)| *width);
    tightest.map_or(0, |(_, offset)| offset)
}

/// Reads a clock; the two clocks used exist on every Linux, so a failure reads as zero.
fn read(clock: ClockId) -> i64 {
    clock_gettime(clock).map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn agrees_with_the_time_of_day() {
        let mut clock = Clock::sampled();
        let ours = clock.epoch(monotonic_ns());
        let theirs = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        assert!(theirs.abs_diff(u128::from(ours)) < 50_000_000, "{ours} {theirs}");
        let before = clock.offset_ns;
        clock.anchor();
        assert_eq!(clock.offset_ns, before, "an unset clock keeps its anchor");
        clock.offset_ns = 0;
        clock.anchor();
        assert!(clock.offset_ns > 0, "a set clock is followed");
    }
}
