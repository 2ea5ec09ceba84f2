//! No two rooms of a crate import from each other, not even by way of others: whoever reads one needs only those below.
#![expect(clippy::expect_used, reason = "a test that cannot read the sources has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;
use xtask::workspace::{root, tracked_files};

/// Crates whose modules are in layers.
const LAYERED: [&str; 3] = ["capturer", "capturer-ebpf", "kubectl-kyanos"];

/// What each module of a crate imports from its neighbours.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// Reads the imports of a crate's modules, those of their tests left out.
fn imports(name: &str) -> Imports {
    let source = Path::new(name).join("src");
    let mut imports = Imports::new();
    for file in tracked_files().expect("git lists the sources") {
        let Ok(inside) = file.strip_prefix(&source) else { continue };
        let is_rust = inside.extension().is_some_and(|extension| extension == "rs");
        let is_test = inside.iter().any(|part| part == "tests" || part == "tests.rs");
        if !is_rust || is_test {
            continue;
        }
        let module = module(inside);
        let text = std::fs::read_to_string(root().join(&file)).expect("a tracked file can be read");
        imports.entry(module.clone()).or_default().extend(named(&text).filter(|other| *other != module));
    }
    imports
}

/// Returns the module of the crate that a file belongs to.
fn module(inside: &Path) -> String {
    let first = inside.iter().next().map(Path::new).and_then(Path::file_stem);
    first.expect("a file has a name").to_string_lossy().into_owned()
}

/// Returns the modules that a file's text names, its tests and comments left out.
fn named(text: &str) -> impl Iterator<Item = String> {
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let path = Regex::new(r"\bcrate::(?:([a-z_]+)|(\{))").expect("a pattern");
    let mut names = Vec::new();
    for found in path.captures_iter(&code) {
        if let Some(name) = found.get(1) {
            names.push(name.as_str().to_owned());
        } else if let Some(brace) = found.get(2) {
            names.extend(of_list(code.get(brace.end()..).unwrap_or_default()));
        }
    }
    names.into_iter()
}

/// Returns the modules that begin the parts of a list in braces, of which `text` is the rest.
fn of_list(text: &str) -> Vec<String> {
    let mut depth = 0_u32;
    let mut part = String::new();
    let mut names = Vec::new();
    for letter in text.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(std::mem::take(&mut part)),
            _ if depth == 0 => part.push(letter),
            _ => {}
        }
    }
    names.push(part);
    let first = |part: String| part.split("::").next().unwrap_or_default().trim().to_owned();
    names.into_iter().map(first).filter(|name| !name.is_empty()).collect()
}

/// Returns a way from a module back to itself, if there is one.
fn circle(imports: &Imports) -> Option<Vec<String>> {
    imports.keys().find_map(|start| {
        let mut ways = vec![vec![start.clone()]];
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop() {
            for next in way.last().and_then(|last| imports.get(last)).into_iter().flatten() {
                let on = [way.as_slice(), std::slice::from_ref(next)].concat();
                if next == start {
                    return Some(on);
                }
                if seen.insert(next.clone()) {
                    ways.push(on);
                }
            }
        }
        None
    })
}

#[test]
fn modules_of_a_crate_are_in_layers() {
    let mut circles = Vec::new();
    for name in LAYERED {
        let imports = imports(name);
        assert!(
            imports.values().any(|others| others.len() > 5),
            "the imports of {name} are read: {imports:?}"
        );
        circles.extend(circle(&imports).map(|way| format!("{name}: {}", way.join(" → "))));
    }
    assert!(circles.is_empty(), "these import from each other:\n{}", circles.join("\n"));
}

#[test]
fn every_way_of_importing_is_seen() {
    for (text, expected) in [
        ("use crate::call::Call;", vec!["call"]),
        ("use crate::{call::{Call, Message}, rings, kernel::add};", vec!["call", "rings", "kernel"]),
        ("use crate::{\n    call,\n};\nfn f() { crate::rings::send(); }", vec!["call", "rings"]),
        ("// use crate::call;\n/// [`crate::call`]", vec![]),
        ("use crate::call;\n\n#[cfg(test)]\nmod tests {\n    use crate::rings;\n}", vec!["call"]),
    ] {
        assert_eq!(named(text).collect::<Vec<_>>(), expected, "{text}");
    }
    let of = |pairs: &[(&str, &str)]| {
        let mut imports = Imports::new();
        for (module, other) in pairs {
            imports.entry((*module).to_owned()).or_default().insert((*other).to_owned());
        }
        imports
    };
    assert_eq!(circle(&of(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    let found = circle(&of(&[("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")]));
    assert_eq!(found.expect("a circle").len(), 3);
}
