//! MySQL as tshark reads it.

use std::collections::HashMap;

use decoders::Side;

use super::row::WitnessRow;
use crate::replay::spoken::{ANY_LABEL, Conversation, Said, plain};

/// Commands by number, by the name that we show. Others are compared as [`ANY_LABEL`].
const COMMANDS: [(&str, &str); 18] = [
    ("1", "QUIT"),
    ("2", "INIT_DB"),
    ("4", "FIELD_LIST"),
    ("5", "CREATE_DB"),
    ("6", "DROP_DB"),
    ("7", "REFRESH"),
    ("8", "SHUTDOWN"),
    ("9", "STATISTICS"),
    ("10", "PROCESS_INFO"),
    ("12", "PROCESS_KILL"),
    ("13", "DEBUG"),
    ("14", "PING"),
    ("24", "SEND_LONG_DATA"),
    ("25", "CLOSE"),
    ("26", "RESET"),
    ("27", "SET_OPTION"),
    ("28", "FETCH"),
    ("31", "RESET_CONNECTION"),
];

const COMMANDS_THERE_ARE: std::ops::RangeInclusive<u8> = 1..=32;

const QUERY: &str = "3";
const PREPARE: &str = "22";
const EXECUTE: &str = "23";

/// Prepared statements of a stream.
#[derive(Debug, Default)]
pub(super) struct MysqlMemory {
    preparing: Option<String>,
    statements: HashMap<String, String>,
}

// === impl MysqlMemory ===

impl MysqlMemory {
    /// Takes a packet's commands, or the errors in it.
    pub(super) fn take(&mut self, row: &WitnessRow<'_>, from: Side, conversation: &mut Conversation) {
        if from == Side::Server {
            self.answers(row, conversation);
            return;
        }
        if row.first("mysql.login_request").is_some() {
            conversation.requests.push(Said::new("LOGIN".to_owned(), "LOGIN".to_owned(), None));
        }
        let commands: Vec<&str> = row.list("mysql.command").collect();
        let lengths: Vec<&str> = row.list("mysql.packet_length").collect();
        let mut texts = row.list("mysql.query");
        let mut statements = row.list("mysql.stmt_id");
        // A statement of several packets has one command: sizes are told only where each has its own.
        let told = commands.len() == lengths.len();
        for (index, command) in commands.iter().enumerate() {
            // Packets within a log-in are taken for commands that there are not.
            if !command.parse::<u8>().is_ok_and(|command| COMMANDS_THERE_ARE.contains(&command)) {
                continue;
            }
            let length = lengths.get(index).and_then(|length| length.parse::<u64>().ok()).filter(|_| told);
            let (label, shown) = self.command(command, &mut texts, &mut statements);
            conversation.requests.push(Said::new(label, shown, length.map(|length| length + 4)));
        }
    }

    fn command<'a>(
        &mut self,
        command: &str,
        texts: &mut impl Iterator<Item = &'a str>,
        statements: &mut impl Iterator<Item = &'a str>,
    ) -> (String, String) {
        match command {
            QUERY => labelled(texts.next().unwrap_or_default()),
            PREPARE => {
                let text = texts.next().unwrap_or_default();
                self.preparing = Some(text.to_owned());
                labelled(&format!("PREPARE {text}"))
            }
            EXECUTE => match statements.next().and_then(|number| self.statements.get(number)) {
                Some(text) => labelled(text),
                None => (ANY_LABEL.to_owned(), "EXECUTE".to_owned()),
            },
            _ => match COMMANDS.iter().find(|(number, _)| *number == command) {
                // Their statement is shown behind the name.
                Some((_, name @ ("CLOSE" | "RESET" | "SEND_LONG_DATA" | "FETCH"))) => {
                    (ANY_LABEL.to_owned(), (*name).to_owned())
                }
                Some((_, "INIT_DB" | "FIELD_LIST" | "CREATE_DB" | "DROP_DB")) | None => {
                    (ANY_LABEL.to_owned(), format!("command {command}"))
                }
                Some((_, name)) => (plain(name), (*name).to_owned()),
            },
        }
    }

    fn answers(&mut self, row: &WitnessRow<'_>, conversation: &mut Conversation) {
        if let Some(number) = row.first("mysql.stmt_id")
            && let Some(text) = self.preparing.take()
        {
            self.statements.insert(number.to_owned(), text);
        }
        for code in row.list("mysql.error_code") {
            let shown = format!("ERR {code}");
            conversation.responses.push(Said::new(plain(&shown), shown, None));
        }
    }
}

// === free functions ===

fn labelled(text: &str) -> (String, String) {
    (plain(&unescaped(text)), text.to_owned())
}

/// Undoes tshark's escapes of line ends and tabs, which would count as letters.
fn unescaped(text: &str) -> String {
    text.replace("\\n", " ").replace("\\r", " ").replace("\\t", " ")
}
