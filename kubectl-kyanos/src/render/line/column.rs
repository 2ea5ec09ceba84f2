//! The columns of a line, from left to right, and which of them claim a terminal's room first.

use proto::{ends, reason, side, v1};

use super::{Claim, Look, Who, container_id, or_dash, process, segments, units, who};

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: Name,
    pub(super) title: &'static str,
    /// Characters where the width of the line is not known.
    pub(super) width: usize,
    pub(super) right: bool,
    pub(super) shown: Shown,
    pub(super) long: Long,
    pub(super) text: Text,
}

/// An exchange's text; some fold where there are few characters.
type Text = fn(&Look, &v1::Exchange, usize) -> String;

/// Tells columns apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Pod,
    Time,
    Process,
    Node,
    Container,
    Workload,
    Side,
    Protocol,
    Local,
    Remote,
    Request,
    Response,
    Total,
    Network,
    Transfer,
    Queue,
    Internal,
    Retransmits,
    Status,
    Operation,
    Target,
    Segments,
}

/// What becomes of a text that is longer than its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Long {
    /// Its end goes.
    Cut,
    /// On a terminal its end goes, elsewhere it stays.
    Begins,
    /// On a terminal its middle goes, for what names differ in is at either end; elsewhere it stays.
    Ends,
}

/// Where a column is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Always,
    Wide,
    Local,
    LocalWide,
    Cluster,
    ClusterWide,
}

// === impl Shown ===

impl Shown {
    /// Whether a look has the column, where there is room for it.
    pub(super) fn is_in(self, look: &Look) -> bool {
        let cluster = look.who != Who::Processes;
        match self {
            Self::Always => true,
            Self::Wide => look.wide,
            Self::Local => !cluster,
            Self::LocalWide => !cluster && look.wide,
            Self::Cluster => cluster,
            Self::ClusterWide => cluster && look.wide,
        }
    }
}

/// Characters of the time of day with milliseconds; with fewer there are none.
const TIME_WIDTH: usize = 12;

/// Characters of the time of day without milliseconds.
const SHORT_TIME_WIDTH: usize = 8;

/// The status of a request whose answer never came.
const NO_ANSWER: &str = "no answer";

/// The same where it has not so much room.
const NO_ANSWER_SHORT: &str = "none";

/// Characters of a side's word.
const SIDE_WIDTH: usize = 6;

/// Characters of a side's word where it is short.
const SHORT_SIDE_WIDTH: usize = 4;

/// Columns from left to right. The last one has no end: of what is left it shows the largest parts.
pub(super) const COLUMNS: [Column; 26] = [
    column(Name::Pod, "POD", 36, |look, of, _| who(of, look.who)).in_a(Shown::Cluster).cut(Long::Ends),
    column(Name::Time, "TIME", TIME_WIDTH, time),
    column(Name::Process, "PROCESS", 20, |_, of, _| process(of)).in_a(Shown::Local).cut(Long::Ends),
    column(Name::Container, "CONTAINER", 12, |_, of, _| container_id(of)).in_a(Shown::LocalWide),
    column(Name::Node, "NODE", 16, |_, of, _| origin(of, |origin| &origin.node))
        .in_a(Shown::ClusterWide)
        .cut(Long::Ends),
    column(Name::Container, "CONTAINER", 16, |_, of, _| origin(of, |origin| &origin.container))
        .in_a(Shown::ClusterWide)
        .cut(Long::Ends),
    column(Name::Workload, "WORKLOAD", 24, |_, of, _| origin(of, |origin| &origin.workload))
        .in_a(Shown::ClusterWide)
        .cut(Long::Ends),
    column(Name::Process, "PROCESS", 20, |_, of, _| process(of)).in_a(Shown::ClusterWide).cut(Long::Ends),
    column(Name::Side, "SIDE", SIDE_WIDTH, side_word),
    column(Name::Protocol, "PROTOCOL", 8, |_, of, _| of.protocol.clone()),
    column(Name::Local, "LOCAL", 21, |_, of, _| ends::local(of)).in_a(Shown::LocalWide).cut(Long::Ends),
    column(Name::Local, "LOCAL", 36, |_, of, _| ends::local(of)).in_a(Shown::ClusterWide).cut(Long::Ends),
    column(Name::Remote, "REMOTE", 21, |_, of, _| ends::remote(of)).in_a(Shown::Local).cut(Long::Ends),
    column(Name::Remote, "REMOTE", 36, |_, of, _| ends::remote(of)).in_a(Shown::Cluster).cut(Long::Ends),
    column(Name::Request, "REQ", 7, |_, of, _| size(of.request.as_ref())).in_a(Shown::Wide).right(),
    column(Name::Response, "RESP", 7, |_, of, _| size(of.response.as_ref())).in_a(Shown::Wide).right(),
    column(Name::Total, "TOTAL", 7, total).right(),
    column(Name::Network, "NETWORK", 7, |_, of, _| time_of(of, |parts| parts.network_ns))
        .in_a(Shown::Wide)
        .right(),
    column(Name::Transfer, "TRANSFER", 8, |_, of, _| time_of(of, |parts| parts.transfer_ns))
        .in_a(Shown::Wide)
        .right(),
    column(Name::Queue, "QUEUE", 7, |_, of, _| time_of(of, |parts| parts.queue_ns)).in_a(Shown::Wide).right(),
    column(Name::Internal, "INTERNAL", 8, |_, of, _| time_of(of, |parts| parts.internal_ns))
        .in_a(Shown::Wide)
        .right(),
    column(Name::Retransmits, "RETR", 4, |_, of, _| retransmits(of)).in_a(Shown::Wide).right(),
    column(Name::Status, "STATUS", 10, status),
    column(Name::Operation, "OPERATION", 48, |_, of, _| of.operation.clone()).cut(Long::Begins),
    column(Name::Target, "TARGET", 16, |_, of, _| or_dash(&of.target).to_owned()).in_a(Shown::Wide),
    column(Name::Segments, "SEGMENTS", 8, |_, of, _| segments(of)).cut(Long::Begins),
];

/// How the room of a terminal is shared out: what an exchange was and how it ended comes first, then whose it was.
/// Where a wide look is asked for, nothing is left out instead.
pub(super) const CLAIMS: [Claim<Name>; 29] = [
    claim(Name::Operation, 18),
    claim(Name::Status, 6),
    claim(Name::Pod, 16),
    claim(Name::Process, 12),
    claim(Name::Total, 7),
    claim(Name::Remote, 14),
    claim(Name::Time, SHORT_TIME_WIDTH),
    claim(Name::Remote, 16),
    claim(Name::Protocol, 8),
    claim(Name::Side, SHORT_SIDE_WIDTH),
    claim(Name::Operation, 24),
    claim(Name::Pod, 20),
    claim(Name::Remote, 18),
    claim(Name::Segments, 16),
    claim(Name::Status, 10),
    claim(Name::Pod, 28),
    claim(Name::Remote, 24),
    claim(Name::Process, 20),
    claim(Name::Side, SIDE_WIDTH),
    claim(Name::Time, TIME_WIDTH),
    claim(Name::Operation, 32),
    claim(Name::Segments, 32),
    claim(Name::Pod, 40),
    claim(Name::Remote, 40),
    claim(Name::Operation, 48),
    claim(Name::Segments, 52),
    claim(Name::Pod, 60),
    claim(Name::Remote, 60),
    claim(Name::Operation, usize::MAX),
];

// === impl Column ===

impl Column {
    const fn in_a(self, shown: Shown) -> Self {
        Self { shown, ..self }
    }

    const fn cut(self, long: Long) -> Self {
        Self { long, ..self }
    }

    const fn right(self) -> Self {
        Self { right: true, ..self }
    }
}

/// A column of every look, at the left of its place, whose long texts lose their end.
const fn column(name: Name, title: &'static str, width: usize, text: Text) -> Column {
    Column { name, title, width, right: false, shown: Shown::Always, long: Long::Cut, text }
}

const fn claim(column: Name, width: usize) -> Claim<Name> {
    Claim { column, width }
}

fn origin(exchange: &v1::Exchange, name: impl FnOnce(&v1::Origin) -> &String) -> String {
    or_dash(exchange.origin.as_ref().map_or("", |origin| name(origin))).to_owned()
}

fn time(look: &Look, exchange: &v1::Exchange, width: usize) -> String {
    let time = units::clock(exchange.start_ns, &look.zone);
    let short = time.split_once('.').filter(|_| width < TIME_WIDTH);
    short.map(|(seconds, _)| seconds.to_owned()).unwrap_or(time)
}

fn side_word(_: &Look, exchange: &v1::Exchange, width: usize) -> String {
    let side = exchange.side();
    let word = side::word(side).unwrap_or("-");
    let short = match side {
        v1::Side::Client => "cli",
        v1::Side::Server => "srv",
        v1::Side::Unspecified => word,
    };
    if width < SIDE_WIDTH { short } else { word }.to_owned()
}

fn size(message: Option<&v1::Message>) -> String {
    message.map_or_else(|| "-".to_owned(), |message| units::size(message.bytes))
}

fn total(_: &Look, exchange: &v1::Exchange, _: usize) -> String {
    exchange.segments.map_or_else(|| "-".to_owned(), |segments| units::duration(segments.total_ns))
}

/// A part of the time; one that was not observed is not 0.
fn time_of(exchange: &v1::Exchange, part: impl FnOnce(v1::Segments) -> Option<u64>) -> String {
    exchange.segments.and_then(part).map_or_else(|| "-".to_owned(), units::duration)
}

fn retransmits(exchange: &v1::Exchange) -> String {
    exchange.retransmits.map_or_else(|| "-".to_owned(), |count| units::count(count.into()))
}

fn status(_: &Look, exchange: &v1::Exchange, width: usize) -> String {
    if exchange.response.is_some() || !exchange.status.is_empty() {
        return or_dash(&exchange.status).to_owned();
    }
    let word = match reason::word(exchange.reason()) {
        Some(reason) => reason,
        // Some requests have no answer, such as the last one of a MySQL connection.
        None if !exchange.error => "-",
        None if width < NO_ANSWER.len() => NO_ANSWER_SHORT,
        None => NO_ANSWER,
    };
    word.to_owned()
}
