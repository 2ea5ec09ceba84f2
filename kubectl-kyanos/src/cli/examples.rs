//! Examples at the end of help: of clusters, or of this machine where `--local` is among the words.

use std::ffi::OsString;

use clap::Command;

/// The words that mean this machine.
const LOCAL: [&str; 2] = ["--local", "--local=true"];

/// Commands that can mean this machine, with their examples of it.
const OF_THIS_MACHINE: [(&str, &str); 6] = [
    ("watch", include_str!("help/local/watch.txt")),
    ("stat", include_str!("help/local/stat.txt")),
    ("overview", include_str!("help/local/overview.txt")),
    ("query", include_str!("help/local/query.txt")),
    ("status", include_str!("help/local/status.txt")),
    ("cleanup", include_str!("help/local/cleanup.txt")),
];

/// Lets help show the examples that belong to the place that the words name.
pub(super) fn for_place(command: Command, words: &[OsString]) -> Command {
    if !words.iter().any(|word| LOCAL.iter().any(|local| word == local)) {
        return command;
    }
    OF_THIS_MACHINE.into_iter().fold(command, |command, (name, examples)| {
        command.mut_subcommand(name, |sub| sub.after_help(examples))
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Outcome, parse};
    use super::*;

    fn help(line: &str) -> String {
        let words = std::iter::once("kubectl-kyanos").chain(line.split(' ')).map(OsString::from);
        match parse(words.collect()) {
            Err(Outcome::Shown(text)) => text,
            other => unreachable!("`{line}` gave {other:?}"),
        }
    }

    /// The commands of a help text's examples.
    fn examples(text: &str) -> Vec<&str> {
        let (_, examples) = text.split_once("Examples:").expect("examples");
        examples.lines().map(str::trim).filter(|line| line.starts_with("kubectl kyanos ")).collect()
    }

    #[test]
    fn examples_are_of_clusters_and_with_local_of_this_machine() {
        for (name, _) in OF_THIS_MACHINE {
            let cluster = help(&format!("{name} --help"));
            assert!(!examples(&cluster).is_empty(), "{name}");
            assert!(!examples(&cluster).iter().any(|line| line.contains("--local")), "{name}: {cluster}");
            for line in ["--local --help", "--local=true --help", "--help --local", "-h --local"] {
                let local = help(&format!("{name} {line}"));
                let of_files = |line: &&str| line.contains("--store sqlite:");
                let wrong = examples(&local)
                    .into_iter()
                    .find(|line| !line.contains("--local") && !line.contains("--list") && !of_files(line));
                assert_eq!(wrong, None, "{name} {line}");
                assert!(examples(&local).iter().any(|line| line.contains("--local")), "{name} {line}");
            }
        }
        let main = help("--help");
        assert!(!examples(&main).iter().any(|line| line.contains("--local")), "{main}");
    }
}
