//! Fields that exchanges are grouped by.

use crate::ends;
use crate::filter::address;
use crate::v1::{self, CommonField, ProtocolField, grouping};

/// Characters of a key: paths may be very long, and a table holds many.
pub const MAX_KEY_CHARS: usize = 512;

/// A grouping field that is not known: hub and plugin differ in version.
#[derive(Debug, thiserror::Error)]
#[error("unknown grouping field number {number}")]
pub struct UnknownField {
    /// As given.
    pub number: i32,
}

/// A grouping field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupField {
    /// What exchanges of every protocol have.
    Common(CommonField),
    /// What one protocol's have.
    Own(ProtocolField),
}

// === impl GroupField ===

impl GroupField {
    /// The exchange's value, empty where it has none.
    #[must_use]
    pub fn key(&self, exchange: &v1::Exchange) -> String {
        let mut key = match self {
            Self::Common(field) => common(*field, exchange),
            Self::Own(field) => own(field, exchange),
        };
        if let Some((at, _)) = key.char_indices().nth(MAX_KEY_CHARS) {
            key.truncate(at);
        }
        key
    }
}

impl TryFrom<&v1::Grouping> for GroupField {
    type Error = UnknownField;

    fn try_from(grouping: &v1::Grouping) -> Result<Self, UnknownField> {
        let number = match &grouping.field {
            Some(grouping::Field::Own(field)) => return Ok(Self::Own(field.clone())),
            Some(grouping::Field::Common(number)) => *number,
            None => CommonField::Unspecified.into(),
        };
        match CommonField::try_from(number) {
            Ok(CommonField::Unspecified) | Err(_) => Err(UnknownField { number }),
            Ok(field) => Ok(Self::Common(field)),
        }
    }
}

fn common(field: CommonField, exchange: &v1::Exchange) -> String {
    let (local, remote) = (exchange.local.as_ref(), exchange.remote.as_ref());
    match field {
        CommonField::Unspecified => String::new(),
        CommonField::Connection => format!("{} -> {}", place(local), place(remote)),
        CommonField::RemoteIp => {
            remote.and_then(address).map(|address| address.to_string()).unwrap_or_default()
        }
        CommonField::RemotePort => remote.map(|end| end.port.to_string()).unwrap_or_default(),
        CommonField::LocalPort => local.map(|end| end.port.to_string()).unwrap_or_default(),
        CommonField::Protocol => exchange.protocol.clone(),
        CommonField::Status => exchange.status.clone(),
        CommonField::RemoteService => ends::partner(exchange),
        CommonField::Pod => origin(exchange, |origin| within(&origin.namespace, &origin.pod)),
        CommonField::Workload => origin(exchange, |origin| within(&origin.namespace, &origin.workload)),
        CommonField::Namespace => origin(exchange, |origin| origin.namespace.clone()),
        CommonField::Node => origin(exchange, |origin| origin.node.clone()),
        CommonField::Source => ends::source(exchange),
        CommonField::Destination => ends::destination(exchange),
        CommonField::RemotePod => other(remote, |end| within(&end.namespace, &end.pod)),
        CommonField::RemoteWorkload => other(remote, |end| within(&end.namespace, &end.workload)),
        CommonField::RemoteNamespace => other(remote, |end| end.namespace.clone()),
        CommonField::RemoteNode => other(remote, |end| end.node.clone()),
    }
}

fn own(field: &ProtocolField, exchange: &v1::Exchange) -> String {
    if exchange.protocol != field.protocol {
        return String::new();
    }
    let found = exchange.attributes.iter().find(|attribute| attribute.name == field.name);
    found.map(|attribute| attribute.value.clone()).unwrap_or_default()
}

fn origin(exchange: &v1::Exchange, value: impl FnOnce(&v1::Origin) -> String) -> String {
    exchange.origin.as_ref().map(value).unwrap_or_default()
}

fn other(end: Option<&v1::Endpoint>, value: impl FnOnce(&v1::Endpoint) -> String) -> String {
    end.map(value).unwrap_or_default()
}

/// A name within its namespace; empty where there is none.
fn within(namespace: &str, name: &str) -> String {
    if name.is_empty() { String::new() } else { format!("{namespace}/{name}") }
}

fn place(end: Option<&v1::Endpoint>) -> String {
    let Some(end) = end else { return String::new() };
    match (address(end), u16::try_from(end.port)) {
        (Some(address), Ok(port)) => std::net::SocketAddr::new(address, port).to_string(),
        (None, _) | (_, Err(_)) => String::new(),
    }
}
