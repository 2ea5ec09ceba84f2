//! The end of capture: what capturers still have goes to viewers and store, and the ledgers are closed.

use std::time::Duration;

use proto::account::{AccountError, Balance};
use proto::id::Base;
use proto::v1;
use tokio::time::Instant;

use super::{Session, now_ns};
use crate::account;
use crate::peers::HubState;

/// Time for the loss totals of a drain that took all of its time.
const LAST_ROWS_TIMEOUT: Duration = Duration::from_millis(300);

/// Share of a drain's time that capturers get: the rest is for viewers and the store.
const CAPTURERS_SHARE: f64 = 0.6;

/// The final account of a session.
#[derive(Clone, Debug)]
pub struct Drained {
    /// Ledgers of every consumer.
    pub balances: Vec<Balance>,
    /// Capturers that did not confirm their end in time.
    pub unconfirmed: Vec<String>,
    /// Capturers that did.
    pub confirmed: Vec<String>,
    /// Exchanges of which a mark was observed out of order and moved.
    pub clamped: u64,
    /// What was seen of the nodes.
    pub sight: v1::Sight,
}

// === impl Session ===

impl Session {
    /// Ends capture: asks every capturer for what it still has, waits until viewers and store have all of it, and
    /// returns the final ledgers. Whoever asks again gets the same answer.
    pub async fn drain(&self, by: &str, timeout: Duration) -> Drained {
        self.drained.get_or_init(|| self.drain_once(by, timeout)).await.clone()
    }

    async fn drain_once(&self, by: &str, timeout: Duration) -> Drained {
        let deadline = Instant::now() + timeout;
        // From now on nobody is missed who is not heard.
        self.ended_ns.get_or_init(now_ns);
        self.draining.send_replace(true);
        // Each hub has the whole time: they drain beside each other.
        let (own, others) = tokio::join!(self.drain_own(timeout, deadline), self.peers.drain(by, timeout));
        self.ended.send_replace(Some(by.to_owned()));
        let mut confirmed = own;
        confirmed.extend(others.into_iter().flat_map(|other| other.confirmed));
        let HubState { told: v1::DescribeResponse { clamped, capturers, sight, .. }, mut balances } =
            self.state();
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
        Drained { balances, unconfirmed, confirmed, clamped, sight: sight.unwrap_or_default() }
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
            && !writer.flush(deadline.max(Instant::now() + LAST_ROWS_TIMEOUT)).await
        {
            writer.abandon();
            let lost = writer.totals().lost;
            tracing::warn!(exchanges = lost, "the store did not take everything in time");
        }
        confirmed
    }

    /// Counts in the database what is there, where a hub that is gone cannot say what it stored.
    async fn settle_store(&self, balances: &mut [Balance], deadline: Instant) {
        let Some(shared) = &self.shared else { return };
        let state = self.state().told;
        let bases: Vec<_> = state.capturers.iter().map(|one| Base::from(one.id_base).slot).collect();
        match tokio::time::timeout_at(deadline, shared.count(&bases)).await {
            Ok(Ok(rows)) => account::store::settle(balances, rows.saturating_add(state.trimmed)),
            Ok(Err(error)) => tracing::warn!(%error, "the store's rows could not be counted"),
            Err(_elapsed) => tracing::warn!("the store's rows could not be counted in time"),
        }
    }
}

// === impl Drained ===

impl TryFrom<v1::DrainSessionResponse> for Drained {
    type Error = AccountError;

    fn try_from(response: v1::DrainSessionResponse) -> Result<Self, AccountError> {
        let v1::DrainSessionResponse { balances, unconfirmed, confirmed, clamped, sight } = response;
        let (balances, sight) = (Balance::read_all(balances)?, sight.unwrap_or_default());
        Ok(Self { balances, unconfirmed, confirmed, clamped, sight })
    }
}

impl From<Drained> for v1::DrainSessionResponse {
    fn from(drained: Drained) -> Self {
        let Drained { balances, unconfirmed, confirmed, clamped, sight } = drained;
        let balances = balances.into_iter().map(v1::Balance::from).collect();
        Self { balances, unconfirmed, confirmed, clamped, sight: Some(sight) }
    }
}
