//! An error with its causes on one line, as users and logs read it.

use std::error::Error;

/// Writes an error and its causes one after the other, each once: some libraries repeat a cause in the error above it.
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    joined("", error)
}

/// Does the same behind a message that stands above the error.
#[must_use]
pub fn joined(message: &str, error: &(dyn Error + 'static)) -> String {
    below(error).fold(message.to_owned(), |text, cause| add(text, &cause.to_string()))
}

/// Returns an error and its causes, from the outside in.
///
/// What an I/O error carries is among them, which [`Error::source`] leaves out.
pub fn below<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| inner(*error))
}

/// Finds the first error of a type among an error and its causes.
#[must_use]
pub fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    below(error).find_map(|error| error.downcast_ref())
}

fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<std::io::Error>() {
        Some(io) => io.get_ref().map(|carried| carried as &(dyn Error + 'static)),
        None => error.source(),
    }
}

/// Adds what a cause says, where it is not said yet.
fn add(text: String, more: &str) -> String {
    if text.is_empty() {
        more.to_owned()
    } else if text.contains(more) {
        text
    } else {
        format!("{text}: {more}")
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("the file cannot be read")]
        Plain(#[source] io::Error),
        #[error("the file cannot be read: {0}")]
        Repeating(#[source] io::Error),
    }

    #[derive(Debug, thiserror::Error)]
    #[error("no such drawer")]
    struct Deepest;

    #[derive(Debug, thiserror::Error)]
    #[error("the cupboard is shut")]
    struct Deeper(#[source] Deepest);

    fn io() -> io::Error {
        io::Error::other(Deeper(Deepest))
    }

    #[test]
    fn every_cause_is_said_once() {
        let whole = "the file cannot be read: the cupboard is shut: no such drawer";
        assert_eq!(with_causes(&Outer::Plain(io())), whole);
        assert_eq!(with_causes(&Outer::Repeating(io())), whole);
        assert_eq!(with_causes(&Deepest), "no such drawer");
        assert_eq!(joined("shut", &Deeper(Deepest)), "shut: the cupboard is shut: no such drawer");
        assert_eq!(joined("no such drawer", &Deepest), "no such drawer");
        assert_eq!(with_causes(&Deeper(Deepest)), "the cupboard is shut: no such drawer");
    }

    #[test]
    fn causes_are_found_behind_an_io_error() {
        let error = Outer::Plain(io());
        assert!(find::<Deepest>(&error).is_some() && find::<io::Error>(&error).is_some());
        assert!(find::<Deepest>(&io::Error::from(io::ErrorKind::NotFound)).is_none());
        assert_eq!(below(&error).count(), 4);
    }
}
