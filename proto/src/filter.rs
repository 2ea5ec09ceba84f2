//! The filter that both ends evaluate: a wire [`v1::Filter`] compiled once into a [`Match`].
//!
//! Capturer, hub and plugin compile the same filter and must agree on every exchange, so there is one evaluation and
//! it lives here. A viewer's filter narrows the session's: an exchange is shown when both pass it.
//!
//! A filter compiles to a list of tests. Each file in the folder beside is one kind of test: it reads its fields of the
//! wire's filter, and decides by them alone. A new kind is a file and a line in [`KINDS`].

mod endpoint;
mod error;
mod field;
mod least;
mod network;
mod node;
mod pod;
mod process;
mod protocol;
mod side;
mod status;
mod workload;

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

pub use self::endpoint::End;
pub use self::error::counts_as_error;
pub use self::field::MAX_REGEX_BYTES;
pub use self::network::Network;
pub use self::process::{COMM_BYTES, MAX_CONTAINER_DIGITS, MIN_CONTAINER_DIGITS};
pub use self::workload::{WORKLOAD_KINDS, Workload, WorkloadKind};
use crate::v1;

/// Every kind of test, in the order in which an exchange meets them.
const KINDS: [Compile; 10] = [
    |filter| Ok(protocol::compile(filter)),
    side::compile,
    error::compile,
    process::compile,
    endpoint::compile,
    |filter| Ok(node::compile(filter)),
    pod::compile,
    |filter| Ok(least::compile(filter)),
    status::compile,
    field::compile,
];

/// Reads the fields of one kind; `None` where they ask for nothing.
type Compile = fn(&v1::Filter) -> Result<Option<Arc<dyn Test>>, FilterError>;

/// A compiled [`v1::Filter`]: a conjunction of tests whose values are alternatives.
///
/// An empty test passes everything. What an exchange does not tell fails a test that asks for it.
#[derive(Clone, Debug, Default)]
pub struct Match {
    tests: Vec<Arc<dyn Test>>,
}

/// What a filter says of processes and ends of connections: all that can be tested before a byte is read. An empty list
/// asks for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Early {
    /// Process ids.
    pub pids: Vec<u32>,
    /// Command names as given; of longer ones the kernel keeps [`COMM_BYTES`].
    pub comms: Vec<String>,
    /// The local end.
    pub local: End,
    /// The remote end.
    pub remote: End,
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

/// What one kind of test decides. Most tell nothing before there is an exchange; these keep the defaults.
trait Test: Debug + Send + Sync {
    /// Says whether an exchange passes.
    fn passes(&self, exchange: &v1::Exchange) -> bool;

    /// Says whether a protocol's exchanges can pass.
    fn wants_protocol(&self, _protocol: &str) -> bool {
        true
    }

    /// Says whether exchanges of a node can pass.
    fn wants_node(&self, _node: &str) -> bool {
        true
    }

    /// Says whether exchanges of a pod can pass.
    fn wants_pod(&self, _namespace: &str, _name: &str, _workload: &str) -> bool {
        true
    }

    /// Says whether exchanges of a container can pass.
    fn wants_container(&self, _name: &str) -> bool {
        true
    }

    /// Says whether only processes in pods can pass.
    fn wants_pods_only(&self) -> bool {
        false
    }

    /// Adds what can be tested before a byte is read.
    fn hasten(&self, _early: &mut Early) {}
}

// === impl Match ===

impl Match {
    /// Says whether an exchange passes every test.
    #[must_use]
    pub fn passes(&self, exchange: &v1::Exchange) -> bool {
        self.tests.iter().all(|test| test.passes(exchange))
    }

    /// Says whether every exchange passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tests.is_empty()
    }

    /// Says whether a protocol can pass: capturers leave connections of other protocols alone.
    #[must_use]
    pub fn wants_protocol(&self, protocol: &str) -> bool {
        self.tests.iter().all(|test| test.wants_protocol(protocol))
    }

    /// Says whether a node's exchanges can pass.
    #[must_use]
    pub fn wants_node(&self, node: &str) -> bool {
        self.tests.iter().all(|test| test.wants_node(node))
    }

    /// Says whether a pod passes the tests on pods; the label selector and containers are not among them.
    #[must_use]
    pub fn wants_pod(&self, namespace: &str, name: &str, workload: &str) -> bool {
        self.tests.iter().all(|test| test.wants_pod(namespace, name, workload))
    }

    /// Says whether a container name passes.
    #[must_use]
    pub fn wants_container(&self, name: &str) -> bool {
        self.tests.iter().all(|test| test.wants_container(name))
    }

    /// Says whether only processes in pods can pass.
    #[must_use]
    pub fn wants_pods_only(&self) -> bool {
        self.tests.iter().any(|test| test.wants_pods_only())
    }

    /// Returns what can be tested before a byte is read.
    #[must_use]
    pub fn early(&self) -> Early {
        let mut early = Early::default();
        for test in &self.tests {
            test.hasten(&mut early);
        }
        early
    }
}

impl TryFrom<&v1::Filter> for Match {
    type Error = FilterError;

    fn try_from(filter: &v1::Filter) -> Result<Self, FilterError> {
        let tests = KINDS.iter().filter_map(|compile| compile(filter).transpose());
        Ok(Self { tests: tests.collect::<Result<_, _>>()? })
    }
}

// === impl FilterError ===

impl FilterError {
    fn new(field: &str, value: &(impl ToString + ?Sized), reason: impl Into<String>) -> Self {
        Self { field: field.to_owned(), value: value.to_string(), reason: reason.into() }
    }
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

/// Says whether a value is among those that are asked for.
fn among(wanted: &[String], found: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|value| value == found)
}

/// Returns a test that asks for something.
fn asked(test: impl Test + 'static, asks: bool) -> Option<Arc<dyn Test>> {
    asks.then(|| Arc::new(test) as Arc<dyn Test>)
}

#[cfg(test)]
mod tests;
