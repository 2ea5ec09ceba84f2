//! The filter that both ends evaluate: a wire [`v1::Filter`] compiled once into a [`Match`].
//!
//! Capturer, hub and plugin compile the same filter and must agree on every exchange, so there is one evaluation and
//! it lives here. A viewer's filter narrows the session's: an exchange is shown when both pass it.

mod network;
mod pod;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use regex::{Regex, RegexBuilder};

pub use self::network::Network;
use self::pod::{PodName, known_workload, same_workload};
use crate::v1;

/// Fewest hex digits of a container id that name one container well enough (what container tools print).
pub const MIN_CONTAINER_DIGITS: usize = 12;

/// Hex digits of a full container id.
pub const MAX_CONTAINER_DIGITS: usize = 64;

/// Bytes a compiled regular expression may take; what is larger is refused instead of slowing every exchange.
pub const MAX_REGEX_BYTES: usize = 1 << 20;

/// Bytes of a command name that Linux keeps (`TASK_COMM_LEN` less its zero).
pub const COMM_BYTES: usize = 15;

/// A compiled [`v1::Filter`]: a conjunction of tests whose values are alternatives.
///
/// An empty test passes everything. What an exchange does not tell fails a test that asks for it.
#[derive(Clone, Debug, Default)]
pub struct Match {
    protocols: Vec<String>,
    pids: Vec<u32>,
    comms: Vec<String>,
    local_ports: Vec<u32>,
    remote_ports: Vec<u32>,
    local_nets: Vec<Network>,
    remote_nets: Vec<Network>,
    side: Option<v1::Side>,
    container_ids: Vec<String>,
    min_total_ns: u64,
    min_request_bytes: u64,
    min_response_bytes: u64,
    statuses: Vec<Status>,
    errors: v1::Errors,
    fields: Vec<Field>,
    namespaces: Vec<String>,
    pods: Vec<PodName>,
    containers: Vec<String>,
    workloads: Vec<String>,
    nodes: Vec<String>,
}

/// Why a filter does not compile: the field by its flag, the value as given and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("invalid value `{value}` of `{field}`: {reason}")]
pub struct FilterError {
    /// Field of the filter, spelled as in flags (`remote-ips`), or the protocol field's own name.
    pub field: String,
    /// The value as given.
    pub value: String,
    /// What is wrong with it, in words that follow a colon.
    pub reason: String,
}

#[derive(Clone, Debug)]
enum Status {
    /// `5xx`: three digits with this first one.
    Class(u8),
    /// The whole status, or its beginning up to a space.
    Word(String),
}

#[derive(Clone, Debug)]
struct Field {
    name: String,
    protocols: Vec<String>,
    values: Values,
}

#[derive(Clone, Debug)]
enum Values {
    Exact(Vec<String>),
    Caseless(Vec<String>),
    Prefix(Vec<String>),
    Regex(Vec<Regex>),
}

// === impl Match ===

impl Match {
    /// Says whether an exchange passes every test.
    #[must_use]
    pub fn passes(&self, exchange: &v1::Exchange) -> bool {
        self.passes_origin(exchange)
            && self.passes_pod(exchange)
            && self.passes_ends(exchange)
            && self.passes_outcome(exchange)
    }

    /// Says whether a protocol can pass: capturers leave connections of other protocols alone.
    #[must_use]
    pub fn wants_protocol(&self, protocol: &str) -> bool {
        among(&self.protocols, protocol)
            && self.fields.iter().all(|field| field.values.is_empty() || among(&field.protocols, protocol))
    }

    /// Says whether every exchange passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            protocols,
            pids,
            comms,
            local_ports,
            remote_ports,
            local_nets,
            remote_nets,
            side,
            container_ids,
            min_total_ns,
            min_request_bytes,
            min_response_bytes,
            statuses,
            errors,
            fields,
            namespaces,
            pods,
            containers,
            workloads,
            nodes,
        } = self;
        protocols.is_empty()
            && pids.is_empty()
            && comms.is_empty()
            && local_ports.is_empty()
            && remote_ports.is_empty()
            && local_nets.is_empty()
            && remote_nets.is_empty()
            && side.is_none()
            && container_ids.is_empty()
            && [min_total_ns, min_request_bytes, min_response_bytes].iter().all(|least| **least == 0)
            && statuses.is_empty()
            && *errors == v1::Errors::Untested
            && fields.iter().all(|field| field.values.is_empty())
            && [namespaces, containers, workloads, nodes].iter().all(|values| values.is_empty())
            && pods.is_empty()
    }

    /// Says whether a pod passes the tests on pods; the label selector and containers are not among them.
    #[must_use]
    pub fn wants_pod(&self, namespace: &str, name: &str, workload: &str) -> bool {
        among(&self.namespaces, namespace)
            && (self.pods.is_empty() || self.pods.iter().any(|pod| pod.is(namespace, name)))
            && (self.workloads.is_empty()
                || self.workloads.iter().any(|wanted| same_workload(wanted, workload)))
    }

    /// Says whether a container name passes.
    #[must_use]
    pub fn wants_container(&self, name: &str) -> bool {
        among(&self.containers, name)
    }

    /// Says whether a node's exchanges can pass.
    #[must_use]
    pub fn wants_node(&self, node: &str) -> bool {
        among(&self.nodes, node)
    }

    /// Says whether only processes in pods can pass.
    #[must_use]
    pub fn wants_pods_only(&self) -> bool {
        !(self.namespaces.is_empty()
            && self.pods.is_empty()
            && self.containers.is_empty()
            && self.workloads.is_empty())
    }

    fn passes_origin(&self, exchange: &v1::Exchange) -> bool {
        if !self.wants_protocol(&exchange.protocol) {
            return false;
        }
        if self.side.is_some_and(|side| side != exchange.side()) {
            return false;
        }
        if self.pids.is_empty() && self.comms.is_empty() && self.container_ids.is_empty() {
            return true;
        }
        exchange.origin.as_ref().is_some_and(|origin| {
            (self.pids.is_empty() || self.pids.contains(&origin.pid))
                && among(&self.comms, &origin.comm)
                && (self.container_ids.is_empty()
                    || self.container_ids.iter().any(|prefix| origin.container_id.starts_with(prefix)))
        })
    }

    fn passes_pod(&self, exchange: &v1::Exchange) -> bool {
        if !self.wants_pods_only() && self.nodes.is_empty() {
            return true;
        }
        exchange.origin.as_ref().is_some_and(|origin| {
            self.wants_node(&origin.node)
                && self.wants_pod(&origin.namespace, &origin.pod, &origin.workload)
                && self.wants_container(&origin.container)
        })
    }

    fn passes_ends(&self, exchange: &v1::Exchange) -> bool {
        end_passes(&self.local_ports, &self.local_nets, exchange.local.as_ref())
            && end_passes(&self.remote_ports, &self.remote_nets, exchange.remote.as_ref())
    }

    fn passes_outcome(&self, exchange: &v1::Exchange) -> bool {
        self.passes_error(exchange)
            && at_least(self.min_total_ns, exchange.segments.as_ref().map(|segments| segments.total_ns))
            && at_least(self.min_request_bytes, exchange.request.as_ref().map(|message| message.bytes))
            && at_least(self.min_response_bytes, exchange.response.as_ref().map(|message| message.bytes))
            && (self.statuses.is_empty()
                || self.statuses.iter().any(|status| status.passes(&exchange.status)))
            && self.fields.iter().all(|field| field.passes(exchange))
    }

    fn passes_error(&self, exchange: &v1::Exchange) -> bool {
        match self.errors {
            v1::Errors::Untested => true,
            v1::Errors::WithoutHandshake => counts_as_error(exchange),
            v1::Errors::All => exchange.error,
        }
    }
}

impl TryFrom<&v1::Filter> for Match {
    type Error = FilterError;

    fn try_from(filter: &v1::Filter) -> Result<Self, FilterError> {
        let v1::Filter {
            protocols,
            pids,
            comms,
            local_ports,
            remote_ports,
            local_ips,
            remote_ips,
            side,
            container_ids,
            min_total_ns,
            min_request_bytes,
            min_response_bytes,
            statuses,
            errors,
            fields,
            namespaces,
            pods,
            containers: container_names,
            workloads,
            nodes,
            // Whoever knows labels evaluates it.
            selector: _,
        } = filter;
        Ok(Self {
            protocols: protocols.clone(),
            pids: pids.clone(),
            comms: comms.iter().map(|comm| kept_comm(comm)).collect(),
            local_ports: ports("local-ports", local_ports)?,
            remote_ports: ports("remote-ports", remote_ports)?,
            local_nets: networks("local-ips", local_ips)?,
            remote_nets: networks("remote-ips", remote_ips)?,
            side: known_side(*side)?,
            container_ids: containers(container_ids)?,
            min_total_ns: *min_total_ns,
            min_request_bytes: *min_request_bytes,
            min_response_bytes: *min_response_bytes,
            statuses: statuses.iter().map(|word| Status::parse(word)).collect::<Result<_, _>>()?,
            errors: known_errors(*errors)?,
            fields: fields.iter().map(Field::parse).collect::<Result<_, _>>()?,
            namespaces: namespaces.clone(),
            pods: pods.iter().map(|pod| PodName::parse(pod)).collect::<Result<_, _>>()?,
            containers: container_names.clone(),
            workloads: workloads.iter().map(|workload| known_workload(workload)).collect::<Result<_, _>>()?,
            nodes: nodes.clone(),
        })
    }
}

// === impl Status ===

impl Status {
    fn parse(word: &str) -> Result<Self, FilterError> {
        if word.trim().is_empty() {
            return Err(FilterError::new("status", word, "a status is a word such as 404, 5xx or ERR"));
        }
        Ok(match word.as_bytes() {
            [class @ b'1'..=b'9', b'x' | b'X', b'x' | b'X'] => Self::Class(*class),
            _ => Self::Word(word.to_owned()),
        })
    }

    fn passes(&self, status: &str) -> bool {
        match self {
            Self::Class(class) => match status.as_bytes() {
                [first, rest @ ..] => {
                    first == class && rest.len() == 2 && rest.iter().all(u8::is_ascii_digit)
                }
                [] => false,
            },
            Self::Word(word) => status
                .strip_prefix(word.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')),
        }
    }
}

// === impl Field ===

impl Field {
    fn parse(test: &v1::FieldTest) -> Result<Self, FilterError> {
        let v1::FieldTest { field, comparison, values, protocols } = test;
        let comparison = v1::Comparison::try_from(*comparison)
            .map_err(|error| FilterError::new(field, comparison, format!("unknown comparison ({error})")))?;
        let values = match comparison {
            v1::Comparison::Exact => Values::Exact(values.clone()),
            v1::Comparison::Caseless => Values::Caseless(values.clone()),
            v1::Comparison::Prefix => Values::Prefix(values.clone()),
            v1::Comparison::Regex => {
                Values::Regex(values.iter().map(|value| regex(field, value)).collect::<Result<_, _>>()?)
            }
        };
        Ok(Self { name: field.clone(), protocols: protocols.clone(), values })
    }

    fn passes(&self, exchange: &v1::Exchange) -> bool {
        self.values.is_empty()
            || exchange
                .attributes
                .iter()
                .any(|attribute| attribute.name == self.name && self.values.pass(&attribute.value))
    }
}

impl Values {
    fn is_empty(&self) -> bool {
        match self {
            Self::Exact(values) | Self::Caseless(values) | Self::Prefix(values) => values.is_empty(),
            Self::Regex(values) => values.is_empty(),
        }
    }

    fn pass(&self, found: &str) -> bool {
        match self {
            Self::Exact(values) => values.iter().any(|value| value == found),
            Self::Caseless(values) => values.iter().any(|value| value.eq_ignore_ascii_case(found)),
            Self::Prefix(values) => values.iter().any(|value| found.starts_with(value.as_str())),
            Self::Regex(values) => values.iter().any(|value| value.is_match(found)),
        }
    }
}

// === impl FilterError ===

impl FilterError {
    fn new(field: &str, value: &(impl ToString + ?Sized), reason: impl Into<String>) -> Self {
        Self { field: field.to_owned(), value: value.to_string(), reason: reason.into() }
    }
}

/// Says whether an exchange is counted among errors: one that a client library met by itself when it connected is not,
/// though it stays marked as an error.
#[must_use]
pub fn counts_as_error(exchange: &v1::Exchange) -> bool {
    exchange.error && !exchange.handshake
}

/// Reads the address of an endpoint; `None` when it is unknown.
#[must_use]
pub fn address(endpoint: &v1::Endpoint) -> Option<IpAddr> {
    address_of(&endpoint.address)
}

/// Reads an address of 4 or 16 bytes; one of version 4 in version 6's form is the one of version 4.
#[must_use]
pub fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|bytes| Ipv4Addr::from(bytes).into()),
        16 => {
            <[u8; 16]>::try_from(bytes).ok().map(|bytes| IpAddr::from(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

/// Returns what the kernel keeps of a command name: longer ones are found by their beginning.
fn kept_comm(comm: &str) -> String {
    let bytes = comm.as_bytes();
    // As capturers read it: a character that is cut in two is replaced.
    String::from_utf8_lossy(bytes.get(..COMM_BYTES).unwrap_or(bytes)).into_owned()
}

fn among(wanted: &[String], found: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|value| value == found)
}

fn at_least(least: u64, found: Option<u64>) -> bool {
    least == 0 || found.is_some_and(|found| found >= least)
}

fn end_passes(ports: &[u32], networks: &[Network], end: Option<&v1::Endpoint>) -> bool {
    if ports.is_empty() && networks.is_empty() {
        return true;
    }
    end.is_some_and(|end| {
        (ports.is_empty() || ports.contains(&end.port))
            && (networks.is_empty()
                || address(end)
                    .is_some_and(|address| networks.iter().any(|network| network.contains(address))))
    })
}

fn ports(field: &str, ports: &[u32]) -> Result<Vec<u32>, FilterError> {
    match ports.iter().find(|port| **port == 0 || **port > u32::from(u16::MAX)) {
        Some(port) => Err(FilterError::new(field, port, "a port is a number from 1 to 65535")),
        None => Ok(ports.to_vec()),
    }
}

fn networks(field: &str, texts: &[String]) -> Result<Vec<Network>, FilterError> {
    texts
        .iter()
        .map(|text| Network::parse(text).map_err(|reason| FilterError::new(field, text, reason)))
        .collect()
}

fn known_side(side: i32) -> Result<Option<v1::Side>, FilterError> {
    match v1::Side::try_from(side) {
        Ok(v1::Side::Unspecified) => Ok(None),
        Ok(side @ (v1::Side::Client | v1::Side::Server)) => Ok(Some(side)),
        Err(error) => Err(FilterError::new("side", &side, format!("unknown side ({error})"))),
    }
}

fn known_errors(errors: i32) -> Result<v1::Errors, FilterError> {
    v1::Errors::try_from(errors)
        .map_err(|error| FilterError::new("errors", &errors, format!("unknown kind of errors ({error})")))
}

fn containers(ids: &[String]) -> Result<Vec<String>, FilterError> {
    ids.iter()
        .map(|id| {
            let digits = id.to_ascii_lowercase();
            let fits = (MIN_CONTAINER_DIGITS..=MAX_CONTAINER_DIGITS).contains(&digits.len());
            if fits && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                Ok(digits)
            } else {
                let reason =
                    format!("a container id has {MIN_CONTAINER_DIGITS} to {MAX_CONTAINER_DIGITS} hex digits");
                Err(FilterError::new("container-id", id, reason))
            }
        })
        .collect()
}

fn regex(field: &str, pattern: &str) -> Result<Regex, FilterError> {
    RegexBuilder::new(pattern).size_limit(MAX_REGEX_BYTES).build().map_err(|error| {
        // The crate draws a picture over several lines; its last line says what is wrong.
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
        FilterError::new(field, pattern, reason)
    })
}

#[cfg(test)]
mod tests;
