//! One DNS message: header, questions, and its records as text (RFC 1035, section 4.1).

use super::record::{self, Record};
use super::{iana, name, update};
use crate::decoder::Side;
use crate::reader::Reader;

/// Bytes of a header.
pub(super) const HEADER: usize = 12;

/// Bytes of the shortest question: the root's name, type and class.
const QUESTION: usize = 5;

/// Bytes of the shortest record: the root's name, type, class, time to live and length.
const RECORD: usize = 11;

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

/// Opcodes that are read in their own way.
pub(super) const QUERY: u16 = 0;
pub(super) const INVERSE: u16 = 1;
pub(super) const UPDATE: u16 = 5;
pub(super) const STATEFUL: u16 = 6;

/// The first 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DnsHeader {
    pub(super) id: u16,
    flags: u16,
    pub(super) questions: u16,
    pub(super) answers: u16,
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

/// Where a record stands in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// What answers the question, or what an update needs to be so.
    Answer,
    /// Who has the last word, or what an update changes.
    Authority,
    /// What may be of use.
    Additional,
}

/// A message as shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DnsMessage {
    pub(super) header: DnsHeader,
    /// The first question.
    pub(super) question: Option<Question>,
    /// The response code, with the part that the extension carries.
    pub(super) rcode: u16,
    /// The serial number of the zone that a client has, where it asks for later changes.
    pub(super) serial: Option<u32>,
    /// What a stateful operation does.
    pub(super) stateful: Option<String>,
    /// Header and questions, one a line.
    head: String,
    /// Records, one a line.
    records: String,
    /// Bytes of the lines of the answer section.
    answers: usize,
    /// Whether the lines are not the whole message.
    truncated: bool,
}

// === impl DnsHeader ===

impl DnsHeader {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let [id, flags, questions] = [reader.u16()?, reader.u16()?, reader.u16()?];
        let [answers, authorities, additionals] = [reader.u16()?, reader.u16()?, reader.u16()?];
        Some(Self { id, flags, questions, answers, authorities, additionals })
    }

    pub(super) fn opcode(self) -> u16 {
        (self.flags & OPCODE) >> 11
    }

    /// Whether it answers.
    pub(super) fn is_response(self) -> bool {
        self.flags & RESPONSE != 0
    }

    /// Whether a client asks for a full answer, as those at the edge of a network do.
    pub(super) fn wants_recursion(self) -> bool {
        self.flags & RECURSION_DESIRED != 0
    }

    /// Says whether `from` may have sent it. Stateful operations go both ways (RFC 8490, section 5.4).
    pub(super) fn is_sound(self, from: Side) -> bool {
        self.opcode() == STATEFUL || self.is_response() == (from == Side::Server)
    }

    /// Says whether what it announces can lie in a message of `length` bytes.
    pub(super) fn fits(self, length: usize) -> bool {
        let records = [self.answers, self.authorities, self.additionals].map(usize::from);
        let records = records.iter().fold(0_usize, |sum, count| sum.saturating_add(*count));
        let least = usize::from(self.questions)
            .saturating_mul(QUESTION)
            .saturating_add(records.saturating_mul(RECORD))
            .saturating_add(HEADER);
        least <= length
    }

    /// Returns the section of each record.
    pub(super) fn records(self) -> impl Iterator<Item = Section> {
        let section = |section, count: u16| std::iter::repeat_n(section, usize::from(count));
        section(Section::Answer, self.answers)
            .chain(section(Section::Authority, self.authorities))
            .chain(section(Section::Additional, self.additionals))
    }

    /// Writes identifier, opcode, response code and flags; a query's code only where it has one.
    fn describe(self, rcode: u16) -> String {
        let flags = [
            (AUTHORITATIVE, " aa"),
            (TRUNCATED, " tc"),
            (RECURSION_DESIRED, " rd"),
            (RECURSION_AVAILABLE, " ra"),
            (RESERVED, " z"),
            (AUTHENTIC, " ad"),
            (CHECKING_DISABLED, " cd"),
        ];
        let set: String =
            flags.iter().filter(|(bit, _)| self.flags & bit != 0).map(|(_, name)| *name).collect();
        let opcode = match self.opcode() {
            QUERY => String::new(),
            opcode => format!(" {}", iana::opcode_name(opcode)),
        };
        let status = match rcode {
            0 if !self.is_response() => String::new(),
            rcode => format!(" {}", iana::rcode_name(rcode)),
        };
        format!("id {}{opcode}{status}{set}\n", self.id)
    }
}

// === impl Question ===

impl Question {
    pub(super) fn read<'a>(reader: &mut Reader<'a>, whole: &'a [u8]) -> Option<Self> {
        Some(Self { name: name::read(reader, whole)?, kind: reader.u16()?, class: reader.u16()? })
    }

    /// Writes type and name, behind the class unless it is the Internet's; an update names its zone.
    fn describe(&self, opcode: u16) -> String {
        let Self { name, kind, class } = self;
        if opcode == UPDATE && *class == record::INTERNET {
            return format!("zone {name}\n");
        }
        let class =
            if *class == record::INTERNET { String::new() } else { format!("{} ", iana::class_name(*class)) };
        format!("{class}{} {name}\n", iana::type_name(*kind))
    }
}

// === impl Section ===

impl Section {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Authority => "authority",
            Self::Additional => "additional",
        }
    }
}

// === impl DnsMessage ===

impl DnsMessage {
    /// Reads what is here of a message and writes up to `limit` bytes of text; absent without a header.
    pub(super) fn read(bytes: &[u8], limit: usize) -> Option<Self> {
        let mut reader = Reader::new(bytes, 0);
        let header = DnsHeader::read(&mut reader)?;
        let mut message = Self {
            header,
            question: None,
            rcode: header.flags & RCODE,
            serial: None,
            stateful: None,
            head: String::new(),
            records: String::new(),
            answers: 0,
            truncated: false,
        };
        let mut questions = String::new();
        message.truncated = message.read_sections(&mut reader, bytes, limit, &mut questions).is_none();
        message.head = format!("{}{questions}", header.describe(message.rcode));
        Some(message)
    }

    /// Reads what follows the header; absent where it ends early or is damaged.
    fn read_sections<'a>(
        &mut self,
        reader: &mut Reader<'a>,
        whole: &'a [u8],
        limit: usize,
        questions: &mut String,
    ) -> Option<()> {
        for _ in 0..self.header.questions {
            let question = Question::read(reader, whole)?;
            if questions.len() <= limit {
                questions.push_str(&question.describe(self.header.opcode()));
            }
            self.question.get_or_insert(question);
        }
        for section in self.header.records() {
            let record = record::read(reader, whole)?;
            self.rcode |= record.extended_rcode();
            if section == Section::Authority && self.serial.is_none() {
                self.serial = record.serial();
            }
            if self.records.len() <= limit {
                let line = self.line(section, &record, whole);
                self.write(&line);
                if section == Section::Answer {
                    self.answers = self.records.len();
                }
            }
        }
        if self.header.opcode() == STATEFUL {
            return self.read_stateful(reader, whole, limit);
        }
        let trailing = whole.get(reader.at()..).unwrap_or_default();
        if !trailing.is_empty() {
            self.write(&format!("trailing {}", record::raw(trailing)));
        }
        Some(())
    }

    /// Reads the values of a stateful operation, of which the first says what it is (RFC 8490, section 5.4.4).
    fn read_stateful<'a>(&mut self, reader: &mut Reader<'a>, whole: &'a [u8], limit: usize) -> Option<()> {
        while reader.at() < whole.len() {
            let (kind, length) = (reader.u16()?, reader.u16()?);
            let name = iana::stateful_name(kind);
            let value = record::raw(reader.take(usize::from(length))?);
            if self.records.len() <= limit {
                self.write(&format!("{name} {value}"));
            }
            self.stateful.get_or_insert(name);
        }
        Some(())
    }

    fn line(&self, section: Section, record: &Record<'_>, whole: &[u8]) -> String {
        match &self.question {
            Some(zone) if self.header.opcode() == UPDATE => {
                update::describe(section, zone.class, record, whole)
            }
            _ => format!("{} {}", section.name(), record.describe(whole)),
        }
    }

    fn write(&mut self, line: &str) {
        self.records.push_str(line);
        self.records.push('\n');
    }

    /// Returns up to `limit` bytes of the text, and whether it is not all of the message.
    pub(super) fn text(self, limit: usize) -> (Vec<u8>, bool) {
        let mut text = self.head.into_bytes();
        text.extend_from_slice(self.records.as_bytes());
        let truncated = self.truncated || text.len() > limit;
        text.truncate(limit);
        (text, truncated)
    }

    /// Returns the text of the answer section alone, and whether it is not all of it.
    pub(super) fn into_answers(mut self) -> (String, bool) {
        self.records.truncate(self.answers);
        (self.records, self.truncated)
    }
}

/// Returns the records of a message's answer section, as far as they can be read.
pub(super) fn answers(bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut reader = Reader::new(bytes, 0);
    let header = DnsHeader::read(&mut reader);
    let questions = header.map_or(0, |header| header.questions);
    let sound = (0..questions).all(|_| Question::read(&mut reader, bytes).is_some());
    let count = header.filter(|_| sound).map_or(0, |header| header.answers);
    (0..count).map_while(move |_| record::read(&mut reader, bytes))
}
