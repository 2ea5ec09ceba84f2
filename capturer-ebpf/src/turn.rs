//! Turns: what is seen of a call while it holds its stream's lock, so that its place and its beginning are known when it
//! returns. Other threads' calls move the stream before that.
//!
//! A turn is kept in the connection's entry. While it is one thread's, another one's is kept beside it.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::map, maps::LruHashMap};
use capturer_ebpf::{
    layout::{coordinate, direction},
    settings::ABSENT,
};

use crate::{
    beginning, connection,
    kernel::{self, offset, read},
    memory::{Grip, StreamEntry, Turn},
    running, socket,
};

/// A thread at a socket.
#[repr(C)]
#[derive(Clone, Copy)]
struct Queued {
    sk: u64,
    thread: u32,
    direction: u32,
}

/// Turns of threads that share a socket with another one whose call has not returned.
#[map]
static TURNS: LruHashMap<Queued, Turn> = LruHashMap::with_max_entries(8192, 0);

/// `tcp_sendmsg_locked`: the running thread is about to append a piece of `message`. `false` when the connection is not
/// known.
#[inline(always)]
pub(crate) fn appending(sk: u64, message: u64) -> bool {
    if offset!(message_left) == ABSENT || !beginning::begun() {
        return true;
    }
    let Some(entry) = connection::lookup(sk) else { return false };
    // SAFETY: a value of the map, valid while this program runs.
    let entry = unsafe { &mut *entry };
    if !is_watched(entry) || running::in_kernel_thread() {
        return true;
    }
    let Some(left) = read::<u64>(message, offset!(message_left)) else { return true };
    let at = place(entry, sk, direction::OUT);
    with_turn(entry, sk, direction::OUT, |turn, thread| {
        if turn.thread != thread {
            begin(turn, thread, at);
            turn.bytes = left as u32;
        } else if at != turn.start.wrapping_add(turn.bytes.wrapping_sub(left as u32)) {
            turn.grip = Grip::Torn;
        }
    });
    true
}

/// `skb_copy_datagram_iovec`: so many bytes of a packet in a socket's queue are about to be copied to the running thread.
#[inline(always)]
pub(crate) fn copying(skb: u64, bytes: u32) {
    let Some(sk) = read::<u64>(skb, offset!(skb_sk)) else { return };
    if sk == 0 {
        return;
    }
    let Some(entry) = connection::lookup(sk) else { return };
    // SAFETY: a value of the map, valid while this program runs.
    let entry = unsafe { &mut *entry };
    if !is_watched(entry) {
        return;
    }
    let at = place(entry, sk, direction::IN);
    with_turn(entry, sk, direction::IN, |turn, thread| {
        if turn.thread == thread {
            if at != turn.start.wrapping_add(turn.bytes) {
                turn.grip = Grip::Torn;
            }
            turn.bytes = turn.bytes.wrapping_add(bytes);
        } else {
            begin(turn, thread, at);
            turn.bytes = bytes;
        }
    });
}

/// Takes the turn of the running thread's call, which is over.
#[inline(always)]
pub(crate) fn over(entry: &mut StreamEntry, sk: u64, direction: u8) -> Turn {
    let thread = thread();
    let slot = &mut entry.turns[usize::from(direction & 1)];
    if slot.thread == thread {
        // Whoever has the next turn, maybe already, takes the slot when it is nobody's, and not before.
        // SAFETY: the entry is borrowed.
        return unsafe {
            let turn = (&raw const *slot).read_volatile();
            (&raw mut slot.thread).write_volatile(0);
            turn
        };
    }
    if entry.crowded == 0 {
        return Turn::NONE;
    }
    let key = Queued { sk, thread, direction: direction.into() };
    // SAFETY: a value of the map, valid while this program runs; copied before it is removed.
    let Some(turn) = TURNS.get_ptr(key).map(|turn| unsafe { *turn }) else { return Turn::NONE };
    let _: Result<(), i32> = TURNS.remove(key);
    turn
}

/// Whether the running thread's call was seen at the stream.
#[inline(always)]
pub(crate) fn is_mine(entry: &StreamEntry, direction: u8) -> bool {
    entry.turns[usize::from(direction & 1)].thread == thread()
}

#[inline(always)]
fn thread() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

/// Whether anybody wants to know of a connection's calls.
#[inline(always)]
fn is_watched(entry: &StreamEntry) -> bool {
    (entry.excluded | entry.filtered | entry.ignored) == 0
}

#[inline(always)]
fn place(entry: &StreamEntry, sk: u64, direction: u8) -> u32 {
    let numbered = entry.connection.coordinate == coordinate::SEQUENCE;
    if numbered { socket::sequence(sk, direction) } else { 0 }
}

#[inline(always)]
fn begin(turn: &mut Turn, thread: u32, at: u32) {
    turn.at_ns = kernel::now();
    turn.start = at;
    turn.grip = Grip::Whole;
    turn.thread = thread;
}

/// Changes the running thread's turn.
#[inline(always)]
fn with_turn(entry: &mut StreamEntry, sk: u64, direction: u8, change: impl Fn(&mut Turn, u32)) {
    let thread = thread();
    let slot = &mut entry.turns[usize::from(direction & 1)];
    if slot.thread == 0 || slot.thread == thread {
        change(slot, thread);
        return;
    }
    entry.crowded = 1;
    let key = Queued { sk, thread, direction: direction.into() };
    // SAFETY: a value of the map, valid while this program runs; of this thread, which runs here and so nowhere else.
    let mut turn = TURNS.get_ptr(key).map_or(Turn::NONE, |turn| unsafe { *turn });
    change(&mut turn, thread);
    let _: Result<(), i32> = TURNS.insert(key, turn, 0);
}
