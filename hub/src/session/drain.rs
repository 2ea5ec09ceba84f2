//! The end of capture: what capturers still have goes to viewers and store, and the ledgers are closed.

use std::time::Duration;

use proto::account::{AccountError, Balance};
use proto::id::Base;
use proto::v1;
use tokio::time::Instant;

use super::Session;
use crate::account;
use crate::peers::HubState;
use crate::store::writer::{Writer, WriterState};
use crate::store::{PullSink, StoreError};

/// Time for the loss totals of a drain that took all of its time.
const LAST_ROWS_TIMEOUT: Duration = Duration::from_millis(300);

/// Share of a drain's time that capturers get: the rest is for viewers and the store.
const CAPTURERS_SHARE: f64 = 0.6;

/// What happens to exchanges that the store does not have yet when capture has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lag {
    /// They go on waiting for it.
    Borne,
    /// They are lost.
    GivenUp,
}

/// The account of a session whose capture has ended.
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
    /// Exchanges that still wait to be stored, which no ledger has.
    pub waiting: u64,
}

/// Who confirmed the end of capture, and who did not in time.
#[derive(Clone, Debug)]
pub(super) struct Confirmations {
    confirmed: Vec<String>,
    unconfirmed: Vec<String>,
    /// Whether what waits for the store was left waiting, here and at other hubs.
    lag: Lag,
}

// === impl Session ===

impl Session {
    /// Ends capture: asks every capturer for what it still has, waits until viewers and a store that answers have all of
    /// it, and returns the ledgers. Whoever asks again gets them as they are then; once what waits for the store was given
    /// up they are final.
    pub async fn drain(&self, by: &str, timeout: Duration, lag: Lag) -> Drained {
        let confirmations = self.drained.get_or_init(|| self.drain_once(by, timeout, lag)).await;
        let deadline = Instant::now() + timeout;
        match lag {
            Lag::Borne => match self.settled.get() {
                Some(settled) => settled.clone(),
                None => self.account(confirmations),
            },
            Lag::GivenUp => {
                let settle = || async {
                    // Peers that lag are told when what waits is given up.
                    if confirmations.lag == Lag::Borne {
                        tokio::join!(self.peers.drain(by, timeout, lag), self.give_up(deadline));
                    } else {
                        self.give_up(deadline).await;
                    }
                    let mut account = self.account(confirmations);
                    if self.peers.lost_one() {
                        self.settle_store(&mut account.balances, deadline).await;
                    }
                    account
                };
                self.settled.get_or_init(settle).await.clone()
            }
        }
    }

    fn account(&self, Confirmations { confirmed, unconfirmed, lag: _ }: &Confirmations) -> Drained {
        let HubState { told: v1::DescribeResponse { clamped, sight, waiting, .. }, balances, heard: _ } =
            self.state();
        let (confirmed, unconfirmed) = (confirmed.clone(), unconfirmed.clone());
        Drained { balances, unconfirmed, confirmed, clamped, sight: sight.unwrap_or_default(), waiting }
    }

    async fn drain_once(&self, by: &str, timeout: Duration, lag: Lag) -> Confirmations {
        let deadline = Instant::now() + timeout;
        // From now on nobody is missed who is not heard.
        self.sight.end(self.now());
        self.draining.send_replace(true);
        // Each hub has the whole time: they drain beside each other.
        let (own, others) =
            tokio::join!(self.drain_own(timeout, deadline, lag), self.peers.drain(by, timeout, lag));
        self.ended.send_replace(Some(by.to_owned()));
        let mut confirmed = own;
        confirmed.extend(others.into_iter().flat_map(|other| other.confirmed));
        // Also those of hubs that are gone, or did not answer; one that went from hub to hub confirmed where it was at
        // last.
        let capturers = self.state().told.capturers;
        let mut unconfirmed: Vec<String> = capturers.into_iter().map(|capturer| capturer.node).collect();
        unconfirmed.retain(|node| !confirmed.contains(node));
        unconfirmed.sort_unstable();
        unconfirmed.dedup();
        if !unconfirmed.is_empty() && self.hub.is_empty() {
            tracing::warn!(nodes = unconfirmed.join(", "), "capturers did not confirm their end");
        }
        Confirmations { confirmed, unconfirmed, lag }
    }

    /// Drains this hub's own capturers, viewers and store; returns who confirmed the end.
    async fn drain_own(&self, timeout: Duration, deadline: Instant, lag: Lag) -> Vec<String> {
        let confirmed = self.capturers.drained(Instant::now() + timeout.mul_f64(CAPTURERS_SHARE)).await;
        self.sight.is_over();
        self.joins.close(|passed| self.give_on(passed));
        self.live.close();
        self.note_capturers();
        // Beside each other: a viewer that does not read leaves the store its time.
        tokio::join!(self.live.flush(deadline), async {
            if let Some(writer) = self.writer.as_ref().filter(|writer| lag == Lag::GivenUp || takes(writer)) {
                writer.flush(deadline).await;
            }
        });
        self.record_losses();
        if let Some(writer) = self.writer.as_ref().filter(|writer| takes(writer)) {
            writer.flush(deadline.max(Instant::now() + LAST_ROWS_TIMEOUT)).await;
        }
        confirmed
    }

    /// Gives up what the store does not take until the deadline.
    async fn give_up(&self, deadline: Instant) {
        let Some(writer) = &self.writer else { return };
        if !writer.flush(deadline.max(Instant::now() + LAST_ROWS_TIMEOUT)).await {
            writer.abandon();
            let lost = writer.totals().lost;
            tracing::warn!(exchanges = lost, "the store did not take everything in time");
        }
    }

    /// Whether capture has ended and there is an account of it.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drained.initialized()
    }

    /// Whether the session is to store, and its store never answered: all that it has waits in this hub.
    #[must_use]
    pub fn has_unanswered_store(&self) -> bool {
        // With several hubs each has its own part.
        self.shared.is_none() && self.writer.as_ref().is_some_and(|writer| !writer.has_answered())
    }

    /// Streams what waits for such a store, as a pull of that store would; false where it answers by now.
    pub async fn pull_waiting(&self, sink: &PullSink) -> Result<bool, StoreError> {
        match &self.writer {
            Some(writer) => writer.pull_waiting(&self.scope, !self.keeps, sink).await,
            None => Ok(false),
        }
    }

    /// Waits until a store that works has all that was captured, or the deadline; one that is down is not waited for.
    pub async fn written(&self, deadline: Instant) {
        if let Some(writer) = self.writer.as_ref().filter(|_| self.is_drained()) {
            let works = !matches!(writer.state(), WriterState::Down { .. } | WriterState::Closed);
            // What does not get there in time is told by the ledgers.
            let _whole = works && writer.flush(deadline).await;
        }
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

/// Whether a store takes rows now: one that does not is not waited for.
fn takes(writer: &Writer) -> bool {
    writer.state() == WriterState::Ready
}

// === impl Drained ===

impl TryFrom<v1::DrainSessionResponse> for Drained {
    type Error = AccountError;

    fn try_from(response: v1::DrainSessionResponse) -> Result<Self, AccountError> {
        let v1::DrainSessionResponse { balances, unconfirmed, confirmed, clamped, sight, waiting } = response;
        let (balances, sight) = (Balance::read_all(balances)?, sight.unwrap_or_default());
        Ok(Self { balances, unconfirmed, confirmed, clamped, sight, waiting })
    }
}

impl From<Drained> for v1::DrainSessionResponse {
    fn from(drained: Drained) -> Self {
        let Drained { balances, unconfirmed, confirmed, clamped, sight, waiting } = drained;
        let balances = balances.into_iter().map(v1::Balance::from).collect();
        Self { balances, unconfirmed, confirmed, clamped, sight: Some(sight), waiting }
    }
}
