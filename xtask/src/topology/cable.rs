//! A cable between two places of a network, as bad as wanted: delay in one direction, loss, and other addresses at the
//! other end.
//!
//! The kernel has `netem` for delay and loss, but not every kernel is built with it. This cable is two TAP interfaces and
//! two threads that carry frames from one to the other.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::netns::Netns;

/// How long a silent cable sleeps before it looks whether it is still wanted.
const CABLE_POLL: Duration = Duration::from_millis(50);

/// Longest frame: the interfaces have the usual MTU and take nothing merged.
const LONGEST_FRAME: usize = 2048;

/// Where in an Ethernet frame the IPv4 header's parts lie.
const ETHER_TYPE: std::ops::Range<usize> = 12..14;
const IP_PROTOCOL: usize = 23;
const IP_SOURCE_NET: std::ops::Range<usize> = 26..28;
const IP_DESTINATION_NET: std::ops::Range<usize> = 30..32;

/// One direction of a cable: how bad it is, and what it has done.
#[derive(Debug, Default)]
pub struct Lane {
    delay_ns: AtomicU64,
    loss_permille: AtomicU32,
    carried: AtomicU64,
    dropped: AtomicU64,
}

/// A cable that carries frames until dropped.
#[derive(Debug)]
pub struct Cable {
    there: Arc<Lane>,
    back: Arc<Lane>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Networks of two bytes that are written into addresses that pass in one direction.
///
/// The sum of the bytes written is that of the bytes they replace, so that no checksum changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rewrite {
    pub(super) source: ([u8; 2], [u8; 2]),
    pub(super) destination: ([u8; 2], [u8; 2]),
}

// === impl Lane ===

impl Lane {
    /// Delays every frame from now on.
    pub fn delay(&self, delay: Duration) {
        self.delay_ns.store(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Loses so many of 1000 IPv4 packets from now on, always the same ones of a sequence.
    pub fn lose(&self, permille: u32) {
        self.loss_permille.store(permille, Ordering::Relaxed);
    }

    /// Returns how many frames came through.
    #[must_use]
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    /// Returns how many packets were lost.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

// === impl Cable ===

impl Cable {
    /// Lays it between two interfaces that it makes, both in one namespace; with other addresses where these are given.
    pub(super) fn lay(netns: &Netns, ends: [&str; 2], rewrites: Option<[Rewrite; 2]>) -> Result<Self> {
        let [left, right] = ends.map(|name| netns.run(|| tap(name)));
        let (left, right) = (left?, right?);
        let stop = Arc::new(AtomicBool::new(false));
        let (there, back) = (Arc::new(Lane::default()), Arc::new(Lane::default()));
        let [forth_rewrite, back_rewrite] = rewrites.map_or([None, None], |two| two.map(Some));
        let mut threads = Vec::new();
        for (from, to, lane, rewrite) in [
            (left.try_clone()?, right.try_clone()?, &there, forth_rewrite),
            (right, left, &back, back_rewrite),
        ] {
            let (lane, stop) = (Arc::clone(lane), Arc::clone(&stop));
            threads.push(std::thread::spawn(move || carry(from, to, &lane, rewrite, &stop)));
        }
        Ok(Self { there, back, stop, threads })
    }

    /// Returns the direction from the first end to the second.
    #[must_use]
    pub fn there(&self) -> &Lane {
        &self.there
    }

    /// Returns the direction from the second end to the first.
    #[must_use]
    pub fn back(&self) -> &Lane {
        &self.back
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

// === impl Rewrite ===

impl Rewrite {
    fn apply(self, frame: &mut [u8]) {
        for (place, (from, to)) in [(IP_SOURCE_NET, self.source), (IP_DESTINATION_NET, self.destination)] {
            if let Some(net) = frame.get_mut(place).filter(|net| **net == from) {
                net.copy_from_slice(&to);
            }
        }
    }
}

// === free functions ===

/// Makes a TAP interface in the namespace of this thread.
fn tap(name: &str) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
    let file = options.open("/dev/net/tun").context("opening `/dev/net/tun`")?;
    #[expect(unsafe_code, reason = "nix has no request for TAP interfaces")]
    // SAFETY: `ifreq` is plain data, and the request reads no more than the structure, which outlives the call.
    let done = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (place, byte) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
            *place = libc::c_char::try_from(byte).unwrap_or_default();
        }
        request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_TAP | libc::IFF_NO_PI)?;
        libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw const request)
    };
    if done < 0 {
        return Err(std::io::Error::last_os_error()).with_context(|| format!("making interface `{name}`"));
    }
    Ok(file)
}

fn carry(mut from: File, mut to: File, lane: &Lane, rewrite: Option<Rewrite>, stop: &AtomicBool) {
    let mut waiting: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut chance = Chance::default();
    let mut frame = vec![0; LONGEST_FRAME];
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        while waiting.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, frame)) = waiting.pop_front() else { break };
            // An interface that is down takes nothing, as a cable that is not plugged in.
            if to.write_all(&frame).is_ok() {
                lane.carried.fetch_add(1, Ordering::Relaxed);
            }
        }
        let patience = waiting.front().map_or(CABLE_POLL, |(due, _)| due.saturating_duration_since(now));
        let mut polled = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut polled, Some(TimeSpec::from_duration(patience.min(CABLE_POLL))), None) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(_) => return,
        }
        let Ok(length) = from.read(&mut frame) else {
            // Interfaces that are still down cannot be read.
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let Some(frame) = frame.get_mut(..length) else { continue };
        if is_tcp(frame) && chance.falls(lane.loss_permille.load(Ordering::Relaxed)) {
            lane.dropped.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        if let Some(rewrite) = rewrite {
            rewrite.apply(frame);
        }
        let due = Instant::now() + Duration::from_nanos(lane.delay_ns.load(Ordering::Relaxed));
        waiting.push_back((due, frame.to_vec()));
    }
}

fn is_tcp(frame: &[u8]) -> bool {
    frame.get(ETHER_TYPE) == Some(&[8, 0]) && frame.get(IP_PROTOCOL) == Some(&6)
}

/// Says yes so many times of 1000, alike in every run.
#[derive(Debug)]
struct Chance(u32);

// === impl Chance ===

impl Default for Chance {
    fn default() -> Self {
        Self(0x2545_F491)
    }
}

impl Chance {
    fn falls(&mut self, permille: u32) -> bool {
        if permille == 0 {
            return false;
        }
        // Xorshift, Marsaglia 2003.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 % 1000 < permille
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_a_hundred_are_lost_and_always_the_same() {
        let lost = |permille| {
            let mut chance = Chance::default();
            (0..10_000).filter(|_| chance.falls(permille)).collect::<Vec<u32>>()
        };
        assert!((150..250).contains(&lost(20).len()), "{}", lost(20).len());
        assert_eq!(lost(20), lost(20));
        assert!(lost(0).is_empty());
        assert_eq!(lost(1000).len(), 10_000);
    }

    #[test]
    fn other_addresses_keep_the_checksum() {
        let rewrite = Rewrite { source: ([10, 1], [10, 4]), destination: ([10, 5], [10, 2]) };
        let mut frame = vec![0; 40];
        frame[26..34].copy_from_slice(&[10, 1, 0, 2, 10, 5, 0, 2]);
        let sum = |frame: &[u8]| -> u32 {
            frame.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum()
        };
        let before = sum(&frame);
        rewrite.apply(&mut frame);
        assert_eq!(frame[26..34], [10, 4, 0, 2, 10, 2, 0, 2]);
        assert_eq!(sum(&frame), before);
        // Others pass as they are.
        frame[26..34].copy_from_slice(&[10, 9, 0, 2, 172, 16, 0, 2]);
        rewrite.apply(&mut frame);
        assert_eq!(frame[26..34], [10, 9, 0, 2, 172, 16, 0, 2]);
        rewrite.apply(&mut frame[..20]);
    }
}
