//! The task between live data and the store: it takes without waiting, writes in batches and survives an outage.

mod handed;
mod limit;
mod queue;
mod spill;
mod spool;
mod write;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::v1;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use self::queue::{Queue, Taken};
use self::spool::Spool;
use super::earlier::Earlier;
use super::{CapturerRow, LossRow, SPOOL_BYTES, Store, StoreError};

/// Bytes that wait in memory to be written; what comes on top goes to disk where there is one, and else is lost and
/// counted. With what is kept around it this is a quarter of the memory goal of a hub.
pub const BUFFER_BYTES: usize = 8 << 20;

/// Loss rows that wait to be written: totals only grow, so the newest say all.
pub const BUFFER_LOSSES: usize = 1024;

/// Exchanges of one transaction.
pub const BATCH_ROWS: usize = 512;

/// Bytes after which a transaction takes no further exchange.
pub const BATCH_BYTES: usize = 1 << 20;

/// How long a batch waits to fill: readers of the store are this far behind.
const BATCH_LINGER: Duration = Duration::from_millis(50);

/// Pauses between attempts to reach the store: first, longest.
const BACK_OFF_PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriterState {
    /// Not yet reached, and why the last attempt failed.
    Starting(String),
    /// Takes rows.
    Ready,
    /// Cannot be written to; the writer tries again.
    Down {
        /// Why.
        reason: String,
        /// Whether waiting can help.
        passing: bool,
    },
    /// Closed at the session's end.
    Closed,
}

/// Totals of the store, all monotonic; `seen` = `stored` + `ignored` + `lost` once nothing waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Offered.
    pub seen: u64,
    /// Written as new rows.
    pub stored: u64,
    /// Already there.
    pub ignored: u64,
    /// Did not fit the buffer, were refused by the database, or were still waiting when the store was given up.
    pub lost: u64,
    /// Not to be stored; not among the seen.
    pub filtered: u64,
    /// Removed again because the store reached its limit; they count as stored.
    pub trimmed: u64,
}

/// The way into the store.
#[derive(Clone, Debug)]
pub struct Writer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// What does not fit into memory.
    spool: Option<Mutex<Spool>>,
    /// Something waits.
    filled: Notify,
    /// So much waits that the oldest go to disk.
    crowded: Notify,
    /// Whoever waits for a batch to fill need not.
    hurry: Notify,
    /// Exchanges and rows that are done with, so that flushing can wait.
    settled: watch::Sender<u64>,
    state: watch::Sender<WriterState>,
    /// What the store held at first, once it answered.
    earlier: watch::Sender<Option<Arc<Earlier>>>,
    /// Newest number of [`Writer::note_capturers`] whose rows are written.
    recorded: watch::Sender<u64>,
    limit: u64,
    /// Whether the limit is this hub's to keep.
    trims: AtomicBool,
    /// Whether other hubs write, too.
    several: AtomicBool,
}

/// The writing end.
struct Task<S> {
    shared: Arc<Shared>,
    store: S,
    /// Bytes written since the size was measured.
    unmeasured: u64,
    /// When the size was measured.
    measured: Instant,
    /// The batch that was written last had rows of capturers that the store did not take.
    unrecorded: bool,
}

// === impl WriterState ===

impl From<WriterState> for v1::StoreState {
    fn from(state: WriterState) -> Self {
        use v1::store_state::Kind;
        let kind = match state {
            WriterState::Starting(reason) => Kind::Starting(v1::StoreStarting { reason }),
            WriterState::Ready => Kind::Ready(v1::StoreReady {}),
            WriterState::Down { reason, passing } => {
                let failure = if passing { v1::FailureKind::Passing } else { v1::FailureKind::Final };
                Kind::Down(v1::StoreDown { reason, failure: failure.into() })
            }
            WriterState::Closed => Kind::Closed(v1::StoreClosed {}),
        };
        Self { kind: Some(kind) }
    }
}

// === impl Writer ===

impl Writer {
    /// Begins writing to a store; `limit` in bytes, 0 for none. What it holds is read first where that is not known.
    pub fn start<S: Store>(store: S, limit: u64, earlier: Option<Earlier>) -> Self {
        Self::start_once(std::future::ready(()), store, limit, earlier, None)
    }

    /// As [`Self::start`], but leaves the store alone until `may` is done. What waits longer than memory has room for goes
    /// into a file of folder `spool`, up to [`SPOOL_BYTES`].
    pub fn start_once<S: Store>(
        may: impl Future<Output = ()> + Send + 'static,
        store: S,
        limit: u64,
        earlier: Option<Earlier>,
        spool: Option<&Path>,
    ) -> Self {
        let spool = spool.and_then(|folder| {
            let made = Spool::within(folder, SPOOL_BYTES);
            made.inspect_err(|error| tracing::warn!(%error, "exchanges wait for the store in memory alone"))
                .ok()
        });
        Self::start_with(may, store, limit, earlier, spool)
    }

    fn start_with<S: Store>(
        may: impl Future<Output = ()> + Send + 'static,
        store: S,
        limit: u64,
        earlier: Option<Earlier>,
        spool: Option<Spool>,
    ) -> Self {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            spool: spool.map(Mutex::new),
            filled: Notify::new(),
            crowded: Notify::new(),
            hurry: Notify::new(),
            settled: watch::Sender::new(0),
            state: watch::Sender::new(WriterState::Starting(String::new())),
            earlier: watch::Sender::new(earlier.map(Arc::new)),
            recorded: watch::Sender::new(0),
            limit,
            trims: AtomicBool::new(true),
            several: AtomicBool::new(false),
        });
        let task = Task {
            shared: Arc::clone(&shared),
            store,
            unmeasured: 0,
            measured: Instant::now(),
            unrecorded: false,
        };
        let spill = Arc::clone(&shared).spill();
        tokio::spawn(async move {
            let write = async {
                may.await;
                task.run().await;
            };
            tokio::select! {
                () = write => {}
                () = spill => {}
            }
        });
        Self { shared }
    }

    /// Says, where several hubs write, whether this one keeps the store within its limit.
    pub fn trims(&self, trims: bool) {
        self.shared.several.store(true, Ordering::Relaxed);
        self.shared.trims.store(trims, Ordering::Relaxed);
    }

    /// Counts exchanges that are not to be stored.
    pub fn pass_over(&self, exchanges: u64) {
        self.shared.queue().totals.filtered += exchanges;
    }

    /// Takes exchanges, as far as they fit; never waits.
    pub fn offer(&self, exchanges: &[Arc<v1::Exchange>]) {
        let mut queue = self.shared.queue();
        for exchange in exchanges {
            queue.totals.seen += 1;
            let place = crate::exchange::fitting(exchange, queue.bytes, BUFFER_BYTES);
            match place.filter(|_| !queue.closing) {
                Some((bytes, exchange)) => {
                    queue.bytes += bytes;
                    queue.exchanges.push_back((bytes, exchange));
                }
                None => queue.totals.lost += 1,
            }
        }
        if queue.bytes > queue::SPILL_FROM {
            self.shared.crowded.notify_one();
        }
        drop(queue);
        self.shared.filled.notify_one();
    }

    /// What the store held before this hub wrote to it; becomes known once it answers.
    #[must_use]
    pub fn earlier(&self) -> watch::Receiver<Option<Arc<Earlier>>> {
        self.shared.earlier.subscribe()
    }

    /// Exchanges that the store held before this hub wrote to it; `None` until it answers.
    #[must_use]
    pub fn held(&self) -> Option<u64> {
        self.shared.earlier.borrow().as_ref().map(|earlier| earlier.exchanges)
    }

    /// Whether the store ever answered: until then it has nothing of what was offered.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.shared.earlier.borrow().is_some()
    }

    /// Records capturers as they are now; returns a number for [`Self::recorded`].
    #[expect(clippy::must_use_candidate, reason = "most callers need not wait")]
    pub fn note_capturers(&self, rows: Vec<CapturerRow>) -> u64 {
        let mut queue = self.shared.queue();
        for row in rows {
            queue.capturers.retain(|waiting| waiting.node != row.node);
            queue.capturers.push(row);
        }
        queue.noted += 1;
        let number = queue.noted;
        drop(queue);
        self.shared.filled.notify_one();
        number
    }

    /// Waits until what was noted under a number is written.
    pub async fn recorded(&self, number: u64) {
        drop(self.shared.recorded.subscribe().wait_for(|recorded| *recorded >= number).await);
    }

    /// Records loss totals.
    pub fn note_losses(&self, rows: Vec<LossRow>) {
        let mut queue = self.shared.queue();
        queue.losses.extend(rows);
        while queue.losses.len() > BUFFER_LOSSES {
            queue.losses.pop_front();
        }
        drop(queue);
        self.shared.filled.notify_one();
    }

    /// Waits until everything offered so far is written; false when the deadline came first.
    pub async fn flush(&self, deadline: Instant) -> bool {
        let mut settled = self.shared.settled.subscribe();
        loop {
            settled.mark_unchanged();
            if self.shared.queue().is_idle() {
                return true;
            }
            self.shared.hurry.notify_one();
            match tokio::time::timeout_at(deadline, settled.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return self.shared.queue().is_idle(),
            }
        }
    }

    /// Gives up what still waits: it is lost.
    pub fn abandon(&self) {
        let mut queue = self.shared.queue();
        queue.abandon();
    }

    /// Writes what waits until the deadline, counts the rest as lost, and closes the store.
    pub async fn close(&self, deadline: Instant) {
        self.flush(deadline).await;
        {
            let mut queue = self.shared.queue();
            queue.closing = true;
            queue.abandon();
        }
        self.shared.filled.notify_one();
        self.shared.hurry.notify_one();
        let mut state = self.shared.state.subscribe();
        let closed = state.wait_for(|state| *state == WriterState::Closed);
        // An engine that hangs is left behind; its process ends soon.
        drop(tokio::time::timeout_at(deadline, closed).await);
    }

    /// How the store is.
    #[must_use]
    pub fn state(&self) -> WriterState {
        self.shared.state.borrow().clone()
    }

    /// Exchanges that wait to be written, in memory or on disk.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.shared.queue().waiting()
    }

    /// Totals so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.shared.queue().totals
    }
}

// === impl Shared ===

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self) {
        self.settled.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn set_state(&self, state: WriterState) {
        self.state.send_if_modified(|old| {
            let changed = *old != state;
            *old = state;
            changed
        });
    }
}

// === impl Task ===

impl<S: Store> Task<S> {
    async fn run(mut self) {
        self.reach().await;
        while let Some(Taken { bytes, noted, batch }) = self.next().await {
            let batch = Arc::new(batch);
            let written = self.write(&batch).await;
            {
                let mut queue = self.shared.queue();
                queue.writing = None;
                queue.bytes = queue.bytes.saturating_sub(bytes);
                if !std::mem::take(&mut queue.given_up) {
                    queue.totals.stored += written.stored;
                    queue.totals.ignored += written.ignored;
                    queue.totals.lost += written.refused;
                }
                let noted = noted.filter(|_| !self.unrecorded && !queue.unrecorded);
                self.shared.recorded.send_if_modified(|recorded| {
                    noted.is_some_and(|noted| {
                        *recorded = noted;
                        true
                    })
                });
            }
            self.shared.settle();
            self.unmeasured = self.unmeasured.saturating_add(written.bytes);
            self.keep_limit().await;
        }
        self.store.close().await;
        self.shared.set_state(WriterState::Closed);
        self.shared.settle();
    }

    /// Waits for something to write; `None` once closing and empty.
    async fn next(&mut self) -> Option<Taken> {
        loop {
            if Instant::now() >= self.measure_at() {
                self.keep_limit().await;
            }
            let filled = self.shared.filled.notified();
            let (empty, full, closing, spooled) = {
                let queue = self.shared.queue();
                let empty = queue.is_empty() || queue.holders > 0;
                (empty, queue.is_full_batch(), queue.closing, queue.spooled > 0)
            };
            match (empty, full || closing) {
                (true, _) if closing => return None,
                (true, _) => {
                    drop(tokio::time::timeout_at(self.measure_at(), filled).await);
                    continue;
                }
                (false, true) => {}
                (false, false) => {
                    drop(tokio::time::timeout(BATCH_LINGER, self.shared.hurry.notified()).await);
                }
            }
            let taken = if spooled { self.shared.take_spooled().await } else { self.take() };
            if taken.is_some() {
                return taken;
            }
        }
    }

    fn take(&self) -> Option<Taken> {
        let mut queue = self.shared.queue();
        (queue.holders == 0).then(|| queue.take())
    }

    /// Opens the store, again and again with growing pauses, until it is open or the session ends.
    async fn reach(&mut self) -> bool {
        let (mut pause, longest) = BACK_OFF_PAUSES;
        loop {
            match self.open().await {
                Ok(()) => {
                    // One that was down is back once it takes rows: a full disk is reached all the time.
                    if !matches!(&*self.shared.state.borrow(), WriterState::Down { .. }) {
                        self.shared.set_state(WriterState::Ready);
                    }
                    return true;
                }
                Err(error) => self.down(&error),
            }
            if self.shared.queue().closing {
                return false;
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(longest);
        }
    }

    async fn open(&mut self) -> Result<(), StoreError> {
        self.store.open().await?;
        if self.shared.earlier.borrow().is_none() {
            let earlier = self.store.earlier().await?;
            self.shared.earlier.send_replace(Some(Arc::new(earlier)));
        }
        Ok(())
    }

    fn took_rows(&self) {
        if matches!(&*self.shared.state.borrow(), WriterState::Down { .. }) {
            tracing::warn!("the store is back");
        }
        self.shared.set_state(WriterState::Ready);
    }

    fn down(&self, error: &StoreError) {
        let reason = error.to_string();
        // A store that never answered is starting, for as long as waiting can help.
        if matches!(&*self.shared.state.borrow(), WriterState::Starting(_)) && error.is_passing() {
            tracing::debug!(reason, "the store is starting");
            return self.shared.set_state(WriterState::Starting(reason));
        }
        if !matches!(&*self.shared.state.borrow(), WriterState::Down { .. }) {
            tracing::warn!(reason, "the store is down, exchanges wait");
        }
        self.shared.set_state(WriterState::Down { reason, passing: error.is_passing() });
    }
}

#[cfg(test)]
mod tests;
