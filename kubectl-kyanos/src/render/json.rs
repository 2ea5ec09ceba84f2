//! One exchange as a line of JSON: the contract's names and the original's beside them.

mod columns;

use proto::columns::exchange::is_encrypted;
use proto::hop::{direction_word, message_word, place_word};
use proto::v1;
use serde::Serialize;

use self::columns::Columns;
use super::units::milliseconds;

/// Name of this form of an exchange.
pub(crate) const SCHEMA: &str = "kyanos/v1";

/// How exchanges become JSON.
#[derive(Clone, Debug)]
pub(crate) struct JsonRenderer {
    /// Session name.
    pub(crate) session: String,
    /// Payload bytes shown per message; `None` leaves payloads out.
    pub(crate) print_bytes: Option<usize>,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    #[serde(flatten)]
    columns: Columns<'a>,
    segments: Segments,
    hops: Vec<Hop<'a>>,
    ways: Option<Ways<'a>>,
    #[serde(flatten)]
    aliases: Aliases,
}

/// The names that the original Kyanos gives the same things.
#[derive(Serialize)]
struct Aliases {
    is_ssl: bool,
    total_duration_ms: Option<f64>,
    black_box_duration_ms: Option<f64>,
    read_socket_duration_ms: Option<f64>,
    copy_to_socket_buffer_duration_ms: Option<f64>,
    req_size_bytes: Option<u64>,
    resp_size_bytes: Option<u64>,
    req_plain_text_size_bytes: Option<u64>,
    resp_plain_text_size_bytes: Option<u64>,
    req_syscall_events: Vec<SyscallEvent>,
    resp_syscall_events: Vec<SyscallEvent>,
    req_nic_events: Vec<NicEvent>,
    resp_nic_events: Vec<NicEvent>,
}

#[derive(Clone, Copy, Serialize)]
struct Segments {
    total: Option<u64>,
    send: Option<u64>,
    network: Option<u64>,
    transfer: Option<u64>,
    receive: Option<u64>,
    queue: Option<u64>,
    internal: Option<u64>,
    read: Option<u64>,
}

#[derive(Serialize)]
struct Hop<'a> {
    at_ns: i64,
    place: &'static str,
    name: Option<&'a str>,
    netns: Option<u32>,
    direction: &'static str,
    message: &'static str,
    bytes: u64,
}

/// How the network divides, as far as the other side was seen.
#[derive(Serialize)]
struct Ways<'a> {
    request_ns: i64,
    response_ns: i64,
    error_ns: u64,
    node: Option<&'a str>,
    /// Text, as every identifier is.
    id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SyscallEvent {
    byte_size: u64,
    timestamp: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NicEvent {
    byte_size: u64,
    timestamp: u64,
    attributes: NicAttributes,
}

#[derive(Serialize)]
struct NicAttributes {
    ifname: String,
    netns: u32,
    direction: &'static str,
}

// === impl JsonRenderer ===

impl JsonRenderer {
    /// Appends an exchange as one line.
    pub(crate) fn line(&self, exchange: &v1::Exchange, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        serde_json::to_writer(&mut *out, &self.document(exchange))?;
        out.push(b'\n');
        Ok(())
    }

    /// Returns an exchange as a value.
    pub(crate) fn value(&self, exchange: &v1::Exchange) -> serde_json::Value {
        serde_json::to_value(self.document(exchange)).unwrap_or_default()
    }

    fn document<'a>(&'a self, exchange: &'a v1::Exchange) -> Document<'a> {
        let segments = segments(exchange);
        Document {
            schema: SCHEMA,
            columns: Columns::new(&self.session, self.print_bytes, exchange),
            segments,
            hops: exchange.hops.iter().map(hop).collect(),
            ways: exchange.ways.as_ref().map(ways),
            aliases: aliases(exchange, segments),
        }
    }
}

fn aliases(exchange: &v1::Exchange, segments: Segments) -> Aliases {
    let request = exchange.request.as_ref();
    let response = exchange.response.as_ref();
    let black_box = match exchange.side() {
        v1::Side::Client => together([segments.network, segments.transfer, None]),
        v1::Side::Server => segments.internal,
        v1::Side::Unspecified => None,
    };
    Aliases {
        is_ssl: is_encrypted(exchange),
        total_duration_ms: segments.total.map(milliseconds),
        black_box_duration_ms: black_box.map(milliseconds),
        read_socket_duration_ms: together([segments.receive, segments.queue, segments.read])
            .map(milliseconds),
        copy_to_socket_buffer_duration_ms: segments.receive.map(milliseconds),
        req_size_bytes: request.map(|message| message.bytes),
        resp_size_bytes: response.map(|message| message.bytes),
        req_plain_text_size_bytes: request.and_then(|message| message.plain_bytes),
        resp_plain_text_size_bytes: response.and_then(|message| message.plain_bytes),
        req_syscall_events: syscall_events(request),
        resp_syscall_events: syscall_events(response),
        req_nic_events: nic_events(exchange, v1::HopMessage::Request),
        resp_nic_events: nic_events(exchange, v1::HopMessage::Response),
    }
}

fn segments(exchange: &v1::Exchange) -> Segments {
    let Some(found) = exchange.segments else {
        return Segments {
            total: None,
            send: None,
            network: None,
            transfer: None,
            receive: None,
            queue: None,
            internal: None,
            read: None,
        };
    };
    let v1::Segments {
        total_ns,
        send_ns,
        network_ns,
        transfer_ns,
        receive_ns,
        queue_ns,
        internal_ns,
        read_ns,
    } = found;
    Segments {
        total: Some(total_ns),
        send: send_ns,
        network: network_ns,
        transfer: transfer_ns,
        receive: receive_ns,
        queue: queue_ns,
        internal: internal_ns,
        read: read_ns,
    }
}

/// Adds what is known; nothing known is not zero.
fn together(parts: [Option<u64>; 3]) -> Option<u64> {
    parts.into_iter().flatten().reduce(u64::saturating_add)
}

fn hop(hop: &v1::Hop) -> Hop<'_> {
    let v1::Hop { at_ns, place: _, name, netns, direction: _, message: _, bytes } = hop;
    Hop {
        at_ns: *at_ns,
        place: place_word(hop.place()),
        name: (!name.is_empty()).then_some(name),
        netns: (*netns != 0).then_some(*netns),
        direction: direction_word(hop.direction()),
        message: message_word(hop.message()),
        bytes: *bytes,
    }
}

fn ways(ways: &v1::Ways) -> Ways<'_> {
    let v1::Ways { request_ns, response_ns, error_ns, node, id } = ways;
    Ways {
        request_ns: *request_ns,
        response_ns: *response_ns,
        error_ns: *error_ns,
        node: (!node.is_empty()).then_some(node),
        id: id.to_string(),
    }
}

fn syscall_events(message: Option<&v1::Message>) -> Vec<SyscallEvent> {
    let events = message.map(|message| message.syscalls.as_slice()).unwrap_or_default();
    events.iter().map(|event| SyscallEvent { byte_size: event.bytes, timestamp: event.time_ns }).collect()
}

fn nic_events(exchange: &v1::Exchange, message: v1::HopMessage) -> Vec<NicEvent> {
    exchange
        .hops
        .iter()
        .filter(|hop| hop.place() == v1::HopPlace::Nic && hop.message() == message)
        .map(|hop| NicEvent {
            byte_size: hop.bytes,
            timestamp: exchange.start_ns.saturating_add_signed(hop.at_ns),
            attributes: NicAttributes {
                ifname: hop.name.clone(),
                netns: hop.netns,
                direction: direction_word(hop.direction()),
            },
        })
        .collect()
}

#[cfg(test)]
mod tests;
