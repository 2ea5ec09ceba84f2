//! Streams straight into the decoders: no kernel, no root, no sockets.

use std::sync::Arc;

use decoders::{Context, Conversation, Direction, Exchange, Options, Outcome, Redaction, Side, Transport};

use super::spoken::Spoken;
use super::spoken::ours::OurRow;
use super::streams::{Body, Piece, Stream};

/// Payload bytes kept per message, as captures do by default.
const PAYLOAD_BYTES: usize = 1024;

/// How streams are fed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Feeding {
    /// Which end is observed.
    pub(super) side: Side,
    /// Longest piece that is handed over at once.
    pub(super) chunk: Option<usize>,
    /// Index of the first piece that the capture sees.
    pub(super) first: usize,
}

/// Decodes a stream and says what came out.
pub(super) fn decode(stream: &Stream, feeding: Feeding) -> Spoken {
    let mut feed = Feed::new(stream, feeding);
    for (index, piece) in stream.pieces.iter().enumerate() {
        if index < feeding.first {
            feed.pass(piece);
        } else {
            feed.piece(piece, feeding.chunk.unwrap_or(usize::MAX).max(1));
        }
    }
    if stream.closed && stream.transport == Transport::Tcp {
        feed.conversation.end(feed.now_ns);
    } else {
        feed.conversation.stop();
    }
    feed.spoken()
}

struct Feed {
    conversation: Conversation,
    /// Position of the next byte or datagram, out first.
    positions: [u64; 2],
    /// By direction: the lengths of the datagrams, since their positions are ordinals.
    datagrams: [Vec<u64>; 2],
    transport: Transport,
    side: Side,
    now_ns: u64,
}

// === impl Feed ===

impl Feed {
    fn new(stream: &Stream, feeding: Feeding) -> Self {
        let (local, remote) = match feeding.side {
            Side::Client => (stream.client, stream.server),
            Side::Server => (stream.server, stream.client),
        };
        // A connection that was open before the capture does not say who opened it, nor does a socket for datagrams.
        let from_start = stream.opened && feeding.first == 0;
        let known = from_start && stream.transport == Transport::Tcp;
        let context = Context {
            transport: stream.transport,
            side: known.then_some(feeding.side),
            local_port: local.port(),
            remote_port: remote.port(),
            from_start,
        };
        // Both sides of the comparison show what was sent.
        let redaction = Redaction { enabled: false, headers: Vec::new() };
        let options = Options { payload_bytes: PAYLOAD_BYTES, redaction, protocols: Vec::new() };
        Self {
            conversation: Conversation::new(context, Arc::new(options)),
            positions: [0; 2],
            datagrams: Default::default(),
            transport: stream.transport,
            side: feeding.side,
            now_ns: 0,
        }
    }

    fn direction(&self, from: Side) -> (Direction, usize) {
        if from == self.side { (Direction::Out, 0) } else { (Direction::In, 1) }
    }

    /// Counts what was sent before the capture began.
    fn pass(&mut self, piece: &Piece) {
        let (_, index) = self.direction(piece.from);
        match &piece.body {
            Body::Bytes(bytes) => self.positions[index] += length(bytes),
            Body::Hole(missing) => self.positions[index] += missing,
            Body::Datagram(..) => {}
        }
    }

    fn piece(&mut self, piece: &Piece, chunk: usize) {
        let (direction, index) = self.direction(piece.from);
        self.now_ns = piece.at_ns;
        match &piece.body {
            Body::Bytes(bytes) => {
                for part in bytes.chunks(chunk) {
                    self.conversation.bytes(direction, self.positions[index], self.now_ns, part);
                    self.positions[index] += length(part);
                }
            }
            Body::Hole(missing) => {
                self.conversation.gap(direction, self.positions[index], self.now_ns, Some(*missing));
                self.positions[index] += missing;
            }
            Body::Datagram(bytes, whole) => {
                self.conversation.expire(self.now_ns);
                self.conversation.datagram(direction, self.positions[index], self.now_ns, bytes, *whole);
                self.positions[index] += 1;
                self.datagrams[index].push(*whole);
            }
        }
    }

    fn spoken(mut self) -> Spoken {
        let mut spoken = Spoken::default();
        let mut exchanges = Vec::new();
        while let Some(outcome) = self.conversation.take() {
            match outcome {
                Outcome::Exchange(exchange) => exchanges.push(exchange),
                Outcome::Unparsable { bytes, .. } => spoken.unparsable += bytes,
                Outcome::Unpaired => spoken.unpaired += 1,
                Outcome::Gap => spoken.gaps += 1,
            }
        }
        // Datagrams are completed in the order of their answers; the comparison is in the order of each end's words.
        exchanges.sort_by_key(|exchange| exchange.request.as_ref().map(|request| request.start));
        for exchange in &exchanges {
            let bytes = self.size(exchange, true);
            row(exchange).ask(spoken.conversation(exchange.protocol), bytes);
        }
        exchanges.sort_by_key(|exchange| exchange.response.as_ref().map(|response| response.start));
        for exchange in &exchanges {
            let bytes = self.size(exchange, false);
            row(exchange).answer(spoken.conversation(exchange.protocol), bytes);
        }
        spoken
    }

    /// Returns how many bytes a message has on the wire.
    fn size(&self, exchange: &Exchange, request: bool) -> Option<u64> {
        let message = if request { exchange.request.as_ref() } else { exchange.response.as_ref() }?;
        if self.transport == Transport::Tcp {
            return Some(message.end - message.start);
        }
        let outward = (exchange.side == Side::Client) == request;
        let lengths = &self.datagrams[usize::from(!outward)];
        usize::try_from(message.start).ok().and_then(|ordinal| lengths.get(ordinal)).copied()
    }
}

// === free functions ===

fn row(exchange: &Exchange) -> OurRow<'_> {
    OurRow {
        protocol: exchange.protocol,
        operation: &exchange.operation,
        status: &exchange.status,
        error: exchange.error,
        asked: exchange.request.is_some(),
        answered: exchange.response.is_some(),
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
