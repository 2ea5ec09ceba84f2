//! Writes results as readable text: a line of names, a line per row, and how many rows there were.

/// Kept free for the last line, so that a long result still says how many rows it had.
const TAIL_BYTES: usize = 64;

/// The text of a response, bounded by the payload's limit.
#[derive(Debug, Default)]
pub(crate) struct Table {
    text: Vec<u8>,
    limit: usize,
    truncated: bool,
    rows: u64,
}

// === impl Table ===

impl Table {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Tells whether more rows would be shown.
    pub(crate) fn has_room(&self) -> bool {
        self.text.len() < self.limit.saturating_sub(TAIL_BYTES)
    }

    /// Adds bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let room = self.limit.saturating_sub(TAIL_BYTES).saturating_sub(self.text.len());
        self.truncated |= bytes.len() > room;
        self.text.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// Adds one line.
    pub(crate) fn line(&mut self, line: &[u8]) {
        if !self.text.is_empty() {
            self.write(b"\n");
        }
        self.write(line);
    }

    /// Adds a line of cells; `None` is NULL.
    pub(crate) fn cells<'c>(&mut self, cells: impl Iterator<Item = Option<&'c [u8]>>) {
        if !self.text.is_empty() {
            self.write(b"\n");
        }
        for (index, cell) in cells.enumerate() {
            if index > 0 {
                self.write(b"\t");
            }
            match cell {
                None => self.write(b"NULL"),
                Some(cell) => self.cell(cell),
            }
            if !self.has_room() {
                self.truncated = true;
                return;
            }
        }
    }

    /// Counts a row, shown or not.
    pub(crate) fn count_row(&mut self) {
        self.rows = self.rows.saturating_add(1);
        self.truncated |= !self.has_room();
    }

    /// Says that something of the result was not captured.
    pub(crate) fn cut(&mut self) {
        self.truncated = true;
    }

    /// Adds the last line of a result.
    pub(crate) fn tail(&mut self, line: &str) {
        let line = line.as_bytes();
        let separator: &[u8] = if self.text.is_empty() { b"" } else { b"\n" };
        let needed = self.text.len().saturating_add(line.len()).saturating_add(separator.len());
        if needed <= self.limit {
            self.text.extend_from_slice(separator);
            self.text.extend_from_slice(line);
        } else {
            self.truncated = true;
        }
    }

    /// Ends the rows of one result with their number.
    pub(crate) fn end_rows(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        self.tail(&format!("({rows} {})", if rows == 1 { "row" } else { "rows" }));
    }

    /// Returns the text, and whether something is missing.
    pub(crate) fn finish(self) -> (Vec<u8>, bool) {
        (self.text, self.truncated)
    }

    /// Adds a cell; what would break the line or the column is escaped.
    fn cell(&mut self, cell: &[u8]) {
        let special = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b'\\');
        let mut rest = cell;
        while let Some(at) = rest.iter().position(special) {
            let (head, tail) = rest.split_at_checked(at).unwrap_or_default();
            self.write(head);
            self.write(match tail.first() {
                Some(b'\t') => b"\\t",
                Some(b'\n') => b"\\n",
                Some(b'\r') => b"\\r",
                _ => b"\\\\",
            });
            rest = tail.get(1..).unwrap_or_default();
            if !self.has_room() {
                return;
            }
        }
        self.write(rest);
    }
}
