//! Whether two sides are those of one connection.

use std::net::IpAddr;

use proto::filter::address;
use proto::v1;

/// An address and a port.
pub(super) type SocketAt = (IpAddr, u16);

/// The ends of a connection as one side sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    /// Its own.
    pub(super) local: SocketAt,
    /// The other one.
    pub(super) remote: SocketAt,
}

/// How well the ends fit, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// One end has another address on each side: a Service's, or a node's.
    Translated,
    /// Each side's own end is the other side's remote one.
    Exact,
}

// === impl Ends ===

impl Ends {
    /// Reads them of an exchange; `None` where one is not known.
    pub(super) fn of(exchange: &v1::Exchange) -> Option<Self> {
        Some(Self {
            local: socket_at(exchange.local.as_ref()?)?,
            remote: socket_at(exchange.remote.as_ref()?)?,
        })
    }

    /// Whether these are a client's ends of the connection whose server has the other ones.
    pub(super) fn fit(self, server: Self) -> Option<Fit> {
        match (self.local == server.remote, self.remote == server.local) {
            (true, true) => Some(Fit::Exact),
            (true, false) | (false, true) => Some(Fit::Translated),
            // Both ends are something else on each side: nothing says that these belong together.
            (false, false) => None,
        }
    }

    /// Whether they mean something within one machine only.
    pub(super) fn is_loopback(self) -> bool {
        self.local.0.is_loopback() || self.remote.0.is_loopback()
    }
}

fn socket_at(end: &v1::Endpoint) -> Option<SocketAt> {
    let port = u16::try_from(end.port).ok().filter(|port| *port > 0)?;
    Some((address(end)?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(local: ([u8; 4], u16), remote: ([u8; 4], u16)) -> Ends {
        let place = |(address, port): ([u8; 4], u16)| (IpAddr::from(address), port);
        Ends { local: place(local), remote: place(remote) }
    }

    const CLIENT: ([u8; 4], u16) = ([10, 0, 1, 5], 40_000);
    const SERVER: ([u8; 4], u16) = ([10, 0, 2, 7], 8080);
    const SERVICE: ([u8; 4], u16) = ([10, 96, 0, 9], 80);
    const NODE: ([u8; 4], u16) = ([192, 168, 0, 1], 51_000);

    #[test]
    fn one_end_may_be_translated_and_the_other_one_fits_with_its_port() {
        let fit = |client: Ends, server: Ends| client.fit(server);
        assert_eq!(fit(ends(CLIENT, SERVER), ends(SERVER, CLIENT)), Some(Fit::Exact));
        assert_eq!(fit(ends(CLIENT, SERVICE), ends(SERVER, CLIENT)), Some(Fit::Translated));
        assert_eq!(fit(ends(CLIENT, SERVER), ends(SERVER, NODE)), Some(Fit::Translated));
        assert_eq!(fit(ends(CLIENT, SERVICE), ends(SERVER, NODE)), None);
        let other_port = (CLIENT.0, CLIENT.1 + 1);
        assert_eq!(fit(ends(CLIENT, SERVICE), ends(SERVER, other_port)), None);
        assert_eq!(fit(ends(CLIENT, (SERVER.0, 81)), ends(SERVER, NODE)), None);
        assert_eq!(fit(ends(CLIENT, SERVER), ends(CLIENT, SERVER)), None, "not the same way round");
        assert!(Fit::Exact > Fit::Translated);
    }

    #[test]
    fn ends_are_read_where_address_and_port_are_known() {
        let end = |address: Vec<u8>, port| v1::Endpoint { address, port, ..Default::default() };
        let of = |local: v1::Endpoint, remote: v1::Endpoint| {
            Ends::of(&v1::Exchange { local: Some(local), remote: Some(remote), ..Default::default() })
        };
        let mapped = [&[0; 10][..], &[0xff, 0xff], &CLIENT.0].concat();
        assert_eq!(of(end(mapped, 40_000), end(SERVER.0.to_vec(), 8080)), Some(ends(CLIENT, SERVER)));
        assert_eq!(of(end(vec![], 1), end(vec![1, 2, 3, 4], 1)), None);
        assert_eq!(of(end(vec![1, 2, 3, 4], 0), end(vec![1, 2, 3, 4], 1)), None);
        assert_eq!(of(end(vec![1, 2, 3, 4], 65_536), end(vec![1, 2, 3, 4], 1)), None);
        assert_eq!(Ends::of(&v1::Exchange::default()), None);
        assert!(ends(([127, 0, 0, 1], 1), SERVER).is_loopback() && !ends(CLIENT, SERVER).is_loopback());
    }
}
