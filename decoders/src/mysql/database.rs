//! Which database is the current one: what the statements of a text do to it, and what of that the server did.

use std::collections::HashMap;

use super::scan::{Lexis, MysqlToken, Scanner};

/// Most steps kept of one text: scripts change their database a few times.
const MAX_STEPS: usize = 256;

/// Most statements remembered that were prepared by statements, and change the database when they are executed.
const MAX_PREPARED: usize = 64;

/// Tokens looked at to tell what a statement does: the longest opening is that of a routine.
const HEAD_TOKENS: usize = 24;

/// Statements that are many in one, and end with an answer of their own.
const BLOCKS: [&str; 6] = ["IF", "CASE", "LOOP", "WHILE", "REPEAT", "FOR"];

/// What has a body of statements.
const ROUTINES: [&str; 5] = ["PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "PACKAGE"];

/// The current database, and what may change it later.
#[derive(Debug, Default)]
pub(super) struct Database {
    /// Its name; empty when there is none, or none is known.
    pub(super) current: String,
    /// By name, statements that were prepared by `PREPARE name FROM …`.
    prepared: HashMap<String, Step>,
}

/// What one statement does if all goes well.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// This becomes the current database.
    Use(String),
    /// If this is the current database, there is none.
    Drop(String),
    /// All results with rows, and the next without, are its answer.
    Many,
    /// Under this name something is prepared, or nothing of interest.
    Prepare(String, Option<Box<Step>>),
    /// What has this name is executed.
    Execute(String),
}

/// What the statements of one text do, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// By the place of the statement in the text.
    steps: Vec<(usize, Step)>,
}

/// How much of a plan the server has done.
#[derive(Debug, Default)]
pub(super) struct Progress {
    plan: Plan,
    /// The place of the statement whose result is next.
    at: usize,
}

/// Reads one text statement by statement.
#[derive(Debug)]
struct Reader<'a> {
    scanner: Scanner<'a>,
    lexis: Lexis,
}

/// How deep within blocks of statements the text is: a semicolon there ends no statement of the text.
#[derive(Debug, Default)]
struct Depth {
    blocks: usize,
    /// The next token begins a statement.
    fresh: bool,
    /// The last token was `END`, which the name of a block may follow.
    ended: bool,
}

// === impl Database ===

impl Database {
    /// All that was prepared is forgotten.
    pub(super) fn forget_prepared(&mut self) {
        self.prepared.clear();
    }

    fn prepare(&mut self, name: String, step: Option<Box<Step>>) {
        self.prepared.remove(&name);
        if let Some(step) = step
            && self.prepared.len() < MAX_PREPARED
        {
            self.prepared.insert(name, *step);
        }
    }
}

// === impl Plan ===

impl Plan {
    /// Makes `name` the current database if the one statement goes well.
    pub(super) fn to_use(name: String) -> Self {
        Self { steps: vec![(0, Step::Use(name))] }
    }

    /// Removes the database `name` if all goes well.
    pub(super) fn to_drop(name: String) -> Self {
        Self { steps: vec![(0, Step::Drop(name))] }
    }

    /// Reads what the statements of `text` do; `many`: the server takes more than one.
    pub(super) fn read(text: &[u8], lexis: Lexis, many: bool) -> Self {
        let mut plan = Self::default();
        let mut reader = Reader { scanner: Scanner::new(text, lexis), lexis };
        // Most texts are one statement, of which the first word tells that it is nothing to us.
        let many = many && memchr::memchr(b';', text).is_some();
        for place in 0.. {
            let Some(step) = reader.statement(many) else { break };
            if let Some(step) = step {
                plan.steps.push((place, step));
            }
            if !many || plan.steps.len() >= MAX_STEPS {
                break;
            }
        }
        plan
    }
}

// === impl Progress ===

impl Progress {
    pub(super) fn new(plan: Plan) -> Self {
        Self { plan, at: 0 }
    }

    /// Gives the plan back, of which nothing was done yet.
    pub(super) fn into_plan(self) -> Plan {
        self.plan
    }

    /// A result ended well: takes over what its statement did. `tracked` is what the server says of the database, which
    /// holds.
    pub(super) fn result(&mut self, rows: bool, tracked: Option<String>, database: &mut Database) {
        let step = self.plan.steps.iter().find(|(place, _)| *place == self.at).map(|(_, step)| step);
        let step = match step {
            Some(Step::Execute(name)) => database.prepared.get(name),
            other => other,
        };
        let step = step.cloned();
        if step != Some(Step::Many) || !rows {
            self.at = self.at.saturating_add(1);
        }
        match step {
            Some(Step::Use(name)) => database.current = name,
            Some(Step::Drop(name)) if name == database.current => database.current.clear(),
            Some(Step::Prepare(name, step)) => database.prepare(name, step),
            Some(Step::Drop(_) | Step::Many | Step::Execute(_)) | None => {}
        }
        if let Some(name) = tracked {
            database.current = name;
        }
    }
}

// === impl Reader ===

impl Reader<'_> {
    /// Reads the next statement; nothing at the end of the text. Behind the only statement of a text nothing is read.
    #[expect(clippy::option_option, reason = "no statement is not a statement that does nothing")]
    fn statement(&mut self, many: bool) -> Option<Option<Step>> {
        let first = self.scanner.next()?;
        if !many && !may_matter(&first) {
            return Some(None);
        }
        let mut depth = Depth::of(&first);
        let mut head: Vec<MysqlToken<'_>> = Vec::new();
        let mut next = Some(first);
        while let Some(token) = next {
            // A transaction begins so too, and is no block.
            if head.len() == 1 && head.first().is_some_and(|first| first.is("BEGIN")) && !token.is("NOT") {
                depth = None;
            }
            if token == MysqlToken::Symbol(b';') && depth.as_ref().is_none_or(|depth| depth.blocks == 0) {
                break;
            }
            if let Some(depth) = &mut depth {
                depth.take(&token);
            }
            if token.is("FOR") && head.first().is_some_and(|first| first.is("SET")) {
                // What `SET STATEMENT … FOR` stands before is the statement.
                head.clear();
            } else if head.len() < HEAD_TOKENS {
                head.push(token);
            }
            if depth.is_none() && names_routine(&head) {
                depth = Some(Depth::default());
            }
            next = self.scanner.next();
        }
        Some(self.step(&head))
    }

    /// Tells what a statement does that begins with `head`.
    fn step(&self, head: &[MysqlToken<'_>]) -> Option<Step> {
        let (first, rest) = head.split_first()?;
        let at = |index: usize| rest.get(index);
        let name = |index: usize| at(index).and_then(MysqlToken::name);
        let is = |index: usize, word: &str| at(index).is_some_and(|token| token.is(word));
        if first.is("USE") {
            return name(0).map(Step::Use);
        }
        if first.is("DROP") && (is(0, "DATABASE") || is(0, "SCHEMA")) {
            return name(if is(1, "IF") { 3 } else { 1 }).map(Step::Drop);
        }
        if (first.is("DROP") || first.is("DEALLOCATE")) && is(0, "PREPARE") {
            return name(1).map(|name| Step::Prepare(name.to_lowercase(), None));
        }
        if first.is("PREPARE") && is(1, "FROM") {
            let step = at(2).and_then(MysqlToken::literal).and_then(|text| self.of_literal(text));
            return name(0).map(|name| Step::Prepare(name.to_lowercase(), step.map(Box::new)));
        }
        if first.is("EXECUTE") {
            if is(0, "IMMEDIATE") {
                return at(1).and_then(MysqlToken::literal).and_then(|text| self.of_literal(text));
            }
            return name(0).map(|name| Step::Execute(name.to_lowercase()));
        }
        let many = first.is("CALL") || first.is("BEGIN") && is(0, "NOT") || first.is_one_of(&BLOCKS);
        many.then_some(Step::Many)
    }

    /// Tells what the one statement in a literal does.
    fn of_literal(&self, text: &[u8]) -> Option<Step> {
        let mut reader = Reader { scanner: Scanner::new(text, self.lexis), lexis: self.lexis };
        let head: Vec<MysqlToken<'_>> = reader.scanner.by_ref().take(HEAD_TOKENS).collect();
        // What is prepared prepares nothing.
        if head.first()?.is_one_of(&["PREPARE", "EXECUTE", "DEALLOCATE"]) { None } else { reader.step(&head) }
    }
}

// === impl Depth ===

impl Depth {
    /// Begins to count in a statement that is a block; others have no blocks.
    fn of(first: &MysqlToken<'_>) -> Option<Self> {
        let is_block = first.is("BEGIN") || first.is_one_of(&BLOCKS);
        is_block.then(|| Self { fresh: true, ..Self::default() })
    }

    fn take(&mut self, token: &MysqlToken<'_>) {
        let (fresh, ended) = (std::mem::take(&mut self.fresh), std::mem::take(&mut self.ended));
        if ended && token.is_one_of(&BLOCKS) {
            return;
        }
        let opens = token.is("CASE")
            || token.is("BEGIN") && (fresh || self.blocks == 0)
            || fresh && token.is_one_of(&BLOCKS);
        if opens {
            self.blocks = self.blocks.saturating_add(1);
        } else if token.is("END") {
            self.blocks = self.blocks.saturating_sub(1);
            self.ended = true;
        }
        self.fresh = matches!(token, MysqlToken::Symbol(b';' | b':'))
            || token.is_one_of(&["BEGIN", "ATOMIC", "THEN", "ELSE", "DO", "LOOP", "REPEAT"]);
    }
}

/// Tells whether a text of one statement that begins so can be of interest.
fn may_matter(first: &MysqlToken<'_>) -> bool {
    first.is_one_of(&["USE", "DROP", "DEALLOCATE", "PREPARE", "EXECUTE", "CALL", "SET", "BEGIN"])
        || first.is_one_of(&BLOCKS)
}

/// Tells whether `CREATE` and what follows it name something with a body of statements by now.
fn names_routine(head: &[MysqlToken<'_>]) -> bool {
    let Some((first, rest)) = head.split_first() else { return false };
    first.is("CREATE")
        && rest.last().is_some_and(|last| last.is_one_of(&ROUTINES))
        && !rest.contains(&MysqlToken::Symbol(b'('))
}

#[cfg(test)]
mod tests;
