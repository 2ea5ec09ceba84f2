//! What the documents say is so: examples run, flags exist, links lead somewhere, tables match the registry.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot read the documents has failed"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use regex::Regex;
use xtask::workspace::{binary, root, tracked_files};

/// Flags of programs that are not ours.
const FOREIGN: [&str; 2] = ["--release", "--test"];

/// Commands of the plugin that have flags.
const COMMANDS: [&str; 8] =
    ["watch", "stat", "overview", "query", "status", "cleanup", "version", "completion"];

fn documents() -> Vec<(String, String)> {
    let files = tracked_files().expect("git lists the files");
    let markdown = files.into_iter().filter(|file| file.extension().is_some_and(|found| found == "md"));
    let read = |file: std::path::PathBuf| {
        let text = std::fs::read_to_string(root().join(&file)).expect("documents are text");
        (file.to_string_lossy().into_owned(), text)
    };
    markdown.map(read).collect()
}

fn help(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).arg("--help").output().expect("the program starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn must_be_empty(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// Returns the lines of fenced blocks that run a program.
fn examples(program: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (file, text) in documents() {
        let blocks = text.split("```").skip(1).step_by(2);
        let lines = blocks.flat_map(str::lines).map(str::trim);
        let wanted = lines.filter(|line| line.starts_with(&format!("{program} ")));
        found.extend(wanted.map(|line| (file.clone(), line.to_owned())));
    }
    found
}

#[test]
fn the_protocol_table_is_the_registry() {
    let mut table = String::from("| protocol | default ports | what is shown |\n| --- | --- | --- |\n");
    for protocol in decoders::registry() {
        let ports: Vec<String> = protocol.ports.iter().map(ToString::to_string).collect();
        let row = format!(
            "| `{}` {} | {} | {} |\n",
            protocol.name,
            protocol.title,
            ports.join(", "),
            protocol.summary
        );
        table.push_str(&row);
    }
    let path = root().join("README.md");
    let readme = std::fs::read_to_string(&path).expect("README.md");
    let marks =
        Regex::new(r"(?s)(<!-- protocols.*?-->\n)(.*?)(<!-- /protocols -->)").expect("a valid pattern");
    let found = marks.captures(&readme).expect("the table's marks");
    if std::env::var_os("KYANOS_BLESS").is_some() {
        let whole = readme.replace(&found[0], &format!("{}{table}{}", &found[1], &found[3]));
        std::fs::write(&path, whole).expect("README.md is written");
    } else {
        assert!(found[2] == table, "README.md should have between its marks:\n{table}");
    }
}

#[test]
fn every_flag_in_the_documents_exists() {
    let plugin = binary("kubectl-kyanos").expect("built");
    let tool = Path::new(env!("CARGO_BIN_EXE_xtask"));
    let mut known = help(tool, &[]);
    for command in
        ["setup", "demo", "test", "bench", "replay", "kernels", "image", "package", "e2e", "proto", "record"]
    {
        known.push_str(&help(tool, &[command]));
    }
    known.push_str(&help(tool, &["bench", "cluster"]));
    for command in COMMANDS {
        known.push_str(&help(&plugin, &[command]));
    }
    for protocol in decoders::registry() {
        known.push_str(&help(&plugin, &["watch", protocol.name]));
    }
    let flag = Regex::new(r"--[a-z][a-z-]+").expect("a valid pattern");
    let known: BTreeSet<&str> = flag.find_iter(&known).map(|found| found.as_str()).collect();
    let mut complaints = Vec::new();
    for (file, text) in documents() {
        for name in flag.find_iter(&text).map(|found| found.as_str()) {
            if !known.contains(name) && !FOREIGN.contains(&name) {
                complaints.push(format!("{file}: no command has `{name}`"));
            }
        }
    }
    must_be_empty(&complaints);
}

#[test]
fn every_developer_command_in_the_documents_exists() {
    let known = help(Path::new(env!("CARGO_BIN_EXE_xtask")), &[]);
    let pattern = Regex::new(r"cargo xtask ([a-z0-9]+)").expect("a valid pattern");
    let mut complaints = Vec::new();
    for (file, text) in documents() {
        for found in pattern.captures_iter(&text) {
            let command = found.get(1).map_or("", |word| word.as_str());
            if !known.lines().any(|line| line.split_whitespace().next() == Some(command)) {
                complaints.push(format!("{file}: there is no `cargo xtask {command}`"));
            }
        }
    }
    must_be_empty(&complaints);
}

#[test]
fn every_choice_of_tests_in_the_documents_exists() {
    let pattern = Regex::new(r"cargo xtask test ([a-z_ ]+)`").expect("a valid pattern");
    let files = tracked_files().expect("git lists the files");
    let mut complaints = Vec::new();
    for (file, text) in documents() {
        for found in pattern.captures_iter(&text) {
            for word in found.get(1).map_or("", |words| words.as_str()).split_whitespace() {
                let test = format!("xtask/tests/{word}.rs");
                if !files.iter().any(|file| file.starts_with(word) || file == Path::new(&test)) {
                    complaints.push(format!("{file}: no tests are called `{word}`"));
                }
            }
        }
    }
    must_be_empty(&complaints);
}

#[test]
fn every_link_leads_somewhere() {
    let pattern = Regex::new(r"\]\(([^)#:]+)(#[^)]*)?\)").expect("a valid pattern");
    let mut complaints = Vec::new();
    for (file, text) in documents() {
        let folder = root().join(&file).parent().map(Path::to_path_buf).expect("a folder");
        for found in pattern.captures_iter(&text) {
            let target = found.get(1).map_or("", |word| word.as_str());
            if !folder.join(target).exists() {
                complaints.push(format!("{file}: `{target}` does not exist"));
            }
        }
    }
    must_be_empty(&complaints);
}

#[test]
fn every_example_runs() {
    if !xtask::run::is_root() {
        println!("skipped: capturing needs root");
        return;
    }
    let plugin = binary("kubectl-kyanos").expect("built");
    let folder = tempfile::tempdir().expect("a folder");
    let mut complaints = Vec::new();
    let examples = examples("kubectl-kyanos");
    assert!(!examples.is_empty());
    for (file, line) in examples {
        let command = line.split_whitespace().nth(1).unwrap_or_default();
        let endless = ["watch", "stat", "overview"].contains(&command)
            && !["--time", "--count", "--list"].iter().any(|flag| line.contains(flag));
        let bounded = if endless { format!("{line} --time 1") } else { shortened(&line) };
        let output = Command::new("bash")
            .args(["-c", &bounded.replacen("kubectl-kyanos", "\"$PLUGIN\"", 1)])
            .env("PLUGIN", &plugin)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("bash starts");
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            complaints.push(format!("{file}: `{bounded}`: {}\n{said}", output.status));
        }
    }
    must_be_empty(&complaints);
}

/// An example's own `--time` says what a person wants to wait, not what a test does.
fn shortened(line: &str) -> String {
    let pattern = Regex::new(r"--time \d+").expect("a valid pattern");
    pattern.replace(line, "--time 1").into_owned()
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| format!("`{file}`: {error}"))
}

#[test]
fn the_decoder_in_the_documents_is_the_one_that_is_tested() {
    let guide = read("docs/decoders.md");
    for (language, file) in [
        ("rust", "decoders/src/example.rs"),
        ("text", "decoders/src/example/ident.txt"),
        ("text", "decoders/src/example/ident.golden"),
    ] {
        let block = format!("```{language}\n{}```\n", read(file));
        assert!(guide.contains(&block), "docs/decoders.md should quote `{file}` whole:\n{block}");
    }
}

/// Reads `ring 36, gap 4` and the like.
fn stages(text: &str) -> Vec<(String, u64)> {
    let pairs = text.split(", ").filter_map(|pair| pair.split_once(' '));
    pairs.filter_map(|(stage, total)| Some((stage.to_owned(), total.parse().ok()?))).collect()
}

#[test]
fn the_worked_example_of_losses_adds_up() {
    let text = read("docs/losses.md");
    let balance = Regex::new(
        r"(?m)^balance \S+( \S+)? (events|exchanges): seen (\d+) = delivered (\d+) \+ filtered (\d+) \+ lost (\d+)(?: \((.*)\))?$",
    )
    .expect("a valid pattern");
    let mut sums: std::collections::BTreeMap<(String, String), u64> = std::collections::BTreeMap::new();
    let mut balances = 0;
    for found in balance.captures_iter(&text) {
        let word = |index: usize| found.get(index).map_or("", |word| word.as_str());
        let number = |index: usize| word(index).parse::<u64>().expect("a number");
        let lost = stages(word(7));
        let total: u64 = lost.iter().map(|(_, total)| total).sum();
        assert_eq!(number(6), total, "{}", word(0));
        assert_eq!(number(3), number(4) + number(5) + total, "{}", word(0));
        for (stage, total) in lost {
            *sums.entry((word(2).to_owned(), stage)).or_default() += total;
        }
        balances += 1;
    }
    assert_eq!(balances, 4, "two of a capturer, one of a viewer, one of the store");
    let closing =
        Regex::new(r"(?m)^lost (\d+) events \((.*)\), (\d+) exchanges \((.*)\)$").expect("a valid pattern");
    let closing = closing.captures(&text).expect("the closing line");
    for (unit, total, list) in [("events", 1, 2), ("exchanges", 3, 4)] {
        let listed = stages(&closing[list]);
        let sum: u64 = listed.iter().map(|(_, total)| total).sum();
        assert_eq!(closing[total].parse(), Ok(sum), "{unit}");
        for (stage, total) in listed {
            assert_eq!(sums.remove(&(unit.to_owned(), stage.clone())), Some(total), "{unit} {stage}");
        }
    }
    assert!(sums.is_empty(), "the closing line leaves out {sums:?}");
}
