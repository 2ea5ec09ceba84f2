//! Messages within a large call: where each begins, and of which not all is wanted.
//!
//! Nobody relies on it: what was passed over wrongly is a hole for the decoder, which reads on behind it. So nothing here
//! asks whether the bytes are valid, only whether a length makes sense.

use capturer_ebpf::layout::framing;

use crate::{
    kernel::{barrier, load, store},
    memory::{Cursor, Scratch},
    scratch::{FILL_MASK, LARGEST_HEAD, LONGEST_HEADER, User, gathered, scratch},
};

/// Messages that are followed in one go, and goes after each step of copying, at most: together twice as many as the
/// smallest lines it may hold. A loop of loops, since verifiers walk
/// through each round of one; not unrolled ([`barrier`]), since they walk through all ways of calls.
const GO_FRAMES: u64 = 64;
const MAX_GOES: u64 = 64;

/// Longest message that is believed: more than any protocol allows.
const LONGEST_MESSAGE: u64 = 1 << 30;

/// What a line's number is cut to, and the mark of a line that is none.
const LARGEST_NUMBER: u64 = (1 << 48) - 1;
const NO_NUMBER: u64 = 1 << 63;

/// Bytes that are not worth a window of their own.
const WORTH_PASSING: u64 = 8192;

/// What following one message says: go on.
const FRAME_FOLLOWED: u32 = 1;
/// The next header is not gathered yet, or none is looked for.
const FRAME_UNKNOWN: u32 = 0;

/// Follows the messages whose headers are gathered.
#[inline(always)]
pub(crate) fn follow() {
    let mut go = 0_u64;
    while go < MAX_GOES {
        if follow_frames() == FRAME_UNKNOWN {
            break;
        }
        go = barrier(go + 1);
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn follow_frames() -> u32 {
    let mut frame = 0_u64;
    while frame < GO_FRAMES {
        if follow_frame() == FRAME_UNKNOWN {
            return FRAME_UNKNOWN;
        }
        frame = barrier(frame + 1);
    }
    FRAME_FOLLOWED
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn follow_frame() -> u32 {
    let (Some(Scratch { cursor, .. }), Some(gathered)) = (scratch(User::Calls), gathered()) else {
        return FRAME_UNKNOWN;
    };
    if cursor.frame >= cursor.at || cursor.frame < cursor.begin {
        return FRAME_UNKNOWN;
    }
    if cursor.frames_left == 0 {
        let left = cursor.left;
        cursor.give_up(left);
        return FRAME_UNKNOWN;
    }
    cursor.frames_left -= 1;
    let at = cursor.frame - cursor.begin;
    let found = if cursor.framing.kind == framing::LINES {
        line(cursor, gathered, at)
    } else {
        prefix(cursor, gathered, at)
    };
    match found {
        Found::Header => take(cursor),
        Found::NotYet => FRAME_UNKNOWN,
        Found::Nonsense => {
            cursor.give_up(0);
            FRAME_UNKNOWN
        }
    }
}

/// What is found where a message should begin. Lengths are in the cursor: read from there, they are numbers of which a
/// verifier knows nothing, and it follows what comes behind once, not for each length that a header may have.
enum Found {
    Header,
    NotYet,
    Nonsense,
}

/// Goes on behind a message; a large one is copied in part.
#[inline(always)]
fn take(cursor: &mut Cursor) -> u32 {
    let (header, rest) = (load(&raw const cursor.header), load(&raw const cursor.rest));
    let next = cursor.frame + header + rest;
    let keep = framing::UNIT * u64::from(cursor.framing.keep.max(1));
    let wanted = (cursor.frame + header + keep).max(cursor.front).max(cursor.at);
    cursor.frame = next;
    if next <= wanted + WORTH_PASSING {
        return FRAME_FOLLOWED;
    }
    if wanted < cursor.end {
        cursor.until = wanted;
    }
    cursor.next = next;
    FRAME_UNKNOWN
}

/// A header of fixed size that holds the length.
#[inline(always)]
fn prefix(cursor: &mut Cursor, gathered: *mut u8, at: u64) -> Found {
    let Cursor { framing, fill, .. } = *cursor;
    let header = u64::from(framing.header);
    if at + header > fill {
        return Found::NotYet;
    }
    let mut length = 0;
    let mut index = 0;
    while index < 4 {
        if index < u64::from(framing.width) {
            let byte = byte(gathered, at + u64::from(framing.at) + index);
            length = if framing.big_endian != 0 { length << 8 | byte } else { length | byte << (8 * index) };
        }
        index += 1;
    }
    let whole = length + u64::from(framing.beyond);
    if whole < header || whole > LONGEST_MESSAGE {
        return Found::Nonsense;
    }
    store(&raw mut cursor.header, header);
    store(&raw mut cursor.rest, whole - header);
    Found::Header
}

/// A line; those of bulks announce so many bytes and a line end.
#[inline(always)]
fn line(cursor: &mut Cursor, gathered: *mut u8, at: u64) -> Found {
    let kind = byte(gathered, at) as u8;
    let bulk = matches!(kind, b'$' | b'=' | b'!');
    let other =
        matches!(kind, b'+' | b'-' | b':' | b'*' | b'_' | b',' | b'#' | b'(' | b'%' | b'~' | b'>' | b'|');
    if !bulk && !other {
        return Found::Nonsense;
    }
    store(&raw mut cursor.rest, 0);
    let mut index = 1;
    while index < LONGEST_HEADER {
        if at + index + 1 >= load(&raw const cursor.fill) {
            return Found::NotYet;
        }
        let byte = byte(gathered, at + index);
        let number = load(&raw const cursor.rest);
        if byte == u64::from(b'\r') {
            let rest = if bulk && number & NO_NUMBER == 0 { number + 2 } else { 0 };
            store(&raw mut cursor.header, index + 2);
            store(&raw mut cursor.rest, rest);
            return if rest > LONGEST_MESSAGE { Found::Nonsense } else { Found::Header };
        }
        let digit = byte.wrapping_sub(u64::from(b'0'));
        // `$-1` is a bulk without bytes.
        let other = if digit < 10 { number & NO_NUMBER } else { NO_NUMBER };
        store(&raw mut cursor.rest, (number * 10 + digit) & LARGEST_NUMBER | other);
        index += 1;
    }
    Found::Nonsense
}

/// A byte that is gathered.
#[inline(always)]
fn byte(gathered: *mut u8, at: u64) -> u64 {
    // SAFETY: below the fill's mask, behind which there is room for the longest header.
    u64::from(unsafe { *gathered.add((LARGEST_HEAD + (barrier(at) & FILL_MASK)) as usize) })
}
