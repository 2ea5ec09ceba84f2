//! One viewer's stream of exchanges.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::account::Balance;
use proto::v1;
use tokio::sync::Notify;

use super::relayed::{Relay, Relayed, Takes};
use super::{Consumer, Joined, Wanted};
use crate::account::viewer;
use crate::exchange;

/// Exchanges that wait for a viewer.
pub(super) const BUFFER_EXCHANGES: usize = 16_384;

/// Bytes that wait for a viewer; most are shared with the other viewers and the store.
pub(super) const BUFFER_BYTES: usize = 6 << 20;

/// What one viewer gets: what passes its filter, as fast as it reads, and the count of what it missed.
#[derive(Debug)]
pub struct Watch {
    joined: Joined,
    filter: Wanted,
    payload_bytes: usize,
    buffer: Mutex<Buffer>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Buffer {
    waiting: VecDeque<(usize, Arc<v1::Exchange>)>,
    bytes: usize,
    delivered: u64,
    filtered: u64,
    lost: u64,
    closed: bool,
    finished: bool,
    relayed: Relayed,
}

// === impl Watch ===

impl Watch {
    pub(super) fn new(joined: Joined, filter: Wanted, payload_bytes: usize) -> Self {
        Self { joined, filter, payload_bytes, buffer: Mutex::default(), filled: Notify::new() }
    }

    /// Waits for exchanges, or for the end.
    pub async fn next(&self, most: usize, most_bytes: usize) -> v1::WatchResponse {
        loop {
            let filled = self.filled.notified();
            if let Some(response) = self.ready(most, most_bytes) {
                return response;
            }
            filled.await;
        }
    }

    fn ready(&self, most: usize, most_bytes: usize) -> Option<v1::WatchResponse> {
        let mut buffer = self.buffer();
        if buffer.waiting.is_empty() && !buffer.is_over() {
            return None;
        }
        let (mut bytes, mut taken) = (0_usize, Vec::new());
        while taken.len() < most && bytes < most_bytes {
            let Some((size, exchange)) = buffer.waiting.pop_front() else { break };
            buffer.bytes = buffer.bytes.saturating_sub(size);
            bytes = bytes.saturating_add(size);
            taken.push(exchange);
        }
        buffer.delivered += taken.len() as u64;
        let end = buffer.is_over() && buffer.waiting.is_empty();
        let balance = Some(self.ledger(&buffer).into());
        drop(buffer);
        let exchanges =
            taken.iter().map(|exchange| exchange::shortened(exchange, self.payload_bytes)).collect();
        Some(v1::WatchResponse { exchanges, balance, end, began_at: self.joined.began_at })
    }

    /// What a hub that relays it is told first: where it began.
    #[must_use]
    pub fn introduction(&self) -> v1::WatchResponse {
        let balance = viewer::balance(self.joined.number, 0, 0, 0);
        v1::WatchResponse {
            balance: Some(balance.into()),
            began_at: self.joined.began_at,
            ..v1::WatchResponse::default()
        }
    }

    /// Says that the last response was handed over.
    pub fn finish(&self) {
        self.buffer().finished = true;
    }

    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits is neither delivered nor lost yet, so it is not yet seen.
    fn ledger(&self, buffer: &Buffer) -> Balance {
        let filtered = buffer.filtered.saturating_add(buffer.relayed.filtered());
        let lost = buffer.lost.saturating_add(buffer.relayed.lost());
        viewer::balance(self.joined.number, buffer.delivered, filtered, lost)
    }
}

// === impl Buffer ===

impl Buffer {
    /// Whether nothing more comes.
    fn is_over(&self) -> bool {
        self.closed && !self.relayed.is_open()
    }

    fn put(&mut self, exchange: &Arc<v1::Exchange>) {
        let place = exchange::fitting(exchange, self.bytes, BUFFER_BYTES);
        match place.filter(|_| self.waiting.len() < BUFFER_EXCHANGES) {
            Some((bytes, exchange)) => {
                self.bytes += bytes;
                self.waiting.push_back((bytes, exchange));
            }
            None => self.lost += 1,
        }
    }
}

impl Takes<v1::WatchResponse> for Watch {
    fn relay_begins(&self, hub: u64) -> Relay {
        self.buffer().relayed.begin(hub)
    }

    fn has_told(&self, hub: u64) -> bool {
        self.buffer().relayed.has_told(hub)
    }

    fn relay(&self, relay: Relay, response: v1::WatchResponse) -> bool {
        let v1::WatchResponse { exchanges, balance, end, began_at } = response;
        let mut buffer = self.buffer();
        buffer.relayed.note(relay, began_at, balance);
        for exchange in exchanges {
            buffer.put(&Arc::new(exchange));
        }
        drop(buffer);
        self.filled.notify_one();
        end
    }

    fn relay_ends(&self) {
        self.buffer().relayed.end();
        self.filled.notify_one();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.joined.departed.leave(&self.balance());
    }
}

impl Consumer for Watch {
    fn take(&self, exchanges: &[Arc<v1::Exchange>]) {
        let mut buffer = self.buffer();
        for exchange in exchanges {
            if self.filter.passes(exchange) {
                buffer.put(exchange);
            } else {
                buffer.filtered += 1;
            }
        }
        drop(buffer);
        self.filled.notify_one();
    }

    fn pass_over(&self, count: u64) {
        self.buffer().filtered += count;
    }

    fn missed(&self, count: u64) {
        self.buffer().lost += count;
    }

    fn close(&self) {
        self.buffer().closed = true;
        self.filled.notify_one();
    }

    fn abandon(&self) {
        let mut buffer = self.buffer();
        buffer.lost += buffer.waiting.len() as u64;
        buffer.waiting.clear();
        buffer.bytes = 0;
        buffer.relayed.abandon();
        drop(buffer);
        self.filled.notify_one();
    }

    fn is_finished(&self) -> bool {
        self.buffer().finished
    }

    fn balance(&self) -> Balance {
        self.ledger(&self.buffer())
    }
}
