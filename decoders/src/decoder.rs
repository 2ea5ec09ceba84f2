//! What every protocol gives the engine: how its bytes become requests, responses and pushes.

/// Requests of one connection that wait for their responses: more than any client pipelines. Of those beyond only their
/// places are kept (`Queue`), by the engine and by each decoder.
pub(crate) const MAX_PENDING: usize = 64 * 1024;

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The end that asks.
    Client,
    /// The end that answers.
    Server,
}

/// What a conversation keeps, hides and looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Payload bytes kept per message.
    pub payload_bytes: usize,
    /// What is replaced by `[redacted]`.
    pub redaction: Redaction,
    /// Protocols looked for, by registry name; empty is all.
    pub protocols: Vec<String>,
}

/// What is replaced by `[redacted]` before anything leaves the decoders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    /// Off keeps secrets in the clear.
    pub enabled: bool,
    /// Further HTTP header names, lower case.
    pub headers: Vec<String>,
}

// === impl Options ===

impl Options {
    /// Whether a protocol is looked for.
    pub(crate) fn wants(&self, protocol: &str) -> bool {
        self.protocols.is_empty() || self.protocols.iter().any(|name| name == protocol)
    }
}

/// What a probe is told of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'a> {
    /// The side whose bytes are judged.
    pub sender: Side,
    /// Its first bytes; of a connection that was open before, its bytes from the beginning of a call on.
    pub head: &'a [u8],
    /// The other side's first bytes, empty while it is silent; of a connection that was open before, what it sent after
    /// `head` began.
    pub other: &'a [u8],
    /// Whether `head` and `other` are the first bytes of the connection.
    pub from_start: bool,
    /// Whether the sender spoke before the other side did; means something only with `from_start`.
    pub spoke_first: bool,
    /// Whether the server's port is one of the protocol's usual ones.
    pub usual_port: bool,
    /// The server's port, 0 when unknown: what other protocols are known to be spoken there.
    pub port: u16,
}

/// Whether the first bytes that one side sent are a protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// They are, and other protocols do not begin so.
    Yes,
    /// They may be, but so may another protocol's: the other side's bytes decide, which must be `Yes` or `Maybe` too.
    Maybe,
    /// They are not, whatever follows: whoever claims the connection by what the other side sent is wrong.
    No,
    /// More bytes are needed to say.
    NeedMore,
}

/// What a decoder made of the front of the bytes that one side sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// `consumed` bytes are read, and the `skip` bytes behind them are not needed: they pass, captured or not, before
    /// the next call for this side.
    Take {
        /// Bytes read.
        consumed: usize,
        /// Further bytes that pass unread.
        skip: u64,
        /// What the bytes read and skipped are, or complete.
        event: Event,
    },
    /// Nothing can be read before so many bytes are there; a hint, more than are there now.
    NeedMore {
        /// Bytes to wait for.
        at_least: usize,
    },
    /// These bytes are not this protocol's: the engine looks for the next place where it can go on.
    Malformed,
}

/// What taken bytes are. A message begins at the first byte taken since this side's last whole message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Part of this side's open message.
    Part,
    /// The end of a request that will be answered.
    Request(Request),
    /// The end of the newest request, of which [`Event::Request`] told the beginning so that an early answer finds it:
    /// payload, size and truncation are replaced.
    Amend(Rest),
    /// The end of an answer: to the oldest request, or to the one with the same key.
    Response(Response),
    /// The end of a message that nobody asked for.
    Push(Response),
    /// The end of a request that will not be answered.
    Single(Request),
    /// The oldest waiting request gets no message, and this outcome.
    Unanswered(Response),
    /// Bytes of the client that lengthen the newest request: data that it announced, or answers within a log-in. Bytes
    /// of the server that belong to no response.
    Extend,
    /// Bytes of no message: greetings, empty lines, interim responses. The open message is forgotten.
    Discard,
}

// === impl Event ===

impl Event {
    /// Returns what pairs a request with its response, where that is not their order.
    pub(crate) fn key(&self) -> Option<u64> {
        match self {
            Self::Request(request) => request.key,
            Self::Response(response) | Self::Unanswered(response) => response.key,
            Self::Part | Self::Amend(_) | Self::Push(_) | Self::Single(_) | Self::Extend | Self::Discard => {
                None
            }
        }
    }
}

/// What a request says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    /// One line: `GET /orders/7`.
    pub operation: String,
    /// Host, database or topic; empty when none.
    pub target: String,
    /// Fields that filters test.
    pub attributes: Vec<(&'static str, String)>,
    /// Text to show, or raw bytes; at most the payload limit.
    pub payload: Vec<u8>,
    /// Whether the payload was shortened or partly unseen.
    pub truncated: bool,
    /// Size of the decoded content where it differs from the stream's bytes.
    pub plain_bytes: Option<u64>,
    /// What its response repeats; absent where responses come in the order of requests.
    pub key: Option<u64>,
    /// Outcome of a request that nobody answers by a message: `TLS`.
    pub status: String,
    /// Whether the connection continues encrypted.
    pub tls: bool,
    /// Whether a client library sends it by itself when it connects, to find out what the server can do.
    pub handshake: bool,
}

/// What the end of a request adds to its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rest {
    /// Text to show, or raw bytes, of the whole request; at most the payload limit.
    pub payload: Vec<u8>,
    /// Whether the payload was shortened or partly unseen.
    pub truncated: bool,
    /// Size of the decoded content where it differs from the stream's bytes.
    pub plain_bytes: Option<u64>,
}

/// What a response says.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Response {
    /// Outcome by the protocol's own word.
    pub status: String,
    /// Whether that is an error.
    pub error: bool,
    /// Of a push: whether no request is ever answered by such a message. Before the first request is seen, others may
    /// be the answer to one that was sent earlier.
    pub by_itself: bool,
    /// Text to show, or raw bytes; at most the payload limit.
    pub payload: Vec<u8>,
    /// Whether the payload was shortened or partly unseen.
    pub truncated: bool,
    /// Size of the decoded content where it differs from the stream's bytes.
    pub plain_bytes: Option<u64>,
    /// A better operation than the request's, or that of a push.
    pub operation: Option<String>,
    /// A better target than the request's.
    pub target: Option<String>,
    /// What the request said as the server took it, where that is not what it seemed to say.
    pub request: Option<Vec<u8>>,
    /// Further fields that filters test.
    pub attributes: Vec<(&'static str, String)>,
    /// The key of its request.
    pub key: Option<u64>,
    /// Whether the connection continues encrypted.
    pub tls: bool,
    /// Corrects [`Request::handshake`] where only the answer tells: a wrong password is an error in a handshake, too.
    pub handshake: Option<bool>,
}

/// Decodes one connection, both sides, in the order in which calls moved the bytes.
pub(crate) trait Decoder: Send {
    /// Reads the front of the bytes that `from` sent and that no earlier step took.
    fn decode(&mut self, from: Side, bytes: &[u8]) -> Step;

    /// Says how many of `len` bytes, which come next from this side but were never captured, it can do without, and
    /// counts those as read.
    fn unseen(&mut self, from: Side, len: u64) -> u64 {
        let (_, _) = (from, len);
        0
    }

    /// Bytes of this side are lost: what was half read is forgotten, and so are requests that wait.
    fn lost(&mut self, from: Side);

    /// Bytes of this side came and could not be read: what was half read of it is forgotten. Returns whether requests that
    /// were read whole still wait for their responses; where they cannot be told from what follows, they are forgotten as
    /// after a loss.
    fn garbled(&mut self, from: Side) -> bool {
        self.lost(from);
        false
    }

    /// Whether the newest request was told before its end, and more of it is expected: its answer may come earlier.
    fn is_request_open(&self) -> bool {
        false
    }

    /// Finds the first place in the bytes of this side where reading can go on after a loss.
    fn resync(&mut self, from: Side, bytes: &[u8]) -> Option<usize>;

    /// After each step: completes a message of `from` that only what the other side sent then could end.
    fn completed(&mut self, from: Side) -> Option<Event> {
        let _ = from;
        None
    }

    /// The connection ended: completes a message that only this could end.
    fn finish(&mut self, from: Side) -> Option<Event> {
        let _ = from;
        None
    }

    /// Whether the rest of the connection is another protocol, or none.
    fn done(&self) -> bool {
        false
    }

    /// Once it is done: whether the rest is a conversation of its own between client and server, from its first byte on.
    fn is_tunnel(&self) -> bool {
        false
    }
}
