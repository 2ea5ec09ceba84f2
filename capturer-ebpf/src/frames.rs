//! Messages within a large call: where each begins, and of which not all is wanted.
//!
//! Nobody relies on it: what was passed over wrongly is a hole for the decoder, which reads on behind it. So nothing here
//! asks whether the bytes are valid, only whether a length makes sense.

use capturer_ebpf::layout::{Framing, framing};

use crate::{
    kernel::barrier,
    memory::{Cursor, Scratch},
    scratch::{FILL_MASK, LARGEST_HEAD, LONGEST_HEADER, User, gathered, scratch},
};

/// Messages that are followed after each step of copying, at most: twice as many as the smallest lines it may hold.
const MAX_FRAMES: u32 = 4096;

/// Longest message that is believed: more than any protocol allows.
const LONGEST_MESSAGE: u64 = 1 << 30;

/// Bytes that are not worth a window of their own.
const WORTH_PASSING: u64 = 8192;

/// What following one message says: go on.
const FRAME_FOLLOWED: u32 = 1;
/// The next header is not gathered yet, or none is looked for.
const FRAME_UNKNOWN: u32 = 0;

/// Follows the messages whose headers are gathered.
#[inline(always)]
pub(crate) fn follow() {
    let mut frame = 0;
    while frame < MAX_FRAMES {
        if follow_frame() == FRAME_UNKNOWN {
            break;
        }
        frame += 1;
    }
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
    let header = if cursor.framing.kind == framing::LINES {
        line(gathered, at, cursor.fill)
    } else {
        prefix(&cursor.framing, gathered, at, cursor.fill)
    };
    let Header { bytes, rest } = match header {
        Found::Header(header) => header,
        Found::NotYet => return FRAME_UNKNOWN,
        Found::Nonsense => {
            cursor.give_up(0);
            return FRAME_UNKNOWN;
        }
    };
    take(cursor, bytes, rest)
}

/// The beginning of a message: its header and what follows it.
struct Header {
    bytes: u64,
    rest: u64,
}

/// What is found where a message should begin.
enum Found {
    Header(Header),
    NotYet,
    Nonsense,
}

/// Goes on behind a message; a large one is copied in part.
#[inline(always)]
fn take(cursor: &mut Cursor, header: u64, rest: u64) -> u32 {
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
fn prefix(framing: &Framing, gathered: *mut u8, at: u64, fill: u64) -> Found {
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
    Found::Header(Header { bytes: header, rest: whole - header })
}

/// A line; those of bulks announce so many bytes and a line end.
#[inline(always)]
fn line(gathered: *mut u8, at: u64, fill: u64) -> Found {
    let kind = byte(gathered, at) as u8;
    let bulk = matches!(kind, b'$' | b'=' | b'!');
    let other =
        matches!(kind, b'+' | b'-' | b':' | b'*' | b'_' | b',' | b'#' | b'(' | b'%' | b'~' | b'>' | b'|');
    if !bulk && !other {
        return Found::Nonsense;
    }
    let mut number = 0_u64;
    let mut digits = true;
    let mut index = 1;
    while index < LONGEST_HEADER {
        if at + index + 1 >= fill {
            return Found::NotYet;
        }
        let byte = byte(gathered, at + index);
        if byte == u64::from(b'\r') {
            let rest = if bulk && digits { number + 2 } else { 0 };
            return if rest > LONGEST_MESSAGE {
                Found::Nonsense
            } else {
                Found::Header(Header { bytes: index + 2, rest })
            };
        }
        let digit = byte.wrapping_sub(u64::from(b'0'));
        // `$-1` is a bulk without bytes.
        digits &= digit < 10;
        number = (number * 10 + digit) & 0xffff_ffff_ffff;
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
