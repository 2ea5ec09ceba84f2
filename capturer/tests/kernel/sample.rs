//! One connection in so many.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    process,
};

use capturer::kernel::KernelFilter;
use capturer_ebpf::layout::transport;

use super::Capture;

const CONNECTIONS: usize = 600;
const SAMPLE: u32 = 4;

fn capture() -> Option<Capture> {
    let filter = KernelFilter {
        pids: vec![process::id()],
        no_attempts: true,
        packets: true,
        sample: SAMPLE,
        ..KernelFilter::default()
    };
    Capture::by(filter, 16 << 20)
}

#[test]
fn a_connection_is_captured_at_both_ends_or_not_at_all() {
    let Some(capture) = capture() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    for _ in 0..CONNECTIONS {
        let mut client = TcpStream::connect(to).unwrap();
        client.write_all(b"asked").unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.read_exact(&mut [0; 5]).unwrap();
        server.write_all(b"answered").unwrap();
        client.read_exact(&mut [0; 8]).unwrap();
    }
    let (seen, totals) = capture.finish();
    let mut calls: BTreeMap<u16, usize> = BTreeMap::new();
    for (head, _) in seen.moved.iter().filter(|(head, _)| head.connection.transport == transport::TCP) {
        let connection = head.connection;
        let port =
            if connection.remote_port == to.port() { connection.local_port } else { connection.remote_port };
        *calls.entry(port).or_default() += 1;
    }
    assert!(calls.values().all(|calls| *calls == 4), "two calls at either end");
    // Six standard deviations to either side.
    let expected = CONNECTIONS / SAMPLE as usize;
    assert!(calls.len().abs_diff(expected) < 64, "{} of {CONNECTIONS}", calls.len());
    assert!(totals.filtered >= 4 * (CONNECTIONS - calls.len()) as u64, "{totals:?}");
    let ids: Vec<u64> = seen.moved.iter().map(|(head, _)| head.connection.id).collect();
    let stray = |id: &u64| *id != 0 && !ids.contains(id);
    assert!(!seen.packets.iter().any(|packet| packet.connections.iter().any(stray)));
}

#[test]
fn peers_of_a_datagram_socket_are_sampled_too() {
    let Some(capture) = capture() else { return };
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..CONNECTIONS {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"asked", server.local_addr().unwrap()).unwrap();
        let (_, from) = server.recv_from(&mut [0; 16]).unwrap();
        server.send_to(b"answered", from).unwrap();
        client.recv_from(&mut [0; 16]).unwrap();
    }
    let (seen, _) = capture.finish();
    let port = server.local_addr().unwrap().port();
    let of_server = seen.moved.iter().filter(|(head, _)| head.connection.local_port == port).count();
    assert!(of_server.abs_diff(2 * CONNECTIONS / SAMPLE as usize) < 128, "{of_server}");
}
