//! A record's data while it is read, and the small pieces that it is made of.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::encoding;
use crate::dns::{iana, name};
use crate::reader::Reader;

/// A record's data; each reading leaves it behind what was read and is absent where the data is too short.
#[derive(Clone, Copy, Debug)]
pub(super) struct Data<'a> {
    reader: Reader<'a>,
    end: usize,
    /// The message, which names may point into.
    whole: &'a [u8],
}

// === impl Data ===

impl<'a> Data<'a> {
    /// Begins to read what lies from `at` to `end` of the message.
    pub(super) fn new(whole: &'a [u8], at: usize, end: usize) -> Option<Self> {
        Some(Self { reader: Reader::new(whole.get(..end)?, at), end, whole })
    }

    /// Whether all is read.
    pub(super) fn is_empty(&self) -> bool {
        self.reader.at() >= self.end
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.reader.u8()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.reader.u16()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.reader.u32()
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        self.reader.take(count)
    }

    /// Reads bytes behind a length of one byte.
    pub(super) fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// Reads bytes behind a length of two bytes.
    pub(super) fn long_sized(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// Reads all that is left, which may be nothing.
    pub(super) fn rest(&mut self) -> Option<&'a [u8]> {
        self.take(self.end.checked_sub(self.reader.at())?)
    }

    /// Reads all that is left, which must be something.
    pub(super) fn some_rest(&mut self) -> Option<&'a [u8]> {
        self.rest().filter(|rest| !rest.is_empty())
    }

    pub(super) fn name(&mut self) -> Option<String> {
        name::read(&mut self.reader, self.whole)
    }

    pub(super) fn ipv4(&mut self) -> Option<String> {
        Some(Ipv4Addr::from(<[u8; 4]>::try_from(self.take(4)?).ok()?).to_string())
    }

    pub(super) fn ipv6(&mut self) -> Option<String> {
        Some(Ipv6Addr::from(<[u8; 16]>::try_from(self.take(16)?).ok()?).to_string())
    }

    /// Reads the character strings that are left, of which there must be one.
    pub(super) fn texts(&mut self) -> Option<String> {
        let mut written = vec![encoding::quoted(self.sized()?)];
        while !self.is_empty() {
            written.push(encoding::quoted(self.sized()?));
        }
        Some(written.join(" "))
    }

    /// Reads the types of a bitmap (RFC 4034, section 4.1.2), each behind a space.
    pub(super) fn types(&mut self) -> Option<String> {
        let mut written = String::new();
        while !self.is_empty() {
            let window = self.u8()?;
            let bits = self.sized().filter(|bits| matches!(bits.len(), 1..=32))?;
            for low in set_bits(bits) {
                written.push(' ');
                written.push_str(&iana::type_name(u16::from_be_bytes([window, low])));
            }
        }
        Some(written)
    }
}

/// Returns the number of each bit that is set, the most significant of the first byte being 0, below 256.
pub(super) fn set_bits(bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    (0..=u8::MAX).filter_map(|bit| {
        let byte = bytes.get(usize::from(bit / 8))?;
        (byte & 0x80_u8 >> (bit % 8) != 0).then_some(bit)
    })
}
