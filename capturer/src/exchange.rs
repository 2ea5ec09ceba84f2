//! Finished exchanges as the wire carries them.

use std::net::{IpAddr, SocketAddr};

use capturer_ebpf::layout;
use decoders::{Reason, Side};
use proto::columns::{NAME_CHARS, OPERATION_CHARS};
use proto::id::Base;
use proto::v1;

use crate::clock::Clock;
use crate::context::ExchangeContext;
use crate::direction::OUT;
use crate::identity::Processes;
use crate::marks::Call;
use crate::path::{Hop, HopPlace, Path, directions};
use crate::segments::Span;

/// Exchanges a window that carry their hops. What goes beyond has the parts of its time all the same: hops are the larger half
/// of a small exchange, and whoever looks at so many looks at sums.
pub const HOPS_PER_WINDOW: u32 = 100;

/// Length of a window.
const WINDOW_NS: u64 = 100_000_000;

/// Gives exchanges their ids, times, and owners.
#[derive(Debug)]
pub struct Assembler {
    node: String,
    clock: Clock,
    base: Base,
    counter: u64,
    sample_weight: u32,
    /// Whether sockets are places of their own on an exchange's way.
    socket_hops: bool,
    /// When the window began, and how many of it carry hops.
    window: (u64, u32),
}

// === impl Assembler ===

impl Assembler {
    /// Makes ids from the hub's base; `sample` says how many exchanges one stands for.
    #[must_use]
    pub fn new(node: String, id_base: u64, sample: u32) -> Self {
        Self {
            node,
            clock: Clock::sampled(),
            base: Base::from(id_base),
            counter: 0,
            sample_weight: sample.max(1),
            socket_hops: false,
            window: (0, 0),
        }
    }

    /// Tells of sockets as places on an exchange's way.
    #[must_use]
    pub fn with_socket_hops(self, socket_hops: bool) -> Self {
        Self { socket_hops, ..self }
    }

    /// Goes on under another base, which a restarted hub may give.
    pub fn rebase(&mut self, id_base: u64) {
        self.base = Base::from(id_base);
    }

    /// Follows the time of day, should it have been set.
    pub fn anchor(&mut self) {
        self.clock.anchor();
    }

    /// Counts an exchange at `now_ns`; returns whether it is one of those that carry their hops.
    fn has_room_for_hops(&mut self, now_ns: u64) -> bool {
        let (begun_ns, _) = self.window;
        if now_ns.saturating_sub(begun_ns) >= WINDOW_NS {
            self.window = (now_ns, 0);
        }
        let (_, count) = &mut self.window;
        *count += 1;
        *count <= HOPS_PER_WINDOW
    }

    /// Assembles an exchange, and says of which control group it is; where that is, is not in it yet.
    pub fn assemble(
        &mut self,
        context: &ExchangeContext<'_>,
        processes: &Processes,
        exchange: decoders::Exchange,
    ) -> (u64, v1::Exchange) {
        let decoders::Exchange {
            protocol,
            side,
            tls,
            request,
            response,
            operation,
            target,
            status,
            error,
            attributes,
            handshake,
            announced,
            reason,
        } = exchange;
        let path = Path::of(context, side, request.as_ref(), response.as_ref(), self.socket_hops);
        let Path { timing, pid, mut hops, place, zero_windows } = path;
        if !self.has_room_for_hops(context.last_ns) {
            hops.clear();
        }
        // One mark is a moment, and what was not answered has not ended: neither has a known time.
        let is_timed = (response.is_some() || context.span.is_some()) && timing.marks > 1;
        let process = processes.get(pid);
        let cgroup = if process.cgroup == 0 { context.caller.cgroup } else { process.cgroup };
        self.counter += 1;
        let (request_direction, response_direction) = directions(side);
        let exchange = v1::Exchange {
            id: self.base.id(self.counter),
            connection_id: context.connection.id,
            start_ns: self.clock.epoch(timing.start_ns),
            protocol: protocol.to_owned(),
            side: i32::from(match side {
                Side::Client => v1::Side::Client,
                Side::Server => v1::Side::Server,
            }),
            encryption: i32::from(if tls { v1::Encryption::Unread } else { v1::Encryption::None }),
            coordinate: i32::from(match context.connection.coordinate {
                layout::coordinate::SEQUENCE => v1::Coordinate::Sequence,
                layout::coordinate::COUNTER => v1::Coordinate::Counter,
                _ => v1::Coordinate::Unspecified,
            }),
            origin: Some(v1::Origin {
                node: self.node.clone(),
                pid,
                comm: process.comm.clone(),
                ..v1::Origin::default()
            }),
            local: Some(endpoint(context, context.connection.local, context.connection.local_port)),
            remote: Some(endpoint(context, context.connection.remote, context.connection.remote_port)),
            operation: cut(operation, OPERATION_CHARS),
            target: cut(target, NAME_CHARS),
            status: cut(status, NAME_CHARS),
            error,
            request: request.map(|part| message(context, self.clock, request_direction, part)),
            response: response.map(|part| message(context, self.clock, response_direction, part)),
            segments: is_timed.then_some(timing.segments),
            hops: hops.iter().map(|hop| hop_of(hop, timing.start_ns, &process.comm)).collect(),
            retransmits: context.retransmits,
            connect_ns: context.opening.map(|Span { begun_ns, ended_ns }| ended_ns.saturating_sub(begun_ns)),
            zero_windows,
            // The two sides are compared by their hops.
            place: place
                .filter(|_| !hops.is_empty())
                .map(|(request, response)| v1::Place { request, response }),
            ways: None,
            sample_weight: self.sample_weight,
            attributes: attributes
                .into_iter()
                .map(|(name, value)| v1::Attribute { name: name.to_owned(), value })
                .collect(),
            clamped: is_timed && timing.clamped,
            handshake,
            announced: announced.map(announced_end),
            reason: i32::from(match reason {
                Some(Reason::Unreadable) => v1::Reason::Unreadable,
                None => v1::Reason::Unspecified,
            }),
        };
        (cgroup, exchange)
    }
}

fn message(
    context: &ExchangeContext<'_>,
    clock: Clock,
    direction: usize,
    message: decoders::Message,
) -> v1::Message {
    let bytes = message.bytes();
    let decoders::Message { start, end, datagram: _, plain_bytes, payload, truncated } = message;
    let calls = context.calls.get(direction);
    let time = |call: &Call| if direction == OUT { call.enter_ns } else { call.exit_ns };
    let syscalls = calls.map(|calls| calls.listed(start, end, &clock, time)).unwrap_or_default();
    v1::Message { bytes, plain_bytes, payload, truncated, syscalls }
}

/// Returns a hop as the wire has it.
fn hop_of(hop: &Hop, start_ns: u64, comm: &str) -> v1::Hop {
    let Hop { at_ns, place, out, request, bytes } = *hop;
    let (kind, name, netns) = match place {
        HopPlace::Process => (v1::HopPlace::Process, comm.to_owned(), 0),
        HopPlace::Nic(interface) => (v1::HopPlace::Nic, interface.name(), interface.netns),
        HopPlace::Socket => (v1::HopPlace::Socket, String::new(), 0),
    };
    v1::Hop {
        at_ns: at_ns.cast_signed().wrapping_sub(start_ns.cast_signed()),
        place: kind.into(),
        name,
        netns,
        direction: i32::from(if out { v1::HopDirection::Out } else { v1::HopDirection::In }),
        message: i32::from(if request { v1::HopMessage::Request } else { v1::HopMessage::Response }),
        bytes,
    }
}

fn endpoint(context: &ExchangeContext<'_>, address: [u8; 16], port: u16) -> v1::Endpoint {
    let len = if context.connection.family == 4 { 4 } else { 16 };
    v1::Endpoint {
        address: address.get(..len).unwrap_or_default().to_vec(),
        port: u32::from(port),
        ..v1::Endpoint::default()
    }
}

/// The end that a proxy announced; an address of version 4 in version 6's form is the one of version 4.
fn announced_end(announced: SocketAddr) -> v1::Endpoint {
    let address = match announced.ip().to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    v1::Endpoint { address, port: u32::from(announced.port()), ..v1::Endpoint::default() }
}

/// Cuts a text after so many characters.
fn cut(mut text: String, chars: usize) -> String {
    if let Some((index, _)) = text.char_indices().nth(chars) {
        text.truncate(index);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Caller;
    use crate::direction::IN;
    use crate::fixtures;
    use crate::marks::Calls;

    #[test]
    fn of_very_many_exchanges_the_first_carry_their_hops_and_a_moment_later_others_do() {
        const BEGIN: u64 = 5 * WINDOW_NS;
        let mut assembler = Assembler::new(String::new(), 1, 1);
        let mut carried = |at_ns, count: u32| {
            (0..count).map(|_| u32::from(assembler.has_room_for_hops(at_ns))).sum::<u32>()
        };
        assert_eq!(carried(BEGIN, HOPS_PER_WINDOW + 9), HOPS_PER_WINDOW);
        assert_eq!(carried(BEGIN + WINDOW_NS - 1, 1), 0);
        assert_eq!(carried(BEGIN + WINDOW_NS, HOPS_PER_WINDOW + 1), HOPS_PER_WINDOW);
    }

    fn call(start: u64, end: u64, enter_ns: u64, exit_ns: u64, pid: u32) -> Call {
        Call { start, end, enter_ns, exit_ns, bytes: end - start, pid }
    }

    fn part(start: u64, end: u64) -> decoders::Message {
        decoders::Message {
            start,
            end,
            datagram: None,
            plain_bytes: None,
            payload: Vec::new(),
            truncated: false,
        }
    }

    fn exchange(
        side: Side,
        request: Option<decoders::Message>,
        response: Option<decoders::Message>,
    ) -> decoders::Exchange {
        decoders::Exchange {
            protocol: "http",
            side,
            tls: false,
            request,
            response,
            operation: "é".repeat(1_000),
            target: String::new(),
            status: "200".to_owned(),
            error: false,
            attributes: vec![("method", "GET".to_owned())],
            handshake: false,
            announced: None,
            reason: None,
        }
    }

    fn assemble(calls: &[Calls; 2], exchange: decoders::Exchange) -> v1::Exchange {
        let connection = fixtures::connection(9);
        let context = ExchangeContext {
            connection: &connection,
            calls,
            caller: Caller { pid: 1, cgroup: 0 },
            last_ns: 5,
            span: None,
            packets: None,
            shifts: [0; 2],
            retransmits: None,
            opening: None,
        };
        let mut assembler = Assembler::new("here".to_owned(), 3 << 40, 10);
        assembler.assemble(&context, &Processes::default(), exchange).1
    }

    #[test]
    fn a_server_is_timed_from_read_to_write_and_owned_by_the_writer() {
        let mut calls = <[Calls; 2]>::default();
        calls[IN].push(call(100, 150, 10, 20, 7));
        calls[IN].push(call(150, 200, 21, 30, 7));
        calls[IN].push(call(200, 260, 500, 600, 7));
        calls[OUT].push(call(0, 10, 130, 140, 8));
        calls[OUT].push(call(10, 90, 141, 150, 8));
        let done = assemble(&calls, exchange(Side::Server, Some(part(100, 260)), Some(part(0, 90))));
        let segments = done.segments.unwrap();
        assert_eq!(segments.total_ns, 130);
        assert_eq!(
            (segments.queue_ns, segments.internal_ns, segments.send_ns),
            (Some(10), Some(100), Some(20)),
            "the part of the request that came after the answer began does not count"
        );
        assert_eq!(done.origin.unwrap().pid, 8);
        assert_eq!(done.id, (3 << 40) | 1);
        assert_eq!(done.operation.chars().count(), OPERATION_CHARS);
        let request = done.request.unwrap();
        assert_eq!((request.bytes, request.syscalls.len()), (160, 3));
        assert_eq!(done.local.unwrap().address, [127, 0, 0, 1]);
        assert_eq!(done.sample_weight, 10);
    }

    #[test]
    fn a_client_without_answer_has_a_start_and_no_time() {
        let mut calls = <[Calls; 2]>::default();
        calls[OUT].push(call(0, 10, 130, 140, 8));
        let done = assemble(&calls, exchange(Side::Client, Some(part(0, 10)), None));
        assert_eq!(done.segments, None, "unknown is absent, never 0");
        assert!(done.response.is_none());
        assert!(done.start_ns > 0);
        assert_eq!(done.origin.unwrap().pid, 8);
    }

    #[test]
    fn an_exchange_without_marks_is_still_one() {
        let done = assemble(&Default::default(), exchange(Side::Client, None, Some(part(0, 10))));
        assert_eq!(done.response.unwrap().bytes, 10);
        assert_eq!(done.origin.unwrap().pid, 1);
        assert_eq!(done.segments, None);
    }

    #[test]
    fn what_the_decoders_found_out_is_carried() {
        let plain = assemble(&Default::default(), exchange(Side::Server, Some(part(0, 10)), None));
        assert!(!plain.handshake && plain.announced.is_none());
        assert_eq!(plain.reason(), v1::Reason::Unspecified);
        for (announced, address, port) in [
            ("203.0.113.7:5000", vec![203, 0, 113, 7], 5000),
            ("[::ffff:203.0.113.7]:1", vec![203, 0, 113, 7], 1),
            ("[2001:db8::1]:65535", vec![0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 65535),
        ] {
            let found = decoders::Exchange {
                handshake: true,
                announced: Some(announced.parse().unwrap()),
                reason: Some(Reason::Unreadable),
                ..exchange(Side::Server, Some(part(0, 10)), None)
            };
            let done = assemble(&Default::default(), found);
            let end = done.announced.clone().unwrap();
            assert_eq!((end.address, end.port), (address, port), "{announced}");
            assert!(done.handshake);
            assert_eq!(done.reason(), v1::Reason::Unreadable);
        }
    }

    #[test]
    fn a_time_that_has_no_end_is_unknown() {
        let mut calls = <[Calls; 2]>::default();
        calls[IN].push(call(0, 10, 10, 20, 7));
        calls[IN].push(call(10, 20, 30, 40, 7));
        let open = assemble(&calls, exchange(Side::Server, Some(part(0, 20)), None));
        assert_eq!(open.segments, None, "a server that read and never answered");
        calls[OUT].push(call(0, 10, 50, 50, 7));
        let pushed = assemble(&calls, exchange(Side::Server, None, Some(part(0, 10))));
        let segments = pushed.segments.unwrap();
        assert_eq!((segments.total_ns, segments.send_ns), (0, Some(0)), "two marks at one moment are a time");
        let lone = assemble(&calls, exchange(Side::Client, None, Some(part(0, 10))));
        assert_eq!(lone.segments, None, "one mark is none");
    }
}
