//! Domain names: labels, compression, and how they are written (RFC 1035, sections 3.1, 4.1.4 and 5.1).

use crate::reader::Reader;

/// Bytes of the longest name (RFC 1035, section 2.3.4); it also bounds what a chain of pointers can cost.
const MAX_NAME: usize = 255;

/// Letters of a NetBIOS name as a label (RFC 1001, section 14.1).
const NETBIOS_LETTERS: usize = 32;

/// Reads a name and leaves the reader behind it; absent when it is damaged or not all there.
///
/// `whole` is the message that pointers count in. A pointer must lead to before the labels it ends, so chains end.
pub(super) fn read<'a>(reader: &mut Reader<'a>, whole: &'a [u8]) -> Option<String> {
    let mut name = String::new();
    walk(reader, whole, |label| {
        if !name.is_empty() {
            name.push('.');
        }
        write_label(&mut name, label);
    })?;
    if name.is_empty() {
        name.push('.');
    }
    Some(name)
}

/// Passes a name as [`read`] does, and writes nothing.
pub(super) fn pass<'a>(reader: &mut Reader<'a>, whole: &'a [u8]) -> Option<()> {
    walk(reader, whole, |_| {})
}

/// Says whether a written name is one of NetBIOS: half an octet a letter, from A to P.
pub(super) fn is_netbios(name: &str) -> bool {
    let label = name.split('.').next().unwrap_or_default();
    label.len() == NETBIOS_LETTERS && label.bytes().all(|letter| matches!(letter, b'A'..=b'P'))
}

fn walk<'a>(reader: &mut Reader<'a>, whole: &'a [u8], mut label: impl FnMut(&[u8])) -> Option<()> {
    let (mut jumped, mut begin, mut total) = (*reader, reader.at(), 0_usize);
    let mut inside = false;
    loop {
        let length = jumped.u8()?;
        match length {
            0 => break,
            1..=63 => {
                total = total.saturating_add(usize::from(length)).saturating_add(1);
                if total >= MAX_NAME {
                    return None;
                }
                label(jumped.take(usize::from(length))?);
            }
            192..=255 => {
                let low = jumped.u8()?;
                if !inside {
                    *reader = jumped;
                    inside = true;
                }
                let target = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                if target >= begin {
                    return None;
                }
                begin = target;
                jumped = Reader::new(whole, target);
            }
            64..=191 => return None,
        }
    }
    if !inside {
        *reader = jumped;
    }
    Some(())
}

/// Writes a label: printable characters as they are, others as `\DDD`; what zone files give a meaning is escaped.
fn write_label(name: &mut String, label: &[u8]) {
    for byte in label {
        let written = match byte {
            b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => format!("\\{}", char::from(*byte)),
            0x21..=0x7e => char::from(*byte).to_string(),
            _ => format!("\\{byte:03}"),
        };
        name.push_str(&written);
    }
}
