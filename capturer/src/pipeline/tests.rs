//! Records in, exchanges out, over real decoders.
#![expect(
    clippy::cast_possible_truncation,
    reason = "sequence numbers are cut to 32 bits, lengths are small"
)]

mod attempts;

use capturer_ebpf::layout::{COMM_LEN, transport};
use proto::account::{Balance, Consumer, Losses, Stage};

use super::*;
use crate::direction::{IN, OUT};
use crate::owners::HELD_EXCHANGES;
use crate::tracker::{CONNECTIONS, DATAGRAM_IDLE_NS, reorder};
use crate::{fixtures, ledger};

const REQUEST: &[u8] = b"GET /orders/7 HTTP/1.1\r\nHost: shop\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn pipeline() -> Pipeline {
    by(&v1::CapturerSettings::default())
}

fn by(settings: &v1::CapturerSettings) -> Pipeline {
    let settings = v1::CapturerSettings { payload_bytes: 1_024, id_base: 1, ..settings.clone() };
    Pipeline::new(&settings, "here".to_owned(), PathBuf::from("/nonexistent")).unwrap()
}

/// One process's calls on one connection, with sequence numbers kept.
struct Caller {
    connection: layout::Connection,
    pid: u32,
    cgroup: u64,
    numbers: [u32; 2],
    counters: [u64; 2],
}

impl Caller {
    fn new(id: u64) -> Self {
        Self {
            connection: fixtures::connection(id),
            pid: 42,
            cgroup: 0,
            numbers: [100, 900],
            counters: [0; 2],
        }
    }

    fn moved(&mut self, direction: usize, at_ns: u64, len: usize) -> layout::Moved {
        let mut comm = [0; COMM_LEN];
        comm[..4].copy_from_slice(b"curl");
        let head = layout::Moved {
            captured: len as u32,
            connection: self.connection,
            enter_ns: at_ns,
            exit_ns: at_ns + 500,
            moved: len as u64,
            counter: self.counters[direction],
            s0: self.numbers[direction],
            s1: self.numbers[direction].wrapping_add(len as u32),
            pid: self.pid,
            tid: self.pid,
            comm,
            cgroup: self.cgroup,
            ..fixtures::head(direction as u8)
        };
        self.numbers[direction] = head.s1;
        self.counters[direction] += len as u64;
        head
    }

    fn call(&mut self, pipeline: &mut Pipeline, direction: usize, at_ns: u64, payload: &[u8]) {
        let head = self.moved(direction, at_ns, payload.len());
        pipeline.take(Record::Moved { head, payload, pieces: Vec::new() });
    }

    fn ended(&self, pipeline: &mut Pipeline, at_ns: u64, unseen_in: u64) {
        pipeline.take(Record::Ended(layout::Ended {
            kind: 2,
            reserved: [0; 7],
            connection: self.connection,
            at_ns,
            unseen_out: 0,
            unseen_in,
        }));
    }
}

fn exchanges(pipeline: &mut Pipeline) -> Vec<v1::Exchange> {
    std::iter::from_fn(|| pipeline.exchange()).collect()
}

fn assert_balanced(pipeline: &mut Pipeline, seen: u64) -> Balance {
    let kernel = ledger::KernelEvents { seen, delivered: seen, ..ledger::KernelEvents::default() };
    let consumer = Consumer::Capturer("test".to_owned());
    let balances = pipeline.ledger().balances(&consumer, &kernel, true);
    for balance in &balances {
        assert!(balance.holds(), "{balance:?}");
    }
    balances[0].clone()
}

#[test]
fn a_request_and_its_response_are_an_exchange() {
    let mut pipeline = pipeline();
    let mut caller = Caller::new(1);
    // The response comes from another ring, earlier than the request.
    let request = caller.moved(OUT, 1_000_000, REQUEST.len());
    caller.call(&mut pipeline, IN, 6_000_000, RESPONSE);
    pipeline.take(Record::Moved { head: request, payload: REQUEST, pieces: Vec::new() });
    pipeline.advance(7_000_000, true);
    assert!(exchanges(&mut pipeline).is_empty(), "nothing before the horizon");
    pipeline.advance(6_000_500 + reorder::HORIZON_NS, true);
    let done = exchanges(&mut pipeline);
    assert_eq!(done.len(), 1);
    let exchange = &done[0];
    assert_eq!((exchange.operation.as_str(), exchange.status.as_str()), ("GET /orders/7", "200"));
    assert_eq!(exchange.segments.as_ref().unwrap().total_ns, 5_000_500);
    assert_eq!(exchange.side, i32::from(v1::Side::Client));
    let origin = exchange.origin.as_ref().unwrap();
    assert_eq!((origin.pid, origin.comm.as_str()), (42, "curl"));
    assert_eq!(exchange.request.as_ref().unwrap().bytes, REQUEST.len() as u64);
    assert_eq!(exchange.response.as_ref().unwrap().syscalls.len(), 1);
    assert_balanced(&mut pipeline, 2);
}

#[test]
fn a_capture_that_ends_emits_pending_requests() {
    let mut pipeline = pipeline();
    let mut caller = Caller::new(1);
    caller.call(&mut pipeline, OUT, 1_000, REQUEST);
    pipeline.finish(2_000);
    let done = exchanges(&mut pipeline);
    assert_eq!(done.len(), 1);
    assert!(done[0].response.is_none() && !done[0].error, "nobody saw it fail");
    assert_eq!(done[0].segments, None, "its time is not known");
    assert_eq!(pipeline.connections(), 0);
    assert_balanced(&mut pipeline, 1);
}

#[test]
fn a_connection_that_ends_fails_its_pending_request() {
    let mut pipeline = pipeline();
    let mut caller = Caller::new(1);
    caller.call(&mut pipeline, OUT, 1_000, REQUEST);
    caller.ended(&mut pipeline, 2_000, 0);
    pipeline.finish(3_000);
    let done = exchanges(&mut pipeline);
    assert_eq!(done.len(), 1);
    assert!(done[0].response.is_none() && done[0].error);
}

#[test]
fn a_lost_call_is_a_gap_and_later_exchanges_are_right() {
    let mut pipeline = pipeline();
    let mut caller = Caller::new(1);
    let mut taken = 0;
    for round in 0..20_u64 {
        let at = round * 1_000_000;
        caller.call(&mut pipeline, OUT, at + 1_000, REQUEST);
        taken += 1;
        if round == 5 {
            let lost = caller.moved(IN, at + 2_000, RESPONSE.len());
            assert_eq!(lost.captured, RESPONSE.len() as u32);
        } else {
            caller.call(&mut pipeline, IN, at + 2_000, RESPONSE);
            taken += 1;
        }
    }
    pipeline.finish(1_000_000_000);
    let done = exchanges(&mut pipeline);
    let answered: Vec<_> = done.iter().filter(|exchange| exchange.response.is_some()).collect();
    assert!(answered.len() >= 18, "{}", answered.len());
    for exchange in answered {
        assert_eq!(exchange.segments.as_ref().unwrap().total_ns, 1_500, "no pair is shifted");
    }
    assert_balanced(&mut pipeline, taken);
}

#[test]
fn ignored_connections_are_told_to_the_kernel_and_filtered() {
    let mut pipeline = pipeline();
    let mut caller = Caller::new(1);
    for round in 0..200 {
        caller.call(&mut pipeline, OUT, round * 1_000, &[0xf7; 700]);
        caller.call(&mut pipeline, IN, round * 1_000 + 600, &[0xf9; 700]);
    }
    pipeline.advance(1_000_000_000, true);
    let decisions = pipeline.decisions();
    assert_eq!(decisions.len(), 1, "{decisions:?}");
    assert_eq!((decisions[0].0, decisions[0].1.mode), (1, layout::verdict::IGNORE));
    assert_eq!(pipeline.connections(), 0);
    caller.ended(&mut pipeline, 2_000_000_000, 10);
    pipeline.advance(3_000_000_000, true);
    let balance = assert_balanced(&mut pipeline, 401);
    assert!(balance.filtered > 300, "{balance:?}");
    assert_eq!(balance.lost.at(Stage::Unseen), 0, "its bytes are not missed");
    caller.ended(&mut pipeline, 4_000_000_000, 10);
    pipeline.advance(5_000_000_000, true);
    assert_eq!(pipeline.ledger().events.unseen, 1, "with its end it is forgotten");
}

#[test]
fn a_long_body_is_skipped_in_the_kernels_own_count() {
    let mut pipeline = pipeline();
    let mut caller = Caller::new(1);
    caller.call(&mut pipeline, OUT, 1_000, REQUEST);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n";
    caller.call(&mut pipeline, IN, 2_000, head);
    // The decoder keeps the beginning of the body; the kernel is asked for the rest's length only.
    caller.call(&mut pipeline, IN, 2_700, &[b'x'; 2_000]);
    pipeline.advance(1_000_000_000, true);
    let decisions = pipeline.decisions();
    assert_eq!(decisions.len(), 1, "{decisions:?}");
    let verdict = decisions[0].1;
    assert_eq!(verdict.mode, layout::verdict::TRACE);
    let end = head.len() as u64 + 10_000_000;
    assert!(verdict.skip_until[IN] > 9_900_000 && verdict.skip_until[IN] <= end, "{verdict:?}");
    let mut body = caller.moved(IN, 3_500, 10_000_000 - 2_000);
    body.captured = 0;
    pipeline.take(Record::Moved { head: body, payload: &[], pieces: Vec::new() });
    pipeline.advance(2_000_000_000, true);
    let done = exchanges(&mut pipeline);
    assert_eq!(done.len(), 1);
    assert_eq!(done[0].response.as_ref().unwrap().bytes, end);
    assert!(pipeline.decisions().is_empty());
}

/// Exchanges of one connection in calls of `step` bytes each, every call dealt with before the next: a call enters every
/// millisecond.
fn in_calls(role: u8, step: usize, bodies: [usize; 2]) -> Vec<v1::Exchange> {
    let mut pipeline = pipeline();
    let mut caller = Caller::new(1);
    caller.connection.role = role;
    let directions = if role == layout::role::CLIENT { [OUT, IN] } else { [IN, OUT] };
    let heads = ["POST /orders HTTP/1.1\r\nHost: shop", "HTTP/1.1 200 OK"];
    let mut now_ns = 0;
    for _ in 0..3 {
        for ((direction, head), body) in directions.into_iter().zip(heads).zip(bodies) {
            let head = format!("{head}\r\nContent-Length: {body}\r\n\r\n");
            let message = [head.as_bytes(), &vec![b'x'; body]].concat();
            for bytes in message.chunks(step) {
                now_ns += 1_000_000;
                caller.call(&mut pipeline, direction, now_ns, bytes);
                pipeline.advance(now_ns + 500 + reorder::HORIZON_NS, true);
            }
        }
    }
    exchanges(&mut pipeline)
}

#[test]
fn long_messages_have_their_calls_and_their_time_on_both_sides() {
    const STEP: usize = 1 << 16;
    for role in [layout::role::CLIENT, layout::role::SERVER] {
        for bodies in [[5, STEP], [0, 5 * STEP], [3 * STEP, 5], [3 * STEP, 4 * STEP]] {
            let done = in_calls(role, STEP, bodies);
            assert_eq!(done.len(), 3, "{role} {bodies:?}");
            let calls = bodies.map(|body| body / STEP + 1);
            for exchange in done {
                let segments = exchange.segments.unwrap_or_else(|| panic!("no time: {role} {bodies:?}"));
                let first_to_last = (calls[0] + calls[1] - 1) as u64 * 1_000_000;
                // A client is timed from its first write's enter, a server from its first read's return.
                let within = if role == layout::role::CLIENT { 500 } else { 0 };
                assert_eq!(segments.total_ns, first_to_last + within, "{role} {bodies:?}");
                let parts = [exchange.request.unwrap(), exchange.response.unwrap()];
                assert_eq!(parts.each_ref().map(|part| part.syscalls.len()), calls, "{role} {bodies:?}");
                for part in parts {
                    let listed: u64 = part.syscalls.iter().map(|event| event.bytes).sum();
                    assert_eq!(listed, part.bytes, "{role} {bodies:?}");
                }
            }
        }
    }
}

#[test]
fn sockets_with_unseen_bytes_are_counted_once() {
    let mut pipeline = pipeline();
    let mut caller = Caller::new(1);
    caller.call(&mut pipeline, OUT, 1_000, REQUEST);
    caller.ended(&mut pipeline, 5_000, 77);
    pipeline.finish(10_000);
    let balance = assert_balanced(&mut pipeline, 2);
    assert_eq!(balance.seen, 3);
    assert_eq!(balance.lost.at(Stage::Unseen), 1);
}

#[test]
fn excluded_processes_yield_nothing() {
    let mut pipeline = pipeline();
    let mut caller = Caller::new(1);
    caller.call(&mut pipeline, OUT, 1_000, REQUEST);
    pipeline.advance(1_000_000_000, true);
    pipeline.exclude(42);
    assert_eq!(pipeline.connections(), 0, "what was pending is dropped");
    caller.call(&mut pipeline, IN, 2_000, RESPONSE);
    pipeline.finish(2_000_000_000);
    assert!(exchanges(&mut pipeline).is_empty());
    assert_eq!(assert_balanced(&mut pipeline, 2).filtered, 1);
}

#[test]
fn the_table_of_connections_is_bounded() {
    let mut pipeline = pipeline();
    for id in 0..CONNECTIONS as u64 + 500 {
        let mut caller = Caller::new(id);
        caller.call(&mut pipeline, OUT, id * 10, REQUEST);
        pipeline.advance(id * 10 + reorder::HORIZON_NS, true);
        assert!(pipeline.connections() <= CONNECTIONS);
    }
    assert!(exchanges(&mut pipeline).len() >= 490, "what was pending of them comes out");
    assert_balanced_events(&mut pipeline);
}

fn assert_balanced_events(pipeline: &mut Pipeline) {
    let seen = CONNECTIONS as u64 + 500;
    pipeline.finish(u64::MAX);
    assert_balanced(pipeline, seen);
}

#[test]
fn silent_datagram_peers_are_forgotten() {
    let mut pipeline = pipeline();
    let mut caller = Caller::new(1);
    caller.connection.transport = transport::UDP;
    caller.connection.coordinate = layout::coordinate::COUNTER;
    caller.connection.remote_port = 53;
    let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01";
    caller.call(&mut pipeline, OUT, 1_000, query);
    pipeline.advance(1_000_000_000, true);
    assert_eq!(pipeline.connections(), 1);
    pipeline.advance(DATAGRAM_IDLE_NS + 2_000_000_000, true);
    assert_eq!(pipeline.connections(), 0);
    let done = exchanges(&mut pipeline);
    assert_eq!(done.len(), 1, "the query without an answer");
    assert!(done[0].error, "resolvers do not wait that long");
}

/// A path in a pod's container, as the kernel tells it.
fn announce(pipeline: &mut Pipeline, cgroup: u64, uid: &str, at_ns: u64) {
    let container = "a".repeat(64);
    let pod = format!("pod{uid}");
    pipeline.owners.announced(cgroup, Place::from_inside([container.as_str(), &pod].into_iter()), at_ns);
}

fn told(uid: &str, wanted: bool) -> v1::NodePods {
    let container = v1::PodContainer { id: "a".repeat(64), name: "web".to_owned() };
    let pod = v1::Pod {
        uid: uid.to_owned(),
        name: "orders-1".to_owned(),
        containers: vec![container],
        wanted,
        ..v1::Pod::default()
    };
    v1::NodePods { complete: true, pods: vec![pod], gone: Vec::new(), ..Default::default() }
}

const UID: &str = "4b1f3a52-0c7e-4f2a-9d11-0123456789ab";

fn in_a_cluster() -> Pipeline {
    by(&v1::CapturerSettings { cluster: true, ..v1::CapturerSettings::default() })
}

#[test]
fn exchanges_of_an_undecided_pod_are_held_and_come_out_with_its_name() {
    let mut pipeline = in_a_cluster();
    let mut caller = Caller { cgroup: 9, ..Caller::new(1) };
    announce(&mut pipeline, 9, UID, 500);
    caller.call(&mut pipeline, OUT, 1_000, REQUEST);
    caller.call(&mut pipeline, IN, 2_000, RESPONSE);
    pipeline.advance(1_000_000_000, true);
    assert!(exchanges(&mut pipeline).is_empty() && pipeline.is_waiting());
    assert_eq!(pipeline.ledger().exchanges, ledger::Exchanges::default(), "nothing is known of it yet");
    pipeline.tell(told(UID, true), 1_100_000_000);
    let done = exchanges(&mut pipeline);
    assert_eq!(done.len(), 1);
    let origin = done[0].origin.as_ref().unwrap();
    assert_eq!((origin.pod.as_str(), origin.container.as_str()), ("orders-1", "web"));
    assert_eq!(pipeline.placements(), [(9, Standing::Wanted)]);
    assert_balanced(&mut pipeline, 2);
}

#[test]
fn exchanges_of_a_pod_that_is_not_wanted_are_filtered_when_that_is_known() {
    let mut pipeline = in_a_cluster();
    let mut caller = Caller { cgroup: 9, ..Caller::new(1) };
    announce(&mut pipeline, 9, UID, 500);
    caller.call(&mut pipeline, OUT, 1_000, REQUEST);
    caller.call(&mut pipeline, IN, 2_000, RESPONSE);
    pipeline.advance(1_000_000_000, true);
    assert_eq!(pipeline.connections(), 1);
    pipeline.tell(told(UID, false), 1_100_000_000);
    assert_eq!((exchanges(&mut pipeline).len(), pipeline.connections()), (0, 0));
    // What was on its way, and the socket's end with what the kernel no longer followed.
    caller.call(&mut pipeline, OUT, 1_200_000_000, REQUEST);
    caller.ended(&mut pipeline, 1_300_000_000, 77);
    pipeline.advance(3_000_000_000, true);
    assert_eq!(pipeline.connections(), 0);
    let balance = assert_balanced(&mut pipeline, 4);
    assert!(balance.lost == Losses::default(), "{balance:?}");
    let totals = pipeline.ledger().exchanges;
    assert_eq!((totals.seen, totals.filtered), (1, 1));
}

#[test]
fn a_connection_goes_on_when_its_pod_is_wanted_after_all() {
    let mut pipeline = in_a_cluster();
    let mut caller = Caller { cgroup: 9, ..Caller::new(1) };
    pipeline.tell(told(UID, false), 100);
    announce(&mut pipeline, 9, UID, 500);
    caller.call(&mut pipeline, OUT, 1_000, REQUEST);
    caller.call(&mut pipeline, IN, 2_000, RESPONSE);
    pipeline.advance(1_000_000_000, true);
    pipeline.tell(told(UID, true), 1_100_000_000);
    caller.call(&mut pipeline, OUT, 1_200_000_000, REQUEST);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n";
    caller.call(&mut pipeline, IN, 1_200_002_000, head);
    caller.call(&mut pipeline, IN, 1_200_003_000, &[b'x'; 2_000]);
    pipeline.advance(3_000_000_000, true);
    let end = (RESPONSE.len() + head.len()) as u64 + 10_000_000;
    let verdict = pipeline.decisions()[0].1;
    assert!(
        verdict.skip_until[IN] > end - 100_000 && verdict.skip_until[IN] <= end,
        "in the kernel's own count"
    );
    let mut body = caller.moved(IN, 3_100_000_000, 10_000_000 - 2_000);
    body.captured = 0;
    pipeline.take(Record::Moved { head: body, payload: &[], pieces: Vec::new() });
    pipeline.advance(4_000_000_000, true);
    assert_eq!(exchanges(&mut pipeline).len(), 1);
    let balance = assert_balanced(&mut pipeline, 6);
    assert!(balance.lost == Losses::default(), "{balance:?}");
}

#[test]
fn what_does_not_fit_while_undecided_is_lost_only_if_it_was_wanted() {
    for wanted in [true, false] {
        let mut pipeline = in_a_cluster();
        let mut caller = Caller { cgroup: 9, ..Caller::new(1) };
        announce(&mut pipeline, 9, UID, 500);
        let rounds = HELD_EXCHANGES as u64 + 20;
        for round in 0..rounds {
            caller.call(&mut pipeline, OUT, round * 1_000_000 + 1_000, REQUEST);
            caller.call(&mut pipeline, IN, round * 1_000_000 + 2_000, RESPONSE);
        }
        pipeline.advance(1_000_000_000, true);
        pipeline.tell(told(UID, wanted), 1_100_000_000);
        let expected = if wanted { HELD_EXCHANGES } else { 0 };
        assert_eq!(exchanges(&mut pipeline).len(), expected);
        let ledger::Exchanges { seen, filtered, map, .. } = pipeline.ledger().exchanges;
        assert_eq!((seen, filtered, map), if wanted { (rounds, 0, 20) } else { (rounds, rounds, 0) });
        assert_balanced(&mut pipeline, 2 * rounds);
    }
}

#[test]
fn a_capture_that_ends_gives_up_what_is_undecided() {
    let mut pipeline = in_a_cluster();
    let mut caller = Caller { cgroup: 9, ..Caller::new(1) };
    announce(&mut pipeline, 9, UID, 500);
    caller.call(&mut pipeline, OUT, 1_000, REQUEST);
    pipeline.finish(2_000);
    assert!(exchanges(&mut pipeline).is_empty());
    assert_eq!((pipeline.ledger().exchanges.seen, pipeline.ledger().exchanges.filtered), (1, 1));
    assert_balanced(&mut pipeline, 1);
}
