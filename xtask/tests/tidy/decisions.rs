//! Decisions hang on types: no branch of the product asks what a message says, or whether there is a hint.

use std::collections::BTreeSet;

use regex::Regex;

use super::{must_be_empty, sources};

/// What looks into a text.
const LOOKS: &str = "contains|starts_with|ends_with|strip_prefix|strip_suffix|trim_start_matches|trim_end_matches|find|rfind|split_once|rsplit_once|eq_ignore_ascii_case|is_match";

/// Names of what is written for people.
const SAID: &str = "message|what|reason|said|told|hint|why|words|lower|error|failure|cause|status";

/// What reads as a decision on a text for people.
fn on_messages() -> Vec<Regex> {
    let patterns = [
        // `message.contains(…)`, `error.what.starts_with(…)`
        format!(r"\b(?:{SAID})(?:\(\))?(?:\.as_str\(\)|\.as_deref\(\))?\s*\.(?:{LOOKS})\("),
        // `error.to_string().contains(…)`, `status.message() == …`
        format!(
            r"\b(?:to_string|with_causes|message|hint|to_ascii_lowercase|to_lowercase)\([^()]*\)\s*(?:\.(?:{LOOKS})\(|==|!=)"
        ),
        // A hint's presence, an end's name.
        r"\bhint(?:\(\))?\s*\.is_(?:some|none)\w*\(|\bended_by\s*\.is_empty\(|as_os_str\(\)\s*\.is_empty\("
            .to_owned(),
        // `== "two words"`, `"two words" =>`
        r#"(?:==|!=)\s*"[^"\n]* [^"\n]*"|"[^"\n]+ [^"\n]+"\s*(?:\|\s*"[^"\n]*"\s*)*=>"#.to_owned(),
    ];
    patterns.iter().map(|pattern| Regex::new(pattern).expect("a valid pattern")).collect()
}

/// What reads as a decision on words that stand in the code.
fn on_words() -> Vec<Regex> {
    let patterns = [
        format!(r#"\.(?:{LOOKS})\(\s*&?b?"[^"\n]*[A-Za-z]{{2}}[^"\n]*""#),
        format!(r"\.(?:{LOOKS})\(\s*&?[A-Z][A-Z_]+(?:\.\d)?\)"),
    ];
    patterns.iter().map(|pattern| Regex::new(pattern).expect("a valid pattern")).collect()
}

/// A place that looks into a text and may: by a word of its line, with the reason.
struct Allowed {
    file: &'static str,
    line: &'static str,
    reason: &'static str,
}

const ALLOWED: [Allowed; 25] = [
    // What users write.
    Allowed { file: "hub/src/main.rs", line: "--launch=", reason: "an argument" },
    Allowed { file: "kubectl-kyanos/src/cli/values.rs", line: "\"ms\"", reason: "a value in milliseconds" },
    Allowed { file: "kubectl-kyanos/src/reports.rs", line: "\"sql\"", reason: "a file's name" },
    Allowed { file: "kubectl-kyanos/src/store.rs", line: "SQLITE", reason: "a store's URL" },
    Allowed { file: "kubectl-kyanos/src/store/mysql_url.rs", line: "SCHEME", reason: "a store's URL" },
    Allowed { file: "hub/src/store/mysql.rs", line: "mysql://", reason: "a store's URL" },
    // What is not written for people.
    Allowed {
        file: "proto/src/filter/status.rs",
        line: "word.as_str()",
        reason: "statuses as servers sent them",
    },
    Allowed { file: "capturer/src/identity/cgroups.rs", line: "name", reason: "names of cgroups" },
    Allowed { file: "capturer/src/identity/cgroups.rs", line: "\"conmon\"", reason: "names of cgroups" },
    Allowed { file: "capturer/src/identity/cgroups.rs", line: "slice", reason: "names of cgroups" },
    Allowed {
        file: "capturer/src/kernel/environment.rs",
        line: "[confidentiality]",
        reason: "a file of the kernel",
    },
    Allowed { file: "capturer/src/kernel/environment.rs", line: "pid:[", reason: "a link of the kernel" },
    Allowed {
        file: "capturer/src/kernel/hooks.rs",
        line: "recursion_misses:",
        reason: "a file of the kernel",
    },
    Allowed { file: "kubectl-kyanos/src/platform/unix.rs", line: "btime", reason: "a file of the kernel" },
    Allowed { file: "hub/src/service.rs", line: "ROLE_URI_PREFIX", reason: "a URI in a certificate" },
    Allowed { file: "hub/src/store/sqlite/reader.rs", line: "load_extension", reason: "a function of SQL" },
    Allowed {
        file: "hub/src/workloads.rs",
        line: "NAMESPACE",
        reason: "names of namespaces, which not everybody may make, beside labels",
    },
    // What is only shown.
    Allowed {
        file: "kubectl-kyanos/src/cli/refusal.rs",
        line: "error: ",
        reason: "the parser's message, shortened",
    },
    Allowed {
        file: "kubectl-kyanos/src/cli/refusal.rs",
        line: "strip_suffix(&said)",
        reason: "the parser's message, shortened",
    },
    Allowed { file: "proto/src/filter/field.rs", line: "error: ", reason: "a library's message, shortened" },
    Allowed {
        file: "kubectl-kyanos/src/cluster/progress/reason.rs",
        line: "Back-off pulling image ",
        reason: "a kubelet's message, shortened",
    },
    Allowed {
        file: "kubectl-kyanos/src/cluster/progress/reason.rs",
        line: "rpc error",
        reason: "a kubelet's message, shortened",
    },
    // What has no other form.
    Allowed {
        file: "kubectl-kyanos/src/cluster/progress/reason.rs",
        line: "NO_IMAGE",
        reason: "kubelets have no code for what a registry answered; where the words are others, time decides",
    },
    Allowed {
        file: "kubectl-kyanos/src/cluster/progress/refused.rs",
        line: "split_once(name)",
        reason: "names in an event's message, which has no fields for them; they are only repeated in a hint",
    },
    Allowed {
        file: "kubectl-kyanos/src/cluster/progress/refused.rs",
        line: "CONSTRAINTS",
        reason: "the same of OpenShift; where the words are others, the hint is a general one",
    },
];

/// The code of a file, without comments and tests.
fn code(text: &str) -> String {
    let ends = text.find("\n#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let code = text.get(..ends).unwrap_or(text);
    let bare = |line: &str| if line.trim_start().starts_with("//") { String::new() } else { line.to_owned() };
    code.lines().map(bare).collect::<Vec<_>>().join("\n")
}

/// Lines that decide on a text, with their numbers; a finding that is broken over lines stands where it ends.
fn decisions(text: &str) -> BTreeSet<(usize, String)> {
    let code = code(text);
    let lines: Vec<&str> = code.lines().collect();
    let patterns = on_messages().into_iter().chain(on_words());
    let ends =
        patterns.flat_map(|pattern| pattern.find_iter(&code).map(|found| found.end()).collect::<Vec<_>>());
    ends.map(|end| {
        let number = code.get(..end).unwrap_or_default().matches('\n').count();
        (number + 1, lines.get(number).copied().unwrap_or_default().trim().to_owned())
    })
    .collect()
}

#[test]
fn no_decision_hangs_on_human_text() {
    let product = Regex::new(r"^(proto|hub|capturer|kubectl-kyanos)/src/").expect("a valid pattern");
    let shows =
        Regex::new(r"^kubectl-kyanos/src/render/|/fake_|/tests/|tests\.rs$").expect("a valid pattern");
    let mut complaints = Vec::new();
    let mut met = BTreeSet::new();
    for (file, text) in
        sources("rs").iter().filter(|(file, _)| product.is_match(file) && !shows.is_match(file))
    {
        for (number, line) in decisions(text) {
            let allowed = |one: &Allowed| one.file == file && line.contains(one.line);
            match ALLOWED.iter().position(allowed) {
                Some(one) => drop(met.insert(one)),
                None => complaints.push(format!("{file}:{number}: decide on a type, not on a text: {line}")),
            }
        }
    }
    for (_, Allowed { file, line, reason }) in
        ALLOWED.iter().enumerate().filter(|(one, _)| !met.contains(one))
    {
        complaints.push(format!("{file}: `{line}` ({reason}) is there no more: remove the exception"));
    }
    must_be_empty(&complaints);
}

#[test]
fn decisions_on_text_are_found() {
    for line in [
        r#"if message.contains("store") {"#,
        r#"left.retain(|what| !what.starts_with("namespace "));"#,
        "if failure.hint.is_some() {",
        "Err(failure) if failure.hint.is_none() => Err(failure),",
        r"StoreChoice::Sqlite { path } if path.as_os_str().is_empty() => true,",
        "Ok(answer) if answer.ended_by.is_empty() => answered = true,",
        "let says = |text: &str| status.message.contains(text);",
        r#"if lower.contains("certificate") {"#,
        "BREAKS.iter().any(|words| lower.contains(words))",
        r"if error.to_string() == expected {",
        r#"status.message() != "gone""#,
        "error\n    .to_string()\n    .starts_with(start)",
        r#"kind.ends_with("Binding")"#,
        r"line.starts_with(PREFIX)",
        r#"if state == "not there yet" {"#,
        r#""not there" | "gone" => false,"#,
    ] {
        assert_eq!(decisions(line).len(), 1, "{line}");
    }
    for line in [
        "ports.contains(&port)",
        "KINDS.contains(&kind)",
        r"text.split_once('/')",
        r#"text.split_once(": ")"#,
        r#"// if message.contains("store") {"#,
        r#"console.say("not there");"#,
        "match failure.hint { Some(hint) => hint, None => other }",
        "#[cfg(test)]\nmod tests {\n    assert!(message.contains(\"x\"));\n}",
    ] {
        assert!(decisions(&format!("\n{line}")).is_empty(), "{line}");
    }
}
