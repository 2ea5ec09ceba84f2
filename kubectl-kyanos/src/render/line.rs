//! One exchange as an aligned line.

use jiff::tz::TimeZone;
use proto::filter::{address, counts_as_error};
use proto::{reason, side, v1};

use super::text::{both_ends, one_line};
use super::units;

/// Fewest characters that an operation gets on a narrow terminal.
const MIN_OPERATION: usize = 24;

/// Characters of an operation where the width is not known.
const FREE_OPERATION: usize = 48;

const RED: &str = "\u{1b}[31m";
const DIM: &str = "\u{1b}[2m";
const PLAIN: &str = "\u{1b}[0m";

/// How exchanges become lines.
#[derive(Clone, Debug)]
pub(crate) struct LineRenderer {
    /// Zone of the times shown.
    pub(crate) zone: TimeZone,
    /// Whether processes are named by pod and container, as in a cluster.
    pub(crate) cluster: bool,
    /// More columns.
    pub(crate) wide: bool,
    /// Colours.
    pub(crate) colour: bool,
    /// Characters of a terminal's line; `None` cuts nothing.
    pub(crate) width: Option<usize>,
}

struct Column {
    title: &'static str,
    width: usize,
    right: bool,
    shown: Shown,
    long: Long,
    text: fn(&v1::Exchange) -> String,
}

/// What becomes of a text that is longer than its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Long {
    /// Its end goes.
    Begins,
    /// Its middle goes: what names differ in is at either end.
    Ends,
    /// As [`Long::Ends`] on a terminal, where lines must not be long; else it stays.
    Stays,
}

/// Where a column is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Always,
    Wide,
    Local,
    LocalWide,
    Cluster,
    ClusterWide,
}

/// Columns before the operation, which takes what is left, and the segments after it.
const COLUMNS: [Column; 14] = [
    Column {
        title: "PROCESS",
        width: 20,
        right: false,
        shown: Shown::Local,
        long: Long::Ends,
        text: process,
    },
    Column {
        title: "CONTAINER",
        width: 12,
        right: false,
        shown: Shown::LocalWide,
        long: Long::Begins,
        text: container_id,
    },
    Column {
        title: "POD/CONTAINER",
        width: 36,
        right: false,
        shown: Shown::Cluster,
        long: Long::Stays,
        text: who,
    },
    Column {
        title: "NAMESPACE",
        width: 16,
        right: false,
        shown: Shown::ClusterWide,
        long: Long::Stays,
        text: namespace,
    },
    Column {
        title: "NODE",
        width: 24,
        right: false,
        shown: Shown::ClusterWide,
        long: Long::Stays,
        text: node,
    },
    Column {
        title: "PROCESS",
        width: 20,
        right: false,
        shown: Shown::ClusterWide,
        long: Long::Ends,
        text: process,
    },
    Column {
        title: "SIDE",
        width: 6,
        right: false,
        shown: Shown::Always,
        long: Long::Begins,
        text: side_name,
    },
    Column {
        title: "PROTOCOL",
        width: 8,
        right: false,
        shown: Shown::Always,
        long: Long::Begins,
        text: protocol,
    },
    Column { title: "LOCAL", width: 21, right: false, shown: Shown::Wide, long: Long::Ends, text: local },
    Column { title: "REMOTE", width: 21, right: false, shown: Shown::Always, long: Long::Ends, text: remote },
    Column {
        title: "REQ",
        width: 7,
        right: true,
        shown: Shown::Wide,
        long: Long::Begins,
        text: request_size,
    },
    Column {
        title: "RESP",
        width: 7,
        right: true,
        shown: Shown::Wide,
        long: Long::Begins,
        text: response_size,
    },
    Column { title: "TOTAL", width: 7, right: true, shown: Shown::Always, long: Long::Begins, text: total },
    Column {
        title: "STATUS",
        width: 10,
        right: false,
        shown: Shown::Always,
        long: Long::Begins,
        text: status,
    },
];

/// Characters of the time of day.
const TIME_WIDTH: usize = 12;

/// Characters kept for the segments at the end of a terminal's line.
const SEGMENTS_WIDTH: usize = 36;

// === impl LineRenderer ===

impl LineRenderer {
    /// Returns the line above all others.
    pub(crate) fn header(&self) -> String {
        let mut line = format!("{:<TIME_WIDTH$}", "TIME");
        for column in self.columns() {
            push(&mut line, column.title, column.width, column.right);
        }
        push(&mut line, "OPERATION", self.operation_width(), false);
        if self.wide {
            push(&mut line, "TARGET", 16, false);
        }
        line.push_str("  SEGMENTS");
        let line = self.width.map_or_else(|| line.clone(), |width| one_line(&line, width));
        if self.colour { format!("{DIM}{line}{PLAIN}") } else { line }
    }

    /// Returns an exchange's line.
    pub(crate) fn line(&self, exchange: &v1::Exchange) -> String {
        let mut line = units::clock(exchange.start_ns, &self.zone);
        for column in self.columns() {
            let text = (column.text)(exchange);
            let text = match (column.long, self.width) {
                (Long::Begins, _) => one_line(&text, column.width),
                (Long::Stays, None) => one_line(&text, usize::MAX),
                (Long::Ends | Long::Stays, _) => both_ends(&text, column.width),
            };
            push(&mut line, &text, column.width, column.right);
        }
        let width = self.operation_width();
        let limit = if self.width.is_some() { width } else { usize::MAX };
        push(&mut line, &one_line(&exchange.operation, limit), width, false);
        if self.wide {
            push(&mut line, &one_line(or_dash(&exchange.target), 16), 16, false);
        }
        line.push_str("  ");
        line.push_str(&segments(exchange));
        let line = self.width.map_or_else(|| line.clone(), |width| one_line(&line, width));
        let line = line.trim_end();
        if self.colour && counts_as_error(exchange) { format!("{RED}{line}{PLAIN}") } else { line.to_owned() }
    }

    fn columns(&self) -> impl Iterator<Item = &'static Column> {
        let Self { cluster, wide, zone: _, colour: _, width: _ } = *self;
        COLUMNS.iter().filter(move |column| match column.shown {
            Shown::Always => true,
            Shown::Wide => wide,
            Shown::Local => !cluster,
            Shown::LocalWide => !cluster && wide,
            Shown::Cluster => cluster,
            Shown::ClusterWide => cluster && wide,
        })
    }

    fn operation_width(&self) -> usize {
        let Some(width) = self.width else { return FREE_OPERATION };
        let fixed: usize = self.columns().map(|column| column.width + 2).sum();
        let target = if self.wide { 18 } else { 0 };
        width.saturating_sub(TIME_WIDTH + fixed + target + SEGMENTS_WIDTH + 4).max(MIN_OPERATION)
    }
}

/// Names where the time went, largest part first.
pub(crate) fn segments(exchange: &v1::Exchange) -> String {
    let Some(found) = exchange.segments else { return String::new() };
    let mut parts = parts(found);
    parts.retain(|(_, ns)| *ns > 0);
    parts.sort_by_key(|(_, ns)| std::cmp::Reverse(*ns));
    let words: Vec<String> =
        parts.into_iter().map(|(name, ns)| format!("{name} {}", units::duration(ns))).collect();
    words.join(" ")
}

/// Returns the segments that were observed, in the order of time.
pub(crate) fn parts(segments: v1::Segments) -> Vec<(&'static str, u64)> {
    let v1::Segments {
        total_ns: _,
        send_ns,
        network_ns,
        transfer_ns,
        receive_ns,
        queue_ns,
        internal_ns,
        read_ns,
    } = segments;
    [
        ("send", send_ns),
        ("network", network_ns),
        ("transfer", transfer_ns),
        ("receive", receive_ns),
        ("queue", queue_ns),
        ("internal", internal_ns),
        ("read", read_ns),
    ]
    .into_iter()
    .filter_map(|(name, ns)| ns.map(|ns| (name, ns)))
    .collect()
}

/// Names who was observed: the pod with its container, or a process outside pods.
pub(crate) fn who(exchange: &v1::Exchange) -> String {
    match &exchange.origin {
        Some(v1::Origin { pod, container, .. }) if !pod.is_empty() => {
            if container.is_empty() {
                pod.clone()
            } else {
                format!("{pod}/{container}")
            }
        }
        Some(_) | None => process(exchange),
    }
}

/// Names the process that was observed.
pub(crate) fn process(exchange: &v1::Exchange) -> String {
    match &exchange.origin {
        Some(origin) if origin.pid != 0 => format!("{}/{}", or_dash(&origin.comm), origin.pid),
        Some(origin) => or_dash(&origin.comm).to_owned(),
        None => "-".to_owned(),
    }
}

/// Names the other end of the connection by service, pod or address.
pub(crate) fn remote_end(endpoint: Option<&v1::Endpoint>) -> String {
    match endpoint {
        Some(endpoint) if !endpoint.service.is_empty() => with_port(&endpoint.service, endpoint.port),
        endpoint => own_end(endpoint),
    }
}

/// Names an end of the connection by pod or address: whoever serves is one pod, and no Service.
pub(crate) fn own_end(endpoint: Option<&v1::Endpoint>) -> String {
    let Some(endpoint) = endpoint else { return "-".to_owned() };
    let host = match address(endpoint) {
        _ if !endpoint.pod.is_empty() => endpoint.pod.clone(),
        Some(std::net::IpAddr::V6(address)) => format!("[{address}]"),
        Some(address) => address.to_string(),
        None => "-".to_owned(),
    };
    with_port(&host, endpoint.port)
}

fn with_port(host: &str, port: u32) -> String {
    if port == 0 { host.to_owned() } else { format!("{host}:{port}") }
}

fn container_id(exchange: &v1::Exchange) -> String {
    let id = exchange.origin.as_ref().map(|origin| origin.container_id.as_str()).unwrap_or_default();
    or_dash(id.get(..12).unwrap_or(id)).to_owned()
}

fn namespace(exchange: &v1::Exchange) -> String {
    or_dash(exchange.origin.as_ref().map_or("", |origin| &origin.namespace)).to_owned()
}

fn node(exchange: &v1::Exchange) -> String {
    or_dash(exchange.origin.as_ref().map_or("", |origin| &origin.node)).to_owned()
}

fn side_name(exchange: &v1::Exchange) -> String {
    side::word(exchange.side()).unwrap_or("-").to_owned()
}

fn protocol(exchange: &v1::Exchange) -> String {
    exchange.protocol.clone()
}

fn local(exchange: &v1::Exchange) -> String {
    own_end(exchange.local.as_ref())
}

fn remote(exchange: &v1::Exchange) -> String {
    remote_end(exchange.remote.as_ref())
}

fn request_size(exchange: &v1::Exchange) -> String {
    exchange.request.as_ref().map_or_else(|| "-".to_owned(), |message| units::size(message.bytes))
}

fn response_size(exchange: &v1::Exchange) -> String {
    exchange.response.as_ref().map_or_else(|| "-".to_owned(), |message| units::size(message.bytes))
}

fn total(exchange: &v1::Exchange) -> String {
    exchange.segments.map_or_else(|| "-".to_owned(), |segments| units::duration(segments.total_ns))
}

fn status(exchange: &v1::Exchange) -> String {
    if exchange.response.is_none() && exchange.status.is_empty() {
        return reason::word(exchange.reason()).unwrap_or("no answer").to_owned();
    }
    or_dash(&exchange.status).to_owned()
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn push(line: &mut String, text: &str, width: usize, right: bool) {
    line.push_str("  ");
    let gap = width.saturating_sub(text.chars().count());
    if right {
        line.extend(std::iter::repeat_n(' ', gap));
        line.push_str(text);
    } else {
        line.push_str(text);
        line.extend(std::iter::repeat_n(' ', gap));
    }
}

#[cfg(test)]
mod tests;
