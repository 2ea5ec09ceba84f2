//! nginx, with its access log as the witness.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Plan, Process, free_port, scratch};

/// An nginx with one worker.
///
/// It serves `/hello`, `/json`, `/text`, `/blob-SIZE` for the sizes of [`Nginx::BLOBS`], `/status/CODE` for those of
/// [`Nginx::STATUSES`], `/chunked.shtml` in chunks, and takes `PUT /upload/NAME`. `POST /post` is answered with
/// `done` by a server behind a Unix socket, which is not followed: nginx counts a body only if it has a use for it.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    port: u16,
    folder: TempDir,
}

/// One line of the access log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// Method as sent.
    pub method: String,
    /// Target as sent, with its query.
    pub path: String,
    /// Status of the response.
    pub status: u16,
    /// Bytes sent to the client, head included (`$bytes_sent`).
    pub bytes_sent: u64,
    /// Bytes received of the request, head included (`$request_length`).
    pub request_length: u64,
    /// Address and port of the client.
    pub client_port: u16,
    /// Milliseconds from its first bytes to the log line (`$request_time`).
    pub took_ms: u64,
    /// Milliseconds until the server behind had answered with a head (`$upstream_header_time`), where one was asked.
    pub header_took_ms: Option<u64>,
}

// === impl Nginx ===

impl Nginx {
    /// Sizes of the files that are served as `/blob-SIZE`.
    pub const BLOBS: [usize; 6] = [0, 1, 1_000, 20_000, 100_000, 1_000_000];

    /// Statuses that are served as `/status/CODE`.
    pub const STATUSES: [u16; 6] = [200, 204, 301, 403, 404, 503];

    /// Starts it on IPv4 and IPv6 loopback.
    pub fn start() -> Result<Self> {
        Self::start_with("")
    }

    /// Starts it with further directives in its `server` block.
    pub fn start_with(directives: &str) -> Result<Self> {
        let folder = scratch("nginx")?;
        let port = free_port()?;
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("upload"))?;
        for size in Self::BLOBS {
            std::fs::write(root.join(format!("blob-{size}")), blob(size))?;
        }
        std::fs::write(root.join("part.html"), "included\n".repeat(500))?;
        let parts = "<!--# include virtual=\"/part.html\" -->\n".repeat(3);
        std::fs::write(root.join("chunked.shtml"), format!("head\n{parts}foot\n"))?;
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, configuration(&folder.path().to_string_lossy(), port, directives))?;
        let log = folder.path().join("output.log");
        let plan = Plan::new("nginx")?;
        let mut command = plan.command();
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file).args(["-e", "error.log"]);
        let mut process = plan.start(&mut command, &log)?;
        super::wait_for_port(&mut process, port, &log)?;
        Ok(Self { process, port, folder })
    }

    /// Returns the port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the process id of the master, which serves nothing itself.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns the process ids of its workers, which serve.
    pub fn workers(&self) -> Result<Vec<u32>> {
        let id = self.id();
        let path = format!("/proc/{id}/task/{id}/children");
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading `{path}`"))?;
        let workers: Result<Vec<u32>, _> = text.split_ascii_whitespace().map(str::parse).collect();
        workers.with_context(|| format!("process ids in `{path}`"))
    }

    /// Returns the address of a path, such as `http://127.0.0.1:20000/hello`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Returns the folder of served files, for a test to add its own.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Returns what it has logged so far; a line is written when its response has been sent.
    pub fn requests(&self) -> Result<Vec<Request>> {
        let text =
            std::fs::read_to_string(self.folder.path().join("access.log")).context("the access log")?;
        text.lines().map(request).collect()
    }
}

// === free functions ===

fn blob(size: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(size).collect()
}

fn request(line: &str) -> Result<Request> {
    let value: Value = serde_json::from_str(line).with_context(|| format!("access log line `{line}`"))?;
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |name: &str| -> Result<u64> { Ok(text(name).parse()?) };
    Ok(Request {
        method: text("method"),
        path: text("path"),
        status: number("status")?.try_into()?,
        bytes_sent: number("bytes_sent")?,
        request_length: number("request_length")?,
        client_port: number("client_port")?.try_into()?,
        took_ms: milliseconds(&text("took"))?,
        // Empty where none was asked, a line where it did not answer.
        header_took_ms: milliseconds(&text("header_took")).ok(),
    })
}

/// Reads seconds with three digits behind the point.
fn milliseconds(text: &str) -> Result<u64> {
    let (seconds, fraction) = text.split_once('.').with_context(|| format!("the time `{text}`"))?;
    Ok(seconds.parse::<u64>()? * 1_000 + fraction.parse::<u64>()?)
}

fn configuration(folder: &str, port: u16, directives: &str) -> String {
    let mut statuses = String::new();
    for status in Nginx::STATUSES {
        let body = if status == 204 { String::new() } else { format!(" \"status {status}\\n\"") };
        let body = if status == 301 { " /hello".to_owned() } else { body };
        // Writing to a String cannot fail.
        _ = writeln!(statuses, "    location = /status/{status} {{ return {status}{body}; }}");
    }
    let user = if crate::run::is_root() { "user root;" } else { "" };
    format!(
        r#"daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  log_format witness escape=json '{{"method":"$request_method","path":"$request_uri","status":"$status",'
    '"bytes_sent":"$bytes_sent","request_length":"$request_length","client_port":"$remote_port","took":"$request_time",'
    '"header_took":"$upstream_header_time"}}';
  access_log {folder}/access.log witness;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  default_type text/plain;
  keepalive_requests 1000000;
  keepalive_timeout 60s;
  client_max_body_size 0;
  sendfile on;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    listen [::1]:{port} backlog=4096;
    root {folder}/root;
    {directives}
    location = /hello {{ return 200 "hello\n"; }}
    location = /json {{ default_type application/json; return 200 "{{\"id\":7,\"name\":\"Jörg \\\"J\\\"\"}}"; }}
    location = /text {{ return 200 "line one\r\n\tline two\n"; }}
    location = /post {{ proxy_pass http://unix:{folder}/behind:/; }}
    location = /chunked.shtml {{ ssi on; ssi_types text/plain; }}
    location /upload/ {{ dav_methods PUT DELETE; create_full_put_path on; client_body_buffer_size 64k; }}
{statuses}  }}
  server {{
    listen unix:{folder}/behind;
    access_log off;
    location / {{ return 200 "done\n"; }}
  }}
}}
"#
    )
}
