//! What statistics measure: metrics by their names in flags and output.

use proto::v1;

/// Names and short forms of metrics.
pub(crate) const METRICS: [(&str, &str, v1::Metric); 6] = [
    ("total-time", "t", v1::Metric::TotalTime),
    ("reqsize", "q", v1::Metric::RequestSize),
    ("respsize", "p", v1::Metric::ResponseSize),
    ("network-time", "n", v1::Metric::NetworkTime),
    ("internal-time", "i", v1::Metric::InternalTime),
    ("socket-time", "s", v1::Metric::SocketTime),
];

/// What a statistic measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metric(pub(crate) v1::Metric);

// === impl Metric ===

impl Metric {
    /// Name as in flags and output.
    pub(crate) fn name(self) -> &'static str {
        METRICS.iter().find(|(_, _, metric)| *metric == self.0).map_or("total-time", |(name, _, _)| name)
    }

    /// Whether it counts bytes rather than nanoseconds.
    pub(crate) fn is_size(self) -> bool {
        matches!(self.0, v1::Metric::RequestSize | v1::Metric::ResponseSize)
    }
}
