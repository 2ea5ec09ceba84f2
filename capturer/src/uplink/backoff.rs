//! Growing pauses between attempts.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The first pause: a hub that restarts is soon back.
pub const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause: well below the lease period, so that several attempts fit into it.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The longest pause before the first success, for as long as [`EAGER_ATTEMPTS`] last: a hub that is deployed together
/// with its capturers is there within seconds.
pub const LONGEST_EAGER_PAUSE: Duration = Duration::from_millis(500);

/// Attempts before the first success that are made eagerly: half a minute of them.
pub const EAGER_ATTEMPTS: u32 = 64;

/// Pauses that double, each shortened by up to half at random so that a hub's capturers do not come at once.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: u32,
    succeeded: bool,
}

// === impl Backoff ===

impl Backoff {
    /// Returns the next pause.
    pub fn pause(&mut self) -> Duration {
        let eager = !self.succeeded && self.attempts < EAGER_ATTEMPTS;
        let longest = if eager { LONGEST_EAGER_PAUSE } else { LONGEST_PAUSE };
        let full = FIRST_PAUSE.saturating_mul(1 << self.attempts.min(16)).min(longest);
        self.attempts = self.attempts.saturating_add(1);
        let share = u32::try_from(RandomState::new().hash_one(self.attempts) % 512).unwrap_or(0);
        full.saturating_sub(full / 1024 * share)
    }

    /// Begins anew after a success.
    pub fn reset(&mut self) {
        self.attempts = 0;
        self.succeeded = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_vary() {
        let mut backoff = Backoff::default();
        backoff.reset();
        let pauses: Vec<Duration> = (0..50).map(|_| backoff.pause()).collect();
        assert!(pauses[0] <= FIRST_PAUSE && pauses[0] >= FIRST_PAUSE / 2);
        assert!(pauses[49] <= LONGEST_PAUSE && pauses[49] >= LONGEST_PAUSE / 2);
        assert!(pauses[20..].iter().any(|pause| *pause != pauses[20]));
        backoff.reset();
        assert!(backoff.pause() <= FIRST_PAUSE);
    }

    #[test]
    fn a_hub_that_was_never_there_is_tried_often_and_not_for_ever() {
        let mut backoff = Backoff::default();
        let eager: Vec<_> = (0..EAGER_ATTEMPTS).map(|_| backoff.pause()).collect();
        assert!(eager.iter().all(|pause| *pause <= LONGEST_EAGER_PAUSE));
        assert!(eager.iter().sum::<Duration>() >= Duration::from_secs(15));
        assert!(backoff.pause() > LONGEST_EAGER_PAUSE);
    }
}
