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
