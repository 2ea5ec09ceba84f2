//! A proxy of one connection that notes when it makes its calls.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow, ensure};

/// What one read takes at most: requests and answers are smaller.
const READ_SIZE: usize = 64 * 1024;

/// When one exchange passed the proxy, in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamps {
    /// After the read of the request.
    pub(super) has_request: i128,
    /// Before the request is written to the server.
    pub(super) sends: i128,
    /// After the read of the answer.
    pub(super) has_answer: i128,
    /// Before the answer is written to the client.
    pub(super) answers: i128,
}

/// A proxy of the next connection.
#[derive(Debug)]
pub(super) struct StampingProxy {
    port: u16,
    thread: JoinHandle<Result<Vec<Stamps>>>,
}

// === impl StampingProxy ===

impl StampingProxy {
    pub(super) fn start(to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        Ok(Self { port, thread: std::thread::spawn(move || pass(&listener, to)) })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the stamps once the client has closed.
    pub(super) fn finish(self) -> Result<Vec<Stamps>> {
        self.thread.join().map_err(|_panic| anyhow!("the proxy panicked"))?
    }
}

fn pass(listener: &TcpListener, to: SocketAddr) -> Result<Vec<Stamps>> {
    let (mut front, _) = listener.accept()?;
    let mut back = TcpStream::connect(to)?;
    front.set_nodelay(true)?;
    back.set_nodelay(true)?;
    let mut all = Vec::new();
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let length = front.read(&mut buffer)?;
        let has_request = now()?;
        if length == 0 {
            return Ok(all);
        }
        let request = buffer.get(..length).context("the request")?;
        ensure!(request.ends_with(b"\r\n\r\n"), "a request came in parts");
        let sends = now()?;
        back.write_all(request)?;
        let length = back.read(&mut buffer)?;
        let has_answer = now()?;
        let answer = buffer.get(..length).context("the answer")?;
        ensure!(answer.ends_with(b"\n"), "an answer came in parts");
        let answers = now()?;
        front.write_all(answer)?;
        all.push(Stamps { has_request, sends, has_answer, answers });
    }
}

fn now() -> Result<i128> {
    Ok(i128::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos())?)
}
