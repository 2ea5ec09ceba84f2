//! The packets that all of the protocol is made of: three bytes length, a sequence number, a body.

use crate::sql::frame::{Frame, Header, NoHeader};

/// The longest body of one packet; a body of this length goes on in the next packet.
pub(super) const MAX_BODY: usize = 0x00ff_ffff;

/// The start of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    pub(super) sequence: u8,
    /// The length of the body.
    pub(super) length: usize,
    /// The captured start of the body.
    pub(super) head: &'a [u8],
}

// === impl Packet ===

impl<'a> Packet<'a> {
    /// Looks at a packet that was cut from the stream.
    pub(super) fn new(frame: &'a Frame<'_>) -> Self {
        let length = usize::try_from(frame.length).unwrap_or(usize::MAX);
        Self { sequence: frame.tag, length, head: &frame.head }
    }

    /// Tells whether the body goes on in the next packet.
    pub(super) fn is_continued(&self) -> bool {
        self.length == MAX_BODY
    }

    /// Tells whether not all of the body was captured.
    pub(super) fn is_cut(&self) -> bool {
        self.head.len() < self.length
    }

    /// Returns the first byte of the body, which says what a packet is.
    pub(super) fn kind(&self) -> Option<u8> {
        self.head.first().copied()
    }

    /// Returns the body behind its first byte.
    pub(super) fn body(&self) -> &'a [u8] {
        self.head.get(1..).unwrap_or_default()
    }
}

/// Reads length and sequence number.
pub(super) fn header(bytes: &[u8]) -> Option<(usize, u8)> {
    let [a, b, c, sequence] = bytes.first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes([*a, *b, *c, 0])).ok()?;
    Some((length, *sequence))
}

/// Reads the header of the packet at the start of `bytes`.
pub(super) fn frame_header(bytes: &[u8]) -> Result<Header, NoHeader> {
    let (length, tag) = header(bytes).ok_or(NoHeader::NeedMore(4))?;
    Ok(Header { tag, bytes: 4, body: u64::try_from(length).unwrap_or(0) })
}
