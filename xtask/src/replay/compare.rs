//! Two readers of one stream, side by side.

use std::collections::BTreeSet;
use std::ops::AddAssign;

use serde_json::{Value, json};

use super::spoken::{Conversation, Said, Spoken};

/// Longest pair of lists that are aligned exactly; beyond, places are matched by walking along both.
const EXACT_PAIRS: usize = 4_000_000;

/// Steps that walking looks ahead for the next match.
const STEPS_AHEAD: usize = 50;

/// What may be said of a stream before it is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Condition {
    /// The capture holds its beginning, and we were shown it.
    pub(super) from_start: bool,
    /// The capture holds all its bytes.
    pub(super) complete: bool,
}

/// One protocol on one stream.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) protocol: String,
    pub(super) requests: Vec<Pair>,
    pub(super) responses: Vec<Pair>,
    /// tshark finds this protocol on the stream.
    pub(super) witnessed: bool,
    pub(super) malformed: u64,
    /// What tshark lacks says nothing.
    pub(super) vague: bool,
    pub(super) pushes: u64,
}

/// What either reader has at one place.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) ours: Option<Said>,
    pub(super) theirs: Option<Said>,
}

/// How the two of a pair differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// Not at all, as far as both know.
    None,
    /// Only tshark has it.
    Missing,
    /// Only we have it.
    Extra,
    /// Both have it, with other sizes.
    Bytes,
}

/// Sums over streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) streams: u64,
    pub(super) witnessed: u64,
    pub(super) ours: u64,
    pub(super) missing: u64,
    pub(super) extra: u64,
    pub(super) bytes: u64,
    /// Responses that only tshark has. It waits for the end of bodies that end with the connection, and lacks some.
    pub(super) outcomes: u64,
    /// Exchanges and pushes on streams where tshark finds no protocol of ours.
    pub(super) foreign: u64,
}

// === impl Comparison ===

impl Comparison {
    /// Compares all that both found on a stream.
    pub(super) fn of(ours: &Spoken, theirs: &Spoken) -> Vec<Self> {
        let names: BTreeSet<&String> = ours.conversations.keys().chain(theirs.conversations.keys()).collect();
        let nothing = Conversation::default();
        let compared = names.into_iter().map(|protocol| {
            let (mine, witness) = (ours.conversations.get(protocol), theirs.conversations.get(protocol));
            let (mine, witness) = (mine.unwrap_or(&nothing), witness.unwrap_or(&nothing));
            Self {
                protocol: protocol.clone(),
                requests: align(&mine.requests, &witness.requests),
                responses: align(&mine.responses, &witness.responses),
                witnessed: theirs.conversations.contains_key(protocol),
                malformed: witness.malformed,
                vague: witness.vague,
                pushes: mine.pushes,
            }
        });
        compared.collect()
    }

    /// Says whether nothing differs.
    pub(super) fn agrees(&self) -> bool {
        let same = |pair: &Pair| self.judge(pair) == Difference::None;
        self.requests.iter().all(same) && self.responses.iter().all(|pair| pair.ours.is_some())
    }

    /// Says how a pair of requests differs, where tshark can know.
    pub(super) fn judge(&self, pair: &Pair) -> Difference {
        match pair.difference() {
            Difference::Extra if self.vague => Difference::None,
            difference @ (Difference::None | Difference::Missing | Difference::Extra | Difference::Bytes) => {
                difference
            }
        }
    }

    /// Counts.
    pub(super) fn totals(&self) -> Totals {
        let count = |wanted| {
            let found = self.requests.iter().filter(|pair| self.judge(pair) == wanted).count();
            u64::try_from(found).unwrap_or(u64::MAX)
        };
        let have = |pairs: &[Pair], side: fn(&Pair) -> bool| {
            u64::try_from(pairs.iter().filter(|pair| side(pair)).count()).unwrap_or(u64::MAX)
        };
        let outcomes = self.responses.iter().filter(|pair| pair.ours.is_none()).count();
        let ours = have(&self.requests, |pair| pair.ours.is_some());
        Totals {
            streams: 0,
            witnessed: have(&self.requests, |pair| pair.theirs.is_some()),
            ours,
            missing: count(Difference::Missing),
            extra: count(Difference::Extra),
            bytes: count(Difference::Bytes),
            outcomes: u64::try_from(outcomes).unwrap_or(u64::MAX),
            foreign: if self.witnessed { 0 } else { ours + self.pushes },
        }
    }

    /// Returns the comparison for machines.
    pub(super) fn json(&self) -> Value {
        let json = |pair: &Pair| pair.json(self.judge(pair));
        let pairs = |pairs: &[Pair]| pairs.iter().map(json).collect::<Vec<_>>();
        json!({
            "protocol": self.protocol,
            "witnessed": self.witnessed,
            "malformed": self.malformed,
            "pushes": self.pushes,
            "requests": pairs(&self.requests),
            "responses": pairs(&self.responses),
        })
    }
}

// === impl Pair ===

impl Pair {
    /// Says how the two differ.
    pub(super) fn difference(&self) -> Difference {
        match (&self.ours, &self.theirs) {
            (Some(ours), Some(theirs)) => match (ours.bytes, theirs.bytes) {
                (Some(ours), Some(theirs)) if ours != theirs => Difference::Bytes,
                _ => Difference::None,
            },
            (None, _) => Difference::Missing,
            (_, None) => Difference::Extra,
        }
    }

    fn json(&self, difference: Difference) -> Value {
        let side = |said: &Option<Said>| {
            said.as_ref().map(|said| json!({ "text": said.shown, "bytes": said.bytes, "packet": said.frame }))
        };
        json!({ "difference": difference.word(), "ours": side(&self.ours), "tshark": side(&self.theirs) })
    }
}

// === impl Difference ===

impl Difference {
    /// Names it for machines and marks.
    pub(super) fn word(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Missing => Some("missing"),
            Self::Extra => Some("extra"),
            Self::Bytes => Some("bytes"),
        }
    }
}

// === impl Totals ===

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        let Self { streams, witnessed, ours, missing, extra, bytes, outcomes, foreign } = other;
        self.streams += streams;
        self.witnessed += witnessed;
        self.ours += ours;
        self.missing += missing;
        self.extra += extra;
        self.bytes += bytes;
        self.outcomes += outcomes;
        self.foreign += foreign;
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { streams, witnessed, ours, missing, extra, bytes, outcomes, foreign } = self;
        write!(
            f,
            "streams {streams}, requests tshark {witnessed} ours {ours}, missing {missing}, extra {extra}, \
             bytes differing {bytes}, outcomes missing {outcomes}, on foreign streams {foreign}"
        )
    }
}

impl Totals {
    /// Returns the sums for machines.
    pub(super) fn json(&self) -> Value {
        let Self { streams, witnessed, ours, missing, extra, bytes, outcomes, foreign } = self;
        json!({
            "streams": streams, "tshark": witnessed, "ours": ours, "missing": missing, "extra": extra,
            "bytes": bytes, "outcomes": outcomes, "foreign": foreign,
        })
    }
}

// === free functions ===

/// Puts two lists beside each other, so that as few as possible stand alone.
fn align(ours: &[Said], theirs: &[Said]) -> Vec<Pair> {
    let same = |(ours, theirs): &(&Said, &Said)| ours.agrees(theirs);
    let head = ours.iter().zip(theirs).take_while(same).count();
    let (ours_left, theirs_left) = (&ours[head..], &theirs[head..]);
    let tail = ours_left.iter().rev().zip(theirs_left.iter().rev()).take_while(same).count();
    let middle = (&ours_left[..ours_left.len() - tail], &theirs_left[..theirs_left.len() - tail]);
    let mut pairs: Vec<Pair> = ours.iter().zip(theirs).take(head).map(both).collect();
    if middle.0.len().saturating_mul(middle.1.len()) <= EXACT_PAIRS {
        exactly(middle.0, middle.1, &mut pairs);
    } else {
        walking(middle.0, middle.1, &mut pairs);
    }
    let ends = ours_left[middle.0.len()..].iter().zip(&theirs_left[middle.1.len()..]);
    pairs.extend(ends.map(both));
    pairs
}

fn both((ours, theirs): (&Said, &Said)) -> Pair {
    Pair { ours: Some(ours.clone()), theirs: Some(theirs.clone()) }
}

fn only_ours(said: &Said) -> Pair {
    Pair { ours: Some(said.clone()), theirs: None }
}

fn only_theirs(said: &Said) -> Pair {
    Pair { ours: None, theirs: Some(said.clone()) }
}

/// The longest common subsequence, by a table of the lengths of those that begin at each pair of places.
fn exactly(ours: &[Said], theirs: &[Said], pairs: &mut Vec<Pair>) {
    let width = theirs.len() + 1;
    let mut lengths = vec![0_u32; (ours.len() + 1) * width];
    for i in (0..ours.len()).rev() {
        for j in (0..theirs.len()).rev() {
            let here = i * width + j;
            lengths[here] = if ours[i].agrees(&theirs[j]) {
                lengths[here + width + 1] + 1
            } else {
                lengths[here + width].max(lengths[here + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < ours.len() && j < theirs.len() {
        let here = i * width + j;
        if ours[i].agrees(&theirs[j]) {
            pairs.push(both((&ours[i], &theirs[j])));
            (i, j) = (i + 1, j + 1);
        } else if lengths[here + width] >= lengths[here + 1] {
            pairs.push(only_ours(&ours[i]));
            i += 1;
        } else {
            pairs.push(only_theirs(&theirs[j]));
            j += 1;
        }
    }
    pairs.extend(ours[i..].iter().map(only_ours));
    pairs.extend(theirs[j..].iter().map(only_theirs));
}

/// Takes each next match that is near, which long lists that hardly differ have.
fn walking(mut ours: &[Said], mut theirs: &[Said], pairs: &mut Vec<Pair>) {
    while let (Some(mine), Some(witness)) = (ours.first(), theirs.first()) {
        let near_theirs = theirs.iter().take(STEPS_AHEAD).position(|said| said.agrees(mine));
        let near_ours = ours.iter().take(STEPS_AHEAD).position(|said| said.agrees(witness));
        let (skip_ours, skip_theirs) = match (near_ours, near_theirs) {
            (Some(0), _) | (_, Some(0)) => {
                pairs.push(both((mine, witness)));
                (ours, theirs) = (&ours[1..], &theirs[1..]);
                continue;
            }
            (Some(skip), other) if other.is_none_or(|other| skip <= other) => (skip, 0),
            (_, Some(skip)) => (0, skip),
            (_, None) => (1, 1),
        };
        pairs.extend(ours[..skip_ours].iter().map(only_ours));
        pairs.extend(theirs[..skip_theirs].iter().map(only_theirs));
        (ours, theirs) = (&ours[skip_ours..], &theirs[skip_theirs..]);
    }
    pairs.extend(ours.iter().map(only_ours));
    pairs.extend(theirs.iter().map(only_theirs));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(labels: &str) -> Vec<Said> {
        labels
            .split_whitespace()
            .map(|label| Said::new(label.to_owned(), label.to_owned(), Some(3)))
            .collect()
    }

    fn shown(pairs: &[Pair]) -> String {
        let one = |pair: &Pair| match (&pair.ours, &pair.theirs) {
            (Some(ours), Some(_)) => ours.label.clone(),
            (Some(ours), None) => format!("+{}", ours.label),
            (None, Some(theirs)) => format!("-{}", theirs.label),
            (None, None) => "?".to_owned(),
        };
        pairs.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_only_one_reader_has_stands_alone() {
        for (ours, theirs, expected) in [
            ("a b c", "a b c", "a b c"),
            ("a c", "a b c", "a -b c"),
            ("a x c d", "a c d e", "a +x c d -e"),
            ("", "a", "-a"),
            ("a b", "* b", "a b"),
        ] {
            assert_eq!(shown(&align(&said(ours), &said(theirs))), expected);
            let mut pairs = Vec::new();
            walking(&said(ours), &said(theirs), &mut pairs);
            assert_eq!(shown(&pairs), expected, "walking");
        }
    }

    #[test]
    fn sizes_differ_only_where_both_are_known() {
        let mut ours = said("a b c");
        ours[0].bytes = Some(4);
        ours[1].bytes = None;
        let mine = Spoken {
            conversations: [("p".to_owned(), Conversation { requests: ours, ..Conversation::default() })]
                .into(),
            ..Spoken::default()
        };
        let theirs = Spoken {
            conversations: [(
                "p".to_owned(),
                Conversation { requests: said("a b c d"), ..Conversation::default() },
            )]
            .into(),
            ..Spoken::default()
        };
        let compared = Comparison::of(&mine, &theirs);
        let totals = compared[0].totals();
        assert_eq!(
            (totals.ours, totals.witnessed, totals.missing, totals.extra, totals.bytes),
            (3, 4, 1, 0, 1)
        );
        assert!(!compared[0].agrees());
        let alone = Comparison::of(&mine, &Spoken::default());
        assert_eq!((alone[0].totals().foreign, alone[0].totals().extra), (3, 3));
    }
}
