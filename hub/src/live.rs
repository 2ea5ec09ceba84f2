//! Live fan-out: every viewer its own filter, its own bounded buffer and its own ledger.
//!
//! The data path holds viewers weakly: one that is gone costs nothing.

mod departed;
mod folding;
mod relayed;
mod stat;
mod watch;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use proto::account::Balance;
use proto::filter::{FilterError, Match};
use proto::selector::{Selector, SelectorError};
use proto::v1;
use tokio::time::Instant;

use self::departed::Departed;
use self::folding::Foldings;
pub use self::relayed::{Relay, Takes};
pub use self::stat::Stat;
pub use self::watch::Watch;
use crate::exchange;
use crate::stats::{Aggregates, AggregatesError};
use crate::workloads::Workloads;

/// Bytes of the session's first exchanges that are kept for the viewer that started it.
pub const OPENING_BYTES: usize = 4 << 20;

/// How long they are kept: the starter connects within it, all later viewers see what comes after them.
pub const OPENING_PERIOD: Duration = Duration::from_secs(10);

/// Viewers of one session.
pub const MAX_VIEWERS: usize = 64;

/// Whom exchanges go to.
#[derive(Debug, Default)]
pub struct Live {
    inner: Mutex<Inner>,
    foldings: Foldings,
    /// Whom labels are asked of, in a cluster.
    workloads: OnceLock<Arc<Workloads>>,
}

/// What one viewer wants.
#[derive(Debug)]
struct Wanted {
    filter: Match,
    selector: Selector,
    workloads: Option<Arc<Workloads>>,
}

/// Why a viewer is refused.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// Its filter does not compile; the error names field, value and reason.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Its label selector cannot be read.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// Its statistics cannot be made.
    #[error(transparent)]
    Aggregates(#[from] AggregatesError),
    /// There are too many.
    #[error("the session has {MAX_VIEWERS} viewers already")]
    TooMany,
}

#[derive(Debug, Default)]
struct Inner {
    consumers: Vec<Weak<dyn Consumer>>,
    opening: Opening,
    viewers: u64,
    /// Exchanges that there were for viewers.
    published: u64,
    /// What viewers counted that are gone.
    departed: Departed,
    closed: bool,
    /// Those that were there at the end, for the final ledgers.
    last: Vec<Arc<dyn Consumer>>,
}

/// What a viewer is given when it joins.
#[derive(Debug)]
struct Joined {
    /// Its number.
    number: u64,
    /// Exchanges that there were for viewers before the first that it sees.
    began_at: u64,
    /// Where its last ledger stays.
    departed: Departed,
}

/// The session's first exchanges.
#[derive(Debug, Default)]
struct Opening {
    began: Option<Instant>,
    over: bool,
    kept: VecDeque<Arc<v1::Exchange>>,
    bytes: usize,
    dropped: u64,
}

/// What takes exchanges; taking never waits.
trait Consumer: std::fmt::Debug + Send + Sync {
    fn take(&self, exchanges: &[Arc<v1::Exchange>]);
    /// Takes sums. Those that another viewer asked for are of what happened before this one joined.
    fn fold(&self, folds: &[v1::Fold]) {
        self.pass_over(exchanges_in(folds));
    }
    /// The sums that suffice it, where any do.
    fn sums(&self) -> Option<v1::Folding> {
        None
    }
    /// Counts exchanges that it was not to take.
    fn pass_over(&self, count: u64);
    /// Counts exchanges that were gone before they could be taken.
    fn missed(&self, count: u64);
    fn close(&self);
    /// Counts what is still waiting as lost.
    fn abandon(&self);
    /// Whether it has all that it will get, or cannot be reached.
    fn is_finished(&self) -> bool;
    /// Whether its stream broke and may be opened again.
    fn is_away(&self) -> bool;
    fn balance(&self) -> Balance;
}

// === impl Live ===

impl Live {
    /// Nobody watches yet. Where sums may be all that is wanted of exchanges, `tested` is the filter that all passed.
    #[must_use]
    pub fn new(tested: Option<v1::Filter>) -> Self {
        Self { foldings: Foldings::of(tested), ..Self::default() }
    }

    /// Hands exchanges to all viewers.
    pub fn publish(&self, exchanges: &[Arc<v1::Exchange>]) {
        let mut inner = self.inner();
        inner.published = inner.published.saturating_add(exchanges.len() as u64);
        inner.opening.keep(exchanges);
        self.each(&mut inner, |consumer| consumer.take(exchanges));
    }

    /// Hands sums to all viewers.
    pub fn fold(&self, folds: &[v1::Fold]) {
        let mut inner = self.inner();
        let exchanges = exchanges_in(folds);
        inner.published = inner.published.saturating_add(exchanges);
        self.each(&mut inner, |consumer| consumer.fold(folds));
    }

    /// What capturers are to send, and every change of it.
    #[must_use]
    pub fn folding(&self) -> tokio::sync::watch::Receiver<v1::Folding> {
        self.foldings.wanted()
    }

    fn each(&self, inner: &mut Inner, tell: impl Fn(&dyn Consumer)) {
        let before = inner.consumers.len();
        inner.consumers.retain(|consumer| match consumer.upgrade() {
            Some(consumer) => {
                tell(&*consumer);
                true
            }
            None => false,
        });
        if inner.consumers.len() != before {
            self.refold(inner);
        }
    }

    /// Wants sums where they suffice the only viewer, else exchanges.
    fn refold(&self, inner: &Inner) {
        let sole = match &inner.consumers[..] {
            [sole] => sole.upgrade(),
            _ => None,
        };
        self.foldings.want(sole.and_then(|sole| sole.sums()));
    }

    /// Counts exchanges that are for no viewer.
    pub fn pass_over(&self, exchanges: u64) {
        let mut inner = self.inner();
        inner.published = inner.published.saturating_add(exchanges);
        for consumer in inner.consumers.iter().filter_map(Weak::upgrade) {
            consumer.pass_over(exchanges);
        }
    }

    /// Opens a stream of exchanges.
    pub fn watch(&self, request: &v1::WatchRequest) -> Result<Arc<Watch>, LiveError> {
        let filter = self.wanted(request.filter.as_ref())?;
        let payload_bytes = usize::try_from(request.payload_bytes).unwrap_or(usize::MAX);
        let resumes = request.resume.is_some();
        self.join(request.from_start, |joined| Watch::new(joined, filter, payload_bytes, resumes))
    }

    /// Opens statistics; they begin with the session where its beginning is still there.
    pub fn stat(&self, request: &v1::StatRequest) -> Result<Arc<Stat>, LiveError> {
        let filter = self.wanted(request.filter.as_ref())?;
        let table = Aggregates::try_from(request)?;
        let sums = self.foldings.sums(request);
        self.join(!request.from_now, |joined| Stat::new(joined, filter, table, sums))
    }

    /// Asks for labels here from now on.
    pub fn follow(&self, workloads: Arc<Workloads>) {
        if self.workloads.set(workloads).is_err() {
            tracing::debug!("labels are known already");
        }
    }

    fn wanted(&self, filter: Option<&v1::Filter>) -> Result<Wanted, LiveError> {
        let Some(filter) = filter else {
            return Ok(Wanted { filter: Match::default(), selector: Selector::default(), workloads: None });
        };
        Ok(Wanted {
            filter: Match::try_from(filter)?,
            selector: Selector::parse(&filter.selector)?,
            workloads: self.workloads.get().cloned(),
        })
    }

    fn join<C: Consumer + 'static>(
        &self,
        from_start: bool,
        make: impl FnOnce(Joined) -> C,
    ) -> Result<Arc<C>, LiveError> {
        let mut inner = self.inner();
        inner.consumers.retain(|consumer| consumer.strong_count() > 0);
        // Those whose stream broke have a limit of their own.
        let here = inner.consumers.iter().filter_map(Weak::upgrade).filter(|consumer| !consumer.is_away());
        if here.count() >= MAX_VIEWERS {
            return Err(LiveError::TooMany);
        }
        inner.viewers += 1;
        let with_opening = from_start && !inner.opening.is_over();
        let opening = if with_opening { inner.opening.exchanges() } else { 0 };
        let consumer = Arc::new(make(Joined {
            number: inner.viewers,
            began_at: inner.published.saturating_sub(opening),
            departed: inner.departed.clone(),
        }));
        if with_opening {
            consumer.missed(inner.opening.dropped);
            consumer.take(inner.opening.kept.make_contiguous());
        }
        if inner.closed {
            consumer.close();
        }
        let kept: Weak<C> = Arc::downgrade(&consumer);
        inner.consumers.push(kept);
        self.refold(&inner);
        Ok(consumer)
    }

    /// Ends all streams once they have delivered what waits.
    pub fn close(&self) {
        let mut inner = self.inner();
        inner.closed = true;
        inner.opening.end();
        inner.last = inner.consumers.iter().filter_map(Weak::upgrade).collect();
        for consumer in &inner.last {
            consumer.close();
        }
    }

    /// Waits until every viewer of the end has all it will get, or is gone; what then still waits is lost.
    pub async fn flush(&self, deadline: Instant) {
        /// Between two looks; the wait is a few of these.
        const FLUSH_POLL: Duration = Duration::from_millis(2);
        // The list's own share of each viewer.
        let done = |consumer: &Arc<dyn Consumer>| consumer.is_finished() || Arc::strong_count(consumer) == 1;
        while !self.inner().last.iter().all(done) && Instant::now() < deadline {
            tokio::time::sleep(FLUSH_POLL).await;
        }
        for consumer in &self.inner().last {
            consumer.abandon();
        }
    }

    /// Ledgers of all viewers.
    #[must_use]
    pub fn balances(&self) -> Vec<Balance> {
        let inner = self.inner();
        if inner.closed {
            return inner.last.iter().map(|consumer| consumer.balance()).collect();
        }
        inner.consumers.iter().filter_map(Weak::upgrade).map(|consumer| consumer.balance()).collect()
    }

    /// Ledgers of all viewers that were ever there: of those that are gone their sum.
    #[must_use]
    pub fn totals(&self) -> Vec<Balance> {
        // Those that are gone first: a total that is short for a moment is not recorded, one that is too high stays.
        let mut totals = self.inner().departed.balances();
        totals.extend(self.balances());
        totals
    }

    /// Viewers that are there.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inner().consumers.iter().filter(|consumer| consumer.strong_count() > 0).count()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Wanted ===

impl Wanted {
    fn passes(&self, exchange: &v1::Exchange) -> bool {
        self.filter.passes(exchange) && (self.selector.is_empty() || self.selects(exchange))
    }

    /// Without labels nothing is selected: a process outside pods, or a hub without a cluster.
    fn selects(&self, exchange: &v1::Exchange) -> bool {
        let (Some(workloads), Some(origin)) = (&self.workloads, &exchange.origin) else { return false };
        workloads.selects(&self.selector, &origin.namespace, &origin.pod)
    }
}

// === impl Opening ===

impl Opening {
    fn keep(&mut self, exchanges: &[Arc<v1::Exchange>]) {
        if exchanges.is_empty() || self.is_over() {
            return;
        }
        self.began.get_or_insert_with(Instant::now);
        for exchange in exchanges {
            self.bytes += exchange::memory(exchange);
            self.kept.push_back(Arc::clone(exchange));
        }
        while self.bytes > OPENING_BYTES {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(exchange::memory(&oldest));
            self.dropped += 1;
        }
    }

    /// How many there were, those included that are not kept any more.
    fn exchanges(&self) -> u64 {
        self.dropped.saturating_add(self.kept.len() as u64)
    }

    fn is_over(&mut self) -> bool {
        if !self.over && self.began.is_some_and(|began| began.elapsed() > OPENING_PERIOD) {
            self.end();
        }
        self.over
    }

    fn end(&mut self) {
        *self = Self { over: true, ..Self::default() };
    }
}

/// How many exchanges were folded into sums.
fn exchanges_in(folds: &[v1::Fold]) -> u64 {
    folds.iter().map(|fold| fold.exchanges).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests;
