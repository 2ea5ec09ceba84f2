//! The lanes: what the programs tell of packets, each CPU in memory of its own, read here without asking the kernel.
#![expect(unsafe_code, reason = "the memory is shared with programs that write it meanwhile")]

use std::{
    io,
    marker::PhantomData,
    os::fd::AsFd as _,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::Map;
use capturer_ebpf::layout::{LaneEnds, LaneSlot};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::{
    error::{KernelError, map_error},
    pieces::Pieces,
    programs::{LANE_ENDS, LANES},
    records::{self, Record, parse},
};

pub(super) struct Lanes {
    slots: Shared<LaneSlot>,
    ends: Shared<LaneEnds>,
    /// Slots of each lane, a power of two.
    each: u64,
    /// By CPU, how far its lane was read.
    read: Vec<u64>,
    /// By CPU, the record that was not whole when it was looked at last.
    doubted: Vec<Option<u64>>,
    /// Records that never became whole.
    torn: u64,
}

/// The values of an array map, in memory that the programs write too; the map lives as long.
struct Shared<T> {
    start: NonNull<T>,
    len: usize,
    bytes: usize,
    _values: PhantomData<T>,
}

// === impl Lanes ===

impl Lanes {
    /// Reads the lanes in these maps.
    pub(super) fn new(slots: Map, ends: Map) -> Result<Self, KernelError> {
        let (slots, ends) = (Shared::new(slots, LANES)?, Shared::new(ends, LANE_ENDS)?);
        Ok(Self::over(slots, ends))
    }

    fn over(slots: Shared<LaneSlot>, ends: Shared<LaneEnds>) -> Self {
        let cpus = ends.len.max(1);
        let each = u64::try_from(slots.len / cpus).unwrap_or_default().max(1);
        Self { slots, ends, each, read: vec![0; cpus], doubted: vec![None; cpus], torn: 0 }
    }

    /// Takes all records that are there, and returns how many.
    pub(super) fn drain(&mut self, take: &mut dyn FnMut(Record<'_>)) -> usize {
        (0..self.read.len()).map(|cpu| self.drain_one(cpu, take)).sum()
    }

    /// Records that were ever written.
    pub(super) fn written(&self) -> u64 {
        (0..self.read.len()).filter_map(|cpu| Some(self.ends.written(cpu)?.load(Ordering::Acquire))).sum()
    }

    /// Of these, those that never became whole.
    pub(super) fn torn(&self) -> u64 {
        self.torn
    }

    fn drain_one(&mut self, cpu: usize, take: &mut dyn FnMut(Record<'_>)) -> usize {
        let Self { slots, ends, each, read: all_read, doubted, torn } = self;
        let (Some(written), Some(told)) = (ends.written(cpu), ends.read(cpu)) else { return 0 };
        let (Some(read), Some(doubted)) = (all_read.get_mut(cpu), doubted.get_mut(cpu)) else { return 0 };
        let written = written.load(Ordering::Acquire);
        let first = u64::try_from(cpu).unwrap_or_default() * *each;
        let before = *read;
        while *read < written {
            let at = usize::try_from(first + (*read & (*each - 1))).unwrap_or(usize::MAX);
            let Some(slot) = slots.value(at) else { break };
            if !is_whole(&slot, *read) {
                if doubted.replace(*read) != Some(*read) {
                    // Its words are on their way from another CPU.
                    break;
                }
                *torn += 1;
            } else if let Some(record) = parse(records::bytes_of(&slot.words), &mut Pieces::default()) {
                take(record);
            }
            *read += 1;
        }
        told.store(*read, Ordering::Release);
        usize::try_from(*read - before).unwrap_or_default()
    }
}

/// Whether all words of a record are seen, before which so many were written.
fn is_whole(slot: &LaneSlot, index: u64) -> bool {
    slot.words.iter().fold(index, |check, word| check ^ word) == slot.check
}

// === impl Shared ===

impl<T: Copy> Shared<T> {
    fn new(map: Map, name: &'static str) -> Result<Self, KernelError> {
        let Map::Array(map) = map else { return Err(KernelError::Missing { name: name.to_owned() }) };
        let entries = map.info().map_err(map_error(name))?.max_entries();
        let len = usize::try_from(entries).unwrap_or_default();
        let bytes = (len * size_of::<T>()).next_multiple_of(rustix::param::page_size());
        let both = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: nothing else is at an address that the kernel chooses.
        let start = unsafe { mmap(ptr::null_mut(), bytes, both, MapFlags::SHARED, map.fd().as_fd(), 0) };
        let start = start.map_err(|error| KernelError::Shared { name, source: error.into() })?;
        let nothing = || KernelError::Shared { name, source: io::ErrorKind::OutOfMemory.into() };
        let start = NonNull::new(start.cast::<T>()).ok_or_else(nothing)?;
        Ok(Self { start, len, bytes, _values: PhantomData })
    }

    fn at(&self, index: usize) -> Option<NonNull<T>> {
        // SAFETY: so many values are mapped.
        (index < self.len).then(|| unsafe { self.start.add(index) })
    }

    /// Returns a value as it is seen now; parts of it may be older.
    fn value(&self, index: usize) -> Option<T> {
        // SAFETY: it is mapped and aligned, and any bytes are a value of it.
        self.at(index).map(|value| unsafe { value.read_volatile() })
    }
}

impl Shared<LaneEnds> {
    fn written(&self, cpu: usize) -> Option<&AtomicU64> {
        // SAFETY: it is mapped for as long as this lives, aligned, and only written in one piece.
        self.at(cpu).map(|ends| unsafe { AtomicU64::from_ptr(&raw mut (*ends.as_ptr()).written) })
    }

    fn read(&self, cpu: usize) -> Option<&AtomicU64> {
        // SAFETY: as above.
        self.at(cpu).map(|ends| unsafe { AtomicU64::from_ptr(&raw mut (*ends.as_ptr()).read) })
    }
}

// SAFETY: the memory is the process's, whichever thread reads it.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nothing refers to it any more.
        if let Err(error) = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) } {
            tracing::debug!(%error, "a map stays in memory");
        }
    }
}

#[cfg(test)]
mod tests {
    use capturer_ebpf::layout::Packet;
    use rustix::mm::mmap_anonymous;

    use super::*;

    impl<T> Shared<T> {
        fn zeros(len: usize) -> Self {
            let bytes = (len * size_of::<T>()).next_multiple_of(rustix::param::page_size());
            let both = ProtFlags::READ | ProtFlags::WRITE;
            // SAFETY: nothing else is at an address that the kernel chooses.
            let start = unsafe { mmap_anonymous(ptr::null_mut(), bytes, both, MapFlags::SHARED).unwrap() };
            Self { start: NonNull::new(start.cast()).unwrap(), len, bytes, _values: PhantomData }
        }
    }

    fn lanes(cpus: usize, each: usize) -> Lanes {
        Lanes::over(Shared::zeros(cpus * each), Shared::zeros(cpus))
    }

    /// Writes a record as the programs do; a torn one lacks what makes it whole.
    fn write(lanes: &Lanes, cpu: usize, connection: u64, torn: bool) {
        let ends = lanes.ends.written(cpu).unwrap();
        let index = ends.load(Ordering::Relaxed);
        let mut words = [0; size_of::<Packet>() / 8];
        words[0] = capturer_ebpf::layout::Kind::Packet as u64;
        words[1] = connection;
        let check = words.iter().fold(index, |check, word| check ^ word) ^ u64::from(torn);
        let at =
            cpu * usize::try_from(lanes.each).unwrap() + usize::try_from(index & (lanes.each - 1)).unwrap();
        // SAFETY: it is mapped and aligned.
        unsafe { lanes.slots.at(at).unwrap().write(LaneSlot { words, check }) };
        ends.store(index + 1, Ordering::Release);
    }

    fn drained(lanes: &mut Lanes) -> Vec<u64> {
        let mut found = Vec::new();
        let taken = lanes.drain(&mut |record| {
            if let Record::Packet(packet) = record {
                found.push(packet.connections[0]);
            }
        });
        assert!(taken >= found.len());
        found
    }

    #[test]
    fn each_lane_is_read_in_order_and_around_its_end() {
        let mut lanes = lanes(2, 4);
        for round in 0..5 {
            for number in 0..3 {
                write(&lanes, 0, 10 * round + number, false);
            }
            write(&lanes, 1, 100 + round, false);
            assert_eq!(drained(&mut lanes), [10 * round, 10 * round + 1, 10 * round + 2, 100 + round]);
            assert_eq!(lanes.ends.read(0).unwrap().load(Ordering::Acquire), 3 * (round + 1));
        }
        assert_eq!((lanes.written(), lanes.torn()), (20, 0));
    }

    #[test]
    fn a_record_that_is_not_whole_is_waited_for_once_and_then_counted() {
        let mut lanes = lanes(1, 8);
        write(&lanes, 0, 1, false);
        write(&lanes, 0, 2, true);
        write(&lanes, 0, 3, false);
        assert_eq!(drained(&mut lanes), [1]);
        assert_eq!(lanes.torn(), 0);
        assert_eq!(drained(&mut lanes), [3]);
        assert_eq!((lanes.torn(), drained(&mut lanes).len()), (1, 0));
    }
}
