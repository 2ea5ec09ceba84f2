//! Both sides of one exchange brought together: a client and a server that were seen each by its own capturer.
//!
//! The sides find each other by where they lie in the streams of their TCP connection: the sequence numbers of request
//! and response, which no translation of addresses changes, and the end of the connection that was not translated. What
//! is gained is how the client's network part divides between both ways, with the clocks of two nodes brought together
//! as the exchanges between them tell.
//!
//! Sides come in batches of their own, so the first one may have to wait for the other. It does so before viewers and
//! store see it, for a moment that is bounded, and only where the other side can be expected; all others pass at once.
//! With several hubs those sides are joined that came to one of them.

mod ends;
mod hopes;
mod marks;
mod offset;
mod prints;
mod room;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::v1;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::hopes::{Awaited, Hopes};
use self::offset::{Offset, Offsets};
use self::prints::{Print, Prints};
use self::room::Room;

/// The sides that are to be joined.
#[derive(Debug, Default)]
pub struct Joins {
    inner: Mutex<Inner>,
    /// Something waits.
    filled: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Inner {
    room: Room,
    prints: Prints,
    offsets: Offsets,
    hopes: Hopes,
    /// What tells the time on each node that has a capturer here.
    clocks: HashMap<Arc<str>, Arc<str>>,
    /// Nothing waits any more.
    closed: bool,
}

/// What is known of the other end of an exchange before its other side is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// It is where a capturer of the session is.
    Captured,
    /// It is where none is.
    Uncaptured,
    /// It may be anywhere.
    Unknown,
}

// === impl Joins ===

impl Joins {
    /// Takes exchanges in the order in which a capturer sent them, and gives those on that need not wait, or waited long
    /// enough; `pass` never waits. What `remote` says of an exchange decides whether it waits.
    pub fn take(
        &self,
        exchanges: Vec<v1::Exchange>,
        remote: impl Fn(&v1::Exchange) -> Remote,
        pass: impl FnOnce(Vec<v1::Exchange>),
    ) {
        let now = Instant::now();
        let mut inner = self.inner();
        let mut out = Vec::with_capacity(exchanges.len());
        for exchange in exchanges {
            inner.take(exchange, &remote, now, &mut out);
        }
        inner.give_up(now, &mut out);
        let waits = inner.room.len() > 0;
        // Within the lock: what leaves in order stays in order.
        give_on(out, pass);
        drop(inner);
        if waits {
            self.filled.notify_one();
        }
    }

    /// Notes which boot of a kernel a node's capturer runs on, where it says so: nodes of one kernel have one clock.
    pub fn know_clock(&self, node: &str, boot: &str) {
        let node: Arc<str> = node.into();
        let clock = if boot.is_empty() { Arc::clone(&node) } else { boot.into() };
        self.inner().clocks.insert(node, clock);
    }

    /// Gives on what waited long enough; returns when the next one has, where something waits.
    pub fn give_up(&self, pass: impl FnOnce(Vec<v1::Exchange>)) -> Option<Instant> {
        let mut inner = self.inner();
        let mut out = Vec::new();
        inner.give_up(Instant::now(), &mut out);
        give_on(out, pass);
        inner.room.due()
    }

    /// Gives on all that waits; from now on nothing does.
    pub fn close(&self, pass: impl FnOnce(Vec<v1::Exchange>)) {
        let mut inner = self.inner();
        inner.closed = true;
        let mut out = Vec::new();
        inner.room.empty(&mut out);
        give_on(out, pass);
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.inner().room.len() as u64
    }

    /// Tells that something waits, and of the end.
    #[must_use]
    pub fn filled(&self) -> Arc<Notify> {
        Arc::clone(&self.filled)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Joins {
    fn drop(&mut self) {
        self.filled.notify_one();
    }
}

// === impl Inner ===

impl Inner {
    fn take(
        &mut self,
        mut exchange: v1::Exchange,
        remote: impl Fn(&v1::Exchange) -> Remote,
        now: Instant,
        out: &mut Vec<v1::Exchange>,
    ) {
        let Some(print) = Print::of(&exchange, &self.clocks, now) else {
            return self.room.take(exchange, None, now, out);
        };
        self.hopes.see(print.ends.local.0);
        if let Some((other, offset)) = self.other(&print) {
            exchange.ways = Some(ways(&print, &other, offset));
            let theirs = ways(&other, &print, offset);
            let change = |exchange: &mut v1::Exchange| exchange.ways = Some(theirs);
            self.room.found((&other.node, other.connection), other.id, change, out);
            return self.room.take(exchange, None, now, out);
        }
        let peer = Awaited::of(&print);
        let waits = !self.closed && self.hopes.may_come(peer) && self.may_come(&print, remote(&exchange));
        self.prints.put(print);
        self.room.take(exchange, waits.then_some(peer), now, out);
    }

    /// Finds the other side and how far its clock is apart; the two belong to nobody else from then on.
    fn other(&mut self, print: &Print) -> Option<(Print, Offset)> {
        let other = self.prints.other(print)?.clone();
        let (client, server) = if print.is_client { (print, &other) } else { (&other, print) };
        let offset = if client.clock == server.clock {
            Offset::of_one_clock(client.marks, server.marks, client.node == server.node)?
        } else {
            self.offsets.learn((&client.clock, client.marks), (&server.clock, server.marks))?
        };
        self.prints.take(&other);
        // The first one did well to wait, or would have.
        if print.since.duration_since(other.since) < room::WAIT_PERIOD {
            self.hopes.came(Awaited::of(&other));
        }
        Some((other, offset))
    }

    fn may_come(&self, print: &Print, remote: Remote) -> bool {
        match remote {
            Remote::Captured => true,
            Remote::Uncaptured => false,
            Remote::Unknown => self.hopes.has_seen(print.ends.remote.0),
        }
    }

    fn give_up(&mut self, now: Instant, out: &mut Vec<v1::Exchange>) {
        for gave_up in self.room.give_up(now, out) {
            if gave_up.in_vain {
                self.hopes.did_not_come(gave_up.peer);
            }
        }
    }
}

/// What one side is told of the other.
fn ways(one: &Print, other: &Print, offset: Offset) -> v1::Ways {
    let (client, server) = if one.is_client { (one, other) } else { (other, one) };
    let Offset { ns, error_ns } = offset;
    let request = server.marks.request.saturating_sub(client.marks.request).saturating_sub(ns);
    let response = client.marks.response.saturating_sub(server.marks.response).saturating_add(ns);
    // On one machine what leaves one side is at the other one's interface already, if not before that: there is no way.
    let least = if client.clock == server.clock { 0 } else { i64::MIN };
    v1::Ways {
        request_ns: request.max(least),
        response_ns: response.max(least),
        error_ns,
        node: other.node.to_string(),
        id: other.id,
    }
}

fn give_on(out: Vec<v1::Exchange>, pass: impl FnOnce(Vec<v1::Exchange>)) {
    if !out.is_empty() {
        pass(out);
    }
}

#[cfg(test)]
mod tests;
