//! What statistics measure: metrics by their names in flags and output.

use proto::v1;

/// Names and short forms of metrics, and which side has them; `None` where both do.
pub(crate) const METRICS: [(&str, Option<&str>, v1::Metric, Option<v1::Side>); 10] = [
    ("total-time", Some("t"), v1::Metric::TotalTime, None),
    ("reqsize", Some("q"), v1::Metric::RequestSize, None),
    ("respsize", Some("p"), v1::Metric::ResponseSize, None),
    ("network-time", Some("n"), v1::Metric::NetworkTime, Some(v1::Side::Client)),
    ("internal-time", Some("i"), v1::Metric::InternalTime, Some(v1::Side::Server)),
    ("socket-time", Some("s"), v1::Metric::SocketTime, None),
    ("queue", None, v1::Metric::QueueTime, None),
    ("transfer", None, v1::Metric::TransferTime, Some(v1::Side::Client)),
    ("connect", None, v1::Metric::ConnectTime, None),
    ("retransmits", None, v1::Metric::Retransmits, None),
];

/// What a statistic measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metric(pub(crate) v1::Metric);

/// What the numbers of a metric are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Bytes.
    Bytes,
    /// Nanoseconds.
    Time,
    /// How often something happened.
    Count,
}

// === impl Metric ===

impl Metric {
    /// Name as in flags and output.
    pub(crate) fn name(self) -> &'static str {
        self.known().map_or("total-time", |(name, _)| name)
    }

    /// Whether exchanges of this side can have it.
    pub(crate) fn is_of(self, side: v1::Side) -> bool {
        self.known().and_then(|(_, only)| only).is_none_or(|only| only == side)
    }

    /// Whether packets say more of it than the calls that sent and received.
    pub(crate) fn needs_packets(self) -> bool {
        !matches!(self.0, v1::Metric::TotalTime | v1::Metric::RequestSize | v1::Metric::ResponseSize)
    }

    /// What its numbers are.
    pub(crate) fn unit(self) -> Unit {
        match self.0 {
            v1::Metric::RequestSize | v1::Metric::ResponseSize => Unit::Bytes,
            v1::Metric::Retransmits => Unit::Count,
            v1::Metric::Unspecified
            | v1::Metric::TotalTime
            | v1::Metric::NetworkTime
            | v1::Metric::InternalTime
            | v1::Metric::SocketTime
            | v1::Metric::QueueTime
            | v1::Metric::TransferTime
            | v1::Metric::ConnectTime
            | v1::Metric::WaysTime
            | v1::Metric::RemoteTime
            | v1::Metric::UndividedTime
            | v1::Metric::HandlingTime => Unit::Time,
        }
    }

    fn known(self) -> Option<(&'static str, Option<v1::Side>)> {
        METRICS.iter().find(|(_, _, metric, _)| *metric == self.0).map(|(name, _, _, side)| (*name, *side))
    }
}
