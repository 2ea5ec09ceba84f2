//! What is measured of an exchange.

use crate::v1::{Exchange, Metric, Segments, Side, Ways};

/// A metric that does not exist: hub and plugin differ in version.
#[derive(Debug, thiserror::Error)]
#[error("unknown metric number {number}")]
pub struct UnknownMetric {
    /// As given.
    pub number: i32,
}

/// Reads what is to be measured; total time where nothing is named.
pub fn read(numbers: &[i32]) -> Result<Vec<Metric>, UnknownMetric> {
    let mut metrics = Vec::new();
    for number in numbers {
        let metric = Metric::try_from(*number).map_err(|error| UnknownMetric { number: error.0 })?;
        metrics.push(if metric == Metric::Unspecified { Metric::TotalTime } else { metric });
    }
    if metrics.is_empty() {
        metrics.push(Metric::TotalTime);
    }
    Ok(metrics)
}

/// The value of a metric, where it is known; what was not observed is not 0.
#[must_use]
pub fn value(metric: Metric, exchange: &Exchange) -> Option<u64> {
    match metric {
        Metric::RequestSize => exchange.request.as_ref().map(|message| message.bytes),
        Metric::ResponseSize => exchange.response.as_ref().map(|message| message.bytes),
        Metric::ConnectTime => exchange.connect_ns,
        Metric::Retransmits => exchange.retransmits.map(u64::from),
        Metric::Unspecified
        | Metric::TotalTime
        | Metric::NetworkTime
        | Metric::InternalTime
        | Metric::SocketTime
        | Metric::QueueTime
        | Metric::TransferTime
        | Metric::WaysTime
        | Metric::RemoteTime
        | Metric::UndividedTime
        | Metric::HandlingTime => time(metric, exchange, exchange.segments.as_ref()?),
    }
}

fn time(metric: Metric, exchange: &Exchange, segments: &Segments) -> Option<u64> {
    let with_transfer =
        |network: Option<u64>| Some(network?.saturating_add(segments.transfer_ns.unwrap_or_default()));
    match metric {
        Metric::NetworkTime => with_transfer(segments.network_ns),
        Metric::InternalTime => segments.internal_ns,
        Metric::SocketTime => sum([segments.receive_ns, segments.queue_ns, segments.read_ns]),
        Metric::QueueTime => segments.queue_ns,
        Metric::TransferTime => segments.transfer_ns,
        Metric::WaysTime => with_transfer(divided(exchange, segments).map(|(ways, _)| ways)),
        Metric::RemoteTime => match exchange.side() {
            Side::Server => segments.internal_ns,
            Side::Client | Side::Unspecified => divided(exchange, segments).map(|(_, work)| work),
        },
        Metric::UndividedTime if exchange.ways.is_none() => with_transfer(segments.network_ns),
        Metric::UndividedTime => None,
        Metric::HandlingTime => sum([segments.send_ns, segments.receive_ns, segments.read_ns]),
        Metric::Unspecified
        | Metric::TotalTime
        | Metric::RequestSize
        | Metric::ResponseSize
        | Metric::ConnectTime
        | Metric::Retransmits => Some(segments.total_ns),
    }
}

/// Divides a client's network into both ways and the server's work. The error of the clocks is in neither: what one way
/// has too much the other has too little.
fn divided(exchange: &Exchange, segments: &Segments) -> Option<(u64, u64)> {
    let Ways { request_ns, response_ns, .. } = exchange.ways.as_ref()?;
    let network = segments.network_ns?;
    let ways = u64::try_from(request_ns.saturating_add(*response_ns)).unwrap_or_default().min(network);
    Some((ways, network - ways))
}

/// Adds what is known; nothing known is not zero.
fn sum(parts: [Option<u64>; 3]) -> Option<u64> {
    parts.into_iter().flatten().reduce(u64::saturating_add)
}
