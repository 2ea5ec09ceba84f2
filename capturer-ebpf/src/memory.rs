//! What the programs keep: values of maps, and what they work with in memory of their own.
//!
//! Plain data: everything here may be used everywhere, and uses nothing itself but the layout that the capturer shares.

use capturer_ebpf::layout::{Connection, Framing, Moved, Opened, Verdict};

// === calls ===

/// How a call names its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Shape {
    /// `(fd, buffer, length, …)`.
    Buffer = 0,
    /// `(fd, buffer, length, flags, address, …)`.
    Addressed = 1,
    /// `(fd, iovec, count)`.
    Vector = 2,
    /// `(fd, msghdr, flags)`.
    Message = 3,
    /// `(fd, mmsghdr, count, flags, …)`.
    Messages = 4,
    /// `(out, in, …)`: bytes that do not pass through the process.
    Sendfile = 5,
    /// `(in, offset, out, …)`: the same, either way.
    Splice = 6,
    /// By no call of the thread that names the bytes (`io_uring` and the like): a length, and no text.
    Elsewhere = 7,
}

/// A call that has entered.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) sk: u64,
    pub(crate) enter_ns: u64,
    /// Buffer, vector or message, by `shape`.
    pub(crate) base: u64,
    /// Length of the buffer, or count of vectors or messages.
    pub(crate) count: u64,
    /// Where the process keeps the peer's address, 0 for nowhere.
    pub(crate) address: u64,
    /// Bytes that the call had to append when it first held the stream's lock.
    pub(crate) whole: u64,
    /// Id of the process's control group.
    pub(crate) cgroup: u64,
    pub(crate) s0: u32,
    /// Where its bytes begin, by `grip`.
    pub(crate) start: u32,
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    /// The call's own flags.
    pub(crate) message_flags: u32,
    pub(crate) shape: Shape,
    pub(crate) direction: u8,
    pub(crate) protocol: Protocol,
    /// 1 when `s0` says nothing: the socket was not open yet, or the call entered before the capture.
    pub(crate) unmarked: u8,
    /// 1 when the call entered before the capture.
    pub(crate) no_enter: u8,
    /// 1 when no map had room for the connection.
    pub(crate) unmapped: u8,
    /// What was seen of it under the stream's lock.
    pub(crate) grip: Grip,
    pub(crate) reserved: u8,
}

/// What was seen of a sending call while it held the stream's lock.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Grip {
    /// Nothing: the kernel does not show it, or the call is none that sends one message.
    None = 0,
    /// Its bytes lie side by side from `start` on.
    Whole = 1,
    /// It let go of the lock to wait for room, and others wrote meanwhile.
    Torn = 2,
}

/// A thread's turn at a stream: what was seen of a call while it held the stream's lock, until it returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    /// When it had its turn first.
    pub(crate) at_ns: u64,
    /// The thread, by the number that the kernel itself has for it; 0 for none.
    pub(crate) thread: u32,
    /// Where its bytes begin, by `grip`.
    pub(crate) start: u32,
    /// Sent: bytes that it had to append at first. Received: bytes that were copied so far.
    pub(crate) bytes: u32,
    pub(crate) grip: Grip,
    pub(crate) reserved: [u8; 3],
}

impl Turn {
    /// No turn.
    pub(crate) const NONE: Turn =
        Turn { at_ns: 0, thread: 0, start: 0, bytes: 0, grip: Grip::None, reserved: [0; 3] };
}

/// A thread whose calls are followed, and what they are reported with.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    /// The kernel's set of its control groups.
    pub(crate) groups: u64,
    /// Id of its control group.
    pub(crate) cgroup: u64,
    /// The thread, by the number that the kernel itself has for it; 0 for none.
    pub(crate) thread: u32,
    /// How often something had been decided about processes and groups by then.
    pub(crate) as_of: u32,
    pub(crate) pid: u32,
    pub(crate) tid: u32,
}

// === memory of the calling process ===

/// `struct user_msghdr` of the process.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Message {
    pub(crate) address: u64,
    pub(crate) address_len: u64,
    pub(crate) vectors: u64,
    pub(crate) count: u64,
    pub(crate) control: u64,
    pub(crate) control_len: u64,
    pub(crate) flags: u32,
    pub(crate) padding: u32,
}

impl Message {
    /// A message without buffers.
    pub(crate) const NONE: Message = Message {
        address: 0,
        address_len: 0,
        vectors: 0,
        count: 0,
        control: 0,
        control_len: 0,
        flags: 0,
        padding: 0,
    };
}

/// `struct iovec` of the process.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Vector {
    pub(crate) base: u64,
    pub(crate) len: u64,
}

// === sockets ===

/// What kind of socket is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Protocol {
    Tcp,
    Mptcp,
    Udp,
}

/// The two ends of a socket.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) family: u8,
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
    pub(crate) local: [u8; 16],
    pub(crate) remote: [u8; 16],
}

/// The two ends of a socket or a packet, as a key. Addresses are the 16 bytes of the event layout in two words, which the
/// kernel's machine moves at once.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Tuple {
    pub(crate) netns: u32,
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
    pub(crate) local: [u64; 2],
    pub(crate) remote: [u64; 2],
}

/// The followed connections with the same two ends, by the slot of each end.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Flow {
    /// Ids of the connections, 0 for none.
    pub(crate) ids: [u64; 2],
    /// Inodes of the namespaces of their sockets.
    pub(crate) netns: [u32; 2],
    /// How many namespaces have a socket with this end; with more than one nobody knows whose a packet is.
    pub(crate) claims: [u32; 2],
    /// 1 when the flow has other ends on the other side of a translation.
    pub(crate) translated: u32,
    pub(crate) reserved: u32,
}

/// The other ends of a flow, on the other side of a translation.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Alias {
    pub(crate) key: Tuple,
    /// 1 when the slots of the two ends have changed places.
    pub(crate) swapped: u32,
}

/// A followed TCP socket.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct StreamEntry {
    pub(crate) connection: Connection,
    /// Bytes moved by direction, since first sight.
    pub(crate) counter: [u64; 2],
    /// Where the next message begins by direction, by the same count, as far as large calls were followed.
    pub(crate) boundary: [u64; 2],
    /// Sequence numbers that reported calls covered, by direction.
    pub(crate) covered: [u64; 2],
    /// Sequence number at first sight, by direction.
    pub(crate) first: [u32; 2],
    /// The state of `PEERS` that `excluded` was last compared with.
    pub(crate) generation: u64,
    /// 1 when `first` is set, by direction.
    pub(crate) sighted: [u8; 2],
    /// 1 when the socket or its peer belongs to a session of this program.
    pub(crate) excluded: u8,
    /// 1 when the filters do not ask for it.
    pub(crate) filtered: u8,
    /// 1 while the ends are not known yet.
    pub(crate) fresh: u8,
    /// 1 once an event was sent.
    pub(crate) reported: u8,
    /// TCP state at first sight.
    pub(crate) born: u8,
    /// 1 when `last` is set.
    pub(crate) closed: u8,
    /// Sequence numbers when the connection was closed, by direction: a close without lingering moves the socket's own.
    pub(crate) last: [u32; 2],
    /// What the capturer decided about it, as of `decision`.
    pub(crate) verdict: Verdict,
    pub(crate) decision: u64,
    /// The rest is of the source at sockets: who made the last call.
    pub(crate) caller: Caller,
    /// The turn of a call that has not returned, by direction.
    pub(crate) turns: [Turn; 2],
    /// Where the last call's bytes ended, by direction, if `reached` says so.
    pub(crate) end: [u32; 2],
    /// The descriptors, and the one of them, by which a call reached the socket last.
    pub(crate) files: u64,
    pub(crate) descriptor: u32,
    /// 1 when `end` is set, by direction.
    pub(crate) reached: [u8; 2],
    /// 1 once two threads had turns at the same time.
    pub(crate) crowded: u8,
    /// 1 when the capturer wants nothing of it.
    pub(crate) ignored: u8,
}

/// A socket and a peer.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct DatagramKey {
    pub(crate) sk: u64,
    pub(crate) remote: [u8; 16],
    pub(crate) remote_port: u16,
    pub(crate) family: u16,
    pub(crate) reserved: u32,
}

/// What is known of a socket and a peer.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct DatagramEntry {
    pub(crate) connection: Connection,
    /// Datagrams by direction.
    pub(crate) counter: [u64; 2],
    pub(crate) excluded: u32,
    pub(crate) filtered: u32,
}

// === records being made ===

/// A record being made.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Draft {
    pub(crate) head: Moved,
    /// The only buffer, 0 when there are several.
    pub(crate) buffer: u64,
    /// The bytes of the call that are wanted: from here
    pub(crate) from: u64,
    /// up to here.
    pub(crate) until: u64,
}

/// Where the walk through a call's buffers stands.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Cursor {
    /// The array of messages, from the next one on, and how many it has.
    pub(crate) messages: u64,
    pub(crate) messages_left: u64,
    /// The array of buffers, from the next one on, and how many it has.
    pub(crate) vectors: u64,
    pub(crate) vectors_left: u64,
    /// The rest of the buffer.
    pub(crate) buffer: u64,
    pub(crate) buffer_left: u64,
    /// Bytes that the message moved, less those passed.
    pub(crate) message_left: u64,
    /// Bytes of the call passed.
    pub(crate) at: u64,
    /// Bytes of the call.
    pub(crate) end: u64,
    /// The window.
    pub(crate) from: u64,
    pub(crate) until: u64,
    /// Where the next window begins; 0 when none is known.
    pub(crate) next: u64,
    /// Where the last window begins; 0 when this one is it.
    pub(crate) tail: u64,
    /// Where the next message begins, if messages are followed.
    pub(crate) frame: u64,
    /// 1 when it is known that a message begins there.
    pub(crate) sure: u64,
    /// 1 while messages are followed.
    pub(crate) following: u64,
    /// Everything before this is copied, wherever messages seem to begin.
    pub(crate) front: u64,
    /// Bytes that may yet be copied while messages are followed, and how many of those may be followed.
    pub(crate) left: u64,
    pub(crate) frames_left: u64,
    /// Bytes of the header of the message that is looked at, and of what follows that.
    pub(crate) header: u64,
    pub(crate) rest: u64,
    /// Where in the call the bytes gathered begin, and how many they are.
    pub(crate) begin: u64,
    pub(crate) fill: u64,
    /// 1 when some memory of the process could not be read.
    pub(crate) failed: u64,
    /// Steps left of the whole call.
    pub(crate) steps: u64,
    /// What was decided of the connection.
    pub(crate) mode: u64,
    /// How messages are followed.
    pub(crate) framing: Framing,
    pub(crate) reserved: u8,
}

// === all of it ===

/// One program's working memory on one CPU.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    pub(crate) call: Call,
    pub(crate) draft: Draft,
    pub(crate) cursor: Cursor,
    pub(crate) entry: StreamEntry,
    pub(crate) opened: Opened,
    pub(crate) tuple: Tuple,
    pub(crate) message: Message,
    pub(crate) ends: Ends,
    /// Bytes of the datagram that is looked at, or of the messages of a call.
    pub(crate) bytes: u64,
    /// 1 when the address of `message` is one of the kernel's own.
    pub(crate) inner_address: u64,
    /// Where the registers of the running call are.
    pub(crate) registers: u64,
    pub(crate) datagram_key: DatagramKey,
    pub(crate) datagram_entry: DatagramEntry,
}
