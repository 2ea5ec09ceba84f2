//! Ring bytes as records, and structures as the bytes that the programs take.
#![expect(unsafe_code, reason = "the rings hold the structures of the layout as the programs wrote them")]

use std::{ffi::CStr, mem::offset_of};

use capturer_ebpf::{
    layout::{
        Arrival, Attempt, CGROUP_NAME_LEN, Cgroup, Connected, Ended, Framing, Kind, Moved, Opened, Packet,
        Piece, Process, Retransmit, Verdict,
    },
    settings::{Limits, Offsets},
};

use super::pieces::{Pieces, Run};

/// One record from the kernel.
#[derive(Clone, Debug)]
pub enum Record<'a> {
    /// A call moved bytes.
    Moved {
        /// What is known of the call.
        head: Moved,
        /// The bytes at [`Moved::offset`].
        payload: &'a [u8],
        /// Bytes of the call that lie before them, in order.
        pieces: Vec<Run>,
    },
    /// A connection is over.
    Ended(Ended),
    /// A connection was over before a byte went either way.
    Attempt(Attempt),
    /// A packet crossed an interface.
    Packet(Packet),
    /// Bytes came into a socket.
    Arrival(Arrival),
    /// Bytes were sent again.
    Retransmit(Retransmit),
    /// A connection took so long to open.
    Connected(Connected),
    /// A process runs another program.
    Exec(Process),
    /// A process ended.
    Exit(Process),
    /// A control group is seen for the first time.
    Cgroup {
        /// Its id.
        id: u64,
        /// When it was seen.
        at_ns: u64,
        /// Its path.
        path: CgroupPath<'a>,
    },
}

/// The names of the directories of a control group's path.
#[derive(Clone, Copy, Debug)]
pub struct CgroupPath<'a> {
    names: &'a [u8],
}

/// Structures of the layout: plain numbers, without padding.
trait Plain: Copy {}

impl Plain for Moved {}
impl Plain for Piece {}
impl Plain for Ended {}
impl Plain for Attempt {}
impl Plain for Opened {}
impl Plain for Packet {}
impl Plain for Arrival {}
impl Plain for Retransmit {}
impl Plain for Connected {}
impl Plain for Process {}
impl Plain for Verdict {}
impl Plain for Limits {}
impl Plain for Offsets {}

/// The record in `data`; `None` for a piece, which is kept for the record of its call, and for a record that this
/// layout does not have.
pub(super) fn parse<'a>(data: &'a [u8], pieces: &mut Pieces) -> Option<Record<'a>> {
    let kind = *data.first()?;
    if kind == Kind::Moved as u8 {
        let head: Moved = read(data)?;
        let payload = data.get(size_of::<Moved>()..)?.get(..head.captured as usize)?;
        let pieces = pieces.take(&head);
        Some(Record::Moved { head, payload, pieces })
    } else if kind == Kind::Piece as u8 {
        let piece: Piece = read(data)?;
        pieces.push(&piece, data.get(size_of::<Piece>()..)?.get(..piece.captured as usize)?);
        None
    } else if kind == Kind::Ended as u8 {
        read(data).map(Record::Ended)
    } else if kind == Kind::Attempt as u8 {
        read(data).map(Record::Attempt)
    } else if kind == Kind::Packet as u8 {
        read(data).map(Record::Packet)
    } else if kind == Kind::Arrival as u8 {
        read(data).map(Record::Arrival)
    } else if kind == Kind::Retransmit as u8 {
        read(data).map(Record::Retransmit)
    } else if kind == Kind::Connected as u8 {
        read(data).map(Record::Connected)
    } else if kind == Kind::Exec as u8 {
        read(data).map(Record::Exec)
    } else if kind == Kind::Exit as u8 {
        read(data).map(Record::Exit)
    } else if kind == Kind::Cgroup as u8 {
        cgroup(data)
    } else {
        None
    }
}

fn cgroup(data: &[u8]) -> Option<Record<'_>> {
    let word = |at: usize| data.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
    let (id, at_ns) = (word(offset_of!(Cgroup, id))?, word(offset_of!(Cgroup, at_ns))?);
    let levels = usize::from(*data.get(offset_of!(Cgroup, levels))?);
    let names = data.get(offset_of!(Cgroup, names)..)?.get(..levels * CGROUP_NAME_LEN)?;
    Some(Record::Cgroup { id, at_ns, path: CgroupPath { names } })
}

// === impl CgroupPath ===

impl<'a> CgroupPath<'a> {
    /// Returns the names from the inside out; a name that is not UTF-8 ends them, since no container runtime makes one.
    pub fn from_inside(self) -> impl Iterator<Item = &'a str> {
        self.names
            .chunks_exact(CGROUP_NAME_LEN)
            .map_while(|name| CStr::from_bytes_until_nul(name).ok()?.to_str().ok())
    }
}

fn read<T: Plain>(data: &[u8]) -> Option<T> {
    let data = data.get(..size_of::<T>())?;
    // SAFETY: there are as many bytes as the structure has, and every pattern of them is a value of it.
    Some(unsafe { data.as_ptr().cast::<T>().read_unaligned() })
}

/// A verdict as a map's value.
pub(super) fn verdict(verdict: Verdict) -> [u64; 3] {
    let Verdict { mode, framing, skip_until: [out, inward] } = verdict;
    let Framing { kind, header, at, width, beyond, big_endian, keep } = framing;
    [u64::from_ne_bytes([mode, kind, header, at, width, beyond, big_endian, keep]), out, inward]
}

/// How a socket was opened, as a map's value.
pub(super) type OpenedWords = [u64; size_of::<Opened>() / 8];

/// A map's value as how a socket was opened.
pub(super) fn opened(words: &OpenedWords) -> Option<Opened> {
    read(words.map(u64::to_ne_bytes).as_flattened())
}

/// The offsets as the bytes of a global.
pub(super) fn offsets(offsets: &Offsets) -> &[u8] {
    bytes(offsets)
}

/// The limits as the bytes of a global.
pub(super) fn limits(limits: &Limits) -> &[u8] {
    bytes(limits)
}

/// Returns words as the bytes that they are.
pub(super) fn bytes_of(words: &[u64]) -> &[u8] {
    // SAFETY: words have no padding, and are borrowed for as long as the slice.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
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
        let parse = |data: &[u8]| parse(data, &mut Pieces::default()).map(|record| format!("{record:?}"));
        let mut data = vec![0_u8; size_of::<Moved>() + 8];
        data[0] = Kind::Moved as u8;
        data[4] = 8;
        assert!(parse(&data).is_some_and(|record| record.contains("payload: [0, 0, 0, 0, 0, 0, 0, 0]")));
        data[4] = 9;
        assert!(parse(&data).is_none());
        assert!(parse(&data[..20]).is_none());
        assert!(parse(&[99; 64]).is_none());
        assert!(parse(&[]).is_none());
    }

    #[test]
    fn paths_are_read_from_the_inside() {
        let mut data = vec![0_u8; size_of::<Cgroup>()];
        data[0] = Kind::Cgroup as u8;
        data[offset_of!(Cgroup, levels)] = 2;
        data[offset_of!(Cgroup, id)] = 7;
        let names = offset_of!(Cgroup, names);
        data[names..names + 5].copy_from_slice(b"inner");
        data[names + CGROUP_NAME_LEN..][..5].copy_from_slice(b"outer");
        let mut pieces = Pieces::default();
        let Some(Record::Cgroup { id: 7, path, .. }) = parse(&data, &mut pieces) else { panic!("not read") };
        assert_eq!(path.from_inside().collect::<Vec<_>>(), ["inner", "outer"]);
        assert!(parse(&data[..names + CGROUP_NAME_LEN], &mut pieces).is_none());
    }
}
