//! A path in a terminal's cells: in two rows where they fit, in more rows where not, and as a list on the narrowest.

use super::cells::{beginning, both_ends, cells, centred};

/// Before every line, as all rows of a block have it.
const INDENT: &str = "  ";

/// Cells of a place's name where there is room.
const MAX_LABEL: usize = 28;

/// Cells of a place's name where two rows shall do.
const TWO_ROWS_LABEL: usize = 10;

/// Cells of a place's name at least: two characters of each end and what stands for the rest say little enough.
const MIN_LABEL: usize = 6;

/// Cells of a place's name where a path takes more rows than two.
const WRAPPED_LABEL: usize = 16;

/// Cells of a leg at least: a line and the head of an arrow.
const MIN_LEG: usize = 3;

/// Lines of a row: the upper edge with names, the line, the lower edge with times, shares, and errors.
const LINES: usize = 5;

/// Time of what was not observed.
const UNSEEN: &str = "?";

/// What that means.
const LEGEND: &str = "? not observed: its time is in the part beside it";

/// One part of the time, drawn as a line between two places.
#[derive(Clone, Debug)]
pub(super) struct Leg {
    name: String,
    time: String,
    share: String,
    error: String,
    seen: bool,
}

/// How places are named.
#[derive(Clone, Copy, Debug)]
struct Naming {
    /// By their short names, also where the whole ones fit.
    short: bool,
    /// Cells of a name at most.
    most: usize,
}

/// A place by its name, and by a short one where the other does not fit.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) whole: String,
    pub(super) short: String,
}

/// Places, and between each two of them the parts of time, in the order of time.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub(super) places: Vec<Place>,
    pub(super) legs: Vec<Vec<Leg>>,
}

/// What goes to the server, what comes back, and what happens where it turns.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    pub(super) there: Chain,
    pub(super) turn: String,
    pub(super) back: Chain,
}

/// Where a row leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Right,
    Left,
}

/// How a place is joined to what is around it.
#[derive(Clone, Copy, Debug)]
struct Joints {
    /// Where a leg begins.
    leg: Option<Direction>,
    /// Where the path turns: below a row to the right, above a row to the left.
    turn: Option<Direction>,
}

/// Places and legs with their widths, from left to right.
#[derive(Debug)]
struct Row {
    direction: Direction,
    places: Vec<String>,
    legs: Vec<Vec<(Leg, usize)>>,
}

// === impl Leg ===

impl Leg {
    /// A part of the time that was observed.
    pub(super) fn seen(name: &str, time: String, share: String) -> Self {
        Self { name: name.to_owned(), time, share, error: String::new(), seen: true }
    }

    /// A part whose ends were not both observed.
    pub(super) fn unseen(name: &str) -> Self {
        Self { seen: false, ..Self::seen(name, UNSEEN.to_owned(), String::new()) }
    }

    /// The way between two nodes, whose clocks agree within an error.
    pub(super) fn between_nodes(name: &str, time: String, share: Option<String>, error_ns: u64) -> Self {
        let error = format!("± {}", super::units::duration(error_ns));
        match share {
            Some(share) => Self { error, ..Self::seen(name, time, share) },
            // It takes the next line.
            None => Self::seen(name, time, error),
        }
    }

    /// A line that says nothing of time.
    pub(super) fn link() -> Self {
        Self::seen("", String::new(), String::new())
    }

    fn width(&self) -> usize {
        let texts = [&self.name, &self.time, &self.share, &self.error];
        texts.into_iter().map(|text| cells(text) + 2).max().unwrap_or_default().max(MIN_LEG)
    }

    fn text(&self) -> String {
        let words = [&self.name, &self.time, &self.share, &self.error];
        words.into_iter().filter(|word| !word.is_empty()).map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

// === impl Naming ===

impl Naming {
    fn from_long_to_short(least: usize, most: usize) -> Vec<Self> {
        let of = |short| (least..=most).rev().map(move |most| Self { short, most });
        of(false).chain(of(true)).collect()
    }
}

// === impl Place ===

impl Place {
    /// A place that has one name.
    pub(super) fn named(name: &str) -> Self {
        Self { whole: name.to_owned(), short: name.to_owned() }
    }

    fn label(&self, naming: Naming) -> String {
        let whole = both_ends(&self.whole, usize::MAX);
        let fits = !naming.short && cells(&whole) <= naming.most;
        if fits { whole } else { both_ends(&self.short, naming.most) }
    }
}

// === impl Chain ===

impl Chain {
    /// Cells of a row that leads from one place to another.
    fn width(&self, from: usize, to: usize, naming: Naming) -> usize {
        let places = self.places.iter().skip(from).take(to + 1 - from);
        let legs = self.legs.iter().skip(from).take(to - from);
        places.map(|place| box_width(&place.label(naming))).sum::<usize>()
            + legs.map(|legs| group_width(legs)).sum::<usize>()
    }

    fn last(&self) -> usize {
        self.places.len().saturating_sub(1)
    }

    /// Whether each place and the next one fit into a row.
    fn wraps(&self, naming: Naming, room: usize) -> bool {
        (0..self.last()).all(|from| self.width(from, from + 1, naming) <= room)
    }

    /// The part from one place to another as a row.
    fn row(&self, from: usize, to: usize, naming: Naming, direction: Direction) -> Row {
        let places = self.places.iter().skip(from).take(to + 1 - from);
        let legs = self.legs.iter().skip(from).take(to - from);
        let sized = |legs: &Vec<Leg>| legs.iter().map(|leg| (leg.clone(), leg.width())).collect();
        let mut row = Row {
            direction,
            places: places.map(|place| place.label(naming)).collect(),
            legs: legs.map(sized).collect(),
        };
        if direction == Direction::Left {
            row.places.reverse();
            row.legs.reverse();
            for legs in &mut row.legs {
                legs.reverse();
            }
        }
        row
    }

    /// As many rows as it takes; each begins at the place where the one before ends.
    fn rows(&self, naming: Naming, room: usize, direction: Direction) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut from = 0;
        while from < self.last() {
            let fits = |to: &usize| self.width(from, *to, naming) <= room;
            let to = (from + 1..=self.last()).rev().find(fits).unwrap_or(from + 1);
            rows.push(self.row(from, to, naming, direction));
            from = to;
        }
        rows
    }
}

// === impl Row ===

impl Row {
    fn width(&self) -> usize {
        let legs = self
            .legs
            .iter()
            .map(|legs| legs.iter().map(|(_, width)| width).sum::<usize>() + legs.len().saturating_sub(1));
        self.places.iter().map(|place| box_width(place)).sum::<usize>() + legs.sum::<usize>()
    }

    /// Makes the legs longer, so that the row takes so many cells.
    fn stretch(&mut self, width: usize) {
        let missing = width.saturating_sub(self.width());
        let count = self.legs.iter().map(Vec::len).sum::<usize>().max(1);
        for (place, (_, width)) in self.legs.iter_mut().flatten().enumerate() {
            *width += missing / count + usize::from(place < missing % count);
        }
    }

    /// Draws it; `turns` says that its right end is where the path turns.
    fn lines(&self, turns: bool) -> [String; LINES] {
        let mut lines = <[String; LINES]>::default();
        let right = self.direction == Direction::Right;
        let last = self.places.len().saturating_sub(1);
        for (at, place) in self.places.iter().enumerate() {
            let begins = if right { at < last } else { at > 0 };
            let joints = Joints {
                leg: begins.then_some(self.direction),
                turn: (turns && at == last).then_some(self.direction),
            };
            push_box(&mut lines, place, joints);
            let Some(legs) = self.legs.get(at) else { continue };
            for (number, (leg, width)) in legs.iter().enumerate() {
                if number > 0 {
                    push(&mut lines, [" ", "┼", " ", " ", " "].map(str::to_owned));
                }
                let head = match self.direction {
                    Direction::Right if number + 1 == legs.len() => Some(Direction::Right),
                    Direction::Left if number == 0 => Some(Direction::Left),
                    Direction::Right | Direction::Left => None,
                };
                push_leg(&mut lines, leg, *width, head);
            }
        }
        lines
    }
}

/// Draws a path into a terminal's width.
pub(super) fn draw(picture: &Picture, width: usize) -> String {
    let Picture { there, turn: _, back } = picture;
    let room = width.saturating_sub(INDENT.len());
    let whole =
        |naming: &Naming| [there, back].iter().all(|chain| chain.width(0, chain.last(), *naming) <= room);
    let wraps = |naming: &Naming| [there, back].iter().all(|chain| chain.wraps(*naming, room));
    let wanted = Naming::from_long_to_short(TWO_ROWS_LABEL, MAX_LABEL);
    let mut text = if let Some(naming) = wanted.into_iter().find(whole) {
        two_rows(picture, naming)
    } else if let Some(naming) = Naming::from_long_to_short(MIN_LABEL, WRAPPED_LABEL).into_iter().find(wraps)
    {
        more_rows(picture, naming, room)
    } else {
        list(&texts(picture), width)
    };
    if [there, back].iter().any(|chain| chain.legs.iter().flatten().any(|leg| !leg.seen)) {
        text.push_str(&list(&[LEGEND.to_owned()], width));
    }
    text
}

/// Renders texts as lines.
pub(super) fn list(texts: &[String], width: usize) -> String {
    texts.iter().map(|text| beginning(&format!("{INDENT}{text}"), width) + "\n").collect()
}

/// All that a picture says, in the order of time.
fn texts(picture: &Picture) -> Vec<String> {
    let legs = |chain: &Chain| chain.legs.iter().flatten().map(Leg::text).collect::<Vec<_>>();
    let all = [legs(&picture.there), vec![picture.turn.clone()], legs(&picture.back)];
    all.into_iter().flatten().filter(|text| !text.is_empty()).collect()
}

fn two_rows(Picture { there, turn, back }: &Picture, naming: Naming) -> String {
    let mut there = there.row(0, there.last(), naming, Direction::Right);
    let mut back = back.row(0, back.last(), naming, Direction::Left);
    let width = there.width().max(back.width());
    there.stretch(width);
    back.stretch(width);
    let last = there.places.last().map(|place| box_width(place)).unwrap_or_default();
    let at = width - last + middle(last);
    let turn = beginning(turn, at.saturating_sub(1));
    let space = " ".repeat(at.saturating_sub(cells(&turn) + 1));
    format!("{}{INDENT}{space}{turn} │\n{}", text(&there.lines(true)), text(&back.lines(true)))
}

fn more_rows(Picture { there, turn, back }: &Picture, naming: Naming, room: usize) -> String {
    let drawn = |chain: &Chain, direction| {
        let rows = chain.rows(naming, room, direction).into_iter();
        rows.map(|row| text(&row.lines(false))).collect::<String>()
    };
    let turn = beginning(&format!("↓ {turn}"), room);
    format!("{}{INDENT}{turn}\n{}", drawn(there, Direction::Right), drawn(back, Direction::Left))
}

/// Joins the lines of a row; those without a word are left out.
fn text(lines: &[String; LINES]) -> String {
    let with_words = |line: &&String| line.chars().any(|letter| !matches!(letter, ' ' | '│'));
    lines.iter().filter(with_words).flat_map(|line| [INDENT, line.trim_end(), "\n"]).collect()
}

fn box_width(label: &str) -> usize {
    cells(label) + 4
}

fn group_width(legs: &[Leg]) -> usize {
    legs.iter().map(Leg::width).sum::<usize>() + legs.len().saturating_sub(1)
}

/// Where a box of so many cells is joined to what is above or below.
fn middle(width: usize) -> usize {
    width / 2
}

fn push(lines: &mut [String; LINES], parts: [String; LINES]) {
    for (line, part) in lines.iter_mut().zip(parts) {
        line.push_str(&part);
    }
}

fn push_box(lines: &mut [String; LINES], label: &str, joints: Joints) {
    let width = box_width(label);
    let edge = |begin: char, end: char, joint: Option<char>| {
        let dash = |at: usize| joint.filter(|_| at == middle(width)).unwrap_or('─');
        [begin].into_iter().chain((1..width - 1).map(dash)).chain([end]).collect::<String>()
    };
    let below = if joints.turn == Some(Direction::Right) {
        format!("{}│{}", " ".repeat(middle(width)), " ".repeat(width - middle(width) - 1))
    } else {
        " ".repeat(width)
    };
    let (left, right) = (
        if joints.leg == Some(Direction::Left) { '┤' } else { '│' },
        if joints.leg == Some(Direction::Right) { '├' } else { '│' },
    );
    push(
        lines,
        [
            edge('┌', '┐', (joints.turn == Some(Direction::Left)).then_some('┴')),
            format!("{left} {label} {right}"),
            edge('└', '┘', (joints.turn == Some(Direction::Right)).then_some('┬')),
            below.clone(),
            below,
        ],
    );
}

fn push_leg(lines: &mut [String; LINES], leg: &Leg, width: usize, head: Option<Direction>) {
    let dash = if leg.seen { "─" } else { "╌" };
    let drawn = match head {
        None => dash.repeat(width),
        Some(Direction::Right) => dash.repeat(width - 1) + "▶",
        Some(Direction::Left) => "◀".to_owned() + &dash.repeat(width - 1),
    };
    let name = centred(&leg.name, width);
    push(
        lines,
        [name, drawn, centred(&leg.time, width), centred(&leg.share, width), centred(&leg.error, width)],
    );
}
