//! Another primary key for a table that has rows.

use super::{Dialect, Table, definition};

/// Statements that give a table the key of a version whose columns it has. Each can be repeated where hubs run them
/// beside each other: the embedded store runs all of them in one transaction.
pub(super) fn statements(table: &Table, dialect: Dialect, version: u32) -> Vec<String> {
    let (name, key) = (table.name, table.key(version));
    match dialect {
        // In one statement: some servers refuse a table that has no key for a moment.
        Dialect::Mysql => vec![format!("ALTER TABLE {name} DROP PRIMARY KEY, ADD PRIMARY KEY ({key})")],
        // There a key is part of the table, so its rows go into another one.
        Dialect::Sqlite => {
            let columns: Vec<_> = table.columns.iter().filter(|column| column.since <= version).collect();
            let mut lines: Vec<String> = columns.iter().map(|column| definition(column, dialect)).collect();
            lines.push(format!("PRIMARY KEY ({key})"));
            let (lines, names) = (lines.join(", "), columns.iter().map(|column| column.name));
            let names = names.collect::<Vec<_>>().join(", ");
            vec![
                format!("CREATE TABLE {name}_rekeyed ({lines}) WITHOUT ROWID"),
                format!("INSERT INTO {name}_rekeyed ({names}) SELECT {names} FROM {name}"),
                format!("DROP TABLE {name}"),
                format!("ALTER TABLE {name}_rekeyed RENAME TO {name}"),
            ]
        }
    }
}
