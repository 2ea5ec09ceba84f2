//! HTTP/1.0 and 1.1: every method, chunked bodies both ways, interim responses, pipelining; upgrades end decoding, and in
//! a tunnel another conversation begins.
//!
//! Source: RFC 9112 (message syntax) and RFC 9110 (semantics).

mod body;
mod detect;
mod head;
mod line;
mod request;
mod response;
mod resync;
mod shown;
#[cfg(test)]
mod tests;

use crate::conversation::Transport;
use crate::decoder::{Decoder, Event, Options, Probe, Side, Step};
use crate::queue::Queue;
use crate::registry::{Comparison, Field, Framing, Protocol, Statuses};
use head::{Head, Lines, OpenHead};
use request::{Method, RequestTraits, Upload};
use response::{OpenResponse, Telling};

pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "http",
    title: "HTTP/1",
    summary: "HTTP/1.0 and 1.1: all methods, chunked bodies, pipelining; an upgrade ends decoding, a tunnel is looked into",
    ports: &[80, 8080],
    transports: &[Transport::Tcp],
    fields: &[
        Field { name: "method", flag: "method", help: "Request methods", comparison: Comparison::Caseless },
        Field {
            name: "host",
            flag: "host",
            help: "Values of the Host header",
            comparison: Comparison::Caseless,
        },
        Field {
            name: "path",
            flag: "path",
            help: "Exact paths, without the query",
            comparison: Comparison::Exact,
        },
        Field {
            name: "path",
            flag: "path-prefix",
            help: "Beginnings of paths",
            comparison: Comparison::Prefix,
        },
        Field {
            name: "path",
            flag: "path-regex",
            help: "Regular expression on paths",
            comparison: Comparison::Regex,
        },
    ],
    statuses: Statuses {
        fits: line::is_status,
        allowed: "has numbers from 100 to 999 and the classes 1xx to 9xx",
        words: &[],
    },
    framing: Framing::Hidden,
    probe: detect::judge,
    open: |options, from_start| Box::new(Http::new(options, from_start)),
    datagrams: None,
};

/// Whether a client asks a proxy for a tunnel: what passes in it may be any protocol.
pub(crate) fn asks_for_a_tunnel(head: &[u8]) -> bool {
    head.starts_with(b"CONNECT ")
}

/// Decodes one connection.
#[derive(Debug)]
struct Http {
    options: Options,
    client: Half,
    server: Half,
    /// The open request's body.
    upload: Option<Upload>,
    /// What was left of a body passes, or has passed, unread.
    passed: bool,
    /// The open response, of which the head is read.
    reply: Option<OpenResponse>,
    pending: Queue<RequestTraits>,
    /// Whether every request that waits is remembered: nothing was lost, or turns were taken since.
    certain: bool,
    /// What the engine is to be told of the client's open message before a response is read.
    telling: Telling,
    /// What the rest of the connection is, once that is no HTTP/1.
    beyond: Option<Beyond>,
}

/// What follows HTTP/1 on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beyond {
    /// Another protocol: an upgrade, or bytes of a program.
    Other,
    /// What passes through a proxy (RFC 9110, section 9.3.6).
    Tunnel,
}

/// What is known of one side's messages.
#[derive(Debug, Default)]
struct Half {
    head: OpenHead,
    /// A head that was answered before its end: what is left of it passes.
    answered: bool,
    /// A body that cannot be read goes on; text in it is no message. What the other side says next shows its end.
    held: bool,
    /// What is read next does not begin a call.
    mid_call: bool,
}

// === impl Http ===

impl Http {
    fn new(options: &Options, from_start: bool) -> Self {
        // Of a connection that was open before, what looks like a head may lie within a body.
        let half = || Half { head: OpenHead::new(!from_start), ..Half::default() };
        Self {
            options: options.clone(),
            client: half(),
            server: half(),
            upload: None,
            passed: false,
            reply: None,
            pending: Queue::default(),
            certain: from_start,
            telling: Telling::default(),
            beyond: None,
        }
    }

    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn read(&mut self, from: Side, bytes: &[u8]) -> Step {
        if self.half(from).held {
            return Step::Malformed;
        }
        let body = match from {
            Side::Client => match self.read_upload(bytes) {
                None => self.pass_answered(bytes),
                step => step,
            },
            Side::Server => self.read_reply(bytes),
        };
        match body {
            Some(step) => step,
            None => self.read_head(from, bytes),
        }
    }

    fn read_head(&mut self, from: Side, bytes: &[u8]) -> Step {
        // Nothing is read behind it, so it is the newest.
        let newest = self.pending.back();
        if from == Side::Client && newest.is_some_and(|asked| asked.method == Method::Connect) {
            // The proxy's answer says whether it is another request, or said in the tunnel.
            return Step::NeedMore { at_least: bytes.len().saturating_add(1) };
        }
        if self.half(from).head.is_empty() {
            // Empty lines before a message are tolerated (RFC 9112, section 2.2).
            let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            if empty > 0 {
                return take(empty, Event::Discard);
            }
            if let Some(step) = self.judge_front(from, bytes) {
                return step;
            }
        }
        let head = &mut self.half(from).head;
        let doubtful = head.doubtful;
        match head.read(bytes) {
            Lines::Open(consumed) => take(consumed, Event::Part),
            Lines::Ended(consumed) => self.begin(from, consumed, true),
            Lines::Broken(_) if doubtful => {
                head.forget();
                Step::Malformed
            }
            Lines::Broken(consumed) => {
                let step = self.begin(from, consumed, false);
                self.hold(from);
                step
            }
        }
    }

    /// Judges the front where no head is open; absent where one begins.
    fn judge_front(&mut self, from: Side, bytes: &[u8]) -> Option<Step> {
        let wait = Step::NeedMore { at_least: bytes.len().saturating_add(1) };
        let long = bytes.len() > line::MAX_LINE;
        let OpenHead { doubtful, cut, .. } = self.half(from).head;
        match line::judge(from, bytes, doubtful) {
            Probe::Yes if cut && from == Side::Client && !line::is_known(bytes) => Some(Step::Malformed),
            Probe::Yes if from == Side::Server && self.must_tell(bytes) => Some(take(0, Event::Discard)),
            Probe::Yes => None,
            Probe::NeedMore | Probe::Maybe if !long => {
                let word = memchr::memchr(b' ', bytes).is_none();
                let head = &mut self.half(from).head;
                (head.begun, head.cut) = (true, cut || doubtful && word);
                Some(wait)
            }
            Probe::No if from == Side::Client => Some(self.strange(bytes)),
            Probe::NeedMore | Probe::Maybe | Probe::No => Some(Step::Malformed),
        }
    }

    /// Begins the message whose head was read; `whole` says that all of it was.
    fn begin(&mut self, from: Side, consumed: usize, whole: bool) -> Step {
        let bytes = self.half(from).head.take();
        let head = Head::parse(&bytes);
        let event = match from {
            Side::Client => self.begin_request(&head, whole),
            Side::Server => self.begin_response(&head, whole),
        };
        event.map_or(Step::Malformed, |event| take(consumed, event))
    }

    /// Forgets what of this side is half read.
    fn forget(&mut self, side: Side) {
        let half = self.half(side);
        half.head.forget();
        half.answered = false;
        match side {
            Side::Client => (self.upload, self.passed) = (None, false),
            Side::Server => (self.reply, self.telling) = (None, Telling::default()),
        }
    }

    /// A body of this side goes on that cannot be read.
    fn hold(&mut self, side: Side) {
        match side {
            Side::Client => self.client.held = !self.pending.is_empty(),
            Side::Server => self.server.held = self.pending.is_empty(),
        }
        // Each would wait for the other.
        if self.client.held && self.server.held {
            (self.client.held, self.server.held) = (false, false);
        }
    }
}

impl Decoder for Http {
    fn decode(&mut self, from: Side, bytes: &[u8]) -> Step {
        let step = self.read(from, bytes);
        match step {
            Step::Malformed => self.half(from).mid_call = bytes.len() > 1,
            Step::Take { .. } => self.half(from).mid_call = false,
            Step::NeedMore { .. } => {}
        }
        step
    }

    fn unseen(&mut self, from: Side, len: u64) -> u64 {
        match from {
            Side::Client => self.upload.as_mut().map_or(0, |upload| {
                upload.expecting = false;
                upload.body.unseen(len)
            }),
            Side::Server => self.reply.as_mut().map_or(0, |reply| reply.body.unseen(len)),
        }
    }

    fn lost(&mut self, from: Side) {
        self.half(from).mid_call = false;
        let within = match from {
            Side::Client => self.upload.as_ref().is_some_and(|upload| !upload.answered),
            Side::Server => self.reply.is_some(),
        };
        if within {
            self.hold(from);
        }
        self.forget(from);
        self.pending.clear();
        self.certain = false;
    }

    fn garbled(&mut self, from: Side) -> bool {
        if from == Side::Server {
            let mid_call = self.server.mid_call;
            self.lost(from);
            self.server.mid_call = mid_call;
            return false;
        }
        self.forget(from);
        true
    }

    fn is_request_open(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| !upload.expecting)
    }

    fn resync(&mut self, from: Side, bytes: &[u8]) -> Option<usize> {
        let half = self.half(from);
        half.head.doubtful = true;
        let front = !std::mem::take(&mut half.mid_call);
        // What comes next begins a call, and is looked at by itself.
        let nothing = Some(bytes.len());
        if half.held { nothing } else { resync::find(from, bytes, front).or(nothing) }
    }

    fn completed(&mut self, from: Side) -> Option<Event> {
        match from {
            Side::Client => self.tell(),
            Side::Server => {
                // A client that asks again has the whole answer to what it asked before.
                let blind = self.reply.as_ref().is_some_and(|reply| reply.body.is_blind());
                let over = blind && !self.pending.is_empty() || self.done();
                if over { self.reply.take().map(|reply| reply.end(true)) } else { None }
            }
        }
    }

    fn finish(&mut self, from: Side) -> Option<Event> {
        match from {
            Side::Client if self.upload.is_some() => {
                self.upload.take().map(|upload| Event::Amend(upload.rest(false)))
            }
            Side::Server if self.reply.is_some() => {
                let whole = self.reply.as_ref()?.body.ends_with_connection();
                self.reply.take().map(|reply| reply.end(whole))
            }
            Side::Client | Side::Server => {
                let head = &mut self.half(from).head;
                if head.is_empty() || head.doubtful {
                    return None;
                }
                let bytes = head.take();
                let head = Head::parse(&bytes);
                match from {
                    Side::Client => self.begin_request(&head, false),
                    Side::Server => self.begin_response(&head, false),
                }
            }
        }
    }

    fn done(&self) -> bool {
        self.beyond.is_some()
    }

    fn is_tunnel(&self) -> bool {
        self.beyond == Some(Beyond::Tunnel)
    }
}

fn take(consumed: usize, event: Event) -> Step {
    Step::Take { consumed, skip: 0, event }
}
