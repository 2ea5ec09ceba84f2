//! Transactions that lose to another one, and are begun again.
//!
//! Hubs of one session write the same tables at once. A server resolves what they hold against each other by refusing
//! one of them, and a cluster of servers refuses a commit where another server was faster: neither is a fault.

use std::time::Duration;

use mysql_async::Error;

use crate::clock::epoch_ns;

/// How often a transaction is tried before its loss counts as a failure.
const ATTEMPTS: u32 = 20;

/// Longest pause before the second attempt; before each later one it may be as much longer.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// Errors by which a database says that another transaction was faster: lock wait, and deadlock or, on a cluster, a
/// failed certification.
const LOST: [u16; 2] = [1205, 1213];

/// The error of a key that is there: where a key is chosen, somebody else chose it at the same moment.
const DUPLICATE_KEY: u16 = 1062;

/// Counts how often a transaction was tried.
///
/// Each place has the loop itself: a closure that lends the connection makes a future that cannot change threads.
#[derive(Debug)]
pub(super) struct Tries {
    chooses_key: bool,
    tried: u32,
}

// === impl Tries ===

impl Tries {
    /// Of a transaction that only writes.
    pub(super) fn new() -> Self {
        Self { chooses_key: false, tried: 0 }
    }

    /// Of one that chooses a key.
    pub(super) fn of_key() -> Self {
        Self { chooses_key: true, tried: 0 }
    }

    /// Whether a transaction lost to another one and is to be begun again, after a [`Self::pause`].
    pub(super) fn again<T>(&mut self, result: &Result<T, Error>) -> bool {
        self.tried += 1;
        let Err(Error::Server(error)) = result else { return false };
        let lost = LOST.contains(&error.code) || (self.chooses_key && error.code == DUPLICATE_KEY);
        if lost {
            tracing::debug!(error = error.to_string(), tried = self.tried, "another transaction was faster");
        }
        lost && self.tried < ATTEMPTS
    }

    /// Lets the others end.
    pub(super) async fn pause(&self) {
        tokio::time::sleep(pause(self.tried, epoch_ns())).await;
    }
}

/// A pause that differs between hubs which failed together, as the last digits of the time do.
fn pause(tried: u32, now_ns: u64) -> Duration {
    let most = (FIRST_PAUSE * tried).as_nanos().max(1);
    let part = u128::from(now_ns / 1_000).wrapping_mul(7_919_000) % most;
    Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use mysql_async::ServerError;

    use super::*;

    fn refused(code: u16) -> Error {
        Error::Server(ServerError { code, message: "no".to_owned(), state: "40001".to_owned() })
    }

    /// Runs what fails with these errors, one after another; returns how often it ran, and the last error.
    async fn run(mut tries: Tries, errors: &[u16]) -> (usize, Option<u16>) {
        let mut ran = 0;
        loop {
            let error = errors.get(ran).copied();
            ran += 1;
            let result = error.map_or(Ok(()), |code| Err(refused(code)));
            if !tries.again(&result) {
                return (ran, error);
            }
            tries.pause().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_transaction_that_loses_is_begun_again() {
        assert_eq!(run(Tries::new(), &[1213, 1205, 1213]).await, (4, None));
        assert_eq!(run(Tries::of_key(), &[1062, 1213]).await, (3, None));
        // Where no key is chosen one that is there is an error, as any other is.
        for code in [1062, 1146, 1047] {
            assert_eq!(run(Tries::new(), &[code]).await, (1, Some(code)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_always_loses_is_given_up() {
        let began = tokio::time::Instant::now();
        assert_eq!(run(Tries::new(), &[1213; 99]).await, (20, Some(1213)));
        assert!(began.elapsed() <= FIRST_PAUSE * (1..=ATTEMPTS).sum::<u32>(), "{:?}", began.elapsed());
    }

    #[test]
    fn pauses_grow_and_differ() {
        let pauses: std::collections::BTreeSet<_> = (0..50).map(|us| pause(10, us * 37_000)).collect();
        assert!(pauses.len() > 25, "{pauses:?}");
        assert!(pauses.iter().all(|length| *length < FIRST_PAUSE * 10));
    }
}
