//! Messages within large calls: of each, its header and what is wanted of it is captured.

use std::{ops::Range, os::fd::AsRawFd as _, thread};

use capturer::kernel::Source;
use capturer_ebpf::layout::{Framing, Moved, Verdict, direction, framing, verdict};

use super::{
    Capture, Seen,
    large::{Call, transfer},
    pair, source,
};

/// Bytes of each message that are wanted.
const KEEP: usize = 64 << 10;

const RING: u32 = 64 << 20;

/// A protocol made up for the test.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// As MySQL: three bytes of length, lowest first, and a number.
    Little,
    /// As PostgreSQL: a letter, and four bytes of length that count themselves.
    Big,
    /// As Redis: lines and bulks.
    Lines,
}

impl Kind {
    fn framing(self) -> Framing {
        let base = Framing { kind: framing::PREFIXED, keep: 1, ..Framing::default() };
        match self {
            Self::Little => Framing { header: 4, at: 0, width: 3, beyond: 4, ..base },
            Self::Big => Framing { header: 5, at: 1, width: 4, beyond: 1, big_endian: 1, ..base },
            Self::Lines => Framing { kind: framing::LINES, ..base },
        }
    }

    /// Appends a message with a body of `len` bytes; returns how many bytes its header has.
    fn message(self, into: &mut Vec<u8>, len: usize) -> usize {
        let before = into.len();
        match self {
            Self::Little => {
                into.extend_from_slice(&u32::try_from(len).unwrap().to_le_bytes()[..3]);
                into.push(7);
            }
            Self::Big => {
                into.push(b'D');
                into.extend_from_slice(&u32::try_from(len + 4).unwrap().to_be_bytes());
            }
            Self::Lines => into.extend_from_slice(format!("${len}\r\n").as_bytes()),
        }
        let header = into.len() - before;
        into.extend((0..len).map(|at| b'a' + (at % 23) as u8));
        if matches!(self, Self::Lines) {
            into.extend_from_slice(b"\r\n+OK\r\n:12\r\n*-1\r\n");
        }
        header
    }
}

/// Numbers that look thrown, the same at each run.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % below
    }

    /// A length: mostly small, now and then large.
    pub(super) fn len(&mut self) -> usize {
        match self.roll(12) {
            0 => 100_000 + self.roll(3_000_000),
            1 => 60_000 + self.roll(20_000),
            2 => 0,
            _ => self.roll(300),
        }
    }
}

/// A stream, and where of each message what has to be captured lies.
fn stream(kind: Kind, seed: u64, calls: usize) -> (Vec<Vec<u8>>, Vec<Range<usize>>) {
    let mut dice = Dice(seed);
    let (mut sent, mut wanted, mut position) = (Vec::new(), Vec::new(), 0);
    for _ in 0..calls {
        let mut call = Vec::new();
        // As many as the budget of a call is sure to take, and a large one, so that the call is large.
        let mut budget = 600_000_usize;
        while budget > 0 {
            let start = position + call.len();
            let len = if wanted.len() % 7 == 3 { 400_000 } else { dice.len() };
            let header = kind.message(&mut call, len);
            wanted.push(start..start + header + len.min(KEEP));
            budget = budget.saturating_sub(len.min(KEEP + 8192) + 40);
        }
        position += call.len();
        sent.push(call);
    }
    (sent, wanted)
}

/// The captured ranges of one direction of a stream, joined.
fn captured(seen: &Seen, port: u16, direction: u8, text: &[u8]) -> Vec<Range<usize>> {
    let of_direction = |head: &Moved| head.connection.local_port == port && head.direction == direction;
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (index, (head, _)) in seen.moved.iter().enumerate().filter(|(_, (head, _))| of_direction(head)) {
        for (offset, bytes) in seen.runs(index) {
            let start = head.counter as usize + offset;
            assert!(text[start..start + bytes.len()] == *bytes, "wrong bytes at {start}");
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end += bytes.len(),
                _ => ranges.push(start..start + bytes.len()),
            }
        }
    }
    ranges
}

fn missing(ranges: &[Range<usize>], wanted: &[Range<usize>]) -> Vec<Range<usize>> {
    let within =
        |want: &Range<usize>| ranges.iter().any(|have| have.start <= want.start && want.end <= have.end);
    wanted.iter().filter(|want| !within(want)).cloned().collect()
}

/// Sends such a stream, each part in one call, and reads it by calls of as many bytes as `buffers` say, one after the
/// other.
fn check(kind: Kind, seed: u64, out: (Call, usize), buffers: &'static [usize]) {
    let (client, server, port) = pair("127.0.0.1:0");
    let server_port = server.local_addr().unwrap().port();
    let Some(mut capture) = Capture::start(port, RING) else { return };
    // A first message, by which the connections are met.
    transfer(client.as_raw_fd(), true, Call::Plain, 1, &mut [b'!'; 1]);
    transfer(server.as_raw_fd(), false, Call::Plain, 1, &mut [0; 1]);
    capture.drain();
    let ids: Vec<u64> = capture.seen.moved.iter().map(|(head, _)| head.connection.id).collect();
    for id in ids {
        // The first message ends at 1.
        let verdict = Verdict { mode: verdict::TRACE, framing: kind.framing(), skip_until: [1, 1] };
        capture.kernel.decide(id, verdict).unwrap();
    }
    let (sent, wanted) = stream(kind, seed, 3);
    let total: usize = sent.iter().map(Vec::len).sum();
    let reader = thread::spawn(move || {
        let mut left = total;
        for buffer in buffers.iter().cycle() {
            let mut bytes = vec![0; left.min(*buffer)];
            left -= transfer(server.as_raw_fd(), false, Call::Addressed, 1, &mut bytes);
            if left == 0 {
                return;
            }
        }
    });
    for call in &sent {
        assert_eq!(transfer(client.as_raw_fd(), true, out.0, out.1, &mut call.clone()), call.len());
        capture.drain();
    }
    reader.join().unwrap();
    let (records, totals) = capture.finish();
    assert_eq!((totals.ring, totals.fault), (0, 0));
    let text = [b"!".to_vec(), sent.concat()].concat();
    let wanted: Vec<Range<usize>> = wanted.iter().map(|want| want.start + 1..want.end + 1).collect();
    let what = format!("{kind:?}, seed {seed}, {out:?}, reads of {buffers:?}");
    let written = captured(&records, port, direction::OUT, &text);
    let lost = missing(&written, &wanted);
    assert!(lost.is_empty(), "{what}: written, {lost:?} of {}", text.len());
    let bytes: usize = written.iter().map(Range::len).sum();
    // Where sockets tell, each message of a call has a budget of its own.
    let apart = source() == Source::Socket && matches!(out.0, Call::Messages(_));
    let enough = apart || bytes < text.len() * 3 / 4;
    assert!(enough, "{what}: what is not wanted is left out, {bytes} of {}", text.len());
    let read = captured(&records, server_port, direction::IN, &text);
    let lost = missing(&read, &wanted);
    assert!(lost.is_empty(), "{what}: read, {lost:?} of {}", text.len());
}

#[test]
fn of_every_message_its_beginning_is_captured() {
    for kind in [Kind::Little, Kind::Big, Kind::Lines] {
        for (seed, out) in [
            (1, (Call::Plain, 1)),
            (2, (Call::Vectors, 3)),
            (3, (Call::Vectors, 1_000)),
            (4, (Call::Message, 200)),
            (5, (Call::Messages(40), 90)),
        ] {
            check(kind, seed, out, &[64 << 10]);
        }
    }
}

#[test]
fn messages_are_followed_from_one_large_call_to_the_next() {
    for kind in [Kind::Little, Kind::Big, Kind::Lines] {
        check(kind, 11, (Call::Plain, 1), &[3_000_000]);
        check(kind, 12, (Call::Plain, 1), &[2_000_000, 50_000, 1_500_000, 120_000, 7]);
    }
}

#[test]
fn what_is_no_message_is_captured_as_without_framing() {
    let (client, server, port) = pair("127.0.0.1:0");
    let Some(mut capture) = Capture::start(port, RING) else { return };
    transfer(client.as_raw_fd(), true, Call::Plain, 1, &mut [b'!'; 1]);
    capture.drain();
    let id = capture.seen.moved[0].0.connection.id;
    let reader = thread::spawn(move || {
        let mut left = 1 + 3 * 2_000_000;
        while left > 0 {
            left -= transfer(server.as_raw_fd(), false, Call::Plain, 1, &mut vec![0; 65_536.min(left)]);
        }
    });
    for (kind, byte) in [(Kind::Little, 0xff), (Kind::Big, 0xff), (Kind::Lines, b'x')] {
        let verdict = Verdict { mode: verdict::TRACE, framing: kind.framing(), ..Verdict::default() };
        capture.kernel.decide(id, verdict).unwrap();
        transfer(client.as_raw_fd(), true, Call::Plain, 1, &mut vec![byte; 2_000_000]);
    }
    reader.join().unwrap();
    let (seen, _) = capture.finish();
    let sent = (0..seen.moved.len()).filter(|index| seen.moved[*index].0.direction == direction::OUT).skip(1);
    for index in sent {
        let runs: Vec<(usize, usize)> =
            seen.runs(index).iter().map(|(offset, bytes)| (*offset, offset + bytes.len())).collect();
        let front = runs.iter().fold(0, |front, (start, end)| if *start == front { *end } else { front });
        assert!(front >= 256 << 10, "{front}");
        assert_eq!(runs.last().map(|(_, end)| *end), Some(2_000_000));
    }
}
