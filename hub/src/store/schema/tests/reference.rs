//! The reference page of the tables, which is written from them.

use std::fmt::Write as _;
use std::path::Path;

use super::super::*;

/// What is true of all tables.
const HEAD: &str = "\
# The store in SQL

What a session stores, as `query` and your own client see it: the same tables and columns in SQLite and in MySQL, MariaDB and what speaks their protocol. The columns of
`exchanges` are the keys of [one exchange as JSON](exchange.schema.json) too, but for `start_ns`.

Unknown is NULL, never 0 or -1. A column that a later version of the schema brought is 0 in rows that were there before, or NULL where it may be. Times are UTC, cut to
microseconds: text such as `2023-11-14T22:13:20.123456Z` in SQLite, DATETIME(6) in MySQL. Payloads are bytes, at most `--max-store-bytes` of each. Text that is longer than its
column in MySQL is cut at a character, in SQLite too. Text is compared by its bytes (`utf8mb4_bin`).

This page is written from the tables: `KYANOS_BLESS=1 cargo test -p hub reference`.
";

/// The page.
fn page() -> String {
    let mut text = HEAD.to_owned();
    for table in &TABLES {
        section(table, &mut text);
    }
    text
}

fn section(table: &Table, text: &mut String) {
    let _written = write!(text, "\n## {}\n\n{}\n\n", table.name, table.help);
    text.push_str(
        "| column | SQLite | MySQL | NULL | since | what |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for column in table.columns {
        let Column { name, kind, required, since, help, json: _ } = column;
        let [sqlite, mysql] = [Dialect::Sqlite, Dialect::Mysql].map(|dialect| sql_type(*kind, dialect));
        let null = if *required { "no" } else { "yes" };
        let words = if let Kind::Choice(_, words) = kind {
            format!(" ({})", code(words).join(", "))
        } else {
            String::new()
        };
        let _written = writeln!(text, "| `{name}` | {sqlite} | {mysql} | {null} | {since} | {help}{words} |");
    }
    let _written = write!(text, "\nPrimary key: {}.", code(table.primary).join(", "));
    for (name, unique, columns) in table.indexes {
        let kind = if *unique { "Unique index" } else { "Index" };
        let _written = write!(text, " {kind} `{name}`: {}.", code(columns).join(", "));
    }
    text.push('\n');
}

fn code(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("`{name}`")).collect()
}

#[test]
fn the_reference_is_that_of_the_tables() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sql.md");
    if std::env::var_os("KYANOS_BLESS").is_some() {
        std::fs::write(&file, page()).unwrap();
    }
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(known, page(), "docs/sql.md differs; bless with KYANOS_BLESS=1");
}
