//! Which values of `INSERT INTO t (…, password, …) VALUES (…)` are secrets.

use super::names;

/// Follows one `INSERT`: the list of columns, then the rows.
#[derive(Debug, Default)]
pub(super) struct Columns {
    phase: Phase,
    /// The depth of parentheses at which the columns and the values stand.
    depth: u32,
    /// The column or value that comes next.
    position: usize,
    /// Positions of the columns that hold secrets.
    secret: Vec<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    None,
    /// Behind `INTO`.
    Into,
    /// In the list of columns.
    Columns,
    /// Behind it.
    Listed,
    /// Behind `VALUES`.
    Rows,
}

/// Most columns of secrets that are remembered: nobody has more, and each row asks for them.
const MAX_SECRET: usize = 64;

// === impl Columns ===

impl Columns {
    /// Takes a word or a name in quotes, in lower case.
    pub(super) fn name(&mut self, depth: u32, word: &str) {
        match self.phase {
            Phase::Columns if depth == self.depth => {
                if names::is_secret(word) && self.secret.len() < MAX_SECRET {
                    self.secret.push(self.position);
                }
            }
            _ if word == "into" => {
                *self = Self { phase: Phase::Into, ..Self::default() };
            }
            Phase::Listed if matches!(word, "values" | "value") => {
                self.phase = Phase::Rows;
            }
            Phase::None | Phase::Into | Phase::Columns | Phase::Listed | Phase::Rows => {}
        }
    }

    /// Takes `(`, which makes the depth `depth`.
    pub(super) fn open(&mut self, depth: u32) {
        if self.phase == Phase::Into {
            self.phase = Phase::Columns;
            self.depth = depth;
        }
        if depth == self.depth {
            self.position = 0;
        }
    }

    /// Takes `)` at `depth`.
    pub(super) fn close(&mut self, depth: u32) {
        if depth == self.depth && self.phase == Phase::Columns {
            self.phase = if self.secret.is_empty() { Phase::None } else { Phase::Listed };
        }
    }

    /// Takes a comma at `depth`.
    pub(super) fn comma(&mut self, depth: u32) {
        if depth == self.depth {
            self.position = self.position.saturating_add(1);
        }
    }

    /// Tells whether a literal at `depth` belongs to a secret's column.
    pub(super) fn is_secret(&self, depth: u32) -> bool {
        self.phase == Phase::Rows && depth >= self.depth && self.secret.contains(&self.position)
    }
}
