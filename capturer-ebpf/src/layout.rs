//! What the kernel programs write to the rings and what the capturer writes back.
//!
//! Every structure is `repr(C)`, has no padding that is not named, and is the same on every kernel. Addresses and
//! ports are as a user reads them: ports in host order, addresses as 16 bytes in network order (IPv4 in the first 4).

/// Bytes of a command name, as in `task_struct.comm`.
pub const COMM_LEN: usize = 16;

/// What a record says; the first byte of every record.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Moved`]: a call moved bytes over a connection.
    Moved = 1,
    /// [`Ended`]: a connection's socket was destroyed or reused.
    Ended = 2,
    /// [`Process`]: a process began to run another program, or ended.
    Exec = 3,
    /// [`Process`]: a process ended.
    Exit = 4,
    /// [`Cgroup`]: a control group is seen for the first time.
    Cgroup = 5,
    /// [`Piece`]: some of the bytes of a call whose [`Moved`] follows.
    Piece = 6,
    /// [`Attempt`]: a connection was over before a byte went either way.
    Attempt = 7,
    /// [`Packet`]: a packet crossed an interface.
    Packet = 8,
    /// [`Arrival`]: bytes came into a socket.
    Arrival = 9,
    /// [`Retransmit`]: bytes were sent again.
    Retransmit = 10,
    /// [`Connected`]: how long a connection took to open.
    Connected = 11,
}

/// Direction of bytes, seen from the process that made the call.
pub mod direction {
    /// Sent.
    pub const OUT: u8 = 0;
    /// Received.
    pub const IN: u8 = 1;
}

/// How a connection was opened.
pub mod role {
    /// It was open before the capture began.
    pub const UNKNOWN: u8 = 0;
    /// This end connected.
    pub const CLIENT: u8 = 1;
    /// This end accepted.
    pub const SERVER: u8 = 2;
}

/// Transport of a connection, by its IP protocol number.
pub mod transport {
    /// TCP (also MPTCP, whose coordinate is the counter).
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
}

/// Which coordinate positions a connection's bytes.
pub mod coordinate {
    /// TCP sequence numbers `s0`, `s1`.
    pub const SEQUENCE: u8 = 1;
    /// The 64-bit byte counter in [`super::Moved::counter`].
    pub const COUNTER: u8 = 2;
}

/// Bits of [`Moved::flags`].
pub mod flag {
    /// The sequence numbers do not agree with the count: try `s1 - moved`, accept only without overlap.
    pub const UNANCHORED: u16 = 1 << 0;
    /// Part of the payload could not be read from the process (counted as `fault`).
    pub const FAULT: u16 = 1 << 1;
    /// The bytes were moved without passing through the process (sendfile, splice).
    pub const NO_PAYLOAD: u16 = 1 << 2;
    /// The bytes were discarded by the call (`MSG_TRUNC` on a stream).
    pub const DISCARDED: u16 = 1 << 3;
    /// The connection encrypts below the call (kTLS): bytes are plain text of a TLS connection.
    pub const KERNEL_TLS: u16 = 1 << 4;
    /// The call was already running when the capture began: `enter_ns` is the attach time.
    pub const NO_ENTER: u16 = 1 << 5;
    /// The datagram was longer than the receiver's buffer; `moved` is what it got.
    pub const CUT: u16 = 1 << 6;
    /// The call sent one byte more, after these: an urgent byte (`MSG_OOB`), which is no part of what the peer reads
    /// in order, but has a sequence number. So `s1 - s0` is `moved + 1`.
    pub const URGENT: u16 = 1 << 7;
    /// Nothing was seen of the call before its end: `enter_ns` is when it returned.
    pub const ONLY_END: u16 = 1 << 8;
}

/// The socket a record is about.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Made at first sight of the socket, never reused within a capture.
    pub id: u64,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Local port; 0 when unknown.
    pub local_port: u16,
    /// Remote port; 0 when unknown.
    pub remote_port: u16,
    /// Local address.
    pub local: [u8; 16],
    /// Remote address.
    pub remote: [u8; 16],
    /// 4 or 6; IPv4 addresses mapped into IPv6 are given as 4.
    pub family: u8,
    /// One of [`transport`].
    pub transport: u8,
    /// One of [`role`].
    pub role: u8,
    /// One of [`coordinate`].
    pub coordinate: u8,
    /// Zero.
    pub reserved: u32,
}

/// A call moved bytes; `captured` of them, from `offset` on, follow the structure. Others came before it, as [`Piece`]s.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// [`Kind::Moved`].
    pub kind: u8,
    /// One of [`direction`].
    pub direction: u8,
    /// Bits of [`flag`].
    pub flags: u16,
    /// Payload bytes that follow.
    pub captured: u32,
    /// The connection.
    pub connection: Connection,
    /// When the call entered, `CLOCK_MONOTONIC` nanoseconds. Where sockets tell of the bytes: when it first held the stream's
    /// lock with room to send, or began to copy what it received.
    pub enter_ns: u64,
    /// When it returned.
    pub exit_ns: u64,
    /// Bytes it moved.
    pub moved: u64,
    /// Bytes moved in this direction on this connection before this call, since first sight. Of datagrams: their
    /// ordinal.
    pub counter: u64,
    /// `write_seq` or `copied_seq` before the call.
    pub s0: u32,
    /// The same after the call.
    pub s1: u32,
    /// Process id (thread group) in the capturer's PID namespace.
    pub pid: u32,
    /// Thread id in the capturer's PID namespace.
    pub tid: u32,
    /// Command name of the thread group, NUL padded.
    pub comm: [u8; COMM_LEN],
    /// Id of the process's control group, 0 when the kernel has none.
    pub cgroup: u64,
    /// How many bytes of the call come before those that follow.
    pub offset: u32,
    /// Pieces of this call that the same ring took before.
    pub pieces: u32,
}

/// Some bytes of a call that moved more than fits one record; `captured` bytes follow the structure. The pieces of a
/// call come in order, all before its [`Moved`]; what no record holds was not captured.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// [`Kind::Piece`].
    pub kind: u8,
    /// One of [`direction`].
    pub direction: u8,
    /// Zero.
    pub reserved: u16,
    /// Payload bytes that follow.
    pub captured: u32,
    /// Id of the connection.
    pub connection: u64,
    /// [`Moved::counter`] of the call.
    pub counter: u64,
    /// Thread id in the capturer's PID namespace: a thread is in one call at a time.
    pub tid: u32,
    /// How many bytes of the call come before these.
    pub offset: u32,
}

/// A connection is over.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// [`Kind::Ended`].
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 7],
    /// The connection.
    pub connection: Connection,
    /// When, `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
    /// Bytes that TCP says were sent and acknowledged since first sight but no event accounted for.
    pub unseen_out: u64,
    /// Bytes that TCP says were received since first sight but no event accounted for.
    pub unseen_in: u64,
}

/// A connection that was over before a byte went either way.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// [`Kind::Attempt`].
    pub kind: u8,
    /// One of [`phase`]: how far it came.
    pub phase: u8,
    /// Zero.
    pub reserved: u16,
    /// The error number that the kernel gave the socket, or heard of from the network while it waited; 0 for none.
    pub error: u32,
    /// The connection; its id is 0.
    pub connection: Connection,
    /// When it was asked for, or, where this end accepted, when the handshake was done; `CLOCK_MONOTONIC` nanoseconds.
    pub begun_ns: u64,
    /// When it was over, 0 while it is not.
    pub at_ns: u64,
    /// Process id (thread group) of whoever connected or accepted, in the capturer's PID namespace; 0 when nobody asks for
    /// it, or nobody took the connection.
    pub pid: u32,
    /// Zero.
    pub unused: u32,
    /// Command name of that process, NUL padded.
    pub comm: [u8; COMM_LEN],
    /// Id of its control group, 0 when the kernel has none.
    pub cgroup: u64,
}

/// Bytes of an interface's name, as in `net_device.name`.
pub const INTERFACE_NAME_LEN: usize = 16;

/// Bits of [`Packet::flags`].
pub mod packet {
    /// The interface sends it; else it receives it.
    pub const TRANSMIT: u8 = 1 << 0;
    /// Its sender has no room for more.
    pub const ZERO_WINDOW: u8 = 1 << 1;
}

/// A packet with payload of a followed connection crossed an interface, or one that says that its sender has no room.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// [`Kind::Packet`].
    pub kind: u8,
    /// Bits of [`packet`].
    pub flags: u8,
    /// Zero.
    pub reserved: u16,
    /// Inode of the interface's network namespace.
    pub netns: u32,
    /// Connections that it belongs to: its sender's and its receiver's; 0 for one that is not followed.
    pub connections: [u64; 2],
    /// When, `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
    /// TCP sequence number of its first byte.
    pub seq: u32,
    /// Payload bytes; merged packets count as one.
    pub bytes: u32,
    /// Inodes of the namespaces of its sender's and its receiver's socket; 0 for unknown.
    pub sockets: [u32; 2],
    /// Name of the interface, NUL padded.
    pub name: [u8; INTERFACE_NAME_LEN],
}

/// Words of a record in a lane: those of the largest, a [`Packet`].
pub const LANE_WORDS: usize = size_of::<Packet>() / size_of::<u64>();

/// One record of a lane: memory in which a CPU tells of packets, and which the capturer reads by itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneSlot {
    /// A [`Packet`] or an [`Arrival`], by its first byte.
    pub words: [u64; LANE_WORDS],
    /// All words and the number of records that were written before, combined by exclusive or: a slot of which another
    /// CPU sees only parts yet does not match.
    pub check: u64,
}

/// How far a lane is written and read.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneEnds {
    /// Records that were ever written.
    pub written: u64,
    /// 1 while one is being written.
    pub busy: u64,
    /// Zero: what is written by others has a cache line of its own.
    pub reserved: [u64; 6],
    /// Records that the capturer took.
    pub read: u64,
    /// Zero.
    pub unused: [u64; 7],
}

/// Bytes came into a socket, in order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// [`Kind::Arrival`].
    pub kind: u8,
    /// 1 where `seq` ends one packet, of which nothing says whether all before it came; 0 where all up to it are there.
    pub alone: u8,
    /// Zero.
    pub reserved: u16,
    /// TCP sequence number behind the last byte.
    pub seq: u32,
    /// Id of the connection.
    pub connection: u64,
    /// When, `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
    /// Of one packet: its payload bytes.
    pub bytes: u32,
    /// Zero.
    pub unused: u32,
}

/// Bytes were sent again.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retransmit {
    /// [`Kind::Retransmit`].
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// TCP sequence number of the first byte.
    pub seq: u32,
    /// Id of the connection.
    pub connection: u64,
    /// When, `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
    /// How many bytes.
    pub bytes: u32,
    /// Segments that the connection has sent again so far, this included, as the kernel counts them.
    pub total: u32,
}

/// How long a connection took to open; told with its first call, by the end that connected.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// [`Kind::Connected`].
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 7],
    /// Id of the connection.
    pub connection: u64,
    /// When the SYN was sent, `CLOCK_MONOTONIC` nanoseconds.
    pub begun_ns: u64,
    /// When it was established.
    pub at_ns: u64,
}

/// How far a connection came.
pub mod phase {
    /// The other end has not answered.
    pub const OPENING: u8 = 0;
    /// The handshake is done.
    pub const OPEN: u8 = 1;
}

/// How a socket was opened, noted before its first call; the value of the map `OPENED`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What is reported should no byte go either way. [`Connection::role`] says which end it is; the rest of the
    /// connection is as the kernel had it when it was opened.
    pub attempt: Attempt,
    /// 1 when the process that opened it is excluded.
    pub excluded: u64,
}

/// A process changed its program or ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// [`Kind::Exec`] or [`Kind::Exit`].
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Process id in the capturer's PID namespace.
    pub pid: u32,
    /// When, `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
    /// Command name, NUL padded.
    pub comm: [u8; COMM_LEN],
    /// Id of the process's control group; 0 when the kernel has none, or when nothing was heard of the process before
    /// its end.
    pub cgroup: u64,
}

/// Levels of a control group's path that are told, from the inside out. A pod's containers are at most four levels
/// below it in any runtime, and services within a container three below that.
pub const CGROUP_LEVELS: usize = 10;

/// Bytes of a level's name with its terminating NUL. The longest names in use hold a pod and a container id.
pub const CGROUP_NAME_LEN: usize = 160;

/// A control group: a container, a service, a login.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// [`Kind::Cgroup`].
    pub kind: u8,
    /// How many of `names` are set.
    pub levels: u8,
    /// Zero.
    pub reserved: [u8; 6],
    /// Its id: the inode number of its directory.
    pub id: u64,
    /// When it was seen, `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
    /// Names of the directories of its path, itself first, NUL terminated.
    pub names: [[u8; CGROUP_NAME_LEN]; CGROUP_LEVELS],
}

/// What the capturer decided about a control group; written to the map `CGROUPS` under its id.
pub mod placement {
    /// Not decided: everything is sent.
    pub const UNDECIDED: u8 = 0;
    /// Everything is sent.
    pub const WANTED: u8 = 1;
    /// Nothing is sent.
    pub const UNWANTED: u8 = 2;
    /// It belongs to a session of this program: nothing is sent of it and of its peers.
    pub const OURS: u8 = 3;
}

/// What the capturer decided about a connection; written to the verdict map under the connection's id.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// One of [`verdict`].
    pub mode: u8,
    /// How its messages announce where they end.
    pub framing: Framing,
    /// By [`direction`]: bytes below this 64-bit counter value need no payload (their lengths are still reported).
    pub skip_until: [u64; 2],
}

/// How the messages of a stream announce where they end, so that of a large call the beginnings of all its messages
/// are captured.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Framing {
    /// One of [`framing`].
    pub kind: u8,
    /// Bytes of the header.
    pub header: u8,
    /// Where in the header the length is.
    pub at: u8,
    /// Bytes of the length, at most 4.
    pub width: u8,
    /// Bytes of a message that its length does not count.
    pub beyond: u8,
    /// 1 when the length's first byte is its highest.
    pub big_endian: u8,
    /// Bytes of a message that are wanted behind its header, in units of [`framing::UNIT`].
    pub keep: u8,
}

/// Values of [`Framing::kind`].
pub mod framing {
    /// Not so that it can be followed.
    pub const NONE: u8 = 0;
    /// A header of fixed size holds the length.
    pub const PREFIXED: u8 = 1;
    /// Lines, some of which announce so many bytes and one more line end (Redis).
    pub const LINES: u8 = 2;
    /// What [`super::Framing::keep`] counts, and the least that is kept.
    pub const UNIT: u64 = 64 * 1024;
}

/// Values of [`Verdict::mode`].
pub mod verdict {
    /// Not decided: send payload up to the budget.
    pub const UNDECIDED: u8 = 0;
    /// Decoded: send payload up to the budget.
    pub const TRACE: u8 = 1;
    /// Not interesting: send nothing more but its end.
    pub const IGNORE: u8 = 2;
}
