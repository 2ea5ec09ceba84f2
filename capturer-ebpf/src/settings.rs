//! What the capturer tells the kernel programs at load, and the maps' keys that both sides build.
//!
//! Offsets are bytes from the start of a kernel structure, read from the running kernel's BTF. Everything here becomes
//! read-only data of the programs, so the verifier sees constants.

/// An instruction that stands in the programs wherever they take an address (register 1) for memory (register 0). At load the
/// kernel's function for it is put there, `bpf_rdonly_cast`, or a move where the programs do not come there.
pub const CAST: u64 = 0x6e79_6b00_0000_2085;

/// What stands in the map `BEGUN` once the capture is over.
pub const OVER: u64 = u64::MAX;

/// Slots in which decisions about connections are counted; a power of two.
pub const DECISION_SLOTS: u32 = 4096;

/// Offsets of the kernel fields that the programs read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// `task_struct.files`.
    pub task_files: u32,
    /// `task_struct.group_leader`.
    pub task_group_leader: u32,
    /// `task_struct.thread_pid`.
    pub task_thread_pid: u32,
    /// `task_struct.comm`.
    pub task_comm: u32,
    /// `task_struct.signal`.
    pub task_signal: u32,
    /// `signal_struct.live`.
    pub signal_live: u32,
    /// `files_struct.fdt`.
    pub files_fdt: u32,
    /// `fdtable.max_fds`.
    pub fdt_max_fds: u32,
    /// `fdtable.fd`.
    pub fdt_fd: u32,
    /// `file.f_inode`.
    pub file_inode: u32,
    /// `file.private_data`.
    pub file_private_data: u32,
    /// `inode.i_mode`.
    pub inode_mode: u32,
    /// `socket.sk`.
    pub socket_sk: u32,
    /// `sock.__sk_common.skc_family`.
    pub sock_family: u32,
    /// `sock.__sk_common.skc_state`.
    pub sock_state: u32,
    /// `sock.__sk_common.skc_num`: the local port, host order.
    pub sock_num: u32,
    /// `sock.__sk_common.skc_dport`: the remote port, network order.
    pub sock_dport: u32,
    /// `sock.__sk_common.skc_rcv_saddr`.
    pub sock_rcv_saddr: u32,
    /// `sock.__sk_common.skc_daddr`.
    pub sock_daddr: u32,
    /// `sock.__sk_common.skc_v6_rcv_saddr`; [`ABSENT`] without IPv6.
    pub sock_v6_rcv_saddr: u32,
    /// `sock.__sk_common.skc_v6_daddr`; [`ABSENT`] without IPv6.
    pub sock_v6_daddr: u32,
    /// `sock.__sk_common.skc_net.net`; [`ABSENT`] without network namespaces.
    pub sock_net: u32,
    /// `sock.sk_protocol`.
    pub sock_protocol: u32,
    /// `sock.sk_err`.
    pub sock_err: u32,
    /// `sock.sk_err_soft`: what the network said meanwhile.
    pub sock_err_soft: u32,
    /// `inet_sock.inet_sport`: the local port in network order, which stays when `skc_num` is taken back.
    pub inet_sport: u32,
    /// `net.ns.inum`.
    pub net_inum: u32,
    /// `inet_connection_sock.icsk_ulp_ops`.
    pub icsk_ulp_ops: u32,
    /// `tcp_sock.write_seq`.
    pub tcp_write_seq: u32,
    /// `tcp_sock.copied_seq`.
    pub tcp_copied_seq: u32,
    /// `tcp_sock.segs_out`.
    pub tcp_segs_out: u32,
    /// `tcp_sock.bytes_sent`.
    pub tcp_bytes_sent: u32,
    /// `tcp_sock.bytes_received`.
    pub tcp_bytes_received: u32,
    /// `pid.level`.
    pub pid_level: u32,
    /// `pid.numbers`.
    pub pid_numbers: u32,
    /// Size of `upid`.
    pub upid_size: u32,
    /// `upid.nr`.
    pub upid_nr: u32,
    /// `upid.ns`.
    pub upid_ns: u32,
    /// `pid_namespace.ns.inum`.
    pub pidns_inum: u32,
    /// `task_struct.cgroups`; [`ABSENT`] without control groups.
    pub task_cgroups: u32,
    /// The entry of `css_set.subsys` whose hierarchy names containers; [`ABSENT`] where that is the second version's.
    pub css_set_subsys: u32,
    /// `cgroup_subsys_state.cgroup`.
    pub css_cgroup: u32,
    /// `css_set.dfl_cgrp`: the group in the second version's hierarchy.
    pub css_set_dfl_cgrp: u32,
    /// `cgroup.kn`.
    pub cgroup_kn: u32,
    /// `kernfs_node.id`.
    pub kernfs_id: u32,
    /// `kernfs_node.name`.
    pub kernfs_name: u32,
    /// `kernfs_node.parent`.
    pub kernfs_parent: u32,
    /// `msghdr.msg_iter.count`: bytes that a sending call has still to take; [`ABSENT`] where it is not found.
    pub message_left: u32,
    /// `sk_buff.dev`.
    pub skb_dev: u32,
    /// `sk_buff.len`.
    pub skb_len: u32,
    /// `sk_buff.head`.
    pub skb_head: u32,
    /// `sk_buff.data`.
    pub skb_data: u32,
    /// `sk_buff.protocol`.
    pub skb_protocol: u32,
    /// `sk_buff.network_header`.
    pub skb_network_header: u32,
    /// `sk_buff._nfct`; [`ABSENT`] without connection tracking.
    pub skb_nfct: u32,
    /// `tcp_skb_cb.seq` in `sk_buff.cb`.
    pub skb_seq: u32,
    /// `tcp_skb_cb.end_seq` in `sk_buff.cb`.
    pub skb_end_seq: u32,
    /// `net_device.name`.
    pub dev_name: u32,
    /// `net_device.nd_net.net`; [`ABSENT`] without network namespaces.
    pub dev_net: u32,
    /// `tcp_sock.rcv_nxt`.
    pub tcp_rcv_nxt: u32,
    /// `tcp_sock.total_retrans`.
    pub tcp_total_retrans: u32,
    /// `nf_conn.status`; [`ABSENT`] without connection tracking.
    pub ct_status: u32,
    /// The first `nf_conntrack_tuple` of `nf_conn.tuplehash`; [`ABSENT`] without connection tracking.
    pub ct_tuples: u32,
    /// Size of `nf_conntrack_tuple_hash`.
    pub ct_tuple_size: u32,
    /// `task_struct.flags`.
    pub task_flags: u32,
    /// `sk_buff.sk`.
    pub skb_sk: u32,
    /// `sock.sk_socket`.
    pub sock_socket: u32,
    /// `socket.file`.
    pub socket_file: u32,
    /// `msghdr.msg_name`; this and the next three [`ABSENT`] where the bytes are seen at system calls.
    pub message_name: u32,
    /// `msghdr.msg_namelen`.
    pub message_name_len: u32,
    /// `msghdr.msg_flags`.
    pub message_flags: u32,
    /// `msghdr.msg_iter.data_source`: whether it sends.
    pub message_sends: u32,
}

/// The offset of an optional field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// What the capturer set for this capture.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Inode of the capturer's PID namespace.
    pub pid_namespace: u32,
    /// How many rings are in use, 1 to [`RINGS`].
    pub rings: u32,
    /// Bytes of a ring.
    pub ring_bytes: u32,
    /// The largest payload class, an index into [`CLASSES`].
    pub largest_class: u32,
    /// Bits of [`filter`]: which filters are set.
    pub filters: u32,
    /// One connection in so many is followed; 0 and 1 follow all.
    pub sample: u32,
    /// 1 where the programs may read the kernel's memory by themselves.
    pub direct: u32,
    /// Records that a CPU's lane holds, a power of two ([`lane_slots`]).
    pub lane_slots: u32,
}

/// Bits of [`Limits::filters`].
pub mod filter {
    /// Only processes in the map `PIDS`.
    pub const PIDS: u32 = 1 << 0;
    /// Only command names in the map `COMMS`.
    pub const COMMS: u32 = 1 << 1;
    /// Only local ports in the map `LOCAL_PORTS`.
    pub const LOCAL_PORTS: u32 = 1 << 2;
    /// Only remote ports in the map `REMOTE_PORTS`.
    pub const REMOTE_PORTS: u32 = 1 << 3;
    /// Only local addresses in the map `LOCAL_NETS`.
    pub const LOCAL_NETS: u32 = 1 << 4;
    /// Only remote addresses in the map `REMOTE_NETS`.
    pub const REMOTE_NETS: u32 = 1 << 5;
    /// Only control groups that the map `CGROUPS` does not refuse.
    pub const CGROUPS: u32 = 1 << 6;
    /// No connections that were over before a byte went either way.
    pub const NO_ATTEMPTS: u32 = 1 << 7;
    /// Packets are followed.
    pub const PACKETS: u32 = 1 << 8;
    /// Bytes are seen where sockets move them.
    pub const SOCKETS: u32 = 1 << 9;
}

/// Most rings that are used.
pub const RINGS: u32 = 4;

/// CPUs that share a ring.
pub const CPUS_PER_RING: u32 = 8;

/// Records that all lanes hold together, where that is not too few for each.
const ALL_LANE_SLOTS: u32 = 32_768;

/// Most records that the lane of a CPU holds: those of 10 ms, after which they are read at the latest, at 200,000 packets a
/// second.
const MOST_LANE_SLOTS: u32 = 2_048;

/// Fewest records that it holds.
const FEWEST_LANE_SLOTS: u32 = 256;

/// Records that the lane of a CPU holds on a machine of so many CPUs.
#[must_use]
pub const fn lane_slots(cpus: u32) -> u32 {
    let share = ALL_LANE_SLOTS / if cpus == 0 { 1 } else { cpus };
    if share >= MOST_LANE_SLOTS {
        MOST_LANE_SLOTS
    } else if share <= FEWEST_LANE_SLOTS {
        FEWEST_LANE_SLOTS
    } else {
        1 << share.ilog2()
    }
}

/// Payload bytes of the largest record, by how large the rings are. The largest holds a chunk of 64 KiB with its framing.
pub const CLASSES: [u32; 6] = [256, 1024, 4096, 16 * 1024, 64 * 1024, 128 * 1024];

/// Most bytes that one step of gathering copies.
pub const STEP: u32 = 8192;

/// Bytes in front of a record's payload.
pub const HEAD_BYTES: u32 = 144;

const _: () = assert!(size_of::<crate::layout::Moved>() == HEAD_BYTES as usize, "the head of a record");
const _: () = assert!(size_of::<crate::layout::Piece>() == 32, "the head of a piece");

/// Ring bytes that a record of payload class `class` takes at most, one of several pieces included.
#[must_use]
pub const fn record_bytes(class: usize) -> u32 {
    let size = CLASSES[class];
    let step = if size < STEP { size } else { STEP };
    HEAD_BYTES + size + step
}

/// Entries of the per-CPU map `TOTALS`, in events.
pub mod total {
    /// Events that happened.
    pub const SEEN: u32 = 0;
    /// Events handed to the rings.
    pub const DELIVERED: u32 = 1;
    /// Events that a filter or a verdict kept back.
    pub const FILTERED: u32 = 2;
    /// Events for which a ring had no room.
    pub const RING: u32 = 3;
    /// Events handed to the rings whose payload could not be read.
    pub const FAULT: u32 = 4;
    /// Events of connections for which a map had no room, and connections whose end could not be told for the same reason.
    pub const MAP: u32 = 5;
    /// Messages of one call beyond the most that are looked at, and connections whose end the kernel passed over.
    pub const MISS: u32 = 6;
    /// Packets and arrivals handed to the rings, which are no events of calls: each is one seen and delivered.
    pub const PACKETS: u32 = 7;
    /// How many there are.
    pub const COUNT: u32 = 8;
}

/// Sockets of streams that are known at a time: more than a busy proxy has. What comes beyond counts as lost
/// ([`total::MAP`]).
pub const STREAMS: u32 = 65_536;

/// Key of the nets' maps: IP family and address, matched by prefix.
pub const NET_KEY_LEN: usize = 17;
