//! Labels of our exchanges.

use super::{plain, verb};

/// What of an exchange its labels are made from.
pub(in crate::replay) struct Row<'a> {
    pub(in crate::replay) protocol: &'a str,
    pub(in crate::replay) operation: &'a str,
    /// The protocol's command, where the exchange names it.
    pub(in crate::replay) command: &'a str,
    pub(in crate::replay) status: &'a str,
    pub(in crate::replay) asked: bool,
    pub(in crate::replay) answered: bool,
}

// === impl Row ===

impl Row<'_> {
    /// Returns the request's label.
    pub(in crate::replay) fn request(&self) -> Option<String> {
        let label = match self.protocol {
            "redis" => verb(self.operation),
            "dns" => {
                let (kind, name) = self.operation.split_once(' ').unwrap_or((self.operation, ""));
                format!("{} {}", plain(kind), plain(name))
            }
            "mysql" if self.command == "LOGIN" => "LOGIN".to_owned(),
            "postgres" if matches!(self.command, "LOGIN" | "CANCEL") => self.command.to_owned(),
            _ => plain(self.operation),
        };
        self.asked.then_some(label)
    }

    /// Returns the response's label, where outcomes of this kind are compared.
    pub(in crate::replay) fn response(&self) -> Option<String> {
        let compared = match self.protocol {
            "http" | "dns" => true,
            // Of these, witnesses name errors only.
            _ => self.status.starts_with("ERR "),
        };
        (self.answered && compared && !self.status.is_empty()).then(|| plain(self.status))
    }
}
