//! The PROXY protocol: a few bytes ahead of a connection's own, by which a proxy tells the server whose connection it
//! forwards (`HAProxy`'s `proxy-protocol.txt`, versions 1 and 2).
//!
//! They come from the end that opened the connection, also where the server speaks first, and belong to no message. Of
//! proxies in a row each may put its own in front of that of the one before.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::flow::{Both, length};
use super::{Content, Direction, Stretch};
use crate::reader::Reader;

/// What a preamble of version 1 begins with.
const TEXT_SIGNATURE: &[u8] = b"PROXY ";

/// The longest preamble of version 1, its line end included.
const TEXT_MAX: usize = 107;

/// What a preamble of version 2 begins with.
const BINARY_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of version 2 in front of the addresses: signature, version and command, family, length.
const BINARY_HEAD: usize = 16;

/// The longest preamble of version 2 that is waited for. Beyond addresses it carries a host name, a certificate's
/// names and the like.
const BINARY_MAX: usize = 4096;

/// The state of a connection's preambles.
#[derive(Debug, Default)]
pub(super) struct Preamble {
    directions: Both<Ahead>,
    announced: Option<SocketAddr>,
}

/// What is known of the bytes ahead of one direction's own.
#[derive(Debug, Default)]
enum Ahead {
    /// Nothing came yet, but whole preambles.
    #[default]
    Unseen,
    /// The beginning of a preamble, from a position on.
    Begun(Vec<u8>, u64),
    /// It has passed, or there is none.
    Over,
}

/// What is left of a stretch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// All of it.
    All,
    /// Nothing: it is part of a preamble, or may be.
    Nothing,
    /// These bytes from a position on, in its stead.
    From(Vec<u8>, u64),
    /// All of it, and so many bytes that were held before are of no use.
    Dropped(u64),
}

/// What a preamble says.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    /// It ends after so many bytes, and may announce the client's address.
    Whole(usize, Option<SocketAddr>),
    /// More bytes are needed.
    Incomplete,
    /// These are no preamble.
    Not,
}

// === impl Preamble ===

impl Preamble {
    /// One that has passed: on connections joined late, and over datagrams.
    pub(super) fn over() -> Self {
        let mut directions = Both::default();
        for direction in [Direction::Out, Direction::In] {
            *directions.of_mut(direction) = Ahead::Over;
        }
        Self { directions, announced: None }
    }

    /// Returns the client's address and port that a proxy announced.
    pub(super) fn announced(&self) -> Option<SocketAddr> {
        self.announced
    }

    /// Takes the preambles out of the bytes of a direction. The innermost one is the client's, unless it tells of
    /// nobody.
    pub(super) fn pass(&mut self, stretch: &Stretch<'_>) -> Passed {
        let ahead = self.directions.of_mut(stretch.direction);
        let (mut held, position) = match std::mem::replace(ahead, Ahead::Over) {
            Ahead::Over => return Passed::All,
            Ahead::Unseen => (Vec::new(), stretch.position),
            Ahead::Begun(held, position) => (held, position),
        };
        let Content::Bytes(bytes) = stretch.content else {
            return if held.is_empty() { Passed::All } else { Passed::Dropped(length(&held)) };
        };
        // Nearly every connection has none, and its bytes stay where they are.
        if held.is_empty() && parse(bytes) == Parsed::Not {
            return Passed::All;
        }
        held.extend_from_slice(bytes);
        let mut at = 0_usize;
        loop {
            let rest = held.get(at..).unwrap_or_default();
            match parse(rest) {
                Parsed::Whole(count, announced) => {
                    self.announced = announced.or(self.announced);
                    at = at.saturating_add(count);
                }
                parsed @ (Parsed::Incomplete | Parsed::Not) => {
                    let position = position.saturating_add(u64::try_from(at).unwrap_or(u64::MAX));
                    let rest = held.split_off(at.min(held.len()));
                    return if parsed == Parsed::Not {
                        Passed::From(rest, position)
                    } else {
                        *ahead = if rest.is_empty() { Ahead::Unseen } else { Ahead::Begun(rest, position) };
                        Passed::Nothing
                    };
                }
            }
        }
    }
}

/// Returns a datagram's own bytes, which stand behind the preambles of version 2 that proxies put into each.
pub(super) fn behind(datagram: &[u8]) -> &[u8] {
    let mut rest = datagram;
    while rest.starts_with(BINARY_SIGNATURE)
        && let Parsed::Whole(count, _) = parse_binary(rest)
    {
        rest = rest.get(count..).unwrap_or_default();
    }
    rest
}

/// Reads the beginning of a direction's bytes.
fn parse(bytes: &[u8]) -> Parsed {
    let begins = |with: &[u8]| {
        let both = bytes.len().min(with.len());
        bytes.get(..both) == with.get(..both)
    };
    if bytes.is_empty() {
        Parsed::Incomplete
    } else if begins(BINARY_SIGNATURE) {
        parse_binary(bytes)
    } else if begins(TEXT_SIGNATURE) {
        parse_text(bytes)
    } else {
        Parsed::Not
    }
}

fn parse_text(bytes: &[u8]) -> Parsed {
    let window = bytes.get(..bytes.len().min(TEXT_MAX)).unwrap_or_default();
    let Some(end) = memchr::memmem::find(window, b"\r\n") else {
        return if bytes.len() < TEXT_MAX { Parsed::Incomplete } else { Parsed::Not };
    };
    let Some(Ok(line)) = bytes.get(TEXT_SIGNATURE.len()..end).map(str::from_utf8) else { return Parsed::Not };
    let count = end.saturating_add(2);
    let mut words = line.split(' ');
    match words.next() {
        Some("UNKNOWN") => Parsed::Whole(count, None),
        Some("TCP4" | "TCP6") => {
            let (source, _, port) = (words.next(), words.next(), words.next());
            let address = source.and_then(|source| source.parse::<IpAddr>().ok());
            let port = port.and_then(|port| port.parse::<u16>().ok());
            match address.zip(port) {
                Some((address, port)) => Parsed::Whole(count, Some(SocketAddr::new(address, port))),
                None => Parsed::Not,
            }
        }
        _ => Parsed::Not,
    }
}

fn parse_binary(bytes: &[u8]) -> Parsed {
    let Some(head) = bytes.get(BINARY_SIGNATURE.len()..BINARY_HEAD) else { return Parsed::Incomplete };
    let [command, family, high, low] = head else { return Parsed::Not };
    let count = BINARY_HEAD.saturating_add(usize::from(u16::from_be_bytes([*high, *low])));
    if command >> 4 != 2 || command & 0xf > 1 || count > BINARY_MAX {
        return Parsed::Not;
    }
    if bytes.len() < count {
        return Parsed::Incomplete;
    }
    // `LOCAL`: the proxy speaks for itself.
    let announced = (command & 0xf == 1).then(|| address(*family, bytes)).flatten();
    Parsed::Whole(count, announced)
}

/// Returns the source of version 2's addresses: both addresses, then both ports.
fn address(family: u8, bytes: &[u8]) -> Option<SocketAddr> {
    let (address, port_at) = match family >> 4 {
        1 => {
            let source: [u8; 4] = bytes.get(BINARY_HEAD..)?.first_chunk().copied()?;
            (IpAddr::from(source), BINARY_HEAD.saturating_add(8))
        }
        2 => {
            let source: [u8; 16] = bytes.get(BINARY_HEAD..)?.first_chunk().copied()?;
            (IpAddr::from(Ipv6Addr::from(source)).to_canonical(), BINARY_HEAD.saturating_add(32))
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, Reader::new(bytes, port_at).u16()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 51234 80\r\n";

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(body.len()).unwrap().to_be_bytes();
        [BINARY_SIGNATURE, &[command, family], &len, body].concat()
    }

    fn pass(preamble: &mut Preamble, position: u64, bytes: &[u8]) -> Passed {
        preamble.pass(&Stretch {
            direction: Direction::In,
            position,
            at_ns: 0,
            content: Content::Bytes(bytes),
        })
    }

    #[test]
    fn every_form_is_taken_out_and_its_client_is_told() {
        let v6 =
            [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..], &[0; 16], &[0xc8, 0x22, 0, 80]]
                .concat();
        let v4 = [203, 0, 113, 7, 192, 0, 2, 1, 0xc8, 0x22, 0, 80];
        let with_host_name = [&v4[..], &[2, 0, 4], b"shop"].concat();
        for (bytes, client) in [
            (V1.to_vec(), Some("203.0.113.7:51234")),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 80\r\n".to_vec(), Some("[2001:db8::7]:51234")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ff::1 ff::2 1 2\r\n".to_vec(), None),
            (v2(0x21, 0x11, &v4), Some("203.0.113.7:51234")),
            (v2(0x21, 0x11, &with_host_name), Some("203.0.113.7:51234")),
            (v2(0x21, 0x21, &v6), Some("[2001:db8::7]:51234")),
            (v2(0x20, 0, &[]), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ] {
            for cut in 1..=bytes.len() {
                let mut preamble = Preamble::default();
                let message = [&bytes[cut..], b"GET"].concat();
                assert_eq!(pass(&mut preamble, 0, &bytes[..cut]), Passed::Nothing, "{cut}");
                let all = bytes.len() as u64;
                let want = if cut == bytes.len() { Passed::All } else { Passed::From(b"GET".to_vec(), all) };
                assert_eq!(pass(&mut preamble, cut as u64, &message), want, "{cut}");
                assert_eq!(preamble.announced(), client.map(|client| client.parse().unwrap()));
                assert_eq!(pass(&mut preamble, all + 3, V1), Passed::All, "only the first bytes are one");
            }
        }
    }

    #[test]
    fn of_proxies_in_a_row_the_first_one_tells_the_client() {
        let inner = v2(0x21, 0x11, &[198, 51, 100, 9, 192, 0, 2, 1, 0xc8, 0x22, 0, 80]);
        let (local, unknown) = (v2(0x20, 0, &[]), b"PROXY UNKNOWN\r\n".to_vec());
        let (v1, told) = (V1.to_vec(), Some("198.51.100.9:51234"));
        for (chain, client) in [
            ([&v1, &inner].as_slice(), told),
            (&[&inner, &v1], Some("203.0.113.7:51234")),
            (&[&v1, &local, &inner], told),
            (&[&inner, &local], told),
            (&[&inner, &unknown], told),
            (&[&unknown, &local], None),
            (&[&v1, &v1, &v1, &v1, &inner], told),
        ] {
            let all: Vec<u8> = chain.iter().flat_map(|one| one.iter().copied()).collect();
            let bytes = [all.as_slice(), b"GET"].concat();
            for size in 1..=bytes.len() {
                let mut preamble = Preamble::default();
                let (mut at, mut own) = (0, Vec::new());
                for piece in bytes.chunks(size) {
                    match pass(&mut preamble, at, piece) {
                        Passed::Nothing => assert!(own.is_empty()),
                        Passed::All => own.push((at, piece.to_vec())),
                        Passed::From(piece, from) => own.push((from, piece)),
                        Passed::Dropped(_) => panic!("{chain:?} by {size}"),
                    }
                    at += piece.len() as u64;
                }
                assert_eq!(own.first().map(|(at, _)| *at), Some(all.len() as u64), "{chain:?} by {size}");
                let own: Vec<u8> = own.into_iter().flat_map(|(_, piece)| piece).collect();
                assert_eq!(own, b"GET", "{chain:?} by {size}");
                assert_eq!(preamble.announced(), client.map(|client| client.parse().unwrap()));
            }
        }
    }

    #[test]
    fn what_only_looks_like_one_is_left_as_it_is() {
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 120], b"\r\n"].concat();
        let huge = [BINARY_SIGNATURE, &[0x21, 0x11, 0x10, 0x01]].concat();
        for bytes in [
            b"PROPFIND / HTTP/1.1\r\n".as_slice(),
            b"PROXY list\r\n",
            b"\r\nGET / HTTP/1.1\r\n",
            &long,
            &huge,
        ] {
            let mut preamble = Preamble::default();
            assert_eq!(pass(&mut preamble, 0, bytes), Passed::All);
            let mut preamble = Preamble::default();
            let mut left = Vec::new();
            for (at, byte) in bytes.iter().enumerate() {
                match pass(&mut preamble, at as u64, &[*byte]) {
                    Passed::All => left.push(*byte),
                    Passed::From(bytes, 0) => left.extend(bytes),
                    Passed::Nothing => {}
                    other @ (Passed::From(..) | Passed::Dropped(_)) => panic!("{other:?}"),
                }
            }
            assert_eq!(left, bytes);
        }
    }

    #[test]
    fn a_half_one_before_a_hole_is_counted() {
        let mut preamble = Preamble::default();
        assert_eq!(pass(&mut preamble, 0, &V1[..9]), Passed::Nothing);
        let hole =
            Stretch { direction: Direction::In, position: 9, at_ns: 0, content: Content::Lost(Some(3)) };
        assert_eq!(preamble.pass(&hole), Passed::Dropped(9));
    }
}
