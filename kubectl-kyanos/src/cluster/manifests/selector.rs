//! A label selector as kubectl writes it, into requirements of a node selector term.

use super::Requirement;
use crate::failure::Failure;

/// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, Failure> {
    split(text).into_iter().map(|part| requirement(part.trim(), text)).collect()
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut begin) = (0_i32, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text.get(begin..at).unwrap_or_default());
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(begin..).unwrap_or_default());
    parts
}

fn requirement(part: &str, whole: &str) -> Result<Requirement, Failure> {
    let wrong = || {
        Failure::usage(format!("`{whole}` is no selector of nodes"))
            .hint("write labels as kubectl does: `pool=web,zone in (a,b),!spot`")
    };
    let make = |key: &str, operator: &'static str, values: Vec<String>| {
        let key = key.trim();
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
        let valid = !key.is_empty() && key.chars().all(plain);
        valid.then(|| Requirement { key: key.to_owned(), operator, values }).ok_or_else(wrong)
    };
    let one = |value: &str| {
        let value = value.trim();
        let valid = !value.contains(|letter: char| " ()=!,".contains(letter));
        valid.then(|| vec![value.to_owned()]).ok_or_else(wrong)
    };
    if let Some((key, values)) = part.split_once('(') {
        let values = values.strip_suffix(')').ok_or_else(wrong)?;
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        let (key, word) = key.trim().rsplit_once(' ').ok_or_else(wrong)?;
        return match word {
            "in" => make(key, "In", values),
            "notin" => make(key, "NotIn", values),
            _ => Err(wrong()),
        };
    }
    if let Some((key, value)) = part.split_once("!=") {
        return make(key, "NotIn", one(value)?);
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return make(key, "In", one(value)?);
    }
    match part.strip_prefix('!') {
        Some(key) => make(key, "DoesNotExist", Vec::new()),
        None => make(part, "Exists", Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<(String, &'static str, String)> {
        let parsed = parse(text).expect("a selector");
        parsed.into_iter().map(|each| (each.key, each.operator, each.values.join("|"))).collect()
    }

    #[test]
    fn kubectl_selectors_become_requirements() {
        let expected = [
            ("a", "In", "b"),
            ("c", "NotIn", "d"),
            ("x.io/e", "In", "f|g"),
            ("h", "NotIn", "i"),
            ("j", "Exists", ""),
            ("k", "DoesNotExist", ""),
            ("l", "In", ""),
        ];
        let expected = expected.map(|(key, operator, values)| (key.to_owned(), operator, values.to_owned()));
        assert_eq!(told("a=b, c!=d,x.io/e in (f, g),h notin (i),j,!k,l=="), expected);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "a b", "a in b", "a in (b", "a is (b)", "=b", "a=b c", "a=b,,c", "in (a)", "a>1"] {
            assert_eq!(parse(text).map_err(|failure| failure.exit), Err(crate::failure::USAGE), "{text}");
        }
    }
}
