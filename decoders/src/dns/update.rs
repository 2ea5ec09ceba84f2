//! Changes of a zone in the words of nsupdate (RFC 2136, sections 2.4 and 2.5).

use super::iana;
use super::message::Section;
use super::record::Record;

/// The class of what must not be there, or of a record to be deleted.
const NONE_CLASS: u16 = 254;

/// The class, and the type, of whatever is there.
const ANY_CLASS: u16 = 255;

/// Writes a record of an update for a zone of class `zone` as a line; `whole` is the message that it lies in.
pub(super) fn describe(section: Section, zone: u16, record: &Record<'_>, whole: &[u8]) -> String {
    if section == Section::Additional {
        return format!("{} {}", section.name(), record.describe(whole));
    }
    let (name, kind) = (record.name(whole), iana::type_name(record.kind));
    let data = if record.data.is_empty() { String::new() } else { record.data(zone, whole) };
    let text = match (section, record.class, record.kind) {
        (Section::Answer, ANY_CLASS, ANY_CLASS) => format!("prereq yxdomain {name}"),
        (Section::Answer, ANY_CLASS, _) => format!("prereq yxrrset {name} {kind} {data}"),
        (Section::Answer, NONE_CLASS, ANY_CLASS) => format!("prereq nxdomain {name}"),
        (Section::Answer, NONE_CLASS, _) => format!("prereq nxrrset {name} {kind} {data}"),
        (Section::Answer, class, _) => format!("prereq yxrrset {name} {}{kind} {data}", shown(class)),
        (_, ANY_CLASS, ANY_CLASS) => format!("update delete {name}"),
        (_, ANY_CLASS | NONE_CLASS, _) => format!("update delete {name} {kind} {data}"),
        (_, class, _) => format!("update add {name} {} {}{kind} {data}", record.ttl, shown(class)),
    };
    text.trim_end().to_owned()
}

/// Returns a class as it stands before a type: the Internet's is left out.
fn shown(class: u16) -> String {
    if class == super::record::INTERNET { String::new() } else { format!("{} ", iana::class_name(class)) }
}
