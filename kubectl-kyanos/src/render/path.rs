//! The path of an exchange: the places that it passed as boxes, and between them how long each part took and its share.
//!
//! What goes to the server is drawn to the right and what comes back to the left, so that the client's end is at the
//! left in both. The time beyond the last place that can be observed stands where the path turns.

mod cells;
mod draw;
mod hops;

use proto::{ends, v1};

use self::draw::{Chain, Leg, Picture, Place};
use super::{line, units};

pub(crate) use self::hops::hops;

/// Names of an interface that nothing was seen at.
const INTERFACE: (&str, &str) = ("interface", "nic");

/// Where bytes wait for the process.
const SOCKET: &str = "socket";

/// How a row is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drawn {
    /// From the client to the server.
    There,
    /// From the server to the client.
    Back,
}

/// Draws the path in a terminal of so many characters a line; nothing where no time is known.
pub(crate) fn path(exchange: &v1::Exchange, width: usize) -> String {
    let Some(segments) = exchange.segments else { return String::new() };
    let legs = Legs { total_ns: segments.total_ns };
    let picture = match exchange.side() {
        v1::Side::Client if is_of_client(&segments) => legs.client(exchange, &segments),
        v1::Side::Server if is_of_server(&segments) => legs.server(exchange, &segments),
        v1::Side::Client | v1::Side::Server | v1::Side::Unspecified => {
            return draw::list(&legs.seen(segments), width);
        }
    };
    draw::draw(&picture, width)
}

/// Whether a client can have all of these parts.
fn is_of_client(segments: &v1::Segments) -> bool {
    segments.internal_ns.is_none()
}

/// Whether a server can have all of these parts.
fn is_of_server(segments: &v1::Segments) -> bool {
    [segments.network_ns, segments.transfer_ns, segments.read_ns].iter().all(Option::is_none)
}

/// Says what part of a whole a time is; the parts of one whole add up to 100 % but for rounding.
fn share(part_ns: i128, total_ns: u64) -> String {
    if total_ns == 0 {
        return "-".to_owned();
    }
    let (total, doubled) = (i128::from(total_ns), part_ns.saturating_mul(2000));
    // Half a tenth rounds away from zero.
    let tenths = (doubled + total * doubled.signum()) / (total * 2);
    if tenths == 0 && part_ns != 0 {
        return if part_ns > 0 { "<0.1 %" } else { ">-0.1 %" }.to_owned();
    }
    let sign = if tenths < 0 { "-" } else { "" };
    format!("{sign}{}.{} %", tenths.abs() / 10, tenths.abs() % 10)
}

/// Renders a time that may lie before another one.
fn signed(ns: i128) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    format!("{sign}{}", units::duration(u64::try_from(ns.unsigned_abs()).unwrap_or(u64::MAX)))
}

/// When a message passed the boundary interface, nanoseconds after the exchange's start.
#[derive(Clone, Copy, Debug)]
enum Mark {
    /// The last byte left, where that was observed.
    Leaves(Option<u64>),
    /// The first byte arrived.
    Arrives(u64),
}

/// Makes the parts of one exchange's path.
#[derive(Clone, Copy, Debug)]
struct Legs {
    total_ns: u64,
}

/// The ways between both ends, and what the other end took: parts of the client's network.
struct Split {
    there: Leg,
    back: Leg,
    work_ns: i128,
}

// === impl Legs ===

impl Legs {
    fn client(self, exchange: &v1::Exchange, segments: &v1::Segments) -> Picture {
        let (own, remote) = (own(exchange), remote(exchange));
        let outward = interfaces(exchange, Drawn::There, Mark::Leaves(segments.send_ns));
        let arrives =
            segments.send_ns.unwrap_or_default().saturating_add(segments.network_ns.unwrap_or_default());
        let inward = interfaces(exchange, Drawn::Back, Mark::Arrives(arrives));
        let split = self.split(exchange.ways.as_ref(), segments.network_ns);
        let transfer = self.leg("transfer", segments.transfer_ns);
        let (there, back, turn) = if let Some(Split { there, back, work_ns }) = split {
            (there, vec![back, transfer], self.text("remote work", Some(work_ns)))
        } else {
            let network = self.text("network + remote work", segments.network_ns.map(i128::from));
            (Leg::link(), vec![transfer], network)
        };
        Picture {
            there: Chain {
                places: vec![own.clone(), outward, remote.clone()],
                legs: vec![vec![self.leg("send", segments.send_ns)], vec![there]],
            },
            turn,
            back: Chain {
                places: vec![remote, inward, Place::named(SOCKET), own],
                legs: vec![
                    back,
                    vec![self.leg("receive", segments.receive_ns)],
                    vec![self.leg("queue", segments.queue_ns), self.leg("read", segments.read_ns)],
                ],
            },
        }
    }

    fn server(self, exchange: &v1::Exchange, segments: &v1::Segments) -> Picture {
        let (own, remote) = (own(exchange), remote(exchange));
        let inward = interfaces(exchange, Drawn::There, Mark::Arrives(0));
        let leaves = segments.send_ns.map(|_| segments.total_ns);
        let outward = interfaces(exchange, Drawn::Back, Mark::Leaves(leaves));
        // The ways are no part of the time that a server sees.
        let leg = |name: &str, ns: i64, ways: &v1::Ways| {
            Leg::between_nodes(name, signed(ns.into()), None, ways.error_ns)
        };
        let (there, back) = match &exchange.ways {
            Some(ways) => (leg("way there", ways.request_ns, ways), leg("way back", ways.response_ns, ways)),
            None => (Leg::link(), Leg::link()),
        };
        Picture {
            there: Chain {
                places: vec![remote.clone(), inward, Place::named(SOCKET), own.clone()],
                legs: vec![
                    vec![there],
                    vec![self.leg("receive", segments.receive_ns)],
                    vec![self.leg("queue", segments.queue_ns)],
                ],
            },
            turn: self.text("internal", segments.internal_ns.map(i128::from)),
            back: Chain {
                places: vec![own, outward, remote],
                legs: vec![vec![self.leg("send", segments.send_ns)], vec![back]],
            },
        }
    }

    /// Splits the client's network where the other side was seen too.
    fn split(self, ways: Option<&v1::Ways>, network_ns: Option<u64>) -> Option<Split> {
        let (ways, network_ns) = (ways?, network_ns?);
        let v1::Ways { request_ns, response_ns, error_ns, node: _, id: _ } = ways;
        let leg = |name: &str, ns: i64| {
            let share = share(ns.into(), self.total_ns);
            Leg::between_nodes(name, signed(ns.into()), Some(share), *error_ns)
        };
        Some(Split {
            there: leg("way there", *request_ns),
            back: leg("way back", *response_ns),
            work_ns: i128::from(network_ns) - i128::from(*request_ns) - i128::from(*response_ns),
        })
    }

    fn leg(self, name: &str, ns: Option<u64>) -> Leg {
        match ns {
            Some(ns) => Leg::seen(name, units::duration(ns), share(ns.into(), self.total_ns)),
            None => Leg::unseen(name),
        }
    }

    /// All that was observed, in the order of time.
    fn seen(self, segments: v1::Segments) -> Vec<String> {
        let parts = line::parts(segments).into_iter();
        parts.map(|(name, ns)| self.text(name, Some(ns.into()))).collect()
    }

    fn text(self, name: &str, ns: Option<i128>) -> String {
        match ns {
            Some(ns) => format!("{name} {} {}", signed(ns), share(ns, self.total_ns)),
            None => format!("{name} not observed"),
        }
    }
}

/// The process that was observed; its name alone where there is little room.
fn own(exchange: &v1::Exchange) -> Place {
    let comm = exchange.origin.as_ref().map(|origin| origin.comm.as_str()).filter(|comm| !comm.is_empty());
    let whole = line::process(exchange);
    let short = comm.map_or_else(|| whole.clone(), str::to_owned);
    Place { whole, short }
}

/// The other end; without its kind and namespace where there is little room.
fn remote(exchange: &v1::Exchange) -> Place {
    let whole = ends::partner(exchange);
    let short = whole.rsplit('/').next().unwrap_or_default().to_owned();
    Place { whole, short }
}

/// Names of interfaces, each once.
fn names<'a>(hops: impl Iterator<Item = &'a v1::Hop>) -> Vec<(&'a str, u32)> {
    let mut names: Vec<(&str, u32)> = Vec::new();
    for hop in hops {
        // Interfaces of different pods have the same name.
        if !names.contains(&(&hop.name, hop.netns)) {
            names.push((&hop.name, hop.netns));
        }
    }
    names
}

/// The interfaces that a message passed on the process's side of a mark, each once, from left to right; the outermost
/// alone where there is little room.
fn interfaces(exchange: &v1::Exchange, drawn: Drawn, mark: Mark) -> Place {
    let (message, between) = match drawn {
        Drawn::There => (v1::HopMessage::Request, " › "),
        Drawn::Back => (v1::HopMessage::Response, " ‹ "),
    };
    let passed =
        |hop: &&v1::Hop| hop.place() == v1::HopPlace::Nic && hop.message() == message && !hop.name.is_empty();
    // What lies beyond is the other end's, where both are on one machine.
    let is_own = |hop: &&v1::Hop| match mark {
        Mark::Leaves(at) => at.is_none_or(|at| i128::from(hop.at_ns) <= i128::from(at)),
        Mark::Arrives(at) => i128::from(hop.at_ns) >= i128::from(at),
    };
    let all = || exchange.hops.iter().filter(passed);
    let mut names = names(all().filter(is_own));
    if names.is_empty() {
        // The mark is of another place: at none of these both messages were seen.
        names = self::names(all());
    }
    let outermost = match mark {
        Mark::Leaves(_) => names.last(),
        Mark::Arrives(_) => names.first(),
    };
    let Some((outermost, _)) = outermost else {
        let (whole, short) = INTERFACE;
        return Place { whole: whole.to_owned(), short: short.to_owned() };
    };
    let short = (*outermost).to_owned();
    if drawn == Drawn::Back {
        names.reverse();
    }
    let names: Vec<&str> = names.into_iter().map(|(name, _)| name).collect();
    Place { whole: names.join(between), short }
}

#[cfg(test)]
mod tests;
