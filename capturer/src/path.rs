//! The path of an exchange: which marks were observed of it, and every place where it was seen.
//!
//! Calls give the marks in the process, packets those outside. All positions are those of the stream; packets know sequence
//! numbers, between which lies what was no byte of the stream (`shifts`).

use decoders::{Message, Side};

use crate::context::ExchangeContext;
use crate::direction::{IN, OUT};
use crate::marks::Call;
use crate::packets::{Crossing, Interface, Passage};
use crate::segments::{ClientMarks, ServerMarks, Span, Timing};

/// What is known of an exchange's way and time.
#[derive(Clone, Debug, Default)]
pub struct Path {
    /// Its time, cut at the marks.
    pub timing: Timing,
    /// The process whose call carried the local side's message.
    pub pid: u32,
    /// Where it was seen, in time order.
    pub hops: Vec<Hop>,
    /// Sequence numbers of the first bytes of request and response, where the stream has some.
    pub place: Option<(u32, u32)>,
    /// How often a receiver had no room meanwhile; `None` where packets were not seen.
    pub zero_windows: Option<u32>,
}

/// One place where an exchange was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// When its first byte was, `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
    /// What place.
    pub place: HopPlace,
    /// Whether it goes out there: a call writes, an interface sends.
    pub out: bool,
    /// Whether it is the request.
    pub request: bool,
    /// Bytes of the message that were seen there.
    pub bytes: u64,
}

/// A place on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HopPlace {
    /// The process.
    Process,
    /// A network interface.
    Nic(Interface),
    /// The socket that the process reads from.
    Socket,
}

/// One message of an exchange with what was seen of its direction.
#[derive(Clone, Copy)]
struct Part<'a> {
    message: &'a Message,
    direction: usize,
    context: &'a ExchangeContext<'a>,
    passage: Option<&'a Passage>,
}

/// Returns the directions of request and response.
#[must_use]
pub fn directions(side: Side) -> (usize, usize) {
    match side {
        Side::Client => (OUT, IN),
        Side::Server => (IN, OUT),
    }
}

/// Returns the messages of an exchange by whose they are: the local end's, and its peer's.
#[must_use]
pub fn sides<'a>(
    side: Side,
    request: Option<&'a Message>,
    response: Option<&'a Message>,
) -> (Option<&'a Message>, Option<&'a Message>) {
    match side {
        Side::Client => (request, response),
        Side::Server => (response, request),
    }
}

/// Returns whether the end of an exchange is still to cross the interface that its request came by.
#[must_use]
pub fn is_under_way(
    context: &ExchangeContext<'_>,
    side: Side,
    request: Option<&Message>,
    response: Option<&Message>,
) -> bool {
    if side != Side::Server {
        return false;
    }
    let Some((request, response)) = parts(context, side, request, response) else { return false };
    let Some((interface, _)) = outermost(context, side, request, |_| true) else { return false };
    let crossing = response.passage.and_then(|passage| passage.crossing(&interface, true));
    crossing.and_then(|crossing| response.last_at(crossing)).is_none()
}

// === impl Path ===

impl Path {
    /// Finds the path of an exchange; `with_socket` asks for the socket as a place of its own.
    #[must_use]
    pub fn of<'a>(
        context: &'a ExchangeContext<'a>,
        side: Side,
        request: Option<&'a Message>,
        response: Option<&'a Message>,
        with_socket: bool,
    ) -> Self {
        if let Some(Span { begun_ns, ended_ns }) = context.span {
            let timing = waited(side, begun_ns, ended_ns).unwrap_or_default();
            return Self { timing, pid: context.caller.pid, ..Self::default() };
        }
        let (request_direction, response_direction) = directions(side);
        let request = Part::new(context, request, request_direction);
        let response = Part::new(context, response, response_direction);
        let boundary = boundary(context, side, request, response);
        let timing = match side {
            Side::Client => client(request, response, boundary).timing(),
            Side::Server => server(request, response, boundary).timing(),
        };
        let timing = timing.unwrap_or(Timing { start_ns: context.last_ns, ..Timing::default() });
        let (asked, answer) = (request.and_then(Part::first_call), response.and_then(Part::first_call));
        let answered = response.and_then(Part::last_call);
        let local = match side {
            Side::Client => asked.or(answered),
            Side::Server => answer.or(answered).or(asked),
        };
        let mut hops = Vec::new();
        for (part, is_request) in [(request, true), (response, false)] {
            if let Some(part) = part {
                part.hops(is_request, with_socket, &mut hops);
            }
        }
        hops.sort_by_key(|hop| hop.at_ns);
        let until_ns = timing.start_ns + timing.segments.total_ns;
        let zero_windows = context.packets.map(|seen| {
            let both = [OUT, IN].into_iter().filter_map(|direction| seen.passage(direction));
            both.map(|passage| passage.zero_windows(timing.start_ns, until_ns)).sum()
        });
        let place = match (request, response) {
            (Some(request), Some(response)) if context.is_sequenced() => {
                Some((request.seq(request.message.start), response.seq(response.message.start)))
            }
            _ => None,
        };
        Self { timing, pid: local.map_or(context.caller.pid, |call| call.pid), hops, place, zero_windows }
    }
}

/// Returns the time of a connection over which nothing went: a client waited for the network, a server to receive.
fn waited(side: Side, begun_ns: u64, ended_ns: u64) -> Option<Timing> {
    let (begun, ended) = (Some(begun_ns), Some(ended_ns));
    match side {
        Side::Client => {
            ClientMarks { nic_out: begun, nic_in_first: ended, ..ClientMarks::default() }.timing()
        }
        Side::Server => ServerMarks { first_in: begun, socket_in: ended, ..ServerMarks::default() }.timing(),
    }
}

// === boundary ===

fn parts<'a>(
    context: &'a ExchangeContext<'a>,
    side: Side,
    request: Option<&'a Message>,
    response: Option<&'a Message>,
) -> Option<(Part<'a>, Part<'a>)> {
    let (request_direction, response_direction) = directions(side);
    Some((Part::new(context, request, request_direction)?, Part::new(context, response, response_direction)?))
}

/// Returns the boundary NIC: the outermost interface outside the peer's namespace that both messages crossed.
fn boundary(
    context: &ExchangeContext<'_>,
    side: Side,
    request: Option<Part<'_>>,
    response: Option<Part<'_>>,
) -> Option<Interface> {
    let (request, response) = (request?, response?);
    let passage = response.passage?;
    let answered = |interface: &Interface| {
        let crossing = passage.crossing(interface, side == Side::Server);
        crossing.and_then(|crossing| response.first_at(crossing)).is_some()
    };
    outermost(context, side, request, answered).map(|(interface, _)| interface)
}

/// Returns the outermost of the interfaces that the request's first byte crossed on its way out or in.
fn outermost(
    context: &ExchangeContext<'_>,
    side: Side,
    request: Part<'_>,
    answered: impl Fn(&Interface) -> bool,
) -> Option<(Interface, u64)> {
    let seen = context.packets?;
    let transmit = side == Side::Client;
    let candidates = request.passage?.crossings().iter().filter_map(|crossing| {
        let at_ns = request.first_at(crossing)?;
        let counts = crossing.transmit == transmit && !seen.is_peers_own(&crossing.interface);
        (counts && answered(&crossing.interface)).then_some((crossing.interface, at_ns))
    });
    match side {
        Side::Client => candidates.max_by_key(|(_, at_ns)| *at_ns),
        Side::Server => candidates.min_by_key(|(_, at_ns)| *at_ns),
    }
}

// === marks ===

fn client(request: Option<Part<'_>>, response: Option<Part<'_>>, boundary: Option<Interface>) -> ClientMarks {
    let asked = request.and_then(Part::first_call);
    let answered = response.and_then(Part::last_call);
    let incoming = response.and_then(|part| part.crossing(boundary?, false));
    let outgoing = request.and_then(|part| part.crossing(boundary?, true));
    let nic_in_first = response.and_then(|part| part.first_at(incoming?));
    ClientMarks {
        write_enter: request.zip(asked).map(|(part, call)| part.written(call)),
        nic_out: request.and_then(|part| part.last_before(outgoing?, nic_in_first.unwrap_or(u64::MAX))),
        nic_in_first,
        nic_in_last: response.and_then(|part| part.last_at(incoming?)),
        socket_in: response.and_then(|part| part.in_socket(part.message.end, answered)),
        copy: None,
        read_enter: answered.and_then(Call::entered),
        read_exit: answered.map(|call| call.exit_ns),
    }
}

fn server(request: Option<Part<'_>>, response: Option<Part<'_>>, boundary: Option<Interface>) -> ServerMarks {
    let asked = request.and_then(Part::first_call);
    let answer = response.and_then(Part::first_call);
    let answered = response.and_then(Part::last_call);
    let incoming = request.and_then(|part| part.crossing(boundary?, false));
    let outgoing = response.and_then(|part| part.crossing(boundary?, true));
    let last_read = request.and_then(|part| part.read_before(answer));
    let first_in = request.and_then(|part| {
        let at_nic = incoming.and_then(|crossing| part.first_at(crossing));
        at_nic.or_else(|| part.in_socket(part.message.start + 1, asked))
    });
    ServerMarks {
        first_in: first_in.or(asked.map(|call| call.exit_ns)),
        // Without a packet the first mark is the read itself, after which nothing arrives.
        socket_in: request.and_then(|part| {
            first_in?;
            part.in_socket(last_read?.end.min(part.message.end), last_read)
        }),
        read_exit: last_read.map(|call| call.exit_ns),
        write_enter: response.zip(answer).map(|(part, call)| part.written(call)),
        last_out: response.and_then(|part| part.last_at(outgoing?)).or(answered.map(|call| call.exit_ns)),
    }
}

// === impl Part ===

impl<'a> Part<'a> {
    fn new(context: &'a ExchangeContext<'a>, message: Option<&'a Message>, direction: usize) -> Option<Self> {
        let passage = context.packets.and_then(|seen| seen.passage(direction));
        Some(Self { message: message?, direction, context, passage })
    }

    // === calls ===

    fn call_at(self, position: u64) -> Option<&'a Call> {
        self.context.calls.get(self.direction)?.at(position)
    }

    fn first_call(self) -> Option<&'a Call> {
        self.call_at(self.message.start)
    }

    fn last_call(self) -> Option<&'a Call> {
        self.call_at(self.last())
    }

    /// Returns the last read of the request that returned before the response was written.
    fn read_before(self, answer: Option<&Call>) -> Option<&'a Call> {
        let limit = answer.map_or(u64::MAX, |call| call.enter_ns);
        let reads = self.context.calls.get(self.direction)?.within(self.message.start, self.message.end);
        reads.filter(|call| call.exit_ns <= limit).max_by_key(|call| call.exit_ns)
    }

    /// Returns when the call that wrote its first byte began: where that was not seen, when the byte left, and at the latest
    /// when the call returned.
    fn written(self, call: &Call) -> u64 {
        let sent = || {
            let crossings = self.passage?.crossings().iter().filter(|crossing| crossing.transmit);
            crossings.filter_map(|crossing| self.first_at(crossing)).min()
        };
        call.entered().or_else(sent).map_or(call.exit_ns, |begun_ns| begun_ns.min(call.exit_ns))
    }

    fn last(self) -> u64 {
        self.message.end.saturating_sub(1).max(self.message.start)
    }

    // === packets ===

    /// Returns the sequence number of a position of the stream.
    fn seq(self, position: u64) -> u32 {
        let shift = self.context.shifts.get(self.direction).copied().unwrap_or_default();
        let [_, _, _, _, low @ ..] = position.wrapping_add(shift).to_be_bytes();
        u32::from_be_bytes(low)
    }

    /// Returns a position of the stream as packets count it.
    fn place(self, position: u64) -> Option<u64> {
        Some(self.passage?.position(self.seq(position)))
    }

    fn range(self) -> Option<(u64, u64)> {
        let start = self.place(self.message.start)?;
        Some((start, start + (self.message.end - self.message.start).max(1)))
    }

    fn crossing(self, interface: Interface, transmit: bool) -> Option<&'a Crossing> {
        self.passage?.crossing(&interface, transmit)
    }

    /// Returns when the first byte crossed.
    fn first_at(self, crossing: &Crossing) -> Option<u64> {
        crossing.at(self.place(self.message.start)?)
    }

    /// Returns when the last byte crossed.
    fn last_at(self, crossing: &Crossing) -> Option<u64> {
        crossing.at(self.place(self.last())?)
    }

    /// Returns when the last byte crossed of those that did so before a time.
    fn last_before(self, crossing: &Crossing, limit_ns: u64) -> Option<u64> {
        let (start, end) = self.range()?;
        crossing.last_before(start, end, limit_ns)
    }

    /// Returns when all bytes before a position were in the socket; `read` is the call that took the last of them.
    fn in_socket(self, position: u64, read: Option<&Call>) -> Option<u64> {
        let at_ns = self.passage?.in_socket(self.place(position)?)?;
        // What was read before came unseen: that is the arrival of later bytes.
        read.is_none_or(|read| at_ns <= read.exit_ns).then_some(at_ns)
    }

    // === hops ===

    fn hops(self, request: bool, with_socket: bool, hops: &mut Vec<Hop>) {
        let out = self.direction == OUT;
        if let Some(call) = self.first_call() {
            let at_ns = if out { call.enter_ns } else { call.exit_ns };
            let bytes = self.message.bytes();
            hops.push(Hop { at_ns, place: HopPlace::Process, out, request, bytes });
        }
        let (Some(passage), Some((start, end))) = (self.passage, self.range()) else { return };
        for crossing in passage.crossings() {
            if let Some(at_ns) = crossing.at(start) {
                let (place, bytes) = (HopPlace::Nic(crossing.interface), crossing.bytes(start, end));
                hops.push(Hop { at_ns, place, out: crossing.transmit, request, bytes });
            }
        }
        if with_socket
            && !out
            && let Some(at_ns) = self.in_socket(self.message.start + 1, self.first_call())
        {
            hops.push(Hop { at_ns, place: HopPlace::Socket, out, request, bytes: end - start });
        }
    }
}

#[cfg(test)]
mod tests;
