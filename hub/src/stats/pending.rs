//! Which side of an exchange counts where only one may: the client's, and the server's only where no client is seen.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proto::v1;
use tokio::time::Instant;

/// Connections whose client's side was seen.
pub(super) const MAX_CONNECTIONS: usize = 16_384;

/// Server sides that wait.
pub(super) const MAX_PENDING_SIDES: usize = 2048;

/// How long a server's side waits: the client's comes from the same machine or a near one.
const SERVER_SIDE_WAIT: Duration = Duration::from_millis(500);

/// Both ends of a connection, the client's first.
type Connection = (Vec<u8>, u32, Vec<u8>, u32);

/// Server sides that wait, and connections whose client is seen.
#[derive(Debug, Default)]
pub(super) struct Pending {
    clients: HashSet<Connection>,
    order: VecDeque<Connection>,
    waiting: VecDeque<(Instant, Arc<v1::Exchange>)>,
    passed_over: u64,
}

// === impl Pending ===

impl Pending {
    /// Remembers a connection by its client's side.
    pub(super) fn client(&mut self, exchange: &v1::Exchange) {
        let connection = connection(exchange);
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
        if self.clients.contains(&connection(&exchange)) {
            self.passed_over += 1;
            return None;
        }
        Some(exchange)
    }
}

fn connection(exchange: &v1::Exchange) -> Connection {
    let end = |end: &Option<v1::Endpoint>| {
        end.as_ref().map(|end| (end.address.clone(), end.port)).unwrap_or_default()
    };
    let (local, remote) = (end(&exchange.local), end(&exchange.remote));
    let (client, server) =
        if exchange.side() == v1::Side::Server { (remote, local) } else { (local, remote) };
    (client.0, client.1, server.0, server.1)
}
