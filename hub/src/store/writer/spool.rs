//! What does not fit into memory while the store is away: exchanges in a file, first in, first out, up to a limit.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use prost::Message as _;
use proto::v1;

use super::{BATCH_BYTES, BATCH_ROWS};

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
    /// Where the oldest begins.
    from: u64,
    /// Where the newest ends.
    to: u64,
    limit: u64,
    /// Which giving up it has seen: what was in it before is lost.
    given_up: u64,
}

/// Exchanges of a file, and where the next one begins.
pub(super) type Read = (Vec<Arc<v1::Exchange>>, u64);

// === impl Spool ===

impl Spool {
    /// Makes the file in a folder that is there.
    pub(super) fn within(folder: &Path, limit: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(OWNER_ONLY);
        let file = options.open(folder.join(SPOOL_FILE))?;
        Ok(Self { file, from: 0, to: 0, limit, given_up: 0 })
    }

    /// One on a disk that takes nothing.
    #[cfg(test)]
    pub(super) fn unwritable(folder: &Path) -> Self {
        use crate::store::SPOOL_BYTES;
        drop(Self::within(folder, SPOOL_BYTES));
        let file = File::open(folder.join(SPOOL_FILE)).expect("it was made");
        Self { file, from: 0, to: 0, limit: SPOOL_BYTES, given_up: 0 }
    }

    /// Forgets what was in it before the writer gave up for this many times.
    pub(super) fn at(&mut self, given_up: u64) -> io::Result<&mut Self> {
        if self.given_up != given_up {
            self.given_up = given_up;
            self.clear()?;
        }
        Ok(self)
    }

    /// Adds exchanges; returns how many of them fit.
    pub(super) fn push<'a>(
        &mut self,
        exchanges: impl Iterator<Item = &'a Arc<v1::Exchange>>,
    ) -> io::Result<usize> {
        let (mut bytes, mut fitting) = (Vec::new(), 0);
        for exchange in exchanges {
            let length = exchange.encoded_len();
            let Ok(header) = u32::try_from(length) else { break };
            let end = self.to + (bytes.len() + LENGTH_BYTES + length) as u64;
            if end > self.limit {
                break;
            }
            bytes.extend_from_slice(&header.to_le_bytes());
            exchange.encode(&mut bytes).map_err(io::Error::other)?;
            fitting += 1;
        }
        // What a full disk cut off is overwritten by the next attempt.
        self.file.write_all_at(&bytes, self.to)?;
        self.to += bytes.len() as u64;
        Ok(fitting)
    }

    /// Takes the oldest, as many as one transaction holds.
    pub(super) fn take(&mut self) -> io::Result<Vec<Arc<v1::Exchange>>> {
        let (exchanges, next) = self.read(self.from)?;
        self.from = next;
        if self.from >= self.to {
            self.clear()?;
        }
        Ok(exchanges)
    }

    /// Reads from a place on, as many as one transaction holds; none at the end.
    pub(super) fn read(&self, at: u64) -> io::Result<Read> {
        let (mut exchanges, mut at, mut bytes) = (Vec::new(), at.max(self.from), 0);
        while at < self.to && exchanges.len() < BATCH_ROWS && bytes < BATCH_BYTES {
            let mut header = [0; LENGTH_BYTES];
            self.file.read_exact_at(&mut header, at)?;
            let length = u32::from_le_bytes(header);
            at += LENGTH_BYTES as u64;
            if u64::from(length) > self.to.saturating_sub(at) {
                return Err(io::Error::from(io::ErrorKind::InvalidData));
            }
            let mut record = vec![0; length as usize];
            self.file.read_exact_at(&mut record, at)?;
            at += u64::from(length);
            bytes += record.len();
            exchanges.push(Arc::new(v1::Exchange::decode(record.as_slice()).map_err(io::Error::other)?));
        }
        Ok((exchanges, at))
    }

    /// Gives the disk its room back.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        (self.from, self.to) = (0, 0);
        self.file.set_len(0)
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

    fn ids(exchanges: &[Arc<v1::Exchange>]) -> Vec<u64> {
        exchanges.iter().map(|exchange| exchange.id).collect()
    }

    #[test]
    fn what_goes_in_comes_out_whole_in_its_order_and_leaves_no_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::within(folder.path(), SPOOL_BYTES).unwrap();
        let all = exchanges(0..2000);
        assert_eq!(spool.push(all[..1500].iter()).unwrap(), 1500);
        let first = spool.take().unwrap();
        assert_eq!(spool.push(all[1500..].iter()).unwrap(), 500);
        assert_eq!((first.len(), &first[0]), (BATCH_ROWS, &all[0]));
        let (mut found, mut again) = (first.clone(), Vec::new());
        let mut at = 0;
        while again.len() + first.len() < all.len() {
            let (some, next) = spool.read(at).unwrap();
            again.extend(some);
            at = next;
        }
        while found.len() < all.len() {
            found.extend(spool.take().unwrap());
        }
        assert_eq!(found, all);
        assert_eq!(again, all[first.len()..], "reading takes nothing");
        assert!(spool.take().unwrap().is_empty());
        assert_eq!(std::fs::metadata(folder.path().join(SPOOL_FILE)).unwrap().len(), 0);
    }

    #[test]
    fn its_limit_is_that_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let each = (exchanges(100..101)[0].encoded_len() + LENGTH_BYTES) as u64;
        let mut spool = Spool::within(folder.path(), each * 10).unwrap();
        assert_eq!(spool.push(exchanges(100..115).iter()).unwrap(), 10);
        assert_eq!(spool.push(exchanges(115..116).iter()).unwrap(), 0);
        assert_eq!(std::fs::metadata(folder.path().join(SPOOL_FILE)).unwrap().len(), each * 10);
        assert_eq!(ids(&spool.take().unwrap()), (100..110).collect::<Vec<_>>());
        assert_eq!(spool.push(exchanges(120..121).iter()).unwrap(), 1, "there is room again");
    }

    #[test]
    fn what_was_given_up_is_not_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::within(folder.path(), SPOOL_BYTES).unwrap();
        spool.push(exchanges(0..5).iter()).unwrap();
        assert_eq!(spool.at(0).unwrap().read(0).unwrap().0.len(), 5);
        spool.at(1).unwrap().push(exchanges(5..7).iter()).unwrap();
        assert_eq!(ids(&spool.at(1).unwrap().take().unwrap()), [5, 6]);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::within(folder.path(), SPOOL_BYTES).unwrap();
        spool.push(exchanges(0..3).iter()).unwrap();
        let file = OpenOptions::new().write(true).open(folder.path().join(SPOOL_FILE)).unwrap();
        file.write_all_at(&u32::MAX.to_le_bytes(), 0).unwrap();
        assert!(spool.read(0).is_err());
        file.set_len(2).unwrap();
        assert!(spool.take().is_err());
        spool.clear().unwrap();
        assert!(spool.take().unwrap().is_empty());
    }
}
