//! What the names of prepared statements and portals mean: what the server last accepted, or, for what is asked before
//! it said so, what the client sent last.

use std::collections::HashMap;
use std::sync::Arc;

/// Most names remembered per connection, and most bytes of their text; beyond it all are forgotten, and what is executed
/// is shown without its text until it is prepared again.
pub(super) const MAX_NAMES: usize = 4096;
const MAX_TEXT: usize = 1024 * 1024;

/// Something that has a name, and how much memory it takes.
pub(super) trait Named {
    /// Returns how many bytes of text it holds.
    fn bytes(&self) -> usize;
}

/// What names mean.
#[derive(Debug)]
pub(super) struct Names<V> {
    accepted: HashMap<Vec<u8>, Arc<V>>,
    /// Bytes of what was accepted.
    held: usize,
    /// What the client sent last for a name and the server has not answered: by which message, and what it means then.
    ahead: HashMap<Vec<u8>, (u64, Option<Arc<V>>)>,
}

// === impl Names ===

impl<V> Default for Names<V> {
    fn default() -> Self {
        Self { accepted: HashMap::new(), held: 0, ahead: HashMap::new() }
    }
}

impl<V: Named> Names<V> {
    /// Returns what `name` means for a message that is sent now.
    pub(super) fn next(&self, name: &[u8]) -> Option<&Arc<V>> {
        match self.ahead.get(name) {
            Some((_, value)) => value.as_ref(),
            None => self.accepted.get(name),
        }
    }

    /// Returns what the server takes `name` for.
    pub(super) fn accepted(&self, name: &[u8]) -> Option<&Arc<V>> {
        self.accepted.get(name)
    }

    pub(super) fn accepted_mut(&mut self, name: &[u8]) -> Option<&mut Arc<V>> {
        self.accepted.get_mut(name)
    }

    /// Message `number` gives `name` a meaning, or none, if the server accepts it.
    pub(super) fn propose(&mut self, name: &[u8], number: u64, value: Option<Arc<V>>) {
        if self.ahead.len() >= MAX_NAMES {
            self.ahead.clear();
        }
        self.ahead.insert(name.to_vec(), (number, value));
    }

    /// The server accepted message `number`.
    pub(super) fn accept(&mut self, name: &[u8], number: u64, value: Option<Arc<V>>) {
        self.withdraw(name, number);
        self.set(name, value);
    }

    /// The server did not do what message `number` asked for.
    pub(super) fn withdraw(&mut self, name: &[u8], number: u64) {
        if self.ahead.get(name).is_some_and(|(newest, _)| *newest == number) {
            self.ahead.remove(name);
        }
    }

    /// From now on `name` means this, or nothing.
    pub(super) fn set(&mut self, name: &[u8], value: Option<Arc<V>>) {
        let size = |value: &Arc<V>| value.bytes().saturating_add(name.len());
        if let Some(old) = self.accepted.remove(name) {
            self.held = self.held.saturating_sub(size(&old));
        }
        let Some(value) = value else { return };
        let bytes = size(&value);
        if self.accepted.len() >= MAX_NAMES || self.held.saturating_add(bytes) > MAX_TEXT {
            self.accepted.clear();
            self.held = 0;
        }
        self.held = self.held.saturating_add(bytes);
        self.accepted.insert(name.to_vec(), value);
    }

    /// No name means anything any more.
    pub(super) fn clear(&mut self) {
        self.accepted.clear();
        self.held = 0;
    }

    /// What was sent and not answered is not known.
    pub(super) fn forget_ahead(&mut self) {
        self.ahead.clear();
    }

    /// Bytes are lost: the empty name may mean anything now. Others are rarely given anew, so what was asked for last
    /// holds where nothing is known.
    pub(super) fn lose(&mut self) {
        self.set(b"", None);
        for (name, (_, value)) in std::mem::take(&mut self.ahead) {
            if !name.is_empty() && value.is_some() && !self.accepted.contains_key(&name) {
                self.set(&name, value);
            }
        }
    }
}
