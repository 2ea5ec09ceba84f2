//! TCP sequence numbers as 64-bit positions; the only place that knows about their 32-bit wrap.

/// The space below the first sequence number, so that numbers a little lower than it stay positive.
const ROOM_BELOW_FIRST: u64 = 1 << 32;

/// The unwrapped sequence space of one direction of a connection.
///
/// Positions are at least `2^32 - 2^31`; a sequence number means the position nearest to the last one seen, so
/// numbers may step back by up to 2 GiB and forward by up to 2 GiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sequence {
    last: Option<u64>,
}

// === impl Sequence ===

impl Sequence {
    /// Returns the position of `number`, the nearest one to what was seen before.
    #[must_use]
    pub fn position(&self, number: u32) -> u64 {
        let Some(last) = self.last else { return ROOM_BELOW_FIRST + u64::from(number) };
        let low = last & 0xffff_ffff;
        let step = number.wrapping_sub(u32::try_from(low).unwrap_or(0)).cast_signed();
        last.saturating_add_signed(i64::from(step))
    }

    /// Returns the position of `number` and takes it as the one that later numbers are near to, if it is ahead.
    pub fn advance(&mut self, number: u32) -> u64 {
        let position = self.position(number);
        self.last = Some(self.last.map_or(position, |last| last.max(position)));
        position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_once_per_4_gib() {
        let mut sequence = Sequence::default();
        let mut expected = sequence.advance(u32::MAX - 10);
        let mut number = u32::MAX - 10;
        for _ in 0..10_000 {
            number = number.wrapping_add(0x0fff_fff1);
            expected += 0x0fff_fff1;
            assert_eq!(sequence.advance(number), expected);
        }
        assert!(expected > 1 << 41);
    }

    #[test]
    fn steps_back_across_the_wrap() {
        let mut sequence = Sequence::default();
        let start = sequence.advance(5);
        assert_eq!(sequence.position(u32::MAX), start - 6);
        assert_eq!(sequence.advance(u32::MAX), start - 6);
        assert_eq!(sequence.advance(7), start + 2, "stepping back does not move the anchor");
    }
}
