//! Cuts a text of statements into words and names the way the server does that reads it.
//!
//! Source: <https://dev.mysql.com/doc/refman/8.4/en/language-structure.html> and
//! <https://mariadb.com/docs/server/reference/sql-structure/comment-syntax>.

use std::borrow::Cow;

use super::server::{Audience, Server, decimal, takes};

/// Digits of the version in an executable comment: five, or six.
const VERSION_DIGITS: std::ops::RangeInclusive<usize> = 5..=6;

/// One piece of a text; white space and comments are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MysqlToken<'a> {
    /// A keyword, a name or a number.
    Word(&'a [u8]),
    /// What stands between quotes, which are undone: a name in back quotes, a literal in others, or, where the session
    /// has it so, a name in double quotes.
    Quoted { quote: u8, content: Cow<'a, [u8]> },
    /// Any other byte.
    Symbol(u8),
}

/// What decides how a text is read beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lexis {
    /// Who reads it; `None` where the greeting was not seen.
    pub(super) server: Option<Server>,
    /// A backslash is a character like any other: the session's mode has `NO_BACKSLASH_ESCAPES`.
    pub(super) plain_backslash: bool,
}

/// Cuts a text into tokens. Whatever the bytes are, it ends: every step moves on.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    lexis: Lexis,
    /// The text of an executable comment is being read: `*/` ends it.
    executable: bool,
}

// === impl MysqlToken ===

impl MysqlToken<'_> {
    /// Tells whether this is the keyword `word`, which is given in upper case.
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(bytes) if bytes.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Tells whether this is one of the keywords `words`.
    pub(super) fn is_one_of(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }

    /// Returns the name that this is.
    pub(super) fn name(&self) -> Option<String> {
        let bytes: &[u8] = match self {
            Self::Word(word) => word,
            Self::Quoted { quote: b'`' | b'"', content } => content,
            Self::Quoted { .. } | Self::Symbol(_) => return None,
        };
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// Returns the text of a literal.
    pub(super) fn literal(&self) -> Option<&[u8]> {
        match self {
            Self::Quoted { quote: b'\'' | b'"', content } => Some(content),
            Self::Quoted { .. } | Self::Word(_) | Self::Symbol(_) => None,
        }
    }
}

// === impl Scanner ===

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8], lexis: Lexis) -> Self {
        Self { text, at: 0, lexis, executable: false }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at.saturating_add(ahead)).copied()
    }

    fn skip(&mut self, count: usize) {
        self.at = self.at.saturating_add(count).min(self.text.len());
    }

    /// Moves behind the next `end`, or to the end of the text.
    fn skip_past(&mut self, end: &[u8]) {
        match memchr::memmem::find(self.rest(), end) {
            Some(offset) => self.skip(offset.saturating_add(end.len())),
            None => self.at = self.text.len(),
        }
    }

    /// Moves behind white space and comments.
    fn skip_blank(&mut self) {
        loop {
            match (self.peek(0), self.peek(1), self.peek(2)) {
                // Servers take NUL at the end of a text for white space.
                (Some(byte), ..) if byte.is_ascii_whitespace() || matches!(byte, 0 | 0x0b) => self.skip(1),
                (Some(b'/'), Some(b'*'), Some(b'!')) => self.open_comment(3, false),
                (Some(b'/'), Some(b'*'), Some(b'M')) if self.peek(3) == Some(b'!') => {
                    self.open_comment(4, true);
                }
                (Some(b'/'), Some(b'*'), _) => {
                    self.skip(2);
                    self.skip_past(b"*/");
                }
                (Some(b'*'), Some(b'/'), _) if self.executable => {
                    self.executable = false;
                    self.skip(2);
                }
                (Some(b'#'), ..) | (Some(b'-'), Some(b'-'), None | Some(0..=b' ' | 0x7f)) => {
                    self.skip_past(b"\n");
                }
                _ => return,
            }
        }
    }

    /// Moves into an executable comment if it is for this server, else behind it.
    fn open_comment(&mut self, opening: usize, mariadb_only: bool) {
        self.skip(opening);
        let digits = self.rest().iter().take(*VERSION_DIGITS.end()).take_while(|byte| byte.is_ascii_digit());
        let digits = digits.count();
        let mut version = None;
        if VERSION_DIGITS.contains(&digits) {
            version = self.rest().get(..digits).map(decimal);
            self.skip(digits);
        }
        if takes(self.lexis.server, Audience { mariadb_only, version }) {
            self.executable = true;
            return;
        }
        // Comments within it are passed over with it.
        loop {
            match memchr::memchr2(b'*', b'/', self.rest()) {
                None => return self.at = self.text.len(),
                Some(offset) => self.skip(offset),
            }
            match (self.peek(0), self.peek(1)) {
                (Some(b'*'), Some(b'/')) => return self.skip(2),
                (Some(b'/'), Some(b'*')) => {
                    self.skip(2);
                    self.skip_past(b"*/");
                }
                _ => self.skip(1),
            }
        }
    }

    fn quoted(&mut self, quote: u8) -> MysqlToken<'a> {
        self.skip(1);
        let start = self.at;
        let mut plain = true;
        let mut content = Vec::new();
        while let Some(byte) = self.peek(0) {
            let doubled = byte == quote && self.peek(1) == Some(quote);
            let escaped = byte == b'\\' && quote != b'`' && !self.lexis.plain_backslash;
            if doubled || escaped {
                if plain {
                    content = self.text.get(start..self.at).unwrap_or_default().to_vec();
                    plain = false;
                }
                content.extend(self.peek(1));
                self.skip(2);
                continue;
            }
            if byte == quote {
                break;
            }
            if !plain {
                content.push(byte);
            }
            self.skip(1);
        }
        let whole = self.text.get(start..self.at).unwrap_or_default();
        self.skip(1);
        MysqlToken::Quoted { quote, content: if plain { Cow::Borrowed(whole) } else { Cow::Owned(content) } }
    }
}

impl<'a> Iterator for Scanner<'a> {
    type Item = MysqlToken<'a>;

    fn next(&mut self) -> Option<MysqlToken<'a>> {
        self.skip_blank();
        let byte = self.peek(0)?;
        if matches!(byte, b'\'' | b'"' | b'`') {
            return Some(self.quoted(byte));
        }
        let in_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
        let length = self.rest().iter().take_while(|byte| in_word(byte)).count();
        let word = self.rest().get(..length).filter(|word| !word.is_empty());
        self.skip(length.max(1));
        Some(word.map_or(MysqlToken::Symbol(byte), MysqlToken::Word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str, plain_backslash: bool) -> String {
        let server = Some(Server::read(b"5.5.5-10.11.19-MariaDB"));
        let tokens: Vec<String> = Scanner::new(text.as_bytes(), Lexis { server, plain_backslash })
            .map(|token| match token {
                MysqlToken::Word(word) => String::from_utf8_lossy(word).into_owned(),
                MysqlToken::Quoted { quote, content } => {
                    format!("{}({})", char::from(quote), String::from_utf8_lossy(&content))
                }
                MysqlToken::Symbol(byte) => char::from(byte).to_string(),
            })
            .collect();
        tokens.join(" ")
    }

    #[test]
    fn a_text_is_cut_as_the_server_does() {
        for (text, want) in [
            ("USE`de``pot`;", "USE `(de`pot) ;"),
            ("use/**/depot", "use depot"),
            ("use--\ndepot", "use depot"),
            ("use--depot", "use - - depot"),
            ("use\x0bdepot\0", "use depot"),
            ("# c\nuse depot -- next", "use depot"),
            ("/*! use */ depot", "use depot"),
            ("/*!50701 use shop */ use depot", "use depot"),
            ("/*!50701 a /* ; */ b */ c", "c"),
            ("/*!100100 use depot*/", "use depot"),
            ("/*!999999 use shop*/ x", "x"),
            ("/*!1234 x */", "1234 x"),
            ("/*M!100100 USE depot*/", "USE depot"),
            ("/*M x */ y", "y"),
            ("a */ b", "a * / b"),
            ("'it''s \\' ; ' \"q\\\"\" ;", "'(it's ' ; ) \"(q\") ;"),
            ("'open ; use depot", "'(open ; use depot)"),
            ("use depot /* open", "use depot"),
            ("use \u{e9}t\u{e9}", "use \u{e9}t\u{e9}"),
        ] {
            assert_eq!(scan(text, false), want, "{text}");
        }
        assert_eq!(scan("'a\\' ; use depot", true), "'(a\\) ; use depot");
    }
}
