//! The tracker alone, before a stage that notes what it is told.

use super::*;
use crate::direction::{IN, OUT};
use crate::fixtures;

const REQUEST: &[u8] = b"GET /orders/7 HTTP/1.1\r\nHost: shop\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// Bytes that moved before in each direction, by round of one request and one response.
const MOVED: [usize; 2] = [REQUEST.len(), RESPONSE.len()];

/// A stage that refuses a process.
#[derive(Default)]
struct Noted {
    refused: Option<u32>,
    exchanges: Vec<(Caller, String)>,
    missed: u64,
}

impl NextStage for Noted {
    fn follows(&self, caller: Caller) -> bool {
        self.refused != Some(caller.pid)
    }

    fn side(&mut self, _: &layout::Connection, _: Caller, _: u64) -> Option<Side> {
        None
    }

    fn exchange(&mut self, context: &ExchangeContext<'_>, exchange: decoders::Exchange) {
        self.exchanges.push((context.caller, exchange.operation));
    }

    fn unpaired(&mut self, _: Caller) {
        self.missed += 1;
    }

    fn gap(&mut self, _: Caller) {
        self.missed += 1;
    }
}

/// Makes one round of a request and its response by a process, each on a connection of its own number.
fn round(tracker: &mut Tracker, pid: u32, round: usize) {
    for (direction, payload) in [(OUT, REQUEST), (IN, RESPONSE)] {
        let before = round * MOVED[direction];
        let at_ns = (round * 2 + direction) as u64 * 1_000_000;
        let [s0, len] = [1_000 + before, payload.len()].map(|number| u32::try_from(number).unwrap());
        let head = layout::Moved {
            captured: len,
            connection: fixtures::connection(pid.into()),
            enter_ns: at_ns,
            exit_ns: at_ns + 1,
            moved: len.into(),
            counter: before as u64,
            s0,
            s1: s0 + len,
            pid,
            cgroup: 9,
            ..fixtures::head(u8::try_from(direction).unwrap())
        };
        tracker.moved(&head, payload, Vec::new());
    }
}

fn tracker() -> Tracker {
    let redaction = decoders::Redaction { enabled: true, headers: Vec::new() };
    Tracker::new(Arc::new(Options { payload_bytes: 1_024, redaction, protocols: Vec::new() }))
}

#[test]
fn the_next_stage_says_whose_calls_are_followed() {
    let (mut tracker, mut next) = (tracker(), Noted { refused: Some(2), ..Noted::default() });
    for pid in [1, 2, 3] {
        round(&mut tracker, pid, 0);
    }
    tracker.advance(1_000_000_000, true, &mut next);
    assert_eq!(tracker.connections(), 2);
    let mut callers: Vec<Caller> = next.exchanges.iter().map(|(caller, _)| *caller).collect();
    callers.sort_by_key(|caller| caller.pid);
    assert_eq!(callers, [1, 3].map(|pid| Caller { pid, cgroup: 9 }));
    assert!(next.exchanges.iter().all(|(_, operation)| operation == "GET /orders/7"));
    let Events { placed, filtered, .. } = tracker.events();
    assert_eq!((placed, filtered, next.missed), (4, 2, 0));
}

#[test]
fn connections_end_with_their_callers_and_go_on_with_them() {
    let (mut tracker, mut next) = (tracker(), Noted::default());
    for pid in [1, 2] {
        round(&mut tracker, pid, 0);
    }
    tracker.advance(1_000_000_000, true, &mut next);
    tracker.refuse(|caller| caller.pid == 1);
    assert_eq!(tracker.connections(), 1);
    for pid in [1, 2] {
        round(&mut tracker, pid, 1);
    }
    tracker.advance(2_000_000_000, true, &mut next);
    let count =
        |next: &Noted| [1, 2].map(|pid| next.exchanges.iter().filter(|(by, _)| by.pid == pid).count());
    assert_eq!(count(&next), [1, 2], "one that was refused stays so, whatever the next stage says");
    tracker.resume(|caller| caller.pid == 1);
    round(&mut tracker, 1, 2);
    tracker.advance(3_000_000_000, true, &mut next);
    assert_eq!(count(&next), [2, 2]);
    assert_eq!(tracker.events().filtered, 2);
}

/// A packet of connection 1 crosses an interface, from or to another machine.
fn packet(direction: usize, seq: usize, len: usize, at_ns: u64) -> layout::Packet {
    let (connections, flags) =
        if direction == OUT { ([1, 0], layout::packet::TRANSMIT) } else { ([0, 1], 0) };
    layout::Packet {
        kind: layout::Kind::Packet as u8,
        flags,
        reserved: 0,
        netns: 4,
        connections,
        at_ns,
        seq: u32::try_from(seq).unwrap(),
        bytes: u32::try_from(len).unwrap(),
        sockets: [0; 2],
        name: [b'e'; layout::INTERFACE_NAME_LEN],
    }
}

/// A server reads a request and writes the answer to it, in as many rounds.
fn serve(tracker: &mut Tracker, rounds: std::ops::Range<usize>) {
    for round in rounds {
        for (direction, payload) in [(IN, REQUEST), (OUT, RESPONSE)] {
            let before = round * payload.len();
            let at_ns = 1_000_000 * (round * 2 + usize::from(direction == OUT)) as u64;
            let [s0, len] = [1_000 + before, payload.len()].map(|number| u32::try_from(number).unwrap());
            let head = layout::Moved {
                captured: len,
                connection: layout::Connection { role: layout::role::SERVER, ..fixtures::connection(1) },
                enter_ns: at_ns,
                exit_ns: at_ns + 1,
                moved: len.into(),
                counter: before as u64,
                s0,
                s1: s0 + len,
                ..fixtures::head(u8::try_from(direction).unwrap())
            };
            tracker.moved(&head, payload, Vec::new());
        }
    }
}

#[test]
fn an_answer_waits_until_it_has_left_and_those_behind_it_wait_too() {
    let (mut tracker, mut next) = (tracker().with_packets(), Noted::default());
    tracker.packets(|packets| packets.crossed(&packet(IN, 1_000, 3 * REQUEST.len(), 0)));
    serve(&mut tracker, 0..3);
    tracker.advance(20_000_000, true, &mut next);
    assert_eq!((next.exchanges.len(), tracker.is_waiting()), (0, true));
    // The second answer's packet is seen, the first one's is not.
    let len = RESPONSE.len();
    tracker.packets(|packets| packets.crossed(&packet(OUT, 1_000 + len, len, 21_000_000)));
    tracker.advance(25_000_000, true, &mut next);
    assert_eq!(next.exchanges.len(), 0);
    tracker.packets(|packets| packets.crossed(&packet(OUT, 1_000, len, 26_000_000)));
    tracker.advance(30_000_000, true, &mut next);
    assert_eq!(next.exchanges.len(), 2);
    tracker.advance(20_000_000 + WAIT_NS, true, &mut next);
    assert_eq!((next.exchanges.len(), tracker.is_waiting()), (3, false), "no longer than that");
    // Where packets leave unseen, nothing waits again.
    tracker.packets(|packets| packets.crossed(&packet(IN, 1_000 + 3 * REQUEST.len(), REQUEST.len(), 0)));
    serve(&mut tracker, 3..4);
    tracker.advance(21_000_000 + WAIT_NS, true, &mut next);
    assert_eq!(next.exchanges.len(), 4);
}

#[test]
fn what_waits_to_leave_comes_out_at_the_end() {
    let (mut tracker, mut next) = (tracker().with_packets(), Noted::default());
    tracker.packets(|packets| packets.crossed(&packet(IN, 1_000, REQUEST.len(), 0)));
    serve(&mut tracker, 0..1);
    tracker.advance(20_000_000, true, &mut next);
    assert_eq!(next.exchanges.len(), 0);
    tracker.finish(20_000_000, &mut next);
    assert_eq!((next.exchanges.len(), tracker.is_waiting()), (1, false));
}

#[test]
fn many_that_wait_let_the_oldest_go() {
    let (mut tracker, mut next) = (tracker().with_packets(), Noted::default());
    let rounds = LEAVING + 40;
    tracker.packets(|packets| packets.crossed(&packet(IN, 1_000, rounds * REQUEST.len(), 0)));
    serve(&mut tracker, 0..rounds);
    let end_ns = 2_000_000 * rounds as u64 + reorder::HORIZON_NS;
    tracker.advance(end_ns, true, &mut next);
    assert_eq!(next.exchanges.len(), 40);
    let Events { placed, notices, .. } = tracker.events();
    assert_eq!((placed, notices), (2 * rounds as u64, 1));
}

#[test]
fn packets_that_come_before_the_first_call_of_their_direction_are_kept() {
    let (mut tracker, mut next) = (tracker().with_packets(), Noted::default());
    // Joined within an answer: nothing is known of the other direction's numbers, to which 0 is ahead.
    let (s0, len) = (3_000_000_000, u32::try_from(RESPONSE.len()).unwrap());
    let head = layout::Moved {
        captured: len,
        connection: layout::Connection { role: layout::role::UNKNOWN, ..fixtures::connection(1) },
        enter_ns: 1,
        exit_ns: 2,
        moved: len.into(),
        s0,
        s1: s0 + len,
        ..fixtures::head(layout::direction::IN)
    };
    tracker.moved(&head, RESPONSE, Vec::new());
    tracker.advance(1_000_000_000, true, &mut next);
    tracker.packets(|packets| packets.crossed(&packet(OUT, 3_000_000_000, REQUEST.len(), 1_000_000_000)));
    // Nothing is due but what looks for waits that are over.
    tracker.advance(1_200_000_000, true, &mut next);
    let packets = tracker.packets.as_ref().unwrap();
    let passage = packets.of(1).unwrap().passage(OUT).unwrap();
    let position = passage.position(3_000_000_000);
    assert_eq!(passage.crossings()[0].at(position), Some(1_000_000_000));
}
