//! What kubectl reads.

use super::*;

fn ask(words: &[&str]) -> (Vec<String>, String) {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let text = answer(&words);
    let mut lines: Vec<String> =
        text.lines().map(|line| line.split('\t').next().unwrap_or("").to_owned()).collect();
    let directive = lines.pop().expect("a directive");
    (lines, directive)
}

#[test]
fn commands_protocols_flags_and_values_are_offered() {
    let all = ["cleanup", "completion", "overview", "query", "stat", "status", "version", "watch"];
    assert_eq!(ask(&[""]), (all.map(str::to_owned).to_vec(), ":4".to_owned()));
    assert_eq!(ask(&["st"]).0, ["stat", "status"]);
    assert_eq!(ask(&["watch", "--local", "re"]).0, ["redis"]);
    assert_eq!(ask(&["watch", "--path-"]).0, ["--path-prefix", "--path-regex"]);
    assert_eq!(ask(&["watch", "-o", ""]).0, ["json", "table", "wide"]);
    assert_eq!(ask(&["watch", "--output=w"]).0, ["--output=wide"]);
    assert_eq!(ask(&["watch", "--errors="]).0, ["--errors=all", "--errors=false", "--errors=true"]);
    assert_eq!(ask(&["watch", "--errors", "re"]).0, ["redis"], "its value is never the next word");
    assert_eq!(ask(&["stat", "-g", "http-p"]).0, ["http-path"]);
    assert_eq!(ask(&["stat", "--group-by=remote-s"]).0, ["--group-by=remote-service"]);
    assert_eq!(ask(&["stat", "--sort", "p9"]).0, ["p90", "p95", "p99"]);
    assert_eq!(ask(&["watch", "--save", ""]), (Vec::new(), ":0".to_owned()));
    assert_eq!(ask(&["watch", "--local", "--no-such"]), (Vec::new(), ":4".to_owned()));
    assert_eq!(ask(&[]).1, ":4");
}

#[test]
fn hidden_flags_and_commands_are_not_offered() {
    assert!(!ask(&["watch", "--"]).0.contains(&"--docker-address".to_owned()));
    assert!(ask(&["__"]).0.is_empty());
}

#[test]
fn every_shell_has_a_script() {
    use clap::ValueEnum;
    for shell in clap_complete::Shell::value_variants() {
        assert!(script(*shell).len() > 1000, "{shell}");
    }
}
