//! Both sockets of one stream, and moving a message from one to the other.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use decoders::{Side, Transport};
use nix::sys::sendfile::sendfile;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrStorage, bind, connect, listen, recv,
    setsockopt, socket, sockopt,
};

use super::streams::{Body, Piece};

/// Longest wait for bytes that the other end has sent.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// What a reader asks for at once, as servers do.
const READ_BYTES: usize = 64 << 10;

/// Bytes that a socket takes while nobody reads.
const UNREAD_BYTES: usize = 16 << 10;

/// The two ends of a stream that is being played.
#[derive(Debug)]
pub(super) enum Ends {
    /// Client and server of a connection.
    Tcp(TcpStream, TcpStream),
    /// Client and server of datagrams.
    Udp(UdpSocket, UdpSocket),
}

/// What one end sends before the other does.
#[derive(Debug)]
enum Part<'a> {
    Bytes(Vec<u8>),
    Hole(u64),
    Datagram(&'a [u8]),
}

// === impl Ends ===

impl Ends {
    /// Connects the two ends.
    pub(super) fn open(transport: Transport, client: SocketAddr, server: SocketAddr) -> Result<Self> {
        match transport {
            Transport::Tcp => {
                let waiting = listener(server)?;
                let asking = TcpStream::from(bound(client, SockType::Stream)?);
                connect(asking.as_raw_fd(), &SockaddrStorage::from(server)).context("connecting")?;
                let (answering, _) = waiting.accept().context("accepting")?;
                for end in [&asking, &answering] {
                    end.set_nodelay(true)?;
                    end.set_read_timeout(Some(READ_TIMEOUT))?;
                    end.set_write_timeout(Some(READ_TIMEOUT))?;
                }
                Ok(Self::Tcp(asking, answering))
            }
            Transport::Udp => {
                let answering = UdpSocket::from(bound(server, SockType::Datagram)?);
                let asking = UdpSocket::from(bound(client, SockType::Datagram)?);
                asking.connect(server)?;
                answering.connect(asking.local_addr()?)?;
                for end in [&asking, &answering] {
                    end.set_read_timeout(Some(READ_TIMEOUT))?;
                }
                Ok(Self::Udp(asking, answering))
            }
        }
    }

    /// Returns the addresses of client and server.
    pub(super) fn addresses(&self) -> Result<(SocketAddr, SocketAddr)> {
        Ok(match self {
            Self::Tcp(client, server) => (client.local_addr()?, server.local_addr()?),
            Self::Udp(client, server) => (client.local_addr()?, server.local_addr()?),
        })
    }

    /// Plays pieces: each end sends its next message when it has received all that came before.
    pub(super) fn play(&self, pieces: &[Piece], chunk: Option<usize>) -> Result<()> {
        for message in pieces.chunk_by(|before, after| before.from == after.from) {
            let Some(from) = message.first().map(|piece| piece.from) else { continue };
            for part in parts(message) {
                self.part(from, &part, chunk.unwrap_or(usize::MAX).max(1))?;
            }
        }
        Ok(())
    }

    fn part(&self, from: Side, part: &Part<'_>, chunk: usize) -> Result<()> {
        match (self, part) {
            (Self::Tcp(client, server), part) => {
                let (sender, receiver) =
                    if from == Side::Client { (client, server) } else { (server, client) };
                match part {
                    Part::Bytes(bytes) => {
                        for piece in bytes.chunks(chunk) {
                            deliver(sender, receiver, piece)?;
                        }
                        Ok(())
                    }
                    Part::Hole(length) => pass(sender, receiver, *length),
                    Part::Datagram(_) => bail!("a datagram in a byte stream"),
                }
            }
            (Self::Udp(client, server), Part::Datagram(bytes)) => {
                let (sender, receiver) =
                    if from == Side::Client { (client, server) } else { (server, client) };
                sender.send(bytes).context("sending a datagram")?;
                let mut buffer = vec![0; READ_BYTES];
                receiver.recv(&mut buffer).context("receiving a datagram")?;
                Ok(())
            }
            (Self::Udp(..), Part::Bytes(_) | Part::Hole(_)) => bail!("a byte stream in a datagram"),
        }
    }
}

// === free functions ===

/// Joins what one end sent in a row: a program sends a message by one call, whatever the network cuts it into.
fn parts(message: &[Piece]) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    for piece in message {
        match (&piece.body, parts.last_mut()) {
            (Body::Bytes(bytes), Some(Part::Bytes(before))) => before.extend_from_slice(bytes),
            (Body::Bytes(bytes), _) => parts.push(Part::Bytes(bytes.clone())),
            (Body::Hole(length), _) => parts.push(Part::Hole(*length)),
            (Body::Datagram(bytes, _), _) => parts.push(Part::Datagram(bytes)),
        }
    }
    parts
}

/// Sends bytes by one call where the socket takes them, and reads them at the other end.
fn deliver(mut sender: &TcpStream, receiver: &TcpStream, bytes: &[u8]) -> Result<()> {
    if bytes.len() <= UNREAD_BYTES {
        sender.write_all(bytes).context("sending")?;
        return receive(receiver, bytes.len());
    }
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || sender.write_all(bytes));
        let got = receive(receiver, bytes.len());
        match sending.join() {
            Ok(sent) => sent.context("sending")?,
            Err(_) => bail!("sending failed"),
        }
        got
    })
}

fn receive(mut receiver: &TcpStream, mut length: usize) -> Result<()> {
    let mut buffer = vec![0; READ_BYTES.min(length.max(1))];
    while length > 0 {
        let room = buffer.len().min(length);
        let read = receiver.read(&mut buffer[..room]).context("receiving")?;
        if read == 0 {
            bail!("the other end closed with {length} bytes to come");
        }
        length -= read;
    }
    Ok(())
}

/// Moves bytes whose text nobody knows: sent from a file and dropped by the receiver, so that of them, as of the bytes
/// that the capture lacks, only the number can be seen.
fn pass(sender: &TcpStream, receiver: &TcpStream, length: u64) -> Result<()> {
    let file: File = tempfile::tempfile().context("making a file for what is missing")?;
    file.set_len(length)?;
    let length = usize::try_from(length)?;
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut left = length;
            while left > 0 {
                match sendfile(sender.as_fd(), file.as_fd(), None, left) {
                    Ok(sent) if sent > 0 => left -= sent,
                    Ok(_) => bail!("the file for what is missing ended"),
                    Err(error) => return Err(error).context("sending what is missing"),
                }
            }
            Ok(())
        });
        let mut buffer = vec![0; READ_BYTES];
        let mut left = length;
        let mut dropped = Ok(());
        while left > 0 {
            let room = buffer.len().min(left);
            match recv(receiver.as_raw_fd(), &mut buffer[..room], MsgFlags::MSG_TRUNC) {
                Ok(0) => break,
                Ok(length) => left -= length,
                Err(error) => {
                    dropped = Err(error).context("dropping what is missing");
                    break;
                }
            }
        }
        match sending.join() {
            Ok(sent) => sent?,
            Err(_) => bail!("sending what is missing failed"),
        }
        dropped
    })
}

fn listener(address: SocketAddr) -> Result<TcpListener> {
    let socket = bound(address, SockType::Stream)?;
    listen(&socket, Backlog::new(16)?).with_context(|| format!("listening on {address}"))?;
    Ok(TcpListener::from(socket))
}

fn bound(address: SocketAddr, kind: SockType) -> Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let made = socket(family, kind, SockFlag::SOCK_CLOEXEC, None).context("making a socket")?;
    setsockopt(&made, sockopt::ReuseAddr, &true)?;
    bind(made.as_raw_fd(), &SockaddrStorage::from(address)).with_context(|| format!("binding {address}"))?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::free_port;

    fn piece(from: Side, body: Body) -> Piece {
        Piece { from, frame: 1, at_ns: 0, body }
    }

    #[test]
    fn both_ends_of_a_stream_are_played_in_order_with_what_is_missing() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let server = SocketAddr::new(any.ip(), free_port().unwrap());
        let ends = Ends::open(Transport::Tcp, any, server).unwrap();
        assert_eq!(ends.addresses().unwrap().1, server);
        let long = vec![b'x'; 3_000_000];
        let pieces = [
            piece(Side::Client, Body::Bytes(b"ask".to_vec())),
            piece(Side::Client, Body::Bytes(b" more".to_vec())),
            piece(Side::Server, Body::Bytes(long)),
            piece(Side::Server, Body::Hole(1_000_000)),
            piece(Side::Client, Body::Bytes(b"bye".to_vec())),
        ];
        assert!(matches!(parts(&pieces[..2]).as_slice(), [Part::Bytes(bytes)] if bytes == b"ask more"));
        ends.play(&pieces, None).unwrap();
        ends.play(&pieces, Some(7)).unwrap();
    }

    #[test]
    fn datagrams_are_played_one_by_one() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let server = SocketAddr::new(any.ip(), free_port().unwrap());
        let ends = Ends::open(Transport::Udp, any, server).unwrap();
        let pieces = [
            piece(Side::Client, Body::Datagram(b"a".to_vec(), 1)),
            piece(Side::Client, Body::Datagram(b"b".to_vec(), 1)),
            piece(Side::Server, Body::Datagram(Vec::new(), 0)),
        ];
        ends.play(&pieces, None).unwrap();
    }
}
