//! One exchange as a block: its line, its segments, request and response.

use std::fmt::Write;

use proto::v1;

use super::text::payload;
use super::{line, units};

/// Appends the block below an exchange's line; `print_bytes` of `None` leaves payloads out.
pub(crate) fn block(exchange: &v1::Exchange, print_bytes: Option<usize>) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        if !value.is_empty() {
            writeln!(text, "  {name:<11}{value}").ok();
        }
    };
    row("id", &exchange.id.to_string());
    row("start", &units::rfc3339(exchange.start_ns));
    row("connection", &connection(exchange));
    row("target", &super::text::one_line(&exchange.target, usize::MAX));
    if let Some(origin) = &exchange.origin {
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
    message(&mut text, "request", exchange.request.as_ref(), print_bytes);
    message(&mut text, "response", exchange.response.as_ref(), print_bytes);
    text
}

fn connection(exchange: &v1::Exchange) -> String {
    let tls = if super::json::is_encrypted(exchange) { ", tls not read" } else { "" };
    format!(
        "{} ↔ {} ({}{tls})",
        line::end(exchange.local.as_ref()),
        line::end(exchange.remote.as_ref()),
        exchange.connection_id
    )
}

fn message(text: &mut String, name: &str, message: Option<&v1::Message>, print_bytes: Option<usize>) {
    let Some(message) = message else {
        writeln!(text, "  {name:<11}none").ok();
        return;
    };
    let plain = message.plain_bytes.filter(|plain| *plain != message.bytes);
    let decoded = plain.map(|plain| format!(", {} decoded", units::size(plain))).unwrap_or_default();
    let shown = print_bytes.map(|limit| payload(&message.payload, limit));
    let cut = message.truncated || shown.as_ref().is_some_and(|(_, cut)| *cut);
    let cut = if cut { ", shortened" } else { "" };
    writeln!(text, "  {name:<11}{}{decoded}{cut}", units::size(message.bytes)).ok();
    for line in shown.iter().flat_map(|(shown, _)| shown.lines()) {
        writeln!(text, "  │ {}", line.trim_end_matches('\r')).ok();
    }
}
