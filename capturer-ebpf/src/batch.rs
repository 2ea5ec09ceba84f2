//! Which message of a call that moves several is the one that moved just now.
//!
//! The kernel tells of each message by itself, and neither its number nor where calls begin. So messages are counted by
//! thread: a call moves them in order, and ends when all are moved, with an error or with a message that was moved in
//! part, all of which is told. Two kinds of calls end without a word, and of those no message has a text: those with a time
//! limit, and those that may have been waiting in the middle when the capture began.

use aya_ebpf::{macros::map, maps::LruHashMap};
use capturer_ebpf::layout::direction;

use crate::{
    arguments::{Arguments, MESSAGES_STRIDE, MSG_DONTWAIT, MSG_WAITFORONE},
    memory::{Call, Shape},
    running,
};

/// Where a thread stands in a call.
#[repr(C)]
#[derive(Clone, Copy)]
struct Batch {
    sk: u64,
    base: u64,
    count: u64,
    /// The next message.
    next: u32,
    /// 1 when nobody knows.
    unsure: u32,
}

#[map]
static BATCHES: LruHashMap<u64, Batch> = LruHashMap::with_max_entries(4096, 0);

/// Makes a call on one message out of a call on several: the next one of the running thread, `key`.
#[inline(never)]
pub(crate) fn next(call: &mut Call, key: u64, first_call: u64) -> u64 {
    let Call { sk, base, count, .. } = *call;
    // SAFETY: a value of the map, valid while this program runs.
    let known = BATCHES.get_ptr(key).map(|batch| unsafe { *batch });
    let known = known.filter(|batch| (batch.sk, batch.base, batch.count) == (sk, base, count));
    let (at, unsure) = match known {
        Some(batch) if u64::from(batch.next) < count => (batch.next, batch.unsure),
        Some(batch) => (0, batch.unsure),
        None => (0, u32::from(first_call != 0 && call.direction == direction::IN && may_wait())),
    };
    let _: Result<(), i32> = BATCHES.insert(key, Batch { sk, base, count, next: at + 1, unsure }, 0);
    if unsure != 0 || (call.direction == direction::IN && has_limit()) {
        call.shape = Shape::Elsewhere;
        return 0;
    }
    call.shape = Shape::Message;
    call.base = base.wrapping_add(u64::from(at) * MESSAGES_STRIDE);
    0
}

/// The call of a thread is over: nothing moved.
#[inline(always)]
pub(crate) fn over(key: u64) {
    if BATCHES.get_ptr(key).is_some() {
        let _: Result<(), i32> = BATCHES.remove(key);
    }
}

/// Whether the running call may wait for a message after others have come.
#[inline(always)]
fn may_wait() -> bool {
    flags_and_limit().is_none_or(|(flags, _)| flags & (MSG_DONTWAIT | MSG_WAITFORONE) == 0)
}

/// Whether the running call ends when its time is over.
#[inline(always)]
fn has_limit() -> bool {
    flags_and_limit().is_none_or(|(_, limit)| limit != 0)
}

#[inline(always)]
fn flags_and_limit() -> Option<(u32, u64)> {
    let (_, Arguments([_, _, _, flags, limit])) = running::call()?;
    Some((flags as u32, limit))
}
