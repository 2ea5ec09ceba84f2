//! What was said on a stream, in words that two readers of it can be compared by.
//!
//! A *label* is what both must agree on: it leaves out what they write differently, such as escapes and letter case.

pub(super) mod ours;

use std::collections::BTreeMap;

/// Matches every label: a reader that cannot tell more.
pub(super) const ANY_LABEL: &str = "*";

/// Characters of a statement or path that labels compare.
const COMPARED_CHARS: usize = 60;

/// One request or response.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) label: String,
    /// As its reader writes it.
    pub(super) shown: String,
    /// Bytes on the wire, where known.
    pub(super) bytes: Option<u64>,
    /// The packet that completed it, where known.
    pub(super) frame: Option<u64>,
}

/// What was said in one protocol.
#[derive(Clone, Debug, Default)]
pub(super) struct Conversation {
    pub(super) requests: Vec<Said>,
    /// Only those whose outcome both readers name.
    pub(super) responses: Vec<Said>,
    /// Messages that nobody asked for.
    pub(super) pushes: u64,
    /// Messages that are not as they should be, by this reader.
    pub(super) malformed: u64,
    /// The reader does not read all that the protocol allows here, so what it lacks says nothing.
    pub(super) vague: bool,
}

/// What a reader found on a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Spoken {
    pub(super) conversations: BTreeMap<String, Conversation>,
    pub(super) unparsable: u64,
    pub(super) unpaired: u64,
    pub(super) gaps: u64,
}

// === impl Said ===

impl Said {
    pub(super) fn new(label: String, shown: String, bytes: Option<u64>) -> Self {
        Self { label, shown, bytes, frame: None }
    }

    /// Says whether two readers mean the same.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        self.label == other.label || self.label == ANY_LABEL || other.label == ANY_LABEL
    }
}

// === impl Spoken ===

impl Spoken {
    pub(super) fn conversation(&mut self, protocol: &str) -> &mut Conversation {
        self.conversations.entry(protocol.to_owned()).or_default()
    }
}

// === free functions ===

/// Returns the letters and digits at the beginning of a text, lower case. Escaped bytes, which every reader writes in its
/// own way, are left out.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        if character == '\\' {
            let mut digits = 0;
            while digits < 3 && rest.next_if(char::is_ascii_digit).is_some() {
                digits += 1;
            }
        } else if character.is_ascii_alphanumeric() && plain.len() < COMPARED_CHARS {
            plain.push(character.to_ascii_lowercase());
        }
    }
    plain
}

/// Returns a text's first word, upper case.
pub(super) fn verb(text: &str) -> String {
    let word = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').find(|word| !word.is_empty());
    word.unwrap_or_default().to_ascii_uppercase()
}
