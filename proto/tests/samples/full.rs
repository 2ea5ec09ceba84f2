//! Exchanges with another value in every field, for tests of all that carries exchanges.
//!
//! Structs are written out without `..`: a field that comes to the wire does not compile here until it says which column
//! holds it, or that none does, and then the tests that use this ask for that column.

use proto::v1::value::Kind;
use proto::{hop, v1};

/// Name of a field that no column holds.
const NONE: &str = "";

/// Hops of an exchange.
const HOPS: usize = 2;

/// First mark of the first exchange.
const START_NS: u64 = 1_700_000_000_123_456_789;

/// Values between those of two exchanges.
const APART: u32 = 200;

/// What a row holds in a column.
pub(crate) type Values = Vec<(&'static str, Kind)>;

/// An exchange, and where its values are to be found.
pub(crate) struct Full {
    /// The exchange.
    pub(crate) exchange: v1::Exchange,
    /// The same without what no column holds.
    pub(crate) stored: v1::Exchange,
    /// Columns of table `exchanges`, apart from the session and the two times that follow from others.
    pub(crate) columns: Values,
    /// Columns of table `hops`, apart from those that say whose they are.
    pub(crate) hops: Vec<Values>,
}

/// Hands out values, no two of them the same.
struct Fill {
    last: u32,
    /// Yes and no are two values only: of an exchange's flags this one is raised, in each exchange another one.
    raised: u32,
    flags: u32,
    /// Whether fields that no column holds are filled too.
    whole: bool,
    values: Values,
}

/// One exchange for every flag, in which it alone is raised, and one more.
pub(crate) fn all() -> Vec<Full> {
    let mut flags = Fill::new(0, true);
    flags.exchange();
    (0..=flags.flags).map(full).collect()
}

fn full(number: u32) -> Full {
    let (stored, _) = Fill::new(number, false).exchange();
    let mut fill = Fill::new(number, true);
    let (exchange, hops) = fill.exchange();
    Full { exchange, stored, columns: fill.values, hops }
}

// === impl Fill ===

impl Fill {
    fn new(number: u32, whole: bool) -> Self {
        Self { last: (number + 1) * APART, raised: number, flags: 0, whole, values: Values::new() }
    }

    /// The next value, where it is to be filled in.
    fn next<T: Default>(&mut self, name: &'static str, value: impl FnOnce(u32) -> (T, Kind)) -> T {
        self.last += 1;
        let (value, kind) = value(self.last);
        if name != NONE {
            self.values.push((name, kind));
        }
        if name != NONE || self.whole { value } else { T::default() }
    }

    fn number(&mut self, name: &'static str) -> u64 {
        // Further apart than microseconds, which are what times in SQL tell apart.
        self.next(name, |last| (u64::from(last) * 1_000_007, Kind::Integer(i64::from(last) * 1_000_007)))
    }

    fn small(&mut self, name: &'static str) -> u32 {
        self.next(name, |last| (last, Kind::Integer(last.into())))
    }

    fn text(&mut self, name: &'static str) -> String {
        // No longer than the shortest column of text.
        let text = |last: u32| format!("{last}-{name}").chars().take(8).collect::<String>();
        self.next(name, |last| (text(last), Kind::Text(text(last))))
    }

    /// One of these words after the other.
    fn word(&mut self, name: &'static str, words: &[&'static str]) -> &'static str {
        self.next(name, |last| {
            let word = words[last as usize % words.len()];
            (word, Kind::Text(word.to_owned()))
        })
    }

    fn bytes(&mut self, name: &'static str) -> Vec<u8> {
        let bytes = |last: u32| [format!("{last} {name} ").as_bytes(), b"\xff"].concat();
        self.next(name, |last| (bytes(last), Kind::Blob(bytes(last))))
    }

    fn address(&mut self, name: &'static str) -> Vec<u8> {
        self.next(name, |last| {
            let [_, _, high, low] = last.to_be_bytes();
            (vec![10, 0, high, low], Kind::Text(format!("10.0.{high}.{low}")))
        })
    }

    fn flag(&mut self, name: &'static str) -> bool {
        let raised = name == NONE || self.flags == self.raised;
        self.flags += u32::from(name != NONE);
        self.next(name, |_| (raised, Kind::Integer(raised.into())))
    }

    fn list<T>(&mut self, element: impl FnOnce(&mut Self) -> T) -> Vec<T> {
        let element = element(self);
        if self.whole { vec![element] } else { Vec::new() }
    }

    fn exchange(&mut self) -> (v1::Exchange, Vec<Values>) {
        let (side, word) = if self.raised.is_multiple_of(2) {
            (v1::Side::Client, "client")
        } else {
            (v1::Side::Server, "server")
        };
        let (hops, values): (Vec<_>, Vec<_>) = (0..HOPS).map(|_| self.hop()).unzip();
        let start_ns = START_NS + u64::from(self.last) * 1_000_000_007;
        self.values.push(("start_ns", Kind::Integer(start_ns.cast_signed())));
        let exchange = v1::Exchange {
            id: self.number("id"),
            connection_id: self.number("connection_id"),
            start_ns,
            protocol: self.text("protocol"),
            side: self.next("side", |_| (side.into(), Kind::Text(word.to_owned()))),
            encryption: if self.flag("tls") { v1::Encryption::Unread } else { v1::Encryption::None }.into(),
            coordinate: self.next(NONE, |_| (v1::Coordinate::Counter.into(), Kind::Integer(0))),
            origin: Some(self.origin()),
            local: Some(self.end(["local_addr", "local_port", NONE, NONE, NONE])),
            remote: Some(self.end([
                "remote_addr",
                "remote_port",
                "remote_namespace",
                "remote_pod",
                "remote_service",
            ])),
            operation: self.text("operation"),
            target: self.text("target"),
            status: self.text("status"),
            error: self.flag("error"),
            request: Some(self.message([
                "request_bytes",
                "request_plain_bytes",
                "request",
                "request_truncated",
            ])),
            response: Some(self.message([
                "response_bytes",
                "response_plain_bytes",
                "response",
                "response_truncated",
            ])),
            segments: Some(self.segments()),
            hops,
            retransmits: Some(self.small("retransmits")),
            sample_weight: self.small("sample_weight"),
            attributes: self.list(|fill| v1::Attribute { name: fill.text(NONE), value: fill.text(NONE) }),
            clamped: self.flag("clamped"),
            handshake: self.flag("handshake"),
            announced: Some(self.end(["announced_addr", "announced_port", NONE, NONE, NONE])),
            reason: self
                .next("reason", |_| (v1::Reason::Unreadable.into(), Kind::Text("unreadable".to_owned()))),
            connect_ns: Some(self.number("connect_ns")),
            zero_windows: Some(self.small("zero_windows")),
            place: self.place(),
            ways: Some(self.ways()),
        };
        (exchange, values)
    }

    fn origin(&mut self) -> v1::Origin {
        v1::Origin {
            node: self.text("node"),
            pid: self.small("pid"),
            comm: self.text("comm"),
            container_id: self.text(NONE),
            namespace: self.text("namespace"),
            pod: self.text("pod"),
            container: self.text("container"),
            workload: self.text("workload"),
        }
    }

    fn end(&mut self, [address, port, namespace, pod, service]: [&'static str; 5]) -> v1::Endpoint {
        v1::Endpoint {
            address: self.address(address),
            port: self.small(port),
            namespace: self.text(namespace),
            pod: self.text(pod),
            service: self.text(service),
            workload: self.text(NONE),
            node: self.text(NONE),
            component: self.next(NONE, |_| (v1::Component::Kubelet.into(), Kind::Integer(1))),
        }
    }

    fn message(&mut self, [bytes, plain_bytes, payload, truncated]: [&'static str; 4]) -> v1::Message {
        v1::Message {
            bytes: self.number(bytes),
            plain_bytes: Some(self.number(plain_bytes)),
            payload: self.bytes(payload),
            truncated: self.flag(truncated),
            syscalls: self
                .list(|fill| v1::SyscallEvent { bytes: fill.number(NONE), time_ns: fill.number(NONE) }),
        }
    }

    fn segments(&mut self) -> v1::Segments {
        v1::Segments {
            total_ns: self.number("total_ns"),
            send_ns: Some(self.number("send_ns")),
            network_ns: Some(self.number("network_ns")),
            transfer_ns: Some(self.number("transfer_ns")),
            receive_ns: Some(self.number("receive_ns")),
            queue_ns: Some(self.number("queue_ns")),
            internal_ns: Some(self.number("internal_ns")),
            read_ns: Some(self.number("read_ns")),
        }
    }

    fn place(&mut self) -> Option<v1::Place> {
        let place = v1::Place { request: self.small(NONE), response: self.small(NONE) };
        self.whole.then_some(place)
    }

    fn ways(&mut self) -> v1::Ways {
        v1::Ways {
            request_ns: self.number("request_way_ns").cast_signed(),
            response_ns: self.number("response_way_ns").cast_signed(),
            error_ns: self.number("way_error_ns"),
            node: self.text("peer_node"),
            id: self.number("peer_id"),
        }
    }

    /// A hop, and its own values.
    fn hop(&mut self) -> (v1::Hop, Values) {
        let before = std::mem::take(&mut self.values);
        let hop = v1::Hop {
            at_ns: self.number("at_ns").cast_signed(),
            place: hop::place_named(self.word("place", &hop::PLACE_WORDS)).into(),
            name: self.text("name"),
            netns: self.small("netns"),
            direction: hop::direction_named(self.word("direction", &hop::DIRECTION_WORDS)).into(),
            message: hop::message_named(self.word("message", &hop::MESSAGE_WORDS)).into(),
            bytes: self.number("bytes"),
        };
        (hop, std::mem::replace(&mut self.values, before))
    }
}
