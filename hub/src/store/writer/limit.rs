//! A store that may hold only so much: it is measured from time to time, and the oldest exchanges go.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::{BATCH_ROWS, Task};
use crate::store::Store;

/// The size is measured after this part of the limit was written.
const LIMIT_STEPS: u64 = 32;

/// How often the size is measured where other hubs write, too.
const MEASURE_PERIOD: Duration = Duration::from_secs(10);

/// Longer than any session.
const BEYOND_ANY_SESSION: Duration = Duration::from_hours(365 * 24);

/// Part of the rows that trimming removes at once.
const TRIM_SHARE: u64 = 10;

// === impl Task ===

impl<S: Store> Task<S> {
    /// When the size is measured at the latest: what other hubs wrote is seen in the store alone.
    pub(super) fn measure_at(&self) -> Instant {
        let others = self.shared.several.load(Ordering::Relaxed) && self.shared.trims.load(Ordering::Relaxed);
        let pause = if others && self.shared.limit > 0 { MEASURE_PERIOD } else { BEYOND_ANY_SESSION };
        self.measured + pause
    }

    /// Removes the oldest exchanges while the store is over its limit.
    pub(super) async fn keep_limit(&mut self) {
        let limit = self.shared.limit;
        let trims = self.shared.trims.load(Ordering::Relaxed);
        let due = self.unmeasured >= limit / LIMIT_STEPS || Instant::now() >= self.measure_at();
        if limit == 0 || !trims || !due {
            return;
        }
        (self.unmeasured, self.measured) = (0, Instant::now());
        let mut trimmed = 0_u64;
        loop {
            match self.store.size().await {
                Ok(size) if size > limit => {}
                Ok(_) => break,
                Err(error) => return self.down(&error),
            }
            let totals = self.shared.queue().totals;
            let rows = totals.stored.saturating_sub(totals.trimmed);
            // Of several hubs this one knows its own rows only.
            let least = if self.shared.several.load(Ordering::Relaxed) { BATCH_ROWS as u64 } else { 1 };
            match self.store.trim((rows / TRIM_SHARE).max(least)).await {
                Ok(0) => break,
                Ok(removed) => {
                    trimmed += removed;
                    self.shared.queue().totals.trimmed += removed;
                }
                Err(error) => return self.down(&error),
            }
        }
        if trimmed > 0 {
            tracing::warn!(
                exchanges = trimmed,
                limit,
                "the store reached its limit, the oldest exchanges were removed"
            );
        }
    }
}
