//! Redis, with a `MONITOR` client as the witness.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::process::{Plan, Process, free_port, scratch, wait_until};

/// A Redis server that keeps nothing.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    port: u16,
    folder: TempDir,
    monitored: Arc<Mutex<Vec<Command>>>,
}

/// One command as `MONITOR` shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Command {
    /// Client as `ADDRESS:PORT`.
    pub client: String,
    /// The command and its arguments.
    pub words: Vec<Vec<u8>>,
}

// === impl Redis ===

impl Redis {
    /// Starts it on IPv4 and IPv6 loopback.
    pub fn start() -> Result<Self> {
        let folder = scratch("redis")?;
        let port = free_port()?;
        let socket = folder.path().join("socket");
        let log = folder.path().join("output.log");
        let plan = Plan::new("redis-server")?;
        let mut command = plan.command();
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "::1", "--save", ""]);
        command.args(["--appendonly", "no", "--maxclients", "5000", "--unixsocket"]).arg(&socket);
        command.arg("--dir").arg(folder.path());
        let mut process = plan.start(&mut command, &log)?;
        super::wait_for_port(&mut process, port, &log)?;
        let monitored = Arc::new(Mutex::new(Vec::new()));
        monitor(&socket, Arc::clone(&monitored))?;
        Ok(Self { process, port, folder, monitored })
    }

    /// Returns the port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns the commands of TCP clients so far, in the order of their execution.
    ///
    /// A marker is sent through the server's Unix socket first, so that nothing earlier is still under way.
    pub fn commands(&self) -> Result<Vec<Command>> {
        let marker = format!("witness-{}", self.len());
        let mut control = UnixStream::connect(self.socket())?;
        control.write_all(format!("ECHO {marker}\r\n").as_bytes())?;
        let shown =
            || self.locked().iter().any(|command| command.words.last() == Some(&marker.clone().into()));
        wait_until("MONITOR to show the marker", Duration::from_secs(10), shown)?;
        let over_tcp = |command: &&Command| !command.client.starts_with("unix:");
        Ok(self.locked().iter().filter(over_tcp).cloned().collect())
    }

    /// Returns the path of its Unix socket, whose traffic is not followed.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn len(&self) -> usize {
        self.locked().len()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<Command>> {
        self.monitored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === free functions ===

/// Follows `MONITOR` on the Unix socket until the server ends.
fn monitor(socket: &std::path::Path, into: Arc<Mutex<Vec<Command>>>) -> Result<()> {
    // It listens there after it listens on its port.
    let mut stream = None;
    wait_until("Redis to listen on its Unix socket", Duration::from_secs(10), || {
        stream = UnixStream::connect(socket).ok();
        stream.is_some()
    })?;
    let mut stream = stream.context("connecting to Redis's Unix socket")?;
    stream.write_all(b"MONITOR\r\n")?;
    let mut lines = BufReader::new(stream);
    let mut first = String::new();
    lines.read_line(&mut first)?;
    if first.trim() != "+OK" {
        bail!("Redis answers `{}` to MONITOR", first.trim());
    }
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            if let Some(command) = command(&line) {
                into.lock().unwrap_or_else(PoisonError::into_inner).push(command);
            }
        }
    });
    Ok(())
}

/// Reads `+1700000000.123456 [0 127.0.0.1:5000] "SET" "a\"b" "\x00"`.
fn command(line: &str) -> Option<Command> {
    let (_, rest) = line.split_once(" [")?;
    let (origin, rest) = rest.split_once("] ")?;
    let (_, client) = origin.split_once(' ')?;
    let mut words = Vec::new();
    let mut bytes = rest.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'"' {
            words.push(word(&mut bytes)?);
        }
    }
    Some(Command { client: client.to_owned(), words })
}

/// Reads up to the closing quote, undoing Redis's escapes.
fn word(bytes: &mut std::str::Bytes<'_>) -> Option<Vec<u8>> {
    let mut word = Vec::new();
    loop {
        match bytes.next()? {
            b'"' => return Some(word),
            b'\\' => word.push(match bytes.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'a' => 7,
                b'b' => 8,
                b'x' => {
                    let digits = [bytes.next()?, bytes.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                other => other,
            }),
            other => word.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monitor_line_gives_its_words_unescaped() {
        let line = r#"+1700000000.123456 [0 127.0.0.1:5000] "SET" "a\"b\\" "\x00\r\n" """#;
        let command = command(line).unwrap();
        assert_eq!(command.client, "127.0.0.1:5000");
        let words: Vec<&[u8]> = command.words.iter().map(Vec::as_slice).collect();
        assert_eq!(words, [b"SET".as_slice(), b"a\"b\\", b"\0\r\n", b""]);
    }
}
