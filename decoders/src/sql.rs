//! What `MySQL` and `PostgreSQL` statements share: first keyword, one-line form, and the literals that are secrets.

pub(crate) mod cursor;
pub(crate) mod frame;
pub(crate) mod table;

use std::borrow::Cow;

/// How a dialect writes its literals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Backslash escapes, `"…"` is a literal, `#` begins a comment.
    Mysql,
    /// Backslash escapes in `E'…'` only, `"…"` is a name, `$tag$…$tag$` is a literal.
    Postgres,
}

/// A statement without its secrets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Redacted<'a> {
    /// The statement, each secret literal replaced by `[redacted]`.
    pub(crate) text: Cow<'a, [u8]>,
    /// Some secret is a placeholder, so the values bound to the statement are secrets too.
    pub(crate) parameters: bool,
}

/// What stands in for a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// The longest one-line form of a statement, in bytes: a list shows one line, the payload has the whole text.
const LINE_BYTES: usize = 2048;

/// Returns the first keyword of `statement` in upper case, or nothing when it has none.
pub(crate) fn command(statement: &[u8], dialect: Dialect) -> String {
    Tokens::new(statement, dialect)
        .find_map(|token| match token {
            Token::Word(word) => Some(String::from_utf8_lossy(word).to_uppercase()),
            Token::Literal { .. } | Token::Placeholder | Token::Symbol(_) => None,
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

/// Replaces the secret literals of `statement`: what follows `IDENTIFIED … BY|AS|USING`, `PASSWORD` and `SET PASSWORD … =`.
pub(crate) fn redact(statement: &[u8], dialect: Dialect) -> Redacted<'_> {
    let mut context = Secret::default();
    let mut output: Option<Vec<u8>> = None;
    let mut copied = 0_usize;
    let mut parameters = false;
    let mut tokens = Tokens::new(statement, dialect);
    while let Some(token) = tokens.next() {
        let secret = context.follows(&token);
        match token {
            Token::Literal { start, quote } if secret => {
                let text = output.get_or_insert_with(Vec::new);
                text.extend_from_slice(statement.get(copied..start).unwrap_or_default());
                text.extend_from_slice(quote);
                text.extend_from_slice(REDACTED.as_bytes());
                text.extend_from_slice(quote);
                copied = tokens.at;
            }
            Token::Placeholder if secret => parameters = true,
            Token::Literal { .. } | Token::Placeholder | Token::Word(_) | Token::Symbol(_) => {}
        }
    }
    let text = match output {
        Some(mut text) => {
            text.extend_from_slice(statement.get(copied..).unwrap_or_default());
            Cow::Owned(text)
        }
        None => Cow::Borrowed(statement),
    };
    Redacted { text, parameters }
}

/// Counts the placeholders of `statement`.
pub(crate) fn placeholders(statement: &[u8], dialect: Dialect) -> usize {
    Tokens::new(statement, dialect).filter(|token| *token == Token::Placeholder).count()
}

/// Returns the database that `USE` names, if `statement` is one.
pub(crate) fn used_database(statement: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(statement).ok()?.trim().trim_end_matches(';').trim_end();
    let (word, name) = text.split_once(|c: char| c.is_ascii_whitespace())?;
    word.eq_ignore_ascii_case("USE").then(|| name.trim().trim_matches('`').to_owned())
}

/// One piece of a statement; white space and comments are none.
#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A keyword, a name or a number.
    Word(&'a [u8]),
    /// A literal from `start` to where the scanner stands, with the quote it is written in.
    Literal { start: usize, quote: &'a [u8] },
    /// `?` or `$1`.
    Placeholder,
    /// Any other byte, and quoted names (as their quote).
    Symbol(u8),
}

/// Cuts a statement into tokens. Whatever the bytes are, it ends: every step moves on.
struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    dialect: Dialect,
}

/// Knows, from the tokens so far, whether a literal here is a secret.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each remembers one keyword, and they are independent")]
struct Secret {
    /// The previous token announces a secret: `BY`, `PASSWORD`, `PASSWORD(`, `… =`.
    next: bool,
    /// The previous word was `…PASSWORD`.
    password: bool,
    /// The previous word was `SET`.
    set: bool,
    /// `SET PASSWORD` was seen: a literal after `=` is a secret.
    set_password: bool,
    /// `IDENTIFIED` was seen: a literal after `BY`, `AS`, `USING` or `REPLACE` is a secret.
    identified: bool,
}

// === impl Secret ===

impl Secret {
    /// Takes the next token and tells whether it holds a secret.
    fn follows(&mut self, token: &Token<'_>) -> bool {
        let announced = std::mem::take(&mut self.next);
        match token {
            Token::Literal { .. } | Token::Placeholder => {
                self.password = false;
                self.set = false;
                return announced;
            }
            Token::Word(word) => self.word(word),
            Token::Symbol(b'(') if self.password => self.next = true,
            Token::Symbol(b'=') => {
                self.next = self.password || self.set_password;
                self.password = false;
            }
            // `:=` and `PASSWORD ( 'x'` keep what was announced.
            Token::Symbol(b':') => {}
            Token::Symbol(b';') => *self = Self::default(),
            Token::Symbol(_) => {
                self.password = false;
                self.set = false;
            }
        }
        false
    }

    fn word(&mut self, word: &[u8]) {
        let ends_with = |tail: &[u8]| {
            word.len()
                .checked_sub(tail.len())
                .and_then(|start| word.get(start..))
                .is_some_and(|end| end.eq_ignore_ascii_case(tail))
        };
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let set = std::mem::take(&mut self.set);
        self.password = false;
        if ends_with(b"PASSWORD") {
            self.password = true;
            self.set_password |= set;
            self.next = true;
        } else if is(b"IDENTIFIED") {
            self.identified = true;
        } else if is(b"SET") {
            self.set = true;
        } else if is(b"BY") || is(b"AS") || is(b"USING") || is(b"REPLACE") {
            self.next = self.identified;
        } else if is(b"TO") {
            // `ALTER SYSTEM SET x_password TO 'secret'`.
            self.next = self.set_password;
        }
    }
}

// === impl Tokens ===

impl<'a> Tokens<'a> {
    fn new(text: &'a [u8], dialect: Dialect) -> Self {
        Self { text, at: 0, dialect }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at.saturating_add(ahead)).copied()
    }

    fn skip(&mut self, count: usize) {
        self.at = self.at.saturating_add(count).min(self.text.len());
    }

    /// Moves behind the next `end`, or to the end of the text.
    fn skip_past(&mut self, end: &[u8]) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        match memchr::memmem::find(rest, end) {
            Some(offset) => self.skip(offset.saturating_add(end.len())),
            None => self.at = self.text.len(),
        }
    }

    /// Moves behind white space and comments.
    fn skip_blank(&mut self) {
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(byte), _) if byte.is_ascii_whitespace() => self.skip(1),
                (Some(b'/'), Some(b'*'))
                    if self.dialect == Dialect::Mysql && matches!(self.peek(2), Some(b'!' | b'M')) =>
                {
                    // The text of an executable comment is part of the statement.
                    self.skip(3);
                    while self.peek(0).is_some_and(|byte| byte.is_ascii_digit() || byte == b'!') {
                        self.skip(1);
                    }
                }
                (Some(b'*'), Some(b'/')) => self.skip(2),
                (Some(b'/'), Some(b'*')) => {
                    self.skip(2);
                    self.skip_past(b"*/");
                }
                (Some(b'-'), Some(b'-')) => self.skip_past(b"\n"),
                (Some(b'#'), _) if self.dialect == Dialect::Mysql => self.skip_past(b"\n"),
                _ => return,
            }
        }
    }

    /// Moves behind the quoted text that begins here.
    fn skip_quoted(&mut self, quote: u8, backslash: bool) {
        self.skip(1);
        while let Some(byte) = self.peek(0) {
            if byte == quote && self.peek(1) == Some(quote) || byte == b'\\' && backslash {
                self.skip(2);
            } else {
                self.skip(1);
                if byte == quote {
                    return;
                }
            }
        }
    }

    /// Reads `$tag$…$tag$` or `$1`; anything else behind `$` is a symbol.
    fn dollar(&mut self) -> Token<'a> {
        let start = self.at;
        let tag = self.text.get(start.saturating_add(1)..).unwrap_or_default();
        let length = tag
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_' || **byte >= 0x80)
            .count();
        if tag.get(length) == Some(&b'$') {
            let delimiter =
                self.text.get(start..start.saturating_add(length).saturating_add(2)).unwrap_or_default();
            self.skip(delimiter.len());
            self.skip_past(delimiter);
            return Token::Literal { start, quote: delimiter };
        }
        if length > 0 && tag.first().is_some_and(u8::is_ascii_digit) {
            self.skip(length.saturating_add(1));
            return Token::Placeholder;
        }
        self.skip(1);
        Token::Symbol(b'$')
    }

    fn word(&mut self) -> Token<'a> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..))
            .count();
        let word = rest.get(..length).unwrap_or_default();
        let prefix = matches!(word, b"E" | b"e" | b"N" | b"n" | b"B" | b"b" | b"X" | b"x")
            || word.first() == Some(&b'_');
        if prefix && rest.get(length) == Some(&b'\'') {
            let start = self.at.saturating_add(length);
            self.skip(length);
            self.skip_quoted(b'\'', self.dialect == Dialect::Mysql || word.eq_ignore_ascii_case(b"E"));
            return Token::Literal { start, quote: b"'" };
        }
        self.skip(length);
        Token::Word(word)
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blank();
        let start = self.at;
        let byte = self.peek(0)?;
        let mysql = self.dialect == Dialect::Mysql;
        Some(match byte {
            b'\'' => {
                self.skip_quoted(byte, mysql);
                Token::Literal { start, quote: b"'" }
            }
            b'"' if mysql => {
                self.skip_quoted(byte, true);
                Token::Literal { start, quote: b"\"" }
            }
            b'"' | b'`' => {
                self.skip_quoted(byte, false);
                Token::Symbol(byte)
            }
            b'?' if mysql => {
                self.skip(1);
                Token::Placeholder
            }
            b'$' if !mysql => self.dollar(),
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => self.word(),
            _ => {
                self.skip(1);
                Token::Symbol(byte)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Dialect, command, line, redact};

    fn redacted(statement: &str, dialect: Dialect) -> String {
        String::from_utf8(redact(statement.as_bytes(), dialect).text.into_owned()).unwrap()
    }

    #[test]
    fn secrets_of_mysql_are_replaced() {
        for (statement, want) in [
            (
                "CREATE USER 'a'@'%' IDENTIFIED BY 'x''y\\'z', b IDENTIFIED BY \"q\" REQUIRE NONE",
                "CREATE USER 'a'@'%' IDENTIFIED BY '[redacted]', b IDENTIFIED BY \"[redacted]\" REQUIRE NONE",
            ),
            (
                "ALTER USER a IDENTIFIED WITH p BY 'x' REPLACE 'old'",
                "ALTER USER a IDENTIFIED WITH p BY '[redacted]' REPLACE '[redacted]'",
            ),
            ("ALTER USER a IDENTIFIED BY PASSWORD '*AB'", "ALTER USER a IDENTIFIED BY PASSWORD '[redacted]'"),
            (
                "ALTER USER a IDENTIFIED VIA p USING PASSWORD('x')",
                "ALTER USER a IDENTIFIED VIA p USING PASSWORD('[redacted]')",
            ),
            (
                "SET PASSWORD FOR 'bob'@'%' = 'x'; SELECT 'y' = 'z'",
                "SET PASSWORD FOR 'bob'@'%' = '[redacted]'; SELECT 'y' = 'z'",
            ),
            ("SET PASSWORD = PASSWORD ( 'x' )", "SET PASSWORD = PASSWORD ( '[redacted]' )"),
            (
                "CHANGE MASTER TO MASTER_USER='u', MASTER_PASSWORD='x'",
                "CHANGE MASTER TO MASTER_USER='u', MASTER_PASSWORD='[redacted]'",
            ),
            (
                "/*!50000 CREATE USER a IDENTIFIED BY 'x' */",
                "/*!50000 CREATE USER a IDENTIFIED BY '[redacted]' */",
            ),
            (
                "create user a identified /* by 'c' */ by 'cut",
                "create user a identified /* by 'c' */ by '[redacted]'",
            ),
            (
                "SELECT 'IDENTIFIED BY' AS a, \"PASSWORD('x')\" FROM t ORDER BY 'x'",
                "SELECT 'IDENTIFIED BY' AS a, \"PASSWORD('x')\" FROM t ORDER BY 'x'",
            ),
        ] {
            assert_eq!(redacted(statement, Dialect::Mysql), want);
        }
        assert!(redact(b"CREATE USER a IDENTIFIED BY ?", Dialect::Mysql).parameters);
        assert!(!redact(b"SELECT ?", Dialect::Mysql).parameters);
    }

    #[test]
    fn secrets_of_postgres_are_replaced() {
        for (statement, want) in [
            (
                "CREATE ROLE a LOGIN PASSWORD 'a\\' VALID UNTIL 'x'",
                "CREATE ROLE a LOGIN PASSWORD '[redacted]' VALID UNTIL 'x'",
            ),
            (
                "ALTER ROLE a ENCRYPTED PASSWORD E'a\\'b' LOGIN",
                "ALTER ROLE a ENCRYPTED PASSWORD E'[redacted]' LOGIN",
            ),
            ("ALTER ROLE a PASSWORD $t$it's$t$ LOGIN", "ALTER ROLE a PASSWORD $t$[redacted]$t$ LOGIN"),
            ("SELECT 'it' || \"PASSWORD\" || 'x'", "SELECT 'it' || \"PASSWORD\" || 'x'"),
        ] {
            assert_eq!(redacted(statement, Dialect::Postgres), want);
        }
        assert!(redact(b"ALTER ROLE a PASSWORD $1", Dialect::Postgres).parameters);
    }

    #[test]
    fn commands_and_lines() {
        assert_eq!(command(b" -- note\n/* x */ (select 1)", Dialect::Postgres), "SELECT");
        assert_eq!(command(b"", Dialect::Mysql), "");
        assert_eq!(line(b" SELECT\n\t 1 ,  '\xff' "), "SELECT 1 , '\u{fffd}'");
        assert!(line(&[b'x'; 5000]).len() <= super::LINE_BYTES);
    }
}
