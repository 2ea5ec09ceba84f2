//! Clocks: this machine's, and the hub's as it tells it.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The clock of a session's hub, by which all is told that the hub tells: this machine's may be set otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HubClock {
    /// What it said last, and when; a hub that said nothing yet is taken to be set as this machine.
    heard: Option<(u64, Instant)>,
}

// === impl HubClock ===

impl HubClock {
    /// Takes what the hub's clock says now; 0 says nothing.
    pub(crate) fn hear(&mut self, now_ns: u64) {
        if now_ns > 0 {
            self.heard = Some((now_ns, Instant::now()));
        }
    }

    /// What it says now, nanoseconds since the Unix epoch.
    pub(crate) fn now_ns(&self) -> u64 {
        match self.heard {
            Some((heard_ns, at)) => {
                heard_ns.saturating_add(u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX))
            }
            None => now_ns(),
        }
    }
}

/// What this machine's clock says, nanoseconds since the Unix epoch.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_hub_s_clock_goes_on_from_what_it_said_last() {
        let mut clock = HubClock::default();
        assert!(clock.now_ns().abs_diff(now_ns()) < 60_000_000_000, "nothing was heard yet");
        clock.hear(5_000);
        assert_eq!(clock.now_ns(), 5_000, "whatever this machine's clock says");
        tokio::time::advance(Duration::from_nanos(700)).await;
        assert_eq!(clock.now_ns(), 5_700);
        clock.hear(0);
        assert_eq!(clock.now_ns(), 5_700, "a hub that says nothing is not believed");
        clock.hear(4_000);
        assert_eq!(clock.now_ns(), 4_000, "it was set back");
    }
}
