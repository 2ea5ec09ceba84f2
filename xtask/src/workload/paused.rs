//! A client and a server that rest at known places of an exchange, and what the kernel says of their connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::http;

/// Longest wait for the other end.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);

/// What one read takes at most: a whole answer, where it has come.
const READ_SIZE: usize = 256 * 1024;

/// Where the two ends rest, and how much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pauses {
    /// The server, between the arrival of a request and its read.
    pub before_request_read: Duration,
    /// The server, between the read of a request and its answer.
    pub handler: Duration,
    /// The client, between its request and its read.
    pub before_response_read: Duration,
    /// Bytes of every answer's body.
    pub body: usize,
}

/// A server of one connection.
#[derive(Debug)]
pub struct PausedServer {
    accepted: Receiver<()>,
    thread: JoinHandle<Result<Served>>,
}

/// What the server knows when its client has closed.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// What the kernel says of its end.
    pub end: TcpEnd,
    /// How long it rested before it read each request: on a busy machine a rest is longer than told.
    pub before_request_read: Vec<Duration>,
    /// How long it rested before each answer.
    pub handler: Vec<Duration>,
}

/// What the kernel says of one end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpEnd {
    /// Segments sent again since the connection was opened (`tcpi_total_retrans`).
    pub retransmits: u32,
    /// The same before the first request.
    pub retransmits_before: u32,
}

/// What one exchange took, as the client sees it.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// From before the write to after the read of the last byte.
    pub total: Duration,
    /// How long the client rested before its read.
    pub before_response_read: Duration,
    /// Bytes of the whole answer.
    pub bytes: usize,
}

// === impl PausedServer ===

impl PausedServer {
    /// Serves the next connection of a listener.
    #[must_use]
    pub fn serve(listener: TcpListener, pauses: Pauses) -> Self {
        let (tell, accepted) = mpsc::sync_channel(1);
        Self { accepted, thread: std::thread::spawn(move || serve(&listener, pauses, &tell)) }
    }

    /// Waits until the connection is open at this end too: the client's is before the handshake's last segment comes here.
    pub fn wait_accepted(&mut self) -> Result<()> {
        self.accepted.recv_timeout(PEER_TIMEOUT).context("the server accepted nothing")
    }

    /// Waits until the client has closed, and returns what is known then.
    pub fn finish(self) -> Result<Served> {
        self.thread.join().map_err(|_panic| anyhow!("the server panicked"))?
    }
}

// === free functions ===

/// Asks for `GET /NAME/NUMBER` so often over one connection, resting as told.
pub fn ask(stream: &mut TcpStream, name: &str, requests: usize, pauses: Pauses) -> Result<Vec<Taken>> {
    let mut taken = Vec::new();
    for number in 0..requests {
        let request = http::request("GET", &format!("/{name}/{number}"), &[]);
        let begun = Instant::now();
        stream.write_all(&request).context("sending a request")?;
        let before_response_read = rest(pauses.before_response_read);
        let bytes = read_answer(stream, pauses.body)?;
        taken.push(Taken { total: begun.elapsed(), before_response_read, bytes });
    }
    Ok(taken)
}

/// Connects for [`ask`].
pub fn connect(to: SocketAddr) -> Result<TcpStream> {
    let stream =
        TcpStream::connect_timeout(&to, PEER_TIMEOUT).with_context(|| format!("connecting to {to}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PEER_TIMEOUT))?;
    Ok(stream)
}

/// Returns how many segments the kernel has sent again on a connection.
pub fn retransmits(stream: &TcpStream) -> Result<u32> {
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>())?;
    #[expect(unsafe_code, reason = "nix has no name for this option")]
    // SAFETY: `tcp_info` is plain data; the kernel writes no more than `length` bytes of it, both outlive the call.
    let (done, info) = unsafe {
        let mut info: libc::tcp_info = std::mem::zeroed();
        let done = libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        );
        (done, info)
    };
    if done < 0 {
        return Err(std::io::Error::last_os_error()).context("asking for TCP_INFO");
    }
    Ok(info.tcpi_total_retrans)
}

fn serve(listener: &TcpListener, pauses: Pauses, accepted: &SyncSender<()>) -> Result<Served> {
    let (mut stream, _) = listener.accept()?;
    // Nobody may wait for it.
    let _unheard = accepted.send(());
    stream.set_nodelay(true)?;
    let before = retransmits(&stream)?;
    let mut served = Served::default();
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", pauses.body).into_bytes();
    answer.extend(http::pattern(pauses.body, pauses.body));
    let mut buffer = vec![0; READ_SIZE];
    let mut asked = Vec::new();
    loop {
        // Looking is no read: what has come waits in the socket.
        let mut polled = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
        ensure!(poll(&mut polled, PollTimeout::try_from(PEER_TIMEOUT)?)? == 1, "no request came");
        let rested = rest(pauses.before_request_read);
        let read = stream.read(&mut buffer).context("reading a request")?;
        if read == 0 {
            served.end = TcpEnd { retransmits: retransmits(&stream)?, retransmits_before: before };
            return Ok(served);
        }
        asked.extend_from_slice(buffer.get(..read).unwrap_or_default());
        if asked.ends_with(b"\r\n\r\n") {
            asked.clear();
            served.before_request_read.push(rested);
            served.handler.push(rest(pauses.handler));
            stream.write_all(&answer).context("answering")?;
        }
    }
}

/// Rests, and returns how long that was.
fn rest(pause: Duration) -> Duration {
    let begun = Instant::now();
    std::thread::sleep(pause);
    begun.elapsed()
}

/// Reads one answer whose body has this length, and returns its bytes.
fn read_answer(stream: &mut TcpStream, body: usize) -> Result<usize> {
    let mut buffer = vec![0; READ_SIZE];
    let mut answer = Vec::new();
    loop {
        let read = stream.read(&mut buffer).context("reading an answer")?;
        ensure!(read > 0, "the server closed the connection");
        answer.extend_from_slice(buffer.get(..read).unwrap_or_default());
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        if head.is_some_and(|head| answer.len() >= head + body) {
            return Ok(answer.len());
        }
    }
}
