//! Text measured as terminals draw it: some characters take two cells.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::render::text::one_line;

/// What stands for what was cut off.
const CUT: char = '…';

/// Cells that a text takes.
pub(super) fn cells(text: &str) -> usize {
    text.width()
}

/// Makes a line of a text that takes at most so many cells; of one that is too long both ends stay.
pub(super) fn both_ends(text: &str, most: usize) -> String {
    let line = one_line(text, usize::MAX);
    if cells(&line) <= most {
        return line;
    }
    let Some(room) = most.checked_sub(1) else { return String::new() };
    let head = taken(line.chars(), room / 2);
    let tail: Vec<char> = taken(line.chars().rev(), room - cells(&head)).chars().rev().collect();
    head.chars().chain([CUT]).chain(tail).collect()
}

/// Makes a line of a text that takes at most so many cells; of one that is too long the beginning stays.
pub(super) fn beginning(text: &str, most: usize) -> String {
    let line = one_line(text, usize::MAX);
    if cells(&line) <= most {
        return line;
    }
    let Some(room) = most.checked_sub(1) else { return String::new() };
    let mut begins = taken(line.chars(), room);
    begins.push(CUT);
    begins
}

/// Puts a text into the middle of so many cells.
pub(super) fn centred(text: &str, width: usize) -> String {
    let space = width.saturating_sub(cells(text));
    let before = space / 2;
    format!("{}{text}{}", " ".repeat(before), " ".repeat(space - before))
}

/// The first characters that fit.
fn taken(letters: impl Iterator<Item = char>, most: usize) -> String {
    let mut left = most;
    let fits = |letter: &char| match left.checked_sub(letter.width().unwrap_or(0)) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    letters.take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_take_two_cells() {
        assert_eq!((cells("web-订单"), cells("eth0"), cells("µs…│▶")), (8, 4, 5));
        assert_eq!(both_ends("订单服务订单服务", 9), "订单…服务");
        assert_eq!(both_ends("订单服务订单服务", 8), "订…服务");
        assert_eq!(beginning("订单服务", 6), "订单…");
        assert_eq!(beginning("abcdef", 4), "abc…");
        for most in 0..20 {
            assert!(cells(&both_ends("a订单b服务订单c服务", most)) <= most, "{most}");
            assert!(cells(&beginning("a订单b服务订单c服务", most)) <= most, "{most}");
        }
        assert_eq!(centred("订", 5), " 订  ");
    }
}
