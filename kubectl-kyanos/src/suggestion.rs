//! What was probably meant where a word is not known.

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
        .filter(|(edits, word)| *edits <= word.len().max(3) / 3)
        .min()
        .map(|(_, word)| word)
}

/// Counts the letters to insert, remove or change between two words.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut before = line;
        let mut last = line + 1;
        for (slot, to) in row.iter_mut().skip(1).zip(&right) {
            let changed = before + usize::from(from != *to);
            before = *slot;
            last = changed.min(last + 1).min(before + 1);
            *slot = last;
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}
