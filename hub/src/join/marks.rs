//! When the two messages of an exchange were at the boundary interface of one side.

use proto::v1::HopDirection::{self, In, Out};
use proto::v1::HopMessage::{self, Request, Response};
use proto::v1::{self, HopPlace, Side};

/// The first bytes of both messages at one side's boundary interface, nanoseconds since the Unix epoch by the clock of
/// its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    /// The request's: leaving the client, or arriving at the server.
    pub(super) request: i64,
    /// The response's: leaving the server, or arriving at the client.
    pub(super) response: i64,
}

// === impl Marks ===

impl Marks {
    /// Reads them of an exchange; `None` where no interface saw both messages.
    pub(super) fn of(exchange: &v1::Exchange) -> Option<Self> {
        let (arriving, leaving) = match exchange.side() {
            Side::Client => (Response, Request),
            Side::Server => (Request, Response),
            Side::Unspecified => return None,
        };
        let seen = |direction: HopDirection, message: HopMessage| {
            let is = move |hop: &&v1::Hop| {
                (hop.place(), hop.direction(), hop.message()) == (HopPlace::Nic, direction, message)
            };
            exchange.hops.iter().filter(is)
        };
        let left = |arrival: &v1::Hop| {
            seen(Out, leaving).filter(|hop| is_one_place(hop, arrival)).map(|hop| hop.at_ns).min()
        };
        // What arrives comes through the outermost interface first; segments may say which one was taken.
        let counted = counted_arrival(exchange);
        let both = |arrival: &v1::Hop| Some((arrival.at_ns, left(arrival)?));
        let (arrived, left) = seen(In, arriving)
            .filter(|arrival| Some(arrival.at_ns) == counted)
            .find_map(both)
            .or_else(|| seen(In, arriving).find_map(both))?;
        let start = i64::try_from(exchange.start_ns).ok()?;
        let (arrived, left) = (start.saturating_add(arrived), start.saturating_add(left));
        let marks = match exchange.side() {
            Side::Client => Self { request: left, response: arrived },
            Side::Server | Side::Unspecified => Self { request: arrived, response: left },
        };
        (marks.request <= marks.response).then_some(marks)
    }
}

/// When the first byte that arrived was at the boundary interface, since the start, as far as segments say.
fn counted_arrival(exchange: &v1::Exchange) -> Option<i64> {
    let segments = exchange.segments.as_ref()?;
    match exchange.side() {
        Side::Client => i64::try_from(segments.send_ns?.checked_add(segments.network_ns?)?).ok(),
        Side::Server => Some(0),
        Side::Unspecified => None,
    }
}

fn is_one_place(one: &v1::Hop, other: &v1::Hop) -> bool {
    one.netns == other.netns && one.name == other.name
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_700_000_000_000_000_000;

    fn hop(at_ns: i64, name: &str, netns: u32, direction: HopDirection, message: HopMessage) -> v1::Hop {
        v1::Hop {
            at_ns,
            place: HopPlace::Nic.into(),
            name: name.to_owned(),
            netns,
            direction: direction.into(),
            message: message.into(),
            bytes: 1,
        }
    }

    fn of(side: Side, segments: Option<v1::Segments>, hops: Vec<v1::Hop>) -> Option<(i64, i64)> {
        let exchange =
            v1::Exchange { start_ns: START, side: side.into(), segments, hops, ..Default::default() };
        let since = |at: i64| at - START.cast_signed();
        Marks::of(&exchange).map(|marks| (since(marks.request), since(marks.response)))
    }

    /// A client in a container: its own interface, then the node's.
    fn client() -> Vec<v1::Hop> {
        vec![
            v1::Hop { place: HopPlace::Process.into(), ..hop(0, "", 7, Out, Request) },
            hop(10, "eth0", 7, Out, Request),
            hop(20, "ens3", 1, Out, Request),
            hop(25, "ens3", 1, Out, Request),
            hop(90, "ens3", 1, In, Response),
            hop(95, "eth0", 7, In, Response),
            hop(99, "ens3", 1, In, Response),
            v1::Hop { place: HopPlace::Socket.into(), ..hop(120, "", 7, In, Response) },
        ]
    }

    #[test]
    fn the_outermost_interface_that_saw_both_messages_counts_and_the_first_byte_there() {
        assert_eq!(of(Side::Client, None, client()), Some((20, 90)));
        // One that saw the response alone is none: the request took another way.
        let mut hops = client();
        hops.push(hop(80, "tunnel", 1, In, Response));
        assert_eq!(of(Side::Client, None, hops), Some((20, 90)));
        // An interface of the same name in another namespace is another one.
        let mut hops = client();
        hops.push(hop(70, "eth0", 9, In, Response));
        assert_eq!(of(Side::Client, None, hops), Some((20, 90)));
    }

    #[test]
    fn the_interface_that_segments_were_counted_by_is_taken() {
        let segments =
            Some(v1::Segments { send_ns: Some(15), network_ns: Some(80), ..v1::Segments::default() });
        assert_eq!(of(Side::Client, segments, client()), Some((10, 95)));
        let unknown = Some(v1::Segments { network_ns: Some(80), ..v1::Segments::default() });
        assert_eq!(of(Side::Client, unknown, client()), Some((20, 90)));
    }

    #[test]
    fn a_server_s_request_arrives_and_its_response_leaves() {
        let hops = || {
            vec![
                hop(-4, "ens3", 1, In, Request),
                hop(0, "eth0", 7, In, Request),
                hop(50, "eth0", 7, Out, Response),
                hop(55, "ens3", 1, Out, Response),
            ]
        };
        assert_eq!(of(Side::Server, None, hops()), Some((-4, 55)));
        assert_eq!(of(Side::Server, Some(v1::Segments::default()), hops()), Some((0, 50)));
    }

    #[test]
    fn what_no_interface_saw_both_of_has_no_marks() {
        assert_eq!(of(Side::Client, None, Vec::new()), None);
        assert_eq!(of(Side::Unspecified, None, client()), None);
        let of_one = |message: HopMessage| {
            let hops = client().into_iter().filter(|hop| hop.message() == message).collect();
            of(Side::Client, None, hops)
        };
        assert_eq!((of_one(Request), of_one(Response)), (None, None));
        // A response before its request is none.
        let hops = vec![hop(50, "ens3", 1, Out, Request), hop(40, "ens3", 1, In, Response)];
        assert_eq!(of(Side::Client, None, hops), None);
        // Calls and sockets are no interfaces.
        let mut hops = client();
        for hop in &mut hops {
            hop.set_place(HopPlace::Socket);
        }
        assert_eq!(of(Side::Client, None, hops), None);
    }
}
