//! A Redis client (RESP2).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use anyhow::{Context, Result, bail};

/// One client connection.
#[derive(Debug)]
pub struct RedisClient {
    reader: BufReader<TcpStream>,
}

// === impl RedisClient ===

impl RedisClient {
    /// Connects to IPv4 loopback.
    pub fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Sends a command and returns the first line of its reply.
    pub fn command(&mut self, words: &[&[u8]]) -> Result<String> {
        self.send(&command(words))?;
        self.reply()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.reader.get_mut().write_all(bytes).context("sending a command")
    }

    /// Reads one reply whole and returns its first line.
    pub fn reply(&mut self) -> Result<String> {
        let mut first = String::new();
        if self.reader.read_line(&mut first)? == 0 {
            bail!("Redis closed the connection");
        }
        let first = first.trim_end().to_owned();
        let count = || first.get(1..).and_then(|count| count.parse::<i64>().ok()).unwrap_or(-1);
        match first.chars().next() {
            Some('$') => {
                if let Ok(size) = usize::try_from(count()) {
                    self.reader.read_exact(&mut vec![0; size + 2])?;
                }
            }
            Some('*') => {
                for _ in 0..count() {
                    self.reply()?;
                }
            }
            _ => {}
        }
        Ok(first)
    }
}

// === free functions ===

/// Returns the bytes of a command.
#[must_use]
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
