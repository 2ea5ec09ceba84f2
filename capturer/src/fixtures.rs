//! Events for tests, as the kernel would write them.

use capturer_ebpf::layout;

use crate::tracker::stream::CallEvent;

/// Returns a connection opened by this machine's process on 127.0.0.1:40000 to 127.0.0.1:80.
pub(crate) fn connection(id: u64) -> layout::Connection {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&[127, 0, 0, 1]);
    layout::Connection {
        id,
        netns: 1,
        local_port: 40_000,
        remote_port: 80,
        local: address,
        remote: address,
        family: 4,
        transport: layout::transport::TCP,
        role: layout::role::CLIENT,
        coordinate: layout::coordinate::SEQUENCE,
        reserved: 0,
    }
}

/// Returns the record of a call that moved nothing yet.
pub(crate) fn head(direction: u8) -> layout::Moved {
    layout::Moved {
        kind: layout::Kind::Moved as u8,
        direction,
        flags: 0,
        captured: 0,
        connection: connection(1),
        enter_ns: 0,
        exit_ns: 0,
        moved: 0,
        counter: 0,
        s0: 0,
        s1: 0,
        pid: 1,
        tid: 1,
        comm: [0; layout::COMM_LEN],
        cgroup: 0,
        offset: 0,
        pieces: 0,
    }
}

/// Returns an exact event that moved `payload` at sequence number `s0`.
pub(crate) fn event(direction: usize, s0: u32, payload: &[u8]) -> CallEvent {
    CallEvent {
        direction,
        flags: 0,
        enter_ns: u64::from(s0),
        exit_ns: u64::from(s0) + 1,
        moved: payload.len() as u64,
        counter: 0,
        s0,
        s1: s0.wrapping_add(u32::try_from(payload.len()).unwrap()),
        pid: 1,
        cgroup: 0,
        payload: payload.into(),
    }
}
