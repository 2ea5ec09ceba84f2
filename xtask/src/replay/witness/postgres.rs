//! PostgreSQL as tshark reads it: message by message, which are put together as one who reads the protocol does.

use super::row::WitnessRow;
use crate::replay::spoken::{ANY_LABEL, Conversation, Said, plain};

/// The messages of the extended protocol since the last one that asks for an answer of its own.
#[derive(Debug, Default)]
pub(super) struct PostgresMemory {
    /// Bytes and messages that belong to a request which is not complete.
    open: Option<u64>,
    /// The newest request's answer ends with `Sync`, which is still to come.
    owes_sync: bool,
}

// === impl PostgresMemory ===

impl PostgresMemory {
    /// Takes a packet's messages.
    pub(super) fn take(&mut self, row: &WitnessRow<'_>, conversation: &mut Conversation) {
        let mut texts = row.list("pgsql.query");
        let kinds: Vec<&str> = row.list("pgsql.type").collect();
        let lengths: Vec<&str> = row.list("pgsql.length").collect();
        let fronts: Vec<&str> = row.list("pgsql.frontend").collect();
        for (index, kind) in kinds.iter().enumerate() {
            let front = fronts.get(index).is_some_and(|front| matches!(*front, "1" | "True"));
            if front {
                let length =
                    lengths.get(index).and_then(|length| length.parse::<u64>().ok()).unwrap_or_default();
                self.message(kind, length, &mut texts, conversation);
            }
        }
        let severities = row.list("pgsql.severity");
        for (severity, code) in severities.zip(row.list("pgsql.code")) {
            if matches!(severity, "ERROR" | "FATAL" | "PANIC") {
                let shown = format!("ERR {code}");
                conversation.responses.push(Said::new(plain(&shown), shown, None));
            }
        }
    }

    fn message<'a>(
        &mut self,
        kind: &str,
        length: u64,
        texts: &mut impl Iterator<Item = &'a str>,
        conversation: &mut Conversation,
    ) {
        let mut say = |label: String, shown: &str, bytes: Option<u64>| {
            conversation.requests.push(Said::new(label, shown.to_owned(), bytes));
        };
        match kind {
            "SSL request" => say(plain("SSL_REQUEST"), kind, Some(length)),
            "GSS encrypt request" => say(plain("GSSENC_REQUEST"), kind, Some(length)),
            "Startup message" => say("LOGIN".to_owned(), kind, None),
            "Cancel request" => say("CANCEL".to_owned(), kind, Some(length)),
            "Simple query" => {
                let text = texts.next().unwrap_or_default();
                // What is copied in belongs to the statement.
                let copies = text.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("copy"));
                say(statement(text), text, (!copies).then_some(length + 1));
                (self.open, self.owes_sync) = (None, false);
            }
            "Termination" => say(plain("TERMINATE"), kind, Some(length + 1)),
            "Function call" => say(ANY_LABEL.to_owned(), kind, Some(length + 1)),
            "Parse" => {
                texts.next();
                self.open = Some(self.open.unwrap_or_default() + length + 1);
            }
            "Bind" | "Describe" | "Close" => self.open = Some(self.open.unwrap_or_default() + length + 1),
            "Execute" => {
                say(ANY_LABEL.to_owned(), kind, None);
                (self.open, self.owes_sync) = (None, true);
            }
            "Sync" | "Flush" => {
                if self.open.take().is_some() {
                    say(ANY_LABEL.to_owned(), "Parse, Bind, Describe or Close", None);
                    self.owes_sync = kind == "Flush";
                } else if kind == "Sync" && !std::mem::take(&mut self.owes_sync) {
                    say(ANY_LABEL.to_owned(), kind, Some(length + 1));
                }
            }
            _ => {}
        }
    }
}

// === free functions ===

fn statement(text: &str) -> String {
    let text = text.replace("\\n", " ").replace("\\r", " ").replace("\\t", " ");
    let plainly = plain(&text);
    // An empty statement is shown by a word.
    if plainly.is_empty() { ANY_LABEL.to_owned() } else { plainly }
}
