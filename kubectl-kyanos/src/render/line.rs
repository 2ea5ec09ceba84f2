//! One exchange as an aligned line.

mod column;

use jiff::tz::TimeZone;
use proto::filter::counts_as_error;
use proto::{ends, v1};

use self::column::{CLAIMS, COLUMNS, Column, Long};
use super::fit::{Claim, GAP, fit};
use super::text::{both_ends, one_line};
use super::units;

const RED: &str = "\u{1b}[31m";
const DIM: &str = "\u{1b}[2m";
const PLAIN: &str = "\u{1b}[0m";

/// Who is named as the one that was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Processes, on one machine.
    Processes,
    /// Pods of one namespace.
    Pods,
    /// Pods with their namespaces.
    PodsOfNamespaces,
}

/// What lines show, however wide they are.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// Zone of the times shown.
    pub(crate) zone: TimeZone,
    /// Who is named.
    pub(crate) who: Who,
    /// More columns, and all of them whatever the terminal's width.
    pub(crate) wide: bool,
    /// Colours.
    pub(crate) colour: bool,
}

/// How exchanges become lines.
#[derive(Clone, Debug)]
pub(crate) struct LineRenderer {
    look: Look,
    /// Characters of a terminal's line; `None` cuts nothing.
    width: Option<usize>,
    /// What is shown, from left to right.
    shown: Vec<(&'static Column, usize)>,
}

// === impl LineRenderer ===

impl LineRenderer {
    /// Shares out the width of a terminal, if there is one.
    pub(crate) fn new(look: Look, width: Option<usize>) -> Self {
        let width = width.filter(|_| !look.wide);
        let shown = columns(&look, width);
        Self { look, width, shown }
    }

    /// Shares out another width; says whether lines differ now.
    pub(crate) fn resize(&mut self, width: usize) -> bool {
        if self.width.is_none_or(|known| known == width) {
            return false;
        }
        self.width = Some(width);
        self.shown = columns(&self.look, self.width);
        true
    }

    /// Returns the line above all others.
    pub(crate) fn header(&self) -> String {
        let mut line = String::new();
        for (column, width) in &self.shown {
            push(&mut line, &one_line(column.title, *width), *width, column.right);
        }
        let line = line.trim_end();
        if self.look.colour { format!("{DIM}{line}{PLAIN}") } else { line.to_owned() }
    }

    /// Returns an exchange's line.
    pub(crate) fn line(&self, exchange: &v1::Exchange) -> String {
        let mut line = String::new();
        for (column, width) in &self.shown {
            let text = (column.text)(&self.look, exchange, *width);
            let text = match (column.long, self.width) {
                (Long::Begins, Some(_)) | (Long::Cut, _) => one_line(&text, *width),
                (Long::Ends, Some(_)) => both_ends(&text, *width),
                (Long::Begins | Long::Ends, None) => one_line(&text, usize::MAX),
            };
            push(&mut line, &text, *width, column.right);
        }
        let line = line.trim_end();
        let red = self.look.colour && counts_as_error(exchange);
        if red { format!("{RED}{line}{PLAIN}") } else { line.to_owned() }
    }
}

/// The columns that a look has and a width has room for.
fn columns(look: &Look, width: Option<usize>) -> Vec<(&'static Column, usize)> {
    let wanted = || COLUMNS.iter().filter(|column| column.shown.is_in(look));
    let Some(width) = width else {
        return wanted().map(|column| (column, column.width)).collect();
    };
    let is_wanted = |claim: &Claim<_>| wanted().any(|column| column.name == claim.column);
    let fitted = fit(CLAIMS.into_iter().filter(is_wanted), width);
    let width_of =
        |column: &Column| fitted.iter().find(|claim| claim.column == column.name).map(|claim| claim.width);
    wanted().filter_map(|column| Some((column, width_of(column)?))).collect()
}

/// Names where the time went, largest part first.
pub(crate) fn segments(exchange: &v1::Exchange) -> String {
    let Some(found) = exchange.segments else { return String::new() };
    let mut parts = parts(found);
    parts.retain(|(_, ns)| *ns > 0);
    parts.sort_by_key(|(_, ns)| std::cmp::Reverse(*ns));
    let words: Vec<String> =
        parts.into_iter().map(|(name, ns)| format!("{name} {}", units::duration(ns))).collect();
    words.join(" ")
}

/// Returns the segments that were observed, in the order of time.
pub(crate) fn parts(segments: v1::Segments) -> Vec<(&'static str, u64)> {
    let v1::Segments {
        total_ns: _,
        send_ns,
        network_ns,
        transfer_ns,
        receive_ns,
        queue_ns,
        internal_ns,
        read_ns,
    } = segments;
    [
        ("send", send_ns),
        ("network", network_ns),
        ("transfer", transfer_ns),
        ("receive", receive_ns),
        ("queue", queue_ns),
        ("internal", internal_ns),
        ("read", read_ns),
    ]
    .into_iter()
    .filter_map(|(name, ns)| ns.map(|ns| (name, ns)))
    .collect()
}

/// Names who was observed: the pod, or a process outside pods.
pub(crate) fn who(exchange: &v1::Exchange, who: Who) -> String {
    match (&exchange.origin, who) {
        (None, _) | (Some(_), Who::Processes) => process(exchange),
        (Some(origin), _) if origin.pod.is_empty() => ends::process(origin),
        (Some(origin), Who::PodsOfNamespaces) => format!("{}/{}", origin.namespace, origin.pod),
        (Some(origin), Who::Pods) => origin.pod.clone(),
    }
}

/// Names the process that was observed.
pub(crate) fn process(exchange: &v1::Exchange) -> String {
    match &exchange.origin {
        Some(origin) if origin.pid != 0 => format!("{}/{}", or_dash(&origin.comm), origin.pid),
        Some(origin) => or_dash(&origin.comm).to_owned(),
        None => "-".to_owned(),
    }
}

fn container_id(exchange: &v1::Exchange) -> String {
    let id = exchange.origin.as_ref().map(|origin| origin.container_id.as_str()).unwrap_or_default();
    or_dash(id.get(..12).unwrap_or(id)).to_owned()
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// Adds a column's text, of which the one before is [`GAP`] away.
fn push(line: &mut String, text: &str, width: usize, right: bool) {
    if !line.is_empty() {
        line.extend(std::iter::repeat_n(' ', GAP));
    }
    let space = std::iter::repeat_n(' ', width.saturating_sub(text.chars().count()));
    if right {
        line.extend(space);
        line.push_str(text);
    } else {
        line.push_str(text);
        line.extend(space);
    }
}

#[cfg(test)]
mod tests;
