//! Finite results: rows of SQL, sessions, anything with columns.

use proto::v1;
use proto::v1::value::Kind;
use serde::Serialize;
use serde_json::{Map, Value};

use super::table::Table;
use super::text::{one_line, payload};
use crate::failure::Failure;

/// Characters of a cell in `-o table`.
const CELL_WIDTH: usize = 60;

/// Bytes of a value in a table: more fit no terminal.
const CELL_BYTES: usize = 4096;

/// How a result is written; `-o` takes their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns, long values cut.
    Table,
    /// Aligned columns, values whole.
    Wide,
    /// JSON: one object per line for rows.
    Json,
    /// YAML.
    Yaml,
    /// Comma-separated values.
    Csv,
}

/// Columns and rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rows {
    /// Names of the columns.
    pub(crate) columns: Vec<String>,
    /// Rows, in order.
    pub(crate) rows: Vec<v1::Row>,
}

// === impl Rows ===

impl Rows {
    /// Renders all rows.
    pub(crate) fn render(&self, format: Format) -> Result<String, Failure> {
        match format {
            Format::Table => Ok(self.table(CELL_WIDTH)),
            Format::Wide => Ok(self.table(usize::MAX)),
            Format::Json => self.json_lines(),
            Format::Yaml => {
                let objects: Vec<Value> = self.rows.iter().map(|row| self.object(row)).collect();
                yaml(&objects)
            }
            Format::Csv => self.csv(),
        }
    }

    fn table(&self, width: usize) -> String {
        let mut table = Table::new(&self.columns, None);
        for row in &self.rows {
            table.row(row.values.iter().map(|value| one_line(&cell(value, Some(CELL_BYTES)), width)));
        }
        table.render()
    }

    /// Renders the rows at hand of a streamed result; CSV has its header once.
    pub(crate) fn part(&self, format: Format, first: bool) -> Result<String, Failure> {
        let text = self.render(format)?;
        if format != Format::Csv || first {
            return Ok(text);
        }
        let header = Self { columns: self.columns.clone(), rows: Vec::new() }.csv()?;
        Ok(text.strip_prefix(&header).map(ToOwned::to_owned).unwrap_or(text))
    }

    fn json_lines(&self) -> Result<String, Failure> {
        let mut text = String::new();
        for row in &self.rows {
            text.push_str(&json(&self.object(row))?);
            text.push('\n');
        }
        Ok(text)
    }

    fn csv(&self) -> Result<String, Failure> {
        let failed = |error: &dyn std::error::Error| Failure::new(format!("writing CSV failed: {error}"));
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&self.columns).map_err(|error| failed(&error))?;
        for row in &self.rows {
            writer.write_record(row.values.iter().map(csv_cell)).map_err(|error| failed(&error))?;
        }
        let bytes = writer.into_inner().map_err(|error| failed(&error))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Returns a row as an object; a column's name that is there already gets a number.
    pub(crate) fn object(&self, row: &v1::Row) -> Value {
        let mut object = Map::new();
        for (column, value) in self.columns.iter().zip(&row.values) {
            let mut name = column.clone();
            let mut number = 2;
            while object.contains_key(&name) {
                name = format!("{column}_{number}");
                number += 1;
            }
            object.insert(name, scalar(value));
        }
        Value::Object(object)
    }
}

/// Renders a value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::new(format!("writing JSON failed: {error}")))
}

/// Renders a value as YAML.
pub(crate) fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    serde_yaml_ng::to_string(value).map_err(|error| Failure::new(format!("writing YAML failed: {error}")))
}

/// Renders a value for CSV, where NULL is nothing.
pub(crate) fn csv_cell(value: &v1::Value) -> String {
    if value.kind.is_some() { cell(value, None) } else { String::new() }
}

fn scalar(value: &v1::Value) -> Value {
    match &value.kind {
        None => Value::Null,
        Some(Kind::Integer(number)) => (*number).into(),
        Some(Kind::Unsigned(number)) => (*number).into(),
        Some(Kind::Real(number)) => (*number).into(),
        Some(Kind::Text(text)) => text.clone().into(),
        Some(Kind::Blob(bytes)) => payload(bytes, usize::MAX).0.into(),
    }
}

fn cell(value: &v1::Value, limit: Option<usize>) -> String {
    match &value.kind {
        None => "NULL".to_owned(),
        Some(Kind::Integer(number)) => number.to_string(),
        Some(Kind::Unsigned(number)) => number.to_string(),
        Some(Kind::Real(number)) => number.to_string(),
        Some(Kind::Text(text)) => text.clone(),
        Some(Kind::Blob(bytes)) => payload(bytes, limit.unwrap_or(usize::MAX)).0,
    }
}

#[cfg(test)]
mod tests;
