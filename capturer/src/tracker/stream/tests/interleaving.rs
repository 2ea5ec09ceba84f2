//! Threads that write one socket as a kernel lets them: a call takes its time and its number, waits for the lock,
//! appends, and is reported when it returns, each step possibly long after the one before.

use capturer_ebpf::layout::flag;
use proptest::prelude::*;

use super::{Kept, stream};
use crate::direction::{IN, OUT};
use crate::fixtures;
use crate::tracker::reorder::{EventKind, ReorderBuffer, TimedEvent};
use crate::tracker::stream::{CallEvent, Fate, Stream, WAIT_NS};

const THREADS: usize = 4;

/// Numbers as random as the seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides
    }
}

/// How far a call has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Outside,
    Entered,
    Marked,
    Appended,
    Returning,
    Returned,
}

struct Thread {
    at: At,
    event: CallEvent,
    wakes_ns: u64,
    left: usize,
}

/// One run: what was written, and every event with the time at which its ring had it.
struct Run {
    written: Vec<u8>,
    reports: Vec<(u64, CallEvent)>,
}

fn request(number: usize, len: usize) -> Vec<u8> {
    let mut text =
        format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: {len}\r\n\r\n").into_bytes();
    text.resize(text.len() + len, b'a' + (number % 26) as u8);
    text
}

/// Plays `each` calls per thread. One step in `sleepy` takes as long as a thread that lost its CPU.
fn play(seed: u64, base: u32, each: usize, equal: bool, sleepy: u64) -> Run {
    let mut dice = Dice(seed | 1);
    let (mut written, mut reports, mut counted, mut sent) = (Vec::new(), Vec::new(), 0, 0);
    let mut threads: Vec<Thread> = (0..THREADS)
        .map(|_| Thread {
            at: At::Outside,
            event: fixtures::event(OUT, 0, b""),
            wakes_ns: 1_000_000,
            left: each,
        })
        .collect();
    // When each request was whole, for the answers.
    let mut whole = Vec::new();
    while let Some(thread) =
        threads.iter_mut().filter(|thread| thread.left > 0).min_by_key(|thread| thread.wakes_ns)
    {
        let now = thread.wakes_ns;
        let number = || base.wrapping_add(written.len() as u32);
        match thread.at {
            At::Outside => (thread.event.enter_ns, thread.at) = (now, At::Entered),
            At::Entered => (thread.event.s0, thread.at) = (number(), At::Marked),
            At::Marked => {
                // The number of a request is that of its place, so that the answers tell it.
                let len = if equal { 100 } else { 10 + dice.roll(700) as usize };
                let bytes = request(sent, len);
                thread.event.moved = bytes.len() as u64;
                thread.event.payload = bytes.as_slice().into();
                written.extend_from_slice(&bytes);
                whole.push(now);
                sent += 1;
                thread.at = At::Appended;
            }
            At::Appended => (thread.event.exit_ns, thread.at) = (now, At::Returning),
            At::Returning => {
                thread.event.counter = counted;
                counted += thread.event.moved;
                (thread.event.s1, thread.at) = (number(), At::Returned);
                let span = thread.event.s1.wrapping_sub(thread.event.s0);
                thread.event.flags = if u64::from(span) == thread.event.moved { 0 } else { flag::UNANCHORED };
            }
            At::Returned => {
                reports.push((now, thread.event.clone()));
                thread.left -= 1;
                thread.at = At::Outside;
            }
        }
        let nap = if dice.roll(sleepy) == 0 { dice.roll(80_000_000) } else { 0 };
        thread.wakes_ns += 200 + dice.roll(3_000) + nap;
    }
    answers(&whole, &mut dice, &mut reports);
    reports.sort_by_key(|report| report.0);
    Run { written, reports }
}

/// The answers, read by one thread in the order of the requests.
fn answers(whole: &[u64], dice: &mut Dice, reports: &mut Vec<(u64, CallEvent)>) {
    let (mut at, mut place) = (0, 7);
    for (number, asked) in whole.iter().enumerate() {
        at = at.max(*asked) + 5_000 + dice.roll(20_000);
        let body = number.to_string();
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let mut event = fixtures::event(IN, place, text.as_bytes());
        (event.enter_ns, event.exit_ns, event.counter) = (at - 1_000, at, u64::from(place - 7));
        place += text.len() as u32;
        reports.push((at, event));
    }
}

/// Passes the reports through the reorder buffer of all rings to the stream.
fn hear(reports: &[(u64, CallEvent)]) -> Kept {
    let (mut kept, mut stream, mut reorder) = (Kept::default(), stream(), ReorderBuffer::default());
    let release = |reorder: &mut ReorderBuffer, stream: &mut Stream, kept: &mut Kept, now: u64| {
        let mark = reorder.watermark(now, true);
        while let Some(TimedEvent { kind: EventKind::Moved(event), .. }) = reorder.pop(mark) {
            stream.take(event, mark, kept);
        }
        stream.advance(mark, false, kept);
    };
    let mut last = 0;
    for (now, event) in reports {
        last = *now;
        let kind = EventKind::Moved(event.clone());
        let timed = TimedEvent { at_ns: event.at_ns(), connection: fixtures::connection(1), kind };
        reorder.push(timed, event.exit_ns);
        release(&mut reorder, &mut stream, &mut kept, last);
    }
    release(&mut reorder, &mut stream, &mut kept, last + WAIT_NS);
    assert!(reorder.is_empty());
    stream.advance(u64::MAX, true, &mut kept);
    assert_eq!(stream.pending(), (0, 0));
    assert_eq!(kept.fates.len(), reports.len(), "every event has one fate");
    kept
}

/// Checks that every byte sent lies where the socket put it.
fn check_written(kept: &Kept, run: &Run, base: u32) {
    for (position, bytes, _) in &kept.pieces[OUT] {
        let Some(bytes) = bytes else { continue };
        let at = (*position as u32).wrapping_sub(base) as usize;
        assert_eq!(run.written.get(at..at + bytes.len()), Some(bytes.as_slice()), "at {at}");
    }
}

proptest! {
    #[test]
    fn real_interleavings_never_yield_a_wrong_byte(
        seed in any::<u64>(), base in any::<u32>(), equal in any::<bool>(), sleepy in 20_u64..4_000,
    ) {
        let run = play(seed, base, 60, equal, sleepy);
        check_written(&hear(&run.reports), &run, base);
    }
}

#[test]
fn most_of_what_four_threads_write_is_placed() {
    // Threads that are always inside a call leave little that only one order explains.
    for (sleepy, percent) in [(100, 85), (1_000, 65), (10_000, 30)] {
        let (mut writes, mut placed) = (0, 0);
        for seed in 1..10 {
            let run = play((seed << 32) | 0x9e37_79b9, 5, 500, false, sleepy);
            let kept = hear(&run.reports);
            check_written(&kept, &run, 5);
            let reads = run.reports.iter().filter(|(_, event)| event.direction == IN).count();
            writes += run.reports.len() - reads;
            placed += kept.count(Fate::Placed) - reads;
        }
        assert!(placed * 100 >= writes * percent, "one in {sleepy}: {placed} of {writes}");
    }
}
