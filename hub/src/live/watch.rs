//! One viewer's stream of exchanges.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use prost::Message as _;
use proto::account::Balance;
use proto::v1;
use tokio::sync::Notify;

use super::relayed::{Relay, Relayed, Takes};
use super::{Consumer, Joined, Wanted};
use crate::account::viewer;
use crate::exchange::{self, CROWDED_PAYLOAD};

/// Exchanges that wait for a viewer.
pub(super) const BUFFER_EXCHANGES: usize = 16_384;

/// Bytes that wait for a viewer.
pub(super) const BUFFER_BYTES: usize = 6 << 20;

/// Bytes behind which payloads are shortened, so that more exchanges have room.
const CROWDED_BYTES: usize = BUFFER_BYTES / 6 * 5;

/// Exchanges that were sent and are kept in case the stream breaks, and their bytes: what fits into the windows and
/// buffers between hub and plugin.
pub(super) const SENT_EXCHANGES: usize = 16_384;

/// Bytes of those.
pub(super) const SENT_BYTES: usize = 2 << 20;

/// What an exchange takes in memory beside its encoded bytes: its place in the line, and what the allocator adds.
const BESIDE_BYTES: usize = 96;

/// What one viewer gets: what passes its filter, as fast as it reads, and the count of what it missed.
#[derive(Debug)]
pub struct Watch {
    joined: Joined,
    filter: Wanted,
    payload_bytes: usize,
    /// Whether its stream is opened again when it breaks.
    resumes: bool,
    buffer: Mutex<Buffer>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Buffer {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// What was sent last.
    sent: VecDeque<Bytes>,
    sent_bytes: usize,
    /// Exchanges that were sent, those that are sent again counted once.
    position: u64,
    /// Its ledger as it was when its stream broke: should it not come back, it wanted no more.
    left: Option<Balance>,
    delivered: u64,
    filtered: u64,
    lost: u64,
    closed: bool,
    finished: bool,
    relayed: Relayed,
}

/// An exchange that waits, encoded as it is sent: that is a third of what it takes as a value, and is done once.
#[derive(Debug)]
struct Waiting {
    exchange: Bytes,
    /// It was sent before, and counted.
    again: bool,
}

/// Encodes an exchange with payloads of at most so many bytes.
fn encoded(exchange: &Arc<v1::Exchange>, payload_bytes: usize) -> Bytes {
    exchange::within(exchange, payload_bytes).encode_to_vec().into()
}

/// Bytes that an encoded exchange takes in memory.
pub(super) fn memory(exchange: &Bytes) -> usize {
    exchange.len().saturating_add(BESIDE_BYTES)
}

// === impl Watch ===

impl Watch {
    pub(super) fn new(joined: Joined, filter: Wanted, payload_bytes: usize, resumes: bool) -> Self {
        Self { joined, filter, payload_bytes, resumes, buffer: Mutex::default(), filled: Notify::new() }
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.joined.number
    }

    /// Notes that its stream broke.
    pub fn leave(&self) {
        let mut buffer = self.buffer();
        buffer.left = Some(self.ledger(&buffer));
    }

    /// Goes on over another stream for a viewer that received so many exchanges: what it missed of those that were sent
    /// comes first, as far as it is kept.
    pub fn go_on(&self, received: u64) {
        let mut buffer = self.buffer();
        buffer.left = None;
        buffer.send_again(received);
        drop(buffer);
        self.filled.notify_one();
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
        let (mut bytes, mut exchanges) = (0_usize, Vec::new());
        while exchanges.len() < most && bytes < most_bytes {
            let Some(Waiting { exchange, again }) = buffer.waiting.pop_front() else { break };
            let size = memory(&exchange);
            buffer.bytes = buffer.bytes.saturating_sub(size);
            bytes = bytes.saturating_add(size);
            buffer.position += 1;
            buffer.delivered += u64::from(!again);
            if self.resumes {
                buffer.keep(exchange.clone());
            }
            exchanges.push(exchange);
        }
        let end = buffer.is_over() && buffer.waiting.is_empty();
        let balance = Some(self.ledger(&buffer).into());
        drop(buffer);
        Some(v1::WatchResponse { exchanges, balance, end, began_at: self.joined.began_at, hub: 0 })
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

    /// What a viewer that comes again is told first: how it stands.
    #[must_use]
    pub fn greeting(&self) -> v1::WatchResponse {
        let balance = Some(self.balance().into());
        v1::WatchResponse { balance, began_at: self.joined.began_at, ..v1::WatchResponse::default() }
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
        if let Some(left) = &buffer.left {
            return left.clone();
        }
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

    /// Keeps what is sent.
    fn keep(&mut self, exchange: Bytes) {
        self.sent_bytes = self.sent_bytes.saturating_add(memory(&exchange));
        self.sent.push_back(exchange);
        while self.sent.len() > SENT_EXCHANGES || self.sent_bytes > SENT_BYTES {
            let Some(oldest) = self.sent.pop_front() else { break };
            self.sent_bytes = self.sent_bytes.saturating_sub(memory(&oldest));
        }
    }

    /// Lets wait again what was sent and not received; what is not kept any more is lost.
    fn send_again(&mut self, received: u64) {
        let mut missing = self.position.saturating_sub(received);
        self.position = self.position.min(received);
        while missing > 0
            && let Some(exchange) = self.sent.pop_back()
        {
            self.bytes = self.bytes.saturating_add(memory(&exchange));
            self.waiting.push_front(Waiting { exchange, again: true });
            missing -= 1;
        }
        self.lose_sent(missing);
        self.sent.clear();
        self.sent_bytes = 0;
    }

    /// Counts as lost what was sent and never arrives.
    fn lose_sent(&mut self, count: u64) {
        self.delivered = self.delivered.saturating_sub(count);
        self.lost = self.lost.saturating_add(count);
    }

    /// Lets an exchange wait with its payloads shortened to so many bytes, or as short as is left room for.
    fn put(&mut self, exchange: &Arc<v1::Exchange>, payload_bytes: usize) {
        if self.is_crowded() || !self.push(encoded(exchange, payload_bytes), CROWDED_BYTES) {
            self.crowd(exchange, payload_bytes);
        }
    }

    /// Lets an exchange wait that another hub encoded.
    fn put_encoded(&mut self, exchange: Bytes) {
        if !self.is_crowded() && self.push(exchange.clone(), CROWDED_BYTES) {
            return;
        }
        match v1::Exchange::decode(exchange) {
            Ok(exchange) => self.crowd(&Arc::new(exchange), CROWDED_PAYLOAD),
            Err(_) => self.lost += 1,
        }
    }

    /// Lets an exchange wait in what is left, where payloads are shortened: one without its whole payload is worth
    /// more than none.
    fn crowd(&mut self, exchange: &Arc<v1::Exchange>, payload_bytes: usize) {
        if !self.push(encoded(exchange, payload_bytes.min(CROWDED_PAYLOAD)), BUFFER_BYTES) {
            self.lost += 1;
        }
    }

    fn is_crowded(&self) -> bool {
        self.bytes > CROWDED_BYTES
    }

    /// Says whether there was room below so many bytes.
    fn push(&mut self, exchange: Bytes, limit: usize) -> bool {
        let bytes = self.bytes.saturating_add(memory(&exchange));
        if bytes > limit || self.waiting.len() >= BUFFER_EXCHANGES {
            return false;
        }
        self.bytes = bytes;
        self.waiting.push_back(Waiting { exchange, again: false });
        true
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
        let v1::WatchResponse { exchanges, balance, end, began_at, hub: _ } = response;
        let mut buffer = self.buffer();
        buffer.relayed.note(relay, began_at, balance);
        for exchange in exchanges {
            buffer.put_encoded(exchange);
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
                buffer.put(exchange, self.payload_bytes);
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
        let again = buffer.waiting.iter().filter(|waiting| waiting.again).count() as u64;
        buffer.lost += (buffer.waiting.len() as u64).saturating_sub(again);
        buffer.lose_sent(again);
        buffer.waiting.clear();
        buffer.bytes = 0;
        buffer.relayed.abandon();
        drop(buffer);
        self.filled.notify_one();
    }

    fn is_finished(&self) -> bool {
        let buffer = self.buffer();
        buffer.finished || buffer.left.is_some()
    }

    fn is_away(&self) -> bool {
        self.buffer().left.is_some()
    }

    fn balance(&self) -> Balance {
        self.ledger(&self.buffer())
    }
}
