//! Exchanges that tests render.

use proto::{hop, v1};

/// A request from 127.0.0.1 with an answer and every segment of a client that can be.
pub(crate) fn client() -> v1::Exchange {
    v1::Exchange {
        id: (3 << 48) | 7,
        connection_id: u64::MAX,
        start_ns: 1_700_000_000_123_456_789,
        protocol: "http".to_owned(),
        side: v1::Side::Client.into(),
        origin: Some(v1::Origin {
            node: "box".to_owned(),
            pid: 4242,
            comm: "curl".to_owned(),
            ..v1::Origin::default()
        }),
        local: Some(end([127, 0, 0, 1], 40_000)),
        remote: Some(end([10, 1, 2, 3], 8080)),
        operation: "GET /orders/7".to_owned(),
        target: "shop".to_owned(),
        status: "200".to_owned(),
        request: Some(message(b"GET /orders/7 HTTP/1.1\r\n\r\n")),
        response: Some(message(b"HTTP/1.1 200 OK\r\n\r\n\x00\xffbody")),
        segments: Some(v1::Segments {
            total_ns: 5_000_000_000,
            network_ns: Some(4_000_000_000),
            transfer_ns: Some(500_000_000),
            receive_ns: Some(0),
            queue_ns: Some(400_000_000),
            read_ns: Some(100_000_000),
            ..v1::Segments::default()
        }),
        hops: vec![v1::Hop {
            at_ns: 10,
            place: v1::HopPlace::Nic.into(),
            name: "lo".to_owned(),
            netns: 4_026_531_840,
            direction: v1::HopDirection::Out.into(),
            message: v1::HopMessage::Request.into(),
            bytes: 26,
        }],
        sample_weight: 1,
        ..v1::Exchange::default()
    }
}

/// A request over IPv6 whose connection ended first, of which nothing else is known.
pub(crate) fn unanswered() -> v1::Exchange {
    v1::Exchange {
        id: 1,
        start_ns: 1_700_000_000_000_000_000,
        protocol: "redis".to_owned(),
        side: v1::Side::Server.into(),
        remote: Some(v1::Endpoint {
            address: vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            port: 6379,
            ..v1::Endpoint::default()
        }),
        operation: "GET key\nwith\u{1b}[31mcolour".to_owned(),
        error: true,
        request: Some(message(b"*2\r\n$3\r\nGET\r\n")),
        ..v1::Exchange::default()
    }
}

/// A server push over what could not be read.
pub(crate) fn push() -> v1::Exchange {
    v1::Exchange {
        encryption: v1::Encryption::Unread.into(),
        response: Some(v1::Message { bytes: 12, truncated: true, ..v1::Message::default() }),
        protocol: "postgres".to_owned(),
        start_ns: 1,
        ..v1::Exchange::default()
    }
}

/// What a container of a pod served, whose own end is behind a Service as is the other one's.
pub(crate) fn in_pod() -> v1::Exchange {
    let named = |end: v1::Endpoint, pod: &str, service: &str| v1::Endpoint {
        namespace: "shop".to_owned(),
        pod: pod.to_owned(),
        service: service.to_owned(),
        ..end
    };
    v1::Exchange {
        side: v1::Side::Server.into(),
        origin: Some(v1::Origin {
            node: "node-1".to_owned(),
            pid: 26278,
            comm: "python3".to_owned(),
            namespace: "shop".to_owned(),
            pod: "orders-6d5f7c9b8-x2x4z".to_owned(),
            container: "app".to_owned(),
            workload: "Deployment/orders".to_owned(),
            ..v1::Origin::default()
        }),
        local: Some(named(end([10, 0, 0, 4], 8080), "orders-6d5f7c9b8-x2x4z", "shop/orders")),
        remote: Some(named(end([10, 0, 0, 5], 6379), "", "shop/redis")),
        ..client()
    }
}

/// A long statement that a pod outside sends to another one, and an error with many words.
pub(crate) fn slow() -> v1::Exchange {
    let remote = v1::Endpoint {
        namespace: "data".to_owned(),
        pod: "postgres-primary-0".to_owned(),
        ..end([10, 244, 13, 201], 5432)
    };
    v1::Exchange {
        side: v1::Side::Client.into(),
        protocol: "postgres".to_owned(),
        remote: Some(remote),
        operation:
            "SELECT o.id, o.item FROM orders AS o JOIN customers AS c ON c.id = o.customer WHERE c.name = $1"
                .to_owned(),
        status: "ERROR 57014".to_owned(),
        error: true,
        ..in_pod()
    }
}

/// What a proxy announced, sent by a library as it connected, with an answer that could not be read.
pub(crate) fn announced() -> v1::Exchange {
    v1::Exchange {
        id: 2,
        protocol: "mysql".to_owned(),
        start_ns: 1_700_000_000_000_000_001,
        operation: "select $$".to_owned(),
        error: true,
        handshake: true,
        announced: Some(end([203, 0, 113, 7], 5000)),
        reason: v1::Reason::Unreadable.into(),
        request: Some(message(b"select $$")),
        response: None,
        ..client()
    }
}

/// What a pod asked another one through a Service, with every place of its path observed.
pub(crate) fn traced_client() -> v1::Exchange {
    v1::Exchange {
        side: v1::Side::Client.into(),
        local: Some(end([10, 0, 0, 4], 41_234)),
        segments: Some(v1::Segments {
            total_ns: 10_000_000,
            send_ns: Some(12_000),
            network_ns: Some(8_000_000),
            transfer_ns: Some(1_200_000),
            receive_ns: Some(8_000),
            queue_ns: Some(760_000),
            internal_ns: None,
            read_ns: Some(20_000),
        }),
        hops: vec![
            hop(0, ["process", "python3", "out", "request"], 26),
            hop(4_000, ["nic", "veth1a2b", "in", "request"], 26),
            hop(7_000, ["nic", "cni0", "out", "request"], 26),
            hop(12_000, ["nic", "eth0", "out", "request"], 26),
            hop(8_012_000, ["nic", "eth0", "in", "response"], 1448),
            hop(9_212_000, ["nic", "eth0", "in", "response"], 600),
            hop(9_215_000, ["nic", "cni0", "in", "response"], 2048),
            hop(9_218_000, ["nic", "veth1a2b", "in", "response"], 2048),
            hop(9_220_000, ["socket", "", "in", "response"], 2048),
        ],
        retransmits: Some(1),
        connect_ns: Some(1_230_000),
        zero_windows: Some(0),
        ..in_pod()
    }
}

/// The same with the other side seen on another node.
pub(crate) fn joined_client() -> v1::Exchange {
    v1::Exchange { ways: Some(ways("node-2", 7)), ..traced_client() }
}

/// What a pod served, with every place of its path observed, and the other side too.
pub(crate) fn traced_server() -> v1::Exchange {
    v1::Exchange {
        segments: Some(v1::Segments {
            total_ns: 6_000_000,
            receive_ns: Some(9_000),
            queue_ns: Some(1_491_000),
            internal_ns: Some(4_470_000),
            send_ns: Some(30_000),
            ..v1::Segments::default()
        }),
        hops: vec![
            hop(0, ["nic", "eth0", "in", "request"], 26),
            hop(3_000, ["nic", "veth77", "in", "request"], 26),
            hop(5_980_000, ["nic", "veth77", "out", "response"], 2048),
            hop(6_000_000, ["nic", "eth0", "out", "response"], 2048),
        ],
        retransmits: Some(0),
        clamped: true,
        ways: Some(ways("node-1", 9)),
        ..in_pod()
    }
}

/// What is known of a client where packets are not followed.
pub(crate) fn untraced_client() -> v1::Exchange {
    let segments =
        v1::Segments { total_ns: 5_000_000, network_ns: Some(5_000_000), ..v1::Segments::default() };
    v1::Exchange { segments: Some(segments), hops: Vec::new(), ..client() }
}

fn ways(node: &str, id: u64) -> v1::Ways {
    v1::Ways { request_ns: 950_000, response_ns: 1_050_000, error_ns: 40_000, node: node.to_owned(), id }
}

fn hop(at_ns: i64, [place, name, direction, message]: [&str; 4], bytes: u64) -> v1::Hop {
    v1::Hop {
        at_ns,
        place: hop::place_named(place).into(),
        name: name.to_owned(),
        netns: 4_026_531_840,
        direction: hop::direction_named(direction).into(),
        message: hop::message_named(message).into(),
        bytes,
    }
}

fn end(address: [u8; 4], port: u32) -> v1::Endpoint {
    v1::Endpoint { address: address.to_vec(), port, ..v1::Endpoint::default() }
}

fn message(payload: &[u8]) -> v1::Message {
    v1::Message {
        bytes: payload.len() as u64,
        plain_bytes: None,
        payload: payload.to_vec(),
        truncated: false,
        syscalls: vec![v1::SyscallEvent { bytes: payload.len() as u64, time_ns: 1_700_000_000_123_456_789 }],
    }
}
