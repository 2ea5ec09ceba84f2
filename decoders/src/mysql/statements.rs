//! The prepared statements of a connection: each is kept once, whatever it is called by.

use std::collections::HashMap;

use super::command::MysqlStatement;

/// Most prepared statements remembered per connection, and most bytes of their text: servers allow 16382 in all.
const MAX_STATEMENTS: usize = 4096;
const MAX_TEXT: usize = 1024 * 1024;

/// The number by which `MariaDB` executes what was prepared last.
const LAST_PREPARED: u32 = u32::MAX;

/// What names a statement here. Its number comes only with the server's answer, and a client may not wait for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(u64);

/// Prepared statements.
#[derive(Debug, Default)]
pub(super) struct Statements {
    kept: HashMap<Key, MysqlStatement>,
    numbers: HashMap<u32, Key>,
    /// What the client asked last to prepare, if that was not refused.
    newest: Option<Key>,
    next: u64,
    /// Bytes of all texts.
    text: usize,
}

// === impl Statements ===

impl Statements {
    /// Keeps a statement that the client asks to prepare; what does not fit is shown by its number later.
    pub(super) fn prepare(&mut self, statement: MysqlStatement) -> Option<Key> {
        self.newest = None;
        let text = self.text.saturating_add(statement.text.len());
        if self.kept.len() >= MAX_STATEMENTS || text > MAX_TEXT {
            return None;
        }
        self.text = text;
        let key = Key(self.next);
        self.next = self.next.saturating_add(1);
        self.kept.insert(key, statement);
        self.newest = Some(key);
        self.newest
    }

    /// Finds the statement with this number. One that was prepared before the capture is kept from here on, without
    /// its text.
    pub(super) fn find(&mut self, number: u32) -> Option<Key> {
        if number == LAST_PREPARED {
            return self.newest;
        }
        if let Some(key) = self.numbers.get(&number) {
            return Some(*key);
        }
        let newest = self.newest;
        let key = self.prepare(MysqlStatement::default());
        self.newest = newest;
        self.numbers.insert(number, key?);
        key
    }

    pub(super) fn get(&self, key: Key) -> Option<&MysqlStatement> {
        self.kept.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut MysqlStatement> {
        self.kept.get_mut(&key)
    }

    /// The server gave a statement its number.
    pub(super) fn number(&mut self, key: Key, number: u32) {
        if let Some(old) = self.numbers.insert(number, key).filter(|old| *old != key) {
            self.forget(old);
        }
    }

    /// Nothing answers for a statement any more: the server refused it, or it was closed and its last answer came.
    pub(super) fn forget(&mut self, key: Key) {
        if let Some(statement) = self.kept.remove(&key) {
            self.text = self.text.saturating_sub(statement.text.len());
        }
        if self.newest == Some(key) {
            self.newest = None;
        }
    }

    /// The client closes a statement; one whose answer is `awaited` is kept until that has come.
    pub(super) fn close(&mut self, number: u32, awaited: impl Fn(Key) -> bool) {
        let key = if number == LAST_PREPARED { self.newest.take() } else { self.numbers.remove(&number) };
        if let Some(key) = key {
            self.let_go(key, awaited);
        }
    }

    /// The server forgets all statements; those whose answers are `awaited` are kept until these have come.
    pub(super) fn clear(&mut self, awaited: impl Fn(Key) -> bool) {
        self.numbers.clear();
        self.newest = None;
        let keys: Vec<Key> = self.kept.keys().copied().collect();
        for key in keys {
            self.let_go(key, &awaited);
        }
    }

    fn let_go(&mut self, key: Key, awaited: impl Fn(Key) -> bool) {
        match self.kept.get_mut(&key) {
            Some(statement) if awaited(key) => statement.closed = true,
            _ => self.forget(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(text: &str) -> MysqlStatement {
        MysqlStatement { text: text.as_bytes().into(), ..MysqlStatement::default() }
    }

    fn text(statements: &mut Statements, number: u32) -> String {
        let text = statements.find(number).and_then(|key| statements.get(key)).map(|kept| kept.text.to_vec());
        String::from_utf8(text.unwrap_or_default()).unwrap()
    }

    #[test]
    fn a_statement_is_one_under_both_its_names() {
        let mut statements = Statements::default();
        let key = statements.prepare(statement("a")).unwrap();
        assert_eq!(statements.find(LAST_PREPARED), Some(key));
        statements.number(key, 7);
        assert_eq!(statements.find(7), Some(key));
        statements.prepare(statement("b")).unwrap();
        assert_eq!(
            (text(&mut statements, LAST_PREPARED), text(&mut statements, 7)),
            ("b".into(), "a".into())
        );
    }

    #[test]
    fn a_refused_statement_is_not_the_last_one() {
        let mut statements = Statements::default();
        let key = statements.prepare(statement("a")).unwrap();
        statements.forget(key);
        assert_eq!(statements.find(LAST_PREPARED), None);
        assert_eq!(statements.text, 0);
    }

    #[test]
    fn a_closed_statement_stays_while_its_answer_is_awaited() {
        let mut statements = Statements::default();
        let key = statements.prepare(statement("a")).unwrap();
        statements.number(key, 7);
        statements.close(7, |_| true);
        assert!(statements.get(key).unwrap().closed);
        assert_eq!(text(&mut statements, 7), "");
        statements.clear(|_| false);
        assert!(statements.kept.is_empty() && statements.numbers.is_empty());
    }

    #[test]
    fn statements_are_bounded_by_number_and_by_text() {
        let mut statements = Statements::default();
        for _ in 0..MAX_STATEMENTS {
            assert!(statements.prepare(statement("")).is_some());
        }
        assert!(statements.prepare(statement("")).is_none());
        assert!(statements.find(3).is_none());
        let mut statements = Statements::default();
        let key = statements.prepare(statement(&"x".repeat(MAX_TEXT))).unwrap();
        assert!(statements.prepare(statement("y")).is_none());
        assert_eq!(statements.find(LAST_PREPARED), None);
        statements.forget(key);
        assert!(statements.prepare(statement("y")).is_some());
    }
}
