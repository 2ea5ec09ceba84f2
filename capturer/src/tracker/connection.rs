//! One connection: its streams, its conversation, and which calls carried what.

use std::sync::Arc;

use capturer_ebpf::layout::{self, flag, transport};
use decoders::{Context, Conversation, Direction, Framing, Options, Side, Transport, Verdict, registry};

use super::leaving::Leaving;
use super::stream::{CallEvent, Fate, Sink, Stream};
use super::{Caller, ExchangeContext};
use crate::direction::{IN, OUT};
use crate::ledger::Events;
use crate::marks::{Call, Calls};
use crate::packets::{Packets, Seen};

/// A skip shorter than this is not worth a call into the kernel: payload is cut to a budget anyway.
const WORTH_SKIPPING: u64 = 16 << 10;

/// A connection that is decoded.
pub(super) struct Tracked {
    pub(super) connection: layout::Connection,
    /// Who used it last.
    pub(super) caller: Caller,
    /// When it was last used.
    pub(super) last_ns: u64,
    /// Absent for datagrams.
    pub(super) stream: Option<Stream>,
    pub(super) decoding: Decoding,
    /// Exchanges whose end is still to leave this machine.
    pub(super) leaving: Leaving,
    /// Whether it is followed from somewhere within, though the kernel counted from its beginning.
    late: bool,
}

/// What the streams of a connection feed.
pub(super) struct Decoding {
    pub(super) conversation: Conversation,
    pub(super) calls: [Calls; 2],
    /// What to add to a position to get the kernel's counter, by direction.
    offsets: [u64; 2],
    reached: [u64; 2],
    skipping: [u64; 2],
    /// The protocol that `framing` is of, as the kernel was told.
    protocol: Option<&'static str>,
    framing: layout::Framing,
    /// Bytes of a message that are wanted.
    keep: usize,
    /// The kernel's counts where it was begun late, by direction.
    bases: [Option<u64>; 2],
    /// Calls delivered that may yet turn out to be unparsable.
    readable: u64,
}

/// A conversation and where the fates of its calls are counted.
struct Feed<'a> {
    decoding: &'a mut Decoding,
    events: &'a mut Events,
}

// === impl Tracked ===

impl Tracked {
    pub(super) fn new(
        connection: layout::Connection,
        caller: Caller,
        side: Option<Side>,
        options: Arc<Options>,
        late: bool,
    ) -> Self {
        let datagrams = connection.transport == transport::UDP;
        let context = Context {
            transport: if datagrams { Transport::Udp } else { Transport::Tcp },
            side,
            local_port: connection.local_port,
            remote_port: connection.remote_port,
            from_start: connection.role != layout::role::UNKNOWN && !late,
        };
        let keep = options.payload_bytes;
        Self {
            connection,
            caller,
            last_ns: 0,
            stream: (!datagrams).then(|| Stream::new(&connection)),
            decoding: Decoding {
                conversation: Conversation::new(context, options),
                calls: [0; 2].map(|_| if datagrams { Calls::of_datagrams() } else { Calls::default() }),
                offsets: [0; 2],
                reached: [0; 2],
                skipping: [0; 2],
                protocol: None,
                framing: layout::Framing::default(),
                keep,
                readable: 0,
                bases: [None; 2],
            },
            leaving: Leaving::default(),
            late,
        }
    }

    /// Takes an event; `now_ns` is the time up to which all events were taken.
    pub(super) fn take(
        &mut self,
        connection: &layout::Connection,
        mut event: CallEvent,
        now_ns: u64,
        crowded: bool,
        events: &mut Events,
    ) {
        self.connection = *connection;
        self.caller = event.caller();
        self.last_ns = self.last_ns.max(event.exit_ns);
        if self.late {
            event.counter = self.decoding.rebased(event.direction, event.counter);
        }
        let mut feed = Feed { decoding: &mut self.decoding, events };
        match &mut self.stream {
            Some(stream) => {
                stream.coordinate(connection, now_ns, &mut feed);
                stream.take(event, now_ns, &mut feed);
                if crowded {
                    stream.advance(now_ns, true, &mut feed);
                }
            }
            None => feed.datagram(&event),
        }
    }

    /// Ends waits that are over, or all of them.
    pub(super) fn advance(&mut self, now_ns: u64, force: bool, events: &mut Events) {
        if let Some(stream) = &mut self.stream {
            stream.advance(now_ns, force, &mut Feed { decoding: &mut self.decoding, events });
        }
    }

    /// Returns what an exchange found now is found on.
    pub(super) fn context<'a>(&'a self, packets: Option<&'a Seen>) -> ExchangeContext<'a> {
        let Self { connection, caller, last_ns, decoding, stream, .. } = self;
        let shifts = stream.as_ref().map_or([0; 2], Stream::shifts);
        ExchangeContext {
            connection,
            calls: &decoding.calls,
            caller: *caller,
            last_ns: *last_ns,
            span: None,
            // Packets know sequence numbers and nothing else.
            packets: packets.filter(|_| connection.coordinate == layout::coordinate::SEQUENCE),
            shifts,
            retransmits: None,
            opening: None,
        }
    }

    /// Forgets the calls and packets that no later exchange can need.
    pub(super) fn prune(&mut self, packets: Option<&mut Packets>) {
        if !self.leaving.is_empty() {
            return;
        }
        let [sent, received] = self.decoding.prune();
        let [out, inward] = self.stream.as_ref().map_or([0; 2], Stream::shifts);
        if let Some(packets) = packets {
            let floor = |position: Option<u64>, shift| position.map(|position| number(position, shift));
            packets.prune(self.connection.id, [floor(sent, out), floor(received, inward)]);
        }
    }

    /// Returns how many calls wait.
    pub(super) fn pending_calls(&self) -> u64 {
        self.stream.as_ref().map_or(0, |stream| stream.pending().0 as u64)
    }

    pub(super) fn pending_bytes(&self) -> usize {
        self.stream.as_ref().map_or(0, |stream| stream.pending().1)
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::is_waiting)
    }
}

// === impl Decoding ===

impl Decoding {
    /// Returns a count of the kernel's as one from where the connection was begun.
    fn rebased(&mut self, direction: usize, counter: u64) -> u64 {
        let Some(base) = self.bases.get_mut(direction) else { return counter };
        counter.saturating_sub(*base.get_or_insert(counter))
    }

    /// Forgets the calls that no later exchange can need; returns up to where that is, by direction, where anything was seen
    /// of it.
    fn prune(&mut self) -> [Option<u64>; 2] {
        let floors = [Direction::Out, Direction::In].map(|direction| self.conversation.floor(direction));
        for (calls, floor) in self.calls.iter_mut().zip(floors) {
            calls.prune(floor);
        }
        // What is not reached is not answered either: its packets came first.
        let [out, inward] = floors;
        let [sent, received] = self.reached;
        let seen = |floor: u64, reached: u64| (reached > 0).then(|| floor.min(reached));
        [seen(out, sent), seen(inward, received)]
    }

    /// Counts one call as unreadable, if one is left that could be.
    pub(super) fn unparsable(&mut self, events: &mut Events) {
        if self.readable > 0 {
            self.readable -= 1;
            events.unparsable += 1;
        }
    }

    /// Returns what the kernel is to be told, if that is new.
    pub(super) fn decision(&mut self) -> Option<layout::Verdict> {
        let mut framing = self.framing;
        let (mode, skip_until) = match self.conversation.verdict() {
            Verdict::Ignore => {
                return Some(layout::Verdict { mode: layout::verdict::IGNORE, ..layout::Verdict::default() });
            }
            Verdict::Undecided { skip_until } => (layout::verdict::UNDECIDED, skip_until),
            Verdict::Trace { protocol, skip_until } => {
                if self.protocol != Some(protocol) {
                    self.protocol = Some(protocol);
                    framing = framing_of(protocol, self.keep);
                }
                (layout::verdict::TRACE, skip_until)
            }
        };
        let mut news = framing != self.framing;
        self.framing = framing;
        for direction in [OUT, IN] {
            let (Some(until), Some(reached), Some(offset), Some(base), Some(skipping)) = (
                skip_until.get(direction),
                self.reached.get(direction),
                self.offsets.get(direction),
                self.bases.get(direction),
                self.skipping.get_mut(direction),
            ) else {
                continue;
            };
            let counter = |position: u64| position.wrapping_add(*offset).wrapping_add(base.unwrap_or(0));
            match until {
                Some(until) if until.saturating_sub(*reached) >= WORTH_SKIPPING => {
                    news |= counter(*until) > *skipping;
                    *skipping = (*skipping).max(counter(*until));
                }
                Some(_) => {}
                // What was to be passed over is wanted after all.
                None => {
                    news |= *skipping > counter(*reached);
                    *skipping = if *skipping > counter(*reached) { 0 } else { *skipping };
                }
            }
        }
        news.then_some(layout::Verdict { mode, framing, skip_until: self.skipping })
    }
}

// === impl Feed ===

impl Feed<'_> {
    fn datagram(&mut self, event: &CallEvent) {
        let CallEvent { enter_ns, exit_ns, moved, counter, pid, .. } = *event;
        let call = Call { start: counter, end: counter + 1, enter_ns, exit_ns, bytes: moved, pid };
        if let Some(calls) = self.decoding.calls.get_mut(event.direction) {
            calls.push(call);
        }
        let front = event.payload.front();
        let len = front.len().min(usize::try_from(moved).unwrap_or(usize::MAX));
        let bytes = front.get(..len).unwrap_or_default();
        self.decoding.conversation.datagram(direction(event.direction), counter, event.at_ns(), bytes, moved);
        self.fate(event, Fate::Placed);
    }
}

impl Sink for Feed<'_> {
    fn call(&mut self, direction: usize, call: Call, counter: u64) {
        if let (Some(calls), Some(offset), Some(reached)) = (
            self.decoding.calls.get_mut(direction),
            self.decoding.offsets.get_mut(direction),
            self.decoding.reached.get_mut(direction),
        ) {
            *offset = counter.wrapping_sub(call.start);
            *reached = call.end;
            calls.push(call);
        }
    }

    fn bytes(&mut self, index: usize, position: u64, at_ns: u64, bytes: &[u8]) {
        self.decoding.conversation.bytes(direction(index), position, at_ns, bytes);
    }

    fn skipped(&mut self, index: usize, position: u64, at_ns: u64, len: u64) {
        self.decoding.conversation.skipped(direction(index), position, at_ns, len);
    }

    fn gap(&mut self, index: usize, position: u64, at_ns: u64, len: Option<u64>) {
        self.decoding.conversation.gap(direction(index), position, at_ns, len);
    }

    fn fate(&mut self, event: &CallEvent, fate: Fate) {
        // The kernel has counted it as lost already.
        if event.flags & flag::FAULT != 0 {
            return;
        }
        let events = &mut *self.events;
        match fate {
            Fate::Placed => {
                events.placed += 1;
                self.decoding.readable += 1;
            }
            Fate::Unanchored => events.unanchored += 1,
            Fate::Late => events.gap += 1,
        }
    }
}

/// Returns how the kernel can follow a protocol's messages, of each of which `keep` bytes are wanted.
fn framing_of(protocol: &str, keep: usize) -> layout::Framing {
    let found = registry().iter().find(|entry| entry.name == protocol);
    let units = u64::try_from(keep).unwrap_or(u64::MAX).div_ceil(layout::framing::UNIT);
    let keep = u8::try_from(units).unwrap_or(u8::MAX);
    match found.map_or(Framing::Hidden, |entry| entry.framing) {
        Framing::Hidden => layout::Framing::default(),
        Framing::Lines => {
            layout::Framing { kind: layout::framing::LINES, keep, ..layout::Framing::default() }
        }
        Framing::Prefixed { header, at, width, big_endian, beyond } => layout::Framing {
            kind: layout::framing::PREFIXED,
            header,
            at,
            width,
            beyond,
            big_endian: u8::from(big_endian),
            keep,
        },
    }
}

/// Returns the sequence number of a position.
pub(super) fn number(position: u64, shift: u64) -> u32 {
    let [_, _, _, _, low @ ..] = position.wrapping_add(shift).to_be_bytes();
    u32::from_be_bytes(low)
}

fn direction(index: usize) -> Direction {
    if index == OUT { Direction::Out } else { Direction::In }
}
