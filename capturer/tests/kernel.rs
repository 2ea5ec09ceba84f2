//! The kernel programs against real sockets of this process; needs root.
//!
//! All of it runs once for each source of bytes: as it is where sockets tell what they move, and as a part of
//! `kernel_syscalls` where system calls do.
#![expect(clippy::print_stdout, reason = "says why a test could not run")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails where it stands")]
#![expect(unsafe_code, reason = "calls that the standard library does not make")]
#![expect(clippy::cast_possible_truncation, reason = "counts and lengths of these tests are small")]

#[path = "kernel/attempts.rs"]
mod attempts;
#[path = "kernel/beginning.rs"]
mod beginning;
#[path = "kernel/calls.rs"]
mod calls;
#[path = "kernel/cgroups.rs"]
mod cgroups;
#[path = "kernel/conversations.rs"]
mod conversations;
#[path = "kernel/datagrams.rs"]
mod datagrams;
#[path = "kernel/frames.rs"]
mod frames;
#[path = "kernel/group.rs"]
mod group;
#[path = "kernel/large.rs"]
mod large;
#[path = "kernel/packets.rs"]
mod packets;
#[path = "kernel/places.rs"]
mod places;
#[path = "kernel/sample.rs"]
mod sample;
#[path = "kernel/uring.rs"]
mod uring;

use std::{
    collections::BTreeMap,
    io::{IoSlice, Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    thread,
    time::Duration,
};

use capturer::kernel::{Kernel, KernelFilter, Record, Run, STREAMS, Settings, Source, Totals};
use capturer_ebpf::layout::{
    Arrival, Attempt, Connected, Ended, Moved, Packet, Verdict, direction, flag, verdict,
};

/// The source of bytes that these tests are about.
fn source() -> Source {
    if env!("CARGO_CRATE_NAME") == "kernel" { Source::Socket } else { Source::Syscall }
}

/// Whether the tests cannot run here, and says why.
fn skipped() -> bool {
    let why = if !nix::unistd::geteuid().is_root() {
        "needs root"
    } else if !source().is_there().expect("a kernel that serves") {
        "this kernel's sockets do not tell what they move"
    } else {
        return false;
    };
    println!("skipped: {why}");
    true
}

/// What one capture saw of its port.
#[derive(Default)]
struct Seen {
    moved: Vec<(Moved, Vec<u8>)>,
    /// What came before the payload of each, by the same index.
    pieces: Vec<Vec<Run>>,
    ended: Vec<Ended>,
    attempts: Vec<Attempt>,
    packets: Vec<Packet>,
    arrivals: Vec<Arrival>,
    connected: Vec<Connected>,
    /// Control groups: id, and names from the inside out.
    cgroups: Vec<(u64, Vec<String>)>,
}

impl Seen {
    fn take(&mut self, record: Record<'_>) {
        match record {
            Record::Moved { head, payload, pieces } => {
                self.moved.push((head, payload.to_vec()));
                self.pieces.push(pieces);
            }
            Record::Ended(ended) => self.ended.push(ended),
            Record::Attempt(attempt) => self.attempts.push(attempt),
            Record::Cgroup { id, path, .. } => {
                self.cgroups.push((id, path.from_inside().map(str::to_owned).collect()));
            }
            Record::Packet(packet) => self.packets.push(packet),
            Record::Arrival(arrival) => self.arrivals.push(arrival),
            Record::Connected(connected) => self.connected.push(connected),
            Record::Retransmit(_) | Record::Exec(_) | Record::Exit(_) => {}
        }
    }

    /// The stream bytes of one direction of the connections whose local port is `port`, placed by sequence number.
    fn stream(&self, port: u16, direction: u8) -> Vec<u8> {
        let mut bytes = BTreeMap::new();
        let mut first = None;
        for ((head, payload), pieces) in self.moved.iter().zip(&self.pieces).filter(|((head, _), _)| {
            head.connection.local_port == port
                && head.direction == direction
                && head.flags & flag::UNANCHORED == 0
        }) {
            let start = *first.get_or_insert(head.s0);
            let place = head.s0.wrapping_sub(start);
            let mut put = |offset: u64, run: &[u8]| {
                for (byte, at) in run.iter().zip(place.wrapping_add(offset as u32)..) {
                    bytes.insert(at, *byte);
                }
            };
            for run in pieces {
                put(run.offset, &run.bytes);
            }
            put(u64::from(head.offset), payload);
        }
        bytes.into_values().collect()
    }
}

struct Capture {
    kernel: Kernel,
    seen: Seen,
    /// Records taken, of every kind.
    taken: u64,
}

impl Capture {
    /// Attaches for one local or remote port of this process; `None` without root.
    fn start(port: u16, ring_bytes: u32) -> Option<Self> {
        println!("port {port}");
        Self::by(KernelFilter { pids: vec![std::process::id()], ..KernelFilter::default() }, ring_bytes)
    }

    /// Attaches for what a filter asks for; `None` without root.
    fn by(filter: KernelFilter, ring_bytes: u32) -> Option<Self> {
        if skipped() {
            return None;
        }
        Some(Self::prepare(filter, ring_bytes)())
    }

    /// Loads for what a filter asks for; what is returned attaches.
    fn prepare(filter: KernelFilter, ring_bytes: u32) -> impl FnOnce() -> Self {
        Self::with(&Settings { ring_bytes, streams: STREAMS, btf: None, source: Some(source()), filter })
    }

    /// Loads with these settings; what is returned attaches.
    fn with(settings: &Settings) -> impl FnOnce() -> Self + use<> {
        let prepared = Kernel::prepare(settings).expect("the programs load");
        || {
            let mut kernel = prepared.attach().expect("the programs attach");
            // A capture leaves its own process out; here it is the subject.
            kernel.include(std::process::id());
            Self { kernel, seen: Seen::default(), taken: 0 }
        }
    }

    fn drain(&mut self) {
        let Self { kernel, seen, taken } = self;
        let mut take = |record: Record<'_>| {
            *taken += 1;
            seen.take(record);
        };
        while kernel.drain(&mut take, 1024) > 0 {}
    }

    fn finish(mut self) -> (Seen, Totals) {
        self.kernel.detach();
        self.drain();
        let totals = self.kernel.totals();
        let Totals { seen, delivered, filtered, ring, miss, fault, map } = totals;
        assert_eq!(seen, delivered + filtered + ring + miss + fault + map, "{totals:?}");
        assert_eq!(self.taken, delivered + fault, "what was handed over is there: {totals:?}");
        (self.seen, totals)
    }
}

fn pair(address: &str) -> (TcpStream, TcpStream, u16) {
    let listener = TcpListener::bind(address).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let port = client.local_addr().unwrap().port();
    (client, listener.accept().unwrap().0, port)
}

#[test]
fn split_and_vectored_writes_are_the_stream() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (mut client, mut server, port) = pair(address);
        let Some(capture) = Capture::start(port, 4 << 20) else { return };
        let parts: Vec<Vec<u8>> = (0..60_u8).map(|n| vec![n; usize::from(n) * 40 + 1]).collect();
        let whole = parts.concat();
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let reader = thread::spawn(move || {
            let mut got = Vec::new();
            server.read_to_end(&mut got).unwrap();
            got
        });
        assert_eq!(client.write_vectored(&slices).unwrap(), whole.len());
        let large = (0..100_000_u32).map(|n| (n % 251) as u8).collect::<Vec<u8>>();
        for chunk in large.chunks(70_000) {
            client.write_all(chunk).unwrap();
        }
        drop(client);
        let got = reader.join().unwrap();
        let (seen, totals) = capture.finish();
        let sent = [whole, large].concat();
        assert_eq!(got, sent);
        assert!(seen.stream(port, direction::OUT) == sent, "the written stream differs");
        assert_eq!(totals.ring + totals.fault + totals.map, 0);
        assert!(seen.ended.iter().all(|ended| ended.unseen_out == 0 && ended.unseen_in == 0));
    }
}

#[test]
fn a_read_that_was_blocked_before_is_seen() {
    let (mut client, mut server, port) = pair("127.0.0.1:0");
    let reader = thread::spawn(move || {
        let mut buffer = [0; 64];
        let len = server.read(&mut buffer).unwrap();
        buffer[..len].to_vec()
    });
    thread::sleep(Duration::from_millis(200));
    let Some(capture) = Capture::start(port, 4 << 20) else { return };
    client.write_all(b"hello, blocked reader").unwrap();
    assert_eq!(reader.join().unwrap(), b"hello, blocked reader");
    let (seen, _) = capture.finish();
    let read = seen
        .moved
        .iter()
        .find(|(head, _)| head.direction == direction::IN && head.connection.remote_port == port);
    let (head, payload) = read.expect("the read is seen");
    // Where sockets tell, it is a read like any other.
    assert_eq!(head.flags & flag::NO_ENTER != 0, source() == Source::Syscall);
    assert_eq!(payload, b"hello, blocked reader");
}

#[test]
fn peeked_bytes_are_seen_once() {
    let (mut client, mut server, port) = pair("127.0.0.1:0");
    let Some(capture) = Capture::start(port, 4 << 20) else { return };
    client.write_all(b"peeked").unwrap();
    let mut buffer = [0; 64];
    assert_eq!(server.peek(&mut buffer).unwrap(), 6);
    assert_eq!(server.read(&mut buffer).unwrap(), 6);
    let (seen, _) = capture.finish();
    let reads = seen.moved.iter().filter(|(head, _)| head.direction == direction::IN).count();
    assert_eq!(reads, 1);
}

#[test]
fn datagrams_stay_apart_by_peer() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let Some(capture) = Capture::start(port, 4 << 20) else { return };
    let clients = [UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap()];
    for client in &clients {
        client.send_to(b"question", ("127.0.0.1", port)).unwrap();
        let mut buffer = [0; 64];
        let (len, from) = server.recv_from(&mut buffer).unwrap();
        server.send_to(&buffer[..len], from).unwrap();
        client.recv_from(&mut buffer).unwrap();
    }
    let (seen, _) = capture.finish();
    assert_eq!(seen.moved.len(), 8);
    assert!(seen.moved.iter().all(|(_, payload)| payload == b"question"));
    let ids: std::collections::BTreeSet<u64> =
        seen.moved.iter().map(|(head, _)| head.connection.id).collect();
    assert_eq!(ids.len(), 4);
}

#[test]
fn a_close_that_does_not_linger_leaves_nothing_unseen() {
    for unread in [0, 300] {
        let (mut client, mut server, port) = pair("127.0.0.1:0");
        let Some(capture) = Capture::start(port, 4 << 20) else { return };
        client.write_all(&[b'q'; 500]).unwrap();
        server.read_exact(&mut [0; 500]).unwrap();
        server.write_all(&[b'a'; 700]).unwrap();
        client.read_exact(&mut vec![0; 700 - unread]).unwrap();
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let (at, len) = ((&raw const linger).cast(), size_of_val(&linger) as u32);
        // SAFETY: the value lives through the call.
        let set = unsafe { libc::setsockopt(client.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, at, len) };
        assert_eq!(set, 0);
        drop(client);
        thread::sleep(Duration::from_millis(50));
        drop(server);
        let (seen, _) = capture.finish();
        // Other tests of this process close connections meanwhile.
        let own =
            |ended: &&Ended| [ended.connection.local_port, ended.connection.remote_port].contains(&port);
        let ended: Vec<_> =
            seen.ended.iter().filter(own).map(|ended| (ended.unseen_out, ended.unseen_in)).collect();
        assert_eq!(ended, [(0, 0); 2], "{unread} bytes that nobody read");
    }
}

#[test]
fn threads_on_one_socket_yield_no_wrong_byte() {
    let (client, mut server, port) = pair("127.0.0.1:0");
    let Some(capture) = Capture::start(port, 16 << 20) else { return };
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        server.read_to_end(&mut got).unwrap();
        got
    });
    thread::scope(|scope| {
        for letter in *b"abcd" {
            let mut client = &client;
            scope.spawn(move || {
                for len in 0..2000 {
                    client.write_all(&vec![letter; len % 97 + 1]).unwrap();
                }
            });
        }
    });
    drop(client);
    let got = reader.join().unwrap();
    let (seen, _) = capture.finish();
    let start =
        seen.moved.iter().find(|(head, _)| head.direction == direction::IN).map(|(head, _)| head.s0).unwrap();
    let (placed, unplaced): (Vec<_>, Vec<_>) = seen
        .moved
        .iter()
        .filter(|(head, _)| head.direction == direction::OUT)
        .partition(|(head, _)| head.flags & flag::UNANCHORED == 0);
    println!("{} writes placed by the kernel, {} not", placed.len(), unplaced.len());
    let shown_under_lock = {
        let types = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
        let name = b"btf_trace_tcp_sendmsg_locked\0";
        types.windows(name.len()).any(|bytes| bytes == name)
    };
    assert!(unplaced.is_empty() || !shown_under_lock, "this kernel shows where each write begins");
    for (head, payload) in placed {
        let at = head.s0.wrapping_sub(start) as usize;
        assert_eq!(&got[at..at + payload.len()], payload);
    }
}

#[test]
fn a_small_ring_loses_counted_events_and_goes_on() {
    let (mut client, mut server, port) = pair("127.0.0.1:0");
    let Some(mut capture) = Capture::start(port, 64 << 10) else { return };
    let mut buffer = [0; 1000];
    for _ in 0..2000 {
        client.write_all(&[7; 1000]).unwrap();
        server.read_exact(&mut buffer).unwrap();
    }
    capture.drain();
    let before = capture.seen.moved.len();
    client.write_all(b"after").unwrap();
    server.read_exact(&mut buffer[..5]).unwrap();
    let (seen, totals) = capture.finish();
    assert!(totals.ring > 0, "{totals:?}");
    assert_eq!(seen.moved.len(), before + 2);
    assert_eq!(seen.moved.last().unwrap().1, b"after");
}

#[test]
fn ignored_connections_are_counted_as_filtered() {
    let (mut client, mut server, port) = pair("127.0.0.1:0");
    // Other processes of the machine may connect meanwhile, which is filtered too.
    let filter =
        KernelFilter { pids: vec![std::process::id()], no_attempts: true, ..KernelFilter::default() };
    let Some(mut capture) = Capture::by(filter, 4 << 20) else { return };
    client.write_all(b"one").unwrap();
    capture.drain();
    let id = capture.seen.moved[0].0.connection.id;
    let ignore = Verdict { mode: verdict::IGNORE, ..Verdict::default() };
    capture.kernel.decide(id, ignore).unwrap();
    client.write_all(b"two").unwrap();
    let mut buffer = [0; 6];
    server.read_exact(&mut buffer).unwrap();
    let (seen, totals) = capture.finish();
    assert_eq!(seen.stream(port, direction::OUT), b"one");
    assert_eq!(totals.filtered, 1);
}

#[test]
fn an_excluded_process_and_its_peer_yield_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let Some(mut capture) = Capture::start(port, 4 << 20) else { return };
    let mut child = std::process::Command::new("bash")
        .args([
            "-c",
            &format!("read -r; exec 3<>/dev/tcp/127.0.0.1/{port}; read -r line <&3; echo \"$line\" >&3"),
        ])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    capture.kernel.exclude(child.id());
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(b"the server speaks first\n").unwrap();
    let mut got = Vec::new();
    server.read_to_end(&mut got).unwrap();
    child.wait().unwrap();
    assert_eq!(got, b"the server speaks first\n");
    let (seen, _) = capture.finish();
    assert!(seen.moved.iter().all(|(head, _)| head.connection.local_port != port));
}
