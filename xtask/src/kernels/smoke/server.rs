//! The smoke capture's small server: a process of its own that speaks just enough HTTP, Redis and DNS.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// Where DNS is served: an address of loopback that resolvers of a machine leave alone.
const DNS_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 53, 53, 53)), 53);

/// What every Redis command gets.
pub(super) const REDIS_ANSWER: &[u8] = b"$5\r\nsmoke\r\n";

/// Answer section of every DNS answer: the question's name, A, IN, 60 s, 192.0.2.1.
const DNS_ANSWER: [u8; 16] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1];

/// A running server process; it ends when this is dropped.
pub(super) struct Server {
    child: Child,
    pub(super) http: SocketAddr,
    pub(super) redis: SocketAddr,
    pub(super) dns: SocketAddr,
}

impl Server {
    pub(super) fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("smoke-server")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the smoke server")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no standard output")?).read_line(&mut line)?;
        let mut addresses = line.split_whitespace().map(str::parse::<SocketAddr>);
        let mut next = || addresses.next().context("the smoke server did not start")?.context("bad address");
        Ok(Self { http: next()?, redis: next()?, dns: next()?, child })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if self.child.wait().is_err() {
            eprintln!("the smoke server could not be waited for");
        }
    }
}

/// Serves until standard input ends; prints the addresses of HTTP, Redis and DNS on one line first.
pub fn serve() -> Result<()> {
    let http = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let redis = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let dns = UdpSocket::bind(DNS_ADDRESS).with_context(|| format!("binding {DNS_ADDRESS}"))?;
    println!("{} {} {}", http.local_addr()?, redis.local_addr()?, dns.local_addr()?);
    std::thread::spawn(move || accept(&http, answer_http));
    std::thread::spawn(move || accept(&redis, answer_redis));
    std::thread::spawn(move || answer_dns(&dns));
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Serves one connection after the other; a client that breaks off is its own affair and shows there.
fn accept(listener: &TcpListener, answer: fn(TcpStream) -> std::io::Result<()>) {
    for stream in listener.incoming().flatten() {
        if let Err(error) = answer(stream) {
            eprintln!("smoke server: {error}");
        }
    }
}

fn answer_http(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    while reader.read_line(&mut head)? > 2 {}
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nsmoke")
}

fn answer_redis(mut stream: TcpStream) -> std::io::Result<()> {
    let mut command = [0; 512];
    while stream.read(&mut command)? > 0 {
        stream.write_all(REDIS_ANSWER)?;
    }
    Ok(())
}

fn answer_dns(socket: &UdpSocket) {
    let mut query = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut query) {
        let mut answer = query.get(..length).map(<[u8]>::to_vec).unwrap_or_default();
        // A response, recursion available, one answer.
        for (at, value) in [(2, 0x81), (3, 0x80), (7, 1)] {
            if let Some(byte) = answer.get_mut(at) {
                *byte = value;
            }
        }
        answer.extend(DNS_ANSWER);
        if let Err(error) = socket.send_to(&answer, from) {
            eprintln!("smoke server: {error}");
        }
    }
}
