//! Sockets used in unusual ways: no wrong byte in any message, and what cannot be placed is counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and tells its figures"
)]

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv, send};
use xtask::kyanos::{Exchange, Report, Session, machine};
use xtask::workload::http::{HttpClient, Origin, answer, pattern, read_request, request};
use xtask::workload::socket::{Kind, connected, listener, opened_fast};

const SETTLE: Duration = Duration::from_secs(5);

/// Body of the request with this number, told by its path.
fn body(number: usize) -> Vec<u8> {
    pattern(number, 10 + number % 700)
}

fn numbered(number: usize) -> Vec<u8> {
    request("POST", &format!("/number/{number}"), &body(number))
}

/// Checks that every exchange of a side is one that was made, bytes and all, and returns how many there are.
fn assert_no_wrong_byte(report: &Report, side: &str, port: u16) -> usize {
    let seen = report.seen(side, port);
    let mut times: BTreeMap<usize, usize> = BTreeMap::new();
    for line in &seen {
        let number = line.text("operation").strip_prefix("POST /number/");
        let number: usize =
            number.and_then(|number| number.parse().ok()).unwrap_or_else(|| wrong(line, side));
        *times.entry(number).or_default() += 1;
        let sent = String::from_utf8(body(number)).unwrap();
        let whole = line.number("request_bytes") == Some(numbered(number).len() as u64);
        if !(whole && line.text("request").ends_with(&sent)) {
            wrong(line, side);
        }
        let answered = format!("POST /number/{number} {}\n", sent.len());
        if !line.text("response").is_empty() && !line.text("response").ends_with(&answered) {
            wrong(line, side);
        }
    }
    let twice: Vec<_> = times.iter().filter(|(_, count)| **count > 1).take(3).collect();
    assert!(twice.is_empty(), "{side}: shown more than once: {twice:?}");
    seen.len()
}

fn wrong(line: &Exchange, side: &str) -> ! {
    panic!("{side}: a wrong byte in {:#}", line.value);
}

/// Checks that both sides saw all of these, without loss.
fn assert_all_seen(session: Session, port: u16, count: usize) -> Report {
    session.settle(2 * count, SETTLE, |line| line.has_port(port));
    let report = session.stop().unwrap();
    for side in ["client", "server"] {
        assert_eq!(assert_no_wrong_byte(&report, side, port), count, "{side}: {}", report.stderr);
        assert!(report.seen(side, port).iter().all(|line| line.text("status") == "200"));
    }
    assert!(report.lost_of(&[port]).unwrap().is_empty(), "{}", report.stderr);
    report
}

/// Serves one connection after another by a function of the test's own.
fn serving(listener: TcpListener, serve: impl Fn(TcpStream) + Send + 'static) -> u16 {
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            serve(stream);
        }
    });
    port
}

#[test]
fn four_threads_writing_one_socket_give_no_wrong_message() {
    const EACH: usize = 500;
    let Some(_alone) = machine().unwrap() else { return };
    let origin = Origin::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let session = Session::watch(&["--max-print-bytes", "4096"]).unwrap();
    let stream = TcpStream::connect(origin.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    let start = Arc::new(Barrier::new(4));
    let writers: Vec<_> = (0..4)
        .map(|thread| {
            let (mut stream, start) = (stream.try_clone().unwrap(), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                for number in 0..EACH {
                    // One call each, and small enough that the kernel takes it whole.
                    let bytes = numbered(thread * EACH + number);
                    assert_eq!(stream.write(&bytes).unwrap(), bytes.len());
                }
            })
        })
        .collect();
    let mut client = HttpClient::over(stream).unwrap();
    for _ in 0..4 * EACH {
        assert_eq!(client.receive("POST").unwrap().status, 200);
    }
    for writer in writers {
        writer.join().unwrap();
    }
    drop(client);
    session.settle(8 * EACH, SETTLE, |line| line.has_port(origin.port()));
    let report = session.stop().unwrap();
    let lost = report.lost().unwrap();
    let server = assert_no_wrong_byte(&report, "server", origin.port());
    let client = assert_no_wrong_byte(&report, "client", origin.port());
    println!("server {server}, client {client} of {}; lost {lost:?}", 4 * EACH);
    // The server reads in one thread.
    assert_eq!(server, 4 * EACH, "{}", report.stderr);
    if xtask::kyanos::has_tracepoint("tcp_sendmsg_locked") {
        assert_eq!(client, 4 * EACH, "{}", report.stderr);
    } else {
        // Writes may be impossible to place, and then say so.
        assert!(client == 4 * EACH || !lost.is_empty(), "{client}: {}", report.stderr);
    }
}

#[test]
fn data_in_the_first_packet_is_seen() {
    let Some(_alone) = machine().unwrap() else { return };
    let Ok(listening) = listener(Kind::Tcp, true) else {
        println!("skipped: this kernel has no fast open");
        return;
    };
    let origin = Origin::on(listening).unwrap();
    let session = Session::watch(&[]).unwrap();
    for number in 0..20 {
        let stream = match opened_fast(origin.port(), &numbered(number)) {
            Ok(stream) => stream,
            Err(error) if number == 0 => {
                println!("skipped: fast open is switched off: {error:#}");
                return;
            }
            Err(error) => panic!("{error:#}"),
        };
        let mut client = HttpClient::over(stream).unwrap();
        client.receive("POST").unwrap();
        client.send(&numbered(100 + number)).unwrap();
        client.receive("POST").unwrap();
    }
    assert_all_seen(session, origin.port(), 40);
}

#[test]
fn peeking_reads_do_not_count_twice() {
    let Some(_alone) = machine().unwrap() else { return };
    let port = serving(TcpListener::bind("127.0.0.1:0").unwrap(), |stream| {
        let mut writer = stream.try_clone().unwrap();
        let mut ahead = [0; 64];
        while stream.peek(&mut ahead).unwrap() > 0 {
            // Twice, the second time longer than what the first saw.
            stream.peek(&mut [0; 4096]).unwrap();
            let Some(asked) = read_request(&mut BufReader::new(&stream)).unwrap() else { break };
            answer(&mut writer, &asked).unwrap();
        }
    });
    let session = Session::watch(&[]).unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let peeker = stream.try_clone().unwrap();
    let mut client = HttpClient::over(stream).unwrap();
    for number in 0..50 {
        client.send(&numbered(number)).unwrap();
        peeker.peek(&mut [0; 32]).unwrap();
        client.receive("POST").unwrap();
    }
    drop((client, peeker));
    assert_all_seen(session, port, 50);
}

#[test]
fn bytes_that_are_discarded_unread_keep_their_place() {
    let Some(_alone) = machine().unwrap() else { return };
    let origin = Origin::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let session = Session::watch(&[]).unwrap();
    let mut stream = TcpStream::connect(origin.address()).unwrap();
    let mut expected = Vec::new();
    for number in 0..20 {
        let size = 1_000 + number * 977;
        stream.write_all(&request("GET", &format!("/bytes/{size}"), &[])).unwrap();
        // The head byte by byte, the body not at all.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let mut left = size;
        let mut unused = vec![0; size];
        while left > 0 {
            left -= recv(stream.as_raw_fd(), &mut unused[..left], MsgFlags::MSG_TRUNC).unwrap();
        }
        expected.push((format!("GET /bytes/{size}"), (head.len() + size) as u64));
    }
    drop(stream);
    session.settle(40, SETTLE, |line| line.has_port(origin.port()));
    let report = session.stop().unwrap();
    for side in ["client", "server"] {
        let mut seen = report.seen(side, origin.port());
        seen.sort_by_key(|line| line.time_ns("start_time"));
        let sizes: Vec<(String, u64)> = seen
            .iter()
            .map(|line| {
                (line.text("operation").to_owned(), line.number("response_bytes").unwrap_or_default())
            })
            .collect();
        assert_eq!(sizes, expected, "{side}: {}", report.stderr);
    }
    // What was not read cannot be shown, and must not be taken from elsewhere.
    for line in report.seen("client", origin.port()) {
        assert_eq!(line.value["response_truncated"], true, "{:?}", line.value);
        assert!(!line.text("response").contains(":1;"), "{:?}", line.value);
    }
}

#[test]
fn urgent_bytes_are_no_part_of_a_message() {
    let Some(_alone) = machine().unwrap() else { return };
    let origin = Origin::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let session = Session::watch(&[]).unwrap();
    let stream = TcpStream::connect(origin.address()).unwrap();
    let urgent = stream.try_clone().unwrap();
    let mut client = HttpClient::over(stream).unwrap();
    for number in 0..50 {
        let bytes = numbered(number);
        // Between two requests, in the middle of one, and as the last byte of a larger urgent write.
        match number % 3 {
            0 => {
                assert_eq!(send(urgent.as_raw_fd(), b"!", MsgFlags::MSG_OOB).unwrap(), 1);
                client.send(&bytes).unwrap();
            }
            1 => {
                client.send(&bytes[..20]).unwrap();
                std::thread::sleep(Duration::from_millis(2));
                assert_eq!(send(urgent.as_raw_fd(), b"!", MsgFlags::MSG_OOB).unwrap(), 1);
                client.send(&bytes[20..]).unwrap();
            }
            _ => {
                let mut more = bytes.clone();
                more.push(b'!');
                assert_eq!(send(urgent.as_raw_fd(), &more, MsgFlags::MSG_OOB).unwrap(), more.len());
            }
        }
        client.receive("POST").unwrap();
    }
    drop((client, urgent));
    session.settle(100, SETTLE, |line| line.has_port(origin.port()));
    let report = session.stop().unwrap();
    let lost = report.lost().unwrap();
    for side in ["client", "server"] {
        let seen = assert_no_wrong_byte(&report, side, origin.port());
        println!("{side}: {seen} of 50; lost {lost:?}");
        assert!(seen == 50 || !lost.is_empty(), "{side}: {seen}: {}", report.stderr);
        // A receiver knows the urgent byte; a sender may have to give up what is around it.
        assert!(side == "client" || seen >= 40, "{side}: only {seen}: {}", report.stderr);
    }
}

#[test]
fn multipath_tcp_is_decoded() {
    let Some(_alone) = machine().unwrap() else { return };
    let Ok(listening) = listener(Kind::Mptcp, false) else {
        println!("skipped: this kernel has no MPTCP");
        return;
    };
    let origin = Origin::on(listening).unwrap();
    let session = Session::watch(&[]).unwrap();
    let mut client = HttpClient::over(connected(Kind::Mptcp, origin.port()).unwrap()).unwrap();
    for number in 0..50 {
        client.send(&numbered(number)).unwrap();
        client.receive("POST").unwrap();
    }
    // A client without MPTCP, to whom the listener falls back.
    let mut plain = HttpClient::connect(origin.address()).unwrap();
    for number in 50..60 {
        plain.send(&numbered(number)).unwrap();
        plain.receive("POST").unwrap();
    }
    assert_all_seen(session, origin.port(), 60);
}
