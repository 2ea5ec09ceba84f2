//! What does not fit into memory while the store is away: exchanges in a file, first in, first out, up to a limit.
//!
//! The file is a ring: what is taken makes room for what comes, so that the limit is that of what waits, however long some
//! of it always does. Where each chunk begins and ends is known in memory alone, so that damage costs no more than a chunk.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use prost::Message as _;
use proto::v1;

/// Name of the file; what an earlier process left in it is overwritten.
const SPOOL_FILE: &str = "kyanos-spool";

/// Bytes before each exchange: its length.
const LENGTH_BYTES: usize = size_of::<u32>();

/// Who may read it: it holds payloads.
const OWNER_ONLY: u32 = 0o600;

/// A file of exchanges.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    /// What waits in it, the oldest first.
    chunks: VecDeque<Chunk>,
    limit: u64,
    /// Which giving up it has seen: what was in it before is lost.
    given_up: u64,
}

/// Exchanges that were added together, which one transaction holds.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    /// Where it begins and ends, counted without the turns that the ring makes.
    from: u64,
    to: u64,
    exchanges: usize,
}

/// Exchanges of a chunk.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Those that could be read.
    pub(super) exchanges: Vec<Arc<v1::Exchange>>,
    /// How many could not.
    pub(super) damaged: usize,
}

// === impl Spool ===

impl Spool {
    /// Makes the file in a folder that is there.
    pub(super) fn within(folder: &Path, limit: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(OWNER_ONLY);
        let file = options.open(folder.join(SPOOL_FILE))?;
        Ok(Self { file, chunks: VecDeque::new(), limit, given_up: 0 })
    }

    /// One on a disk that takes nothing.
    #[cfg(test)]
    pub(super) fn unwritable(folder: &Path) -> Self {
        use crate::store::SPOOL_BYTES;
        let made = Self::within(folder, SPOOL_BYTES).expect("a folder");
        Self { file: File::open(folder.join(SPOOL_FILE)).expect("it was made"), ..made }
    }

    /// Forgets what was in it before the writer gave up for this many times; `None` for whoever asks on behalf of a time
    /// that is given up itself.
    pub(super) fn at(&mut self, given_up: u64) -> Option<&mut Self> {
        if given_up < self.given_up {
            return None;
        }
        if given_up > self.given_up {
            self.given_up = given_up;
            self.clear();
        }
        Some(self)
    }

    /// Adds exchanges that one transaction holds; returns how many of them fit.
    pub(super) fn push<'a>(
        &mut self,
        exchanges: impl Iterator<Item = &'a Arc<v1::Exchange>>,
    ) -> io::Result<usize> {
        let from = self.chunks.back().map_or(0, |newest| newest.to);
        let oldest = self.chunks.front().map_or(from, |oldest| oldest.from);
        let room = self.limit.saturating_sub(from.saturating_sub(oldest));
        let (mut bytes, mut fitting) = (Vec::new(), 0);
        for exchange in exchanges {
            let length = exchange.encoded_len();
            let Ok(header) = u32::try_from(length) else { break };
            if (bytes.len() + LENGTH_BYTES + length) as u64 > room {
                break;
            }
            bytes.extend_from_slice(&header.to_le_bytes());
            exchange.encode(&mut bytes).map_err(io::Error::other)?;
            fitting += 1;
        }
        // What a full disk cut off is overwritten by the next attempt.
        self.write(&bytes, from)?;
        if fitting > 0 {
            let to = from + bytes.len() as u64;
            self.chunks.push_back(Chunk { from, to, exchanges: fitting });
        }
        Ok(fitting)
    }

    /// Takes the oldest chunk; `None` when nothing is there.
    pub(super) fn take(&mut self) -> Option<Read> {
        let read = self.read(0)?;
        self.chunks.pop_front();
        if self.chunks.is_empty() {
            self.clear();
        }
        Some(read)
    }

    /// Reads the chunk that has so many before it; `None` behind the newest.
    pub(super) fn read(&self, before: usize) -> Option<Read> {
        let chunk = *self.chunks.get(before)?;
        let mut exchanges = Vec::with_capacity(chunk.exchanges);
        if let Err(error) = self.read_chunk(chunk, &mut exchanges) {
            tracing::warn!(%error, "a part of what waited for the store on disk cannot be read");
        }
        let damaged = chunk.exchanges.saturating_sub(exchanges.len());
        Some(Read { exchanges, damaged })
    }

    /// Reads all of a chunk, or as much as can be: where a length is wrong nobody knows where the next one begins.
    fn read_chunk(&self, chunk: Chunk, into: &mut Vec<Arc<v1::Exchange>>) -> io::Result<()> {
        let (mut at, mut damaged) = (chunk.from, None);
        for _ in 0..chunk.exchanges {
            let mut header = [0; LENGTH_BYTES];
            self.fill(&mut header, at)?;
            let length = u32::from_le_bytes(header);
            at += LENGTH_BYTES as u64;
            if u64::from(length) > chunk.to.saturating_sub(at) {
                return Err(io::Error::from(io::ErrorKind::InvalidData));
            }
            let mut record = vec![0; length as usize];
            self.fill(&mut record, at)?;
            at += u64::from(length);
            match v1::Exchange::decode(record.as_slice()) {
                Ok(exchange) => into.push(Arc::new(exchange)),
                Err(error) => damaged = Some(io::Error::other(error)),
            }
        }
        damaged.map_or(Ok(()), Err)
    }

    /// Forgets all, and gives the disk its room back, where it takes that: else it is overwritten.
    fn clear(&mut self) {
        self.chunks.clear();
        if let Err(error) = self.file.set_len(0) {
            tracing::debug!(%error, "the disk keeps what waited for the store");
        }
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let (place, first) = self.turn(at, bytes.len());
        let (head, tail) = bytes.split_at(first);
        self.file.write_all_at(head, place)?;
        self.file.write_all_at(tail, 0)
    }

    fn fill(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let (place, first) = self.turn(at, bytes.len());
        let (head, tail) = bytes.split_at_mut(first);
        self.file.read_exact_at(head, place)?;
        self.file.read_exact_at(tail, 0)
    }

    /// Where in the file a place of the ring is, and how many of some bytes from there on come before its end.
    fn turn(&self, at: u64, bytes: usize) -> (u64, usize) {
        let place = at % self.limit.max(1);
        let before_end = usize::try_from(self.limit.saturating_sub(place)).unwrap_or(usize::MAX);
        (place, bytes.min(before_end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SPOOL_BYTES;

    fn exchanges(ids: std::ops::Range<u64>) -> Vec<Arc<v1::Exchange>> {
        ids.map(|id| {
            let request = Some(v1::Message { payload: vec![7; 100], ..Default::default() });
            Arc::new(v1::Exchange { id, request, operation: "GET /".to_owned(), ..Default::default() })
        })
        .collect()
    }

    fn ids(read: Option<Read>) -> Vec<u64> {
        let read = read.unwrap_or_default();
        assert_eq!(read.damaged, 0);
        read.exchanges.iter().map(|exchange| exchange.id).collect()
    }

    fn bytes_on_disk(folder: &tempfile::TempDir) -> u64 {
        std::fs::metadata(folder.path().join(SPOOL_FILE)).unwrap().len()
    }

    /// Writes over what is on disk.
    fn damage(folder: &tempfile::TempDir, bytes: &[u8], at: u64) {
        let file = OpenOptions::new().write(true).open(folder.path().join(SPOOL_FILE)).unwrap();
        file.write_all_at(bytes, at).unwrap();
    }

    #[test]
    fn what_goes_in_comes_out_whole_in_its_order_and_leaves_no_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::within(folder.path(), SPOOL_BYTES).unwrap();
        let all = exchanges(0..1200);
        for part in all.chunks(500) {
            assert_eq!(spool.push(part.iter()).unwrap(), part.len());
        }
        assert_eq!(spool.take().unwrap().exchanges, all[..500]);
        assert_eq!(spool.read(1).unwrap().exchanges, all[1000..], "reading takes nothing");
        assert!(spool.read(2).is_none());
        assert_eq!(spool.take().unwrap().exchanges, all[500..1000]);
        assert_eq!(spool.take().unwrap().exchanges, all[1000..]);
        assert!(spool.take().is_none());
        assert_eq!(bytes_on_disk(&folder), 0);
    }

    #[test]
    fn its_limit_is_that_of_what_waits_however_long_some_of_it_does() {
        let folder = tempfile::tempdir().unwrap();
        let each = (exchanges(100..101)[0].encoded_len() + LENGTH_BYTES) as u64;
        // Records lie across the end of the file at each turn.
        let limit = each * 10 + 7;
        let mut spool = Spool::within(folder.path(), limit).unwrap();
        assert_eq!(spool.push(exchanges(100..115).iter()).unwrap(), 10);
        assert_eq!(spool.push(exchanges(115..116).iter()).unwrap(), 0, "it is full");
        assert_eq!(ids(spool.take()), (100..110).collect::<Vec<_>>());
        // From now on it is never empty.
        assert_eq!(spool.push(exchanges(110..113).iter()).unwrap(), 3);
        for turn in 0..50 {
            let first = 110 + turn * 3;
            assert_eq!(spool.push(exchanges(first + 3..first + 6).iter()).unwrap(), 3, "turn {turn}");
            assert_eq!(ids(spool.take()), (first..first + 3).collect::<Vec<_>>());
            assert!(bytes_on_disk(&folder) <= limit);
        }
        assert_eq!(spool.push(exchanges(100..120).iter()).unwrap(), 7, "no more than there is room for");
    }

    #[test]
    fn what_was_given_up_is_not_found_again_and_who_asks_late_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::within(folder.path(), SPOOL_BYTES).unwrap();
        spool.push(exchanges(0..5).iter()).unwrap();
        assert_eq!(spool.at(0).unwrap().read(0).unwrap().exchanges.len(), 5);
        spool.at(1).unwrap().push(exchanges(5..7).iter()).unwrap();
        assert!(spool.at(0).is_none(), "what it would put there is given up");
        assert_eq!(ids(spool.at(1).unwrap().take()), [5, 6]);
        assert!(spool.at(3).unwrap().take().is_none());
        assert!(spool.at(2).is_none());
    }

    #[test]
    fn damage_costs_what_it_hits_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let each = (exchanges(100..101)[0].encoded_len() + LENGTH_BYTES) as u64;
        let mut spool = Spool::within(folder.path(), SPOOL_BYTES).unwrap();
        for first in [100, 103, 106, 109] {
            spool.push(exchanges(first..first + 3).iter()).unwrap();
        }
        // One that cannot be decoded, a length that cannot be, and the end that is gone.
        damage(&folder, &[0xff; 20], each + LENGTH_BYTES as u64);
        damage(&folder, &u32::MAX.to_le_bytes(), each * 4);
        let file = OpenOptions::new().write(true).open(folder.path().join(SPOOL_FILE)).unwrap();
        file.set_len(each * 11).unwrap();
        let mut taken = || {
            let read = spool.take().unwrap();
            (read.exchanges.iter().map(|one| one.id).collect::<Vec<_>>(), read.damaged)
        };
        assert_eq!(taken(), (vec![100, 102], 1));
        assert_eq!(taken(), (vec![103], 2));
        assert_eq!(taken(), (vec![106, 107, 108], 0));
        assert_eq!(taken(), (vec![109, 110], 1));
        assert!(spool.take().is_none());
        spool.push(exchanges(200..201).iter()).unwrap();
        assert_eq!(ids(spool.take()), [200]);
    }
}
