//! What is being waited for, said once each time it changes.

use crate::console::Console;

/// What was said last.
pub(super) struct Steps<'a> {
    console: &'a mut Console,
    /// Its last words.
    pub(super) said: String,
}

// === impl Steps ===

impl<'a> Steps<'a> {
    /// Nothing was said yet.
    pub(super) fn new(console: &'a mut Console) -> Self {
        Self { console, said: String::new() }
    }

    /// Says what is being done, unless it was just said.
    pub(super) fn say(&mut self, doing: String) {
        if doing != self.said {
            self.console.step(doing.as_str());
            self.said = doing;
        }
    }
}
