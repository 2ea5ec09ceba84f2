//! Names say one thing each: no two types of a crate share one, and a constant says of what it is the measure.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use super::{must_be_empty, sources};

/// A name that several public types of a crate have, and why they may.
struct Shared {
    krate: &'static str,
    name: &'static str,
    reason: &'static str,
}

const SHARED: [Shared; 1] = [Shared {
    krate: "kubectl-kyanos",
    name: "Signals",
    reason: "one for each kind of system, of which one is compiled, and the one that hides them",
}];

/// Words that say how long, how many or when, but not of what.
const BARE: [&str; 33] = [
    "AGAIN", "AHEAD", "ASK", "BUFFER", "BUDGET", "END", "ENOUGH", "FIRST", "GATHER", "KNOWN", "LEAST",
    "LIMIT", "LONGEST", "LOOK", "MORE", "MOST", "NEVER", "NEXT", "OTHER", "PACE", "PATIENCE", "PAUSE",
    "PERIOD", "POLL", "QUEUE", "RETRIES", "ROOM", "SHORTEST", "SILENT", "SOON", "START", "STOP", "TOLD",
];

/// The code of a source, its own tests and comments left out, by line.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let ends = text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text.get(..ends).unwrap_or(text).lines().enumerate();
    lines.filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(number, line)| (number + 1, line))
}

/// Whether a file is a test, or the data of one.
fn is_test(file: &str) -> bool {
    file.contains("/tests/") || file.ends_with("tests.rs")
}

/// The crate that a file belongs to.
fn crate_of(file: &str) -> &str {
    file.split('/').next().unwrap_or_default()
}

/// The public types that a source declares, each with its line.
fn public_types(text: &str) -> Vec<(usize, String)> {
    let declares =
        Regex::new(r"^\s*pub(?:\([^)]*\))?\s+(?:unsafe )?(?:struct|enum|trait|type|union)\s+(\w+)")
            .expect("a valid pattern");
    let named = |(number, line): (usize, &str)| Some((number, declares.captures(line)?[1].to_owned()));
    code(text).filter_map(named).collect()
}

#[test]
fn no_two_public_types_of_a_crate_share_a_name() {
    let mut found: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (file, text) in sources("rs").iter().filter(|(file, _)| !is_test(file)) {
        for (number, name) in public_types(text) {
            found.entry((crate_of(file).to_owned(), name)).or_default().push(format!("{file}:{number}"));
        }
    }
    assert!(found.len() > 300, "{} public types were found", found.len());
    found.retain(|_, places| places.len() > 1);
    let allowed = |krate: &str, name: &str| SHARED.iter().any(|one| one.krate == krate && one.name == name);
    let mut complaints: Vec<String> = found
        .iter()
        .filter(|((krate, name), _)| !allowed(krate, name))
        .map(|((krate, name), places)| {
            format!("{krate}: `{name}` is the name of several types: {}", places.join(", "))
        })
        .collect();
    for Shared { krate, name, reason } in &SHARED {
        if !found.contains_key(&((*krate).to_owned(), (*name).to_owned())) {
            complaints.push(format!("{krate}: `{name}` ({reason}) is one type by now: remove the exception"));
        }
    }
    must_be_empty(&complaints);
}

#[test]
fn public_types_are_found_however_they_are_declared() {
    let text = "//! pub struct Comment;\npub struct A;\npub(crate) enum B {\n}\n    pub(super) trait C {}\n\
                pub(in crate::a) type D = u8;\nstruct Private;\npub fn e() {}\npub union F {}\n";
    let found: Vec<String> = public_types(text).into_iter().map(|(_, name)| name).collect();
    assert_eq!(found, ["A", "B", "C", "D", "F"]);
    assert_eq!(public_types(text).last().map(|(line, _)| *line), Some(9));
}

#[test]
fn constants_say_of_what() {
    let declares =
        Regex::new(r"^\s*(?:pub(?:\([^)]*\))?\s+)?(?:const|static) (\w+):").expect("a valid pattern");
    let bare: BTreeSet<&str> = BARE.into_iter().collect();
    let (mut complaints, mut met) = (Vec::new(), 0);
    for (file, text) in sources("rs").iter().filter(|(file, _)| !is_test(file)) {
        for (number, line) in code(text) {
            let Some(found) = declares.captures(line) else { continue };
            met += 1;
            if bare.contains(&found[1]) {
                complaints.push(format!("{file}:{number}: `{}` of what?", &found[1]));
            }
        }
    }
    assert!(met > 500, "{met} constants were found");
    must_be_empty(&complaints);
}

#[test]
fn bytes_have_a_direction_and_no_way() {
    let quoted = Regex::new(r#""(?:\\.|[^"\\])*""#).expect("a valid pattern");
    // The wire's `ways` are times between two nodes, not directions of bytes.
    let way = Regex::new(r"\b(?:way|Way)\b").expect("a valid pattern");
    let mut complaints = Vec::new();
    for (file, text) in sources("rs").iter().filter(|(file, _)| !is_test(file)) {
        for (number, line) in code(text) {
            let bare = quoted.replace_all(line, "");
            if way.is_match(bare.split("//").next().unwrap_or_default()) {
                complaints.push(format!("{file}:{number}: say `direction`"));
            }
        }
    }
    must_be_empty(&complaints);
}
