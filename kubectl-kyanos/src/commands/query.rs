//! `query`: SQL on what a session stored.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use hub::store::schema::TABLES;
use proto::v1;
use proto::v1::value::Kind;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::cli::QueryArgs;
use crate::client::Client;
use crate::cluster::session as cluster;
use crate::cluster::{connect, sessions, teardown};
use crate::console::Console;
use crate::failure::Failure;
use crate::local::{self, Places};
use crate::platform::{self, Access};
use crate::render::result::{Format, Rows};
use crate::stdout::{print, print_part};
use crate::{reports, store};

/// Rows that an aligned table holds, whose widths are known only at the end.
const TABLE_ROWS: usize = 10_000;

/// Statements remembered between prompts.
const HISTORY_STATEMENTS: usize = 1000;

/// What the prompt understands besides SQL.
const PROMPT_HELP: &str =
    "SQL ends at the line's end or at `;`. Also: \\d tables and columns · \\r NAME a report · \\q quit";

/// Where statements are run.
enum Source {
    /// A running session.
    Session(Box<Client>),
    /// A file.
    File(PathBuf),
}

/// Runs the command.
pub(crate) async fn run(args: QueryArgs, console: &Console) -> Result<u8, Failure> {
    let format = args.output;
    let statement = match (&args.sql, &args.report) {
        (Some(sql), _) => Some(sql.clone()),
        (None, Some(report)) => Some(reports::statement(report)?),
        (None, None) => None,
    };
    let mut source = source(&args, console).await?;
    if let Some(sql) = statement {
        source.run(&sql, format).await?;
        return Ok(0);
    }
    if std::io::stdin().is_terminal() {
        return prompt(&mut source, format, console).await;
    }
    let mut sql = String::new();
    let read = std::io::stdin().read_to_string(&mut sql);
    read.map_err(|error| Failure::new(format!("reading SQL from standard input failed: {error}")))?;
    if sql.trim().is_empty() {
        return Err(Failure::usage("no SQL was given").hint("run `kubectl kyanos query --help`"));
    }
    source.run(&sql, format).await?;
    Ok(0)
}

async fn source(args: &QueryArgs, console: &Console) -> Result<Source, Failure> {
    if let Some(url) = &args.store {
        let path = store::readable(url)?;
        if !path.exists() {
            return Err(Failure::new(format!("`{}` does not exist", path.display()))
                .hint("name a file that `--save` or `--keep` made"));
        }
        return Ok(Source::File(path));
    }
    if !args.place.local {
        let connection = connect::connect(&args.place.cluster).await?;
        let name = match &args.session {
            Some(name) => name.clone(),
            None => sessions::only_live(&connection).await?,
        };
        let (joined, ()) =
            tokio::join!(cluster::join(&connection, &name), teardown::sweep(&connection, console));
        let mut client = joined?;
        client.describe().await?;
        return Ok(Source::Session(Box::new(client)));
    }
    local::preflight::root("asking a session on this machine")?;
    let places = Places::default();
    let name = match &args.session {
        Some(name) => name.clone(),
        None => local::only_live(&places)?,
    };
    let mut client = local::connect(&places, &name).await?;
    client.describe().await?;
    Ok(Source::Session(Box::new(client)))
}

// === impl Source ===

impl Source {
    /// Runs one statement and hands every part of its result to `take`, which ends it by `false`.
    async fn ask(
        &mut self,
        sql: &str,
        take: &mut dyn FnMut(v1::QueryResponse) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        match self {
            Self::Session(client) => client.query(sql, take).await,
            Self::File(path) => store::query(path, sql, take),
        }
    }

    /// Runs one statement and prints its result as it comes, tables once they are whole.
    async fn run(&mut self, sql: &str, format: Format) -> Result<(), Failure> {
        let mut result = Rows::default();
        let mut headed = false;
        let mut cut = false;
        let mut take = |part: v1::QueryResponse| -> Result<bool, Failure> {
            if !part.columns.is_empty() {
                result.columns = part.columns;
            }
            result.rows.extend(part.rows);
            match format {
                Format::Table | Format::Wide | Format::Yaml if result.rows.len() > TABLE_ROWS => {
                    result.rows.truncate(TABLE_ROWS);
                    cut = true;
                    Ok(false)
                }
                Format::Json | Format::Csv => {
                    let text = result.part(format, !headed)?;
                    headed = true;
                    result.rows.clear();
                    print_part(&text)
                }
                Format::Table | Format::Wide | Format::Yaml => Ok(true),
            }
        };
        self.ask(sql, &mut take).await?;
        match format {
            Format::Json | Format::Csv => Ok(()),
            Format::Table | Format::Wide | Format::Yaml => {
                print(&result.render(format)?)?;
                if cut {
                    return Err(Failure::new(format!("only the first {TABLE_ROWS} rows are shown"))
                        .hint("add a LIMIT, or use `-o json` or `-o csv`, which have none"));
                }
                Ok(())
            }
        }
    }
}

/// Pairs every table's name with those of its columns.
async fn tables(source: &mut Source) -> Result<Rows, Failure> {
    let mut rows = Rows { columns: ["table", "column"].map(str::to_owned).to_vec(), rows: Vec::new() };
    for table in &TABLES {
        let mut columns = Vec::new();
        // What is there, not what this version would make; both engines understand it.
        let sql = format!("SELECT * FROM {} WHERE 1 = 0", table.name);
        let mut take = |part: v1::QueryResponse| {
            columns.extend(part.columns);
            Ok(true)
        };
        source.ask(&sql, &mut take).await?;
        let text = |text: &str| v1::Value { kind: Some(Kind::Text(text.to_owned())) };
        rows.rows
            .extend(columns.iter().map(|column| v1::Row { values: vec![text(table.name), text(column)] }));
    }
    Ok(rows)
}

async fn prompt(source: &mut Source, format: Format, console: &Console) -> Result<u8, Failure> {
    let failed = |error: &ReadlineError| Failure::new(format!("the prompt failed: {error}"));
    let config = rustyline::Config::builder()
        .max_history_size(HISTORY_STATEMENTS)
        .map_err(|error| failed(&error))?
        .build();
    let mut editor = DefaultEditor::with_config(config).map_err(|error| failed(&error))?;
    let history = history_file();
    if let Some(file) = &history {
        // A first prompt has none.
        editor.load_history(file).ok();
    }
    console.say(PROMPT_HELP);
    loop {
        let line = match editor.readline("kyanos> ") {
            Ok(line) => line,
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => break,
            Err(error) => return Err(failed(&error)),
        };
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        editor.add_history_entry(line).ok();
        let outcome = match line.split_once(' ').unwrap_or((line, "")) {
            ("\\q" | "quit" | "exit", _) => break,
            ("\\?" | "help", _) => {
                console.say(PROMPT_HELP);
                continue;
            }
            ("\\d", _) => match tables(source).await {
                Ok(rows) => rows.render(format).and_then(|text| print(&text)),
                Err(failure) => Err(failure),
            },
            ("\\r", name) => match reports::statement(name.trim()) {
                Ok(sql) => source.run(&sql, format).await,
                Err(failure) => Err(failure),
            },
            _ => source.run(line, format).await,
        };
        if let Err(failure) = outcome {
            console.failure(&failure);
        }
    }
    if let Some(file) = &history {
        editor.save_history(file).ok();
    }
    Ok(0)
}

/// Where statements are remembered: with other programs' state, readable by their user alone.
fn history_file() -> Option<PathBuf> {
    let folder = platform::state_folder()?.join("kyanos");
    let mut builder = std::fs::DirBuilder::new();
    platform::folder_for(Access::Owner, builder.recursive(true)).create(&folder).ok()?;
    Some(folder.join("query_history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_tables_are_described() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.sqlite");
        store::File::create(&path).and_then(store::File::finish).expect("made");
        let rows = tables(&mut Source::File(path)).await.expect("read");
        let csv = rows.render(Format::Csv).expect("text");
        for table in &TABLES {
            for column in table.column_names() {
                assert!(csv.contains(&format!("\n{},{column}\n", table.name)), "{csv}");
            }
        }
    }
}
