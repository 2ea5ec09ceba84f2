//! The hub's own clock: what passed, whatever the machine's clock was set to, and how long the hub itself did not run.
//!
//! A machine that sleeps, a process that is stopped and a node that has no time for it look alike from inside: the next
//! beat comes late. Whoever reckons how long others were silent must leave that time out.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often the clock beats while a session lives.
pub const BEAT_PERIOD: Duration = Duration::from_secs(1);

/// Between two beats so much says more of the hub, which did not run, than of anybody that it could not hear: three beats.
pub const LATE_BEAT: Duration = Duration::from_secs(3);

/// Pauses that are remembered, the latest: a hub that is stopped again and again for days makes ever more of them.
const PAUSES: usize = 64;

/// A moment on the hub's clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds since the Unix epoch, as people are told; it may be set.
    pub epoch_ns: u64,
    /// Nanoseconds that passed since some beginning, also while the machine slept.
    pub passed_ns: u64,
    /// Of these, those in which this hub ran.
    pub ran_ns: u64,
}

/// A time in which the hub did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When it ran last, nanoseconds since the Unix epoch.
    pub since_ns: u64,
    /// How long it did not.
    pub length: Duration,
}

/// Tells moments.
#[derive(Debug, Default)]
pub struct Clock(Mutex<Beats>);

/// What a clock remembers.
#[derive(Debug, Default)]
struct Beats {
    /// The last one; none where nobody beats, and nothing can be late.
    last_ns: Option<u64>,
    /// How long the hub did not run.
    stood_ns: u64,
    pauses: VecDeque<Pause>,
}

// === impl Moment ===

impl Moment {
    /// A moment of which somebody else says how long ago it was, and how much of that time whoever says it ran.
    #[must_use]
    pub fn ago(self, epoch_ns: u64, passed_ns: u64, ran_ns: u64) -> Self {
        Self {
            epoch_ns,
            passed_ns: self.passed_ns.saturating_sub(passed_ns),
            ran_ns: self.ran_ns.saturating_sub(ran_ns),
        }
    }

    /// Nanoseconds since an earlier moment.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.passed_ns.saturating_sub(earlier.passed_ns)
    }

    /// Nanoseconds since an earlier moment in which the hub ran.
    #[must_use]
    pub fn ran_since(self, earlier: Self) -> u64 {
        self.ran_ns.saturating_sub(earlier.ran_ns)
    }
}

// === impl Clock ===

impl Clock {
    /// Returns this moment. Whoever asks first after a pause notices it.
    pub fn now(&self) -> Moment {
        let (passed_ns, epoch_ns) = (passed_ns(), epoch_ns());
        self.beats().tell(passed_ns, epoch_ns)
    }

    /// Says that the hub runs; to be called every [`BEAT_PERIOD`].
    pub fn beat(&self) {
        let now = self.now();
        self.beats().last_ns = Some(now.passed_ns);
    }

    /// Pauses of at least that length, of the latest.
    #[must_use]
    pub fn pauses(&self, at_least: Duration) -> Vec<Pause> {
        self.beats().pauses.iter().copied().filter(|pause| pause.length >= at_least).collect()
    }

    fn beats(&self) -> std::sync::MutexGuard<'_, Beats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Beats ===

impl Beats {
    fn tell(&mut self, passed_ns: u64, epoch_ns: u64) -> Moment {
        let late_ns = self.last_ns.map_or(0, |last| passed_ns.saturating_sub(last));
        if late_ns > nanos(LATE_BEAT) {
            self.stood_ns = self.stood_ns.saturating_add(late_ns);
            self.last_ns = Some(passed_ns);
            if self.pauses.len() == PAUSES {
                self.pauses.pop_front();
            }
            let length = Duration::from_nanos(late_ns);
            self.pauses.push_back(Pause { since_ns: epoch_ns.saturating_sub(late_ns), length });
        }
        Moment { epoch_ns, passed_ns, ran_ns: passed_ns.saturating_sub(self.stood_ns) }
    }
}

/// Nanoseconds since the Unix epoch by the machine's clock, which may be set.
#[must_use]
pub fn epoch_ns() -> u64 {
    nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Nanoseconds since the machine began, also of those in which it slept.
#[cfg(target_os = "linux")]
fn passed_ns() -> u64 {
    use nix::time::{ClockId, clock_gettime};
    // Every Linux that a hub runs on has this clock.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |passed| nanos(Duration::from(passed)))
}

/// Nanoseconds since this was asked first.
#[cfg(not(target_os = "linux"))]
fn passed_ns() -> u64 {
    static BEGIN: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    nanos(BEGIN.elapsed())
}

/// As many nanoseconds as a number holds: 584 years.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    /// A clock that beats every second from 100 to 105, which is 1005 for people.
    fn beating() -> Beats {
        let mut beats = Beats::default();
        for second in 100..=105 {
            beats.last_ns = Some(beats.tell(second * SECOND_NS, (900 + second) * SECOND_NS).passed_ns);
        }
        beats
    }

    #[test]
    fn what_passes_between_beats_that_come_late_is_no_time_in_which_the_hub_ran() {
        let mut beats = beating();
        let before = beats.tell(105 * SECOND_NS, 1005 * SECOND_NS);
        let after = beats.tell(706 * SECOND_NS, 1606 * SECOND_NS);
        assert_eq!((after.since(before), after.ran_since(before)), (601 * SECOND_NS, 0));
        let pause = Pause { since_ns: 1005 * SECOND_NS, length: Duration::from_secs(601) };
        assert_eq!(Vec::from(beats.pauses.clone()), [pause]);
        // It is noticed once, whoever notices it.
        let later = beats.tell(708 * SECOND_NS, 1608 * SECOND_NS);
        assert_eq!((later.ran_since(before), beats.pauses.len()), (2 * SECOND_NS, 1));
    }

    #[test]
    fn a_beat_that_is_in_time_and_a_clock_that_nobody_beats_pause_never() {
        let mut beats = beating();
        let before = beats.tell(105 * SECOND_NS, 0);
        let bound = beats.tell(105 * SECOND_NS + nanos(LATE_BEAT), 0);
        assert_eq!((bound.ran_since(before), beats.pauses.len()), (3 * SECOND_NS, 0));
        let mut beats = Beats::default();
        let (before, after) = (beats.tell(SECOND_NS, 0), beats.tell(900 * SECOND_NS, 0));
        assert_eq!((after.ran_since(before), beats.pauses.len()), (899 * SECOND_NS, 0));
    }

    #[test]
    fn a_machine_whose_clock_is_set_makes_no_time_and_no_pause() {
        let mut beats = beating();
        let before = beats.tell(105 * SECOND_NS, 1005 * SECOND_NS);
        for epoch in [9000, 3] {
            let after = beats.tell(106 * SECOND_NS, epoch * SECOND_NS);
            assert_eq!((after.since(before), after.ran_since(before)), (SECOND_NS, SECOND_NS));
            assert_eq!(after.epoch_ns, epoch * SECOND_NS);
        }
        assert!(beats.pauses.is_empty());
    }

    #[test]
    fn the_latest_pauses_are_remembered_and_all_are_counted() {
        let mut beats = beating();
        for at in 1..=PAUSES as u64 + 5 {
            beats.tell((105 + at * 10) * SECOND_NS, at);
        }
        assert_eq!(beats.pauses.len(), PAUSES);
        assert_eq!(beats.stood_ns, (PAUSES as u64 + 5) * 10 * SECOND_NS);
    }

    #[test]
    fn both_clocks_of_the_machine_run() {
        let clock = Clock::default();
        clock.beat();
        let before = clock.now();
        std::thread::sleep(Duration::from_millis(20));
        let after = clock.now();
        assert!(after.since(before) >= 20_000_000 && after.ran_since(before) >= 20_000_000);
        assert!(before.epoch_ns > 1_700_000_000 * SECOND_NS);
    }
}
