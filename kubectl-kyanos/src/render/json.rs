//! One exchange as a line of JSON: the contract's names and the original's beside them.

use proto::filter::address;
use proto::{reason, v1};
use serde::Serialize;

use super::text::payload;
use super::units::{milliseconds, rfc3339};

/// Name of this form of an exchange.
pub(crate) const SCHEMA: &str = "kyanos/v1";

/// How exchanges become JSON.
#[derive(Clone, Debug)]
pub(crate) struct Renderer {
    /// Session name.
    pub(crate) session: String,
    /// Payload bytes shown per message; `None` leaves payloads out.
    pub(crate) print_bytes: Option<usize>,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    session: &'a str,
    id: String,
    start_time: String,
    end_time: Option<String>,
    protocol: &'a str,
    side: Option<&'static str>,
    tls: bool,
    node: Option<&'a str>,
    namespace: Option<&'a str>,
    pod: Option<&'a str>,
    container: Option<&'a str>,
    workload: Option<&'a str>,
    pid: Option<u32>,
    comm: Option<&'a str>,
    connection_id: String,
    local_addr: Option<String>,
    local_port: Option<u32>,
    remote_addr: Option<String>,
    remote_port: Option<u32>,
    remote_namespace: Option<&'a str>,
    remote_pod: Option<&'a str>,
    remote_service: Option<&'a str>,
    operation: Option<&'a str>,
    target: Option<&'a str>,
    status: Option<&'a str>,
    error: bool,
    total_ns: Option<u64>,
    send_ns: Option<u64>,
    network_ns: Option<u64>,
    transfer_ns: Option<u64>,
    receive_ns: Option<u64>,
    queue_ns: Option<u64>,
    internal_ns: Option<u64>,
    read_ns: Option<u64>,
    segments: Segments,
    hops: Vec<Hop<'a>>,
    retransmits: Option<u32>,
    request_bytes: Option<u64>,
    response_bytes: Option<u64>,
    request_plain_bytes: Option<u64>,
    response_plain_bytes: Option<u64>,
    request: Option<String>,
    response: Option<String>,
    request_truncated: Option<bool>,
    response_truncated: Option<bool>,
    sample_weight: u32,
    handshake: bool,
    announced_addr: Option<String>,
    announced_port: Option<u32>,
    reason: Option<&'static str>,
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
    place: &'a str,
    name: &'a str,
    netns: u32,
    direction: &'a str,
    message: &'a str,
    bytes: u64,
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
    direction: String,
}

/// One end's address and port.
type End = (Option<String>, Option<u32>);

// === impl Renderer ===

impl Renderer {
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
        let origin = exchange.origin.as_ref();
        let remote = exchange.remote.as_ref();
        let (local_addr, local_port) = end(exchange.local.as_ref());
        let (remote_addr, remote_port) = end(remote);
        let (announced_addr, announced_port) = end(exchange.announced.as_ref());
        let (request, request_truncated) = self.text(exchange.request.as_ref());
        let (response, response_truncated) = self.text(exchange.response.as_ref());
        let segments = segments(exchange);
        Document {
            schema: SCHEMA,
            session: &self.session,
            id: exchange.id.to_string(),
            start_time: rfc3339(exchange.start_ns),
            end_time: segments.total.map(|total| rfc3339(exchange.start_ns.saturating_add(total))),
            protocol: &exchange.protocol,
            side: side(exchange.side()),
            tls: is_encrypted(exchange),
            node: origin.and_then(|origin| known(&origin.node)),
            namespace: origin.and_then(|origin| known(&origin.namespace)),
            pod: origin.and_then(|origin| known(&origin.pod)),
            container: origin.and_then(|origin| known(&origin.container)),
            workload: origin.and_then(|origin| known(&origin.workload)),
            pid: origin.map(|origin| origin.pid).filter(|pid| *pid != 0),
            comm: origin.and_then(|origin| known(&origin.comm)),
            connection_id: exchange.connection_id.to_string(),
            local_addr,
            local_port,
            remote_addr,
            remote_port,
            remote_namespace: remote.and_then(|remote| known(&remote.namespace)),
            remote_pod: remote.and_then(|remote| known(&remote.pod)),
            remote_service: remote.and_then(|remote| known(&remote.service)),
            operation: known(&exchange.operation),
            target: known(&exchange.target),
            status: known(&exchange.status),
            error: exchange.error,
            total_ns: segments.total,
            send_ns: segments.send,
            network_ns: segments.network,
            transfer_ns: segments.transfer,
            receive_ns: segments.receive,
            queue_ns: segments.queue,
            internal_ns: segments.internal,
            read_ns: segments.read,
            segments,
            hops: exchange.hops.iter().map(hop).collect(),
            retransmits: exchange.retransmits,
            request_bytes: exchange.request.as_ref().map(|message| message.bytes),
            response_bytes: exchange.response.as_ref().map(|message| message.bytes),
            request_plain_bytes: exchange.request.as_ref().and_then(|message| message.plain_bytes),
            response_plain_bytes: exchange.response.as_ref().and_then(|message| message.plain_bytes),
            request,
            response,
            request_truncated,
            response_truncated,
            sample_weight: exchange.sample_weight.max(1),
            handshake: exchange.handshake,
            announced_addr,
            announced_port,
            reason: reason::word(exchange.reason()),
            aliases: aliases(exchange, segments),
        }
    }

    fn text(&self, message: Option<&v1::Message>) -> (Option<String>, Option<bool>) {
        let Some(message) = message else { return (None, None) };
        match self.print_bytes {
            Some(limit) => {
                let (text, cut) = payload(&message.payload, limit);
                (Some(text), Some(cut || message.truncated))
            }
            None => (None, Some(message.truncated)),
        }
    }
}

/// Names a side; `None` where it is not known.
pub(crate) fn side(side: v1::Side) -> Option<&'static str> {
    match side {
        v1::Side::Client => Some("client"),
        v1::Side::Server => Some("server"),
        v1::Side::Unspecified => None,
    }
}

/// Whether the connection was encrypted.
pub(crate) fn is_encrypted(exchange: &v1::Exchange) -> bool {
    match exchange.encryption() {
        v1::Encryption::None => false,
        v1::Encryption::Unread => true,
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
        req_nic_events: nic_events(exchange, "request"),
        resp_nic_events: nic_events(exchange, "response"),
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

fn end(endpoint: Option<&v1::Endpoint>) -> End {
    let Some(endpoint) = endpoint else { return (None, None) };
    (address(endpoint).map(|address| address.to_string()), Some(endpoint.port).filter(|port| *port != 0))
}

fn hop(hop: &v1::Hop) -> Hop<'_> {
    let v1::Hop { at_ns, place, name, netns, direction, message, bytes } = hop;
    Hop { at_ns: *at_ns, place, name, netns: *netns, direction, message, bytes: *bytes }
}

fn syscall_events(message: Option<&v1::Message>) -> Vec<SyscallEvent> {
    let events = message.map(|message| message.syscalls.as_slice()).unwrap_or_default();
    events.iter().map(|event| SyscallEvent { byte_size: event.bytes, timestamp: event.time_ns }).collect()
}

fn nic_events(exchange: &v1::Exchange, message: &str) -> Vec<NicEvent> {
    exchange
        .hops
        .iter()
        .filter(|hop| hop.place == "nic" && hop.message == message)
        .map(|hop| NicEvent {
            byte_size: hop.bytes,
            timestamp: exchange.start_ns.saturating_add_signed(hop.at_ns),
            attributes: NicAttributes {
                ifname: hop.name.clone(),
                netns: hop.netns,
                direction: hop.direction.clone(),
            },
        })
        .collect()
}

fn known(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
