//! Writing what `--save FILE.sqlite` pulls.

use std::path::Path;

use proto::v1;
use proto::v1::value::Kind;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::super::schema::{Dialect, Table};
use super::super::{Scope, StoreError};
use super::{Database, embedded};

/// Takes the responses of a pull, in any number of calls, into a file that is a store of its own.
#[derive(Debug)]
pub struct Saver {
    database: Database,
    /// Columns of the table at hand, from its first response.
    columns: Vec<String>,
}

// === impl Saver ===

impl Saver {
    /// Creates the file or adds to it.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        let scope = Scope { session: String::new(), max_store_bytes: u32::MAX };
        Ok(Self { database: Database::open(path, scope)?, columns: Vec::new() })
    }

    /// Takes one response; rows that are there already are passed over. Returns the rows that are new.
    pub fn insert(&mut self, response: &v1::PullResponse) -> Result<u64, StoreError> {
        let v1::PullResponse { table, columns, rows, total_rows: _ } = response;
        let Some(table) = Table::named(table) else {
            return Err(StoreError::Statement { message: format!("unknown table `{table}`") });
        };
        if !columns.is_empty() {
            self.columns.clone_from(columns);
        }
        if rows.is_empty() {
            return Ok(0);
        }
        insert(&mut self.database.connection, table, &self.columns, rows)
            .map_err(|error| embedded("saving", &error))
    }

    /// Completes the file: nothing but the file itself is needed to read it.
    pub fn finish(self) -> Result<(), StoreError> {
        self.database.finish()
    }
}

/// Inserts by name: columns that only the other version has are left out, those that only this one has are what the
/// table says they are by default.
fn insert(
    connection: &mut Connection,
    table: &Table,
    columns: &[String],
    rows: &[v1::Row],
) -> rusqlite::Result<u64> {
    let (names, places): (Vec<&str>, Vec<usize>) = table
        .column_names()
        .filter_map(|name| Some((name, columns.iter().position(|column| column == name)?)))
        .unzip();
    let transaction = connection.transaction()?;
    let mut new = 0_u64;
    {
        let mut statement = transaction.prepare_cached(&table.insert_columns(Dialect::Sqlite, 1, &names))?;
        for row in rows {
            let cells = places.iter().map(|place| {
                let value = row.values.get(*place);
                value.and_then(|value| value.kind.as_ref()).map_or(Value::Null, value_of)
            });
            new += statement.execute(params_from_iter(cells))? as u64;
        }
    }
    transaction.commit()?;
    Ok(new)
}

fn value_of(kind: &Kind) -> Value {
    match kind {
        Kind::Integer(value) => Value::Integer(*value),
        Kind::Unsigned(value) => Value::Integer(value.cast_signed()),
        Kind::Real(value) => Value::Real(*value),
        Kind::Text(text) => Value::Text(text.clone()),
        Kind::Blob(bytes) => Value::Blob(bytes.clone()),
    }
}
