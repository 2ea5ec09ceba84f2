//! What literals say once their escapes are read, and where each of their bytes was written.

use super::Dialect;
use super::tokens::{Form, Literal, Reading, Token, Tokens};

/// The content of a literal.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    /// Where each byte begins in the text, and where the last one ends.
    at: Vec<usize>,
}

/// Reads escapes of one form.
struct Escapes<'a> {
    text: &'a [u8],
    at: usize,
    end: usize,
    content: Content,
}

// === impl Content ===

impl Content {
    /// Reads `literal`, which lies in `text`.
    pub(super) fn read(text: &[u8], literal: &Literal, reading: Reading) -> Self {
        let content = Self::default();
        let mut escapes = Escapes { text, at: literal.open, end: literal.close, content };
        match literal.form {
            Form::Dollar => while escapes.plain(1) {},
            Form::Quoted { quote, backslash } => escapes.quoted(quote, backslash, reading.dialect),
            Form::Unicode => escapes.unicode(escape_of(text, literal, reading)),
            Form::Hex { .. } => escapes.hex(),
        }
        escapes.content.at.push(literal.close);
        escapes.content
    }

    /// Returns where the content's byte `index` lies in the text.
    pub(super) fn place(&self, index: usize) -> usize {
        self.at.get(index).or(self.at.last()).copied().unwrap_or_default()
    }
}

/// Tells whether the content of `literal` is what is written: then nothing needs to be read.
pub(super) fn is_verbatim(text: &[u8], literal: &Literal) -> bool {
    let written = text.get(literal.open..literal.close).unwrap_or_default();
    match literal.form {
        Form::Dollar => true,
        Form::Quoted { quote, backslash: true } => memchr::memchr2(quote, b'\\', written).is_none(),
        Form::Quoted { quote, backslash: false } => memchr::memchr(quote, written).is_none(),
        Form::Unicode | Form::Hex { .. } => false,
    }
}

/// Returns the escape character of `U&'…' UESCAPE '…'`.
fn escape_of(text: &[u8], literal: &Literal, reading: Reading) -> u8 {
    let mut tokens = Tokens::new(text, reading);
    tokens.at = literal.close.saturating_add(1).min(text.len());
    match (tokens.next(), tokens.next()) {
        (Some(Token::Word(word)), Some(Token::Literal(escape))) if word.eq_ignore_ascii_case(b"UESCAPE") => {
            text.get(escape.open).copied().unwrap_or(b'\\')
        }
        _ => b'\\',
    }
}

// === impl Escapes ===

impl Escapes<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        let at = self.at.saturating_add(ahead);
        if at < self.end { self.text.get(at).copied() } else { None }
    }

    /// Writes `bytes`, which the next `length` bytes of the text stand for.
    fn write(&mut self, bytes: &[u8], length: usize) {
        for byte in bytes {
            self.content.bytes.push(*byte);
            self.content.at.push(self.at);
        }
        self.at = self.at.saturating_add(length.max(1));
    }

    /// Writes the next byte as it is, which stands in `length` bytes.
    fn plain(&mut self, length: usize) -> bool {
        let Some(byte) = self.peek(length.saturating_sub(1)) else { return false };
        self.write(&[byte], length);
        true
    }

    fn quoted(&mut self, quote: u8, backslash: bool, dialect: Dialect) {
        while let Some(byte) = self.peek(0) {
            if byte == b'\\' && backslash {
                self.backslash(dialect);
            } else {
                self.plain(if byte == quote { 2 } else { 1 });
            }
        }
    }

    fn backslash(&mut self, dialect: Dialect) {
        let Some(kind) = self.peek(1) else {
            // Cut in the middle of an escape.
            self.at = self.end;
            return;
        };
        match (dialect, kind) {
            (_, b'n') => self.write(b"\n", 2),
            (_, b'r') => self.write(b"\r", 2),
            (_, b't') => self.write(b"\t", 2),
            (_, b'b') => self.write(b"\x08", 2),
            (Dialect::Mysql, b'0') => self.write(b"\0", 2),
            (Dialect::Mysql, b'Z') => self.write(b"\x1a", 2),
            (Dialect::Postgres, b'f') => self.write(b"\x0c", 2),
            (Dialect::Postgres, b'0'..=b'7') => self.number(1, 8, 3),
            (Dialect::Postgres, b'x') => self.number(2, 16, 2),
            (Dialect::Postgres, b'u') => self.number(2, 16, 4),
            (Dialect::Postgres, b'U') => self.number(2, 16, 8),
            _ => {
                self.plain(2);
            }
        }
    }

    /// Writes the character whose number stands `ahead` bytes from here in at most `most` digits.
    fn number(&mut self, ahead: usize, radix: u32, most: usize) {
        let mut value = 0_u32;
        let mut length = ahead;
        while length < ahead.saturating_add(most)
            && let Some(digit) = self.peek(length).and_then(|byte| char::from(byte).to_digit(radix))
        {
            value = value.saturating_mul(radix).saturating_add(digit);
            length = length.saturating_add(1);
        }
        match (u8::try_from(value), char::from_u32(value)) {
            // Octal and short hexadecimal numbers are bytes.
            (Ok(byte), _) if most < 4 || byte < 0x80 => self.write(&[byte], length),
            (_, Some(letter)) => self.write(letter.encode_utf8(&mut [0; 4]).as_bytes(), length),
            _ => self.write(b"?", length),
        }
    }

    fn unicode(&mut self, escape: u8) {
        while let Some(byte) = self.peek(0) {
            match (byte == escape, self.peek(1)) {
                (true, Some(next)) if next == escape => {
                    self.plain(2);
                }
                (true, Some(b'+')) => self.number(2, 16, 6),
                (true, Some(next)) if next.is_ascii_hexdigit() => self.number(1, 16, 4),
                _ => {
                    self.plain(if byte == b'\'' { 2 } else { 1 });
                }
            }
        }
    }

    fn hex(&mut self) {
        while let Some(high) = self.peek(0) {
            // An odd number of digits has a zero before it; of cut ones the last says nothing.
            let low = self.peek(1).unwrap_or(b'0');
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let (high, low) = (digit(high).unwrap_or(0), digit(low).unwrap_or(0));
            self.write(&[high.wrapping_shl(4) | low], 2);
        }
    }
}
