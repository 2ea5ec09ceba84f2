//! The columns of table `exchanges`, which are the flat part of an exchange as JSON too.

mod read;
mod take;

use self::read::{end, message, origin, part, travel};
use self::take::{address, named, port};
use super::found::Found;
use super::{Cell, Column, Field, Kind, SESSION, columns};
use crate::{reason, side, v1};

pub use self::read::{Reading, Stored};

/// An exchange, whose it is, and how much of its payloads is kept.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Session name.
    pub session: &'a str,
    /// Payload bytes that are kept of a message; one that has more is shortened, and said to be.
    pub payload_bytes: usize,
    /// The exchange.
    pub exchange: &'a v1::Exchange,
}

/// Takes a cell.
pub type Get = for<'a> fn(Source<'a>) -> Cell<'a>;

/// Puts a stored value back.
pub type Set = fn(&mut Stored, Found<'_>);

/// A column of exchanges.
pub type ExchangeField = Field<Get, Set>;

/// The columns with how each is taken and put back; [`Reading`] does the latter in this order.
pub const FIELDS: &[ExchangeField] = &[
    field(SESSION, |of| Cell::Text(of.session), |to, found| to.session = found.text()),
    field(
        Column::required("id", Kind::Id, "Identifier within the session, below 2^63"),
        |of| Cell::Number(of.exchange.id),
        |to, found| to.exchange.id = found.number().unwrap_or_default(),
    ),
    field(
        Column::optional("node", Kind::Name, "Node name"),
        |of| of.origin(|origin| &origin.node),
        |to, found| origin(to).node = found.text(),
    ),
    field(
        Column::optional("namespace", Kind::Name, "Kubernetes namespace of the process"),
        |of| of.origin(|origin| &origin.namespace),
        |to, found| origin(to).namespace = found.text(),
    ),
    field(
        Column::optional("pod", Kind::Name, "Pod of the process"),
        |of| of.origin(|origin| &origin.pod),
        |to, found| origin(to).pod = found.text(),
    ),
    field(
        Column::optional("container", Kind::Name, "Container name of the process"),
        |of| of.origin(|origin| &origin.container),
        |to, found| origin(to).container = found.text(),
    ),
    field(
        Column::optional("workload", Kind::Name, "Workload of the process, KIND/NAME"),
        |of| of.origin(|origin| &origin.workload),
        |to, found| origin(to).workload = found.text(),
    ),
    field(
        Column::optional("pid", Kind::Positive, "Process id as the capturer sees it"),
        |of| of.exchange.origin.as_ref().map_or(Cell::Null, |origin| Cell::known(origin.pid.into())),
        |to, found| origin(to).pid = found.small().unwrap_or_default(),
    ),
    field(
        Column::optional("comm", Kind::Name, "Command name of the process"),
        |of| of.origin(|origin| &origin.comm),
        |to, found| origin(to).comm = found.text(),
    ),
    field(
        Column::optional("connection_id", Kind::Id, "Identifier of the connection"),
        |of| Cell::Number(of.exchange.connection_id),
        |to, found| {
            to.exchange.connection_id = found.signed().map(i64::cast_unsigned).unwrap_or_default();
        },
    ),
    field(
        Column::optional("side", Kind::Choice(8, &side::WORDS), "Which end the observed process is"),
        |of| side::word(of.exchange.side()).map_or(Cell::Null, Cell::Text),
        |to, found| to.exchange.side = side::named(&found.text()).into(),
    ),
    field(
        Column::required("protocol", Kind::Word(32), "Registry name of the protocol, lower case"),
        |of| Cell::Text(&of.exchange.protocol),
        |to, found| to.exchange.protocol = found.text(),
    ),
    field(
        Column::required("tls", Kind::Flag, "Whether the connection is encrypted"),
        |of| Cell::Flag(is_encrypted(of.exchange)),
        |to, found| {
            let encryption = if found.is() { v1::Encryption::Unread } else { v1::Encryption::None };
            to.exchange.encryption = encryption.into();
        },
    ),
    field(
        Column::optional("local_addr", Kind::Address, "Local IPv4 or IPv6 address"),
        |of| address(of.exchange.local.as_ref()),
        |to, found| end(&mut to.exchange.local, found.address(), |end| &mut end.address),
    ),
    field(
        Column::optional("local_port", Kind::Port, "Local port"),
        |of| port(of.exchange.local.as_ref()),
        |to, found| end(&mut to.exchange.local, found.small(), |end| &mut end.port),
    ),
    field(
        Column::optional("remote_addr", Kind::Address, "Remote IPv4 or IPv6 address"),
        |of| address(of.exchange.remote.as_ref()),
        |to, found| end(&mut to.exchange.remote, found.address(), |end| &mut end.address),
    ),
    field(
        Column::optional("remote_port", Kind::Port, "Remote port"),
        |of| port(of.exchange.remote.as_ref()),
        |to, found| end(&mut to.exchange.remote, found.small(), |end| &mut end.port),
    ),
    field(
        Column::optional("remote_namespace", Kind::Name, "Kubernetes namespace of the remote end"),
        |of| named(of.exchange.remote.as_ref(), |end| &end.namespace),
        |to, found| end(&mut to.exchange.remote, Some(found.text()), |end| &mut end.namespace),
    ),
    field(
        Column::optional("remote_pod", Kind::Name, "Pod at the remote end"),
        |of| named(of.exchange.remote.as_ref(), |end| &end.pod),
        |to, found| end(&mut to.exchange.remote, Some(found.text()), |end| &mut end.pod),
    ),
    field(
        Column::optional("remote_service", Kind::Name, "Service that the client connected to, NAMESPACE/NAME; null where it used none"),
        |of| named(of.exchange.remote.as_ref(), |end| &end.service),
        |to, found| end(&mut to.exchange.remote, Some(found.text()), |end| &mut end.service),
    ),
    field(
        Column::optional("operation", Kind::Operation, "What was asked, one line"),
        |of| Cell::text(&of.exchange.operation),
        |to, found| to.exchange.operation = found.text(),
    ),
    field(
        Column::optional("target", Kind::Name, "Host, database or topic"),
        |of| Cell::text(&of.exchange.target),
        |to, found| to.exchange.target = found.text(),
    ),
    field(
        Column::optional(
            "status",
            Kind::Name,
            "Outcome in the protocol's words; null without a response",
        ),
        |of| Cell::text(&of.exchange.status),
        |to, found| to.exchange.status = found.text(),
    ),
    field(
        Column::required(
            "error",
            Kind::Flag,
            "Whether it failed, or the connection ended without a response",
        ),
        |of| Cell::Flag(of.exchange.error),
        |to, found| to.exchange.error = found.is(),
    ),
    derived(Column::required("start_time", Kind::Time, "First mark"), |of| {
        Cell::Time(of.exchange.start_ns)
    }),
    derived(Column::optional("end_time", Kind::Time, "Last mark"), |of| match of.exchange.segments {
        Some(segments) => Cell::Time(of.exchange.start_ns.saturating_add(segments.total_ns)),
        None => Cell::Null,
    }),
    field(
        Column::required("start_ns", Kind::Count, "First mark, nanoseconds since the Unix epoch").only_sql(),
        |of| Cell::Number(of.exchange.start_ns),
        |to, found| to.exchange.start_ns = found.number().unwrap_or_default(),
    ),
    field(
        Column::optional("total_ns", Kind::Count, "Last mark less first mark, nanoseconds"),
        |of| of.segment(|segments| Some(segments.total_ns)),
        |to, found| {
            if let Some(total_ns) = found.number() {
                to.exchange.segments.get_or_insert_default().total_ns = total_ns;
            }
        },
    ),
    field(
        Column::optional(
            "send_ns",
            Kind::Count,
            "Nanoseconds from the write to the boundary interface; null where not observed",
        ),
        |of| of.segment(|segments| segments.send_ns),
        |to, found| part(to, found, |segments| &mut segments.send_ns),
    ),
    field(
        Column::optional(
            "network_ns",
            Kind::Count,
            "Nanoseconds between the boundary interface's last request and first response byte; null where not observed",
        ),
        |of| of.segment(|segments| segments.network_ns),
        |to, found| part(to, found, |segments| &mut segments.network_ns),
    ),
    field(
        Column::optional(
            "transfer_ns",
            Kind::Count,
            "Nanoseconds from the first to the last response byte at the boundary interface; null where not observed",
        ),
        |of| of.segment(|segments| segments.transfer_ns),
        |to, found| part(to, found, |segments| &mut segments.transfer_ns),
    ),
    field(
        Column::optional(
            "receive_ns",
            Kind::Count,
            "Nanoseconds from the boundary interface into the socket; null where not observed",
        ),
        |of| of.segment(|segments| segments.receive_ns),
        |to, found| part(to, found, |segments| &mut segments.receive_ns),
    ),
    field(
        Column::optional(
            "queue_ns",
            Kind::Count,
            "Nanoseconds in the socket until the process reads; null where not observed",
        ),
        |of| of.segment(|segments| segments.queue_ns),
        |to, found| part(to, found, |segments| &mut segments.queue_ns),
    ),
    field(
        Column::optional(
            "internal_ns",
            Kind::Count,
            "Nanoseconds in the serving process; null where not observed",
        ),
        |of| of.segment(|segments| segments.internal_ns),
        |to, found| part(to, found, |segments| &mut segments.internal_ns),
    ),
    field(
        Column::optional(
            "read_ns",
            Kind::Count,
            "Nanoseconds copying to the process; null where not observed",
        ),
        |of| of.segment(|segments| segments.read_ns),
        |to, found| part(to, found, |segments| &mut segments.read_ns),
    ),
    field(
        Column::optional("retransmits", Kind::Count, "TCP retransmissions; null where not observed"),
        |of| Cell::maybe(of.exchange.retransmits.map(u64::from)),
        |to, found| to.exchange.retransmits = found.small(),
    ),
    field(
        Column::required("sample_weight", Kind::Positive, "How many exchanges this one stands for"),
        |of| Cell::Number(of.exchange.sample_weight.max(1).into()),
        |to, found| to.exchange.sample_weight = found.small().unwrap_or_default(),
    ),
    field(
        Column::optional(
            "request_bytes",
            Kind::Count,
            "Stream bytes of the request, headers and framing included",
        ),
        |of| of.request(|message| Cell::Number(message.bytes)),
        |to, found| message(&mut to.exchange.request).bytes = found.number().unwrap_or_default(),
    ),
    field(
        Column::optional(
            "response_bytes",
            Kind::Count,
            "Stream bytes of the response, headers and framing included",
        ),
        |of| of.response(|message| Cell::Number(message.bytes)),
        |to, found| message(&mut to.exchange.response).bytes = found.number().unwrap_or_default(),
    ),
    field(
        Column::optional("request_plain_bytes", Kind::Count, "Bytes of the request decoded"),
        |of| of.request(|message| Cell::maybe(message.plain_bytes)),
        |to, found| message(&mut to.exchange.request).plain_bytes = found.number(),
    ),
    field(
        Column::optional("response_plain_bytes", Kind::Count, "Bytes of the response decoded"),
        |of| of.response(|message| Cell::maybe(message.plain_bytes)),
        |to, found| message(&mut to.exchange.response).plain_bytes = found.number(),
    ),
    field(
        Column::optional("request", Kind::Payload, "The request"),
        |of| of.request(|message| Cell::Payload(&message.payload)),
        |to, found| message(&mut to.exchange.request).payload = found.bytes(),
    ),
    field(
        Column::optional("response", Kind::Payload, "The response"),
        |of| of.response(|message| Cell::Payload(&message.payload)),
        |to, found| message(&mut to.exchange.response).payload = found.bytes(),
    ),
    field(
        Column::optional(
            "request_truncated",
            Kind::Flag,
            "Whether the request is shortened or partly unseen",
        ),
        |of| of.truncated(of.exchange.request.as_ref()),
        |to, found| message(&mut to.exchange.request).truncated = found.is(),
    ),
    field(
        Column::optional(
            "response_truncated",
            Kind::Flag,
            "Whether the response is shortened or partly unseen",
        ),
        |of| of.truncated(of.exchange.response.as_ref()),
        |to, found| message(&mut to.exchange.response).truncated = found.is(),
    ),
    field(
        Column::required(
            "handshake",
            Kind::Flag,
            "Whether a client library sent the request by itself when it connected; an error is then left out of --errors and of error counts",
        )
        .since(2),
        |of| Cell::Flag(of.exchange.handshake),
        |to, found| to.exchange.handshake = found.is(),
    ),
    field(
        Column::optional(
            "announced_addr",
            Kind::Address,
            "Client's IPv4 or IPv6 address as a proxy announced it (PROXY protocol)",
        )
        .since(2),
        |of| address(of.exchange.announced.as_ref()),
        |to, found| end(&mut to.exchange.announced, found.address(), |end| &mut end.address),
    ),
    field(
        Column::optional("announced_port", Kind::Port, "Client's port as a proxy announced it").since(2),
        |of| port(of.exchange.announced.as_ref()),
        |to, found| end(&mut to.exchange.announced, found.small(), |end| &mut end.port),
    ),
    field(
        Column::optional(
            "reason",
            Kind::Choice(16, &reason::WORDS),
            "Why the response is unknown: bytes of one came that could not be read; null where no more is known",
        )
        .since(2),
        |of| reason::word(of.exchange.reason()).map_or(Cell::Null, Cell::Text),
        |to, found| to.exchange.reason = reason::named(&found.text()).into(),
    ),
    field(
        Column::optional(
            "connect_ns",
            Kind::Count,
            "Nanoseconds from the SYN to the established connection, in the first exchange of a connection that was opened during the capture; else null",
        )
        .since(4),
        |of| Cell::maybe(of.exchange.connect_ns),
        |to, found| to.exchange.connect_ns = found.number(),
    ),
    field(
        Column::optional(
            "zero_windows",
            Kind::Count,
            "How often a receiver announced that it had no room; null where not observed",
        )
        .since(4),
        |of| Cell::maybe(of.exchange.zero_windows.map(u64::from)),
        |to, found| to.exchange.zero_windows = found.small(),
    ),
    field(
        Column::required("clamped", Kind::Flag, "Whether a mark was observed out of order and moved").since(4),
        |of| Cell::Flag(of.exchange.clamped),
        |to, found| to.exchange.clamped = found.is(),
    ),
    field(
        Column::optional(
            "request_way_ns",
            Kind::Signed,
            "Nanoseconds from the client's boundary interface to the server's, negative within way_error_ns; null where not both sides were seen",
        )
        .since(4),
        |of| of.ways(|ways| Cell::Signed(ways.request_ns)),
        |to, found| travel(to, found.signed(), |ways| &mut ways.request_ns),
    ),
    field(
        Column::optional(
            "response_way_ns",
            Kind::Signed,
            "Nanoseconds from the server's boundary interface to the client's, negative within way_error_ns; null where not both sides were seen",
        )
        .since(4),
        |of| of.ways(|ways| Cell::Signed(ways.response_ns)),
        |to, found| travel(to, found.signed(), |ways| &mut ways.response_ns),
    ),
    field(
        Column::optional(
            "way_error_ns",
            Kind::Count,
            "Nanoseconds that the clocks of both nodes may be apart unnoticed: what one way has too much the other has too little",
        )
        .since(4),
        |of| of.ways(|ways| Cell::Number(ways.error_ns)),
        |to, found| travel(to, found.number(), |ways| &mut ways.error_ns),
    ),
    field(
        Column::optional("peer_node", Kind::Name, "Node of the exchange's other side, where that was seen").since(4),
        |of| of.ways(|ways| Cell::text(&ways.node)),
        |to, found| travel(to, Some(found.text()), |ways| &mut ways.node),
    ),
    field(
        Column::optional("peer_id", Kind::OtherId, "Identifier of the exchange's other side, where that was seen")
            .since(4),
        |of| of.ways(|ways| Cell::Number(ways.id)),
        |to, found| travel(to, found.number(), |ways| &mut ways.id),
    ),
];

/// The columns alone.
pub const COLUMNS: &[Column] = &columns::<Get, Set, { FIELDS.len() }>(FIELDS);

/// Whether the connection was encrypted.
#[must_use]
pub fn is_encrypted(exchange: &v1::Exchange) -> bool {
    match exchange.encryption() {
        v1::Encryption::None => false,
        v1::Encryption::Unread => true,
    }
}

const fn field(column: Column, get: Get, set: Set) -> ExchangeField {
    Field { column, get, set: Some(set) }
}

/// A column that follows from others.
const fn derived(column: Column, get: Get) -> ExchangeField {
    Field { column, get, set: None }
}
