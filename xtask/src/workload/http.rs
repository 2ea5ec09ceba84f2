//! An HTTP/1.1 client and an origin server.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Longest wait for any byte of an answer.
const BYTE_TIMEOUT: Duration = Duration::from_secs(30);

/// One client connection.
#[derive(Debug)]
pub struct HttpClient {
    reader: BufReader<TcpStream>,
}

/// A response as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Bytes in the stream: head, body and framing.
    pub bytes: u64,
    /// The decoded body.
    pub body: Vec<u8>,
}

/// An origin server on a thread of this process, one thread per connection.
///
/// `/sleep/MS` answers after so many milliseconds, `/bytes/N` with N bytes of [`pattern`], `/chunked/N` with the same in chunks; every
/// other path is answered with `METHOD PATH BODY-LENGTH` as text.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    stop: TcpListener,
    thread: Option<JoinHandle<()>>,
}

/// A request as an origin server reads it.
#[derive(Debug)]
pub struct Asked {
    /// Method.
    pub method: String,
    /// Target.
    pub path: String,
    /// Bytes of the body.
    pub length: u64,
    /// Whether the connection goes on afterwards.
    pub keep: bool,
}

// === impl HttpClient ===

impl HttpClient {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        Self::over(TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?)
    }

    /// Uses a connected stream.
    pub fn over(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(BYTE_TIMEOUT))?;
        Ok(Self { reader: BufReader::with_capacity(64 * 1024, stream) })
    }

    /// Returns this end's port.
    pub fn port(&self) -> Result<u16> {
        Ok(self.reader.get_ref().local_addr()?.port())
    }

    /// Sends bytes as they are, in one write where the socket takes them.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.reader.get_mut().write_all(bytes).context("sending a request")
    }

    /// Sends a request without a body and reads its response.
    pub fn get(&mut self, path: &str) -> Result<Response> {
        self.request("GET", path, &[])
    }

    /// Sends a request and reads its response.
    pub fn request(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Response> {
        self.send(&request(method, path, body))?;
        self.receive(method)
    }

    /// Reads the response to a request with this method.
    pub fn receive(&mut self, method: &str) -> Result<Response> {
        let mut bytes = 0;
        let status_line = self.line(&mut bytes)?;
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("no status in `{status_line}`"))?;
        let (mut length, mut chunked) = (None, false);
        loop {
            let line = self.line(&mut bytes)?.to_ascii_lowercase();
            let Some((name, value)) = line.split_once(':') else { break };
            match (name, value.trim()) {
                ("content-length", value) => length = Some(value.parse::<usize>()?),
                ("transfer-encoding", "chunked") => chunked = true,
                _ => {}
            }
        }
        let mut body = Vec::new();
        if method != "HEAD" && status != 204 && status != 304 {
            if chunked {
                while let size @ 1.. = usize::from_str_radix(self.line(&mut bytes)?.trim(), 16)? {
                    self.take(size, &mut body, &mut bytes)?;
                    self.line(&mut bytes)?;
                }
                self.line(&mut bytes)?;
            } else if let Some(length) = length {
                self.take(length, &mut body, &mut bytes)?;
            } else {
                bytes += self.reader.read_to_end(&mut body)? as u64;
            }
        }
        Ok(Response { status, bytes, body })
    }

    fn line(&mut self, bytes: &mut u64) -> Result<String> {
        let mut line = String::new();
        let size = self.reader.read_line(&mut line).context("reading a response")?;
        if size == 0 {
            bail!("the server closed the connection");
        }
        *bytes += size as u64;
        Ok(line.trim_end().to_owned())
    }

    fn take(&mut self, size: usize, body: &mut Vec<u8>, bytes: &mut u64) -> Result<()> {
        let from = body.len();
        body.resize(from + size, 0);
        self.reader.read_exact(body.get_mut(from..).unwrap_or_default()).context("reading a body")?;
        *bytes += size as u64;
        Ok(())
    }
}

// === impl Origin ===

impl Origin {
    /// Starts it on a free port of this address.
    pub fn start(address: SocketAddr) -> Result<Self> {
        Self::on(TcpListener::bind(address)?)
    }

    /// Serves a listening socket.
    pub fn on(listener: TcpListener) -> Result<Self> {
        let address = listener.local_addr()?;
        let stop = listener.try_clone()?;
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { break };
                std::thread::spawn(move || drop(serve(stream)));
            }
        });
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Returns where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        use std::os::fd::AsRawFd;
        // A listener that is shut down makes its accept fail.
        let closed = nix::sys::socket::shutdown(self.stop.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        if let (Ok(()), Some(thread)) = (closed, self.thread.take()) {
            drop(thread.join());
        }
    }
}

// === free functions ===

/// Returns bytes that tell their place: a message with a byte in the wrong place differs from it.
#[must_use]
pub fn pattern(seed: usize, size: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(size + 16);
    let mut line = 0_usize;
    while text.len() < size {
        text.extend_from_slice(format!("{seed:x}:{line:x};").as_bytes());
        line += 1;
    }
    text.truncate(size);
    text
}

/// Returns the bytes of a request.
#[must_use]
pub fn request(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: shop.test\r\n").into_bytes();
    if !body.is_empty() || matches!(method, "POST" | "PUT") {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// Answers all requests of one connection.
pub fn serve(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::with_capacity(64 * 1024, stream);
    while let Some(asked) = read_request(&mut reader)? {
        answer(&mut writer, &asked)?;
        if !asked.keep {
            break;
        }
    }
    Ok(())
}

/// Reads one request with its body; none at the end of the connection.
pub fn read_request(reader: &mut impl BufRead) -> Result<Option<Asked>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut words = first.split_ascii_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut asked = Asked { method: method.to_owned(), path: path.to_owned(), length: 0, keep: true };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match (name.to_ascii_lowercase().as_str(), value.trim()) {
            ("content-length", value) => asked.length = value.parse()?,
            ("connection", "close") => asked.keep = false,
            _ => {}
        }
    }
    io::copy(&mut reader.by_ref().take(asked.length), &mut io::sink())?;
    Ok(Some(asked))
}

/// Writes the answer to a request, in one write where the socket takes it.
pub fn answer(writer: &mut impl Write, asked: &Asked) -> Result<()> {
    let (what, number) = asked.path.trim_start_matches('/').split_once('/').unwrap_or_default();
    let number: usize = number.parse().unwrap_or_default();
    let body = match what {
        "bytes" | "chunked" => pattern(number, number),
        _ => format!("{} {} {}\n", asked.method, asked.path, asked.length).into_bytes(),
    };
    if what == "sleep" {
        std::thread::sleep(Duration::from_millis(number as u64));
    }
    let mut bytes = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n".to_vec();
    if !asked.keep {
        bytes.extend_from_slice(b"Connection: close\r\n");
    }
    if what == "chunked" {
        bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        for chunk in body.chunks(1000) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
    } else {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(&body);
    }
    writer.write_all(&bytes).context("sending a response")
}
