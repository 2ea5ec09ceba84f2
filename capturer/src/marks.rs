//! Which call carried which byte: the calls of one direction of a connection, by position.

use std::collections::VecDeque;

use proto::v1;

use crate::clock::Clock;

/// Calls kept per direction. A message of more calls (a long body) keeps its first and last ones exactly and the
/// ones between in larger steps; 1,000 connections that all carry such bodies take 28 MB.
pub const CALLS: usize = 256;

/// Datagrams kept per direction, each by itself: as many queries as wait for answers at a time. Beyond it the oldest
/// go, and an answer that comes for them later has no times.
pub const DATAGRAMS: usize = 4_096;

/// Calls at the front that are not joined: the first bytes of a long message lie there.
const FRONT_CALLS: usize = 4;

/// Calls at the back that are not joined: the last bytes of a message lie there.
const BACK_CALLS: usize = 128;

/// System calls listed per message on the wire; a long body's tail is joined into the last one.
pub const LISTED_CALLS: usize = 64;

/// One call that moved bytes `start..end` of its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// First position it moved.
    pub start: u64,
    /// First position after it.
    pub end: u64,
    /// When it entered; when it returned, where nothing was seen of it before that.
    pub enter_ns: u64,
    /// When it returned.
    pub exit_ns: u64,
    /// Bytes it moved: `end - start` of a stream, the size of a datagram.
    pub bytes: u64,
    /// The process that made it.
    pub pid: u32,
}

/// A call that is kept, or several in a row that were joined: which of these moved what is forgotten.
#[derive(Clone, Copy, Debug)]
struct Kept {
    call: Call,
    joined: bool,
}

/// The calls of one direction, in position order.
#[derive(Debug, Default)]
pub struct Calls {
    calls: VecDeque<Kept>,
    /// Whether each call is a datagram, which is a message by itself.
    datagrams: bool,
}

// === impl Call ===

impl Call {
    /// Returns when it entered, if that was seen.
    #[must_use]
    pub fn entered(&self) -> Option<u64> {
        (self.enter_ns < self.exit_ns).then_some(self.enter_ns)
    }
}

// === impl Calls ===

impl Calls {
    /// Makes the calls of a direction that moves datagrams, whose positions are ordinals.
    #[must_use]
    pub fn of_datagrams() -> Self {
        Self { calls: VecDeque::new(), datagrams: true }
    }

    /// Adds a call; positions must not fall behind the last one's end, or the call is left out.
    pub fn push(&mut self, call: Call) {
        if self.calls.back().is_some_and(|last| call.start < last.call.end) || call.start >= call.end {
            return;
        }
        if self.datagrams && self.calls.len() >= DATAGRAMS {
            self.calls.pop_front();
        } else if !self.datagrams && self.calls.len() >= CALLS {
            self.join();
        }
        self.calls.push_back(Kept { call, joined: false });
    }

    /// Returns the call that moved the byte at `position`, if that is still known.
    #[must_use]
    pub fn at(&self, position: u64) -> Option<&Call> {
        let index = self.calls.partition_point(|kept| kept.call.end <= position);
        let Kept { call, joined } = self.calls.get(index)?;
        (call.start <= position && !joined).then_some(call)
    }

    /// Returns the calls that moved bytes of `start..end`, in order. Joined ones that moved others too are left out.
    pub fn within(&self, start: u64, end: u64) -> impl Iterator<Item = &Call> {
        let from = self.calls.partition_point(|kept| kept.call.end <= start);
        let reached = self.calls.range(from..).take_while(move |kept| kept.call.start < end);
        let known = move |Kept { call, joined }: &&Kept| !joined || start <= call.start && call.end <= end;
        reached.filter(known).map(|kept| &kept.call)
    }

    /// Returns the calls of a message as the wire lists them; `time` says which end of a call counts.
    #[must_use]
    pub fn listed(
        &self,
        start: u64,
        end: u64,
        clock: &Clock,
        time: impl Fn(&Call) -> u64,
    ) -> Vec<v1::SyscallEvent> {
        let mut listed: Vec<v1::SyscallEvent> = Vec::new();
        for call in self.within(start, end) {
            let bytes = share(call, start, end);
            let time_ns = clock.epoch(time(call));
            match listed.last_mut() {
                Some(last) if same_moment(last, time_ns) => last.bytes += bytes,
                _ => listed.push(v1::SyscallEvent { bytes, time_ns }),
            }
            if listed.len() > LISTED_CALLS
                && let Some(event) = listed.pop()
                && let Some(last) = listed.last_mut()
            {
                last.bytes += event.bytes;
                last.time_ns = event.time_ns;
            }
        }
        listed
    }

    /// Forgets the calls wholly below `floor`.
    pub fn prune(&mut self, floor: u64) {
        while self.calls.front().is_some_and(|kept| kept.call.end <= floor) {
            self.calls.pop_front();
        }
    }

    /// Returns how many calls are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Returns whether no call is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Joins neighbours in the middle, halving it.
    fn join(&mut self) {
        let mut kept: VecDeque<Kept> = VecDeque::with_capacity(CALLS);
        let back = self.calls.len().saturating_sub(BACK_CALLS);
        for (index, next) in self.calls.drain(..).enumerate() {
            let joins = index > FRONT_CALLS && index < back && index % 2 == 1;
            match kept.back_mut() {
                Some(Kept { call: last, joined }) if joins && last.end == next.call.start => {
                    last.end = next.call.end;
                    last.exit_ns = last.exit_ns.max(next.call.exit_ns);
                    last.bytes += next.call.bytes;
                    *joined = true;
                }
                _ => kept.push_back(next),
            }
        }
        self.calls = kept;
        if self.calls.len() >= CALLS {
            // Every neighbour lies beyond a gap: the oldest ones go, and exchanges lose those marks.
            self.calls.drain(..CALLS / 2);
        }
    }
}

/// Returns whether two calls are the same moment of one call (a call cut in two by the elimination of ranges).
fn same_moment(last: &v1::SyscallEvent, time_ns: u64) -> bool {
    last.time_ns == time_ns
}

/// Returns the bytes of `call` that lie in `start..end`; a datagram's ordinal stands for all its bytes.
fn share(call: &Call, start: u64, end: u64) -> u64 {
    let span = call.end - call.start;
    if span == call.bytes { call.end.min(end).saturating_sub(call.start.max(start)) } else { call.bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(start: u64, len: u64, at: u64) -> Call {
        Call { start, end: start + len, enter_ns: at, exit_ns: at + 1, bytes: len, pid: 7 }
    }

    /// The bytes that calls moved of `start..end`.
    fn bytes(calls: &Calls, start: u64, end: u64) -> u64 {
        calls.within(start, end).map(|call| share(call, start, end)).sum()
    }

    #[test]
    fn finds_the_call_of_a_byte() {
        let mut calls = Calls::default();
        calls.push(call(100, 10, 1));
        calls.push(call(110, 5, 2));
        calls.push(call(120, 5, 3));
        assert_eq!(calls.at(99), None);
        assert_eq!(calls.at(109).unwrap().enter_ns, 1);
        assert_eq!(calls.at(110).unwrap().enter_ns, 2);
        assert_eq!(calls.at(117), None, "a gap has no call");
        assert_eq!(bytes(&calls, 105, 122), 5 + 5 + 2);
        calls.prune(110);
        assert_eq!(calls.len(), 2);
        calls.push(call(100, 30, 9));
        assert_eq!(calls.len(), 2, "positions never step back");
    }

    #[test]
    fn a_long_body_keeps_its_ends_within_the_limit() {
        let mut calls = Calls::default();
        for index in 0..6_400 {
            calls.push(call(index * 16_384, 16_384, index));
            assert!(calls.len() <= CALLS);
        }
        assert_eq!(calls.at(0).unwrap().enter_ns, 0);
        assert_eq!(calls.at(6_400 * 16_384 - 1).unwrap().enter_ns, 6_399);
        assert_eq!(bytes(&calls, 0, u64::MAX), 6_400 * 16_384, "no byte is lost by joining");
        let listed = calls.listed(0, u64::MAX, &Clock::sampled(), |call| call.exit_ns);
        assert_eq!(listed.len(), LISTED_CALLS);
        assert_eq!(listed.iter().map(|event| event.bytes).sum::<u64>(), 6_400 * 16_384);
    }

    #[test]
    fn a_message_among_joined_calls_has_no_call_rather_than_that_of_another() {
        let mut calls = Calls::default();
        // Requests of ten bytes, each with a call of its own.
        for index in 0..600 {
            calls.push(call(index * 10, 10, 1_000 * index));
        }
        let mut known = 0;
        for index in 0..600 {
            let (start, end) = (index * 10, index * 10 + 10);
            for call in calls.at(start).into_iter().chain(calls.at(end - 1)).chain(calls.within(start, end)) {
                assert_eq!((call.enter_ns, call.bytes), (1_000 * index, 10));
                known += 1;
            }
        }
        assert!((3 * BACK_CALLS..3 * CALLS).contains(&known), "{known}");
    }

    #[test]
    fn scattered_calls_stay_within_the_limit() {
        let mut calls = Calls::default();
        for index in 0..10_000 {
            calls.push(call(index * 10, 5, index));
        }
        assert!(calls.len() <= CALLS);
    }

    #[test]
    fn a_datagram_keeps_its_own_bytes_and_times() {
        let mut calls = Calls::of_datagrams();
        let mut push = |number: u64| {
            let bytes = 70 + number % 9;
            calls.push(Call {
                start: number,
                end: number + 1,
                enter_ns: number,
                exit_ns: number,
                bytes,
                pid: 1,
            });
        };
        let last = DATAGRAMS as u64 + 9;
        (0..=last).for_each(&mut push);
        assert_eq!((calls.len(), calls.at(9)), (DATAGRAMS, None));
        for number in 10..=last {
            let listed = calls.listed(number, number + 1, &Clock::sampled(), |call| call.enter_ns);
            assert_eq!((calls.at(number).unwrap().enter_ns, listed[0].bytes), (number, 70 + number % 9));
        }
    }
}
