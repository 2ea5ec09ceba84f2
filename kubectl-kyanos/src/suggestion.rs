//! What was probably meant where a word is not known.

/// Names that are shown of those that there are.
const SHOWN_NAMES: usize = 10;

/// Why a flag does not take a word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WrongWord {
    /// One like it was probably meant.
    #[error("did you mean `{0}`?")]
    Meant(String),
    /// It takes others, or another form.
    #[error("{0}")]
    Expected(String),
}

/// Says what was probably meant, else `otherwise`.
pub(crate) fn suggest(text: &str, known: &[&str], otherwise: &str) -> WrongWord {
    match nearest(text, known) {
        Some(found) => WrongWord::Meant(found.to_owned()),
        None => WrongWord::Expected(otherwise.to_owned()),
    }
}

/// Finds the known word that differs from `text` in at most a third of its letters.
pub(crate) fn nearest<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|word| (edits(text, word), *word))
        // A word of which no letter is left is another one.
        .filter(|(edits, word)| *edits <= word.len().max(3) / 3 && *edits < word.len())
        .min()
        .map(|(_, word)| word)
}

/// Says which of the names there are was meant, or which there are; `None` where there is none.
pub(crate) fn meant(name: &str, before: &str, known: &[String]) -> Option<String> {
    let words: Vec<&str> = known.iter().map(String::as_str).collect();
    // A pod is often meant by how its name begins.
    let longer =
        || words.iter().find(|word| word.strip_prefix(name).is_some_and(|rest| rest.starts_with('-')));
    if let Some(found) = nearest(name, &words).or_else(|| longer().copied()) {
        return Some(format!("did you mean `{before}{found}`?"));
    }
    let shown: Vec<&str> = words.iter().take(SHOWN_NAMES).copied().collect();
    let more = known.len().saturating_sub(shown.len());
    match (shown.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(format!("there are {}", shown.join(", "))),
        (false, more) => Some(format!("there are {} and {more} more", shown.join(", "))),
    }
}

/// Counts the letters to insert, remove, change or swap with their neighbours between two words.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    let mut above: Vec<usize> = Vec::new();
    let mut letter_before = None;
    for (line, from) in left.chars().enumerate() {
        let mut next = vec![line + 1];
        for (at, to) in right.iter().enumerate() {
            let cost = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let changed = cost(&row, at) + usize::from(from != *to);
            let mut least = changed.min(cost(&row, at + 1) + 1).min(cost(&next, at) + 1);
            let swapped = at > 0 && letter_before == Some(*to) && right.get(at - 1) == Some(&from);
            if swapped {
                least = least.min(cost(&above, at - 1) + 1);
            }
            next.push(least);
        }
        above = std::mem::replace(&mut row, next);
        letter_before = Some(from);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_pen_are_counted_once() {
        for (left, right, count) in [
            ("shop", "shop", 0),
            ("shpo", "shop", 1),
            ("wbe", "web", 1),
            ("deplyo", "deploy", 1),
            ("htp", "http", 1),
            ("httpp", "http", 1),
            ("a", "b", 1),
            ("", "abc", 3),
            ("abc", "", 3),
            ("ca", "abc", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(edits(left, right), count, "{left} {right}");
        }
        assert_eq!(nearest("b", &["a"]), None);
        assert_eq!(nearest("shpo", &["shop", "mine"]), Some("shop"));
    }

    #[test]
    fn names_that_there_are_are_shown_as_far_as_they_fit() {
        assert_eq!(meant("x", "", &[]), None);
        let many: Vec<String> = (10..30).map(|number| format!("service-{number}")).collect();
        let said = meant("x", "", &many).expect("some");
        assert!(said.ends_with("service-19 and 10 more"), "{said}");
        assert_eq!(meant("service-1", "", &many).as_deref(), Some("did you mean `service-10`?"));
        let pods = ["web-7d4-x".to_owned()];
        assert_eq!(meant("web", "po/", &pods).as_deref(), Some("did you mean `po/web-7d4-x`?"));
    }
}
