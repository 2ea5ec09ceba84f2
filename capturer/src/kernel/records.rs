//! Ring bytes as records, and structures as the bytes that the programs take.
#![expect(unsafe_code, reason = "the rings hold the structures of the layout as the programs wrote them")]

use capturer_ebpf::{
    layout::{Ended, Kind, Moved, Process, Verdict},
    settings::{Limits, Offsets},
};

/// One record from the kernel.
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    /// A call moved bytes.
    Moved {
        /// What is known of the call.
        head: Moved,
        /// The first of the bytes.
        payload: &'a [u8],
    },
    /// A connection is over.
    Ended(Ended),
    /// A process runs another program.
    Exec(Process),
    /// A process ended.
    Exit(Process),
}

/// Structures of the layout: plain numbers, without padding.
trait Plain: Copy {}

impl Plain for Moved {}
impl Plain for Ended {}
impl Plain for Process {}
impl Plain for Verdict {}
impl Plain for Limits {}
impl Plain for Offsets {}

/// The record in `data`; `None` for one that this layout does not have.
pub(super) fn parse(data: &[u8]) -> Option<Record<'_>> {
    let kind = *data.first()?;
    if kind == Kind::Moved as u8 {
        let head: Moved = read(data)?;
        let payload = data.get(size_of::<Moved>()..)?.get(..head.captured as usize)?;
        Some(Record::Moved { head, payload })
    } else if kind == Kind::Ended as u8 {
        read(data).map(Record::Ended)
    } else if kind == Kind::Exec as u8 {
        read(data).map(Record::Exec)
    } else if kind == Kind::Exit as u8 {
        read(data).map(Record::Exit)
    } else {
        None
    }
}

fn read<T: Plain>(data: &[u8]) -> Option<T> {
    let data = data.get(..size_of::<T>())?;
    // SAFETY: there are as many bytes as the structure has, and every pattern of them is a value of it.
    Some(unsafe { data.as_ptr().cast::<T>().read_unaligned() })
}

/// A verdict as a map's value.
pub(super) fn verdict(verdict: Verdict) -> [u64; 3] {
    let Verdict { mode, reserved: _, skip_until: [out, inward] } = verdict;
    [u64::from_ne_bytes([mode, 0, 0, 0, 0, 0, 0, 0]), out, inward]
}

/// The offsets as the bytes of a global.
pub(super) fn offsets(offsets: &Offsets) -> &[u8] {
    bytes(offsets)
}

/// The limits as the bytes of a global.
pub(super) fn limits(limits: &Limits) -> &[u8] {
    bytes(limits)
}

fn bytes<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: the structure is plain numbers without padding, borrowed for as long as the slice.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_records_that_are_too_short_for_what_they_say() {
        let mut data = vec![0_u8; size_of::<Moved>() + 8];
        data[0] = Kind::Moved as u8;
        data[4] = 8;
        assert!(matches!(parse(&data), Some(Record::Moved { payload, .. }) if payload.len() == 8));
        data[4] = 9;
        assert!(parse(&data).is_none());
        assert!(parse(&data[..20]).is_none());
        assert!(parse(&[9; 64]).is_none());
        assert!(parse(&[]).is_none());
    }
}
