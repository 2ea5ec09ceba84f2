//! Events of one TCP connection become two contiguous streams; a range that was lost is an explicit gap.
//!
//! **Where a call's bytes lie.** With `s0` and `s1` the sequence numbers before and after a call that moved `n` bytes:
//! - `s1 - s0 == n`: exactly `s0..s1`.
//! - `s1 - s0 == n + 1` of a read: exactly, and a FIN or urgent byte was eaten, which later positions do not count;
//!   the same of a write that ended with an urgent byte.
//! - `s1 - s0 == n + 2` of a read that no other overlapped: two urgent bytes were eaten (by `tcp_check_urg` and by
//!   `tcp_recvmsg`).
//! - `s1 - s0 > n`: other threads moved bytes meanwhile. The call's bytes lie within `s0..s1`; once the other calls
//!   that are known leave exactly `n` bytes of it open, they are those. Until then the call waits.
//! - else (the socket was not yet established, or the call was running before the capture): `s1 - n`, if the direction
//!   is
//!   fresh or that is where it stands, and nothing else known lies there.
//!
//! What cannot be placed after [`WAIT_NS`] is dropped and counted `unanchored`; its range becomes a gap. Connections
//! positioned by a byte counter know no sequence numbers: there, calls of one direction that overlap in time cannot be
//! told apart and are dropped too.
//!
//! **Order.** Events of both directions are passed on in time order. When a range is missing the whole connection waits
//! for it, so that a gap is reported where it happened between the messages of the other direction.

mod event;
mod half;
mod payload;

use std::collections::VecDeque;
use std::ops::Range;

use capturer_ebpf::layout::{self, coordinate, flag};

use crate::direction::IN;
use crate::marks::Call;
pub use event::CallEvent;
use half::HalfStream;
pub use payload::Payload;

/// How long a connection waits for a missing range after the return of the call behind it. Only threads that share a socket are reported out of order, by as
/// much as a thread is kept from its return by the scheduler.
pub const WAIT_NS: u64 = 50_000_000;

/// Events that a connection holds while it waits; one more ends the wait. As many as other threads report while one is
/// kept from its return.
pub const PENDING_EVENTS: usize = 2048;

/// Events of no certain place that a connection holds; one more ends the wait, since each is compared with all others.
pub const PENDING_UNPLACED: usize = 128;

/// Bytes that a connection holds while it waits, bookkeeping included; more ends the wait.
pub const PENDING_BYTES: usize = 1 << 20;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its bytes were passed on.
    Placed,
    /// Its place could not be told.
    Unanchored,
    /// It came after its range had been given up.
    Late,
}

/// Takes what a connection yields, in order.
pub trait Sink {
    /// A call's place is known; its bytes follow. `counter` is the kernel's count at the call's start.
    fn call(&mut self, direction: usize, call: Call, counter: u64);
    /// Bytes at a position.
    fn bytes(&mut self, direction: usize, position: u64, at_ns: u64, bytes: &[u8]);
    /// Bytes that moved but were not captured.
    fn skipped(&mut self, direction: usize, position: u64, at_ns: u64, len: u64);
    /// Bytes that were lost; `None` when nobody knows how many, and positions go on as if it were none.
    fn gap(&mut self, direction: usize, position: u64, at_ns: u64, len: Option<u64>);
    /// The fate of one event.
    fn fate(&mut self, event: &CallEvent, fate: Fate);
}

/// Both directions of one TCP connection.
#[derive(Debug)]
pub struct Stream {
    counted: bool,
    halves: [HalfStream; 2],
    pending: VecDeque<Pending>,
    pending_bytes: usize,
}

#[derive(Debug)]
struct Pending {
    event: CallEvent,
    place: Place,
    /// A further piece of an event whose fate is already told.
    piece: bool,
}

/// Where an event's bytes lie, in unwrapped sequence numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Exact { start: u64, end: u64, eaten: u64 },
    Within { start: u64, end: u64 },
    Guess { start: u64, end: u64 },
    Nowhere,
}

/// What can be done with a pending event now.
enum Step {
    Pass,
    Split(Vec<Range<u64>>),
    Drop(Fate),
    Gap(u64),
    Anchor(u64),
    Stall,
}

// === impl Stream ===

impl Stream {
    /// Makes the streams of a connection with one of [`layout::coordinate`].
    #[must_use]
    pub fn new(connection: &layout::Connection) -> Self {
        Self {
            counted: connection.coordinate == coordinate::COUNTER,
            halves: Default::default(),
            pending: VecDeque::new(),
            pending_bytes: 0,
        }
    }

    /// Takes the next event in time order and passes on what has become contiguous; `now_ns` is the time up to which
    /// all events were taken.
    pub fn take(&mut self, event: CallEvent, now_ns: u64, sink: &mut impl Sink) {
        // What was due before it does not depend on it.
        self.advance(now_ns, false, sink);
        let place = self.place(&event);
        let pending = Pending { event, place, piece: false };
        self.pending_bytes += pending.weight();
        self.pending.push_back(pending);
        self.advance(now_ns, false, sink);
    }

    /// Goes over to the byte counter when the connection does (TLS in the kernel, a socket map), at the same positions.
    pub fn coordinate(&mut self, connection: &layout::Connection, now_ns: u64, sink: &mut impl Sink) {
        if self.counted || connection.coordinate != coordinate::COUNTER {
            return;
        }
        self.advance(now_ns, true, sink);
        self.counted = true;
        for half in &mut self.halves {
            half.recount();
        }
    }

    /// Passes on what has waited long enough; with `force` everything.
    pub fn advance(&mut self, now_ns: u64, force: bool, sink: &mut impl Sink) {
        while let Some(oldest) = self.pending.front() {
            // What lies before its bytes entered the kernel before it returned. Each event waits from its own time on: one
            // that begins to wait only when another has ended would fall ever further behind.
            let waited_ns = now_ns.saturating_sub(oldest.event.exit_ns);
            if let Some(index) = self.ready(now_ns) {
                self.perform(index, now_ns, sink);
            } else if force || waited_ns >= WAIT_NS || self.is_full() {
                self.give_up(sink);
            } else {
                return;
            }
        }
    }

    fn is_full(&self) -> bool {
        let unplaced = || self.pending.iter().filter(|pending| !pending.place.is_exact()).count();
        self.pending.len() > PENDING_EVENTS
            || self.pending_bytes > PENDING_BYTES
            || unplaced() > PENDING_UNPLACED
    }

    /// Returns whether events wait for a missing range.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Returns what to add to a position to get a sequence number, by direction: of the bytes that were passed on last.
    #[must_use]
    pub fn shifts(&self) -> [u64; 2] {
        let [out, inward] = &self.halves;
        [out.shift, inward.shift]
    }

    /// Returns how many events wait, and their bytes.
    #[must_use]
    pub fn pending(&self) -> (usize, usize) {
        (self.pending.iter().filter(|pending| !pending.piece).count(), self.pending_bytes)
    }

    fn place(&mut self, event: &CallEvent) -> Place {
        if self.counted {
            return Place::Exact { start: event.counter, end: event.counter + event.moved, eaten: 0 };
        }
        let Some(half) = self.halves.get_mut(event.direction) else { return Place::Nowhere };
        let span = u64::from(event.s1.wrapping_sub(event.s0));
        let end = half.sequence.advance(event.s1);
        let unsure = event.flags & (flag::UNANCHORED | flag::NO_ENTER) != 0;
        if span == event.moved {
            let start = end - event.moved;
            let exact = Place::Exact { start, end, eaten: 0 };
            return if unsure { Place::Guess { start, end } } else { exact };
        }
        let urgent = event.flags & flag::URGENT != 0;
        if urgent && event.flags & flag::NO_ENTER != 0 {
            return Place::Nowhere;
        }
        if span == event.moved + 1 && (urgent || event.direction == IN) {
            return Place::Exact { start: end - span, end: end - 1, eaten: 1 };
        }
        // A second urgent byte came while the read waited: the kernel passed over the first, the read over the second.
        let entered = event.flags & flag::NO_ENTER == 0;
        let alone = entered && event.enter_ns >= half.exit_ns;
        if span == event.moved + 2 && alone && event.direction == IN {
            return Place::Exact { start: end - span, end: end - 2, eaten: 2 };
        }
        if event.moved > end {
            return Place::Nowhere;
        }
        if entered && span > event.moved && span < 1 << 31 {
            return Place::Within { start: end - span, end };
        }
        let fresh = half.next.is_none() || event.flags & flag::NO_ENTER != 0;
        if fresh { Place::Guess { start: end - event.moved, end } } else { Place::Nowhere }
    }

    /// Returns the first event that can be dealt with: the oldest, else one that the oldest waits for.
    fn ready(&self, now_ns: u64) -> Option<usize> {
        let head = self.pending.front()?;
        (0..self.pending.len()).find(|index| {
            let Some(pending) = self.pending.get(*index) else { return false };
            if *index > 0 && pending.event.direction != head.event.direction {
                return false;
            }
            match self.step(*index, now_ns) {
                Step::Stall => false,
                Step::Gap(_) | Step::Drop(_) | Step::Anchor(_) => *index == 0,
                Step::Pass | Step::Split(_) => true,
            }
        })
    }

    fn step(&self, index: usize, now_ns: u64) -> Step {
        let Some(Pending { event, place, .. }) = self.pending.get(index) else { return Step::Stall };
        let Some(half) = self.halves.get(event.direction) else { return Step::Drop(Fate::Unanchored) };
        match *place {
            Place::Nowhere => Step::Drop(Fate::Unanchored),
            Place::Exact { start, .. } => {
                if self.counted {
                    if now_ns < event.exit_ns && !self.is_piece(index) {
                        return Step::Stall;
                    }
                    if event.enter_ns < half.exit_ns || self.concurrent(index) {
                        return Step::Drop(Fate::Unanchored);
                    }
                }
                if half.next.is_none() && !self.is_first(index, start, now_ns) {
                    return Step::Stall;
                }
                match half.step(start) {
                    // Calls that entered after all that was placed had returned cannot lie before it: the numbers
                    // begin anew.
                    Step::Drop(Fate::Late) if !self.counted && event.enter_ns >= half.exit_ns => {
                        Step::Anchor(start)
                    }
                    step @ (Step::Pass
                    | Step::Split(_)
                    | Step::Drop(_)
                    | Step::Gap(_)
                    | Step::Anchor(_)
                    | Step::Stall) => step,
                }
            }
            Place::Guess { start, end } => {
                if now_ns < event.exit_ns {
                    return Step::Stall;
                }
                if self.overlapped(index, start..end) {
                    return Step::Drop(Fate::Unanchored);
                }
                match half.step(start) {
                    Step::Drop(_) => Step::Drop(Fate::Unanchored),
                    step @ (Step::Pass | Step::Split(_) | Step::Gap(_) | Step::Anchor(_) | Step::Stall) => {
                        step
                    }
                }
            }
            Place::Within { start, end } => self.eliminate(index, start..end),
        }
    }

    /// Returns whether the call at `index` begins what is seen of its direction: all calls that it overlaps are known,
    /// none of them lies before it, and none that the kernel counted before is still on its way.
    fn is_first(&self, index: usize, start: u64, now_ns: u64) -> bool {
        let Some(Pending { event, .. }) = self.pending.get(index) else { return false };
        let reported = event.counter == 0
            || self.is_piece(index)
            || self.others(index).any(|other| other.event.counter < event.counter);
        reported && now_ns >= event.exit_ns && !self.others(index).any(|other| other.place.is_before(start))
    }

    fn is_piece(&self, index: usize) -> bool {
        self.pending.get(index).is_some_and(|pending| pending.piece)
    }

    /// Returns whether another pending call of the same direction overlaps the one at `index` in time.
    fn concurrent(&self, index: usize) -> bool {
        let Some(Pending { event, .. }) = self.pending.get(index) else { return false };
        self.others(index)
            .any(|other| other.event.enter_ns < event.exit_ns && event.enter_ns < other.event.exit_ns)
    }

    /// Returns whether another pending call of the same direction may lie in `range`.
    fn overlapped(&self, index: usize, range: Range<u64>) -> bool {
        self.others(index).any(|other| match other.place {
            Place::Exact { start, end, .. } | Place::Within { start, end } | Place::Guess { start, end } => {
                start < range.end && range.start < end
            }
            Place::Nowhere => false,
        })
    }

    fn others(&self, index: usize) -> impl Iterator<Item = &Pending> {
        let direction = self.pending.get(index).map(|pending| pending.event.direction);
        self.pending
            .iter()
            .enumerate()
            .filter(move |(other, pending)| *other != index && Some(pending.event.direction) == direction)
            .map(|(_, pending)| pending)
    }

    /// Looks for the bytes of `range` that no other call moved.
    fn eliminate(&self, index: usize, range: Range<u64>) -> Step {
        let Some(Pending { event, .. }) = self.pending.get(index) else { return Step::Stall };
        let Some(half) = self.halves.get(event.direction) else { return Step::Stall };
        let passed = half.next.unwrap_or(range.start);
        if passed > range.start && range.start < half.known_from {
            return Step::Drop(Fate::Unanchored);
        }
        let mut taken: Vec<(u64, u64)> = self
            .others(index)
            .filter_map(|other| match other.place {
                Place::Exact { start, end, .. } => Some((start, end)),
                Place::Within { .. } | Place::Guess { .. } | Place::Nowhere => None,
            })
            .filter(|(start, end)| *start < range.end && range.start < *end)
            .collect();
        taken.sort_unstable();
        let mut open = Vec::new();
        let mut at = range.start.max(passed);
        for (start, end) in taken {
            if start > at {
                open.push(at..start);
            }
            at = at.max(end);
        }
        if at < range.end {
            open.push(at..range.end);
        }
        let total: u64 = open.iter().map(|piece| piece.end - piece.start).sum();
        match total.cmp(&event.moved) {
            std::cmp::Ordering::Equal => Step::Split(open),
            std::cmp::Ordering::Less => Step::Drop(Fate::Unanchored),
            std::cmp::Ordering::Greater => Step::Stall,
        }
    }

    fn perform(&mut self, index: usize, now_ns: u64, sink: &mut impl Sink) {
        match self.step(index, now_ns) {
            Step::Stall => {}
            Step::Drop(fate) => self.drop_event(index, fate, sink),
            Step::Split(open) => self.split(index, &open),
            Step::Gap(until) => self.gap(index, until, sink),
            Step::Anchor(start) => {
                let Some(Pending { event, .. }) = self.pending.get(index) else { return };
                if let Some(half) = self.halves.get_mut(event.direction) {
                    half.anchor(event, start, sink);
                }
            }
            Step::Pass => self.pass(index, sink),
        }
    }

    fn pass(&mut self, index: usize, sink: &mut impl Sink) {
        let unseen = self.others(index).map(|other| other.event.counter).min().unwrap_or(u64::MAX);
        let Some(pending) = self.pending.remove(index) else { return };
        self.pending_bytes -= pending.weight();
        if let Some(half) = self.halves.get_mut(pending.event.direction) {
            half.pass(&pending, unseen.min(pending.event.counter), sink);
        }
    }

    /// Returns the event of a direction that lies first, of those whose place is known.
    fn foremost(&self, direction: usize) -> Option<usize> {
        let start = |pending: &Pending| match pending.place {
            Place::Exact { start, .. } | Place::Guess { start, .. } => Some(start),
            Place::Within { .. } | Place::Nowhere => None,
        };
        let of_direction =
            self.pending.iter().enumerate().filter(|(_, pending)| pending.event.direction == direction);
        of_direction
            .filter_map(|(index, pending)| Some((start(pending)?, index)))
            .min()
            .map(|(_, index)| index)
    }

    /// Ends the wait of the oldest event: what it waits for is lost, or its place is.
    fn give_up(&mut self, sink: &mut impl Sink) {
        let Some(Pending { event, place, .. }) = self.pending.front() else { return };
        let Some(half) = self.halves.get(event.direction) else { return };
        match *place {
            Place::Exact { start, .. } | Place::Guess { start, .. } => match half.next {
                Some(next) if next < start => self.gap(0, start, sink),
                // Nothing is missing before it: only the time until its return was waited for.
                Some(_) => self.perform(0, u64::MAX, sink),
                None => {
                    let direction = event.direction;
                    if let Some(index) = self.foremost(direction) {
                        self.pass(index, sink);
                    }
                }
            },
            Place::Within { .. } | Place::Nowhere => self.drop_event(0, Fate::Unanchored, sink),
        }
    }

    fn gap(&mut self, index: usize, until: u64, sink: &mut impl Sink) {
        // Something else that is known may lie in between: the gap ends there.
        let until = self
            .others(index)
            .filter_map(|other| match other.place {
                Place::Exact { start, .. } => Some(start),
                Place::Within { .. } | Place::Guess { .. } | Place::Nowhere => None,
            })
            .chain([until]);
        let Some(Pending { event, .. }) = self.pending.get(index) else { return };
        let (direction, at_ns) = (event.direction, event.at_ns());
        let Some(next) = self.halves.get(direction).and_then(|half| half.next) else { return };
        let Some(until) = until.filter(|until| *until > next).min() else { return };
        if let Some(half) = self.halves.get_mut(direction) {
            half.gap(direction, until, at_ns, sink);
        }
    }

    fn drop_event(&mut self, index: usize, fate: Fate, sink: &mut impl Sink) {
        let Some(pending) = self.pending.remove(index) else { return };
        self.pending_bytes -= pending.weight();
        let Pending { event, place, piece } = pending;
        if let (Some(half), Place::Exact { end, .. } | Place::Within { end, .. } | Place::Guess { end, .. }) =
            (self.halves.get_mut(event.direction), place)
        {
            half.lost_until = half.lost_until.max(end);
            if self.counted {
                half.exit_ns = half.exit_ns.max(event.exit_ns);
            }
        }
        if !piece {
            sink.fate(&event, fate);
        }
    }

    /// Replaces an event by its pieces, now that their places are known.
    fn split(&mut self, index: usize, open: &[Range<u64>]) {
        let Some(pending) = self.pending.remove(index) else { return };
        self.pending_bytes -= pending.weight();
        let mut rest = pending.event.payload.clone();
        let mut counter = pending.event.counter;
        for (number, piece) in open.iter().enumerate() {
            let len = piece.end - piece.start;
            let event = CallEvent { moved: len, counter, payload: rest.split(len), ..pending.event.clone() };
            counter += len;
            let place = Place::Exact { start: piece.start, end: piece.end, eaten: 0 };
            let piece = Pending { event, place, piece: number > 0 };
            self.pending_bytes += piece.weight();
            self.pending.insert(index + number, piece);
        }
    }
}

// === impl Pending ===

impl Pending {
    /// Returns the bytes that it takes.
    fn weight(&self) -> usize {
        size_of::<Self>() + self.event.payload.weight()
    }
}

// === impl Place ===

impl Place {
    fn is_exact(&self) -> bool {
        matches!(self, Self::Exact { .. })
    }

    /// Returns whether the call may lie before `position`.
    fn is_before(&self, position: u64) -> bool {
        match *self {
            Self::Exact { start, .. } | Self::Within { start, .. } | Self::Guess { start, .. } => {
                start < position
            }
            Self::Nowhere => false,
        }
    }
}

#[cfg(test)]
mod tests;
