//! Which kernel fields the programs need, and where this kernel has them.

use capturer_ebpf::settings::{ABSENT, Offsets};

use super::{
    Source,
    btf::{Btf, BtfError},
};

/// Bytes of a pointer; all kernels that run such programs have 64 bits.
const POINTER_BYTES: u32 = 8;

/// Resolves every field; a missing one that the programs cannot do without is an error that names it.
///
/// `controller` is the controller of the first version whose hierarchy names containers, where there is one. Kernels may
/// be built without control groups, unless `cgroups` says that they are needed.
pub(super) fn resolve(
    btf: &Btf,
    source: Source,
    controller: Option<&str>,
    cgroups: bool,
) -> Result<Offsets, BtfError> {
    let at = |structure, field| btf.offset(structure, field);
    // Fields that kernels may be built without.
    let optional = |structure, field| btf.offset(structure, field).unwrap_or(ABSENT);
    let group = |structure, field| match at(structure, field) {
        Err(_) if !cgroups => Ok(ABSENT),
        found => found,
    };
    let offsets = Offsets {
        task_files: at("task_struct", "files")?,
        task_group_leader: at("task_struct", "group_leader")?,
        task_thread_pid: at("task_struct", "thread_pid")?,
        task_comm: at("task_struct", "comm")?,
        task_signal: at("task_struct", "signal")?,
        signal_live: at("signal_struct", "live")?,
        files_fdt: at("files_struct", "fdt")?,
        fdt_max_fds: at("fdtable", "max_fds")?,
        fdt_fd: at("fdtable", "fd")?,
        file_inode: at("file", "f_inode")?,
        file_private_data: at("file", "private_data")?,
        inode_mode: at("inode", "i_mode")?,
        socket_sk: at("socket", "sk")?,
        sock_family: at("sock", "__sk_common.skc_family")?,
        sock_state: at("sock", "__sk_common.skc_state")?,
        sock_num: at("sock", "__sk_common.skc_num")?,
        sock_dport: at("sock", "__sk_common.skc_dport")?,
        sock_rcv_saddr: at("sock", "__sk_common.skc_rcv_saddr")?,
        sock_daddr: at("sock", "__sk_common.skc_daddr")?,
        sock_v6_rcv_saddr: optional("sock", "__sk_common.skc_v6_rcv_saddr"),
        sock_v6_daddr: optional("sock", "__sk_common.skc_v6_daddr"),
        sock_net: optional("sock", "__sk_common.skc_net.net"),
        sock_protocol: at("sock", "sk_protocol")?,
        sock_err: at("sock", "sk_err")?,
        sock_err_soft: at("sock", "sk_err_soft")?,
        inet_sport: at("inet_sock", "inet_sport")?,
        net_inum: at("net", "ns.inum")?,
        icsk_ulp_ops: at("inet_connection_sock", "icsk_ulp_ops")?,
        tcp_write_seq: at("tcp_sock", "write_seq")?,
        tcp_copied_seq: at("tcp_sock", "copied_seq")?,
        tcp_segs_out: at("tcp_sock", "segs_out")?,
        tcp_bytes_sent: at("tcp_sock", "bytes_sent")?,
        tcp_bytes_received: at("tcp_sock", "bytes_received")?,
        pid_level: at("pid", "level")?,
        pid_numbers: at("pid", "numbers")?,
        upid_size: btf.size("upid")?,
        upid_nr: at("upid", "nr")?,
        upid_ns: at("upid", "ns")?,
        pidns_inum: at("pid_namespace", "ns.inum")?,
        task_cgroups: group("task_struct", "cgroups")?,
        css_set_subsys: controller.map_or(Ok(ABSENT), |controller| subsystem(btf, controller))?,
        css_cgroup: group("cgroup_subsys_state", "cgroup")?,
        css_set_dfl_cgrp: group("css_set", "dfl_cgrp")?,
        cgroup_kn: group("cgroup", "kn")?,
        kernfs_id: group("kernfs_node", "id")?,
        kernfs_name: group("kernfs_node", "name")?,
        // Since Linux 6.15 with underscores: it changes under those who do not hold its lock.
        kernfs_parent: at("kernfs_node", "parent").or_else(|_renamed| group("kernfs_node", "__parent"))?,
        message_left: optional("msghdr", "msg_iter.count"),
        skb_dev: at("sk_buff", "dev")?,
        skb_len: at("sk_buff", "len")?,
        skb_head: at("sk_buff", "head")?,
        skb_data: at("sk_buff", "data")?,
        skb_protocol: at("sk_buff", "protocol")?,
        skb_network_header: at("sk_buff", "network_header")?,
        skb_nfct: optional("sk_buff", "_nfct"),
        skb_seq: at("sk_buff", "cb")? + at("tcp_skb_cb", "seq")?,
        skb_end_seq: at("sk_buff", "cb")? + at("tcp_skb_cb", "end_seq")?,
        dev_name: at("net_device", "name")?,
        dev_net: optional("net_device", "nd_net.net"),
        tcp_rcv_nxt: at("tcp_sock", "rcv_nxt")?,
        tcp_total_retrans: at("tcp_sock", "total_retrans")?,
        ct_status: optional("nf_conn", "status"),
        ct_tuples: match (at("nf_conn", "tuplehash"), at("nf_conntrack_tuple_hash", "tuple")) {
            (Ok(hashes), Ok(tuple)) => hashes + tuple,
            (Err(_), _) | (_, Err(_)) => ABSENT,
        },
        ct_tuple_size: btf.size("nf_conntrack_tuple_hash").unwrap_or(ABSENT),
        ..Offsets::default()
    };
    at_sockets(btf, source, &offsets)
}

/// Adds the fields that the source at sockets reads.
fn at_sockets(btf: &Btf, source: Source, offsets: &Offsets) -> Result<Offsets, BtfError> {
    let at = |structure, field| match source {
        Source::Socket => btf.offset(structure, field),
        Source::Syscall => Ok(ABSENT),
    };
    Ok(Offsets {
        task_flags: at("task_struct", "flags")?,
        skb_sk: at("sk_buff", "sk")?,
        sock_socket: at("sock", "sk_socket")?,
        socket_file: at("socket", "file")?,
        message_name: at("msghdr", "msg_name")?,
        message_name_len: at("msghdr", "msg_namelen")?,
        message_flags: at("msghdr", "msg_flags")?,
        message_sends: at("msghdr", "msg_iter.data_source")?,
        ..*offsets
    })
}

/// Where a set of control groups has its group in a controller's hierarchy.
fn subsystem(btf: &Btf, controller: &str) -> Result<u32, BtfError> {
    let index = btf.enumerator("cgroup_subsys_id", &format!("{controller}_cgrp_id"))?;
    Ok(btf.offset("css_set", "subsys")? + index * POINTER_BYTES)
}
