//! HTTP as tshark reads it.

use super::row::WitnessRow;
use crate::replay::spoken::{Conversation, Said, plain};

/// Takes a packet's requests and responses.
pub(super) fn take(row: &WitnessRow<'_>, conversation: &mut Conversation) {
    let methods: Vec<&str> = row.list("http.request.method").collect();
    let mut targets = row.list("http.request.uri");
    let size = if methods.len() == 1 { size(row) } else { None };
    for method in methods {
        let shown = format!("{method} {}", targets.next().unwrap_or_default());
        conversation.requests.push(Said::new(plain(&shown), shown, size));
    }
    for code in row.list("http.response.code") {
        // Interim responses are no exchange's end, but for the switch to another protocol.
        if !code.starts_with('1') || code == "101" {
            conversation.responses.push(Said::new(code.to_owned(), code.to_owned(), None));
        }
    }
}

/// Returns the size of a packet's only request, where tshark's words tell: its lines, and the length of its body.
fn size(row: &WitnessRow<'_>) -> Option<u64> {
    let first = ["http.request.method", "http.request.uri", "http.request.version"];
    let mut bytes = 2;
    // Of others, tshark does not print all lines.
    if !matches!(
        row.first("http.request.method"),
        Some("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS")
    ) {
        return None;
    }
    for field in first {
        let text = row.first(field)?;
        if text.contains('\\') || !text.is_ascii() {
            return None;
        }
        bytes += text.len() + 1;
    }
    for line in row.list("http.request.line") {
        let text = line.strip_suffix("\\r\\n")?;
        if text.contains('\\') || !text.is_ascii() {
            return None;
        }
        bytes += text.len() + 2;
    }
    // First line, header lines, empty line: the version has no blank behind it.
    let head = u64::try_from(bytes + 1).ok()?;
    if row.first("http.chunk_size").is_some() {
        return None;
    }
    match row.first("http.content_length_header") {
        Some(length) => Some(head + length.parse::<u64>().ok()?),
        None => Some(head),
    }
}
