//! Invariants of the sources that the compiler does not know.
#![expect(clippy::expect_used, reason = "a test that cannot read the sources has failed")]

#[path = "tidy/decisions.rs"]
mod decisions;
#[path = "tidy/names.rs"]
mod names;

use std::path::{Path, PathBuf};

use regex::Regex;
use xtask::workspace::{root, tracked_files};

/// A library or type, and the only places that may name it.
struct Edge {
    names: &'static str,
    allowed: &'static str,
    reason: &'static str,
}

const EDGES: [Edge; 6] = [
    Edge {
        names: r"\baya(_obj)?::",
        allowed: r"^capturer/(src/kernel|examples/|tests/)",
        reason: "the loader is the only part that knows how programs get into the kernel",
    },
    Edge {
        names: r"\bmysql_async\b",
        allowed: r"^hub/(src/store/mysql|tests/)",
        reason: "the store is one trait; engines do not leak through it",
    },
    Edge {
        names: r"\b(kube|k8s_openapi)::",
        allowed: r"^(kubectl-kyanos/src/cluster|hub/(src|tests)/workloads|hub/src/lease|xtask/src/kubernetes_api)",
        reason: "everything else works without a cluster",
    },
    Edge {
        names: r"\btonic::(\{[^}]*\b)?Status\b",
        allowed: r"^(hub/src/(service|peers/(link|relay))\b|hub/tests/|capturer/(src/uplink|tests/pod/hub)|kubectl-kyanos/src/(client|connection|link|viewer)|proto/src/refusal)",
        reason: "errors become gRPC statuses at the service's edge, not before",
    },
    Edge {
        names: r"\brusqlite\b",
        allowed: r"^(hub/(src/store|tests/)|hub/src/store\.rs|kubectl-kyanos/src/(query|save|store))",
        reason: "the store is one trait; engines do not leak through it",
    },
    Edge {
        names: r"\bnix::|\bstd::os::|\btokio::signal\b|\bcfg!?\([^)]*\b(unix|windows|target_os)\b",
        allowed: r"^(kubectl-kyanos/(src/(platform|.*tests\.rs)|tests/)|capturer|decoders/|hub/|proto/|xtask/)",
        reason: "the plugin runs on Linux, macOS and Windows; all that differs is in one place",
    },
];

/// Modules of the plugin that stand below others, and those above them, which they may not name.
struct Floor {
    files: &'static str,
    above: &'static [&'static str],
    reason: &'static str,
}

const FLOORS: [Floor; 5] = [
    Floor {
        files: r"^kubectl-kyanos/src/cli\b",
        above: &["client", "cluster", "capture", "commands"],
        reason: "the command line is read before anything begins",
    },
    Floor {
        files: r"^kubectl-kyanos/src/session\b",
        above: &["client", "local", "cluster", "capture", "commands"],
        reason: "what every session has lies below both kinds",
    },
    Floor {
        files: r"^kubectl-kyanos/src/client\b",
        above: &["local", "cluster", "capture", "commands"],
        reason: "a hub is spoken to in one way, wherever it runs",
    },
    Floor {
        files: r"^kubectl-kyanos/src/local\b",
        above: &["cluster", "capture", "commands"],
        reason: "a session on this machine knows no other kind, nor who begins it",
    },
    Floor {
        files: r"^kubectl-kyanos/src/cluster\b",
        above: &["local", "capture", "commands"],
        reason: "a session in a cluster knows no other kind, nor who begins it",
    },
];

/// A word of the account that means something else in one file.
struct Namesake {
    word: &'static str,
    file: &'static str,
    reason: &'static str,
}

const NAMESAKES: [Namesake; 11] = [
    Namesake { word: "viewer", file: "proto/src/lib.rs", reason: "a role in certificates" },
    Namesake { word: "viewer", file: "hub/src/service.rs", reason: "a service" },
    Namesake { word: "viewer", file: "kubectl-kyanos/src/cluster/names.rs", reason: "an object's name" },
    Namesake { word: "capturer", file: "kubectl-kyanos/src/render/unseen.rs", reason: "a sentence" },
    Namesake { word: "event", file: "kubectl-kyanos/src/render/unseen.rs", reason: "a field of JSON" },
    Namesake { word: "store", file: "kubectl-kyanos/src/cluster/names.rs", reason: "a component's name" },
    Namesake { word: "store", file: "kubectl-kyanos/src/cli.rs", reason: "a flag" },
    Namesake { word: "store", file: "kubectl-kyanos/src/commands/version.rs", reason: "an image" },
    Namesake { word: "store", file: "kubectl-kyanos/src/commands/status.rs", reason: "a field of JSON" },
    Namesake { word: "exchanges", file: "hub/src/store/schema.rs", reason: "a table" },
    Namesake { word: "exchanges", file: "kubectl-kyanos/src/save.rs", reason: "a table" },
];

/// Lines of code in a file, tests apart, beyond which it says in a line `// Long because …` why it is not two files.
const LONG: usize = 550;

fn sources(extension: &str) -> Vec<(String, String)> {
    let files = tracked_files().expect("git lists the files");
    let wanted = files.into_iter().filter(|file| file.extension().is_some_and(|found| found == extension));
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(root().join(&file)).expect("sources are text");
        (file.to_string_lossy().into_owned(), text)
    };
    wanted.filter(|file| !file.to_string_lossy().contains("/generated/")).map(read).collect()
}

fn must_be_empty(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn edges_are_named_once() {
    let mut complaints = Vec::new();
    for edge in &EDGES {
        let names = Regex::new(edge.names).expect("a valid pattern");
        let allowed = Regex::new(edge.allowed).expect("a valid pattern");
        for (file, text) in sources("rs").iter().filter(|(file, _)| !allowed.is_match(file)) {
            if file == "xtask/tests/tidy.rs" {
                continue;
            }
            for (line, _) in text.lines().enumerate().filter(|(_, line)| names.is_match(line)) {
                complaints.push(format!(
                    "{file}:{}: `{}` does not belong here: {}",
                    line + 1,
                    edge.names,
                    edge.reason
                ));
            }
        }
    }
    must_be_empty(&complaints);
}

/// Returns the modules of its crate that a source names, comments apart, each with its line.
fn modules_named(text: &str) -> Vec<(usize, String)> {
    let code: Vec<&str> =
        text.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line }).collect();
    let code = code.join("\n");
    let paths = Regex::new(r"\bcrate::(?:(\w+)|\{([^;]*?)\};)").expect("a valid pattern");
    let first = Regex::new(r"(?:^|,)\s*(\w+)").expect("a valid pattern");
    let nested = Regex::new(r"\{[^{}]*\}").expect("a valid pattern");
    let mut named = Vec::new();
    for found in paths.captures_iter(&code) {
        let at = found.get(0).map_or(0, |whole| whole.start());
        let line = code.get(..at).unwrap_or_default().lines().count().max(1);
        if let Some(module) = found.get(1) {
            named.push((line, module.as_str().to_owned()));
        }
        let mut group = found.get(2).map_or("", |group| group.as_str()).to_owned();
        while nested.is_match(&group) {
            group = nested.replace_all(&group, "").into_owned();
        }
        named.extend(
            first.captures_iter(&group).filter_map(|module| Some((line, module.get(1)?.as_str().to_owned()))),
        );
    }
    named
}

#[test]
fn a_session_stands_above_nothing_that_stands_on_it() {
    let mut complaints = Vec::new();
    for Floor { files, above, reason } in &FLOORS {
        let files = Regex::new(files).expect("a valid pattern");
        let floor: Vec<_> = sources("rs").into_iter().filter(|(file, _)| files.is_match(file)).collect();
        assert!(!floor.is_empty(), "no file is called `{files}`");
        for (file, text) in floor {
            for (line, module) in modules_named(&text) {
                if above.contains(&module.as_str()) {
                    complaints.push(format!("{file}:{line}: `{module}` stands above it: {reason}"));
                }
            }
        }
    }
    must_be_empty(&complaints);
}

#[test]
fn modules_are_found_wherever_a_source_names_them() {
    let text = "//! As [`crate::cluster`].\nuse crate::session::Notice;\nuse crate::{\n    local::{self, child::Child},\n    store,\n};\nfn f() -> crate::failure::Failure {}\n";
    let named: Vec<String> = modules_named(text).into_iter().map(|(_, module)| module).collect();
    assert_eq!(named, ["session", "local", "store", "failure"]);
    assert_eq!(modules_named(text).last().map(|(line, _)| *line), Some(7));
}

#[test]
fn every_crate_inherits_the_lints() {
    let mut complaints = Vec::new();
    for (file, text) in sources("toml") {
        if file.ends_with("/Cargo.toml") && !text.contains("[lints]\nworkspace = true") {
            complaints.push(format!("{file}: add `[lints]` with `workspace = true`"));
        }
    }
    must_be_empty(&complaints);
}

#[test]
fn everything_on_the_wire_is_explained() {
    let declares =
        Regex::new(r"^\s*((message|enum|service|rpc|oneof) \w+|[\w.<>, ]+ \w+ = \d+)").expect("a pattern");
    let mut complaints = Vec::new();
    for (file, text) in sources("proto") {
        let mut explained = false;
        for (number, line) in text.lines().enumerate() {
            let is_comment = line.trim_start().starts_with("//");
            if declares.is_match(line) && !explained {
                complaints.push(format!("{file}:{}: needs a comment above it", number + 1));
            }
            explained = is_comment;
        }
    }
    must_be_empty(&complaints);
}

#[test]
fn actions_of_workflows_are_pinned_by_their_commit() {
    let uses = Regex::new(r"^\s*-?\s*uses:\s*(\S+)(.*)$").expect("a pattern");
    let pinned = Regex::new(r"^[\w.-]+/[\w./-]+@[0-9a-f]{40}$").expect("a pattern");
    let named = Regex::new(r"^ # v\d+(\.\d+)*$").expect("a pattern");
    let (mut complaints, mut met) = (Vec::new(), 0);
    for (file, text) in sources("yaml").iter().filter(|(file, _)| file.starts_with(".github/workflows/")) {
        for found in text.lines().filter_map(|line| uses.captures(line)) {
            met += 1;
            if !pinned.is_match(&found[1]) || !named.is_match(&found[2]) {
                complaints
                    .push(format!("{file}: `{}`: a tag can be moved; write `@COMMIT # VERSION`", &found[1]));
            }
        }
    }
    assert!(met > 0, "no workflow uses an action: the pattern is out of date");
    must_be_empty(&complaints);
}

#[test]
fn stages_units_and_consumers_are_named_in_the_account_alone() {
    let words = Regex::new(
        r#""(ring|miss|fault|map|unanchored|gap|unseen|unparsable|unpaired|uplink|viewer|store|events?|exchanges?)"|"(capturer|viewer) "#,
    )
    .expect("a valid pattern");
    let product = Regex::new(r"^(proto|hub|capturer|kubectl-kyanos)/src/").expect("a valid pattern");
    let mut complaints = Vec::new();
    let mut met = std::collections::BTreeSet::new();
    for (file, text) in sources("rs").iter().filter(|(file, _)| product.is_match(file)) {
        // Tests say what users see.
        if file == "proto/src/account.rs" || file.contains("/tests/") || file.ends_with("tests.rs") {
            continue;
        }
        let code = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).enumerate();
        for (number, line) in code {
            for found in words.captures_iter(line) {
                let word = found.get(1).or(found.get(2)).map_or("", |word| word.as_str());
                match NAMESAKES.iter().position(|one| one.word == word && one.file == file) {
                    Some(namesake) => drop(met.insert(namesake)),
                    None => {
                        complaints
                            .push(format!("{file}:{}: `{word}` has a type: see account.rs", number + 1));
                    }
                }
            }
        }
    }
    for (number, Namesake { word, file, reason }) in NAMESAKES.iter().enumerate() {
        if !met.contains(&number) {
            complaints.push(format!("{file}: `{word}` ({reason}) is there no more: remove the exception"));
        }
    }
    must_be_empty(&complaints);
}

#[test]
fn files_are_named_for_their_job() {
    let mut complaints = Vec::new();
    for (file, _) in sources("rs") {
        let stem = Path::new(&file).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        if stem.is_some_and(|stem| {
            ["mod", "utils", "util", "helpers", "common", "types"].contains(&stem.as_str())
        }) {
            complaints.push(format!("{file}: name it for the one job it does"));
        }
    }
    must_be_empty(&complaints);
}

#[test]
fn files_are_short_or_say_why_not() {
    let mut complaints = Vec::new();
    for (file, text) in sources("rs") {
        let is_test = file.contains("/tests/") || file.ends_with("/tests.rs");
        let code = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
        if code > LONG && !is_test && !text.contains("// Long because") {
            complaints.push(format!("{file}: {code} lines without tests"));
        }
    }
    must_be_empty(&complaints);
}

#[test]
fn modules_say_what_they_are_for() {
    let mut complaints = Vec::new();
    for (file, text) in sources("rs") {
        if !text.starts_with("//!") && !text.starts_with("#![") && !file.ends_with("build.rs") {
            complaints.push(format!("{file}: begin with a `//!` sentence"));
        }
    }
    must_be_empty(&complaints);
}

#[test]
fn no_machine_is_named() {
    // Split, so that this file does not name them itself.
    let places =
        [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/tmp/", "w/"), concat!("/tmp/", "t-")];
    let hosts =
        [concat!("deb.deb", "ian.org"), concat!("static.cra", "tes.io"), concat!("index.cra", "tes.io")];
    let mut complaints = Vec::new();
    for file in tracked_files().expect("git lists the files") {
        let Ok(text) = std::fs::read_to_string(root().join(&file)) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            if let Some(found) = places.iter().chain(&hosts).find(|word| line.contains(**word)) {
                complaints.push(format!("{}:{}: names `{found}`", file.display(), number + 1));
            }
        }
    }
    must_be_empty(&complaints);
}

#[test]
fn every_dependency_comes_from_the_public_registry() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("a lock file");
    let sources = lock.lines().filter_map(|line| line.strip_prefix("source = "));
    let foreign: Vec<&str> = sources
        .filter(|source| *source != "\"registry+https://github.com/rust-lang/crates.io-index\"")
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

#[test]
fn one_nightly_compiles_kernel_programs() {
    let pattern = Regex::new(r"nightly-\d{4}-\d\d-\d\d").expect("a valid pattern");
    let mut found: Vec<(String, String)> = Vec::new();
    for (file, text) in sources("rs").into_iter().chain(sources("md")).chain(sources("toml")) {
        found.extend(pattern.find_iter(&text).map(|name| (name.as_str().to_owned(), file.clone())));
    }
    found.sort();
    found.dedup();
    assert!(found.len() >= 2, "set-up and the capturer's build script name it: {found:?}");
    assert!(found.iter().all(|(name, _)| Some(name) == found.first().map(|(name, _)| name)), "{found:?}");
}

#[test]
fn every_exception_has_a_reason() {
    let deny = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    let entries = deny.lines().filter(|line| line.contains("crate = ") || line.contains("name = "));
    let silent: Vec<&str> = entries.filter(|line| !line.contains("reason = ")).collect();
    assert!(silent.is_empty(), "give a reason: {silent:?}");
}

#[test]
fn findings_say_what_they_show() {
    let folder = root().join("findings");
    let mut complaints = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder of findings") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "sh") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("scripts are text");
        let lines: Vec<&str> = text.lines().collect();
        let begins = |start: &str| lines.iter().take(8).any(|line| line.starts_with(start));
        let stated = ["# Shows: ", "# With: ", "# Seen: "].iter().all(|start| begins(start));
        if lines.first() != Some(&"#!/bin/sh") || !stated || !text.contains("\nset -eu\n") {
            complaints.push(format!(
                "{}: `#!/bin/sh`, lines `# Shows:`, `# With:`, `# Seen:`, and `set -eu` are the form",
                path.display()
            ));
        }
    }
    must_be_empty(&complaints);
}

/// Words in the documents' paths that stand for any name.
const PLACEHOLDERS: [&str; 7] = ["NAME", "PROTOCOL", "FILE", "DIR", "X.Y.Z", "VERSION", "PLATFORM"];

/// Ends of the names of files that are kept here.
const ENDINGS: [&str; 11] =
    ["rs", "md", "toml", "yaml", "yml", "proto", "svg", "sh", "sql", "golden", "schema.json"];

/// Says whether a word between backticks is a path in these sources: it begins in a folder of theirs, or names a file
/// of a kind that is kept here.
fn is_path(word: &str, files: &[PathBuf]) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if !word.chars().all(plain) || word.starts_with('/') || PLACEHOLDERS.iter().any(|any| word.contains(any))
    {
        return false;
    }
    let in_a_folder =
        word.split_once('/').is_some_and(|(first, _)| files.iter().any(|file| is_below(file, first)));
    let stem = |ending: &&str| word.strip_suffix(*ending).and_then(|stem| stem.strip_suffix('.'));
    in_a_folder || ENDINGS.iter().find_map(stem).is_some_and(|stem| !stem.is_empty())
}

/// Says whether a file lies in a folder of the root.
fn is_below(file: &Path, folder: &str) -> bool {
    file.components().count() > 1 && file.starts_with(folder)
}

/// Says whether a path is there: from the root, from the folder of the document, or, where it is a file's name alone,
/// anywhere.
fn is_there(word: &str, document: &Path, files: &[PathBuf]) -> bool {
    let beside = document.parent().unwrap_or(Path::new("")).join(word);
    let known = |path: &Path| files.iter().any(|file| file == path || file.starts_with(path));
    let named = |file: &PathBuf| file.file_name().is_some_and(|name| name == word);
    known(Path::new(word)) || known(&beside) || files.iter().any(named)
}

/// Returns the words between backticks, outside of fenced blocks.
fn quoted(text: &str) -> Vec<String> {
    let prose: String = text.split("```").step_by(2).collect();
    let quotes = Regex::new("`([^`\n]+)`").expect("a valid pattern");
    quotes
        .captures_iter(&prose)
        .filter_map(|found| found.get(1))
        .map(|word| word.as_str().to_owned())
        .collect()
}

#[test]
fn every_path_in_the_documents_exists() {
    let files = tracked_files().expect("git lists the files");
    let is_document = |file: &str| file.starts_with("docs/") || !file.contains('/');
    let mut complaints = Vec::new();
    let mut checked = 0;
    for (document, text) in sources("md").into_iter().filter(|(file, _)| is_document(file)) {
        for word in quoted(&text).into_iter().filter(|word| is_path(word, &files)) {
            checked += 1;
            if !is_there(&word, Path::new(&document), &files) {
                complaints.push(format!("{document}: there is no `{word}`"));
            }
        }
    }
    must_be_empty(&complaints);
    assert!(checked > 50, "{checked} paths were found in the documents");
}

#[test]
fn paths_in_documents_are_told_from_other_words() {
    let files = ["docs/guide.md", "hub/src/main.rs", "Cargo.toml"].map(PathBuf::from);
    for path in
        ["hub/", "hub/src/main.rs", "hub/tests", "Cargo.toml", "main.rs", "guide.md", "hbu/src/main.rs"]
    {
        assert!(is_path(path, &files), "{path}");
    }
    for other in ["a/b", "shop/web-0", "/run/kyanos", "docs/NAME.md", "cargo xtask test", "hub", "10.0.0.0/8"]
    {
        assert!(!is_path(other, &files), "{other}");
    }
    let document = Path::new("docs/README.md");
    for there in ["hub/", "hub/src", "hub/src/main.rs", "guide.md", "main.rs"] {
        assert!(is_there(there, document, &files), "{there}");
    }
    for missing in ["hub/tests", "hbu/src/main.rs", "losses.md", "src/main.rs"] {
        assert!(!is_there(missing, document, &files), "{missing}");
    }
    assert_eq!(quoted("`a` and\n```\n`b`\n```\n`c d`"), ["a", "c d"]);
}
