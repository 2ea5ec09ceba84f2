//! What `MySQL` and `PostgreSQL` statements share: first keyword, one-line form, and the literals that are secrets.

mod columns;
mod connection;
pub(crate) mod cursor;
pub(crate) mod frame;
mod literal;
mod names;
mod parts;
mod rules;
mod secrets;
pub(crate) mod table;
#[cfg(test)]
mod tests;
mod tokens;

pub(crate) use parts::{Part, parts};
pub(crate) use secrets::{Parameters, Secrets, redact, redact_value};
use tokens::{Reading, Token, Tokens};

/// How a dialect writes its literals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Backslash escapes, `"…"` is a literal, `#` begins a comment.
    Mysql,
    /// Backslash escapes in `E'…'` only, `"…"` is a name, `$tag$…$tag$` is a literal.
    Postgres,
}

/// What stands in for a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// The longest one-line form of a statement, in bytes: a list shows one line, the payload has the whole text.
const LINE_BYTES: usize = 2048;

/// Says whether a status is one of `words`, or `ERR` with a code.
pub(crate) fn is_status(status: &str, words: &[&str], is_code: fn(&str) -> bool) -> bool {
    words.contains(&status) || status.strip_prefix("ERR ").is_some_and(is_code)
}

/// Returns the first keyword of `statement` in upper case, or nothing when it has none.
pub(crate) fn command(statement: &[u8], dialect: Dialect) -> String {
    Tokens::new(statement, Reading::usual(dialect))
        .find_map(|token| match token {
            Token::Word(word) => Some(String::from_utf8_lossy(word).to_uppercase()),
            Token::Name(_) | Token::Literal(_) | Token::Placeholder(_) | Token::Symbol(_) => None,
        })
        .unwrap_or_default()
}

/// Returns `statement` as one line: every run of white space is one space, and what is not text is replaced.
pub(crate) fn line(statement: &[u8]) -> String {
    let head = statement.get(..LINE_BYTES).unwrap_or(statement);
    let text = String::from_utf8_lossy(head);
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// Counts the placeholders of `statement`.
pub(crate) fn placeholders(statement: &[u8], dialect: Dialect) -> usize {
    let tokens = Tokens::new(statement, Reading::usual(dialect));
    tokens.filter(|token| matches!(token, Token::Placeholder(_))).count()
}
