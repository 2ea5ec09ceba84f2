//! All packets that pass the loopback interface for a while.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::super::read::{Capture, Reader};

/// Longest packet: the interface passes on what is sent at once in one piece, which may be more than 64 KiB.
const LONGEST_PACKET: usize = 1 << 20;

/// What the kernel keeps for us while we are not looking.
const KERNEL_BUFFER: usize = 256 << 20;

/// What is recorded at most: fixtures are read by people, and kept for good.
const MAX_RECORDED: usize = 64 << 20;

/// How often the end is looked for where nothing comes; packets of the command's last words are there by then.
const END_POLL: Duration = Duration::from_millis(100);

/// On an interface that is never silent the recording ends so long after the command.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// The kind of a packet that the interface hands out, and then takes in again: seen then, it would be there twice.
const OUTGOING_PACKET: u8 = 4;

/// A recording in progress.
pub(super) struct Loopback {
    over: Arc<AtomicBool>,
    reader: JoinHandle<Result<Capture>>,
}

// === impl Loopback ===

impl Loopback {
    /// Begins to record what is from or to these ports.
    pub(super) fn open(ports: &[u16]) -> Result<Self> {
        let index = if_nametoindex("lo").context("looking for the loopback interface")?;
        let socket =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
                .context("opening a socket for packets")?;
        setsockopt(&socket, sockopt::RcvBufForce, &KERNEL_BUFFER).context("asking for a large buffer")?;
        let poll = TimeVal::new(0, i64::from(END_POLL.subsec_micros()));
        setsockopt(&socket, sockopt::ReceiveTimeout, &poll).context("setting a time limit")?;
        let over = Arc::new(AtomicBool::new(false));
        let (told, ports) = (Arc::clone(&over), ports.to_vec());
        let reader = std::thread::spawn(move || read(&socket, usize::try_from(index)?, &ports, &told));
        Ok(Self { over, reader })
    }

    /// Ends the recording once nothing comes any more, and returns what was recorded.
    pub(super) fn finish(self) -> Result<Capture> {
        self.over.store(true, Ordering::Relaxed);
        self.reader.join().map_err(|_panic| anyhow!("the thread that records ended early"))?
    }
}

// === free functions ===

fn read(socket: &OwnedFd, interface: usize, ports: &[u16], over: &AtomicBool) -> Result<Capture> {
    let mut reader = Reader::default();
    let mut kept = 0;
    let mut deadline = None;
    let mut buffer = vec![0; LONGEST_PACKET];
    loop {
        match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) {
            Ok((length, Some(from))) if from.ifindex() == interface && from.pkttype() != OUTGOING_PACKET => {
                if reader.ethernet(buffer.get(..length).unwrap_or_default(), ports) {
                    kept += length;
                }
                if kept > MAX_RECORDED {
                    bail!("the command moved more than {} MiB, too much for fixtures", MAX_RECORDED >> 20);
                }
            }
            Err(Errno::EAGAIN) if deadline.is_some() => break,
            Ok(_) | Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(error) => return Err(error).context("reading packets"),
        }
        if over.load(Ordering::Relaxed)
            && Instant::now() > *deadline.get_or_insert_with(|| Instant::now() + END_TIMEOUT)
        {
            break;
        }
    }
    Ok(reader.finish())
}
