//! The hops of an exchange as lines: when each message was seen where.

use proto::hop::{message_word, place_word};
use proto::v1;

use super::cells::{both_ends, cells};
use super::signed;

/// Hops shown of one message: a large one passes an interface in thousands of packets.
pub(super) const MAX_SHOWN_HOPS: usize = 12;

/// What stands between two hops.
const BETWEEN: &str = " → ";

/// Cells before what a row of a block says.
const INDENT: usize = 13;

/// Renders when each message was seen where, in the order of time; nothing where no hop was observed.
pub(crate) fn hops(exchange: &v1::Exchange, width: usize) -> String {
    let mut text = String::new();
    for message in [v1::HopMessage::Request, v1::HopMessage::Response] {
        let hops: Vec<&v1::Hop> = exchange.hops.iter().filter(|hop| hop.message() == message).collect();
        if hops.is_empty() {
            continue;
        }
        let before = [None].into_iter().chain(hops.iter().map(|hop| Some(hop.at_ns)));
        let shown = hops.iter().zip(before).take(MAX_SHOWN_HOPS);
        let mut words: Vec<String> = shown.map(|(hop, before)| word(hop, before)).collect();
        if let Some(more) = hops.len().checked_sub(MAX_SHOWN_HOPS).filter(|more| *more > 0) {
            words.push(format!("{more} more"));
        }
        let title = if text.is_empty() { "hops" } else { "" };
        text.push_str(&wrapped(title, message_word(message), &words, width));
    }
    text
}

/// Says where, and when: since the exchange's start the first, the others since the one before.
fn word(hop: &v1::Hop, before: Option<i64>) -> String {
    let name = if hop.name.is_empty() { place_word(hop.place()) } else { &hop.name };
    match before {
        None => format!("at {} {name}", signed(hop.at_ns.into())),
        Some(before) => {
            let since = i128::from(hop.at_ns) - i128::from(before);
            let sign = if since < 0 { "" } else { "+" };
            format!("{sign}{} {name}", signed(since))
        }
    }
}

/// Joins words to lines that are no longer than a width.
fn wrapped(title: &str, message: &str, words: &[String], width: usize) -> String {
    let mut lines = vec![format!("  {title:<11}{message}")];
    for (number, word) in words.iter().enumerate() {
        let between = if number == 0 { " " } else { BETWEEN };
        let word = both_ends(word, width.saturating_sub(INDENT + cells(BETWEEN)));
        let fits = |line: &String| cells(line) + cells(between) + cells(&word) <= width;
        match lines.last_mut().filter(|line| fits(line)) {
            Some(line) => {
                line.push_str(between);
                line.push_str(&word);
            }
            None => lines.push(format!("{}{}{word}", " ".repeat(INDENT), between.trim_start())),
        }
    }
    lines.iter().map(|line| both_ends(line.trim_end(), width) + "\n").collect()
}
