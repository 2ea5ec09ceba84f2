//! Which side of an exchange counts where only one may: the client's, and the server's only where no client is seen.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proto::filter::address;
use proto::v1;
use tokio::time::Instant;

/// Connections whose client's side was seen.
pub(super) const MAX_CONNECTIONS: usize = 16_384;

/// Server sides that wait.
pub(super) const MAX_PENDING_SIDES: usize = 2048;

/// How long a server's side waits: the client's comes from the same machine or a near one.
const SERVER_SIDE_WAIT: Duration = Duration::from_millis(500);

/// The client's end of a connection. The server's is another one on each side where the client connected to a Service;
/// and loopback addresses are each pod's and each node's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ClientEnd {
    address: Option<IpAddr>,
    port: u32,
    /// Node, namespace and pod whose loopback address it is.
    within: Option<[String; 3]>,
}

/// Server sides that wait, and connections whose client is seen.
#[derive(Debug, Default)]
pub(super) struct Pending {
    clients: HashSet<ClientEnd>,
    order: VecDeque<ClientEnd>,
    waiting: VecDeque<(Instant, Arc<v1::Exchange>)>,
    passed_over: u64,
}

// === impl Pending ===

impl Pending {
    /// Remembers a connection by its client's side.
    pub(super) fn client(&mut self, exchange: &v1::Exchange) {
        let connection = client_end(exchange);
        if self.clients.insert(connection.clone()) {
            self.order.push_back(connection);
            if self.order.len() > MAX_CONNECTIONS
                && let Some(oldest) = self.order.pop_front()
            {
                self.clients.remove(&oldest);
            }
        }
    }

    /// Sets a server's side aside; returns the oldest that counts when too many wait.
    pub(super) fn hold(&mut self, exchange: &v1::Exchange) -> Option<Arc<v1::Exchange>> {
        // Without its payload: many may wait.
        let short = Arc::new(crate::exchange::shortened(exchange, super::SAMPLE_PAYLOAD));
        self.waiting.push_back((Instant::now(), short));
        if self.waiting.len() <= MAX_PENDING_SIDES {
            return None;
        }
        let (_, oldest) = self.waiting.pop_front()?;
        self.judge(oldest)
    }

    /// Those that waited long enough, or all, and count.
    pub(super) fn due(&mut self, all: bool) -> Vec<Arc<v1::Exchange>> {
        let mut due = Vec::new();
        while let Some((since, _)) = self.waiting.front()
            && (all || since.elapsed() >= SERVER_SIDE_WAIT)
        {
            let Some((_, exchange)) = self.waiting.pop_front() else { break };
            due.extend(self.judge(exchange));
        }
        due
    }

    /// Server sides passed over.
    pub(super) fn passed_over(&self) -> u64 {
        self.passed_over
    }

    fn judge(&mut self, exchange: Arc<v1::Exchange>) -> Option<Arc<v1::Exchange>> {
        if self.clients.contains(&client_end(&exchange)) {
            self.passed_over += 1;
            return None;
        }
        Some(exchange)
    }
}

fn client_end(exchange: &v1::Exchange) -> ClientEnd {
    let end = match exchange.side() {
        v1::Side::Server => exchange.remote.as_ref(),
        v1::Side::Client | v1::Side::Unspecified => exchange.local.as_ref(),
    };
    // One side may have it as an address of version 6.
    let address = end.and_then(address);
    let origin = exchange.origin.as_ref().filter(|_| address.is_some_and(|address| address.is_loopback()));
    let within = origin.map(|origin| [&origin.node, &origin.namespace, &origin.pod].map(String::clone));
    ClientEnd { address, port: end.map_or(0, |end| end.port), within }
}
