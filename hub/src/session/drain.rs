//! The end of capture: what capturers still have goes to viewers and store, and the ledgers are closed.

use std::time::Duration;

use proto::v1;
use tokio::time::Instant;

use super::Session;
use super::slots::Base;

/// Time for the loss totals of a drain that took all of its time.
const LAST_ROWS: Duration = Duration::from_millis(300);

/// Share of a drain's time that capturers get: the rest is for viewers and the store.
const CAPTURERS_SHARE: f64 = 0.6;

impl Session {
    /// Ends capture: asks every capturer for what it still has, waits until viewers and store have all of it, and
    /// returns the final ledgers. Whoever asks again gets the same answer.
    pub async fn drain(&self, by: &str, timeout: Duration) -> v1::DrainSessionResponse {
        self.drained.get_or_init(|| self.drain_once(by, timeout)).await.clone()
    }

    async fn drain_once(&self, by: &str, timeout: Duration) -> v1::DrainSessionResponse {
        let deadline = Instant::now() + timeout;
        self.draining.send_replace(true);
        // Each hub has the whole time: they drain beside each other.
        let (own, others) = tokio::join!(self.drain_own(timeout, deadline), self.peers.drain(by, timeout));
        self.ended.send_replace(if by.is_empty() { "unknown".to_owned() } else { by.to_owned() });
        let mut confirmed = own;
        confirmed.extend(others.into_iter().flat_map(|other| other.confirmed));
        let v1::DescribeResponse { mut balances, clamped, capturers, .. } = self.describe();
        // Also those of hubs that are gone, or did not answer; one that went from hub to hub confirmed where it was at
        // last.
        let mut unconfirmed: Vec<String> = capturers.into_iter().map(|capturer| capturer.node).collect();
        unconfirmed.retain(|node| !confirmed.contains(node));
        unconfirmed.sort_unstable();
        unconfirmed.dedup();
        if !unconfirmed.is_empty() && self.hub.is_empty() {
            tracing::warn!(nodes = unconfirmed.join(", "), "capturers did not confirm their end");
        }
        if self.peers.lost_one() {
            self.settle_store(&mut balances, deadline).await;
        }
        v1::DrainSessionResponse { balances, unconfirmed, confirmed, clamped }
    }

    /// Drains this hub's own capturers, viewers and store; returns who confirmed the end.
    async fn drain_own(&self, timeout: Duration, deadline: Instant) -> Vec<String> {
        let confirmed = self.capturers.drained(Instant::now() + timeout.mul_f64(CAPTURERS_SHARE)).await;
        self.live.close();
        self.note_capturers();
        // Beside each other: a viewer that does not read leaves the store its time.
        tokio::join!(self.live.flush(deadline), async {
            if let Some(writer) = &self.writer {
                writer.flush(deadline).await;
            }
        });
        self.record_losses();
        if let Some(writer) = &self.writer
            && !writer.flush(deadline.max(Instant::now() + LAST_ROWS)).await
        {
            writer.abandon();
            let lost = writer.totals().lost;
            tracing::warn!(exchanges = lost, "the store did not take everything in time");
        }
        confirmed
    }

    /// Counts in the database what is there, where a hub that is gone cannot say what it stored; what such a hub
    /// passed over counts as lost, too.
    async fn settle_store(&self, balances: &mut [v1::Balance], deadline: Instant) {
        let Some(shared) = &self.shared else { return };
        let state = self.describe();
        let bases: Vec<_> = state.capturers.iter().map(|one| Base::from(one.id_base).slot).collect();
        let stored = match tokio::time::timeout_at(deadline, shared.count(&bases)).await {
            Ok(Ok(stored)) => stored.saturating_add(state.trimmed),
            Ok(Err(error)) => return tracing::warn!(%error, "the store's rows could not be counted"),
            Err(_elapsed) => return tracing::warn!("the store's rows could not be counted in time"),
        };
        let of =
            |balance: &&v1::Balance| balance.consumer.starts_with("capturer ") && balance.unit == "exchanges";
        let acknowledged: u64 = balances.iter().filter(of).map(|balance| balance.delivered).sum();
        let Some(store) = balances.iter_mut().find(|balance| balance.consumer == "store") else { return };
        let lost = acknowledged.saturating_sub(stored.saturating_add(store.filtered));
        store.seen = stored.saturating_add(store.filtered).saturating_add(lost);
        store.delivered = stored;
        store.lost = vec![v1::Loss { stage: "store".to_owned(), unit: "exchanges".to_owned(), total: lost }];
    }
}
