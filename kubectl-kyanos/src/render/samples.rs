//! Exchanges that tests render.

use proto::v1;

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
            place: "nic".to_owned(),
            name: "lo".to_owned(),
            netns: 4_026_531_840,
            direction: "out".to_owned(),
            message: "request".to_owned(),
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
