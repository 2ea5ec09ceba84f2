//! A MySQL client that can query and prepare; its login has no password.

use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use anyhow::{Context, Result, bail};

/// Long column flag set: 4.1 protocol, secure connection, connect with database, plugin authentication.
const CAPABILITIES: u32 = 0x0000_0200 | 0x0000_8000 | 0x0000_0008 | 0x0008_0000;

/// One client connection.
#[derive(Debug)]
pub struct MysqlClient {
    reader: BufReader<TcpStream>,
}

/// A prepared statement of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Prepared {
    id: u32,
    parameters: u16,
}

// === impl MysqlClient ===

impl MysqlClient {
    /// Connects to IPv4 loopback and logs in.
    pub fn connect(port: u16, user: &str, database: &str) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        let mut client = Self { reader: BufReader::new(stream) };
        client.packet().context("the server's greeting")?;
        let mut login = CAPABILITIES.to_le_bytes().to_vec();
        login.extend_from_slice(&0x0100_0000_u32.to_le_bytes());
        // utf8mb4_general_ci, then 23 reserved bytes.
        login.push(45);
        login.extend_from_slice(&[0; 23]);
        for text in [user, "", database, "mysql_native_password"] {
            login.extend_from_slice(text.as_bytes());
            login.push(0);
        }
        client.send(1, &login)?;
        client.ok().context("logging in")?;
        Ok(client)
    }

    /// Runs a statement and returns how many rows came.
    pub fn query(&mut self, sql: &str) -> Result<usize> {
        let mut packet = vec![3];
        packet.extend_from_slice(sql.as_bytes());
        self.send(0, &packet)?;
        self.rows()
    }

    /// Prepares a statement.
    pub fn prepare(&mut self, sql: &str) -> Result<Prepared> {
        let mut packet = vec![22];
        packet.extend_from_slice(sql.as_bytes());
        self.send(0, &packet)?;
        let answer = self.packet()?;
        let [0, a, b, c, d, c0, c1, p0, p1, ..] = answer.as_slice() else {
            bail!("no prepared statement: {}", String::from_utf8_lossy(&answer));
        };
        let prepared =
            Prepared { id: u32::from_le_bytes([*a, *b, *c, *d]), parameters: u16::from_le_bytes([*p0, *p1]) };
        for count in [prepared.parameters, u16::from_le_bytes([*c0, *c1])] {
            for _ in 0..count + u16::from(count > 0) {
                self.packet()?;
            }
        }
        Ok(prepared)
    }

    /// Executes a prepared statement with texts for its parameters and returns how many rows came.
    pub fn execute(&mut self, prepared: Prepared, values: &[&str]) -> Result<usize> {
        if values.len() != usize::from(prepared.parameters) {
            bail!("{} values for {} parameters", values.len(), prepared.parameters);
        }
        let mut packet = vec![23];
        packet.extend_from_slice(&prepared.id.to_le_bytes());
        packet.push(0);
        packet.extend_from_slice(&1_u32.to_le_bytes());
        if !values.is_empty() {
            // Nothing is null, and every type is VAR_STRING.
            packet.resize(packet.len() + values.len().div_ceil(8), 0);
            packet.push(1);
            packet.extend_from_slice(&[253, 0].repeat(values.len()));
            for value in values {
                let size = u8::try_from(value.len()).ok().filter(|size| *size < 251);
                packet.push(size.context("a value over 250 bytes")?);
                packet.extend_from_slice(value.as_bytes());
            }
        }
        self.send(0, &packet)?;
        self.rows()
    }

    /// Closes the session as a client should.
    pub fn quit(mut self) -> Result<()> {
        self.send(0, &[1])
    }

    fn rows(&mut self) -> Result<usize> {
        let first = self.packet()?;
        match first.first() {
            Some(0) => return Ok(0),
            Some(255) => bail!("{}", String::from_utf8_lossy(first.get(3..).unwrap_or_default())),
            _ => {}
        }
        // Column definitions end with an EOF packet, rows too.
        let mut counts = [0_usize; 2];
        for count in &mut counts {
            loop {
                let packet = self.packet()?;
                if packet.first() == Some(&254) && packet.len() < 9 {
                    break;
                }
                *count += 1;
            }
        }
        Ok(counts[1])
    }

    fn ok(&mut self) -> Result<()> {
        let packet = self.packet()?;
        match packet.first() {
            Some(0) => Ok(()),
            _ => bail!("the server answers {}", packet.escape_ascii()),
        }
    }

    fn send(&mut self, sequence: u8, packet: &[u8]) -> Result<()> {
        let [a, b, c, _] = u32::try_from(packet.len())?.to_le_bytes();
        let mut bytes = vec![a, b, c, sequence];
        bytes.extend_from_slice(packet);
        Ok(self.reader.get_mut().write_all(&bytes)?)
    }

    fn packet(&mut self) -> Result<Vec<u8>> {
        let mut head = [0; 4];
        self.reader.read_exact(&mut head)?;
        let [a, b, c, _] = head;
        let mut packet = vec![0; u32::from_le_bytes([a, b, c, 0]).try_into()?];
        self.reader.read_exact(&mut packet)?;
        Ok(packet)
    }
}
