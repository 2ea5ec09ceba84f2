//! Calls of every size and shape: what is captured of them, and that nothing of it is wrong.

use std::{
    io::Read as _,
    mem::MaybeUninit,
    os::fd::{AsRawFd as _, RawFd},
    thread,
    time::Duration,
};

use capturer::kernel::Source;
use capturer_ebpf::layout::{Verdict, direction, flag, verdict};

use super::{Capture, Seen, pair};

/// Payload of a call that is captured whole, whatever its shape.
const WHOLE: usize = 320 << 10;

/// Payload at the front and the end of a larger one.
const FRONT: usize = 256 << 10;
const END: usize = 64 << 10;

/// A ring that a whole test fills less than half.
pub(super) const RING: u32 = 64 << 20;

/// How bytes are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// `write` and `read`.
    Plain,
    /// `sendto`, and `recvfrom` that waits for all.
    Addressed,
    /// `writev` and `readv`.
    Vectors,
    /// `sendmsg` and `recvmsg`.
    Message,
    /// `sendmmsg` and `recvmmsg`, so many messages.
    Messages(usize),
}

/// The byte at a position of a stream.
pub(super) fn truth(position: usize) -> u8 {
    ((position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

pub(super) fn checked(result: isize) -> usize {
    usize::try_from(result).unwrap_or_else(|_| panic!("{}", std::io::Error::last_os_error()))
}

/// Cuts `bytes` into `count` buffers of uneven lengths, some of them empty.
pub(super) fn vectors(bytes: &mut [u8], count: usize) -> Vec<libc::iovec> {
    let mut rest = bytes;
    (0..count)
        .map(|index| {
            let left = count - index;
            let even = rest.len().div_ceil(left);
            let len = if left == 1 { rest.len() } else { (even * (index % 3) + index % 2).min(rest.len()) };
            let (part, behind) = std::mem::take(&mut rest).split_at_mut(len);
            rest = behind;
            libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() }
        })
        .collect()
}

pub(super) fn header(vectors: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: all zeros is a message without address, buffers and control data.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = vectors.as_mut_ptr();
    message.msg_iovlen = vectors.len();
    message
}

fn messages(vectors: &mut [libc::iovec], count: usize) -> Vec<libc::mmsghdr> {
    let each = vectors.len().div_ceil(count);
    vectors.chunks_mut(each).map(|part| libc::mmsghdr { msg_hdr: header(part), msg_len: 0 }).collect()
}

/// The bytes that one of several messages moved.
///
/// # Safety
/// The message's buffers are still there.
unsafe fn filled(message: &libc::mmsghdr) -> Vec<u8> {
    let mut bytes = Vec::new();
    for index in 0..message.msg_hdr.msg_iovlen {
        // SAFETY: the header names an array of so many buffers, and the caller says that they are there.
        let buffer = unsafe {
            let libc::iovec { iov_base, iov_len } = *message.msg_hdr.msg_iov.add(index);
            std::slice::from_raw_parts(iov_base.cast::<u8>(), iov_len)
        };
        bytes.extend_from_slice(buffer);
    }
    bytes.truncate(message.msg_len as usize);
    bytes
}

/// Moves bytes by one call, and returns how many it moved.
pub(super) fn transfer(socket: RawFd, outwards: bool, call: Call, count: usize, bytes: &mut [u8]) -> usize {
    let mut buffers = vectors(bytes, count);
    let len = bytes.len();
    let some = i32::try_from(buffers.len()).unwrap();
    let mut message = header(&mut buffers);
    // SAFETY: buffers, headers and bytes live through the calls, which stay within them.
    unsafe {
        match (call, outwards) {
            (Call::Plain, true) => checked(libc::write(socket, bytes.as_ptr().cast(), len)),
            (Call::Plain, false) => checked(libc::read(socket, bytes.as_mut_ptr().cast(), len)),
            (Call::Addressed, true) => checked(libc::send(socket, bytes.as_ptr().cast(), len, 0)),
            (Call::Addressed, false) => {
                checked(libc::recv(socket, bytes.as_mut_ptr().cast(), len, libc::MSG_WAITALL))
            }
            (Call::Vectors, true) => checked(libc::writev(socket, buffers.as_ptr(), some)),
            (Call::Vectors, false) => checked(libc::readv(socket, buffers.as_ptr(), some)),
            (Call::Message, true) => checked(libc::sendmsg(socket, &raw const message, 0)),
            (Call::Message, false) => checked(libc::recvmsg(socket, &raw mut message, 0)),
            (Call::Messages(many), _) => {
                let mut headers = messages(&mut buffers, many);
                let (at, all) = (headers.as_mut_ptr(), u32::try_from(headers.len()).unwrap());
                let moved = if outwards {
                    libc::sendmmsg(socket, at, all, 0)
                } else {
                    libc::recvmmsg(socket, at, all, libc::MSG_WAITFORONE as _, std::ptr::null_mut())
                };
                headers.truncate(checked(moved as isize));
                let got: Vec<u8> = headers.iter().flat_map(|header| filled(header)).collect();
                bytes[..got.len()].copy_from_slice(&got);
                got.len()
            }
        }
    }
}

impl Seen {
    /// The captured runs of the call at `index`, with their offsets.
    pub(super) fn runs(&self, index: usize) -> Vec<(usize, &[u8])> {
        let (head, payload) = &self.moved[index];
        let before = self.pieces[index].iter().map(|run| (run.offset as usize, run.bytes.as_slice()));
        let own = (head.offset as usize, payload.as_slice());
        before.chain([own]).filter(|(_, bytes)| !bytes.is_empty()).collect()
    }
}

/// The events of each call of one direction, by index. A call on several messages is as many events where sockets tell.
fn calls(seen: &Seen, port: u16, direction: u8, expected: &[usize], what: &str) -> Vec<Vec<usize>> {
    let of_direction = |index: &usize| {
        let head = &seen.moved[*index].0;
        head.connection.local_port == port && head.direction == direction
    };
    let mut events = (0..seen.moved.len()).filter(of_direction).peekable();
    let calls = expected.iter().map(|len| {
        let mut left = *len;
        let mut call = Vec::new();
        while left > 0 {
            let index = events.next().unwrap_or_else(|| panic!("{what}: {left} of {len} were not seen"));
            let moved = seen.moved[index].0.moved as usize;
            assert!(moved <= left, "{what}: {moved} bytes are more than {left} of {len}");
            call.push(index);
            left -= moved;
        }
        assert!(super::source() == Source::Socket || call.len() == 1, "{what}: {} events", call.len());
        call
    });
    let calls = calls.collect();
    assert_eq!(events.peek(), None, "{what}: more than was moved");
    calls
}

/// Checks that the calls of one direction are the stream, and that each holds what it has to.
fn check(seen: &Seen, port: u16, direction: u8, expected: &[usize], what: &str) {
    let mut position = 0;
    for (call, len) in calls(seen, port, direction, expected, what).into_iter().zip(expected.iter().copied())
    {
        let mut covered = 0;
        let (mut reached, mut end_covered) = (0, 0);
        let mut before = 0;
        for index in call {
            let head = &seen.moved[index].0;
            assert_eq!(head.flags & (flag::FAULT | flag::NO_PAYLOAD), 0, "{what}");
            assert_eq!(head.counter as usize, position + before, "{what}");
            for (offset, bytes) in seen.runs(index) {
                let offset = before + offset;
                assert!(offset + bytes.len() <= len, "{what}: {offset} + {} of {len}", bytes.len());
                let wrong = (position + offset..).zip(bytes).position(|(at, byte)| truth(at) != *byte);
                assert_eq!(wrong, None, "{what}: a wrong byte behind {offset} of {len}");
                if offset <= covered {
                    covered = covered.max(offset + bytes.len());
                }
                let joined = if offset == reached { end_covered } else { 0 };
                reached = offset + bytes.len();
                end_covered = joined + bytes.len();
            }
            before += head.moved as usize;
        }
        if len <= WHOLE {
            assert_eq!(covered, len, "{what}: captured whole");
        } else {
            assert!(
                covered >= FRONT && reached == len && end_covered >= END,
                "{what}: {covered} and {end_covered} of {len}"
            );
        }
        position += len;
    }
}

/// Sends the stream by `sizes`, each in one call, reads it by another kind of call, and checks both ends.
fn move_and_check(out: (Call, usize), inwards: (Call, usize), sizes: &[usize], buffer: usize) {
    let (client, server, port) = pair("127.0.0.1:0");
    let server_port = server.local_addr().unwrap().port();
    let Some(mut capture) = Capture::start(port, RING) else { return };
    let total: usize = sizes.iter().sum();
    let reader = thread::spawn(move || {
        let (mut got, mut calls) = (0, Vec::new());
        while got < total {
            let mut bytes = vec![0; buffer.min(total - got)];
            let len = transfer(server.as_raw_fd(), false, inwards.0, inwards.1, &mut bytes);
            assert!(bytes[..len].iter().zip(got..).all(|(byte, at)| *byte == truth(at)));
            calls.push(len);
            got += len;
        }
        calls
    });
    let writer = thread::spawn({
        let sizes = sizes.to_vec();
        move || {
            let mut position = 0;
            for size in sizes {
                let mut bytes: Vec<u8> = (position..position + size).map(truth).collect();
                assert_eq!(transfer(client.as_raw_fd(), true, out.0, out.1, &mut bytes), size);
                position += size;
            }
        }
    });
    while !writer.is_finished() || !reader.is_finished() {
        capture.drain();
        thread::sleep(Duration::from_millis(1));
    }
    writer.join().unwrap();
    let reads = reader.join().unwrap();
    let (seen, totals) = capture.finish();
    let what = format!("{out:?} to {inwards:?} of {sizes:?}");
    assert_eq!((totals.ring, totals.miss, totals.fault, totals.map), (0, 0, 0, 0), "{what}");
    check(&seen, port, direction::OUT, sizes, &what);
    check(&seen, server_port, direction::IN, &reads, &what);
}

const SIZES: [usize; 14] =
    [1, 63, 64, 65, 4_096, 8_191, 8_193, 131_071, 131_072, 131_073, WHOLE, WHOLE + 1, 600_000, 3 << 20];

#[test]
fn single_buffers_of_any_size() {
    move_and_check((Call::Plain, 1), (Call::Plain, 1), &SIZES, 64 << 10);
    move_and_check((Call::Addressed, 1), (Call::Addressed, 1), &SIZES, 331_777);
}

#[test]
fn vectors_of_any_number() {
    for count in [1, 2, 64, 65, 272, 1_024] {
        move_and_check((Call::Vectors, count), (Call::Plain, 1), &SIZES, 4 << 20);
        move_and_check((Call::Message, count), (Call::Vectors, count), &SIZES, 300 << 10);
    }
}

#[test]
fn messages_of_a_stream_in_any_number() {
    for many in [1, 2, 8, 9, 300, 1_024] {
        let out = (Call::Messages(many), many.max(700));
        move_and_check(out, (Call::Message, 5), &SIZES[3..], 700 << 10);
    }
    move_and_check((Call::Plain, 1), (Call::Messages(8), 24), &SIZES, 1 << 20);
}

#[test]
fn calls_of_64_mib() {
    move_and_check((Call::Plain, 1), (Call::Plain, 1), &[64 << 20, 5], 1 << 20);
    move_and_check((Call::Vectors, 1_000), (Call::Vectors, 3), &[64 << 20, 5], 8 << 20);
}

#[test]
fn bytes_that_nobody_needs_are_left_out_to_the_byte() {
    let (client, mut server, port) = pair("127.0.0.1:0");
    let Some(mut capture) = Capture::start(port, RING) else { return };
    let mut first = vec![truth(0); 1];
    transfer(client.as_raw_fd(), true, Call::Plain, 1, &mut first);
    capture.drain();
    let id = capture.seen.moved[0].0.connection.id;
    let skip_until = 500_001;
    let verdict = Verdict { mode: verdict::TRACE, skip_until: [skip_until, 0], ..Verdict::default() };
    capture.kernel.decide(id, verdict).unwrap();
    let mut position = 1;
    for (call, count, size) in [
        (Call::Plain, 1, 100_000),
        (Call::Vectors, 7, 300_000),
        (Call::Vectors, 9, 100_000),
        (Call::Plain, 1, 100_000),
        (Call::Plain, 1, 100),
    ] {
        let mut bytes: Vec<u8> = (position..position + size).map(truth).collect();
        let reader = thread::spawn({
            let mut server = server.try_clone().unwrap();
            move || server.read_exact(&mut vec![0; size]).unwrap()
        });
        transfer(client.as_raw_fd(), true, call, count, &mut bytes);
        reader.join().unwrap();
        position += size;
    }
    server.read_exact(&mut [0]).unwrap();
    let (seen, _) = capture.finish();
    let sent = (0..seen.moved.len()).filter(|index| seen.moved[*index].0.direction == direction::OUT);
    let captured: Vec<Vec<(usize, usize)>> = sent
        .map(|index| seen.runs(index).iter().map(|(offset, bytes)| (*offset, bytes.len())).collect())
        .collect();
    // 1, ..100,001, ..400,001, ..500,001, ..600,001, ..600,101
    let expected = [vec![(0, 1)], vec![], vec![], vec![], vec![(0, 100_000)], vec![(0, 100)]];
    assert_eq!(captured, expected);
    assert!(seen.runs(0).iter().all(|(_, bytes)| *bytes == [truth(0)]));
}

#[test]
fn a_call_is_captured_from_where_it_is_needed() {
    for (call, count) in [(Call::Plain, 1), (Call::Vectors, 30), (Call::Messages(10), 30)] {
        let (client, mut server, port) = pair("127.0.0.1:0");
        let Some(mut capture) = Capture::start(port, RING) else { return };
        transfer(client.as_raw_fd(), true, Call::Plain, 1, &mut [truth(0)]);
        capture.drain();
        let id = capture.seen.moved[0].0.connection.id;
        let verdict = Verdict { mode: verdict::TRACE, skip_until: [90_001, 0], ..Verdict::default() };
        capture.kernel.decide(id, verdict).unwrap();
        let reader = thread::spawn(move || server.read_exact(&mut vec![0; 100_001]).unwrap());
        let mut bytes: Vec<u8> = (1..100_001).map(truth).collect();
        assert_eq!(transfer(client.as_raw_fd(), true, call, count, &mut bytes), 100_000);
        reader.join().unwrap();
        let (seen, _) = capture.finish();
        let sent: Vec<usize> =
            (0..seen.moved.len()).filter(|index| seen.moved[*index].0.direction == direction::OUT).collect();
        // Behind the first byte, all in one call.
        let runs: Vec<(usize, &[u8])> = sent[1..]
            .iter()
            .flat_map(|index| {
                let before = seen.moved[*index].0.counter as usize - 1;
                seen.runs(*index).into_iter().map(move |(offset, bytes)| (before + offset, bytes))
            })
            .collect();
        let total: usize = runs.iter().map(|(_, bytes)| bytes.len()).sum();
        assert_eq!((runs[0].0, total), (90_000, 10_000), "{call:?}");
        for (offset, bytes) in runs {
            assert!(bytes.iter().zip(1 + offset..).all(|(byte, at)| *byte == truth(at)), "{call:?}");
        }
    }
}

#[test]
fn memory_that_cannot_be_read_is_a_hole_and_the_rest_is_there() {
    let (client, mut server, port) = pair("127.0.0.1:0");
    let Some(capture) = Capture::start(port, RING) else { return };
    let (head, tail) = (b"before", b"behind");
    // A page that nobody touched is not in memory: the call reads zeros, the program finds nothing.
    let len = 4_096;
    // SAFETY: a fresh private mapping, given back below.
    let page = unsafe {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        libc::mmap(std::ptr::null_mut(), len, prot, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    let parts = [
        libc::iovec { iov_base: head.as_ptr().cast_mut().cast(), iov_len: head.len() },
        libc::iovec { iov_base: page, iov_len: len },
        libc::iovec { iov_base: tail.as_ptr().cast_mut().cast(), iov_len: tail.len() },
    ];
    // SAFETY: the buffers live through the call.
    let sent = checked(unsafe { libc::writev(client.as_raw_fd(), parts.as_ptr(), 3) });
    assert_eq!(sent, len + 12);
    let mut got = vec![0; sent];
    server.read_exact(&mut got).unwrap();
    // SAFETY: the mapping made above.
    unsafe { libc::munmap(page, len) };
    let (seen, totals) = capture.finish();
    let index = seen.moved.iter().position(|(head, _)| head.direction == direction::OUT).unwrap();
    assert_eq!(seen.moved[index].0.moved as usize, sent);
    // The call itself has brought the page into memory, so most kernels find it: then all is there.
    let total: usize = seen.runs(index).iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(total == sent, totals.fault == 0);
    assert_eq!(seen.runs(index).last().map(|(_, bytes)| bytes.ends_with(tail)), Some(true));
}

#[test]
fn a_small_ring_loses_pieces_and_says_how_much_is_missing() {
    let (client, mut server, port) = pair("127.0.0.1:0");
    let Some(mut capture) = Capture::start(port, 128 << 10) else { return };
    let total = 40 * 100_000;
    let reader = thread::spawn(move || server.read_exact(&mut vec![0; total]).unwrap());
    for call in 0..40 {
        let mut bytes: Vec<u8> = (call * 100_000..(call + 1) * 100_000).map(truth).collect();
        transfer(client.as_raw_fd(), true, Call::Vectors, 50, &mut bytes);
    }
    reader.join().unwrap();
    capture.drain();
    let (seen, _) = capture.finish();
    for index in 0..seen.moved.len() {
        let head = &seen.moved[index].0;
        if head.direction != direction::OUT {
            continue;
        }
        for (offset, bytes) in seen.runs(index) {
            assert!(offset + bytes.len() <= head.moved as usize);
            let at = head.counter as usize + offset;
            assert!(bytes.iter().zip(at..).all(|(byte, at)| *byte == truth(at)));
        }
    }
}
