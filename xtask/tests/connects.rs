//! Connections that come to nothing, as a user sees them: in lines, as JSON, summed up and stored.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells its figures"
)]

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use nix::sys::socket::sockopt::Linger;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, connect, listen, setsockopt, socket,
};
use serde_json::Value;
use xtask::kyanos::{Exchange, Report, Session, machine, run};

const SETTLE: Duration = Duration::from_secs(5);

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_millis(400);

/// Servers that refuse, stay silent, and take back what they accepted.
struct Servers {
    refusing: SocketAddr,
    silent: TcpListener,
    resetting: TcpListener,
    /// What fills the silent one's queue.
    _filling: Vec<TcpStream>,
}

impl Servers {
    fn start() -> Self {
        let bound = || TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = bound();
        listen(&silent, Backlog::new(0).unwrap()).unwrap();
        let mut filling = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&silent.local_addr().unwrap(), PATIENCE) {
            filling.push(stream);
        }
        Self { refusing: bound().local_addr().unwrap(), silent, resetting: bound(), _filling: filling }
    }

    fn ports(&self) -> [u16; 3] {
        let [silent, resetting] = [&self.silent, &self.resetting].map(|one| one.local_addr().unwrap().port());
        [self.refusing.port(), silent, resetting]
    }

    /// Tries each of them once.
    fn try_all(&self) {
        TcpStream::connect(self.refusing).unwrap_err();
        TcpStream::connect_timeout(&self.silent.local_addr().unwrap(), PATIENCE).unwrap_err();
        let mut client = TcpStream::connect(self.resetting.local_addr().unwrap()).unwrap();
        let (server, _) = self.resetting.accept().unwrap();
        abort(server);
        client.read(&mut [0]).unwrap_err();
    }
}

/// Begins to connect and leaves it at that, so that it waits when the capture ends.
fn waiting(to: SocketAddr) -> OwnedFd {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    connect(socket.as_raw_fd(), &SockaddrStorage::from(to)).unwrap_err();
    socket
}

/// Closes a connection by a reset.
fn abort(stream: TcpStream) {
    setsockopt(&stream, Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    drop(stream);
}

fn is_attempt(line: &Exchange) -> bool {
    line.text("protocol") == "tcp"
}

#[test]
fn what_is_refused_hangs_or_is_reset_is_an_exchange_of_its_process() {
    let Some(_alone) = machine().unwrap() else { return };
    let servers = Servers::start();
    let ports = servers.ports();
    let listed = ports.map(|port| port.to_string()).join(",");
    let session = Session::watch(&["--remote-ports", &listed, "--errors"]).unwrap();
    servers.try_all();
    let _hangs = waiting(servers.silent.local_addr().unwrap());
    std::thread::sleep(Duration::from_millis(1500));
    session.settle(3, SETTLE, is_attempt);
    let report = session.stop().unwrap();
    for (port, statuses) in ports.into_iter().zip([&["REFUSED"][..], &["TIMEOUT", "TIMEOUT"], &["RESET"]]) {
        let seen = report.seen("client", port);
        let found: Vec<_> = seen.iter().map(|line| line.text("status")).collect();
        assert_eq!(found, statuses, "{port}: {}", report.stderr);
        for line in seen {
            assert_eq!(line.text("operation"), format!("CONNECT 127.0.0.1:{port}"));
            assert_eq!(line.text("target"), format!("127.0.0.1:{port}"));
            assert_eq!(line.number("pid"), Some(u64::from(std::process::id())));
            assert!(!line.text("comm").is_empty());
            assert_eq!(line.value["error"], true, "{}", line.value);
            assert!(
                line.value["request"].is_null() && line.value["response_bytes"].is_null(),
                "{}",
                line.value
            );
            assert_eq!(line.number("total_ns"), line.number("network_ns"), "{}", line.value);
        }
    }
    let took: Vec<_> =
        report.seen("client", ports[1]).iter().map(|line| line.number("total_ns").unwrap()).collect();
    assert!(took[0] >= 400_000_000 && took[0] < 1_500_000_000, "the process gave up: {took:?}");
    assert!(took[1] >= 1_500_000_000, "it waited until the end: {took:?}");
    assert!(report.lost().unwrap().is_empty(), "{}", report.stderr);
}

#[test]
fn the_server_that_is_reset_tells_too_and_filters_choose() {
    let Some(_alone) = machine().unwrap() else { return };
    let servers = Servers::start();
    let [refusing, silent, resetting] = servers.ports();
    let listener = servers.resetting.try_clone().unwrap();
    let tried = |report: fn(&Report, u16) -> usize, arguments: &[&str]| {
        let session = Session::watch(arguments).unwrap();
        servers.try_all();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        abort(client);
        server.read(&mut [0]).unwrap_err();
        session.settle(4, Duration::from_secs(2), is_attempt);
        let ended = session.stop().unwrap();
        [refusing, silent, resetting].map(|port| report(&ended, port))
    };
    let client = |report: &Report, port: u16| report.seen("client", port).len();
    let server = |report: &Report, port: u16| report.seen("server", port).len();
    let pid = std::process::id().to_string();
    assert_eq!(tried(client, &["tcp", "--pids", &pid]), [1, 1, 1]);
    assert_eq!(tried(server, &["tcp", "--pids", &pid]), [0, 0, 1]);
    assert_eq!(tried(client, &["tcp", "--side", "server"]), [0, 0, 0]);
    assert_eq!(tried(server, &["tcp", "--status", "RESET"]), [0, 0, 1]);
    assert_eq!(tried(client, &["--status", "REFUSED,TIMEOUT"]), [1, 1, 0]);
    assert_eq!(tried(client, &["--remote-ports", &silent.to_string()]), [0, 1, 0]);
    assert_eq!(tried(client, &["--no-connects"]), [0, 0, 0]);
    assert_eq!(tried(client, &["http"]), [0, 0, 0]);
}

#[test]
fn summaries_count_them_as_any_protocol() {
    let Some(_alone) = machine().unwrap() else { return };
    let servers = Servers::start();
    let port = servers.ports()[0];
    let ports = port.to_string();
    let common = ["--remote-ports", &ports, "-o", "json", "--time", "3"];
    let stat = ["stat", "tcp", "--local", "--group-by", "remote-port/status"];
    for command in [&stat[..], &["overview", "--local"]] {
        let arguments: Vec<&str> = command.iter().chain(&common).copied().collect();
        let mut session = Session::command(&arguments).unwrap();
        session.wait_capturing().unwrap();
        for _ in 0..5 {
            TcpStream::connect(servers.refusing).unwrap_err();
        }
        let report = session.finish(Duration::from_secs(30)).unwrap();
        let text: String = report.exchanges.iter().map(|line| line.value.to_string()).collect();
        let text = text + &report.noise.join("\n");
        let counts = numbers(&text);
        assert!(text.contains("tcp") || text.contains("REFUSED"), "{text}\n{}", report.stderr);
        assert!(counts.contains(&5), "{text}\n{}", report.stderr);
    }
    let refused = run(&["watch", "tcp", "--local", "--no-connects"]).unwrap();
    assert_eq!(refused.code(), 2, "{}", refused.stderr);
}

/// All whole numbers of some JSON.
fn numbers(text: &str) -> Vec<u64> {
    fn collect(value: &Value, into: &mut Vec<u64>) {
        match value {
            Value::Number(number) => into.extend(number.as_u64()),
            Value::Array(values) => values.iter().for_each(|value| collect(value, into)),
            Value::Object(fields) => fields.values().for_each(|value| collect(value, into)),
            Value::Null | Value::Bool(_) | Value::String(_) => {}
        }
    }
    let mut found = Vec::new();
    let whole = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    whole.map_while(Result::ok).for_each(|value| collect(&value, &mut found));
    found
}
