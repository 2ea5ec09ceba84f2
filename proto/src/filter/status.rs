//! Statuses by their words.

use std::sync::Arc;

use super::{FilterError, Test, asked};
use crate::v1;

#[derive(Debug)]
struct Statuses(Vec<Status>);

#[derive(Debug)]
enum Status {
    /// `5xx`: three digits with this first one.
    Class(u8),
    /// The whole status, or its beginning up to a space.
    Word(String),
}

pub(super) fn compile(filter: &v1::Filter) -> Result<Option<Arc<dyn Test>>, FilterError> {
    let statuses = filter.statuses.iter().map(|word| Status::parse(word)).collect::<Result<_, _>>()?;
    Ok(asked(Statuses(statuses), !filter.statuses.is_empty()))
}

impl Test for Statuses {
    fn passes(&self, exchange: &v1::Exchange) -> bool {
        self.0.iter().any(|status| status.passes(&exchange.status))
    }
}

// === impl Status ===

impl Status {
    fn parse(word: &str) -> Result<Self, FilterError> {
        if word.trim().is_empty() {
            return Err(FilterError::new("status", word, "a status is a word such as 404, 5xx or ERR"));
        }
        Ok(match word.as_bytes() {
            [class @ b'1'..=b'9', b'x' | b'X', b'x' | b'X'] => Self::Class(*class),
            _ => Self::Word(word.to_owned()),
        })
    }

    fn passes(&self, status: &str) -> bool {
        match self {
            Self::Class(class) => match status.as_bytes() {
                [first, rest @ ..] => {
                    first == class && rest.len() == 2 && rest.iter().all(u8::is_ascii_digit)
                }
                [] => false,
            },
            Self::Word(word) => status
                .strip_prefix(word.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')),
        }
    }
}
