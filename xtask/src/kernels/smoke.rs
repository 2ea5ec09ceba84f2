//! The smoke capture: small servers and clients of our own speak HTTP, Redis and DNS on loopback, the plugin watches,
//! and what it printed is compared with what was sent.

pub mod server;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use server::Server;

/// The line with the result begins with this.
pub(super) const VERDICT_PREFIX: &str = "kyanos-smoke:";

/// Requests per protocol.
const REQUESTS: usize = 20;

/// How long the first exchange may take: a kernel in software emulation verifies programs slowly.
const FIRST_WITHIN: Duration = Duration::from_mins(4);

/// How long the plugin may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// How long a peer on loopback may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// An exchange as counted: protocol, operation, status, side.
type Key = (String, String, String, String);

/// Captures the smoke traffic with the plugin at `plugin` and compares; returns a line to show.
pub fn run(plugin: &Path) -> Result<String> {
    let server = Server::start()?;
    let mut watch = Watch::start(plugin)?;
    let outcome = exchange_and_compare(&server, &mut watch);
    let stopped = watch.stop();
    match (outcome, stopped) {
        (Ok(count), Ok(_)) => {
            Ok(format!("{count} exchanges of HTTP, Redis and DNS, both sides, none missing, none doubled"))
        }
        (Ok(_), Err(error)) => Err(error),
        (Err(error), Ok(said)) => bail!("{error:#}; the plugin said: {said}"),
        (Err(error), Err(stop)) => bail!("{error:#}; {stop:#}"),
    }
}

/// Runs the smoke capture and prints its result as the line that [`VERDICT_PREFIX`] begins.
pub fn report(plugin: &Path) {
    match run(plugin) {
        Ok(line) => println!("{VERDICT_PREFIX} ok {line}"),
        Err(error) => println!("{VERDICT_PREFIX} {error:#}"),
    }
}

fn exchange_and_compare(server: &Server, watch: &mut Watch) -> Result<usize> {
    let started = Instant::now();
    loop {
        ask_http(server.http, "/ready")?;
        if watch.next(Duration::from_millis(500))?.is_some() {
            break;
        }
        if started.elapsed() > FIRST_WITHIN {
            bail!("no exchange within {} s", FIRST_WITHIN.as_secs());
        }
    }
    let mut expected: BTreeMap<Key, usize> = BTreeMap::new();
    let mut expect = |protocol: &str, operation: &str, status: &str| {
        for side in ["client", "server"] {
            let key = (protocol.to_owned(), operation.to_owned(), status.to_owned(), side.to_owned());
            *expected.entry(key).or_default() += 1;
        }
    };
    for number in 0..REQUESTS {
        let path = format!("/smoke/{number}");
        ask_http(server.http, &path)?;
        expect("http", &format!("GET {path}"), "200");
        let key = format!("smoke:{number}");
        ask_redis(server.redis, &key)?;
        expect("redis", &format!("GET {key}"), "OK");
        let name = format!("smoke{number}.example.org");
        ask_dns(server.dns, &name, u16::try_from(number)?)?;
        expect("dns", &format!("A {name}"), "NOERROR");
    }
    compare(&expected, watch)
}

/// Takes exchanges until all expected ones came and a while longer, for those that must not come.
fn compare(expected: &BTreeMap<Key, usize>, watch: &mut Watch) -> Result<usize> {
    let total: usize = expected.values().sum();
    let mut found: BTreeMap<Key, usize> = BTreeMap::new();
    let mut count = 0;
    let mut patience = Duration::from_secs(20);
    while let Some(exchange) = watch.next(patience)? {
        let text = |name: &str| exchange.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = (text("protocol"), text("operation"), text("status"), text("side"));
        if key.1.contains("smoke") {
            *found.entry(key).or_default() += 1;
            count += 1;
        }
        if count >= total {
            patience = Duration::from_secs(2);
        }
    }
    if &found == expected {
        return Ok(count);
    }
    let mut differences = Vec::new();
    for key in expected.keys().chain(found.keys().filter(|key| !expected.contains_key(*key))) {
        let (want, have) = (expected.get(key).copied(), found.get(key).copied());
        if want != have {
            let (want, have) = (want.unwrap_or_default(), have.unwrap_or_default());
            differences.push(format!("{key:?}: {have} seen, {want} sent"));
        }
    }
    differences.truncate(6);
    bail!("{count} of {total} exchanges; {}", differences.join("; "))
}

// === struct Watch ===

/// A running `watch --local -o json`.
struct Watch {
    child: Child,
    lines: Receiver<String>,
    errors: Option<std::thread::JoinHandle<String>>,
}

impl Watch {
    fn start(plugin: &Path) -> Result<Self> {
        let mut child = Command::new(plugin)
            .args(["watch", "--local", "-o", "json", "-d", "--timeout", "4m"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("running `{}`", plugin.display()))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut stderr = child.stderr.take().context("no standard error")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            match stderr.read_to_string(&mut text) {
                Ok(_) => text,
                Err(error) => format!("{text}(unreadable: {error})"),
            }
        });
        Ok(Self { child, lines, errors: Some(errors) })
    }

    /// Returns the next exchange, none if none came in time.
    fn next(&mut self, within: Duration) -> Result<Option<Value>> {
        match self.lines.recv_timeout(within) {
            Ok(line) => Ok(Some(serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))?)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("the plugin ended"),
        }
    }

    /// Interrupts the plugin and returns what it said on standard error; it must end by itself.
    fn stop(&mut self) -> Result<String> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        let asked = Instant::now();
        if self.child.try_wait()?.is_none() {
            kill(pid, Signal::SIGINT)?;
        }
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if asked.elapsed() > STOP_WITHIN {
                self.child.kill()?;
                self.child.wait()?;
                bail!("the plugin did not end within {} s of SIGINT", STOP_WITHIN.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let said = self.errors.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        match status.code() {
            Some(130) => Ok(said),
            _ => bail!("the plugin ended with {status}: {said}"),
        }
    }
}

// === clients ===

fn connect(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    Ok(stream)
}

fn ask_http(to: SocketAddr, path: &str) -> Result<()> {
    let mut stream = connect(to)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: smoke.example.org\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.starts_with("HTTP/1.1 200 ") {
        bail!("unexpected answer {answer:?}");
    }
    Ok(())
}

fn ask_redis(to: SocketAddr, key: &str) -> Result<()> {
    let mut stream = connect(to)?;
    stream.write_all(format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()).as_bytes())?;
    let mut answer = [0; server::REDIS_ANSWER.len()];
    stream.read_exact(&mut answer)?;
    Ok(())
}

fn ask_dns(to: SocketAddr, name: &str, id: u16) -> Result<()> {
    let socket = UdpSocket::bind((to.ip(), 0))?;
    socket.set_read_timeout(Some(ANSWER_WITHIN))?;
    let mut query = Vec::from(id.to_be_bytes());
    // Recursion desired; one question.
    query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        query.push(u8::try_from(label.len())?);
        query.extend(label.as_bytes());
    }
    // The root; type A, class IN.
    query.extend([0, 0, 1, 0, 1]);
    socket.send_to(&query, to)?;
    let mut answer = [0; 512];
    let (length, _) = socket.recv_from(&mut answer)?;
    if length <= query.len() {
        bail!("the answer to {name} has {length} bytes");
    }
    Ok(())
}
