//! How a capture begins while others talk.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    os::fd::{AsRawFd as _, FromRawFd as _},
    thread,
    time::Duration,
};

use capturer::kernel::KernelFilter;
use capturer_ebpf::layout::{Moved, direction};

use super::{Capture, Seen, pair, skipped};

/// The only descriptor that a child keeps besides its standard ones.
const SOCKET: i32 = 3;

/// A process of its own that works on one socket until the other end closes.
struct Talker(libc::pid_t);

impl Talker {
    fn start(socket: &TcpStream, work: impl FnOnce(TcpStream)) -> Self {
        // SAFETY: the child takes no lock that another thread may hold: it makes calls on a socket, and ends.
        unsafe {
            let pid = libc::fork();
            assert!(pid >= 0, "{}", std::io::Error::last_os_error());
            if pid == 0 {
                // Sockets of the tests beside this one close when those tests close them.
                libc::dup2(socket.as_raw_fd(), SOCKET);
                libc::syscall(libc::SYS_close_range, SOCKET + 1, u32::MAX, 0);
                work(TcpStream::from_raw_fd(SOCKET));
                libc::_exit(0);
            }
            Self(pid)
        }
    }

    fn pid(&self) -> u32 {
        self.0.cast_unsigned()
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        // SAFETY: a child of this process that nobody else waits for.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

/// Sends numbers, each when the one before has come back.
fn ask(mut socket: TcpStream) {
    let mut answer = [0; 8];
    for number in 0_u64.. {
        if socket.write_all(&number.to_be_bytes()).and_then(|()| socket.read_exact(&mut answer)).is_err() {
            return;
        }
    }
}

/// Sends back each number that comes.
fn echo(mut socket: TcpStream) {
    let mut number = [0; 8];
    while socket.read_exact(&mut number).and_then(|()| socket.write_all(&number)).is_ok() {}
}

/// The calls of one process in their order: which direction, and the number that passed.
fn calls(seen: &Seen, pid: u32) -> Vec<(u8, u64)> {
    let mut calls: Vec<&(Moved, Vec<u8>)> = seen.moved.iter().filter(|(head, _)| head.pid == pid).collect();
    calls.sort_by_key(|(head, _)| head.exit_ns);
    calls
        .iter()
        .map(|(head, bytes)| (head.direction, u64::from_be_bytes(bytes[..].try_into().unwrap())))
        .collect()
}

/// From its first call that is seen on, every call of a process is: were one of the first left out, each answer would
/// stand one request too early for as long as the connection lives.
#[test]
fn a_capture_begins_at_one_moment() {
    if skipped() {
        return;
    }
    for _ in 0..3 {
        let (client, server, port) = pair("127.0.0.1:0");
        let filter = KernelFilter {
            local_ports: vec![port, server.local_addr().unwrap().port()],
            ..KernelFilter::default()
        };
        let attach = Capture::prepare(filter, 16 << 20);
        let (client, server) = (Talker::start(&client, ask), Talker::start(&server, echo));
        let mut capture = attach();
        thread::sleep(Duration::from_millis(20));
        capture.drain();
        let (seen, totals) = capture.finish();
        // Other processes of the machine may connect meanwhile.
        assert_eq!(totals.seen, totals.delivered + totals.filtered, "{totals:?}");
        for (pid, last) in [(client.pid(), direction::IN), (server.pid(), direction::OUT)] {
            let calls = calls(&seen, pid);
            assert!(calls.len() > 2, "{calls:?}");
            for (number, pair) in calls.windows(2).enumerate() {
                let [(first, before), (second, after)] = *pair else { continue };
                let expected = if first == last { before + 1 } else { before };
                assert!(
                    first != second && after == expected,
                    "of {pid}, call {number} and the next: {pair:?}"
                );
            }
        }
    }
}
