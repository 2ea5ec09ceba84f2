//! Lines that go by on a terminal: they follow its width, and their titles stay in sight.

use super::line::LineRenderer;

/// Fewest lines of a terminal on which titles are repeated: on fewer they would take the place of what is shown.
const LEAST_HEIGHT: usize = 5;

/// The lines of a stream, and how far their titles are above.
#[derive(Debug)]
pub(crate) struct Screen {
    renderer: LineRenderer,
    /// Characters of a line and lines of the terminal; absent where there is none.
    size: Option<(usize, usize)>,
    /// Lines since the titles; absent where the titles are due.
    since: Option<usize>,
}

// === impl Screen ===

impl Screen {
    /// Begins with titles.
    pub(crate) fn new(renderer: LineRenderer) -> Self {
        Self { renderer, size: None, since: None }
    }

    /// How lines are made at this moment.
    pub(crate) fn renderer(&self) -> &LineRenderer {
        &self.renderer
    }

    /// Characters of the terminal's line, where there is one.
    pub(crate) fn width(&self) -> Option<usize> {
        self.size.map(|(width, _)| width)
    }

    /// Takes the terminal's characters and lines as they are now.
    pub(crate) fn measured(&mut self, size: (usize, usize)) {
        self.size = Some(size);
        if self.renderer.resize(size.0) {
            self.since = None;
        }
    }

    /// Returns the titles where they belong above a text: at first, in a new width, and where the text would push them
    /// out of sight.
    pub(crate) fn titles(&mut self, text: &str) -> Option<String> {
        let rows = self.rows(text);
        // The titles have a line, and the cursor has one.
        let room = self.size.filter(|(_, height)| *height >= LEAST_HEIGHT).map(|(_, height)| height - 2);
        let after = self.since.map(|since| since.saturating_add(rows));
        let due = match (after, room) {
            (None, _) => true,
            // A text that is longer than the screen pushes any titles away.
            (Some(after), Some(room)) => after > room,
            (Some(_), None) => false,
        };
        self.since = if due { Some(rows) } else { after };
        due.then(|| self.renderer.header())
    }

    /// Lines of the terminal that a text takes: long ones wrap.
    fn rows(&self, text: &str) -> usize {
        let width = self.size.map_or(usize::MAX, |(width, _)| width.max(1));
        text.lines().map(|line| seen(line).div_ceil(width).max(1)).sum()
    }
}

/// Characters of a line that are seen: its colours are not, and nothing else in it commands a terminal.
fn seen(line: &str) -> usize {
    let mut colour = false;
    let is_seen = |letter: &char| {
        let begins = *letter == '\u{1b}';
        let hidden = colour || begins;
        colour = begins || (colour && *letter != 'm');
        !hidden
    };
    line.chars().filter(is_seen).count()
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::super::line::{Look, Who};
    use super::*;

    fn screen() -> Screen {
        let look = Look { zone: TimeZone::UTC, who: Who::Processes, wide: false, colour: false };
        Screen::new(LineRenderer::new(look, Some(80)))
    }

    fn shown(screen: &mut Screen, lines: usize) -> Vec<usize> {
        (0..lines).filter(|_| screen.titles("x").is_some()).collect()
    }

    #[test]
    fn titles_return_after_a_screenful() {
        let mut screen = screen();
        screen.measured((80, 24));
        assert_eq!(shown(&mut screen, 60), [0, 22, 44], "22 lines, the titles and the cursor are 24");
        assert!(
            screen.titles(&"x\n".repeat(23)).is_some() && screen.titles("x").is_some(),
            "a long block pushed them away"
        );
        assert!(screen.titles(&"x".repeat(21 * 80)).is_none() && screen.titles("x").is_some());
    }

    #[test]
    fn colours_take_no_room() {
        let mut screen = screen();
        screen.measured((80, 24));
        let red = format!("\u{1b}[31m{}\u{1b}[0m", "m".repeat(80));
        assert_eq!((seen(&red), seen("m"), seen("")), (80, 1, 0));
        let due: Vec<usize> = (0..60).filter(|_| screen.titles(&red).is_some()).collect();
        assert_eq!(due, [0, 22, 44]);
    }

    #[test]
    fn titles_return_in_another_width_alone() {
        let mut screen = screen();
        screen.measured((80, 24));
        assert_eq!(shown(&mut screen, 3), [0]);
        screen.measured((80, 30));
        assert_eq!(shown(&mut screen, 3), [] as [usize; 0]);
        screen.measured((100, 30));
        let titles = screen.titles("x").expect("of the new width");
        assert!(titles.chars().count() > 80 && screen.renderer().header() == titles, "{titles}");
        assert_eq!(shown(&mut screen, 3), [] as [usize; 0]);
    }

    #[test]
    fn a_pipe_and_a_tiny_terminal_have_titles_once() {
        let mut pipe = screen();
        assert_eq!(shown(&mut pipe, 500), [0]);
        let mut tiny = screen();
        tiny.measured((80, LEAST_HEIGHT - 1));
        assert_eq!(shown(&mut tiny, 500), [0]);
    }
}
