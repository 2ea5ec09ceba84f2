//! Cuts a stream into packets that announce their length, and keeps of each only its start.

use std::borrow::Cow;

use crate::decoder::{Event, Step};

/// Least bytes of a packet that are looked at, whatever the payload's limit: log-ins and column definitions fit.
const MIN_HEAD: usize = 16 * 1024;

/// Most bytes of a packet that are looked at.
const MAX_HEAD: usize = 256 * 1024;

/// What a packet announces of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The sequence number or the type.
    pub(crate) tag: u8,
    /// Bytes of the header.
    pub(crate) bytes: usize,
    /// Bytes behind the header.
    pub(crate) body: u64,
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHeader {
    /// So many bytes are needed.
    NeedMore(usize),
    /// No packet begins like this.
    Malformed,
}

/// A packet whose end is known.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    /// The sequence number or the type.
    pub(crate) tag: u8,
    /// The length of the body.
    pub(crate) length: u64,
    /// The start of the body.
    pub(crate) head: Cow<'a, [u8]>,
    /// How many bytes of those given belong to it.
    pub(crate) consumed: usize,
    /// How many bytes behind those belong to it and are not needed.
    pub(crate) skip: u64,
}

/// Why there is no complete packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoFrame {
    /// So many bytes are needed.
    NeedMore(usize),
    /// All bytes given, as many as this, are the start of a packet.
    Part(usize),
    /// No packet begins like this.
    Malformed,
}

/// Collects the packets of one side, whatever pieces they come in.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    header: Header,
    head: Vec<u8>,
    /// Bytes of the body that came, captured or not.
    seen: u64,
    /// Some of those were not captured: what follows them is of no use.
    holed: bool,
}

// === impl Frames ===

impl Frames {
    /// Takes bytes that follow those taken before.
    pub(crate) fn take<'a>(
        &mut self,
        bytes: &'a [u8],
        limit: usize,
        read: impl Fn(&[u8]) -> Result<Header, NoHeader>,
    ) -> Result<Frame<'a>, NoFrame> {
        let limit = limit.clamp(MIN_HEAD, MAX_HEAD);
        let Some(mut open) = self.open.take() else {
            let header = match read(bytes) {
                Ok(header) => header,
                Err(NoHeader::NeedMore(at_least)) => return Err(NoFrame::NeedMore(at_least)),
                Err(NoHeader::Malformed) => return Err(NoFrame::Malformed),
            };
            let wanted = header.wanted(limit);
            let body = bytes.get(header.bytes..).unwrap_or_default();
            if let Some(head) = body.get(..wanted) {
                let skip = header.body.saturating_sub(length(wanted));
                let consumed = header.bytes.saturating_add(wanted);
                return Ok(Frame {
                    tag: header.tag,
                    length: header.body,
                    head: Cow::Borrowed(head),
                    consumed,
                    skip,
                });
            }
            self.open = Some(Open { header, head: body.to_vec(), seen: length(body.len()), holed: false });
            return Err(NoFrame::Part(bytes.len()));
        };
        let wanted = if open.holed { open.head.len() } else { open.header.wanted(limit) };
        let more = wanted.saturating_sub(open.head.len());
        let part = bytes.get(..more).unwrap_or(bytes);
        open.head.extend_from_slice(part);
        open.seen = open.seen.saturating_add(length(part.len()));
        if open.head.len() < wanted {
            self.open = Some(open);
            return Err(if bytes.is_empty() { NoFrame::NeedMore(1) } else { NoFrame::Part(bytes.len()) });
        }
        Ok(Frame {
            tag: open.header.tag,
            length: open.header.body,
            head: Cow::Owned(open.head),
            consumed: part.len(),
            skip: open.header.body.saturating_sub(open.seen),
        })
    }

    /// Counts bytes that were not captured; returns how many belong to the open packet.
    pub(crate) fn unseen(&mut self, len: u64) -> u64 {
        let Some(open) = &mut self.open else { return 0 };
        let taken = len.min(open.header.body.saturating_sub(open.seen));
        open.seen = open.seen.saturating_add(taken);
        open.holed |= taken > 0;
        taken
    }

    /// Tells whether a packet is half read.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Forgets an unfinished packet.
    pub(crate) fn clear(&mut self) {
        self.open = None;
    }
}

// === impl NoFrame ===

impl NoFrame {
    /// Returns what a decoder answers.
    pub(crate) fn step(self) -> Step {
        match self {
            Self::NeedMore(at_least) => Step::NeedMore { at_least },
            Self::Part(consumed) => Step::Take { consumed, skip: 0, event: Event::Part },
            Self::Malformed => Step::Malformed,
        }
    }
}

// === impl Header ===

impl Header {
    fn wanted(&self, limit: usize) -> usize {
        usize::try_from(self.body).map_or(limit, |body| body.min(limit))
    }
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
