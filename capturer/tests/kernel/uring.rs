//! Bytes that go by no call which names them: `io_uring`, and calls of 32-bit programs.

use std::{
    io::{Read as _, Write as _},
    net::{TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    thread,
    time::Duration,
};

use capturer::kernel::Source;
use capturer_ebpf::layout::{Moved, coordinate, direction, flag};
use io_uring::{IoUring, opcode, squeue::Flags, types::Fd};

use super::{
    Capture,
    large::{header, vectors},
    pair, source,
};

/// A ring, or nothing where they are not allowed.
fn ring(polls: bool) -> Option<IoUring> {
    let mut builder = IoUring::builder();
    if polls {
        builder.setup_sqpoll(50);
    }
    let made = builder.build(8);
    if let Err(error) = &made {
        println!("skipped: no ring can be made: {error}");
    }
    made.ok()
}

/// What a ring is asked to do with a socket's bytes.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Plain,
    Addressed,
    Vectors,
    Message,
    WithoutCopy,
}

/// Who does it: the thread that asks, one of the ring's workers, or the thread that polls the ring.
#[derive(Clone, Copy, Debug)]
enum By {
    Asker,
    Worker,
    Poller,
}

/// Moves bytes by one operation of a ring, and returns how many it moved; `meanwhile` runs between asking and waiting.
fn transfer(
    ring: &mut IoUring,
    (socket, outwards): (i32, bool),
    (operation, by): (Operation, By),
    bytes: &mut [u8],
    meanwhile: impl FnOnce(),
) -> usize {
    let (at, len) = (bytes.as_mut_ptr(), u32::try_from(bytes.len()).unwrap());
    let mut buffers = vectors(bytes, 3);
    let (first, count) = (buffers.as_ptr(), u32::try_from(buffers.len()).unwrap());
    let mut message = header(&mut buffers);
    let socket = Fd(socket);
    let entry = match (operation, outwards) {
        (Operation::Plain, true) => opcode::Write::new(socket, at, len).build(),
        (Operation::Plain, false) => opcode::Read::new(socket, at, len).build(),
        (Operation::Addressed, true) => opcode::Send::new(socket, at, len).build(),
        (Operation::WithoutCopy, true) => opcode::SendZc::new(socket, at, len).build(),
        (Operation::Addressed | Operation::WithoutCopy, false) => opcode::Recv::new(socket, at, len).build(),
        (Operation::Vectors, true) => opcode::Writev::new(socket, first, count).build(),
        (Operation::Vectors, false) => opcode::Readv::new(socket, first, count).build(),
        (Operation::Message, true) => opcode::SendMsg::new(socket, &raw const message).build(),
        (Operation::Message, false) => opcode::RecvMsg::new(socket, &raw mut message).build(),
    };
    let entry = if matches!(by, By::Worker) { entry.flags(Flags::ASYNC) } else { entry };
    // SAFETY: bytes, buffers and message live until the operation is over, which is waited for.
    unsafe { ring.submission().push(&entry).unwrap() };
    ring.submit().unwrap();
    meanwhile();
    ring.submit_and_wait(1).unwrap();
    let completed = ring.completion().next().unwrap();
    let moved = usize::try_from(completed.result()).expect("moved");
    if matches!((operation, outwards), (Operation::WithoutCopy, true)) {
        // It says once more that the buffer is free.
        ring.submit_and_wait(1).unwrap();
        ring.completion().next().unwrap();
    }
    moved
}

/// The calls of one direction at a port.
fn calls(moved: &[(Moved, Vec<u8>)], port: u16, direction: u8) -> Vec<(Moved, Vec<u8>)> {
    let own = |head: &Moved| head.connection.local_port == port && head.direction == direction;
    moved.iter().filter(|(head, _)| own(head)).cloned().collect()
}

#[test]
fn operations_of_a_ring_have_their_lengths_and_no_text() {
    use Operation::{Addressed, Message, Plain, Vectors, WithoutCopy};
    for by in [By::Asker, By::Worker, By::Poller] {
        for operation in [Plain, Addressed, Vectors, Message, WithoutCopy] {
            let what = format!("{operation:?} by {by:?}");
            let (mut client, mut server, port) = pair("127.0.0.1:0");
            let server_port = server.local_addr().unwrap().port();
            let Some(mut ring) = ring(matches!(by, By::Poller)) else { return };
            let Some(capture) = Capture::start(port, 4 << 20) else { return };
            client.write_all(b"plain ").unwrap();
            server.read_exact(&mut [0; 6]).unwrap();
            for len in [1, 700, 9_000] {
                let (mut sent, mut got) = (vec![b's'; len], vec![0; len]);
                let moved =
                    transfer(&mut ring, (client.as_raw_fd(), true), (operation, by), &mut sent, || {});
                assert_eq!(moved, len, "{what}");
                let mut filled = 0;
                while filled < len {
                    let rest = &mut got[filled..];
                    filled += transfer(&mut ring, (server.as_raw_fd(), false), (operation, by), rest, || {});
                }
                assert!(got == sent);
            }
            client.write_all(b" plain").unwrap();
            server.read_exact(&mut [0; 6]).unwrap();
            drop((client, server, ring));
            thread::sleep(Duration::from_millis(20));
            let (seen, _) = capture.finish();
            let ended = seen.ended.iter().filter(|ended| ended.connection.local_port == port);
            let unseen: Vec<u64> = ended.map(|ended| ended.unseen_out).collect();
            if source() == Source::Syscall {
                assert_eq!(unseen, [9_701], "{what}: nothing but how many they are");
                continue;
            }
            assert_eq!(unseen, [0], "{what}");
            for (port, direction) in [(port, direction::OUT), (server_port, direction::IN)] {
                let calls = calls(&seen.moved, port, direction);
                let mut position = 0;
                for (index, (head, text)) in calls.iter().enumerate() {
                    let plain = index == 0 || index == calls.len() - 1;
                    assert_eq!(head.flags & flag::NO_PAYLOAD == 0, plain, "{what}: {head:?}");
                    assert_eq!(text.len(), if plain { 6 } else { 0 }, "{what}");
                    assert_eq!(head.flags & (flag::UNANCHORED | flag::FAULT), 0, "{what}: {head:?}");
                    assert_eq!(head.connection.coordinate, coordinate::SEQUENCE, "{what}");
                    assert_eq!(u64::from(head.s1.wrapping_sub(head.s0)), head.moved, "{what}");
                    assert_eq!((head.counter, head.pid), (position, std::process::id()), "{what}");
                    assert_eq!(head.s0.wrapping_sub(calls[0].0.s0), position as u32, "{what}");
                    position += head.moved;
                }
                assert_eq!(position, 9_713, "{what}");
            }
        }
    }
}

/// A ring's operation that waits ends within whatever call its thread makes then; its bytes are none of that call's.
#[test]
fn an_operation_that_ends_within_another_call_is_not_taken_for_it() {
    let (mut client, server, port) = pair("127.0.0.1:0");
    let server_port = server.local_addr().unwrap().port();
    let Some(mut ring) = ring(false) else { return };
    let Some(capture) = Capture::start(port, 4 << 20) else { return };
    for _ in 0..20 {
        let mut got = [0; 64];
        let write = || client.write_all(b"written by a call").unwrap();
        let moved = transfer(
            &mut ring,
            (server.as_raw_fd(), false),
            (Operation::Addressed, By::Asker),
            &mut got,
            write,
        );
        assert_eq!(&got[..moved], b"written by a call");
    }
    let (seen, _) = capture.finish();
    let sent = calls(&seen.moved, port, direction::OUT);
    assert!(sent.len() == 20 && sent.iter().all(|(_, text)| text == b"written by a call"), "{sent:?}");
    let received = calls(&seen.moved, server_port, direction::IN);
    if source() == Source::Socket {
        assert_eq!(received.len(), 20);
        assert!(received.iter().all(|(head, text)| head.moved == 17 && text.is_empty()), "{received:?}");
    } else {
        assert!(received.is_empty());
    }
}

#[test]
fn datagrams_of_a_ring_are_counted() {
    let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let [client, server] = &sockets;
    client.connect(server.local_addr().unwrap()).unwrap();
    server.connect(client.local_addr().unwrap()).unwrap();
    let Some(mut ring) = ring(false) else { return };
    let Some(capture) = Capture::start(client.local_addr().unwrap().port(), 4 << 20) else { return };
    for operation in [Operation::Addressed, Operation::Message, Operation::Plain] {
        let mut text = [b'd'; 33];
        let moved = transfer(&mut ring, (client.as_raw_fd(), true), (operation, By::Asker), &mut text, || {});
        assert_eq!(moved, 33);
        let moved =
            transfer(&mut ring, (server.as_raw_fd(), false), (operation, By::Asker), &mut [0; 99], || {});
        assert_eq!(moved, 33);
    }
    let (seen, _) = capture.finish();
    let expected = if source() == Source::Socket { 6 } else { 0 };
    assert_eq!(seen.moved.len(), expected);
    let told = |(head, text): &(Moved, Vec<u8>)| {
        head.moved == 33 && text.is_empty() && head.flags & flag::NO_PAYLOAD != 0
    };
    assert!(seen.moved.iter().all(told), "{:?}", seen.moved);
}

/// Calls `write` (4) or `read` (3) as a 32-bit program does.
#[cfg(target_arch = "x86_64")]
fn narrow(number: i32, socket: &TcpStream, bytes: u32, len: u32) -> i32 {
    let mut result = number;
    // SAFETY: the caller's memory is there, and the register that the compiler keeps for itself is put back.
    unsafe {
        std::arch::asm!(
            "push rbx", "mov ebx, {socket:e}", "int 0x80", "pop rbx",
            socket = in(reg) socket.as_raw_fd(),
            inlateout("eax") result,
            in("ecx") bytes,
            in("edx") len,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    result
}

/// Whether the kernel takes calls of 32-bit programs; others end whoever tries.
#[cfg(target_arch = "x86_64")]
fn takes_narrow_calls(socket: &TcpStream) -> bool {
    // SAFETY: the child makes one call and ends.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::_exit(i32::from(narrow(3, socket, 0, 0) == -libc::ENOSYS));
        }
        let mut status = 0;
        libc::waitpid(pid, &raw mut status, 0);
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_32_bit_programs_have_their_lengths() {
    let (mut client, mut server, port) = pair("127.0.0.1:0");
    let server_port = server.local_addr().unwrap().port();
    if !takes_narrow_calls(&client) {
        println!("skipped: this kernel takes no calls of 32-bit programs");
        return;
    }
    let Some(capture) = Capture::start(port, 4 << 20) else { return };
    // SAFETY: a fresh private mapping below 4 GiB, given back at the end.
    let page = unsafe {
        let (protection, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT);
        libc::mmap(std::ptr::null_mut(), 4_096, protection, kind, -1, 0)
    };
    let at = u32::try_from(page as usize).expect("below 4 GiB");
    client.write_all(b"wide ").unwrap();
    server.read_exact(&mut [0; 5]).unwrap();
    assert_eq!(narrow(4, &client, at, 300), 300);
    assert_eq!(narrow(3, &server, at, 4_096), 300);
    // SAFETY: the mapping made above.
    unsafe { libc::munmap(page, 4_096) };
    drop((client, server));
    thread::sleep(Duration::from_millis(20));
    let (seen, _) = capture.finish();
    let ended = seen.ended.iter().find(|ended| ended.connection.local_port == port).unwrap();
    if source() == Source::Syscall {
        assert_eq!(ended.unseen_out, 300);
        return;
    }
    assert_eq!((ended.unseen_out, ended.unseen_in), (0, 0));
    for (port, direction) in [(port, direction::OUT), (server_port, direction::IN)] {
        let lengths: Vec<(u64, usize)> =
            calls(&seen.moved, port, direction).iter().map(|(head, text)| (head.moved, text.len())).collect();
        assert_eq!(lengths, [(5, 5), (300, 0)]);
    }
}
