//! Whether bytes are DNS: a message has no mark of its own, so its whole structure must fit.
//!
//! Three others write messages of the same form, and are not DNS: NetBIOS names (RFC 1002), which gives type numbers
//! other meanings, multicast DNS (RFC 6762) and LLMNR (RFC 4795), which ask neighbours and expect no answer.

use super::message::{DnsHeader, HEADER, INVERSE, QUERY, Question, STATEFUL};
use super::{iana, name, record};
use crate::decoder::{Evidence, Probe, Side};
use crate::reader::Reader;

/// A datagram of at least so many bytes may be cut by the capture: its records need not all be there.
const WHOLE_BYTES: usize = 512;

/// Bytes of a stream in which a message shows what it is, though it may be longer.
const ENOUGH_BYTES: usize = 2048;

/// Bytes of the length before each message of a stream (RFC 1035, section 4.2.2).
const PREFIX_BYTES: usize = 2;

/// Classes in use: Internet, Chaos, Hesiod, none, any.
const CLASSES: [u16; 5] = [1, 3, 4, 254, 255];

/// The highest opcode that is assigned; 3 is not.
const OPCODES: u16 = 6;

/// Where NetBIOS names are asked for.
const NETBIOS_PORT: u16 = 137;

/// Where multicast DNS is spoken. Servers of DNS proper listen there too, as those of OpenShift do.
const MULTICAST_PORT: u16 = 5353;

/// Where LLMNR is spoken.
const LINK_LOCAL_PORT: u16 = 5355;

/// The types that NetBIOS means by other names: 32 is NB, 33 is NBSTAT.
const NETBIOS_TYPES: [u16; 2] = [32, 33];

/// The part of a message that is judged.
#[derive(Clone, Copy, Debug)]
struct Part<'a> {
    bytes: &'a [u8],
    /// Bytes of the message; those of a datagram may be more.
    length: usize,
    /// Whether more of it can still come.
    growing: bool,
    /// Whether it lies in a stream, behind its length.
    streamed: bool,
}

/// What stands in a message.
#[derive(Debug)]
struct Content {
    header: DnsHeader,
    questions: Vec<Question>,
    /// Whose the first record is, and its type.
    first: Option<(String, u16)>,
    /// Whether a record carries extensions.
    extended: bool,
    /// Whether all records are of types and classes in use.
    usual: bool,
    end: End,
}

/// Where a message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Where its records do.
    Exact,
    /// Behind its records.
    Trailing,
    /// Before all of it is there.
    Cut,
}

/// Tells whether a stream's first bytes are a message behind its length.
pub(super) fn stream(evidence: &Evidence<'_>) -> Probe {
    let Some(length) = Reader::new(evidence.head, 0).u16().map(usize::from) else { return Probe::NeedMore };
    if length < HEADER {
        return Probe::No;
    }
    let behind = evidence.head.get(PREFIX_BYTES..).unwrap_or_default();
    let (bytes, growing) = match behind.get(..length) {
        Some(whole) => (whole, false),
        None => (behind, behind.len() < ENOUGH_BYTES),
    };
    judge(evidence, Part { bytes, length, growing, streamed: true })
}

/// Tells whether a datagram is a message.
pub(super) fn datagram(evidence: &Evidence<'_>) -> Probe {
    let length = if evidence.head.len() < WHOLE_BYTES { evidence.head.len() } else { usize::MAX };
    judge(evidence, Part { bytes: evidence.head, length, growing: false, streamed: false })
}

fn judge(evidence: &Evidence<'_>, part: Part<'_>) -> Probe {
    let more = if part.growing { Probe::NeedMore } else { Probe::No };
    let mut reader = Reader::new(part.bytes, 0);
    let Some(header) = DnsHeader::read(&mut reader) else { return more };
    let sound = header.is_sound(evidence.sender) && header.opcode() <= OPCODES && header.opcode() != 3;
    if !sound || !header.fits(part.length) || is_other_port(evidence.port) {
        return Probe::No;
    }
    let Some(content) = Content::read(header, &mut reader, part) else { return more };
    let foreign = content.is_netbios() || !part.streamed && content.is_multicast(evidence.port);
    if foreign || content.questions.iter().any(|question| !is_plausible(question)) {
        return Probe::No;
    }
    if content.end == End::Cut && part.growing {
        return Probe::NeedMore;
    }
    content.judge(evidence, part.streamed)
}

/// Says whether what is spoken at a server's port has the form of DNS and is not DNS.
fn is_other_port(port: u16) -> bool {
    matches!(port, NETBIOS_PORT | LINK_LOCAL_PORT)
}

fn is_plausible(question: &Question) -> bool {
    question.kind != 0 && CLASSES.contains(&question.class)
}

/// Says whether a name is one that only neighbours answer for: `printer.local`, `_ipp._tcp.local`.
fn is_link_local(name: &str) -> bool {
    let mut labels = name.rsplit('.');
    let local = labels.next().is_some_and(|label| label.eq_ignore_ascii_case("local"));
    let next = labels.next().unwrap_or_default();
    local && (labels.next().is_none() || next.starts_with('_'))
}

// === impl Content ===

impl Content {
    /// Reads what stands behind a header; absent where a question or record is damaged, or not all there and needed.
    fn read<'a>(header: DnsHeader, reader: &mut Reader<'a>, part: Part<'a>) -> Option<Self> {
        let mut content = Self {
            header,
            questions: Vec::new(),
            first: None,
            extended: false,
            usual: true,
            end: End::Exact,
        };
        for _ in 0..header.questions {
            content.questions.push(Question::read(reader, part.bytes)?);
        }
        for _ in header.records() {
            let Some(record) = record::read(reader, part.bytes) else {
                let cut = part.growing || part.bytes.len() >= WHOLE_BYTES && part.bytes.len() < part.length;
                content.end = End::Cut;
                return cut.then_some(content);
            };
            content.extended |= record.is_extension();
            let usual = iana::known_type(record.kind).is_some() && CLASSES.contains(&record.class);
            content.usual &= usual || record.is_extension();
            content.first.get_or_insert_with(|| (record.name(part.bytes), record.kind));
        }
        if header.opcode() == STATEFUL {
            while reader.at() < part.bytes.len() {
                let (_, length) = (reader.u16()?, reader.u16()?);
                reader.take(usize::from(length))?;
            }
        }
        if reader.at() < part.bytes.len() {
            content.end = End::Trailing;
        }
        Some(content)
    }

    /// Says whether a name of NetBIOS is meant.
    fn is_netbios(&self) -> bool {
        let asked = self.questions.iter().map(|question| (&*question.name, question.kind));
        let told = self.first.iter().map(|(name, kind)| (&**name, *kind));
        asked.chain(told).any(|(name, kind)| NETBIOS_TYPES.contains(&kind) && name::is_netbios(name))
    }

    /// Says whether neighbours are asked, or one answers: without an identifier (RFC 6762, section 18.1), or for a name
    /// of theirs.
    fn is_multicast(&self, port: u16) -> bool {
        if !matches!(port, 0 | MULTICAST_PORT) || self.header.opcode() != QUERY {
            return false;
        }
        let unnumbered = self.header.id == 0 && !self.header.wants_recursion();
        let mut names = self.questions.iter().map(|question| &question.name);
        unnumbered || port == MULTICAST_PORT && names.any(|name| is_link_local(name))
    }

    /// Judges a message that can be read.
    fn judge(&self, evidence: &Evidence<'_>, streamed: bool) -> Probe {
        let Self { header, questions, first, extended, usual, end } = self;
        let asks = evidence.sender == Side::Client;
        match questions.as_slice() {
            // Stateful operations have values instead, of a length that must fit.
            [] if header.opcode() == STATEFUL && *end == End::Exact => Probe::Maybe,
            // Inverse queries have an answer instead.
            [] if asks && header.opcode() == INVERSE && first.is_some() => weak(*usual && *end == End::Exact),
            // Other queries without a question are mistakes, of which a server's port tells.
            [] if asks => weak(evidence.usual_port && *end == End::Exact),
            // Later messages of a zone transfer repeat no question.
            [] if streamed && first.is_some() && *usual && *end != End::Trailing => Probe::Yes,
            [] => weak(*end != End::Trailing),
            // Much that is binary and mostly zero could ask for the root.
            [only] if only.name == "." && !extended && !header.wants_recursion() && !evidence.usual_port => {
                Probe::Maybe
            }
            [only] if *end == End::Trailing && !evidence.usual_port => {
                weak(iana::known_type(only.kind).is_some())
            }
            [_] => Probe::Yes,
            _ => weak(*end != End::Trailing || evidence.usual_port),
        }
    }
}

fn weak(fits: bool) -> Probe {
    if fits { Probe::Maybe } else { Probe::No }
}
