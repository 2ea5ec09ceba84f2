//! Many exchanges told as one, where sums of them are all that is wanted.
//!
//! Exchanges fold together that no grouping asked for can tell apart, neither by what is known where they are folded nor
//! by the names that are known only later: these follow from the process and the addresses.

use crate::filter::counts_as_error;
use crate::v1::{self, CommonField, Metric, Side};

use super::{Distribution, GroupField, UnknownField, UnknownMetric, metrics, value};

/// Ends a text in a key: no text has this byte.
const TEXT_END: u8 = 0xff;

/// By what exchanges fold together, and what is measured of them.
#[derive(Clone, Debug)]
pub struct FoldRules {
    /// As the hub counts it.
    pub number: u64,
    metrics: Vec<Metric>,
    fields: Vec<GroupField>,
}

/// Exchanges that folded together.
#[derive(Debug)]
pub struct Folded {
    like: v1::Exchange,
    exchanges: u64,
    count: u64,
    errors: u64,
    clamped: u64,
    distributions: Vec<Distribution>,
}

/// Why a folding cannot be followed: hub and capturer differ in version.
#[derive(Debug, thiserror::Error)]
pub enum FoldingError {
    /// What is to be measured is not known.
    #[error(transparent)]
    Metric(#[from] UnknownMetric),
    /// What exchanges are to be told apart by is not known.
    #[error(transparent)]
    GroupField(#[from] UnknownField),
}

// === impl FoldRules ===

impl FoldRules {
    /// Says whether a statistic can be made of folds: of nothing that tells each connection apart, names single exchanges,
    /// or is known only where both sides of an exchange are.
    #[must_use]
    pub fn suffices(request: &v1::StatRequest) -> bool {
        let by_both_sides = |metric: i32| {
            matches!(
                Metric::try_from(metric),
                Ok(Metric::WaysTime | Metric::RemoteTime | Metric::UndividedTime) | Err(_)
            )
        };
        let by_connection = |grouping: &v1::Grouping| {
            use CommonField::{Connection, LocalPort, RemotePort};
            let field = GroupField::try_from(grouping);
            matches!(field, Err(_) | Ok(GroupField::Common(Connection | LocalPort | RemotePort)))
        };
        !request.prefer_client
            && request.samples == 0
            && request.count == 0
            && !request.metrics.iter().copied().any(by_both_sides)
            && !request.group_by.iter().any(by_connection)
    }

    /// Writes what tells an exchange apart from those that it does not fold with.
    pub fn write_key(&self, exchange: &v1::Exchange, key: &mut Vec<u8>) {
        let mut text = |text: &str| {
            key.extend_from_slice(text.as_bytes());
            key.push(TEXT_END);
        };
        text(&exchange.protocol);
        if let Some(origin) = &exchange.origin {
            let v1::Origin { node, namespace, pod, container, workload, comm, .. } = origin;
            for name in [node, namespace, pod, container, workload, comm] {
                text(name);
            }
        }
        if self.tells_status() {
            text(&exchange.status);
        }
        for attribute in self.attributes(exchange) {
            text(&attribute.name);
            text(&attribute.value);
        }
        key.push(u8::try_from(exchange.side).unwrap_or_default());
        for (end, serves) in ends(exchange) {
            key.push(u8::try_from(end.address.len()).unwrap_or_default());
            key.extend_from_slice(&end.address);
            key.extend_from_slice(&port(end, serves).to_le_bytes());
        }
    }

    /// What all exchanges have in common that fold with this one.
    fn like(&self, exchange: &v1::Exchange) -> v1::Exchange {
        let [local, remote] = [&exchange.local, &exchange.remote];
        let common = |end: &Option<v1::Endpoint>, serves: bool| {
            end.as_ref().map(|end| v1::Endpoint { port: port(end, serves), ..end.clone() })
        };
        let serves = exchange.side() == Side::Server;
        v1::Exchange {
            protocol: exchange.protocol.clone(),
            side: exchange.side,
            origin: exchange.origin.clone().map(|origin| v1::Origin { pid: 0, ..origin }),
            local: common(local, serves),
            remote: common(remote, !serves),
            status: if self.tells_status() { exchange.status.clone() } else { String::new() },
            attributes: self.attributes(exchange).cloned().collect(),
            ..v1::Exchange::default()
        }
    }

    fn tells_status(&self) -> bool {
        self.fields.contains(&GroupField::Common(CommonField::Status))
    }

    fn attributes<'a>(&self, exchange: &'a v1::Exchange) -> impl Iterator<Item = &'a v1::Attribute> {
        let asked = self.fields.iter().filter_map(|field| match field {
            GroupField::Own(own) if own.protocol == exchange.protocol => Some(&own.name),
            GroupField::Own(_) | GroupField::Common(_) => None,
        });
        let found = asked.filter_map(|name| exchange.attributes.iter().find(|one| one.name == *name));
        found.collect::<Vec<_>>().into_iter()
    }
}

impl TryFrom<&v1::Folding> for FoldRules {
    type Error = FoldingError;

    fn try_from(folding: &v1::Folding) -> Result<Self, FoldingError> {
        let v1::Folding { number, metrics: numbers, group_by } = folding;
        let fields = group_by.iter().map(GroupField::try_from).collect::<Result<_, _>>()?;
        Ok(Self { number: *number, metrics: metrics(numbers)?, fields })
    }
}

// === impl Folded ===

impl Folded {
    /// Begins with what an exchange has in common with others; it is not counted yet.
    #[must_use]
    pub fn new(folding: &FoldRules, exchange: &v1::Exchange) -> Self {
        let distributions = folding.metrics.iter().map(|_| Distribution::new()).collect();
        Self { like: folding.like(exchange), exchanges: 0, count: 0, errors: 0, clamped: 0, distributions }
    }

    /// Counts an exchange.
    pub fn add(&mut self, folding: &FoldRules, exchange: &v1::Exchange) {
        let weight = u64::from(exchange.sample_weight.max(1));
        self.exchanges += 1;
        self.count += weight;
        self.errors += if counts_as_error(exchange) { weight } else { 0 };
        self.clamped += u64::from(exchange.clamped);
        for (metric, distribution) in folding.metrics.iter().zip(&mut self.distributions) {
            if let Some(value) = value(*metric, exchange) {
                distribution.add(value, weight);
            }
        }
    }

    /// As the wire carries it.
    #[must_use]
    pub fn told(self, folding: &FoldRules) -> v1::Fold {
        let Self { like, exchanges, count, errors, clamped, distributions } = self;
        v1::Fold {
            like: Some(like),
            exchanges,
            count,
            errors,
            distributions: distributions.iter().map(Distribution::part).collect(),
            folding: folding.number,
            clamped,
        }
    }
}

/// Both ends, and whether each is the one that serves.
fn ends(exchange: &v1::Exchange) -> impl Iterator<Item = (&v1::Endpoint, bool)> {
    let serves = exchange.side() == Side::Server;
    [(&exchange.local, serves), (&exchange.remote, !serves)]
        .into_iter()
        .filter_map(|(end, serves)| Some((end.as_ref()?, serves)))
}

/// A server's port; a client's says nothing.
fn port(end: &v1::Endpoint, serves: bool) -> u32 {
    if serves { end.port } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_suffice_where_no_exchange_and_no_connection_is_named() {
        let common =
            |field: CommonField| v1::Grouping { field: Some(v1::grouping::Field::Common(field.into())) };
        let plain = v1::StatRequest::default();
        assert!(FoldRules::suffices(&plain));
        let by = |field| v1::StatRequest { group_by: vec![common(field)], ..plain.clone() };
        assert!(
            FoldRules::suffices(&by(CommonField::RemoteService))
                && FoldRules::suffices(&by(CommonField::Status))
        );
        for refused in [
            by(CommonField::Connection),
            by(CommonField::RemotePort),
            by(CommonField::Unspecified),
            v1::StatRequest { samples: 1, ..plain.clone() },
            v1::StatRequest { count: 1, ..plain.clone() },
            v1::StatRequest { prefer_client: true, ..plain.clone() },
            v1::StatRequest { metrics: vec![Metric::WaysTime.into()], ..plain.clone() },
            v1::StatRequest { metrics: vec![9_999], ..plain.clone() },
        ] {
            assert!(!FoldRules::suffices(&refused), "{refused:?}");
        }
    }
}
