//! Streams from events: by hand, and against simulated sockets.
#![expect(
    clippy::cast_possible_truncation,
    reason = "sequence numbers are cut to 32 bits, lengths are small"
)]

use proptest::prelude::*;

use super::*;
use crate::direction::{IN, OUT};
use crate::fixtures;

/// Position, bytes unless they are unknown, length.
type Piece = (u64, Option<Vec<u8>>, u64);

/// Keeps what was passed on and checks that positions never step back.
#[derive(Default)]
struct Kept {
    pieces: [Vec<Piece>; 2],
    fates: Vec<Fate>,
    order: Vec<(usize, u64)>,
}

impl Kept {
    fn next(&self, direction: usize) -> u64 {
        self.pieces[direction].last().map_or(0, |(position, _, len)| position + len)
    }

    fn add(&mut self, direction: usize, position: u64, bytes: Option<Vec<u8>>, len: u64, at_ns: u64) {
        let next = self.next(direction);
        assert!(self.pieces[direction].is_empty() || position == next, "{position} is not {next}");
        self.pieces[direction].push((position, bytes, len));
        self.order.push((direction, at_ns));
    }

    fn count(&self, fate: Fate) -> usize {
        self.fates.iter().filter(|kept| **kept == fate).count()
    }

    fn text(&self, direction: usize) -> String {
        self.pieces[direction]
            .iter()
            .map(|(_, bytes, len)| match bytes {
                Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                None => format!("<{len}>"),
            })
            .collect()
    }
}

impl Sink for Kept {
    fn call(&mut self, _way: usize, call: Call, _counter: u64) {
        assert!(call.start < call.end);
    }

    fn bytes(&mut self, direction: usize, position: u64, at_ns: u64, bytes: &[u8]) {
        self.add(direction, position, Some(bytes.to_vec()), bytes.len() as u64, at_ns);
    }

    fn skipped(&mut self, direction: usize, position: u64, at_ns: u64, len: u64) {
        self.add(direction, position, None, len, at_ns);
    }

    fn gap(&mut self, direction: usize, position: u64, at_ns: u64, len: Option<u64>) {
        self.add(direction, position, None, len.unwrap_or(0), at_ns);
    }

    fn fate(&mut self, _event: &CallEvent, fate: Fate) {
        self.fates.push(fate);
    }
}

fn stream() -> Stream {
    Stream::new(&fixtures::connection(1))
}

fn run(events: impl IntoIterator<Item = CallEvent>) -> Kept {
    run_on(&mut stream(), events)
}

fn run_on(stream: &mut Stream, events: impl IntoIterator<Item = CallEvent>) -> Kept {
    let mut kept = Kept::default();
    for event in events {
        let now = event.at_ns();
        stream.take(event, now, &mut kept);
    }
    stream.advance(u64::MAX, true, &mut kept);
    assert_eq!(stream.pending(), (0, 0));
    kept
}

#[test]
fn a_missing_range_is_waited_for_then_a_gap() {
    let mut stream = stream();
    let mut kept = Kept::default();
    stream.take(fixtures::event(OUT, 100, b"abc"), 1_000, &mut kept);
    let behind = CallEvent { exit_ns: 2_000, ..fixtures::event(OUT, 106, b"ghi") };
    stream.take(behind, 2_000, &mut kept);
    stream.take(fixtures::event(IN, 500, b"answer"), 3_000, &mut kept);
    assert_eq!(kept.text(OUT), "abc");
    assert_eq!(kept.text(IN), "", "the other direction waits too");
    stream.advance(2_000 + WAIT_NS - 1, false, &mut kept);
    assert_eq!(kept.text(OUT), "abc");
    stream.advance(2_000 + WAIT_NS, false, &mut kept);
    assert_eq!((kept.text(OUT).as_str(), kept.text(IN).as_str()), ("abc<3>ghi", "answer"));
    stream.take(fixtures::event(OUT, 103, b"def"), 4_000, &mut kept);
    assert_eq!(kept.count(Fate::Late), 1);
    assert_eq!(kept.count(Fate::Placed), 3);
}

#[test]
fn a_connection_that_loses_much_does_not_fall_behind() {
    const EVERY_NS: u64 = 5_000_000;
    let mut stream = stream();
    let mut kept = Kept::default();
    // Of every two bytes one is lost.
    for number in 0..1_000 {
        let at_ns = u64::from(number) * EVERY_NS;
        let event = CallEvent { enter_ns: at_ns, exit_ns: at_ns, ..fixtures::event(OUT, 2 * number, b"x") };
        stream.take(event, at_ns, &mut kept);
        assert!(stream.pending().0 as u64 <= WAIT_NS / EVERY_NS, "{number}: {:?}", stream.pending());
    }
    assert_eq!(kept.count(Fate::Late) + kept.count(Fate::Unanchored), 0);
}

#[test]
fn a_range_that_comes_in_time_closes_the_gap() {
    let mut stream = stream();
    let mut kept = Kept::default();
    for (number, payload) in [(100, "abc"), (106, "ghi"), (103, "def")] {
        stream.take(fixtures::event(OUT, number, payload.as_bytes()), 1_000, &mut kept);
    }
    assert_eq!(kept.text(OUT), "abcdefghi");
    assert!(!stream.is_waiting());
}

#[test]
fn the_wait_is_bounded_by_events_and_bytes() {
    for (events, len) in [(PENDING_EVENTS + 1, 1), (2, PENDING_BYTES)] {
        let mut stream = stream();
        let mut kept = Kept::default();
        stream.take(fixtures::event(OUT, 0, b"a"), 0, &mut kept);
        let mut at = 2;
        for _ in 0..events {
            stream.take(fixtures::event(OUT, at, &vec![b'x'; len]), 0, &mut kept);
            at += len as u32;
        }
        assert!(!stream.is_waiting(), "{events} events of {len} bytes end the wait");
        assert_eq!(kept.count(Fate::Placed), events + 1);
    }
}

#[test]
fn events_of_no_certain_place_wait_in_smaller_numbers() {
    let mut stream = stream();
    let mut kept = Kept::default();
    stream.take(fixtures::event(OUT, 0, b"a"), 1, &mut kept);
    // Far more moved while each of these moved one byte: none tells its place.
    let unplaced = || CallEvent { s1: 1_000, ..fixtures::event(OUT, 1, b"b") };
    for _ in 0..PENDING_UNPLACED {
        stream.take(unplaced(), 1, &mut kept);
    }
    assert_eq!((stream.pending().0, kept.count(Fate::Unanchored)), (PENDING_UNPLACED, 0));
    stream.take(unplaced(), 1, &mut kept);
    assert_eq!((stream.pending().0, kept.count(Fate::Unanchored)), (PENDING_UNPLACED, 1));
}

#[test]
fn a_first_call_that_was_kept_waiting_is_not_taken_for_the_beginning() {
    let mut kept = Kept::default();
    let mut stream = stream();
    // It entered first, but another thread's calls came before it and returned meanwhile.
    let late = CallEvent { enter_ns: 1, exit_ns: 90, counter: 6, ..fixtures::event(OUT, 106, b"ghi") };
    let first = CallEvent { enter_ns: 2, exit_ns: 3, ..fixtures::event(OUT, 100, b"abc") };
    let second = CallEvent { enter_ns: 4, exit_ns: 5, counter: 3, ..fixtures::event(OUT, 103, b"def") };
    for event in [late, first, second] {
        stream.take(event, 10, &mut kept);
    }
    stream.advance(90, false, &mut kept);
    assert_eq!((kept.text(OUT).as_str(), kept.count(Fate::Placed)), ("abcdefghi", 3));
}

#[test]
fn a_beginning_that_is_lost_is_waited_for_then_a_gap() {
    let mut kept = Kept::default();
    let mut stream = stream();
    let first = CallEvent { counter: 3, exit_ns: 200, ..fixtures::event(OUT, 103, b"def") };
    stream.take(first, 200, &mut kept);
    assert!(stream.is_waiting());
    stream.advance(200 + WAIT_NS, false, &mut kept);
    assert_eq!(kept.text(OUT), "<3>def");
}

#[test]
fn a_fin_or_urgent_byte_is_no_position() {
    let mut eaten = fixtures::event(IN, 100, b"abc");
    eaten.s1 += 1;
    let kept = run([eaten, fixtures::event(IN, 104, b"def")]);
    assert_eq!(kept.text(IN), "abcdef");
}

#[test]
fn a_fin_lies_behind_the_bytes_that_its_read_returned() {
    let mut kept = Kept::default();
    let mut stream = stream();
    let mut last = fixtures::event(IN, 103, b"def");
    last.s1 += 1;
    for event in [fixtures::event(IN, 100, b"abc"), last] {
        stream.take(event, 200, &mut kept);
        assert_eq!(stream.shifts(), [0, 0], "the packet that brought a byte is found by its number");
    }
    // Behind an urgent byte there are more, whose numbers count it.
    stream.take(fixtures::event(IN, 107, b"ghi"), 200, &mut kept);
    assert_eq!((stream.shifts(), kept.text(IN).as_str()), ([0, 1], "abcdefghi"));
}

#[test]
fn two_urgent_bytes_before_one_read_are_no_positions() {
    let mut eaten = fixtures::event(IN, 103, b"def");
    eaten.s1 += 2;
    let kept = run([fixtures::event(IN, 100, b"abc"), eaten, fixtures::event(IN, 108, b"ghi")]);
    assert_eq!(kept.text(IN), "abcdefghi");
}

#[test]
fn an_urgent_byte_that_was_sent_is_no_position() {
    let mut more = fixtures::event(OUT, 100, b"abc");
    (more.s1, more.flags) = (104, flag::URGENT);
    let mut alone = fixtures::event(OUT, 104, b"");
    (alone.s1, alone.flags) = (105, flag::URGENT);
    let kept = run([more, alone, fixtures::event(OUT, 105, b"def")]);
    assert_eq!(kept.text(OUT), "abcdef");
    assert_eq!(kept.count(Fate::Placed), 3);
}

#[test]
fn uncaptured_bytes_are_skipped_with_their_length() {
    let mut long = fixtures::event(OUT, 100, b"abc");
    long.moved = 10;
    long.s1 = 110;
    let mut sendfile = fixtures::event(OUT, 110, b"");
    (sendfile.moved, sendfile.s1, sendfile.flags) = (5, 115, flag::NO_PAYLOAD);
    let kept = run([long, sendfile, fixtures::event(OUT, 115, b"z")]);
    assert_eq!(kept.text(OUT), "abc<7><5>z");
}

#[test]
fn a_call_among_others_is_placed_by_elimination() {
    let mut mixed = fixtures::event(OUT, 0, b"aaa");
    (mixed.enter_ns, mixed.exit_ns, mixed.s1, mixed.flags) = (0, 100, 9, flag::UNANCHORED);
    let kept = run([fixtures::event(OUT, 0, b"bb"), mixed.clone(), fixtures::event(OUT, 5, b"cccc")]);
    assert_eq!(kept.text(OUT), "bbaaacccc");
    let kept = run([mixed.clone(), fixtures::event(OUT, 3, b"bb"), fixtures::event(OUT, 6, b"ccc")]);
    assert_eq!(kept.text(OUT), "bb<1>ccc", "four bytes are open, three were moved: {:?}", kept.fates);
    assert_eq!(kept.count(Fate::Unanchored), 1);
    let kept = run([mixed.clone(), fixtures::event(OUT, 1, b"bbbb"), fixtures::event(OUT, 7, b"cc")]);
    assert_eq!(kept.text(OUT), "abbbbaacc", "a call that waited for memory lies in pieces");
    let two = run([mixed.clone(), CallEvent { payload: b"bbbbbb".as_slice().into(), moved: 6, ..mixed }]);
    assert_eq!(two.text(OUT), "", "each may be first");
    assert_eq!(two.count(Fate::Unanchored), 2);
}

#[test]
fn fast_open_is_anchored_at_its_end() {
    let mut open = fixtures::event(OUT, 0, b"request");
    (open.s1, open.flags) = (0x9000_0000 + 7, flag::UNANCHORED);
    let kept = run([open, fixtures::event(OUT, 0x9000_0007, b" more")]);
    assert_eq!(kept.text(OUT), "request more");
}

#[test]
fn numbers_that_begin_anew_are_followed() {
    let mut first = fixtures::event(OUT, 0x7000_0000, b"abc");
    (first.enter_ns, first.exit_ns) = (10, 11);
    let mut again = fixtures::event(OUT, 0x1000, b"def");
    (again.enter_ns, again.exit_ns) = (20, 21);
    let mut next = fixtures::event(OUT, 0x1003, b"ghi");
    (next.enter_ns, next.exit_ns) = (30, 31);
    assert_eq!(run([first, again, next]).text(OUT), "abc<0>defghi");
}

#[test]
fn earlier_bytes_that_never_came_are_a_gap() {
    let mut event = fixtures::event(OUT, 1_000, b"abc");
    event.counter = 40;
    assert_eq!(run([event]).text(OUT), "<40>abc");
}

#[test]
fn counted_calls_that_overlap_in_time_are_dropped() {
    let mut connection = fixtures::connection(1);
    connection.coordinate = coordinate::COUNTER;
    let at = |counter: u64, enter_ns, exit_ns, payload: &[u8]| CallEvent {
        enter_ns,
        exit_ns,
        counter,
        ..fixtures::event(OUT, 0, payload)
    };
    let events = [at(0, 10, 11, b"abc"), at(3, 20, 40, b"def"), at(6, 30, 50, b"ghi"), at(9, 60, 61, b"jkl")];
    let kept = run_on(&mut Stream::new(&connection), events);
    assert_eq!(kept.text(OUT), "abc<6>jkl");
    assert_eq!(kept.count(Fate::Unanchored), 2);
}

#[test]
fn a_connection_may_go_over_to_the_counter() {
    let mut stream = stream();
    let mut kept = Kept::default();
    stream.take(fixtures::event(OUT, 500, b"hello "), 1_000, &mut kept);
    let mut connection = fixtures::connection(1);
    connection.coordinate = coordinate::COUNTER;
    stream.coordinate(&connection, 2_000, &mut kept);
    let after =
        CallEvent { counter: 6, enter_ns: 2_000, exit_ns: 2_001, ..fixtures::event(OUT, 9_999, b"world") };
    stream.take(after, 3_000, &mut kept);
    assert_eq!(kept.text(OUT), "hello world");
}

/// One write of the simulated socket: how many bytes, by which thread, and how it is split around others.
#[derive(Clone, Debug)]
struct Write {
    len: u16,
    thread: u8,
    lost: bool,
    delay: u8,
    pieces: u8,
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let write = (1_u16..400, 0_u8..4, proptest::bool::weighted(0.05), 0_u8..8, 1_u8..3)
        .prop_map(|(len, thread, lost, delay, pieces)| Write { len, thread, lost, delay, pieces });
    proptest::collection::vec(write, 1..60)
}

fn truth(position: u64) -> u8 {
    (position.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// Plays writers on one socket: a call enters, waits for the lock, copies (in pieces, giving the lock away in
/// between), and returns later; meanwhile others do the same. Returns the events in the order of their returns.
fn simulate(writes: &[Write], base: u32) -> Vec<CallEvent> {
    struct Open {
        left: u8,
        event: CallEvent,
        lost: bool,
        leaves: u64,
    }
    let mut written: u64 = 0;
    let mut clock: u64 = 1_000_000;
    let mut open: [Option<Open>; 4] = [None, None, None, None];
    let mut events = Vec::new();
    let number = |written: u64| base.wrapping_add(written as u32);
    let mut step = |open: &mut [Option<Open>; 4], written: &mut u64, clock: &mut u64, thread: usize| {
        *clock += 1_000;
        let Some(call) = &mut open[thread] else { return };
        if call.left > 0 {
            let copied = call.event.payload.front().len() as u64;
            let open = call.event.moved - copied;
            let len = if call.left == 1 { open } else { open / 2 };
            call.event.payload.push(copied, (*written..*written + len).map(truth).collect());
            *written += len;
            call.left -= 1;
            call.leaves = *clock;
        }
        if call.left == 0 && *clock >= call.leaves {
            let mut call = open[thread].take().unwrap();
            call.event.s1 = number(*written);
            call.event.exit_ns = *clock;
            if u64::from(call.event.s1.wrapping_sub(call.event.s0)) != call.event.moved {
                call.event.flags = flag::UNANCHORED;
            }
            if !call.lost {
                events.push(call.event);
            }
        }
    };
    for write in writes {
        let thread = usize::from(write.thread);
        while open[thread].is_some() {
            step(&mut open, &mut written, &mut clock, thread);
        }
        clock += 1_000;
        let mut event = fixtures::event(OUT, number(written), b"");
        (event.enter_ns, event.moved, event.pid) = (clock, u64::from(write.len), u32::from(write.thread));
        open[thread] = Some(Open { left: write.pieces, event, lost: write.lost, leaves: 0 });
        for other in 0..write.delay {
            step(&mut open, &mut written, &mut clock, usize::from(other) % 4);
        }
    }
    for thread in 0..4 {
        while open[thread].is_some() {
            step(&mut open, &mut written, &mut clock, thread);
        }
    }
    events
}

/// Checks that every byte passed on is the one the stream has at that position.
fn check(kept: &Kept, base: u32) {
    for (position, bytes, _) in &kept.pieces[OUT] {
        let Some(bytes) = bytes else { continue };
        let at = u64::from((*position as u32).wrapping_sub(base));
        for (index, byte) in bytes.iter().enumerate() {
            assert_eq!(*byte, truth(at + index as u64), "at {at} + {index}");
        }
    }
}

proptest! {
    #[test]
    fn one_writer_loses_nothing(lens in proptest::collection::vec(1_u16..2_000, 1..80), base in 0xffff_0000_u32..) {
        let writes: Vec<Write> = lens
            .iter()
            .map(|len| Write { len: *len, thread: 0, lost: false, delay: 0, pieces: 1 })
            .collect();
        let kept = run(simulate(&writes, base));
        check(&kept, base);
        let total: u64 = lens.iter().map(|len| u64::from(*len)).sum();
        prop_assert_eq!(kept.pieces[OUT].iter().map(|piece| piece.2).sum::<u64>(), total);
        prop_assert!(kept.pieces[OUT].iter().all(|piece| piece.1.is_some()));
        prop_assert_eq!(kept.count(Fate::Placed), lens.len());
    }

    #[test]
    fn four_writers_never_yield_a_wrong_byte(writes in writes(), base in any::<u32>(), by_enter in any::<bool>()) {
        let mut events = simulate(&writes, base);
        if by_enter {
            events.sort_by_key(|event| event.enter_ns);
        }
        let count = events.len();
        let kept = run(events);
        check(&kept, base);
        prop_assert_eq!(kept.fates.len(), count, "every event has one fate");
    }

    #[test]
    fn any_order_never_yields_a_wrong_byte(
        writes in writes(),
        base in any::<u32>(),
        swaps in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..20),
    ) {
        let mut events = simulate(&writes, base);
        for (one, other) in swaps {
            if !events.is_empty() {
                let (one, other) = (one.index(events.len()), other.index(events.len()));
                events.swap(one, other);
            }
        }
        let count = events.len();
        let kept = run(events);
        check(&kept, base);
        prop_assert_eq!(kept.fates.len(), count);
    }
}

mod interleaving;
