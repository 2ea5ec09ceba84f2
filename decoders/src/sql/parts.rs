//! Cuts a text into its statements, as far as a decoder must know what they do.

use super::Dialect;
use super::tokens::{Reading, Token, Tokens};

/// Words of a statement that are looked at: none that matters has more before its names.
const MAX_WORDS: usize = 4;

/// One statement of a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    /// Its first words in lower case; names in quotes as they are.
    pub(crate) words: Vec<Vec<u8>>,
    /// What follows its first `AS`.
    pub(crate) body: &'a [u8],
}

/// Returns the statements of `text`.
pub(crate) fn parts(text: &[u8], dialect: Dialect) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut part = Part::default();
    let mut body = None;
    let mut tokens = Tokens::new(text, Reading::usual(dialect));
    loop {
        let token = tokens.next();
        let word = match &token {
            Some(Token::Word(word)) => word.to_ascii_lowercase(),
            Some(Token::Name(name)) => name.to_vec(),
            Some(Token::Symbol(b';')) | None => {
                let end = if token.is_some() { tokens.at.saturating_sub(1) } else { tokens.at };
                part.body = text.get(body.take().unwrap_or(end)..end).unwrap_or_default();
                if !part.words.is_empty() {
                    parts.push(std::mem::take(&mut part));
                }
                if token.is_none() {
                    return parts;
                }
                continue;
            }
            Some(Token::Literal(_) | Token::Placeholder(_) | Token::Symbol(_)) => continue,
        };
        if body.is_none() && word == b"as" && matches!(token, Some(Token::Word(_))) {
            body = Some(tokens.at);
        }
        if part.words.len() < MAX_WORDS {
            part.words.push(word);
        }
    }
}
