//! Calls and socket kinds that the standard library does not make.

use std::{
    io::{Read as _, Seek as _, Write as _},
    mem::MaybeUninit,
    net::{TcpStream, UdpSocket},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr, thread,
    time::Duration,
};

use capturer_ebpf::layout::{coordinate, direction, flag};

use super::{Capture, pair};

const IPPROTO_MPTCP: i32 = 262;

fn checked(result: isize) -> usize {
    usize::try_from(result).unwrap_or_else(|_| panic!("{}", std::io::Error::last_os_error()))
}

fn send(socket: &TcpStream, bytes: &[u8], flags: i32) -> usize {
    // SAFETY: the bytes live through the call.
    checked(unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) })
}

fn receive(socket: &TcpStream, bytes: &mut [u8], flags: i32) -> usize {
    // SAFETY: the bytes live through the call, which writes at most as many.
    checked(unsafe { libc::recv(socket.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), flags) })
}

#[test]
fn urgent_bytes_are_no_part_of_the_stream() {
    let (mut client, mut server, port) = pair("127.0.0.1:0");
    let Some(capture) = Capture::start(port, 4 << 20) else { return };
    client.write_all(b"before ").unwrap();
    assert_eq!(send(&client, b"and!", libc::MSG_OOB), 4);
    client.write_all(b" after").unwrap();
    drop(client);
    let mut got = Vec::new();
    server.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"before and after");
    let (seen, _) = capture.finish();
    assert_eq!(seen.stream(port, direction::OUT), b"before and after");
    let urgent: Vec<_> = seen.moved.iter().filter(|(head, _)| head.flags & flag::URGENT != 0).collect();
    assert_eq!(urgent.len(), 1);
    assert_eq!(urgent[0].0.s1.wrapping_sub(urgent[0].0.s0), 4);
    let sent = seen.moved.iter().filter(|(head, _)| head.direction == direction::OUT);
    assert!(sent.clone().count() == 3 && sent.clone().all(|(head, _)| head.flags & flag::UNANCHORED == 0));
}

#[test]
fn discarded_bytes_have_a_length_and_no_text() {
    let (mut client, mut server, port) = pair("127.0.0.1:0");
    let Some(capture) = Capture::start(port, 4 << 20) else { return };
    client.write_all(b"discarded, kept").unwrap();
    let mut buffer = [0; 64];
    assert_eq!(receive(&server, &mut buffer[..9], libc::MSG_TRUNC), 9);
    assert_eq!(server.read(&mut buffer).unwrap(), 6);
    let (seen, _) = capture.finish();
    let reads: Vec<_> = seen.moved.iter().filter(|(head, _)| head.direction == direction::IN).collect();
    assert_eq!(reads.len(), 2);
    assert_ne!(reads[0].0.flags & flag::DISCARDED, 0);
    assert_eq!((reads[0].0.moved, reads[0].1.len()), (9, 0));
    assert_eq!(reads[1].1, b", kept");
}

#[test]
fn files_sent_have_a_length_and_no_text() {
    let (client, mut server, port) = pair("127.0.0.1:0");
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[b'f'; 5000]).unwrap();
    file.rewind().unwrap();
    let Some(capture) = Capture::start(port, 4 << 20) else { return };
    // SAFETY: no memory is passed.
    let sent = unsafe { libc::sendfile(client.as_raw_fd(), file.as_raw_fd(), ptr::null_mut(), 5000) };
    assert_eq!(sent, 5000);
    let mut got = [0; 5000];
    server.read_exact(&mut got).unwrap();
    let (seen, _) = capture.finish();
    let (head, payload) = seen.moved.iter().find(|(head, _)| head.direction == direction::OUT).unwrap();
    assert_ne!(head.flags & flag::NO_PAYLOAD, 0);
    assert_eq!((head.moved, head.s1.wrapping_sub(head.s0), payload.len()), (5000, 5000, 0));
}

/// Proxies move bodies so, and what comes between is still looked at.
#[test]
fn spliced_bytes_have_a_length_and_no_text() {
    let (mut client, mut server, port) = pair("127.0.0.1:0");
    let server_port = server.local_addr().unwrap().port();
    let Some(capture) = Capture::start(port, 4 << 20) else { return };
    let mut ends = [0; 2];
    // SAFETY: the array takes two descriptors.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: the descriptors were made just now and belong to nobody else.
    let [from, to] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
    let splice = |from: i32, to: i32, len: usize| {
        let mut left = len;
        while left > 0 {
            // SAFETY: no memory is passed.
            left -= checked(unsafe { libc::splice(from, ptr::null_mut(), to, ptr::null_mut(), left, 0) });
        }
    };
    client.write_all(b"head").unwrap();
    server.read_exact(&mut [0; 4]).unwrap();
    client.write_all(&[b'b'; 3_000]).unwrap();
    splice(server.as_raw_fd(), to.as_raw_fd(), 3_000);
    splice(from.as_raw_fd(), server.as_raw_fd(), 3_000);
    client.read_exact(&mut [0; 3_000]).unwrap();
    client.write_all(b"tail").unwrap();
    server.read_exact(&mut [0; 4]).unwrap();
    drop((client, server));
    thread::sleep(Duration::from_millis(20));
    let (seen, _) = capture.finish();
    for (port, direction, expected) in [
        (server_port, direction::IN, [(4, 0), (3_000, flag::NO_PAYLOAD), (4, 0)].as_slice()),
        (server_port, direction::OUT, &[(3_000, flag::NO_PAYLOAD)]),
        (port, direction::IN, &[(3_000, 0)]),
    ] {
        let mut moved: Vec<(u64, u16)> = Vec::new();
        for (head, text) in &seen.moved {
            if head.connection.local_port != port || head.direction != direction {
                continue;
            }
            let kind = head.flags & flag::NO_PAYLOAD;
            assert_eq!((head.flags & flag::UNANCHORED, text.is_empty()), (0, kind != 0), "{head:?}");
            assert_eq!(u64::from(head.s1.wrapping_sub(head.s0)), head.moved, "{head:?}");
            match moved.last_mut() {
                // A pipe has room for some of it at a time.
                Some((len, last)) if kind != 0 && *last == kind => *len += head.moved,
                _ => moved.push((head.moved, kind)),
            }
        }
        assert_eq!(moved, expected, "{port} {direction}");
    }
    assert!(seen.ended.iter().all(|ended| ended.unseen_out == 0 && ended.unseen_in == 0));
}

#[test]
fn messages_of_one_call_are_apart() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(server.local_addr().unwrap()).unwrap();
    let port = client.local_addr().unwrap().port();
    let Some(capture) = Capture::start(port, 4 << 20) else { return };
    let texts: Vec<Vec<u8>> = (0..10_u8).map(|n| vec![b'a' + n; usize::from(n) + 1]).collect();
    let mut vectors: Vec<libc::iovec> = texts
        .iter()
        .map(|text| libc::iovec { iov_base: text.as_ptr().cast_mut().cast(), iov_len: text.len() })
        .collect();
    let mut messages: Vec<libc::mmsghdr> = vectors
        .iter_mut()
        .map(|vector| {
            // SAFETY: all zeros is a message without address, buffers and control data.
            let mut message: libc::mmsghdr = unsafe { MaybeUninit::zeroed().assume_init() };
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
            message
        })
        .collect();
    // SAFETY: messages, vectors and texts live through the call.
    let sent = unsafe { libc::sendmmsg(client.as_raw_fd(), messages.as_mut_ptr(), 10, 0) };
    assert_eq!(sent, 10);
    let (seen, totals) = capture.finish();
    let payloads: Vec<&Vec<u8>> = seen.moved.iter().map(|(_, payload)| payload).collect();
    assert_eq!(payloads, texts.iter().collect::<Vec<_>>());
    assert_eq!(totals.miss, 0);
}

#[test]
fn multipath_connections_use_the_counter() {
    // SAFETY: no memory is passed.
    let socket =
        unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, IPPROTO_MPTCP) };
    if socket < 0 {
        println!("skipped: this kernel has no MPTCP");
        return;
    }
    // SAFETY: the descriptor was made just now and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let Some(capture) = Capture::start(address.port(), 4 << 20) else { return };
    let to = libc::sockaddr_in {
        sin_family: u16::try_from(libc::AF_INET).unwrap(),
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    };
    let len = u32::try_from(size_of_val(&to)).unwrap();
    // SAFETY: the address lives through the call.
    assert_eq!(unsafe { libc::connect(socket.as_raw_fd(), (&raw const to).cast(), len) }, 0);
    let mut client = TcpStream::from(socket);
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(b"one, ").unwrap();
    client.write_all(b"two").unwrap();
    let mut got = [0; 8];
    server.read_exact(&mut got).unwrap();
    let (seen, _) = capture.finish();
    let sent: Vec<_> = seen
        .moved
        .iter()
        .filter(|(head, _)| head.direction == direction::OUT && head.connection.remote_port == address.port())
        .collect();
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|(head, _)| head.connection.coordinate == coordinate::COUNTER));
    assert_eq!((sent[0].0.counter, sent[1].0.counter), (0, 5));
    assert_eq!(sent[1].1, b"two");
}

#[test]
fn data_sent_with_the_connect_is_placed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let Some(capture) = Capture::start(address.port(), 4 << 20) else { return };
    // SAFETY: no memory is passed; the descriptor belongs to the stream from here on.
    let mut client = unsafe {
        TcpStream::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0))
    };
    let to = libc::sockaddr_in {
        sin_family: u16::try_from(libc::AF_INET).unwrap(),
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    };
    let len = u32::try_from(size_of_val(&to)).unwrap();
    // SAFETY: bytes and address live through the call.
    let sent = checked(unsafe {
        libc::sendto(
            client.as_raw_fd(),
            b"early ".as_ptr().cast(),
            6,
            libc::MSG_FASTOPEN,
            (&raw const to).cast(),
            len,
        )
    });
    assert_eq!(sent, 6);
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(b"late").unwrap();
    let mut got = [0; 10];
    server.read_exact(&mut got).unwrap();
    let port = client.local_addr().unwrap().port();
    drop((client, server));
    let (seen, _) = capture.finish();
    assert_eq!(seen.stream(port, direction::OUT), b"early late");
    assert!(seen.moved.iter().all(|(head, _)| head.connection.role != 0 && head.connection.remote_port != 0));
    assert!(seen.ended.iter().all(|ended| ended.unseen_out == 0 && ended.unseen_in == 0));
}
