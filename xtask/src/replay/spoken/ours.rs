//! Labels of our exchanges.

use super::{Conversation, Said, plain, verb};

/// What of an exchange its labels are made from.
pub(in crate::replay) struct OurRow<'a> {
    pub(in crate::replay) protocol: &'a str,
    pub(in crate::replay) operation: &'a str,
    pub(in crate::replay) status: &'a str,
    pub(in crate::replay) error: bool,
    pub(in crate::replay) asked: bool,
    pub(in crate::replay) answered: bool,
}

// === impl OurRow ===

impl OurRow<'_> {
    /// Adds what was asked.
    pub(in crate::replay) fn ask(&self, conversation: &mut Conversation, bytes: Option<u64>) {
        if self.asked {
            conversation.requests.push(Said::new(self.request(), self.operation.to_owned(), bytes));
        } else {
            conversation.pushes += 1;
        }
    }

    /// Adds what was answered, where outcomes of this kind are compared.
    pub(in crate::replay) fn answer(&self, conversation: &mut Conversation, bytes: Option<u64>) {
        // Witnesses name only the errors of the other protocols.
        let compared = matches!(self.protocol, "http" | "dns") || self.error;
        if self.answered && compared && !self.status.is_empty() {
            conversation.responses.push(Said::new(plain(self.status), self.status.to_owned(), bytes));
        }
    }

    fn request(&self) -> String {
        let first = self.operation.split(' ').next().unwrap_or_default();
        match (self.protocol, first) {
            ("redis", _) => verb(self.operation),
            ("dns", _) => {
                let (kind, name) = self.operation.split_once(' ').unwrap_or((self.operation, ""));
                format!("{} {}", plain(kind), plain(name))
            }
            // The user's name is part of ours only.
            ("mysql", "LOGIN") | ("postgres", "LOGIN" | "CANCEL") => first.to_owned(),
            _ => plain(self.operation),
        }
    }
}
