//! One DNS message: header, question, and its records as text (RFC 1035, section 4.1).

use super::{name, record};
use crate::decoder::{Probe, Side};
use crate::reader::Reader;

/// A message of at least so many bytes may be cut by the capture: its records need not all be there to be recognised.
const MAY_BE_CUT: usize = 512;

/// Classes in use: Internet, Chaos, Hesiod, none, any.
const CLASSES: [u16; 5] = [1, 3, 4, 254, 255];

const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;
const RESERVED: u16 = 0x0040;
const AUTHENTIC: u16 = 0x0020;
const CHECKING_DISABLED: u16 = 0x0010;
const RCODE: u16 = 0x000f;

/// What queries leave unset.
const ANSWER_ONLY: u16 = AUTHORITATIVE | TRUNCATED | RECURSION_AVAILABLE | RCODE;

/// The first 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: u16,
    flags: u16,
    questions: u16,
    answers: u16,
    authorities: u16,
    additionals: u16,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) name: String,
    pub(super) kind: u16,
    pub(super) class: u16,
}

/// A message as shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) header: Header,
    pub(super) question: Option<Question>,
    /// The response code, with the part that the extension carries.
    pub(super) rcode: u16,
    /// Header, question and records, one a line.
    pub(super) text: Vec<u8>,
    /// Whether the text is not the whole message.
    pub(super) truncated: bool,
}

/// Tells whether the bytes that `side` sent are a message, or begin one where they are not `whole`.
pub(super) fn probe(side: Side, bytes: &[u8], whole: bool) -> Probe {
    let more = if whole { Probe::No } else { Probe::NeedMore };
    let mut reader = Reader::new(bytes, 0);
    let Some(header) = Header::read(&mut reader) else {
        return more;
    };
    if !header.is_sound(side) || header.questions != 1 {
        return Probe::No;
    }
    match Question::read(&mut reader, bytes) {
        Some(question) if question.kind != 0 && CLASSES.contains(&question.class) => {}
        None if !whole && bytes.len() < MAY_BE_CUT => return Probe::NeedMore,
        Some(_) | None => return Probe::No,
    }
    if !whole {
        return Probe::Yes;
    }
    let all = header.records().all(|_| record::read(&mut reader, bytes).is_some());
    let fits = all && reader.at() == bytes.len() || !all && bytes.len() >= MAY_BE_CUT;
    if fits { Probe::Yes } else { Probe::No }
}

// === impl Header ===

impl Header {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let [id, flags, questions] = [reader.u16()?, reader.u16()?, reader.u16()?];
        let [answers, authorities, additionals] = [reader.u16()?, reader.u16()?, reader.u16()?];
        Some(Self { id, flags, questions, answers, authorities, additionals })
    }

    /// Says whether `from` may have sent it. Answers may repeat no question: those to queries that could not be read.
    pub(super) fn is_sound(self, from: Side) -> bool {
        let opcode = (self.flags & OPCODE) >> 11;
        let known = matches!(opcode, 0 | 4 | 5) && self.flags & RESERVED == 0;
        let asks = self.flags & RESPONSE == 0;
        known
            && match from {
                // A notification carries the mark of authority, and updates carry records.
                Side::Client if opcode == 4 => asks && self.questions == 1,
                Side::Client => {
                    let bare = opcode == 5 || self.answers == 0 && self.additionals <= 2;
                    asks && self.flags & ANSWER_ONLY == 0 && self.questions == 1 && bare
                }
                Side::Server => !asks && self.questions <= 1,
            }
    }

    /// Returns the section of each record.
    fn records(self) -> impl Iterator<Item = &'static str> {
        let section = |name, count: u16| std::iter::repeat_n(name, usize::from(count));
        section("answer", self.answers)
            .chain(section("authority", self.authorities))
            .chain(section("additional", self.additionals))
    }

    /// Writes identifier and flags.
    fn describe(self, rcode: u16) -> String {
        let flags = [
            (AUTHORITATIVE, " aa"),
            (TRUNCATED, " tc"),
            (RECURSION_DESIRED, " rd"),
            (RECURSION_AVAILABLE, " ra"),
            (AUTHENTIC, " ad"),
            (CHECKING_DISABLED, " cd"),
        ];
        let set: String =
            flags.iter().filter(|(bit, _)| self.flags & bit != 0).map(|(_, name)| *name).collect();
        let status =
            if self.flags & RESPONSE == 0 { String::new() } else { format!(" {}", rcode_name(rcode)) };
        format!("id {}{status}{set}\n", self.id)
    }
}

// === impl Question ===

impl Question {
    fn read<'a>(reader: &mut Reader<'a>, whole: &'a [u8]) -> Option<Self> {
        Some(Self { name: name::read(reader, whole)?, kind: reader.u16()?, class: reader.u16()? })
    }
}

// === impl Message ===

impl Message {
    /// Reads a message and writes up to `limit` bytes of text; absent when header or question cannot be read.
    pub(super) fn read(bytes: &[u8], limit: usize) -> Option<Self> {
        let mut reader = Reader::new(bytes, 0);
        let header = Header::read(&mut reader)?;
        let question = if header.questions == 0 { None } else { Some(Question::read(&mut reader, bytes)?) };
        let mut rcode = header.flags & RCODE;
        let (mut lines, mut truncated) = (String::new(), false);
        if let Some(Question { name, kind, .. }) = &question {
            lines = format!("{} {name}\n", record::type_name(*kind));
        }
        for section in header.records() {
            let Some(record) = record::read(&mut reader, bytes) else {
                truncated = true;
                break;
            };
            rcode |= record.extended_rcode();
            if lines.len() <= limit {
                lines.push_str(&record.describe(section, bytes));
            }
        }
        let mut text = header.describe(rcode).into_bytes();
        text.extend_from_slice(lines.as_bytes());
        truncated |= text.len() > limit;
        text.truncate(limit);
        Some(Self { header, question, rcode, text, truncated })
    }
}

/// Returns the name of a response code (IANA registry of DNS RCODEs).
pub(super) fn rcode_name(rcode: u16) -> String {
    let name = match rcode {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        6 => "YXDOMAIN",
        7 => "YXRRSET",
        8 => "NXRRSET",
        9 => "NOTAUTH",
        10 => "NOTZONE",
        11 => "DSOTYPENI",
        16 => "BADVERS",
        23 => "BADCOOKIE",
        other => return format!("RCODE{other}"),
    };
    name.to_owned()
}
