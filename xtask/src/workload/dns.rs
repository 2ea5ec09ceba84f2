//! DNS questions over UDP and TCP.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Types by number.
pub const A: u16 = 1;
/// Text records.
pub const TXT: u16 = 16;
/// IPv6 addresses.
pub const AAAA: u16 = 28;

/// Asks over UDP and returns the answer's code.
pub fn ask(server: Ipv4Addr, id: u16, name: &str, kind: u16) -> Result<u8> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((server, 53))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.send(&question(id, name, kind))?;
    let mut answer = [0; 4096];
    let size = socket.recv(&mut answer).context("no answer")?;
    code(answer.get(..size).unwrap_or_default(), id)
}

/// Asks over TCP and returns the answer's code.
pub fn ask_tcp(server: Ipv4Addr, id: u16, name: &str, kind: u16) -> Result<u8> {
    let mut stream = TcpStream::connect((server, 53))?;
    let question = question(id, name, kind);
    let mut bytes = u16::try_from(question.len())?.to_be_bytes().to_vec();
    bytes.extend_from_slice(&question);
    stream.write_all(&bytes)?;
    let mut size = [0; 2];
    stream.read_exact(&mut size)?;
    let mut answer = vec![0; u16::from_be_bytes(size).into()];
    stream.read_exact(&mut answer)?;
    code(&answer, id)
}

fn question(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    // Recursion desired; one question.
    bytes.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or_default());
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&1_u16.to_be_bytes());
    bytes
}

fn code(answer: &[u8], id: u16) -> Result<u8> {
    match answer {
        [a, b, _, flags, ..] if u16::from_be_bytes([*a, *b]) == id => Ok(flags & 15),
        _ => bail!("not an answer to question {id}"),
    }
}
