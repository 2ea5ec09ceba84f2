//! Completion: scripts for shells, and the protocol that kubectl speaks to `kubectl_complete-kyanos`.
//!
//! kubectl runs that program with the words after `kubectl kyanos`, the last being completed, and reads what a cobra
//! program prints to `__complete`: a candidate per line, with its description after a tab, then `:DIRECTIVE`.

use clap::{Arg, ArgAction, Command};

use crate::local::Places;

/// Nothing but the candidates may be offered.
const NO_FILES: u8 = 4;

/// Files may be offered.
const FILES: u8 = 0;

/// Flags whose value is a file.
const FILE_FLAGS: [&str; 8] = [
    "save",
    "json-output",
    "btf",
    "report",
    "kubeconfig",
    "certificate-authority",
    "client-certificate",
    "client-key",
];

/// Returns the script of a shell.
pub(crate) fn script(shell: clap_complete::Shell) -> Vec<u8> {
    let mut command = super::command();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "kubectl-kyanos", &mut script);
    script
}

/// Answers kubectl: candidates, then the directive.
pub(crate) fn answer(words: &[String]) -> String {
    let root = super::command();
    let (last, before) = match words.split_last() {
        Some((last, before)) => (last.as_str(), before),
        None => ("", [].as_slice()),
    };
    let (command, open) = walk(&root, before);
    let (mut candidates, directive) = match (open, last.split_once('=')) {
        (Some(arg), _) => values(arg, ""),
        (None, Some((flag, _))) if flag.starts_with("--") => match find(command, flag) {
            Some(arg) => values(arg, &format!("{flag}=")),
            None => (Vec::new(), NO_FILES),
        },
        (None, _) if last.starts_with('-') => (flags(command), NO_FILES),
        (None, _) => (words_of(command), NO_FILES),
    };
    candidates.retain(|(word, _)| word.starts_with(last));
    candidates.sort();
    let mut text = String::new();
    for (word, help) in candidates {
        text.push_str(&word);
        if !help.is_empty() {
            text.push('\t');
            text.push_str(&help);
        }
        text.push('\n');
    }
    text + &format!(":{directive}\n")
}

/// Finds the command that words lead to, and the flag that still waits for its value.
fn walk<'a>(root: &'a Command, words: &[String]) -> (&'a Command, Option<&'a Arg>) {
    let mut command = root;
    let mut open = None;
    for word in words {
        if open.take().is_some() {
            continue;
        }
        if word.starts_with('-') {
            let takes_next = |arg: &&Arg| {
                !word.contains('=') && arg.get_action().takes_values() && !arg.is_require_equals_set()
            };
            open = find(command, word).filter(takes_next);
        } else if let Some(sub) = command.find_subcommand(word).filter(|sub| !sub.is_hide_set()) {
            command = sub;
        }
    }
    (command, open)
}

fn find<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let name = word.split('=').next().unwrap_or(word);
    command.get_arguments().find(|arg| match name.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => arg.get_short().is_some_and(|short| name == format!("-{short}")),
    })
}

fn flags(command: &Command) -> Vec<(String, String)> {
    let mut flags: Vec<(String, String)> = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set())
        .filter_map(|arg| Some((format!("--{}", arg.get_long()?), help(arg.get_help()))))
        .collect();
    if !flags.iter().any(|(flag, _)| flag == "--help") {
        flags.push(("--help".to_owned(), "Print help".to_owned()));
    }
    flags
}

/// Subcommands, or the values of the next argument without a flag.
fn words_of(command: &Command) -> Vec<(String, String)> {
    let mut words: Vec<(String, String)> = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .map(|sub| (sub.get_name().to_owned(), help(sub.get_about())))
        .collect();
    for arg in command.get_positionals() {
        words.extend(values(arg, "").0);
    }
    words
}

fn values(arg: &Arg, prefix: &str) -> (Vec<(String, String)>, u8) {
    let id = arg.get_id().as_str();
    if id == "session" || (id == "name" && arg.is_positional()) {
        let live = Places::default()
            .list()
            .into_iter()
            .map(|found| (format!("{prefix}{}", found.name), String::new()));
        return (live.collect(), NO_FILES);
    }
    if arg.get_long().is_some_and(|long| FILE_FLAGS.contains(&long)) {
        let reports = crate::reports::REPORTS.iter().filter(|_| id == "report");
        return (reports.map(|(name, _)| (format!("{prefix}{name}"), String::new())).collect(), FILES);
    }
    let listed: Vec<String> = match arg.get_long() {
        Some("group-by") => super::groups::names(),
        Some("metric") => crate::metric::METRICS.map(|(name, ..)| name.to_owned()).to_vec(),
        _ => Vec::new(),
    };
    let mut words: Vec<(String, String)> =
        listed.into_iter().map(|word| (format!("{prefix}{word}"), String::new())).collect();
    if matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) {
        let possible = arg.get_possible_values();
        let shown = possible.iter().filter(|value| !value.is_hide_set());
        words.extend(shown.map(|value| (format!("{prefix}{}", value.get_name()), help(value.get_help()))));
    }
    (words, NO_FILES)
}

fn help(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
