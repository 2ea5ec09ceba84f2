//! Sides of exchanges that were seen lately, found by where they lie in the streams of their connection.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proto::v1::{self, Side};
use tokio::time::Instant;

use super::ends::{Ends, Fit};
use super::marks::Marks;

/// Sides that are remembered: what a busy cluster exchanges while the slowest of two sides is on its way.
pub(super) const PRINTS: usize = 8192;

/// How long a side is remembered: a long response arrives at its client long after its server is done with it.
pub(super) const PRINT_PERIOD: Duration = Duration::from_secs(10);

/// Sides that lie in the same place of streams: numbers of so many connections do not meet by chance.
pub(super) const SAME_PLACE: usize = 8;

/// First bytes of request and response in their streams.
type Numbers = (u32, u32);

/// One side of an exchange, as far as the other one is found and measured by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Print {
    pub(super) is_client: bool,
    pub(super) id: u64,
    pub(super) connection: u64,
    pub(super) node: Arc<str>,
    /// What tells the time there: nodes of one kernel share it.
    pub(super) clock: Arc<str>,
    pub(super) ends: Ends,
    pub(super) marks: Marks,
    /// When it came.
    pub(super) since: Instant,
    numbers: Numbers,
    /// Namespace and pod: of the process at a server, of the other end at a client; empty where unknown.
    server: (String, String),
}

/// Those that are remembered.
#[derive(Debug, Default)]
pub(super) struct Prints {
    places: HashMap<Numbers, Vec<Print>>,
    /// When they came, the oldest first; those that are gone stay until their turn.
    order: VecDeque<(Instant, Numbers, u64)>,
}

// === impl Print ===

impl Print {
    /// Takes one of an exchange; `None` where something is missing that its other side would be found or measured by.
    pub(super) fn of(
        exchange: &v1::Exchange,
        clocks: &HashMap<Arc<str>, Arc<str>>,
        now: Instant,
    ) -> Option<Self> {
        let is_client = match exchange.side() {
            Side::Client => true,
            Side::Server => false,
            Side::Unspecified => return None,
        };
        let place = exchange.place?;
        let origin = exchange.origin.as_ref().filter(|origin| !origin.node.is_empty())?;
        let server = if is_client {
            let remote = exchange.remote.as_ref();
            remote.map(|remote| (remote.namespace.clone(), remote.pod.clone())).unwrap_or_default()
        } else {
            (origin.namespace.clone(), origin.pod.clone())
        };
        let (ends, marks) = (Ends::of(exchange)?, Marks::of(exchange)?);
        let (node, clock) = match clocks.get_key_value(origin.node.as_str()) {
            Some((node, clock)) => (Arc::clone(node), Arc::clone(clock)),
            None => (origin.node.as_str().into(), origin.node.as_str().into()),
        };
        Some(Self {
            is_client,
            id: exchange.id,
            connection: exchange.connection_id,
            node,
            clock,
            ends,
            marks,
            since: now,
            numbers: (place.request, place.response),
            server,
        })
    }

    /// Whether this is the other side of the same exchange where it lies in the same place, and how well its ends fit.
    fn fit(&self, other: &Self) -> Option<Fit> {
        let (client, server) = match (self.is_client, other.is_client) {
            (true, false) => (self, other),
            (false, true) => (other, self),
            (true, true) | (false, false) => return None,
        };
        let is_one_node = client.node == server.node;
        let is_one_socket = is_one_node && client.connection == server.connection;
        let is_local = client.ends.is_loopback() || server.ends.is_loopback();
        let is_known = !client.server.1.is_empty() && !server.server.1.is_empty();
        let is_another_pod = is_known && client.server != server.server;
        if is_one_socket || (is_local && !is_one_node) || is_another_pod {
            return None;
        }
        client.ends.fit(server.ends)
    }
}

// === impl Prints ===

impl Prints {
    /// Finds the other side of an exchange; none where several fit as well.
    pub(super) fn other(&self, one: &Print) -> Option<&Print> {
        let fitting =
            self.places.get(&one.numbers)?.iter().filter_map(|other| Some((other.fit(one)?, other)));
        let mut best: Option<(Fit, Option<&Print>)> = None;
        for (fit, other) in fitting {
            best = match best {
                Some((so_far, _)) if so_far > fit => best,
                Some((so_far, _)) if so_far == fit => Some((fit, None)),
                Some(_) | None => Some((fit, Some(other))),
            };
        }
        best?.1
    }

    /// Remembers a side, in place of those that are too old or too many.
    pub(super) fn put(&mut self, print: Print) {
        let now = print.since;
        while let Some((since, numbers, id)) = self.order.front().copied() {
            let is_over = self.order.len() >= PRINTS || now.duration_since(since) > PRINT_PERIOD;
            if !is_over {
                break;
            }
            self.order.pop_front();
            self.remove(numbers, id);
        }
        let same = self.places.entry(print.numbers).or_default();
        // One that is sent again is the same one.
        same.retain(|known| known.id != print.id);
        if same.len() >= SAME_PLACE {
            same.remove(0);
        }
        self.order.push_back((now, print.numbers, print.id));
        same.push(print);
    }

    /// Forgets a side: it has found the other one.
    pub(super) fn take(&mut self, print: &Print) {
        self.remove(print.numbers, print.id);
    }

    fn remove(&mut self, numbers: Numbers, id: u64) {
        if let Some(same) = self.places.get_mut(&numbers) {
            same.retain(|known| known.id != id);
            if same.is_empty() {
                self.places.remove(&numbers);
            }
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.values().map(Vec::len).sum()
    }
}
