//! Aligned columns without lines, as kubectl prints them.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Row, Width, presets};

use super::text::one_line;

/// A table that grows by rows; nothing in its cells reaches the terminal as anything but text.
#[derive(Debug)]
pub(crate) struct Table(comfy_table::Table);

/// One cell.
#[derive(Debug)]
pub(crate) struct Cell {
    text: String,
    alignment: CellAlignment,
}

// === impl Table ===

impl Table {
    /// Begins with the titles of the columns; a width makes long cells wrap.
    pub(crate) fn new(titles: &[String], width: Option<usize>) -> Self {
        let mut table = comfy_table::Table::new();
        let titles: Vec<String> = titles.iter().map(|title| one_line(title, usize::MAX)).collect();
        table.load_style(presets::NOTHING).set_header(Row::from(titles));
        match width.and_then(|width| u16::try_from(width).ok()) {
            Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(3)));
        }
        Self(table)
    }

    /// Adds a row.
    pub(crate) fn row<C: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = C>) {
        let cells = cells.into_iter().map(|cell| {
            let Cell { text, alignment } = cell.into();
            comfy_table::Cell::new(one_line(&text, usize::MAX)).set_alignment(alignment)
        });
        self.0.add_row(Row::from(cells.collect::<Vec<_>>()));
    }

    /// Renders it without the spaces that would end its lines.
    pub(crate) fn render(&self) -> String {
        let mut text = self.0.trim_fmt();
        text.push('\n');
        text
    }
}

// === impl Cell ===

impl Cell {
    /// A figure, at the right.
    pub(crate) fn number(text: String) -> Self {
        Self { text, alignment: CellAlignment::Right }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, alignment: CellAlignment::Left }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_and_titles_are_text_whatever_is_in_them() {
        let mut table = Table::new(&["a\u{202e}b".to_owned(), "N".to_owned()], None);
        table.row([Cell::from("x\ny\u{1b}[31m"), Cell::number("7".to_owned())]);
        table.row(["\u{301}", "1234"]);
        let text = table.render();
        let expected = "a\\xe2\\x80\\xaeb  N\nx y\\x1b[31m        7\n\\xcc\\x81        1234\n";
        assert_eq!(text, expected);
    }
}
