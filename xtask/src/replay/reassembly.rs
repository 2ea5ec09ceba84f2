//! One direction of a TCP connection: segments in, bytes in order out.
//!
//! Bytes that the capture does not hold though the other end acknowledged them are a *hole*. Of bytes that were sent
//! twice the first copy counts, as it does for the receiver.

use std::collections::BTreeMap;

/// One direction's state.
#[derive(Debug, Default)]
pub(super) struct Direction {
    /// Position of the next byte, counted as sequence numbers do and not wrapping; absent before the first packet.
    next: Option<u64>,
    /// Segments behind a place that has not come yet.
    waiting: BTreeMap<u64, Vec<u8>>,
}

/// The next part of a direction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Bytes.
    Bytes(Vec<u8>),
    /// So many bytes were sent and not captured.
    Hole(u64),
}

// === impl Direction ===

impl Direction {
    /// Takes where the direction begins, from its SYN, or from the first packet that names a place in it.
    pub(super) fn begin(&mut self, sequence: u32) {
        // A whole turn of the numbers ahead, so that nothing lies before 0.
        self.next.get_or_insert(u64::from(sequence) + (1 << 32));
    }

    /// Says whether a sequence number is the place where the direction stands.
    pub(super) fn is_at(&self, sequence: u32) -> bool {
        self.next.is_some_and(|next| next == unwrapped(next, sequence)) && self.waiting.is_empty()
    }

    /// Takes a segment's bytes.
    pub(super) fn take(&mut self, sequence: u32, bytes: Vec<u8>) {
        self.begin(sequence);
        let Some(next) = self.next else { return };
        let position = unwrapped(next, sequence);
        if bytes.is_empty() || end(position, &bytes) <= next {
            return;
        }
        let kept = self.waiting.entry(position).or_default();
        if bytes.len() > kept.len() {
            *kept = bytes;
        }
    }

    /// Takes out what is there without a hole.
    pub(super) fn ready(&mut self, parts: &mut Vec<Part>) {
        while let (Some(next), Some(first)) = (self.next, self.waiting.first_entry()) {
            let position = *first.key();
            if position > next {
                break;
            }
            let bytes = first.remove();
            let seen = usize::try_from(next - position).unwrap_or(usize::MAX);
            if let Some(fresh) = bytes.get(seen..).filter(|fresh| !fresh.is_empty()) {
                self.next = Some(end(next, fresh));
                parts.push(Part::Bytes(fresh.to_vec()));
            }
        }
    }

    /// The other end has received all up to this place: what is not there by now was not captured.
    pub(super) fn acknowledged(&mut self, sequence: u32, parts: &mut Vec<Part>) {
        let Some(next) = self.next else { return };
        let place = unwrapped(next, sequence);
        while let Some(next) = self.next.filter(|next| *next < place) {
            let first = self.waiting.first_key_value().map_or(place, |(position, _)| (*position).min(place));
            self.hole(next, first, parts);
            self.ready(parts);
        }
    }

    /// The capture ended: gives all that is left.
    pub(super) fn finish(&mut self, parts: &mut Vec<Part>) {
        while let (Some(next), Some((first, _))) = (self.next, self.waiting.first_key_value()) {
            let first = *first;
            self.hole(next, first, parts);
            self.ready(parts);
        }
    }

    fn hole(&mut self, from: u64, to: u64, parts: &mut Vec<Part>) {
        if to > from {
            parts.push(Part::Hole(to - from));
            self.next = Some(to);
        }
    }
}

// === free functions ===

/// Returns the place that a sequence number means: the one nearest to `next`.
fn unwrapped(next: u64, sequence: u32) -> u64 {
    let low = u32::try_from(next & u64::from(u32::MAX)).unwrap_or_default();
    let distance = i64::from(sequence.wrapping_sub(low).cast_signed());
    next.saturating_add_signed(distance)
}

fn end(position: u64, bytes: &[u8]) -> u64 {
    position + u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(direction: &mut Direction) -> Vec<Part> {
        let mut parts = Vec::new();
        direction.ready(&mut parts);
        parts
    }

    fn bytes(text: &str) -> Part {
        Part::Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn segments_come_in_order_once() {
        let mut direction = Direction::default();
        direction.begin(100);
        direction.take(103, b"def".to_vec());
        assert_eq!(ready(&mut direction), []);
        direction.take(100, b"abc".to_vec());
        assert_eq!(ready(&mut direction), [bytes("abc"), bytes("def")]);
        // Sent again, with more behind it.
        direction.take(103, b"defgh".to_vec());
        assert_eq!(ready(&mut direction), [bytes("gh")]);
        direction.take(100, b"abc".to_vec());
        assert_eq!(ready(&mut direction), []);
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut direction = Direction::default();
        direction.begin(u32::MAX - 1);
        direction.take(1, b"d".to_vec());
        direction.take(u32::MAX - 1, b"abc".to_vec());
        assert_eq!(ready(&mut direction), [bytes("abc"), bytes("d")]);
        assert!(direction.is_at(2));
    }

    #[test]
    fn what_was_received_and_not_captured_is_a_hole() {
        let mut direction = Direction::default();
        direction.begin(0);
        direction.take(10, b"late".to_vec());
        let mut parts = Vec::new();
        direction.acknowledged(5, &mut parts);
        assert_eq!(parts, [Part::Hole(5)]);
        direction.acknowledged(14, &mut parts);
        assert_eq!(parts, [Part::Hole(5), Part::Hole(5), bytes("late")]);
        direction.take(20, b"end".to_vec());
        parts.clear();
        direction.finish(&mut parts);
        assert_eq!(parts, [Part::Hole(6), bytes("end")]);
    }
}
