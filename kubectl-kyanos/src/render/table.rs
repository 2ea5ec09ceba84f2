//! Aligned columns without lines, as kubectl prints them.

use super::fit::{Claim, GAP, fit};
use super::text::{both_ends, one_line};

/// Characters that a column of texts claims before the next column is looked at.
const TEXT_CLAIM: usize = 14;

/// Characters that it claims before columns that matter less.
const LONG_TEXT_CLAIM: usize = 24;

/// A table that grows by rows; nothing in its cells reaches the terminal as anything but text.
///
/// In a terminal's width columns claim room in an order: long texts lose their middle, figures stay whole, and a column
/// that finds no room is not shown. No cell ever takes two lines.
#[derive(Debug)]
pub(crate) struct Table {
    titles: Vec<String>,
    rows: Vec<Vec<Cell>>,
    /// Characters of a terminal's line.
    width: Option<usize>,
    /// Columns in the order in which they claim room, those that matter less apart.
    claims: (Vec<usize>, Vec<usize>),
}

/// One cell.
#[derive(Debug)]
pub(crate) struct Cell {
    text: String,
    number: bool,
}

// === impl Table ===

impl Table {
    /// Begins with the titles of the columns; a width is kept to.
    pub(crate) fn new(titles: &[String], width: Option<usize>) -> Self {
        Self {
            titles: titles.iter().map(|title| one_line(title, usize::MAX)).collect(),
            rows: Vec::new(),
            width,
            claims: ((0..titles.len()).collect(), Vec::new()),
        }
    }

    /// Says in which order columns claim room, by their places: those that matter less do so when the others have
    /// more than the least.
    pub(crate) fn claim(&mut self, first: Vec<usize>, then: Vec<usize>) {
        self.claims = (first, then);
    }

    /// Adds a row.
    pub(crate) fn row<C: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = C>) {
        let cells = cells.into_iter().map(|cell| {
            let Cell { text, number } = cell.into();
            Cell { text: one_line(&text, usize::MAX), number }
        });
        self.rows.push(cells.collect());
    }

    /// Renders it without the spaces that would end its lines.
    pub(crate) fn render(&self) -> String {
        let shown = self.shown();
        let titles = shown.iter().map(|(place, width)| {
            let title = self.titles.get(*place).map(String::as_str).unwrap_or_default();
            padded(title, *width, false)
        });
        let mut text = line(titles);
        for row in &self.rows {
            text.push_str(&line(shown.iter().map(|(place, width)| match row.get(*place) {
                Some(cell) => padded(&cell.text, *width, cell.number),
                None => padded("", *width, false),
            })));
        }
        text
    }

    /// Columns that are shown, from left to right, with their widths.
    fn shown(&self) -> Vec<(usize, usize)> {
        let widths: Vec<usize> = (0..self.titles.len()).map(|place| self.width_of(place)).collect();
        let whole = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        let Some(room) = self.width.filter(|room| whole > *room) else {
            return widths.into_iter().enumerate().collect();
        };
        let claims = |places: &[usize], most: usize| {
            let claim = |place: &usize| {
                let width = *widths.get(*place)?;
                // A figure without its end is another figure.
                let width = if self.is_figures(*place) { width } else { width.min(most) };
                Some(Claim { column: *place, width })
            };
            places.iter().filter_map(claim).collect::<Vec<_>>()
        };
        let (first, then) = &self.claims;
        let wanted = [
            claims(first, TEXT_CLAIM),
            claims(first, LONG_TEXT_CLAIM),
            claims(then, TEXT_CLAIM),
            claims(first, usize::MAX),
            claims(then, usize::MAX),
        ];
        let mut shown: Vec<(usize, usize)> = fit(wanted.into_iter().flatten(), room)
            .into_iter()
            .map(|Claim { column, width }| (column, width))
            .collect();
        shown.sort_unstable();
        shown
    }

    fn width_of(&self, place: usize) -> usize {
        let title = self.titles.get(place).map(|title| title.chars().count()).unwrap_or_default();
        self.cells(place).map(|cell| cell.text.chars().count()).max().unwrap_or_default().max(title)
    }

    fn is_figures(&self, place: usize) -> bool {
        self.cells(place).any(|cell| cell.number)
    }

    fn cells(&self, place: usize) -> impl Iterator<Item = &Cell> {
        self.rows.iter().filter_map(move |row| row.get(place))
    }
}

// === impl Cell ===

impl Cell {
    /// A figure, at the right.
    pub(crate) fn number(text: String) -> Self {
        Self { text, number: true }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, number: false }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// Joins cells to a line.
fn line(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.collect();
    let mut line = cells.join(&" ".repeat(GAP));
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

fn padded(text: &str, width: usize, right: bool) -> String {
    let text = both_ends(text, width);
    let space = " ".repeat(width.saturating_sub(text.chars().count()));
    if right { space + &text } else { text + &space }
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

    fn sessions(width: usize) -> String {
        let titles = ["NAME", "OWNER", "NODES", "LOST"].map(str::to_owned);
        let mut table = Table::new(&titles, Some(width));
        let lost = || Cell::number("1,234".to_owned());
        table.row([
            Cell::from("abcde"),
            Cell::from("somebody@example.org"),
            Cell::from("n1, n2, n3"),
            lost(),
        ]);
        table.row([Cell::from("fghij"), Cell::from("-"), Cell::from("n1"), lost()]);
        table.render()
    }

    #[test]
    fn columns_without_room_go_and_no_word_breaks_over_lines() {
        assert_eq!(
            sessions(60),
            "NAME   OWNER                 NODES       LOST\n\
             abcde  somebody@example.org  n1, n2, n3  1,234\n\
             fghij  -                     n1          1,234\n"
        );
        assert_eq!(
            sessions(42),
            "NAME   OWNER             NODES       LOST\n\
             abcde  somebod…mple.org  n1, n2, n3  1,234\n\
             fghij  -                 n1          1,234\n"
        );
        assert_eq!(
            sessions(30),
            "NAME   OWNER             LOST\n\
             abcde  somebod…mple.org  1,234\n\
             fghij  -                 1,234\n"
        );
        assert_eq!(sessions(3), "N…E\na…e\nf…j\n");
    }
}
