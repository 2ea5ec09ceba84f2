//! What waits to be written.

use std::collections::VecDeque;
use std::sync::Arc;

use proto::v1;

use super::{BATCH_BYTES, BATCH_ROWS, BUFFER_BYTES, Totals};
use crate::store::{Batch, CapturerRow, LossRow};

/// Bytes in memory above which the oldest go to disk, well before payloads are shortened for want of room.
pub(super) const SPILL_FROM: usize = BUFFER_BYTES / 4;

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "what is given up, full and closing is independent")]
pub(super) struct Queue {
    pub(super) exchanges: VecDeque<(usize, Arc<v1::Exchange>)>,
    /// Of what waits in memory and of what is being written or goes to disk.
    pub(super) bytes: usize,
    /// Exchanges of the batch that is being written.
    pub(super) writing: Option<u64>,
    /// That batch counts as lost, whatever becomes of it.
    pub(super) given_up: bool,
    /// Exchanges on disk, all older than those in memory but for those on their way.
    pub(super) spooled: u64,
    /// Exchanges on their way to disk.
    pub(super) spilling: u64,
    /// The disk takes no more for now.
    pub(super) spool_is_full: bool,
    /// How often what waited was given up: what was on disk or on its way then is not counted again.
    pub(super) abandoned: u64,
    /// While there are some nothing is taken: what waits is handed to them.
    pub(super) holders: usize,
    pub(super) capturers: Vec<CapturerRow>,
    /// How often capturers were noted.
    pub(super) noted: u64,
    /// Noted rows were given up.
    pub(super) unrecorded: bool,
    pub(super) losses: VecDeque<LossRow>,
    pub(super) totals: Totals,
    pub(super) closing: bool,
}

/// What is written next.
pub(super) struct Taken {
    /// Of its exchanges in memory.
    pub(super) bytes: usize,
    /// Number of the rows of capturers in it.
    pub(super) noted: Option<u64>,
    pub(super) batch: Batch,
}

/// What goes to disk.
pub(super) struct Spilling {
    pub(super) exchanges: Vec<(usize, Arc<v1::Exchange>)>,
    /// What [`Queue::abandoned`] was.
    pub(super) abandoned: u64,
}

// === impl Queue ===

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.exchanges.is_empty() && self.spooled == 0 && self.capturers.is_empty() && self.losses.is_empty()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() && self.writing.is_none() && self.spilling == 0
    }

    pub(super) fn is_full_batch(&self) -> bool {
        self.spooled > 0 || self.exchanges.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// Exchanges that were offered and of which nothing became yet.
    pub(super) fn waiting(&self) -> u64 {
        let writing = self.writing.filter(|_| !self.given_up).unwrap_or_default();
        self.exchanges.len() as u64 + self.spooled + self.spilling + writing
    }

    /// Takes the oldest in memory, with all that is no exchange.
    pub(super) fn take(&mut self) -> Taken {
        let (bytes, exchanges) = self.oldest();
        self.taken(bytes, exchanges.into_iter().map(|(_, exchange)| exchange).collect())
    }

    /// Takes what was read from disk, with all that is no exchange.
    pub(super) fn take_spooled(&mut self, exchanges: Vec<Arc<v1::Exchange>>) -> Taken {
        self.spooled = self.spooled.saturating_sub(exchanges.len() as u64);
        self.taken(0, exchanges)
    }

    /// Counts as lost what was on disk and cannot be read.
    pub(super) fn damaged(&mut self, exchanges: u64) {
        self.spooled = self.spooled.saturating_sub(exchanges);
        self.spool_is_full = false;
        self.totals.lost += exchanges;
    }

    fn taken(&mut self, bytes: usize, exchanges: Vec<Arc<v1::Exchange>>) -> Taken {
        // There may be room again, or the disk that refused may take something.
        self.spool_is_full = false;
        self.writing = Some(exchanges.len() as u64);
        let capturers = std::mem::take(&mut self.capturers);
        let noted = (!capturers.is_empty()).then_some(self.noted);
        Taken { bytes, noted, batch: Batch { exchanges, capturers, losses: self.losses.drain(..).collect() } }
    }

    /// Takes what goes to disk, as long as memory is crowded and the disk takes it.
    pub(super) fn spill(&mut self) -> Option<Spilling> {
        if self.holders > 0 || self.closing || self.spool_is_full || self.bytes <= SPILL_FROM {
            return None;
        }
        let (_, exchanges) = self.oldest();
        self.spilling = exchanges.len() as u64;
        (!exchanges.is_empty()).then_some(Spilling { exchanges, abandoned: self.abandoned })
    }

    /// Notes how many of these are on disk; the others stay in memory.
    pub(super) fn spilled(&mut self, Spilling { mut exchanges, abandoned }: Spilling, fitting: usize) {
        let rest = exchanges.split_off(fitting.min(exchanges.len()));
        let on_disk = exchanges.iter().fold(0_usize, |sum, (bytes, _)| sum.saturating_add(*bytes));
        if abandoned != self.abandoned {
            let all = rest.iter().fold(on_disk, |sum, (bytes, _)| sum.saturating_add(*bytes));
            self.bytes = self.bytes.saturating_sub(all);
            return;
        }
        self.bytes = self.bytes.saturating_sub(on_disk);
        self.spilling = 0;
        self.spooled += exchanges.len() as u64;
        self.spool_is_full = !rest.is_empty();
        for one in rest.into_iter().rev() {
            self.exchanges.push_front(one);
        }
    }

    fn oldest(&mut self) -> (usize, Vec<(usize, Arc<v1::Exchange>)>) {
        let (mut bytes, mut exchanges) = (0_usize, Vec::new());
        while exchanges.len() < BATCH_ROWS && bytes < BATCH_BYTES {
            let Some((size, exchange)) = self.exchanges.pop_front() else { break };
            bytes += size;
            exchanges.push((size, exchange));
        }
        (bytes, exchanges)
    }

    /// Gives up what waits: it is lost.
    pub(super) fn abandon(&mut self) {
        self.totals.lost += self.forget();
        if let Some(writing) = self.writing.filter(|_| !self.given_up) {
            self.totals.lost += writing;
            self.given_up = true;
        }
        self.unrecorded |= !self.capturers.is_empty() || self.writing.is_some();
        self.capturers.clear();
        self.losses.clear();
    }

    /// Forgets what is on disk and so many of the oldest in memory, which somebody else has now; returns how many.
    pub(super) fn hand_over(&mut self, in_memory: usize) -> u64 {
        let newer = self.exchanges.split_off(in_memory.min(self.exchanges.len()));
        let handed = self.forget();
        self.exchanges = newer;
        handed
    }

    /// Forgets the exchanges that wait and are not being written; returns how many those were.
    pub(super) fn forget(&mut self) -> u64 {
        let waiting = self.exchanges.drain(..);
        let (count, bytes) =
            waiting.fold((0, 0_usize), |(count, bytes), (size, _)| (count + 1, bytes + size));
        self.bytes = self.bytes.saturating_sub(bytes);
        let disk = std::mem::take(&mut self.spooled) + std::mem::take(&mut self.spilling);
        self.spool_is_full = false;
        self.abandoned += 1;
        count + disk
    }
}
