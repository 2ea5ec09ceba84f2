//! A conversation in the form of a fixture, as the decoders' laws read it.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use decoders::{Side, Transport};

use super::super::streams::{Body, Stream};

/// Writes a conversation down; fails where it is not whole, since a fixture with a hole shows nothing.
pub(super) fn text(stream: &Stream, command: &str) -> Result<String> {
    if !stream.opened {
        bail!("was open before the command began");
    }
    let mut lines: Vec<(Side, Vec<u8>)> = Vec::new();
    for piece in &stream.pieces {
        match (&piece.body, lines.last_mut()) {
            (Body::Hole(length), _) => bail!("{length} bytes of it were not recorded"),
            (Body::Datagram(bytes, length), _) if u64::try_from(bytes.len()).ok() != Some(*length) => {
                bail!("a datagram of {length} bytes was recorded in part");
            }
            // How bytes were cut into packets says nothing of the protocol.
            (Body::Bytes(bytes), Some((side, line))) if *side == piece.from => line.extend_from_slice(bytes),
            (Body::Bytes(bytes) | Body::Datagram(bytes, _), _) => lines.push((piece.from, bytes.clone())),
        }
    }
    let mut text = format!("# {}\n", command.escape_debug());
    if stream.transport == Transport::Udp {
        text.push_str("# transport udp\n");
    }
    for (side, bytes) in lines {
        let mark = if side == Side::Client { 'C' } else { 'S' };
        writeln!(text, "{mark} {}", bytes.escape_ascii())?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::super::super::streams::Piece;
    use super::*;

    fn stream(transport: Transport, pieces: Vec<(Side, Body)>) -> Stream {
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let piece = |(from, body)| Piece { from, frame: 1, at_ns: 0, body };
        Stream {
            transport,
            client: address(40_000),
            server: address(113),
            opened: true,
            closed: true,
            pieces: pieces.into_iter().map(piece).collect(),
        }
    }

    fn bytes(text: &str) -> Body {
        Body::Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn each_side_has_a_line_until_the_other_speaks() {
        let pieces = vec![
            (Side::Client, bytes("40112, ")),
            (Side::Client, bytes("25\r\n")),
            (Side::Server, bytes("40112, 25 : ERROR : \"\\\"\r\n")),
            (Side::Client, bytes("\u{e9}")),
        ];
        let text = text(&stream(Transport::Tcp, pieces), "ident\n25").expect("whole");
        let wanted = concat!(
            "# ident\\n25\n",
            r"C 40112, 25\r\n",
            "\n",
            r#"S 40112, 25 : ERROR : \"\\\"\r\n"#,
            "\n",
            r"C \xc3\xa9",
            "\n"
        );
        assert_eq!(text, wanted);
    }

    #[test]
    fn each_datagram_has_a_line() {
        let datagram = |text: &str| Body::Datagram(text.as_bytes().to_vec(), 1);
        let pieces = vec![(Side::Client, datagram("a")), (Side::Client, datagram("b"))];
        let text = text(&stream(Transport::Udp, pieces), "ask").expect("whole");
        assert_eq!(text, "# ask\n# transport udp\nC a\nC b\n");
    }

    #[test]
    fn what_is_not_whole_is_no_fixture() {
        let hole = stream(Transport::Tcp, vec![(Side::Client, bytes("a")), (Side::Client, Body::Hole(3))]);
        assert!(text(&hole, "").expect_err("a hole").to_string().contains("3 bytes"));
        let cut = stream(Transport::Udp, vec![(Side::Client, Body::Datagram(b"a".to_vec(), 2))]);
        text(&cut, "").expect_err("half a datagram");
        let mut late = stream(Transport::Tcp, vec![(Side::Client, bytes("a"))]);
        late.opened = false;
        text(&late, "").expect_err("joined late");
    }
}
