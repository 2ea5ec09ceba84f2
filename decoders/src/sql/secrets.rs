//! Finds the secrets of a statement, in its literals and inside of them, and hides them.

use std::borrow::Cow;
use std::ops::Range;

use super::connection::{self, Style};
use super::literal::{self, Content};
use super::rules::{Place, Rules};
use super::tokens::{Form, Literal, Reading, Token, Tokens};
use super::{Dialect, REDACTED, names};

/// Most statements inside one another that are looked into: programs hold literals that hold statements, whose own
/// literals rarely hold another. A literal deeper than that is hidden.
const MAX_DEPTH: usize = 6;

/// Most secrets of a statement that are remembered to be looked for in its answer, and the longest one.
const MAX_SECRETS: usize = 16;
const MAX_SECRET_BYTES: usize = 1024;

/// Least bytes of a secret by which its beginning is recognised where a server quotes it in part.
const MIN_BEGINNING: usize = 4;

/// A statement without its secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Redacted<'a> {
    /// The statement, each secret replaced by `[redacted]`.
    pub(crate) text: Cow<'a, [u8]>,
    /// Which placeholders stand for secrets.
    pub(crate) parameters: Parameters,
    /// What was replaced.
    pub(crate) secrets: Secrets,
}

/// Which placeholders of a statement stand for secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parameters(Vec<usize>);

/// Texts that must not come out, though a server may repeat them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Secrets(Vec<Vec<u8>>);

/// What was found so far.
#[derive(Debug, Default)]
struct Found {
    cuts: Vec<Cut>,
    parameters: Parameters,
    secrets: Secrets,
    /// The text ends inside of a literal.
    open: bool,
}

/// A stretch that is to be hidden.
#[derive(Debug)]
struct Cut {
    range: Range<usize>,
    /// The quote that is missing behind it.
    quote: Option<u8>,
}

/// A text while it is searched.
struct Search<'t> {
    text: &'t [u8],
    reading: Reading,
    depth: usize,
    /// Whether the text's end is missing.
    cut: bool,
    found: Found,
}

/// A statement that is put together from literals, up to where the last one ended.
struct Piece {
    rules: Rules,
    /// It ended inside of a literal between such quotes.
    inside: Option<u8>,
}

/// Hides the secrets of `statement`.
pub(crate) fn redact(statement: &[u8], dialect: Dialect) -> Redacted<'_> {
    if names::is_free_statement(statement) {
        return Redacted { text: Cow::Borrowed(statement), ..Redacted::default() };
    }
    let readings = readings(statement, dialect);
    let mut all: Vec<Found> =
        readings.map(|reading| search(statement, reading, &mut Piece::new(dialect), 0, true)).collect();
    // A reading by which the statement ends inside of a literal is wrong where by another it does not.
    if all.iter().any(|found| !found.open) {
        all.retain(|found| !found.open);
    }
    let mut found = Found::default();
    for one in all {
        found.add(one, |at| at);
    }
    let Found { mut cuts, parameters, mut secrets, open: _ } = found;
    cuts.sort_by_key(|cut| (cut.range.start, std::cmp::Reverse(cut.range.end)));
    for cut in &cuts {
        secrets.add_words(statement.get(cut.range.clone()).unwrap_or_default());
    }
    let text = if cuts.is_empty() { Cow::Borrowed(statement) } else { Cow::Owned(apply(statement, cuts)) };
    Redacted { text, parameters, secrets }
}

/// Hides what is a secret by its look in a value, a row or a message: user information of addresses, pairs with a
/// secret name, and the secrets of statements.
pub(crate) fn redact_value(value: &[u8], dialect: Dialect) -> Cow<'_, [u8]> {
    if names::is_free(value) {
        return Cow::Borrowed(value);
    }
    let mut found = Found::default();
    let style = Style { cut: true, ..Style::default() };
    for range in connection::secrets(value, style) {
        found.hide(range, None);
    }
    if names::begins_statement(value) {
        found.add(search(value, Reading::usual(dialect), &mut Piece::new(dialect), 1, true), |at| at);
    }
    let mut cuts = found.cuts;
    cuts.sort_by_key(|cut| (cut.range.start, std::cmp::Reverse(cut.range.end)));
    if cuts.is_empty() { Cow::Borrowed(value) } else { Cow::Owned(apply(value, cuts)) }
}

/// Returns in which ways `statement` may be read: where they differ, what one of them hides is hidden.
fn readings(statement: &[u8], dialect: Dialect) -> impl Iterator<Item = Reading> {
    let has = |needle: &[u8]| memchr::memmem::find(statement, needle).is_some();
    let usual = Reading::usual(dialect);
    let escaped = has(b"\\'") || has(b"\\\"");
    let versioned = dialect == Dialect::Mysql && (has(b"/*!") || has(b"/*M!"));
    let other = escaped.then_some(Reading { backslash: !usual.backslash, ..usual });
    let lower = versioned.then_some(Reading { versioned: false, ..usual });
    [Some(usual), other, lower].into_iter().flatten()
}

/// Searches `text`, which goes on from `piece`; `cut` says that its end may be missing.
fn search(text: &[u8], reading: Reading, piece: &mut Piece, depth: usize, cut: bool) -> Found {
    let mut search = Search { text, reading, depth, cut, found: Found::default() };
    search.run(piece);
    search.found
}

/// Replaces sorted stretches of `text`.
fn apply(text: &[u8], cuts: Vec<Cut>) -> Vec<u8> {
    let mut output = Vec::with_capacity(text.len());
    let mut copied = 0_usize;
    let mut quote = None;
    let mut last: Option<Range<usize>> = None;
    for cut in cuts {
        let range = cut.range;
        match &mut last {
            Some(last) if range.start < last.end || range == *last => {
                last.end = last.end.max(range.end);
                copied = last.end;
            }
            _ => {
                output.extend_from_slice(text.get(copied..range.start).unwrap_or_default());
                output.extend_from_slice(REDACTED.as_bytes());
                copied = range.end;
                last = Some(range);
            }
        }
        quote = if copied == text.len() { quote.or(cut.quote) } else { None };
    }
    output.extend_from_slice(text.get(copied..).unwrap_or_default());
    output.extend(quote);
    output
}

// === impl Parameters ===

impl Parameters {
    /// Tells whether what is bound to placeholder `index`, counted from 0, is a secret.
    pub(crate) fn contains(&self, index: usize) -> bool {
        self.0.contains(&index)
    }

    /// Tells whether none does.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&mut self, index: usize) {
        if !self.contains(index) {
            self.0.push(index);
        }
    }
}

// === impl Secrets ===

impl Secrets {
    /// Adds a secret, and its words: of a connection that it cannot read, a server names the word where it stopped.
    fn add_words(&mut self, secret: &[u8]) {
        self.add(secret);
        let words = secret.split(u8::is_ascii_whitespace);
        words.filter(|word| word.len() >= MIN_BEGINNING).for_each(|word| self.add(word));
    }

    fn add(&mut self, secret: &[u8]) {
        let secret = secret.get(..MAX_SECRET_BYTES).unwrap_or(secret);
        let known = self.0.iter().any(|known| known == secret);
        if !secret.is_empty() && !known && self.0.len() < MAX_SECRETS {
            self.0.push(secret.to_vec());
        }
    }

    /// Hides them in `message`, also where only their beginning is quoted.
    pub(crate) fn hide(&self, message: &mut Vec<u8>) {
        let mut secrets: Vec<&Vec<u8>> = self.0.iter().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for whole in [true, false] {
            for secret in &secrets {
                let mut from = 0_usize;
                while let Some(range) = occurrence(message, secret, from, whole) {
                    from = range.start.saturating_add(REDACTED.len());
                    message.splice(range, REDACTED.bytes());
                }
            }
        }
    }
}

/// Finds where `message` repeats `secret` from `from` on: the whole of it, or its beginning up to where a quotation ends.
fn occurrence(message: &[u8], secret: &[u8], from: usize, whole: bool) -> Option<Range<usize>> {
    let head = secret.get(..secret.len().min(MIN_BEGINNING))?;
    let rest = message.get(from..)?;
    memchr::memmem::find_iter(rest, head).find_map(|at| {
        let here = rest.get(at..).unwrap_or_default();
        let ends = |byte: &u8| b"'\"`\n".contains(byte);
        let mut length = here.iter().zip(secret).take_while(|(a, b)| a == b).count();
        // The quote that ends the quotation may be one that the secret holds itself.
        if length < secret.len() && length.checked_sub(1).and_then(|at| here.get(at)).is_some_and(ends) {
            length = length.saturating_sub(1);
        }
        let start = from.saturating_add(at);
        let before = start.checked_sub(1).and_then(|at| message.get(at));
        let after = here.get(length);
        let bounded = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric());
        let found = if whole {
            length == secret.len() && (length >= MIN_BEGINNING || bounded(before) && bounded(after))
        } else {
            length >= MIN_BEGINNING && after.is_none_or(ends)
        };
        found.then(|| start..start.saturating_add(length))
    })
}

// === impl Found ===

impl Found {
    fn hide(&mut self, range: Range<usize>, quote: Option<u8>) {
        self.cuts.push(Cut { range, quote });
    }

    /// Adds what was found in a literal, whose bytes lie at `place` in the text around it.
    fn add(&mut self, inner: Self, place: impl Fn(usize) -> usize) {
        for Cut { range, quote } in inner.cuts {
            self.hide(place(range.start)..place(range.end), quote);
        }
        for index in inner.parameters.0 {
            self.parameters.add(index);
        }
        for secret in inner.secrets.0 {
            self.secrets.add(&secret);
        }
    }
}

// === impl Piece ===

impl Piece {
    fn new(dialect: Dialect) -> Self {
        Self { rules: Rules::new(dialect), inside: None }
    }
}

// === impl Search ===

impl Search<'_> {
    fn run(&mut self, piece: &mut Piece) {
        let mut inner: Option<Piece> = None;
        let mut placeholders = 0_usize;
        let (tokens, resumed) = match piece.inside.take() {
            Some(quote) => {
                let (tokens, literal) = Tokens::inside(self.text, self.reading, quote);
                (tokens, Some(literal))
            }
            None => (Tokens::new(self.text, self.reading), None),
        };
        if let Some(literal) = resumed
            && !literal.ended
        {
            piece.inside = quote_of(&literal);
        }
        for token in tokens {
            let place = piece.rules.follow(&token, self.text);
            self.found.open |= matches!(&token, Token::Literal(literal) if !literal.ended);
            match token {
                Token::Literal(literal) if place.secret => {
                    self.hide(&literal);
                    inner = None;
                    if !literal.ended && self.depth > 0 {
                        piece.rules.taint();
                    }
                }
                Token::Literal(literal) => {
                    if !place.joined {
                        inner = None;
                    }
                    self.inspect(&literal, place, &mut inner, &mut piece.rules);
                    if !literal.ended {
                        piece.inside = quote_of(&literal);
                    }
                }
                Token::Placeholder(number) => {
                    let index = number.map_or(placeholders, |number| number.saturating_sub(1));
                    placeholders = placeholders.saturating_add(1);
                    if place.secret {
                        self.found.parameters.add(index);
                    }
                }
                Token::Word(_) | Token::Name(_) | Token::Symbol(_) => {}
            }
        }
    }

    /// Hides a whole literal.
    fn hide(&mut self, literal: &Literal) {
        let quote = if literal.ended { None } else { quote_of(literal) };
        if !literal::is_verbatim(self.text, literal) {
            self.found.secrets.add(&Content::read(self.text, literal, self.reading).bytes);
        }
        self.found.hide(literal.open..literal.close, quote);
    }

    /// Looks for secrets inside of a literal that is none itself.
    fn inspect(&mut self, literal: &Literal, place: Place, piece: &mut Option<Piece>, rules: &mut Rules) {
        let content = if literal::is_verbatim(self.text, literal) {
            None
        } else {
            Some(Content::read(self.text, literal, self.reading))
        };
        let written = self.text.get(literal.open..literal.close).unwrap_or_default();
        let bytes = content.as_ref().map_or(written, |content| content.bytes.as_slice());
        let goes_on = piece.is_some();
        // A piece of a statement may end inside of a literal that the next piece says more about.
        let quotes = place.code && memchr::memchr2(b'\'', b'"', bytes).is_some();
        if !goes_on && !quotes && !place.style.shell && !place.style.libpq && names::is_free(bytes) {
            return;
        }
        let cut = self.cut && !literal.ended;
        let mut found = Found::default();
        for range in connection::secrets(bytes, Style { cut, ..place.style }) {
            found.hide(range, None);
        }
        if place.code || goes_on || names::begins_statement(bytes) {
            if self.depth >= MAX_DEPTH {
                return self.hide(literal);
            }
            let dialect = self.reading.dialect;
            let inner = piece.get_or_insert_with(|| Piece::new(dialect));
            let reading = Reading { piece: true, ..self.reading };
            let program = search(bytes, reading, inner, self.depth.saturating_add(1), cut);
            if !program.parameters.0.is_empty() || inner.rules.is_tainted() {
                rules.taint();
            } else if inner.rules.announces() {
                rules.announce_joined();
            }
            found.add(Found { parameters: Parameters::default(), ..program }, |at| at);
        }
        self.found.add(found, |at| match &content {
            Some(content) => content.place(at),
            None => literal.open.saturating_add(at),
        });
    }
}

fn quote_of(literal: &Literal) -> Option<u8> {
    match literal.form {
        Form::Quoted { quote, .. } => Some(quote),
        Form::Unicode => Some(b'\''),
        Form::Hex { quote } => quote,
        Form::Dollar => None,
    }
}
