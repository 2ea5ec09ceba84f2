//! The rings that the programs write to, and waiting for them.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    task::Poll,
    time::Duration,
};

use aya::maps::{MapData, RingBuf};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::Instant,
};

use super::{
    error::KernelError,
    pieces::Pieces,
    records::{Record, parse},
};

/// Shortest time between two wake-ups: under load records are taken in batches, and the kernel, which wakes only a
/// reader that had read everything, wakes it a bounded number of times per second.
const WAKE_UP_PERIOD: Duration = Duration::from_millis(1);

pub(super) struct Rings {
    buffers: Vec<RingBuf<MapData>>,
    /// By ring: what was read of calls whose records follow.
    pieces: Vec<Pieces>,
    waits: Vec<AsyncFd<OwnedFd>>,
    /// The ring to begin with, so that a budget does not favour the first.
    first: usize,
    /// A drain stopped at its budget.
    more: bool,
    woken: Option<Instant>,
}

// === impl Rings ===

impl Rings {
    pub(super) fn new(buffers: Vec<RingBuf<MapData>>) -> Self {
        let pieces = buffers.iter().map(|_| Pieces::default()).collect();
        Self { buffers, pieces, waits: Vec::new(), first: 0, more: true, woken: None }
    }

    /// Waits until some ring has records. May be dropped while it waits.
    pub(super) async fn readable(&mut self) -> Result<(), KernelError> {
        if self.more {
            return Ok(());
        }
        let failed = |source| KernelError::Wait { source };
        if self.waits.is_empty() {
            for ring in &self.buffers {
                self.waits.push(wait(ring.as_fd()).map_err(failed)?);
            }
        }
        let waits = &self.waits;
        let edge = std::future::poll_fn(|context| {
            for wait in waits {
                if let Poll::Ready(ready) = wait.poll_read_ready(context) {
                    return Poll::Ready(ready.map(|mut ready| ready.clear_ready()));
                }
            }
            Poll::Pending
        });
        edge.await.map_err(failed)?;
        // From here on a drop must not lose the wake-up.
        self.more = true;
        if let Some(woken) = self.woken {
            tokio::time::sleep_until(woken + WAKE_UP_PERIOD).await;
        }
        self.woken = Some(Instant::now());
        Ok(())
    }

    /// Takes up to `budget` records, a fair share of each ring, and returns how many; pieces, which are kept for the
    /// record of their call, are some of them.
    pub(super) fn drain(&mut self, take: &mut dyn FnMut(Record<'_>), budget: usize) -> usize {
        let count = self.buffers.len().max(1);
        let share = budget.div_ceil(count);
        let mut taken = 0;
        self.more = false;
        for index in 0..count {
            let index = (self.first + index) % count;
            let (Some(ring), Some(pieces)) = (self.buffers.get_mut(index), self.pieces.get_mut(index)) else {
                break;
            };
            let mut left = share;
            while left > 0 {
                let Some(item) = ring.next() else { break };
                left -= 1;
                taken += 1;
                if let Some(record) = parse(&item, pieces) {
                    take(record);
                }
            }
            self.more |= left == 0;
        }
        self.first = (self.first + 1) % count;
        taken
    }
}

#[expect(unsafe_code, reason = "one call of tokio")]
fn wait(ring: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    let ring = ring.try_clone_to_owned()?;
    // SAFETY: the descriptor is owned by what is registered, open and the same for as long as that lives.
    let registered = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
    Ok(registered?)
}
