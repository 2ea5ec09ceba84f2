//! Rows of the store as exchanges, so that a saved one reads as a live one does.

use proto::v1::value::Kind;
use proto::{reason, v1};
use serde_json::Value;

/// Everything that a saved exchange says; its hops are one value, an array of arrays, in their order.
pub(crate) const SELECT: &str =
    "SELECT *, (SELECT json_group_array(json_array(at_ns, place, name, netns, direction, message, bytes) ORDER BY seq)
        FROM hops WHERE hops.session = exchanges.session AND exchange_id = id) AS hops
     FROM exchanges ORDER BY start_ns, id";

/// One row by the names of its columns.
struct Fields<'a> {
    columns: &'a [String],
    row: &'a v1::Row,
}

/// Returns the session of a row and its exchange; what the store does not hold is unknown.
pub(crate) fn exchange(columns: &[String], row: &v1::Row) -> (String, v1::Exchange) {
    let fields = Fields { columns, row };
    let exchange = v1::Exchange {
        id: fields.number("id").unwrap_or_default(),
        connection_id: fields.signed("connection_id").map(i64::cast_unsigned).unwrap_or_default(),
        start_ns: fields.number("start_ns").unwrap_or_default(),
        protocol: fields.text("protocol"),
        side: fields.side().into(),
        encryption: if fields.is("tls") { v1::Encryption::Unread } else { v1::Encryption::None }.into(),
        origin: Some(fields.origin()),
        local: fields.end("local"),
        remote: fields.end("remote"),
        operation: fields.text("operation"),
        target: fields.text("target"),
        status: fields.text("status"),
        error: fields.is("error"),
        request: fields.message("request"),
        response: fields.message("response"),
        segments: fields.segments(),
        hops: fields.hops(),
        retransmits: fields.small("retransmits"),
        sample_weight: fields.small("sample_weight").unwrap_or_default(),
        handshake: fields.is("handshake"),
        announced: fields.end("announced"),
        reason: reason::named(&fields.text("reason")).into(),
        ..v1::Exchange::default()
    };
    (fields.text("session"), exchange)
}

// === impl Fields ===

impl Fields<'_> {
    fn kind(&self, name: &str) -> Option<&Kind> {
        let place = self.columns.iter().position(|column| column == name)?;
        self.row.values.get(place)?.kind.as_ref()
    }

    fn signed(&self, name: &str) -> Option<i64> {
        match self.kind(name)? {
            Kind::Integer(number) => Some(*number),
            Kind::Unsigned(number) => Some(number.cast_signed()),
            Kind::Real(_) | Kind::Text(_) | Kind::Blob(_) => None,
        }
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.signed(name).and_then(|number| u64::try_from(number).ok())
    }

    fn small(&self, name: &str) -> Option<u32> {
        self.number(name).and_then(|number| u32::try_from(number).ok())
    }

    fn is(&self, name: &str) -> bool {
        self.signed(name).is_some_and(|flag| flag != 0)
    }

    fn text(&self, name: &str) -> String {
        match self.kind(name) {
            Some(Kind::Text(text)) => text.clone(),
            Some(Kind::Blob(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            Some(Kind::Integer(_) | Kind::Unsigned(_) | Kind::Real(_)) | None => String::new(),
        }
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        match self.kind(name) {
            Some(Kind::Blob(bytes)) => bytes.clone(),
            Some(Kind::Text(text)) => text.clone().into_bytes(),
            Some(Kind::Integer(_) | Kind::Unsigned(_) | Kind::Real(_)) | None => Vec::new(),
        }
    }

    fn side(&self) -> v1::Side {
        match self.text("side").as_str() {
            "client" => v1::Side::Client,
            "server" => v1::Side::Server,
            _ => v1::Side::Unspecified,
        }
    }

    fn origin(&self) -> v1::Origin {
        v1::Origin {
            node: self.text("node"),
            pid: self.small("pid").unwrap_or_default(),
            comm: self.text("comm"),
            container_id: String::new(),
            namespace: self.text("namespace"),
            pod: self.text("pod"),
            container: self.text("container"),
            workload: self.text("workload"),
        }
    }

    fn end(&self, which: &str) -> Option<v1::Endpoint> {
        let address: Option<std::net::IpAddr> = self.text(&format!("{which}_addr")).parse().ok();
        let port = self.small(&format!("{which}_port"));
        let names = ["namespace", "pod", "service"].map(|name| self.text(&format!("{which}_{name}")));
        if address.is_none() && port.is_none() && names.iter().all(String::is_empty) {
            return None;
        }
        let [namespace, pod, service] = names;
        let address = match address {
            Some(std::net::IpAddr::V4(address)) => address.octets().to_vec(),
            Some(std::net::IpAddr::V6(address)) => address.octets().to_vec(),
            None => Vec::new(),
        };
        Some(v1::Endpoint { address, port: port.unwrap_or_default(), namespace, pod, service })
    }

    fn message(&self, which: &str) -> Option<v1::Message> {
        let bytes = self.number(&format!("{which}_bytes"));
        if bytes.is_none() && self.kind(which).is_none() {
            return None;
        }
        Some(v1::Message {
            bytes: bytes.unwrap_or_default(),
            plain_bytes: self.number(&format!("{which}_plain_bytes")),
            payload: self.bytes(which),
            truncated: self.is(&format!("{which}_truncated")),
            syscalls: Vec::new(),
        })
    }

    fn segments(&self) -> Option<v1::Segments> {
        Some(v1::Segments {
            total_ns: self.number("total_ns")?,
            send_ns: self.number("send_ns"),
            network_ns: self.number("network_ns"),
            transfer_ns: self.number("transfer_ns"),
            receive_ns: self.number("receive_ns"),
            queue_ns: self.number("queue_ns"),
            internal_ns: self.number("internal_ns"),
            read_ns: self.number("read_ns"),
        })
    }

    fn hops(&self) -> Vec<v1::Hop> {
        let found: Vec<Vec<Value>> = serde_json::from_str(&self.text("hops")).unwrap_or_default();
        found.iter().map(|parts| hop(parts)).collect()
    }
}

/// Reads one hop in the order of [`SELECT`].
fn hop(parts: &[Value]) -> v1::Hop {
    let text = |place: usize| parts.get(place).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |place: usize| parts.get(place).and_then(Value::as_u64).unwrap_or_default();
    v1::Hop {
        at_ns: parts.first().and_then(Value::as_i64).unwrap_or_default(),
        place: text(1),
        name: text(2),
        netns: u32::try_from(number(3)).unwrap_or_default(),
        direction: text(4),
        message: text(5),
        bytes: number(6),
    }
}
