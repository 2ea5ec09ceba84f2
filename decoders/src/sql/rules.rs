//! Knows, from the tokens so far, whether a literal here is a secret.
//!
//! Sources: the statements' pages of <https://dev.mysql.com/doc/refman/8.4/en/sql-statements.html>,
//! <https://mariadb.com/docs/server/reference/sql-statements> and
//! <https://www.postgresql.org/docs/current/sql-commands.html>.

use super::Dialect;
use super::columns::Columns;
use super::connection::Style;
use super::names;
use super::tokens::{Literal, Token};

/// Longest literal that may be a name: most literals are none and need no look.
const MAX_LITERAL_NAME: usize = 64;

/// What is known of the place of a literal or placeholder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// What stands here is a secret.
    pub(super) secret: bool,
    /// A literal here may be a statement, or a piece of one.
    pub(super) code: bool,
    /// It goes on from the literal before.
    pub(super) joined: bool,
    /// How to read a connection or a command in it.
    pub(super) style: Style,
}

/// Follows the tokens of a text. `;` begins anew.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each remembers one word, and they are independent")]
pub(super) struct Rules {
    dialect: Dialect,
    lead: Lead,
    /// The two words before: what they make together.
    previous: Previous,
    /// The next literal is a secret.
    announced: bool,
    /// A secret was announced, and a word came that may be a function.
    calling: bool,
    /// The previous token was a secret's name.
    name: bool,
    /// The previous token was a secret literal: those that go on from it are, too.
    after: bool,
    /// `||` may join the next literal to the one before.
    joining: u8,
    /// `IDENTIFIED` was seen: a literal after `BY`, `AS`, `USING` or `REPLACE` is a secret.
    identified: bool,
    /// The statement makes or alters accounts: a literal after `BY` is a secret.
    account: bool,
    /// The statement makes or alters a role of `PostgreSQL`: its only literals are the password, whatever word stands
    /// before it, and what follows `VALID UNTIL`.
    role: bool,
    /// `SET PASSWORD` was seen: a literal after `=` is a secret.
    set_password: bool,
    /// Every literal up to the statement's end is a secret: it completes a text that ended where one stands.
    tainted: bool,
    style: Style,
    depth: u32,
    calls: Calls,
    columns: Columns,
}

/// At which depth of parentheses the arguments of functions are.
#[derive(Debug, Default)]
struct Calls {
    /// Of which the literals are secrets.
    secret: Option<u32>,
    /// Of which they are none, within those.
    salt: Option<u32>,
    /// Of which they are names and values.
    pairs: Option<u32>,
    /// Of which they are put together.
    text: Option<u32>,
    /// What the previous word calls if `(` follows.
    word: Call,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Call {
    #[default]
    Plain,
    Secret,
    Salt,
    Pairs,
    Text,
}

/// What a statement is by its first word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Lead {
    #[default]
    Unknown,
    /// Its literals are values.
    Values,
    /// It makes or alters something, grants, or is part of a program: its literals may be code.
    Other,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Previous {
    #[default]
    Other,
    /// `SET`
    Set,
    /// `CREATE`, `ALTER`, …
    Make,
    /// `UNTIL`
    Until,
}

// === impl Rules ===

impl Rules {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            lead: Lead::default(),
            previous: Previous::default(),
            announced: false,
            calling: false,
            name: false,
            after: false,
            joining: 0,
            identified: false,
            account: false,
            role: false,
            set_password: false,
            tainted: false,
            style: Style::default(),
            depth: 0,
            calls: Calls::default(),
            columns: Columns::default(),
        }
    }

    /// Takes the next token and tells what stands there.
    pub(super) fn follow(&mut self, token: &Token<'_>, text: &[u8]) -> Place {
        match token {
            Token::Word(word) if is_introducer(word, self.dialect) => {}
            Token::Word(word) => self.word(word),
            Token::Name(name) => {
                self.clear();
                let name = names::lower(name);
                self.columns.name(self.depth, &name);
                self.name = names::is_secret(&name);
                self.announced = self.name;
            }
            Token::Symbol(symbol) => self.symbol(*symbol),
            Token::Placeholder(_) => return self.value(),
            Token::Literal(literal) => {
                // `CREDENTIALS 'aws_iam_role=…'` says in itself which part is a secret.
                self.announced &= !(self.name && is_pairs(literal, text));
                let place = self.value();
                if !place.secret {
                    self.literal_name(literal, text);
                }
                return place;
            }
        }
        Place::default()
    }

    /// Everything to the end of the statement belongs to a text that ended where a secret stands.
    pub(super) fn taint(&mut self) {
        self.tainted = true;
    }

    /// A text that goes on in the next literal ended where a secret follows.
    pub(super) fn announce_joined(&mut self) {
        self.after = true;
    }

    /// Tells whether every literal up to the statement's end is a secret.
    pub(super) fn is_tainted(&self) -> bool {
        self.tainted
    }

    /// Tells whether a literal that came next would be a secret.
    pub(super) fn announces(&self) -> bool {
        self.announced || self.tainted
    }

    /// Tells what a literal or a placeholder here is.
    fn value(&mut self) -> Place {
        let joined = self.joining == 2 || self.calls.text.is_some();
        let called = self.calls.secret.is_some() && self.calls.salt.is_none();
        let secret = self.announced
            || called
            || self.after && (joined || self.joining == 0)
            || self.tainted
            || self.role && self.previous != Previous::Until
            || self.columns.is_secret(self.depth);
        let place =
            Place { secret, code: self.lead != Lead::Values, joined, style: std::mem::take(&mut self.style) };
        self.clear();
        self.style.libpq = place.style.libpq;
        self.after = secret;
        place
    }

    /// A literal may be the name of what follows: `set_config('app.password', …)`, `"password" = …`.
    fn literal_name(&mut self, literal: &Literal, text: &[u8]) {
        let content = text.get(literal.open..literal.close).unwrap_or_default();
        self.name = content.len() <= MAX_LITERAL_NAME && names::is_secret(&names::lower(content));
    }

    fn clear(&mut self) {
        self.announced = false;
        self.calling = false;
        self.name = false;
        self.after = false;
        self.joining = 0;
        self.previous = Previous::Other;
        self.calls.word = Call::Plain;
    }

    fn word(&mut self, word: &[u8]) {
        let (announced, named, previous) = (self.announced, self.name, self.previous);
        let goes_on = self.after && (self.joining == 2 || self.calls.text.is_some());
        self.clear();
        self.calling = announced || named || goes_on;
        let word = names::lower(word);
        let word = word.as_str();
        self.columns.name(self.depth, word);

        if self.lead == Lead::Unknown {
            self.lead = match word {
                "select" | "insert" | "update" | "delete" | "replace" | "with" | "values" | "merge"
                | "table" | "fetch" | "show" => Lead::Values,
                _ => Lead::Other,
            };
        }
        self.calls.word = if word == "gen_salt" {
            Call::Salt
        } else if names::is_secret_function(word, self.dialect) || names::is_secret(word) {
            Call::Secret
        } else if names::is_of_pairs(word) {
            Call::Pairs
        } else if names::is_of_text(word) {
            Call::Text
        } else {
            Call::Plain
        };
        match word {
            "set" => {
                self.previous = Previous::Set;
                self.role = false;
            }
            "create" | "alter" | "replace" if !self.identified && !self.set_password => {
                self.previous = Previous::Make;
            }
            "or" if previous == Previous::Make => self.previous = Previous::Make,
            "user" | "role" | "group" if previous == Previous::Make => {
                self.account = true;
                self.role = self.dialect == Dialect::Postgres;
            }
            "mapping" => self.role = false,
            "until" => self.previous = Previous::Until,
            "grant" | "clone" => self.account = true,
            "identified" | "challenge_response" => self.identified = true,
            "by" => self.announced = self.identified || self.account,
            "as" | "using" => self.announced = self.identified,
            "replace" => self.announced = true,
            "to" => self.announced = named || self.set_password,
            "in" | "like" | "ilike" | "rlike" | "regexp" => self.announced = named,
            "not" | "is" => self.name = named,
            "program" => self.style.shell = true,
            _ if names::is_connection(word) => self.style.libpq = true,
            _ if names::is_secret(word) => {
                self.name = true;
                self.announced = true;
                self.set_password |=
                    previous == Previous::Set && word == "password" && self.lead != Lead::Values;
            }
            _ => {}
        }
    }

    fn symbol(&mut self, symbol: u8) {
        let joining = self.joining;
        let (announced, name, after, calling) = (self.announced, self.name, self.after, self.calling);
        let call = self.calls.word;
        self.clear();
        match symbol {
            b';' => *self = Self::new(self.dialect),
            b'(' => self.open(announced || calling, call),
            b')' => {
                self.columns.close(self.depth);
                self.calls.close(self.depth);
                self.depth = self.depth.saturating_sub(1);
            }
            b',' => {
                self.columns.comma(self.depth);
                self.announced = name && self.calls.pairs.is_some();
                self.style = Style { libpq: self.style.libpq && self.depth > 0, ..Style::default() };
                // What is put together from several arguments goes on.
                self.after = after && self.calls.text.is_some();
            }
            b'=' | b'<' | b'>' | b'!' | b':' | b'~' => {
                self.name = name;
                self.announced = announced || name || self.set_password && symbol == b'=';
            }
            b'|' => {
                self.joining = joining.saturating_add(1).min(2);
                self.after = after;
            }
            _ => {}
        }
    }

    fn open(&mut self, secret: bool, call: Call) {
        self.depth = self.depth.saturating_add(1);
        self.columns.open(self.depth);
        let depth = self.depth;
        let place = match call {
            Call::Secret => &mut self.calls.secret,
            Call::Salt => &mut self.calls.salt,
            Call::Pairs => &mut self.calls.pairs,
            Call::Text => &mut self.calls.text,
            Call::Plain if secret => &mut self.calls.secret,
            Call::Plain => return,
        };
        place.get_or_insert(depth);
        if secret {
            self.calls.secret.get_or_insert(depth);
        }
    }
}

// === impl Calls ===

impl Calls {
    /// `)` at `depth` ends the calls that began there.
    fn close(&mut self, depth: u32) {
        for place in [&mut self.secret, &mut self.salt, &mut self.pairs, &mut self.text] {
            if *place == Some(depth) {
                *place = None;
            }
        }
    }
}

/// Tells whether a literal begins with a name and `=`, and a value that is no padding.
fn is_pairs(literal: &Literal, text: &[u8]) -> bool {
    let content = text.get(literal.open..literal.close).unwrap_or_default();
    let name = content.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    let value = content.get(name.saturating_add(1)..).unwrap_or_default();
    let known = content.get(..name).is_some_and(|name| name.starts_with(b"aws_") || name == b"user");
    known && content.get(name) == Some(&b'=') && value.first().is_some_and(|byte| *byte != b'=')
}

/// Tells whether `word` only says how the next literal is written: `_utf8mb4`, `BINARY`.
fn is_introducer(word: &[u8], dialect: Dialect) -> bool {
    dialect == Dialect::Mysql && (word.first() == Some(&b'_') || word.eq_ignore_ascii_case(b"BINARY"))
}
