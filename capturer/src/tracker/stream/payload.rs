//! The bytes that were captured of a call: some of what it moved, in order, with holes between them.

use crate::kernel::Run;

/// The bytes captured of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// The first run; most calls have no other.
    first: Option<Run>,
    /// What lies behind it.
    more: Vec<Run>,
}

// === impl Payload ===

impl Payload {
    /// Takes the runs of a call and, behind them, `bytes` at `offset`.
    #[must_use]
    pub fn new(runs: Vec<Run>, offset: u64, bytes: &[u8]) -> Self {
        let mut payload = Self { first: None, more: Vec::new() };
        for run in runs {
            payload.push(run.offset, run.bytes);
        }
        payload.push(offset, bytes.to_vec());
        payload
    }

    /// Returns the bytes that lie at the very front.
    #[must_use]
    pub fn front(&self) -> &[u8] {
        self.runs().next().filter(|(offset, _)| *offset == 0).map_or(&[], |(_, bytes)| bytes)
    }

    /// Returns the runs, in order, each with how many bytes of the call come before it.
    pub fn runs(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.first.iter().chain(&self.more).map(|run| (run.offset, run.bytes.as_slice()))
    }

    /// Returns the bytes of memory that it takes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let first = self.first.as_ref().map_or(0, |run| run.bytes.capacity());
        first + self.more.iter().map(|run| size_of::<Run>() + run.bytes.capacity()).sum::<usize>()
    }

    /// Splits the bytes of the call at `len`: returns what lies before it and keeps what lies behind.
    #[must_use]
    pub fn split(&mut self, len: u64) -> Self {
        let (mut before, mut behind) = (Self::default(), Self::default());
        for Run { offset, mut bytes } in self.first.take().into_iter().chain(self.more.drain(..)) {
            let here = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.len());
            let rest = bytes.split_off(here);
            behind.push((offset + here as u64).saturating_sub(len), rest);
            before.push(offset, bytes);
        }
        *self = behind;
        before
    }

    /// Adds bytes behind those that are there.
    pub(super) fn push(&mut self, offset: u64, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        match self.more.last_mut().or(self.first.as_mut()) {
            None => self.first = Some(Run { offset, bytes }),
            Some(last) if last.offset + last.bytes.len() as u64 == offset => {
                last.bytes.extend_from_slice(&bytes);
            }
            Some(last) if last.offset + last.bytes.len() as u64 > offset => {}
            Some(_) => self.more.push(Run { offset, bytes }),
        }
    }
}

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        Self::new(Vec::new(), 0, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(runs: &[(u64, &[u8])]) -> Payload {
        let runs =
            runs.iter().map(|(offset, bytes)| Run { offset: *offset, bytes: bytes.to_vec() }).collect();
        Payload::new(runs, 0, b"")
    }

    #[test]
    fn the_own_bytes_of_a_record_follow_its_pieces() {
        let runs = vec![Run { offset: 0, bytes: b"abc".to_vec() }];
        let whole = Payload::new(runs.clone(), 3, b"def");
        assert_eq!(whole.runs().collect::<Vec<_>>(), [(0, b"abcdef".as_slice())]);
        let apart = Payload::new(runs, 9, b"xyz");
        assert_eq!(apart.runs().collect::<Vec<_>>(), [(0, b"abc".as_slice()), (9, b"xyz")]);
        assert_eq!(apart.front(), b"abc");
        assert_eq!(Payload::new(Vec::new(), 5, b"late").front(), b"");
    }

    #[test]
    fn splits_fall_into_runs_and_between_them() {
        let whole = payload(&[(0, b"abcd"), (10, b"klmn")]);
        for at in 0..=16_u64 {
            let mut behind = whole.clone();
            let before = behind.split(at);
            let mut again: Vec<(u64, u8)> = Vec::new();
            for (shift, part) in [(0, &before), (at, &behind)] {
                for (offset, bytes) in part.runs() {
                    again.extend(bytes.iter().zip(shift + offset..).map(|(byte, at)| (at, *byte)));
                }
            }
            let expected: Vec<(u64, u8)> = (0..4).zip(*b"abcd").chain((10..14).zip(*b"klmn")).collect();
            assert_eq!(again, expected, "at {at}");
            assert!(before.runs().all(|(offset, bytes)| offset + bytes.len() as u64 <= at));
        }
    }
}
