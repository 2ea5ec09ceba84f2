//! The arithmetic of an exchange's time: marks in, additive segments out.
//!
//! Marks are the moments the contract names, on one monotonic clock; whichever were not observed are `None`. A segment
//! lies between two neighbouring marks. Where marks between two observed ones are missing, their segments are joined
//! into one: `internal` if it contains internal, else `network` if it contains network, else the later one. The
//! segments present therefore always sum, in integer nanoseconds, to last mark less first mark.

use proto::v1;

/// A segment by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// From the write to the boundary NIC.
    Send,
    /// Beyond the boundary NIC; holds the remote's work.
    Network,
    /// From the first to the last response byte at the boundary NIC.
    Transfer,
    /// From the boundary NIC into the socket.
    Receive,
    /// In the socket until the process reads.
    Queue,
    /// In the serving process.
    Internal,
    /// Copying to the process.
    Read,
}

/// The moments of an exchange as its client sees them, `CLOCK_MONOTONIC` nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientMarks {
    /// c0: the write of the request's first byte enters.
    pub write_enter: Option<u64>,
    /// c1: the last request byte past the boundary NIC before the response leaves it.
    pub nic_out: Option<u64>,
    /// c2: the response's first byte arrives at the boundary NIC.
    pub nic_in_first: Option<u64>,
    /// c3: the response's last byte arrives at the boundary NIC.
    pub nic_in_last: Option<u64>,
    /// c4: all up to the response's last byte is in the socket.
    pub socket_in: Option<u64>,
    /// c5: the copy of the response's last byte starts, where that was seen.
    pub copy: Option<u64>,
    /// The read that returns the response's last byte enters; stands in for `copy` where `socket_in` is observed.
    pub read_enter: Option<u64>,
    /// c6: that read returns.
    pub read_exit: Option<u64>,
}

/// The moments of an exchange as its server sees them, `CLOCK_MONOTONIC` nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerMarks {
    /// s0: the request's first byte arrives at the boundary NIC, else in the socket, else its read returns.
    pub first_in: Option<u64>,
    /// s1: all request bytes that matter are in the socket.
    pub socket_in: Option<u64>,
    /// s2: the read of the last of them returns.
    pub read_exit: Option<u64>,
    /// s3: the write of the response's first byte enters.
    pub write_enter: Option<u64>,
    /// s4: the response's last byte leaves the boundary NIC, else its write returns.
    pub last_out: Option<u64>,
}

/// An exchange's time, cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// The first mark.
    pub start_ns: u64,
    /// The segments; those present sum to the total.
    pub segments: v1::Segments,
    /// A mark was earlier than the one before it and was moved to it.
    pub clamped: bool,
    /// How many marks were observed; with one alone the total is not known.
    pub marks: usize,
}

/// The time of a connection over which nothing went, `CLOCK_MONOTONIC` nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it began.
    pub begun_ns: u64,
    /// When it ended, or was seen last.
    pub ended_ns: u64,
}

const CLIENT: [Segment; 6] =
    [Segment::Send, Segment::Network, Segment::Transfer, Segment::Receive, Segment::Queue, Segment::Read];
const SERVER: [Segment; 4] = [Segment::Receive, Segment::Queue, Segment::Internal, Segment::Send];

// === impl ClientMarks ===

impl ClientMarks {
    /// Cuts the time between the marks; `None` when no mark was observed.
    #[must_use]
    pub fn timing(&self) -> Option<Timing> {
        let Self { write_enter, nic_out, nic_in_first, nic_in_last, socket_in, copy, read_enter, read_exit } =
            *self;
        let copy = copy.or_else(|| Some(socket_in?.max(read_enter?)));
        cut(&[write_enter, nic_out, nic_in_first, nic_in_last, socket_in, copy, read_exit], &CLIENT)
    }
}

// === impl ServerMarks ===

impl ServerMarks {
    /// Cuts the time between the marks; `None` when no mark was observed.
    #[must_use]
    pub fn timing(&self) -> Option<Timing> {
        let Self { first_in, socket_in, read_exit, write_enter, last_out } = *self;
        cut(&[first_in, socket_in, read_exit, write_enter, last_out], &SERVER)
    }
}

/// Cuts by the marks; `names[i]` lies between `marks[i]` and `marks[i + 1]`.
fn cut(marks: &[Option<u64>], names: &[Segment]) -> Option<Timing> {
    let mut observed = marks.iter().enumerate().filter_map(|(index, mark)| Some((index, (*mark)?)));
    let (mut from, start_ns) = observed.next()?;
    let mut timing = Timing { start_ns, marks: 1, ..Timing::default() };
    let mut latest = start_ns;
    for (to, mark) in observed {
        timing.marks += 1;
        timing.clamped |= mark < latest;
        let mark = mark.max(latest);
        if let Some(name) = names.get(from..to).and_then(joined) {
            *slot(&mut timing.segments, name) = Some(mark - latest);
        }
        (from, latest) = (to, mark);
    }
    timing.segments.total_ns = latest - start_ns;
    Some(timing)
}

/// Names the join of neighbouring segments.
fn joined(names: &[Segment]) -> Option<Segment> {
    [Segment::Internal, Segment::Network]
        .into_iter()
        .find(|strong| names.contains(strong))
        .or_else(|| names.last().copied())
}

fn slot(segments: &mut v1::Segments, name: Segment) -> &mut Option<u64> {
    match name {
        Segment::Send => &mut segments.send_ns,
        Segment::Network => &mut segments.network_ns,
        Segment::Transfer => &mut segments.transfer_ns,
        Segment::Receive => &mut segments.receive_ns,
        Segment::Queue => &mut segments.queue_ns,
        Segment::Internal => &mut segments.internal_ns,
        Segment::Read => &mut segments.read_ns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(segments: &v1::Segments) -> u64 {
        let v1::Segments {
            total_ns: _,
            send_ns,
            network_ns,
            transfer_ns,
            receive_ns,
            queue_ns,
            internal_ns,
            read_ns,
        } = *segments;
        [send_ns, network_ns, transfer_ns, receive_ns, queue_ns, internal_ns, read_ns]
            .into_iter()
            .flatten()
            .sum()
    }

    /// Every subset of present marks, each with every order of neighbouring marks swapped.
    fn every(count: usize, mut check: impl FnMut(&[Option<u64>], bool)) {
        let times: Vec<u64> = (0..count as u64).map(|index| 1_000 + index * index * 7).collect();
        for present in 0..1_u32 << count {
            for swap in 0..count {
                let mut times = times.clone();
                let disordered = swap + 1 < count;
                if disordered {
                    times.swap(swap, swap + 1);
                }
                let marks: Vec<Option<u64>> = times
                    .iter()
                    .enumerate()
                    .map(|(index, time)| (present >> index & 1 == 1).then_some(*time))
                    .collect();
                let both = disordered && marks[swap].is_some() && marks[swap + 1].is_some();
                check(&marks, both);
            }
        }
    }

    #[test]
    fn segments_sum_to_the_total_whatever_is_missing() {
        for (count, names) in [(7, &CLIENT[..]), (5, &SERVER[..])] {
            every(count, |marks, disordered| {
                let observed: Vec<u64> = marks.iter().flatten().copied().collect();
                let Some(timing) = cut(marks, names) else {
                    assert!(observed.is_empty());
                    return;
                };
                assert_eq!(timing.start_ns, observed[0]);
                assert_eq!(timing.marks, observed.len());
                assert_eq!(sum(&timing.segments), timing.segments.total_ns, "{marks:?}");
                let last = observed.iter().copied().max().unwrap();
                assert_eq!(timing.segments.total_ns, last - observed[0], "{marks:?}");
                assert_eq!(timing.clamped, disordered, "{marks:?}");
            });
        }
    }

    #[test]
    fn a_client_without_packets_has_one_network_segment() {
        let marks = ClientMarks {
            write_enter: Some(10),
            read_enter: Some(12),
            read_exit: Some(60),
            ..Default::default()
        };
        let timing = marks.timing().unwrap();
        assert_eq!(
            timing.segments,
            v1::Segments { total_ns: 50, network_ns: Some(50), ..Default::default() }
        );
    }

    #[test]
    fn a_server_without_packets_has_queue_internal_send() {
        let marks = ServerMarks {
            first_in: Some(10),
            socket_in: None,
            read_exit: Some(13),
            write_enter: Some(113),
            last_out: Some(120),
        };
        let segments = marks.timing().unwrap().segments;
        assert_eq!(
            segments,
            v1::Segments {
                total_ns: 110,
                queue_ns: Some(3),
                internal_ns: Some(100),
                send_ns: Some(7),
                ..Default::default()
            }
        );
    }

    #[test]
    fn a_full_client_has_six_segments_and_the_copy_stands_in() {
        let mut marks = ClientMarks {
            write_enter: Some(0),
            nic_out: Some(1),
            nic_in_first: Some(3),
            nic_in_last: Some(6),
            socket_in: Some(10),
            copy: None,
            read_enter: Some(2),
            read_exit: Some(21),
        };
        let segments = marks.timing().unwrap().segments;
        let parts = [
            segments.send_ns,
            segments.network_ns,
            segments.transfer_ns,
            segments.receive_ns,
            segments.queue_ns,
            segments.read_ns,
        ];
        assert_eq!(parts.map(Option::unwrap), [1, 2, 3, 4, 0, 11], "the read was blocked: no queue");
        marks.copy = Some(15);
        assert_eq!(marks.timing().unwrap().segments.queue_ns, Some(5));
        marks.socket_in = None;
        marks.copy = None;
        assert_eq!(
            marks.timing().unwrap().segments.read_ns,
            Some(15),
            "receive, queue and read join to the later"
        );
    }

    #[test]
    fn durations_beyond_32_bits_are_exact() {
        let marks =
            ClientMarks { write_enter: Some(1), read_exit: Some(5_000_000_001), ..Default::default() };
        assert_eq!(marks.timing().unwrap().segments.total_ns, 5_000_000_000);
    }
}
