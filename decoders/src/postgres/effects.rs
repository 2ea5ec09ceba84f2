//! What statements do to the names of prepared statements and portals, as far as a completed command says that it was
//! done.

use crate::sql::{self, Dialect, Part};

/// Longest text that is looked at: who changes names says little else.
const MAX_TEXT: usize = 16 * 1024;

/// Something that a statement does to names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// `PREPARE name AS …`
    Prepare(Vec<u8>, Vec<u8>),
    /// `DEALLOCATE name`
    Deallocate(Vec<u8>),
    /// `DEALLOCATE ALL`
    DeallocateAll,
    /// `DISCARD ALL`
    DiscardAll,
    /// `CLOSE name`
    Close(Vec<u8>),
    /// `CLOSE ALL`
    CloseAll,
}

// === impl Effect ===

impl Effect {
    /// Returns what the statements of `text` do if the server executes them.
    pub(super) fn of(text: &[u8]) -> Vec<Self> {
        if text.len() > MAX_TEXT {
            return Vec::new();
        }
        sql::parts(text, Dialect::Postgres).iter().filter_map(Self::of_part).collect()
    }

    fn of_part(Part { words, body }: &Part<'_>) -> Option<Self> {
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        Some(match words.as_slice() {
            [b"prepare", b"transaction", ..] => return None,
            [b"prepare", name, ..] => Self::Prepare(name.to_vec(), body.trim_ascii().to_vec()),
            [b"deallocate", b"all"] | [b"deallocate", b"prepare", b"all"] => Self::DeallocateAll,
            [b"deallocate", b"prepare", name] | [b"deallocate", name] => Self::Deallocate(name.to_vec()),
            [b"discard", b"all"] => Self::DiscardAll,
            [b"close", b"all"] => Self::CloseAll,
            [b"close", name] => Self::Close(name.to_vec()),
            _ => return None,
        })
    }

    /// Tells whether a `CommandComplete` with this tag says that it was done.
    pub(super) fn is_done_by(&self, tag: &[u8]) -> bool {
        let tags: &[&[u8]] = match self {
            Self::Prepare(..) => &[b"PREPARE"],
            Self::Deallocate(_) => &[b"DEALLOCATE"],
            Self::DeallocateAll => &[b"DEALLOCATE ALL", b"DEALLOCATE"],
            Self::DiscardAll => &[b"DISCARD ALL", b"DISCARD"],
            Self::Close(_) => &[b"CLOSE CURSOR", b"CLOSE"],
            Self::CloseAll => &[b"CLOSE CURSOR ALL", b"CLOSE"],
        };
        tags.contains(&tag)
    }
}
