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
//! - else (the socket was not yet established, or the call was running before the capture): `s1 - n`, if the way is
//!   fresh or that is where it stands, and nothing else known lies there.
//!
//! What cannot be placed after [`WAIT_NS`] is dropped and counted `unanchored`; its range becomes a gap. Connections
//! positioned by a byte counter know no sequence numbers: there, calls of one way that overlap in time cannot be told
//! apart and are dropped too.
//!
//! **Order.** Events of both ways are passed on in time order. When a range is missing the whole connection waits for
//! it, so that a gap is reported where it happened between the messages of the other way.

mod direction;
mod event;
mod payload;

use std::collections::VecDeque;
use std::ops::Range;

use capturer_ebpf::layout::{self, coordinate, flag};

use crate::direction::IN;
use crate::marks::Call;
use direction::Direction;
pub use event::Event;
pub use payload::Payload;

/// How long a connection waits for a missing range. Only threads that share a socket are reported out of order, by as
/// much as a thread is kept from its return by the scheduler.
pub const WAIT_NS: u64 = 50_000_000;

/// Events that a connection holds while it waits; one more ends the wait. As many as other threads report while one is
/// kept from its return.
pub const WAITING_EVENTS: usize = 2048;

/// Events of no certain place that a connection holds; one more ends the wait, since each is compared with all others.
pub const WAITING_UNPLACED: usize = 128;

/// Bytes that a connection holds while it waits, bookkeeping included; more ends the wait.
pub const WAITING_BYTES: usize = 1 << 20;

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
    fn call(&mut self, way: usize, call: Call, counter: u64);
    /// Bytes at a position.
    fn bytes(&mut self, way: usize, position: u64, at_ns: u64, bytes: &[u8]);
    /// Bytes that moved but were not captured.
    fn skipped(&mut self, way: usize, position: u64, at_ns: u64, len: u64);
    /// Bytes that were lost; `None` when nobody knows how many, and positions go on as if it were none.
    fn gap(&mut self, way: usize, position: u64, at_ns: u64, len: Option<u64>);
    /// The fate of one event.
    fn fate(&mut self, event: &Event, fate: Fate);
}

/// Both ways of one TCP connection.
#[derive(Debug)]
pub struct Stream {
    counted: bool,
    ways: [Direction; 2],
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    stalled_ns: Option<u64>,
}

#[derive(Debug)]
struct Waiting {
    event: Event,
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

/// What can be done with a waiting event now.
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
            ways: Default::default(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            stalled_ns: None,
        }
    }

    /// Takes the next event in time order and passes on what has become contiguous; `now_ns` is the time up to which
    /// all events are known.
    pub fn take(&mut self, event: Event, now_ns: u64, sink: &mut impl Sink) {
        // What was due before it does not depend on it.
        self.advance(now_ns, false, sink);
        let place = self.place(&event);
        let waiting = Waiting { event, place, piece: false };
        self.waiting_bytes += waiting.weight();
        self.waiting.push_back(waiting);
        self.advance(now_ns, false, sink);
    }

    /// Goes over to the byte counter when the connection does (TLS in the kernel, a socket map), at the same positions.
    pub fn coordinate(&mut self, connection: &layout::Connection, now_ns: u64, sink: &mut impl Sink) {
        if self.counted || connection.coordinate != coordinate::COUNTER {
            return;
        }
        self.advance(now_ns, true, sink);
        self.counted = true;
        for direction in &mut self.ways {
            direction.recount();
        }
    }

    /// Passes on what has waited long enough; with `force` everything.
    pub fn advance(&mut self, now_ns: u64, force: bool, sink: &mut impl Sink) {
        while !self.waiting.is_empty() {
            if let Some(index) = self.ready(now_ns) {
                self.perform(index, now_ns, sink);
                self.stalled_ns = None;
                continue;
            }
            let since = *self.stalled_ns.get_or_insert(now_ns);
            if !force && !self.is_full() && now_ns.saturating_sub(since) < WAIT_NS {
                return;
            }
            self.give_up(sink);
            self.stalled_ns = None;
        }
        self.stalled_ns = None;
    }

    fn is_full(&self) -> bool {
        let unplaced = || self.waiting.iter().filter(|waiting| !waiting.place.is_exact()).count();
        self.waiting.len() > WAITING_EVENTS
            || self.waiting_bytes > WAITING_BYTES
            || unplaced() > WAITING_UNPLACED
    }

    /// Returns whether events wait for a missing range.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns how many events wait, and their bytes.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        (self.waiting.iter().filter(|waiting| !waiting.piece).count(), self.waiting_bytes)
    }

    fn place(&mut self, event: &Event) -> Place {
        if self.counted {
            return Place::Exact { start: event.counter, end: event.counter + event.moved, eaten: 0 };
        }
        let Some(direction) = self.ways.get_mut(event.way) else { return Place::Nowhere };
        let span = u64::from(event.s1.wrapping_sub(event.s0));
        let end = direction.sequence.advance(event.s1);
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
        if span == event.moved + 1 && (urgent || event.way == IN) {
            return Place::Exact { start: end - span, end: end - 1, eaten: 1 };
        }
        // A second urgent byte came while the read waited: the kernel passed over the first, the read over the second.
        let entered = event.flags & flag::NO_ENTER == 0;
        let alone = entered && event.enter_ns >= direction.exit_ns;
        if span == event.moved + 2 && alone && event.way == IN {
            return Place::Exact { start: end - span, end: end - 2, eaten: 2 };
        }
        if event.moved > end {
            return Place::Nowhere;
        }
        if entered && span > event.moved && span < 1 << 31 {
            return Place::Within { start: end - span, end };
        }
        let fresh = direction.next.is_none() || event.flags & flag::NO_ENTER != 0;
        if fresh { Place::Guess { start: end - event.moved, end } } else { Place::Nowhere }
    }

    /// Returns the first event that can be dealt with: the oldest, else one that the oldest waits for.
    fn ready(&self, now_ns: u64) -> Option<usize> {
        let head = self.waiting.front()?;
        (0..self.waiting.len()).find(|index| {
            let Some(waiting) = self.waiting.get(*index) else { return false };
            if *index > 0 && waiting.event.way != head.event.way {
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
        let Some(Waiting { event, place, .. }) = self.waiting.get(index) else { return Step::Stall };
        let Some(direction) = self.ways.get(event.way) else { return Step::Drop(Fate::Unanchored) };
        match *place {
            Place::Nowhere => Step::Drop(Fate::Unanchored),
            Place::Exact { start, .. } => {
                if self.counted {
                    if now_ns < event.exit_ns && !self.is_piece(index) {
                        return Step::Stall;
                    }
                    if event.enter_ns < direction.exit_ns || self.concurrent(index) {
                        return Step::Drop(Fate::Unanchored);
                    }
                }
                if direction.next.is_none() && !self.is_first(index, start, now_ns) {
                    return Step::Stall;
                }
                match direction.step(start) {
                    // Calls that entered after all that was placed had returned cannot lie before it: the numbers
                    // begin anew.
                    Step::Drop(Fate::Late) if !self.counted && event.enter_ns >= direction.exit_ns => {
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
                match direction.step(start) {
                    Step::Drop(_) => Step::Drop(Fate::Unanchored),
                    step @ (Step::Pass | Step::Split(_) | Step::Gap(_) | Step::Anchor(_) | Step::Stall) => {
                        step
                    }
                }
            }
            Place::Within { start, end } => self.eliminate(index, start..end),
        }
    }

    /// Returns whether the call at `index` begins what is seen of its way: all calls that it overlaps are known, none of
    /// them lies before it, and none that the kernel counted before is still on its way.
    fn is_first(&self, index: usize, start: u64, now_ns: u64) -> bool {
        let Some(Waiting { event, .. }) = self.waiting.get(index) else { return false };
        let reported = event.counter == 0
            || self.is_piece(index)
            || self.others(index).any(|other| other.event.counter < event.counter);
        reported && now_ns >= event.exit_ns && !self.others(index).any(|other| other.place.is_before(start))
    }

    fn is_piece(&self, index: usize) -> bool {
        self.waiting.get(index).is_some_and(|waiting| waiting.piece)
    }

    /// Returns whether another waiting call of the same way overlaps the one at `index` in time.
    fn concurrent(&self, index: usize) -> bool {
        let Some(Waiting { event, .. }) = self.waiting.get(index) else { return false };
        self.others(index)
            .any(|other| other.event.enter_ns < event.exit_ns && event.enter_ns < other.event.exit_ns)
    }

    /// Returns whether another waiting call of the same way may lie in `range`.
    fn overlapped(&self, index: usize, range: Range<u64>) -> bool {
        self.others(index).any(|other| match other.place {
            Place::Exact { start, end, .. } | Place::Within { start, end } | Place::Guess { start, end } => {
                start < range.end && range.start < end
            }
            Place::Nowhere => false,
        })
    }

    fn others(&self, index: usize) -> impl Iterator<Item = &Waiting> {
        let way = self.waiting.get(index).map(|waiting| waiting.event.way);
        self.waiting
            .iter()
            .enumerate()
            .filter(move |(other, waiting)| *other != index && Some(waiting.event.way) == way)
            .map(|(_, waiting)| waiting)
    }

    /// Looks for the bytes of `range` that no other call moved.
    fn eliminate(&self, index: usize, range: Range<u64>) -> Step {
        let Some(Waiting { event, .. }) = self.waiting.get(index) else { return Step::Stall };
        let Some(direction) = self.ways.get(event.way) else { return Step::Stall };
        let passed = direction.next.unwrap_or(range.start);
        if passed > range.start && range.start < direction.known_from {
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
                let Some(Waiting { event, .. }) = self.waiting.get(index) else { return };
                if let Some(direction) = self.ways.get_mut(event.way) {
                    direction.anchor(event, start, sink);
                }
            }
            Step::Pass => self.pass(index, sink),
        }
    }

    fn pass(&mut self, index: usize, sink: &mut impl Sink) {
        let unseen = self.others(index).map(|other| other.event.counter).min().unwrap_or(u64::MAX);
        let Some(waiting) = self.waiting.remove(index) else { return };
        self.waiting_bytes -= waiting.weight();
        if let Some(direction) = self.ways.get_mut(waiting.event.way) {
            direction.pass(&waiting, unseen.min(waiting.event.counter), sink);
        }
    }

    /// Returns the event of a way that lies first, of those whose place is known.
    fn foremost(&self, way: usize) -> Option<usize> {
        let start = |waiting: &Waiting| match waiting.place {
            Place::Exact { start, .. } | Place::Guess { start, .. } => Some(start),
            Place::Within { .. } | Place::Nowhere => None,
        };
        let of_way = self.waiting.iter().enumerate().filter(|(_, waiting)| waiting.event.way == way);
        of_way.filter_map(|(index, waiting)| Some((start(waiting)?, index))).min().map(|(_, index)| index)
    }

    /// Ends the wait of the oldest event: what it waits for is lost, or its place is.
    fn give_up(&mut self, sink: &mut impl Sink) {
        let Some(Waiting { event, place, .. }) = self.waiting.front() else { return };
        let Some(direction) = self.ways.get(event.way) else { return };
        match *place {
            Place::Exact { start, .. } | Place::Guess { start, .. } => match direction.next {
                Some(next) if next < start => self.gap(0, start, sink),
                // Nothing is missing before it: only the time until its return was waited for.
                Some(_) => self.perform(0, u64::MAX, sink),
                None => {
                    let way = event.way;
                    if let Some(index) = self.foremost(way) {
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
        let Some(Waiting { event, .. }) = self.waiting.get(index) else { return };
        let (way, at_ns) = (event.way, event.at_ns());
        let Some(next) = self.ways.get(way).and_then(|direction| direction.next) else { return };
        let Some(until) = until.filter(|until| *until > next).min() else { return };
        if let Some(direction) = self.ways.get_mut(way) {
            direction.gap(way, until, at_ns, sink);
        }
    }

    fn drop_event(&mut self, index: usize, fate: Fate, sink: &mut impl Sink) {
        let Some(waiting) = self.waiting.remove(index) else { return };
        self.waiting_bytes -= waiting.weight();
        let Waiting { event, place, piece } = waiting;
        if let (
            Some(direction),
            Place::Exact { end, .. } | Place::Within { end, .. } | Place::Guess { end, .. },
        ) = (self.ways.get_mut(event.way), place)
        {
            direction.lost_until = direction.lost_until.max(end);
            if self.counted {
                direction.exit_ns = direction.exit_ns.max(event.exit_ns);
            }
        }
        if !piece {
            sink.fate(&event, fate);
        }
    }

    /// Replaces an event by its pieces, now that their places are known.
    fn split(&mut self, index: usize, open: &[Range<u64>]) {
        let Some(waiting) = self.waiting.remove(index) else { return };
        self.waiting_bytes -= waiting.weight();
        let mut rest = waiting.event.payload.clone();
        let mut counter = waiting.event.counter;
        for (number, piece) in open.iter().enumerate() {
            let len = piece.end - piece.start;
            let event = Event { moved: len, counter, payload: rest.split(len), ..waiting.event.clone() };
            counter += len;
            let place = Place::Exact { start: piece.start, end: piece.end, eaten: 0 };
            let piece = Waiting { event, place, piece: number > 0 };
            self.waiting_bytes += piece.weight();
            self.waiting.insert(index + number, piece);
        }
    }
}

// === impl Waiting ===

impl Waiting {
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
