//! Fields that exchanges are grouped by.

use proto::filter::address;
use proto::v1;

/// A grouping field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Both ends of the connection.
    Conn,
    /// Address of the remote end.
    RemoteIp,
    /// Port of the remote end.
    RemotePort,
    /// Port of the local end.
    LocalPort,
    /// Protocol.
    Protocol,
    /// Path of an HTTP request.
    HttpPath,
    /// Command of a Redis request.
    RedisCommand,
    /// Outcome.
    Status,
    /// Service at the remote end, else its address and port.
    RemoteService,
    /// Local pod, "NAMESPACE/NAME".
    Pod,
    /// Workload of the local pod, "NAMESPACE/KIND/NAME".
    Workload,
    /// Namespace of the local pod.
    Namespace,
    /// Node.
    Node,
}

/// Characters of a key: paths may be very long, and a table holds many.
pub const MAX_KEY_CHARS: usize = 512;

/// The names of `--group-by`.
const FIELDS: [(&str, Field); 13] = [
    ("conn", Field::Conn),
    ("remote-ip", Field::RemoteIp),
    ("remote-port", Field::RemotePort),
    ("local-port", Field::LocalPort),
    ("protocol", Field::Protocol),
    ("http-path", Field::HttpPath),
    ("redis-command", Field::RedisCommand),
    ("status", Field::Status),
    ("remote-service", Field::RemoteService),
    ("pod", Field::Pod),
    ("workload", Field::Workload),
    ("namespace", Field::Namespace),
    ("node", Field::Node),
];

// === impl Field ===

impl Field {
    /// Finds a field by its name in `--group-by`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        FIELDS.iter().find(|(known, _)| *known == name).map(|(_, field)| *field)
    }

    /// All names, `none` too.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        FIELDS.iter().map(|(name, _)| *name).chain(["none"]).collect()
    }

    /// The exchange's value, empty where it has none. With `by_service` the service is the serving end, whichever end
    /// was observed.
    #[must_use]
    pub fn key(self, exchange: &v1::Exchange, by_service: bool) -> String {
        let mut key = self.whole_key(exchange, by_service);
        if let Some((at, _)) = key.char_indices().nth(MAX_KEY_CHARS) {
            key.truncate(at);
        }
        key
    }

    fn whole_key(self, exchange: &v1::Exchange, by_service: bool) -> String {
        let (local, remote) = (exchange.local.as_ref(), exchange.remote.as_ref());
        match self {
            Self::Conn => format!("{} -> {}", place(local), place(remote)),
            Self::RemoteIp => remote.and_then(address).map(|address| address.to_string()).unwrap_or_default(),
            Self::RemotePort => remote.map(|end| end.port.to_string()).unwrap_or_default(),
            Self::LocalPort => local.map(|end| end.port.to_string()).unwrap_or_default(),
            Self::Protocol => exchange.protocol.clone(),
            Self::HttpPath => attribute(exchange, "http", "path"),
            Self::RedisCommand => attribute(exchange, "redis", "command").to_ascii_uppercase(),
            Self::Status => exchange.status.clone(),
            Self::RemoteService if by_service && exchange.side() == v1::Side::Server => service(local),
            Self::RemoteService => service(remote),
            Self::Pod => origin(exchange, |origin| within(&origin.namespace, &origin.pod)),
            Self::Workload => origin(exchange, |origin| within(&origin.namespace, &origin.workload)),
            Self::Namespace => origin(exchange, |origin| origin.namespace.clone()),
            Self::Node => origin(exchange, |origin| origin.node.clone()),
        }
    }
}

fn attribute(exchange: &v1::Exchange, protocol: &str, name: &str) -> String {
    if exchange.protocol != protocol {
        return String::new();
    }
    let found = exchange.attributes.iter().find(|attribute| attribute.name == name);
    found.map(|attribute| attribute.value.clone()).unwrap_or_default()
}

fn origin(exchange: &v1::Exchange, value: impl FnOnce(&v1::Origin) -> String) -> String {
    exchange.origin.as_ref().map(value).unwrap_or_default()
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

fn service(end: Option<&v1::Endpoint>) -> String {
    match end {
        Some(end) if !end.service.is_empty() => end.service.clone(),
        Some(end) if !end.pod.is_empty() => format!("{}/{}", end.namespace, end.pod),
        end => place(end),
    }
}
