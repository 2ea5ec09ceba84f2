//! From a file descriptor to the kernel's socket, and what a socket says about itself.

use capturer_ebpf::{layout::transport, settings::ABSENT};

use crate::{
    kernel::{follow, offset, read},
    memory::{Ends, Protocol},
};

/// `S_IFMT` and `S_IFSOCK` of `inode.i_mode`.
const FILE_TYPE: u16 = 0o170_000;
const FILE_IS_SOCKET: u16 = 0o140_000;

pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;

const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;
const IPPROTO_MPTCP: u16 = 262;

/// TCP states, from `include/net/tcp_states.h`.
pub(crate) mod state {
    pub(crate) const ESTABLISHED: u8 = 1;
    pub(crate) const SYN_SENT: u8 = 2;
    pub(crate) const SYN_RECV: u8 = 3;
    pub(crate) const CLOSE: u8 = 7;
    pub(crate) const LISTEN: u8 = 10;
}

impl Protocol {
    /// The transport's number in the event layout.
    #[inline(always)]
    pub(crate) fn transport(self) -> u8 {
        match self {
            Protocol::Tcp | Protocol::Mptcp => transport::TCP,
            Protocol::Udp => transport::UDP,
        }
    }
}

/// The socket behind a descriptor of `task`; `None` when it is something else.
#[inline(always)]
pub(crate) fn of_descriptor(task: u64, descriptor: u64) -> Option<u64> {
    // Descriptors are ints; the register's upper half is not part of the argument.
    let descriptor = descriptor as u32;
    let files = follow(task, offset!(task_files))?;
    let table = follow(files, offset!(files_fdt))?;
    if descriptor >= read::<u32>(table, offset!(fdt_max_fds))? {
        return None;
    }
    let slots = follow(table, offset!(fdt_fd))?;
    let file = follow(slots.wrapping_add(u64::from(descriptor) * 8), 0)?;
    let inode = follow(file, offset!(file_inode))?;
    if read::<u16>(inode, offset!(inode_mode))? & FILE_TYPE != FILE_IS_SOCKET {
        return None;
    }
    let socket = follow(file, offset!(file_private_data))?;
    follow(socket, offset!(socket_sk))
}

/// The protocol of an internet socket that is followed.
#[inline(always)]
pub(crate) fn protocol(sk: u64) -> Option<Protocol> {
    let family = read::<u16>(sk, offset!(sock_family))?;
    if family != AF_INET && family != AF_INET6 {
        return None;
    }
    match read::<u16>(sk, offset!(sock_protocol))? {
        IPPROTO_TCP => Some(Protocol::Tcp),
        IPPROTO_MPTCP => Some(Protocol::Mptcp),
        IPPROTO_UDP => Some(Protocol::Udp),
        _ => None,
    }
}

/// The TCP state.
#[inline(always)]
pub(crate) fn tcp_state(sk: u64) -> u8 {
    read::<u8>(sk, offset!(sock_state)).unwrap_or(0)
}

/// Whether something sits between the calls and TCP (kTLS and the like).
#[inline(always)]
pub(crate) fn has_upper_protocol(sk: u64) -> bool {
    follow(sk, offset!(icsk_ulp_ops)).is_some()
}

/// The sequence number of the next byte that this direction's calls move.
#[inline(always)]
pub(crate) fn sequence(sk: u64, direction: u8) -> u32 {
    let at = if direction == capturer_ebpf::layout::direction::OUT {
        offset!(tcp_write_seq)
    } else {
        offset!(tcp_copied_seq)
    };
    read::<u32>(sk, at).unwrap_or(0)
}

/// The sequence number of the first byte that a TCP socket received.
#[inline(always)]
pub(crate) fn first_received(sk: u64) -> u32 {
    let next = read::<u32>(sk, offset!(tcp_rcv_nxt)).unwrap_or(0);
    next.wrapping_sub(read::<u64>(sk, offset!(tcp_bytes_received)).unwrap_or(0) as u32)
}

/// Whether a process has a descriptor of a socket; those that the kernel makes for itself have none.
#[inline(always)]
pub(crate) fn has_file(sk: u64) -> bool {
    follow(sk, offset!(sock_socket)).and_then(|socket| follow(socket, offset!(socket_file))).is_some()
}

/// The error that a socket ended with, 0 for none.
#[inline(always)]
pub(crate) fn error(sk: u64) -> u32 {
    read::<u32>(sk, offset!(sock_err)).unwrap_or(0)
}

/// What the network said of a socket's peer, which the kernel did not yet take for an end; 0 for nothing.
#[inline(always)]
pub(crate) fn soft_error(sk: u64) -> u32 {
    read::<u32>(sk, offset!(sock_err_soft)).unwrap_or(0)
}

/// Whether a TCP socket sent anything at all, if only a SYN.
#[inline(always)]
pub(crate) fn spoke(sk: u64) -> bool {
    read::<u32>(sk, offset!(tcp_segs_out)).unwrap_or(0) != 0
}

/// Whether bytes went over a TCP socket, either way.
#[inline(always)]
pub(crate) fn carried(sk: u64) -> bool {
    let sent = read::<u64>(sk, offset!(tcp_bytes_sent)).unwrap_or(1);
    sent != 0 || read::<u64>(sk, offset!(tcp_bytes_received)).unwrap_or(1) != 0
}

/// Inode of the socket's network namespace, 0 when the kernel has none.
#[inline(always)]
pub(crate) fn network_namespace(sk: u64) -> u32 {
    let at = offset!(sock_net);
    if at == ABSENT {
        return 0;
    }
    follow(sk, at).and_then(|net| read::<u32>(net, offset!(net_inum))).unwrap_or(0)
}

/// The local port, host order.
#[inline(always)]
pub(crate) fn local_port(sk: u64) -> u16 {
    read::<u16>(sk, offset!(sock_num)).unwrap_or(0)
}

/// The local port of a socket that was closed just now, host order.
#[inline(always)]
pub(crate) fn former_port(sk: u64) -> u16 {
    u16::from_be(read::<u16>(sk, offset!(inet_sport)).unwrap_or(0))
}

/// The remote port of a connected socket, host order; else 0.
#[inline(always)]
pub(crate) fn remote_port(sk: u64) -> u16 {
    u16::from_be(read::<u16>(sk, offset!(sock_dport)).unwrap_or(0))
}

/// Whether a socket's own addresses are those of IPv6.
#[inline(always)]
pub(crate) fn is_v6(sk: u64) -> bool {
    read::<u16>(sk, offset!(sock_family)).unwrap_or(0) == AF_INET6
}

/// Addresses and ports of a socket.
#[inline(always)]
pub(crate) fn ends(sk: u64) -> Ends {
    let mut ends = Ends {
        family: 4,
        local_port: local_port(sk),
        remote_port: remote_port(sk),
        local: [0; 16],
        remote: [0; 16],
    };
    if is_v6(sk) && offset!(sock_v6_daddr) != ABSENT {
        ends.local = read(sk, offset!(sock_v6_rcv_saddr)).unwrap_or([0; 16]);
        ends.remote = read(sk, offset!(sock_v6_daddr)).unwrap_or([0; 16]);
        ends.family = 6;
        if mapped(&ends.remote) || mapped(&ends.local) {
            ends.family = 4;
            ends.local = unmapped(&ends.local);
            ends.remote = unmapped(&ends.remote);
        }
        return ends;
    }
    let local: [u8; 4] = read(sk, offset!(sock_rcv_saddr)).unwrap_or([0; 4]);
    let remote: [u8; 4] = read(sk, offset!(sock_daddr)).unwrap_or([0; 4]);
    ends.local = v4(local);
    ends.remote = v4(remote);
    ends
}

/// An IPv4 address in 16 bytes.
#[inline(always)]
pub(crate) fn v4(address: [u8; 4]) -> [u8; 16] {
    // In words: the compiler clears bytes one by one.
    let words = [u64::from(u32::from_ne_bytes(address)), 0];
    // SAFETY: sixteen bytes either way; the target is little-endian, so the bytes keep their order.
    unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(words) }
}

/// Whether an IPv6 address stands for an IPv4 one.
#[inline(always)]
pub(crate) fn mapped(address: &[u8; 16]) -> bool {
    let [head, middle, ..] = words(address);
    head == 0 && middle & 0xffff_ffff == u64::from(0xffff_0000_u32.to_le())
}

/// The IPv4 address behind a mapped IPv6 one; all zeros (any) stays so.
#[inline(always)]
pub(crate) fn unmapped(address: &[u8; 16]) -> [u8; 16] {
    let [.., a, b, c, d] = *address;
    v4([a, b, c, d])
}

/// Whether an address is a loopback address.
#[inline(always)]
pub(crate) fn loopback(family: u8, address: &[u8; 16]) -> bool {
    if family == 4 {
        return address[0] == 127;
    }
    let [head, tail] = words(address);
    head == 0 && tail == u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 1])
}

/// Whether an address of either family is a loopback address; an IPv4 address has zeros behind it.
#[inline(always)]
pub(crate) fn loopback_words([head, tail]: [u64; 2]) -> bool {
    let v4 = tail == 0 && head >> 32 == 0 && head as u8 == 127;
    v4 || (head == 0 && tail == u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 1]))
}

/// An address in two words.
#[inline(always)]
pub(crate) fn words(address: &[u8; 16]) -> [u64; 2] {
    let [head, tail] = [address.first_chunk::<8>(), address.last_chunk::<8>()];
    [head.map_or(0, |bytes| u64::from_ne_bytes(*bytes)), tail.map_or(0, |bytes| u64::from_ne_bytes(*bytes))]
}
