//! Cuts statements into tokens, by the lexical rules of each dialect.
//!
//! Sources: <https://dev.mysql.com/doc/refman/8.4/en/language-structure.html>,
//! <https://mariadb.com/docs/server/reference/sql-structure> and
//! <https://www.postgresql.org/docs/current/sql-syntax-lexical.html>.

use super::Dialect;

/// How a text is read where the bytes alone do not tell: it depends on settings of the session, or the server's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) dialect: Dialect,
    /// A backslash escapes in plain literals: not under `NO_BACKSLASH_ESCAPES`, nor under
    /// `standard_conforming_strings`.
    pub(super) backslash: bool,
    /// `/*!99999 … */` holds a part of the statement; for a server of a lower version it is a comment.
    pub(super) versioned: bool,
    /// The text is a piece of a statement that is put together: `%L` stands for a value, as for `format`.
    pub(super) piece: bool,
}

/// One piece of a statement; white space and comments are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword, a name or a number.
    Word(&'a [u8]),
    /// A name in quotes, without them.
    Name(&'a [u8]),
    /// A literal.
    Literal(Literal),
    /// `?`, or `$1` with its number.
    Placeholder(Option<usize>),
    /// Any other byte.
    Symbol(u8),
}

/// Where a literal lies and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Literal {
    pub(super) form: Form,
    /// Where its content begins.
    pub(super) open: usize,
    /// Where its content ends.
    pub(super) close: usize,
    /// Its closing quote is there.
    pub(super) ended: bool,
}

/// How a literal is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Between such quotes, doubled inside; a backslash may escape.
    Quoted { quote: u8, backslash: bool },
    /// `U&'…'`
    Unicode,
    /// `X'…'` and `0x…`
    Hex { quote: Option<u8> },
    /// `$tag$…$tag$`
    Dollar,
}

/// Cuts a statement into tokens. Whatever the bytes are, it ends: every step moves on.
pub(super) struct Tokens<'a> {
    text: &'a [u8],
    pub(super) at: usize,
    reading: Reading,
    /// An executable comment is open: `*/` ends it.
    executable: bool,
    /// The newest literal is `E'…'`, or goes on from one: so does a literal on the next line.
    escaped: bool,
}

// === impl Reading ===

impl Reading {
    /// Returns how a server reads statements unless it was told otherwise.
    pub(super) fn usual(dialect: Dialect) -> Self {
        Self { dialect, backslash: dialect == Dialect::Mysql, versioned: true, piece: false }
    }
}

// === impl Tokens ===

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a [u8], reading: Reading) -> Self {
        Self { text, at: 0, reading, executable: false, escaped: false }
    }

    /// Begins inside of a literal between such quotes, as a piece does whose statement is put together.
    pub(super) fn inside(text: &'a [u8], reading: Reading, quote: u8) -> (Self, Literal) {
        let mut tokens = Self::new(text, reading);
        let literal = tokens.quoted(0, quote, reading.backslash);
        (tokens, literal)
    }

    fn mysql(&self) -> bool {
        self.reading.dialect == Dialect::Mysql
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at.saturating_add(ahead)).copied()
    }

    fn skip(&mut self, count: usize) {
        self.at = self.at.saturating_add(count).min(self.text.len());
    }

    /// Moves behind the next `end`, or to the end of the text; tells whether it was there.
    fn skip_past(&mut self, end: &[u8]) -> bool {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let found = memchr::memmem::find(rest, end);
        match found {
            Some(offset) => self.skip(offset.saturating_add(end.len())),
            None => self.at = self.text.len(),
        }
        found.is_some()
    }

    /// Moves behind white space and comments.
    fn skip_blank(&mut self) {
        loop {
            match (self.peek(0), self.peek(1)) {
                // A vertical tab is white space to both.
                (Some(byte), _) if byte.is_ascii_whitespace() || byte == 0x0b => self.skip(1),
                (Some(b'/'), Some(b'*')) => self.comment(),
                (Some(b'*'), Some(b'/')) if self.executable => {
                    self.executable = false;
                    self.skip(2);
                }
                (Some(b'-'), Some(b'-')) if self.is_line_comment() => {
                    self.skip_past(b"\n");
                }
                (Some(b'#'), _) if self.mysql() => {
                    self.skip_past(b"\n");
                }
                _ => return,
            }
        }
    }

    /// Tells whether `--` begins a comment: in `MySQL` only before white space, so that `5--1` is 6.
    fn is_line_comment(&self) -> bool {
        !self.mysql() || self.peek(2).is_none_or(|byte| byte <= b' ')
    }

    /// Moves behind a comment, or behind the head of one whose content is executed.
    fn comment(&mut self) {
        let mark = match (self.peek(2), self.peek(3)) {
            (Some(b'!'), _) => 3,
            (Some(b'M'), Some(b'!')) => 4,
            _ => 0,
        };
        if self.mysql() && mark > 0 && self.reading.versioned {
            self.executable = true;
            self.skip(mark);
            while self.peek(0).is_some_and(|byte| byte.is_ascii_digit()) {
                self.skip(1);
            }
            return;
        }
        self.skip(2);
        if self.mysql() {
            self.skip_past(b"*/");
            return;
        }
        let mut depth = 1_usize;
        while depth > 0 && self.at < self.text.len() {
            match (self.peek(0), self.peek(1)) {
                (Some(b'/'), Some(b'*')) => {
                    depth = depth.saturating_add(1);
                    self.skip(2);
                }
                (Some(b'*'), Some(b'/')) => {
                    depth = depth.saturating_sub(1);
                    self.skip(2);
                }
                _ => self.skip(1),
            }
        }
    }

    /// Reads up to the closing quote; the content begins `ahead` bytes from here.
    fn quoted(&mut self, ahead: usize, quote: u8, backslash: bool) -> Literal {
        self.skip(ahead);
        let (form, open) = (Form::Quoted { quote, backslash }, self.at);
        while let Some(byte) = self.peek(0) {
            if byte == quote && self.peek(1) == Some(quote) || byte == b'\\' && backslash {
                self.skip(2);
            } else if byte == quote {
                let close = self.at;
                self.skip(1);
                return Literal { form, open, close, ended: true };
            } else {
                self.skip(1);
            }
        }
        Literal { form, open, close: self.at, ended: false }
    }

    /// Reads a name in quotes.
    fn name(&mut self, quote: u8) -> Token<'a> {
        let Literal { open, close, .. } = self.quoted(1, quote, false);
        Token::Name(self.text.get(open..close).unwrap_or_default())
    }

    /// Reads `$tag$…$tag$` or `$1`; anything else behind `$` is a symbol.
    fn dollar(&mut self) -> Token<'a> {
        let start = self.at;
        let tag = self.text.get(start.saturating_add(1)..).unwrap_or_default();
        let digits = tag.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 0 {
            let number = tag.get(..digits).and_then(|digits| std::str::from_utf8(digits).ok());
            self.skip(digits.saturating_add(1));
            return Token::Placeholder(number.and_then(|number| number.parse().ok()));
        }
        let length = tag
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_' || **byte >= 0x80)
            .count();
        if tag.get(length) != Some(&b'$') {
            self.skip(1);
            return Token::Symbol(b'$');
        }
        let delimiter =
            self.text.get(start..start.saturating_add(length).saturating_add(2)).unwrap_or_default();
        self.skip(delimiter.len());
        let open = self.at;
        let ended = self.skip_past(delimiter);
        let close = if ended { self.at.saturating_sub(delimiter.len()) } else { self.at };
        Token::Literal(Literal { form: Form::Dollar, open, close, ended })
    }

    /// Reads a word, or the literal that it introduces.
    fn word(&mut self) -> Token<'a> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..))
            .count();
        let word = rest.get(..length).unwrap_or_default();
        let after = rest.get(length..).unwrap_or_default();
        let quote = length.saturating_add(1);
        match (word, after) {
            (b"E" | b"e", [b'\'', ..]) if !self.mysql() => {
                self.escaped = true;
                Token::Literal(self.quoted(quote, b'\'', true))
            }
            (b"U" | b"u", [b'&', b'\'', ..]) if !self.mysql() => {
                let literal = self.quoted(quote.saturating_add(1), b'\'', false);
                Token::Literal(Literal { form: Form::Unicode, ..literal })
            }
            (b"U" | b"u", [b'&', b'"', ..]) if !self.mysql() => {
                self.skip(quote);
                self.name(b'"')
            }
            (b"X" | b"x", [b'\'', ..]) => {
                let literal = self.quoted(quote, b'\'', false);
                Token::Literal(Literal { form: Form::Hex { quote: Some(b'\'') }, ..literal })
            }
            (b"N" | b"n" | b"B" | b"b", [b'\'', ..]) => {
                Token::Literal(self.quoted(quote, b'\'', self.reading.backslash))
            }
            ([b'0', b'x', digits @ ..], _)
                if self.mysql() && !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit) =>
            {
                let open = self.at.saturating_add(2);
                self.skip(length);
                let ended = self.at < self.text.len();
                Token::Literal(Literal { form: Form::Hex { quote: None }, open, close: self.at, ended })
            }
            _ => {
                self.skip(length);
                Token::Word(word)
            }
        }
    }

    /// Reads `%L`, `%1$s` and the like.
    fn conversion(&self) -> Option<usize> {
        let rest = self.text.get(self.at.saturating_add(1)..).unwrap_or_default();
        let flags = rest.iter().take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'$' | b'-'));
        let flags = flags.count();
        matches!(rest.get(flags), Some(b's' | b'I' | b'L')).then(|| flags.saturating_add(2))
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let before = self.at;
        self.skip_blank();
        let blank = self.text.get(before..self.at).unwrap_or_default();
        let goes_on = std::mem::take(&mut self.escaped) && memchr::memchr(b'\n', blank).is_some();
        let byte = self.peek(0)?;
        let mysql = self.mysql();
        Some(match byte {
            b'\'' => {
                self.escaped = goes_on;
                Token::Literal(self.quoted(1, byte, self.reading.backslash || goes_on))
            }
            b'"' if mysql => Token::Literal(self.quoted(1, byte, self.reading.backslash)),
            b'"' | b'`' => self.name(byte),
            b'?' if mysql => {
                self.skip(1);
                Token::Placeholder(None)
            }
            b'$' if !mysql => self.dollar(),
            b'%' if self.reading.piece && self.conversion().is_some() => {
                self.skip(self.conversion().unwrap_or(1));
                Token::Placeholder(None)
            }
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => self.word(),
            _ => {
                self.skip(1);
                Token::Symbol(byte)
            }
        })
    }
}
