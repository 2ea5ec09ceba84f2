//! What a client and its SOCKS proxy agree on before the connection carries what the client wants to say.
//!
//! Source: RFC 1928 (version 5) and RFC 1929 (user and password); version 4 and its extension 4A were never standards
//! and are told in <https://www.openssh.com/txt/socks4.protocol> and <https://www.openssh.com/txt/socks4a.protocol>.

/// Bytes of a version 4 request before its user.
const REQUEST_4: usize = 8;

/// Longest user or host name of a version 4 request: what the other version can carry.
const MAX_NAME: usize = 255;

/// What both sides said so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handshake {
    /// This is no agreement with a proxy, or it was refused.
    No,
    /// It may be the beginning of one.
    Open,
    /// It was granted: so many bytes of the client and of the proxy belong to it.
    Granted {
        /// Of the client.
        client: usize,
        /// Of the proxy.
        server: usize,
    },
}

/// What one side said, from its front on.
#[derive(Clone, Copy)]
struct Said<'a>(&'a [u8]);

/// Why reading ends early.
enum Stop {
    /// The rest is still to come.
    Short,
    /// This is something else.
    Strange,
}

/// Judges the first bytes of both sides, of whom the client spoke first.
pub(super) fn judge(client: &[u8], server: &[u8]) -> Handshake {
    let (mut asks, mut answers) = (Said(client), Said(server));
    let read = match client.first() {
        Some(4) => version_4(&mut asks, &mut answers),
        Some(5) => version_5(&mut asks, &mut answers),
        _ => Err(Stop::Strange),
    };
    let passed = |whole: &[u8], rest: Said<'_>| whole.len().saturating_sub(rest.0.len());
    match read {
        Ok(()) => Handshake::Granted { client: passed(client, asks), server: passed(server, answers) },
        Err(Stop::Short) => Handshake::Open,
        Err(Stop::Strange) => Handshake::No,
    }
}

fn version_4(client: &mut Said<'_>, server: &mut Said<'_>) -> Result<(), Stop> {
    client.expect(4)?;
    client.command()?;
    let [_, _, a, b, c, d] = *client.take::<6>()?;
    client.text()?;
    if (a, b, c) == (0, 0, 0) && d != 0 {
        // The host's name follows (4A).
        client.text()?;
    }
    client.waits_for(server)?;
    server.expect(0)?;
    server.expect(90)?;
    server.take::<{ REQUEST_4 - 2 }>().map(drop)
}

fn version_5(client: &mut Said<'_>, server: &mut Said<'_>) -> Result<(), Stop> {
    client.expect(5)?;
    client.counted()?;
    client.waits_for(server)?;
    server.expect(5)?;
    match server.byte()? {
        0 => {}
        2 => {
            client.expect(1)?;
            client.counted()?;
            client.counted()?;
            client.waits_for(server)?;
            server.expect(1)?;
            server.expect(0)?;
        }
        _ => return Err(Stop::Strange),
    }
    client.expect(5)?;
    client.command()?;
    // Behind its request a client may say at once what is for the server.
    client.address()?;
    server.expect(5)?;
    server.expect(0)?;
    server.address()
}

// === impl Said ===

impl<'a> Said<'a> {
    fn take<const LEN: usize>(&mut self) -> Result<&'a [u8; LEN], Stop> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Stop::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        self.take().map(|[byte]| *byte)
    }

    fn expect(&mut self, wanted: u8) -> Result<(), Stop> {
        if self.byte()? == wanted { Ok(()) } else { Err(Stop::Strange) }
    }

    /// Nothing more is said before the other side answers.
    fn waits_for(self, other: &Self) -> Result<(), Stop> {
        if other.0.is_empty() && !self.0.is_empty() { Err(Stop::Strange) } else { Ok(()) }
    }

    /// A request to connect; others open no stream to a server.
    fn command(&mut self) -> Result<(), Stop> {
        self.expect(1)
    }

    /// Bytes behind their number.
    fn counted(&mut self) -> Result<(), Stop> {
        let count = usize::from(self.byte()?);
        self.0 = self.0.get(count..).ok_or(Stop::Short)?;
        Ok(())
    }

    /// Text up to a NUL.
    fn text(&mut self) -> Result<(), Stop> {
        let Some(end) = memchr::memchr(0, self.0) else {
            return Err(if self.0.len() > MAX_NAME { Stop::Strange } else { Stop::Short });
        };
        self.0 = self.0.get(end.saturating_add(1)..).unwrap_or_default();
        if end > MAX_NAME { Err(Stop::Strange) } else { Ok(()) }
    }

    /// A reserved byte, an address and its port.
    fn address(&mut self) -> Result<(), Stop> {
        self.expect(0)?;
        match self.byte()? {
            1 => self.take::<4>().map(drop)?,
            3 => self.counted()?,
            4 => self.take::<16>().map(drop)?,
            _ => return Err(Stop::Strange),
        }
        self.take::<2>().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &[u8] = b"\x05\x01\0\x03\x07db.test\0\x50";
    const GRANTED: &[u8] = b"\x05\0\0\x01\x7f\0\0\x01\x1f\x90";

    /// Version, what the client says by turns, and what the proxy answers.
    fn granted() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
        let six = [b"\x05\x01\0\x04".as_slice(), &[0xfd; 16], &[0, 80]].concat();
        vec![
            ("5", [b"\x05\x01\0", HOST].concat(), [b"\x05\0", GRANTED].concat()),
            (
                "5, some directions to log in",
                [b"\x05\x03\0\x01\x02", HOST].concat(),
                [b"\x05\0", GRANTED].concat(),
            ),
            ("5, IPv6", [b"\x05\x01\0".as_slice(), &six].concat(), [b"\x05\0", GRANTED].concat()),
            (
                "5, with a password",
                [b"\x05\x02\0\x02\x01\x03ann\x04hush", HOST].concat(),
                [b"\x05\x02\x01\0", GRANTED].concat(),
            ),
            ("4", b"\x04\x01\0\x50\x0a\0\0\x01ann\0".to_vec(), b"\0\x5a\0\0\0\0\0\0".to_vec()),
            ("4A", b"\x04\x01\0\x50\0\0\0\x01\0db.test\0".to_vec(), b"\0\x5a\0\x50\x0a\0\0\x01".to_vec()),
        ]
    }

    #[test]
    fn what_belongs_to_the_agreement_is_told_to_the_byte() {
        for (what, client, server) in granted() {
            let whole = Handshake::Granted { client: client.len(), server: server.len() };
            assert_eq!(judge(&client, &server), whole, "{what}");
            let behind = |bytes: &[u8]| [bytes, b"\x05GET"].concat();
            assert_eq!(judge(&behind(&client), &behind(&server)), whole, "{what} and what follows");
            if what.starts_with('5') {
                let before = &server[..server.len() - GRANTED.len()];
                assert_eq!(judge(&behind(&client), before), Handshake::Open, "{what}, in haste");
            }
            for cut in 1..client.len() {
                assert_eq!(judge(&client[..cut], &server), Handshake::Open, "{what}: {cut} of the client");
            }
            for cut in 0..server.len() {
                let judged = judge(&client, &server[..cut]);
                // A client that goes on before it was answered speaks something else.
                let hasty = what.starts_with('5') && (cut == 0 || what.contains("password") && cut == 2);
                assert_eq!(judged == Handshake::No, hasty, "{what}: {cut} of the proxy");
                assert_eq!(judged == Handshake::Open, !hasty, "{what}: {cut} of the proxy");
            }
        }
    }

    #[test]
    fn other_bytes_are_none() {
        let long = [b"\x04\x01\0\x50\x0a\0\0\x01".as_slice(), &[b'a'; 256]].concat();
        for (client, server) in [
            (b"".as_slice(), b"".as_slice()),
            (b"\x16\x03\x01", b""),
            (b"\x05\x01\0", b"\x05\xff"),
            (b"\x05\x01\0", b"HTTP/1.1 400 Bad Request\r\n"),
            (b"\x05\x01\0\x05\x02", b"\x05\0"),
            (b"\x05\x01\0\x05\x01\0\x02", b"\x05\0"),
            (b"\x05\x01\0\x05\x01\0\x03\x01a\0\x50", b"\x05\0\x05\x05"),
            (b"\x05\x01\x02\x01\x01a\x01b", b"\x05\x02\x01\x01"),
            (b"\x04\x02", b""),
            (b"\x04\x01\0\x50\x0a\0\0\x01\0", b"\0\x5b"),
            (&long, b""),
        ] {
            assert_eq!(judge(client, server), Handshake::No, "{client:?} {server:?}");
        }
    }
}
