//! The two ends of a connection: ports and addresses.

use std::sync::Arc;

use super::{Early, FilterError, Network, Test, address, asked};
use crate::v1;

/// What is asked of one end of a connection; an empty list asks for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Ports.
    pub ports: Vec<u16>,
    /// Addresses.
    pub networks: Vec<Network>,
}

#[derive(Debug)]
struct Both {
    local: End,
    remote: End,
}

pub(super) fn compile(filter: &v1::Filter) -> Result<Option<Arc<dyn Test>>, FilterError> {
    let v1::Filter { local_ports, remote_ports, local_ips, remote_ips, .. } = filter;
    let both = Both {
        local: End { ports: ports("local-ports", local_ports)?, networks: networks("local-ips", local_ips)? },
        remote: End {
            ports: ports("remote-ports", remote_ports)?,
            networks: networks("remote-ips", remote_ips)?,
        },
    };
    let asks = !(both.local.is_empty() && both.remote.is_empty());
    Ok(asked(both, asks))
}

impl Test for Both {
    fn passes(&self, exchange: &v1::Exchange) -> bool {
        self.local.pass(exchange.local.as_ref()) && self.remote.pass(exchange.remote.as_ref())
    }

    fn hasten(&self, early: &mut Early) {
        early.local.clone_from(&self.local);
        early.remote.clone_from(&self.remote);
    }
}

// === impl End ===

impl End {
    fn is_empty(&self) -> bool {
        self.ports.is_empty() && self.networks.is_empty()
    }

    fn pass(&self, end: Option<&v1::Endpoint>) -> bool {
        if self.is_empty() {
            return true;
        }
        end.is_some_and(|end| self.has_port(end) && self.has_address(end))
    }

    fn has_port(&self, end: &v1::Endpoint) -> bool {
        self.ports.is_empty() || self.ports.iter().any(|port| u32::from(*port) == end.port)
    }

    fn has_address(&self, end: &v1::Endpoint) -> bool {
        self.networks.is_empty()
            || address(end)
                .is_some_and(|address| self.networks.iter().any(|network| network.contains(address)))
    }
}

fn ports(field: &str, ports: &[u32]) -> Result<Vec<u16>, FilterError> {
    let port = |port: &u32| {
        let known = u16::try_from(*port).ok().filter(|known| *known != 0);
        known.ok_or_else(|| FilterError::new(field, port, "a port is a number from 1 to 65535"))
    };
    ports.iter().map(port).collect()
}

fn networks(field: &str, texts: &[String]) -> Result<Vec<Network>, FilterError> {
    let network =
        |text: &String| Network::parse(text).map_err(|reason| FilterError::new(field, text, reason));
    texts.iter().map(network).collect()
}
