//! What waits to be written.

use std::collections::VecDeque;
use std::sync::Arc;

use proto::v1;

use super::{BATCH_BYTES, BATCH_ROWS, Totals};
use crate::store::{Batch, CapturerRow, LossRow};

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) exchanges: VecDeque<(usize, Arc<v1::Exchange>)>,
    /// Of what waits and of what is being written.
    pub(super) bytes: usize,
    /// Exchanges of the batch that is being written.
    pub(super) writing: Option<u64>,
    /// That batch counts as lost, whatever becomes of it.
    pub(super) given_up: bool,
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
    /// Of its exchanges.
    pub(super) bytes: usize,
    /// Number of the rows of capturers in it.
    pub(super) noted: Option<u64>,
    pub(super) batch: Batch,
}

// === impl Queue ===

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.exchanges.is_empty() && self.capturers.is_empty() && self.losses.is_empty()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() && self.writing.is_none()
    }

    pub(super) fn is_full_batch(&self) -> bool {
        self.exchanges.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    pub(super) fn take(&mut self) -> Taken {
        let (mut bytes, mut exchanges) = (0_usize, Vec::new());
        while exchanges.len() < BATCH_ROWS && bytes < BATCH_BYTES {
            let Some((size, exchange)) = self.exchanges.pop_front() else { break };
            bytes += size;
            exchanges.push(exchange);
        }
        self.writing = Some(exchanges.len() as u64);
        let capturers = std::mem::take(&mut self.capturers);
        let noted = (!capturers.is_empty()).then_some(self.noted);
        Taken { bytes, noted, batch: Batch { exchanges, capturers, losses: self.losses.drain(..).collect() } }
    }

    pub(super) fn abandon(&mut self) {
        let waiting = self.exchanges.drain(..);
        let (count, bytes) =
            waiting.fold((0, 0_usize), |(count, bytes), (size, _)| (count + 1, bytes + size));
        self.totals.lost += count;
        if let Some(writing) = self.writing.filter(|_| !self.given_up) {
            self.totals.lost += writing;
            self.given_up = true;
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        self.unrecorded |= !self.capturers.is_empty() || self.writing.is_some();
        self.capturers.clear();
        self.losses.clear();
    }
}
