//! One exchange as a block: its line, its path with where the time went, request and response.

use std::fmt::Write;

use proto::columns::exchange::is_encrypted;
use proto::{ends, reason, v1};

use super::text::{lines, one_line, payload};
use super::{line, path, units};

/// Cells of a path's line where no terminal says how many it has.
const PATH_WIDTH: usize = 80;

/// Returns the block below an exchange's line; `print_bytes` of `None` leaves payloads out. The path is as wide as the
/// terminal at most.
pub(crate) fn block(exchange: &v1::Exchange, print_bytes: Option<usize>, width: Option<usize>) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        if !value.is_empty() {
            writeln!(text, "  {name:<11}{}", one_line(value, usize::MAX)).ok();
        }
    };
    row("id", &exchange.id.to_string());
    row("start", &units::rfc3339(exchange.start_ns));
    row("connection", &connection(exchange));
    row("announced", &announced(exchange));
    row("handshake", if exchange.handshake { "yes: sent by a client library as it connected" } else { "" });
    row("target", &exchange.target);
    if let Some(origin) = &exchange.origin {
        row("process", &line::process(exchange));
        row("pod", &pod(origin));
        row("node", &origin.node);
        row("container", &origin.container_id);
    }
    if let Some(segments) = exchange.segments {
        let parts: Vec<String> = line::parts(segments)
            .into_iter()
            .map(|(name, ns)| format!("{name} {}", units::duration(ns)))
            .collect();
        row("segments", &format!("{} = {}", units::duration(segments.total_ns), parts.join(" + ")));
    }
    row("clamped", if exchange.clamped { "yes: what was observed out of order was moved" } else { "" });
    row("tcp", &tcp(exchange));
    row("other side", &other_side(exchange));
    let width = width.unwrap_or(PATH_WIDTH);
    text.push_str(&path::path(exchange, width));
    text.push_str(&path::hops(exchange, width));
    message(&mut text, "request", exchange.request.as_ref(), "none", print_bytes);
    let absent = reason::word(exchange.reason()).unwrap_or("none");
    message(&mut text, "response", exchange.response.as_ref(), absent, print_bytes);
    text
}

fn connection(exchange: &v1::Exchange) -> String {
    let tls = if is_encrypted(exchange) { ", tls not read" } else { "" };
    format!("{} ↔ {} ({}{tls})", ends::local(exchange), ends::remote(exchange), exchange.connection_id)
}

/// Names the pod in its namespace, with container and workload.
fn pod(origin: &v1::Origin) -> String {
    if origin.pod.is_empty() {
        return String::new();
    }
    let named = [("container", &origin.container), ("workload", &origin.workload)];
    let more: Vec<String> = named
        .iter()
        .filter(|(_, name)| !name.is_empty())
        .map(|(kind, name)| format!(", {kind} {name}"))
        .collect();
    format!("{}/{}{}", origin.namespace, origin.pod, more.concat())
}

/// Names the client that a proxy spoke for.
fn announced(exchange: &v1::Exchange) -> String {
    let Some(client) = &exchange.announced else { return String::new() };
    format!("{} (by a proxy, as its client)", ends::named(client))
}

/// Says what of the connection took time, as far as it was observed.
fn tcp(exchange: &v1::Exchange) -> String {
    let count = |name: &str, found: Option<u32>| found.map(|found| format!("{name} {found}"));
    let parts = [
        exchange.connect_ns.map(|ns| format!("connect {}", units::duration(ns))),
        count("retransmits", exchange.retransmits),
        count("zero windows", exchange.zero_windows),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Names the exchange that the other side saw.
fn other_side(exchange: &v1::Exchange) -> String {
    let Some(ways) = &exchange.ways else { return String::new() };
    format!("{} on {}", ways.id, ways.node)
}

fn message(
    text: &mut String,
    name: &str,
    message: Option<&v1::Message>,
    absent: &str,
    print_bytes: Option<usize>,
) {
    let Some(message) = message else {
        writeln!(text, "  {name:<11}{absent}").ok();
        return;
    };
    let plain = message.plain_bytes.filter(|plain| *plain != message.bytes);
    let decoded = plain.map(|plain| format!(", {} decoded", units::size(plain))).unwrap_or_default();
    let shown = print_bytes.map(|limit| payload(&message.payload, limit));
    let cut = message.truncated || shown.as_ref().is_some_and(|(_, cut)| *cut);
    let cut = if cut { ", shortened" } else { "" };
    writeln!(text, "  {name:<11}{}{decoded}{cut}", units::size(message.bytes)).ok();
    for line in shown.iter().flat_map(|(shown, _)| shown.lines()) {
        writeln!(text, "  │ {}", lines(line.trim_end_matches('\r'))).ok();
    }
}
