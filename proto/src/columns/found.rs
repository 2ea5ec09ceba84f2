//! Values of stored rows as the types that fields have.

use std::net::IpAddr;

use crate::v1::value;

/// A value of a stored row. Engines and versions differ in what they make of a column, so each type is read from all
/// that can mean it, and what cannot is unknown.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a>(pub &'a value::Kind);

// === impl Found ===

impl Found<'_> {
    /// Reads a number with its sign.
    #[must_use]
    pub fn signed(self) -> Option<i64> {
        match self.0 {
            value::Kind::Integer(number) => Some(*number),
            value::Kind::Unsigned(number) => Some(number.cast_signed()),
            value::Kind::Real(_) | value::Kind::Text(_) | value::Kind::Blob(_) => None,
        }
    }

    /// Reads a number from 0.
    #[must_use]
    pub fn number(self) -> Option<u64> {
        self.signed().and_then(|number| u64::try_from(number).ok())
    }

    /// Reads a number of 32 bits.
    #[must_use]
    pub fn small(self) -> Option<u32> {
        self.number().and_then(|number| u32::try_from(number).ok())
    }

    /// Reads yes or no.
    #[must_use]
    pub fn is(self) -> bool {
        self.signed().is_some_and(|flag| flag != 0)
    }

    /// Reads text; what is none is empty.
    #[must_use]
    pub fn text(self) -> String {
        match self.0 {
            value::Kind::Text(text) => text.clone(),
            value::Kind::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            value::Kind::Integer(_) | value::Kind::Unsigned(_) | value::Kind::Real(_) => String::new(),
        }
    }

    /// Reads bytes; what has none is empty.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        match self.0 {
            value::Kind::Blob(bytes) => bytes.clone(),
            value::Kind::Text(text) => text.clone().into_bytes(),
            value::Kind::Integer(_) | value::Kind::Unsigned(_) | value::Kind::Real(_) => Vec::new(),
        }
    }

    /// Reads an address as endpoints hold it.
    #[must_use]
    pub fn address(self) -> Option<Vec<u8>> {
        match self.text().parse().ok()? {
            IpAddr::V4(address) => Some(address.octets().to_vec()),
            IpAddr::V6(address) => Some(address.octets().to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_unknown() {
        let negative = value::Kind::Integer(-1);
        assert_eq!((Found(&negative).signed(), Found(&negative).number()), (Some(-1), None));
        let large = value::Kind::Integer(1 << 32);
        assert_eq!((Found(&large).number(), Found(&large).small()), (Some(1 << 32), None));
        let beyond = value::Kind::Unsigned(u64::MAX);
        assert_eq!(Found(&beyond).signed(), Some(-1), "bits are kept");
        let text = value::Kind::Text("7".to_owned());
        assert_eq!((Found(&text).number(), Found(&text).is(), Found(&text).address()), (None, false, None));
        assert_eq!(Found(&text).bytes(), b"7");
        let blob = value::Kind::Blob(b"::1".to_vec());
        assert_eq!(Found(&blob).address().map(|address| address.len()), Some(16));
        let real = value::Kind::Real(1.0);
        assert_eq!((Found(&real).text(), Found(&real).is()), (String::new(), false));
    }
}
