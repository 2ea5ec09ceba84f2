//! Connections over which nothing went: which of them are shown, and as what.

use std::net::{IpAddr, SocketAddr};

use capturer_ebpf::layout::{self, role};
use decoders::{Attempt, Ending, Side};

use super::{Caller, ExchangeContext, NextStage, Span};
use crate::marks::Calls;

/// A process that gives up sooner has not waited for an answer: of two connections that it tried at once the other one
/// was faster. Answers take longer only from another continent.
pub const GIVEN_UP_NS: u64 = 100_000_000;

/// A connection that waited for so long when the capture ended is shown: the kernel has asked a second time by then
/// (`TCP_TIMEOUT_INIT`), so the first answer did not come.
pub const HUNG_NS: u64 = 1_000_000_000;

/// The connections over which nothing went.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// How many were shown: their ids, which are below all that the kernel programs give.
    shown: u64,
}

// === impl Attempts ===

impl Attempts {
    /// Passes on one that ended.
    pub(super) fn ended(&mut self, attempt: &layout::Attempt, next: &mut impl NextStage) {
        let waited_ns = attempt.at_ns.saturating_sub(attempt.begun_ns);
        if attempt.error != 0 || waited_ns >= GIVEN_UP_NS {
            self.tell(attempt, attempt.at_ns, next);
        }
    }

    /// Passes on one that still waits at `now_ns`, when the capture ends.
    pub(super) fn waiting(&mut self, attempt: &layout::Attempt, now_ns: u64, next: &mut impl NextStage) {
        if now_ns.saturating_sub(attempt.begun_ns) >= HUNG_NS {
            self.tell(attempt, now_ns, next);
        }
    }

    fn tell(&mut self, attempt: &layout::Attempt, ended_ns: u64, next: &mut impl NextStage) {
        let caller = Caller { pid: attempt.pid, cgroup: attempt.cgroup };
        if !next.follows(caller) {
            return;
        }
        self.shown += 1;
        let connection = layout::Connection { id: self.shown, ..attempt.connection };
        let context = ExchangeContext {
            connection: &connection,
            calls: &<[Calls; 2]>::default(),
            caller,
            last_ns: ended_ns,
            span: Some(Span { begun_ns: attempt.begun_ns, ended_ns }),
            packets: None,
            shifts: [0; 2],
            retransmits: None,
            opening: None,
        };
        let side = if connection.role == role::SERVER { Side::Server } else { Side::Client };
        let server = server(&connection, side);
        next.exchange(&context, Attempt { side, server, ending: ending(attempt.error) }.exchange());
    }
}

/// The address of the end that was asked.
fn server(connection: &layout::Connection, side: Side) -> SocketAddr {
    let (address, port) = match side {
        Side::Client => (connection.remote, connection.remote_port),
        Side::Server => (connection.local, connection.local_port),
    };
    let [a, b, c, d, ..] = address;
    let address = if connection.family == 4 { IpAddr::from([a, b, c, d]) } else { IpAddr::from(address) };
    SocketAddr::new(address, port)
}

/// What an error number of the kernel says; 0 is no error, and so the process gave up.
fn ending(error: u32) -> Ending {
    match i32::try_from(error).unwrap_or(i32::MAX) {
        0 | libc::ETIMEDOUT => Ending::TimedOut,
        libc::ECONNREFUSED => Ending::Refused,
        libc::ECONNRESET | libc::ECONNABORTED | libc::EPIPE => Ending::Reset,
        // What the kernel makes of messages of ICMP (`icmp_err_convert`, `icmpv6_err_convert`).
        libc::EHOSTUNREACH
        | libc::ENETUNREACH
        | libc::EHOSTDOWN
        | libc::ENETDOWN
        | libc::ENONET
        | libc::ENOPROTOOPT
        | libc::EOPNOTSUPP
        | libc::EPROTO
        | libc::EACCES => Ending::Unreachable,
        _ => Ending::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_words() {
        for (error, expected) in [
            (111, Ending::Refused),
            (104, Ending::Reset),
            (103, Ending::Reset),
            (110, Ending::TimedOut),
            (0, Ending::TimedOut),
            (113, Ending::Unreachable),
            (101, Ending::Unreachable),
            (13, Ending::Unreachable),
            (5, Ending::Failed(5)),
            (u32::MAX, Ending::Failed(u32::MAX)),
        ] {
            assert_eq!(ending(error), expected, "{error}");
        }
    }
}
