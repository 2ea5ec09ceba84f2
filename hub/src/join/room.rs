//! Exchanges that wait, in lines: those of a connection leave in the order in which they came.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use proto::v1;
use tokio::time::Instant;

use super::hopes::Awaited;
use crate::exchange;

/// Longest that an exchange waits for its other side: a capturer holds one for up to 100 ms for its last packets, and
/// sends what it has every 20 ms.
pub(super) const WAIT_PERIOD: Duration = Duration::from_millis(300);

/// Bytes that wait at most: a third of what waits for the store. Since each exchange counts as more than a KiB it bounds
/// their number, too.
pub(super) const ROOM_BYTES: usize = 4 << 20;

/// Whose exchanges keep their order: those of a node's connection.
type Line = (String, u64);

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// By the numbers they were given when they came.
    waiting: BTreeMap<u64, Waiting>,
    lines: HashMap<Line, VecDeque<u64>>,
    bytes: usize,
    next: u64,
}

/// One that waits.
#[derive(Debug)]
struct Waiting {
    exchange: v1::Exchange,
    bytes: usize,
    since: Instant,
    /// Whom it waits for; `None` where it only keeps its place in the line.
    peer: Option<Awaited>,
}

/// One that waited too long or had no room, and whom it waited for.
#[derive(Debug)]
pub(super) struct GaveUp {
    pub(super) peer: Awaited,
    /// Whether it waited as long as it may.
    pub(super) in_vain: bool,
}

// === impl Room ===

impl Room {
    /// Takes an exchange: one that waits for a `peer`, or one that is ready. What may go now is put into `out`.
    pub(super) fn take(
        &mut self,
        exchange: v1::Exchange,
        peer: Option<Awaited>,
        now: Instant,
        out: &mut Vec<v1::Exchange>,
    ) {
        let line = line(&exchange);
        if peer.is_none() && !self.lines.contains_key(&line) {
            return out.push(exchange);
        }
        let bytes = exchange::memory(&exchange);
        self.bytes = self.bytes.saturating_add(bytes);
        self.waiting.insert(self.next, Waiting { exchange, bytes, since: now, peer });
        self.lines.entry(line).or_default().push_back(self.next);
        self.next += 1;
    }

    /// Changes an exchange whose other side was found and lets it go in its turn, unless it is gone already.
    pub(super) fn found(
        &mut self,
        whose: (&str, u64),
        id: u64,
        change: impl FnOnce(&mut v1::Exchange),
        out: &mut Vec<v1::Exchange>,
    ) {
        let line = (whose.0.to_owned(), whose.1);
        let numbers = self.lines.get(&line).into_iter().flatten();
        let Some(number) = numbers.copied().find(|number| self.has(*number, id)) else { return };
        if let Some(waiting) = self.waiting.get_mut(&number) {
            change(&mut waiting.exchange);
            waiting.peer = None;
        }
        self.leave(&line, out);
    }

    /// Lets go what waited too long, and the oldest where there is no room.
    pub(super) fn give_up(&mut self, now: Instant, out: &mut Vec<v1::Exchange>) -> Vec<GaveUp> {
        let mut gave_up = Vec::new();
        while let Some((number, oldest)) = self.waiting.first_key_value() {
            let in_vain = now.duration_since(oldest.since) >= WAIT_PERIOD;
            if !in_vain && self.bytes <= ROOM_BYTES {
                break;
            }
            let (number, line) = (*number, line(&oldest.exchange));
            let Some(waiting) = self.waiting.get_mut(&number) else { break };
            // The oldest of all is the first of its line, and so it is not ready.
            gave_up.extend(waiting.peer.take().map(|peer| GaveUp { peer, in_vain }));
            self.leave(&line, out);
        }
        gave_up
    }

    /// Lets all go.
    pub(super) fn empty(&mut self, out: &mut Vec<v1::Exchange>) {
        let Self { waiting, lines, bytes, next: _ } = self;
        out.extend(std::mem::take(waiting).into_values().map(|waiting| waiting.exchange));
        lines.clear();
        *bytes = 0;
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// When the oldest has waited as long as it may.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(_, oldest)| oldest.since + WAIT_PERIOD)
    }

    fn has(&self, number: u64, id: u64) -> bool {
        self.waiting.get(&number).is_some_and(|waiting| waiting.exchange.id == id)
    }

    /// Lets those go that are ready and first of their line.
    fn leave(&mut self, line: &Line, out: &mut Vec<v1::Exchange>) {
        let Some(numbers) = self.lines.get_mut(line) else { return };
        while let Some(number) = numbers.front() {
            if self.waiting.get(number).is_some_and(|waiting| waiting.peer.is_some()) {
                return;
            }
            if let Some(waiting) = self.waiting.remove(number) {
                self.bytes = self.bytes.saturating_sub(waiting.bytes);
                out.push(waiting.exchange);
            }
            numbers.pop_front();
        }
        self.lines.remove(line);
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn line(exchange: &v1::Exchange) -> Line {
    let node = exchange.origin.as_ref().map(|origin| origin.node.clone());
    (node.unwrap_or_default(), exchange.connection_id)
}
