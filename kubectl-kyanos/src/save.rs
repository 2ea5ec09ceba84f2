//! `--save`: the session's store into a file, before the session goes.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::v1;

use crate::client::{Client, next};
use crate::console::Console;
use crate::failure::Failure;
use crate::platform::{self, Access};
use crate::render::result::Rows;
use crate::render::{json, stored};
use crate::store;

/// The table whose rows JSON and CSV hold.
const EXCHANGES: &str = "exchanges";

/// Ending of the store that becomes a file of JSON lines, while it does.
const STAGED_ENDING: &str = "jsonl.part";

/// Longest that turning a store into lines may take; a second Ctrl-C skips it sooner.
const CONVERT_TIMEOUT: Duration = Duration::from_hours(1);

/// What a store is saved as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// All tables.
    Sqlite(PathBuf),
    /// One object per exchange.
    Jsonl(PathBuf),
    /// One record per exchange.
    Csv(PathBuf),
}

enum Sink {
    Sqlite(store::File),
    Jsonl(store::File, Staged),
    Csv(csv::Writer<std::fs::File>),
}

/// A store beside the file that it becomes: exchanges and their hops come one table after the other.
#[derive(Debug)]
struct Staged {
    path: PathBuf,
    target: PathBuf,
}

// === impl Target ===

impl Target {
    /// Reads `--save` and checks that the file can be made, before anything starts.
    pub(crate) fn new(path: &Path) -> Result<Self, Failure> {
        let absolute =
            std::path::absolute(path).map_err(|error| Failure::io("finding", path.display(), &error))?;
        let target = match path.extension().and_then(|extension| extension.to_str()) {
            Some("sqlite") => Self::Sqlite(absolute),
            Some("jsonl") => Self::Jsonl(absolute),
            Some("csv") => Self::Csv(absolute),
            _ => {
                return Err(Failure::usage(format!("`--save {}` has no known ending", path.display()))
                    .hint("end the file's name in .sqlite, .jsonl or .csv"));
            }
        };
        let path = target.path();
        if path.exists() {
            return Err(Failure::new(format!("`{}` exists already", path.display()))
                .hint("name another file, or remove that one"));
        }
        // Made and removed again, so that an unwritable place is known before the capture.
        let made = OpenOptions::new().write(true).create_new(true).open(path);
        made.map_err(|error| {
            Failure::io("making", path.display(), &error)
                .hint("choose a folder that exists and may be written")
        })?;
        std::fs::remove_file(path).map_err(|error| Failure::io("removing", path.display(), &error))?;
        Ok(target)
    }

    /// Where it goes.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Sqlite(path) | Self::Jsonl(path) | Self::Csv(path) => path,
        }
    }

    fn open(&self) -> Result<Sink, Failure> {
        let create = |path: &PathBuf| {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true);
            platform::file_for(Access::Owner, &mut options)
                .open(path)
                .map_err(|error| Failure::io("making", path.display(), &error))
        };
        Ok(match self {
            Self::Sqlite(path) => Sink::Sqlite(store::File::create(path)?),
            Self::Jsonl(path) => {
                create(path)?;
                let staged = Staged { path: path.with_extension(STAGED_ENDING), target: path.clone() };
                Sink::Jsonl(store::File::create(&staged.path)?, staged)
            }
            Self::Csv(path) => Sink::Csv(csv::Writer::from_writer(create(path)?)),
        })
    }
}

/// Pulls the store into the file and returns how many exchanges it holds.
pub(crate) async fn pull(
    client: &mut Client,
    target: &Target,
    console: &mut Console,
) -> Result<u64, Failure> {
    let mut sink = target.open()?;
    let mut stream = client.pull().await?;
    let mut table = String::new();
    let mut rows = Rows::default();
    let mut saved = 0_u64;
    console.begin("saving", 0);
    while let Some(part) = next(&mut stream).await? {
        if !part.columns.is_empty() {
            table.clone_from(&part.table);
        }
        if table == EXCHANGES {
            saved += part.rows.len() as u64;
            console.advance(saved, part.total_rows.max(saved));
        }
        take(&mut sink, &table, &mut rows, part)?;
    }
    finish(sink).await?;
    console.clear();
    platform::give_to_owner(target.path());
    Ok(saved)
}

fn take(sink: &mut Sink, table: &str, rows: &mut Rows, part: v1::PullResponse) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::new(format!("saving failed: {error}"));
    if let Sink::Sqlite(file) | Sink::Jsonl(file, _) = sink {
        return file.insert(&part);
    }
    if table != EXCHANGES {
        return Ok(());
    }
    let begins = !part.columns.is_empty();
    if begins {
        rows.columns = part.columns;
    }
    if let Sink::Csv(file) = sink {
        if begins {
            file.write_record(&rows.columns).map_err(|error| failed(&error))?;
        }
        for row in &part.rows {
            let cells = row.values.iter().map(crate::render::result::csv_cell);
            file.write_record(cells).map_err(|error| failed(&error))?;
        }
    }
    Ok(())
}

async fn finish(sink: Sink) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::new(format!("saving failed: {error}"));
    match sink {
        Sink::Sqlite(file) => file.finish(),
        Sink::Jsonl(file, staged) => {
            file.finish()?;
            let (from, to) = (staged.path.clone(), staged.target.clone());
            // Not on this thread, which hears the second Ctrl-C.
            let written = tokio::task::spawn_blocking(move || write_lines(&from, &to)).await;
            written.unwrap_or_else(|error| Err(failed(&error)))
        }
        Sink::Csv(mut file) => file.flush().map_err(|error| failed(&error)),
    }
}

/// Writes a store's exchanges as `watch -o json` prints them.
fn write_lines(from: &Path, to: &Path) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::new(format!("saving failed: {error}"));
    let file = OpenOptions::new().write(true).truncate(true).open(to).map_err(|error| failed(&error))?;
    let mut file = BufWriter::new(file);
    let mut reader = stored::Reader::new(&[]);
    let mut line = Vec::new();
    let mut renderer = json::JsonRenderer { session: String::new(), print_bytes: Some(usize::MAX) };
    store::read(from, &stored::select(), CONVERT_TIMEOUT, &mut |part| {
        if !part.columns.is_empty() {
            reader = stored::Reader::new(&part.columns);
        }
        for row in &part.rows {
            let (session, exchange) = reader.exchange(row);
            renderer.session = session;
            line.clear();
            renderer.line(&exchange, &mut line).map_err(|error| failed(&error))?;
            file.write_all(&line).map_err(|error| failed(&error))?;
        }
        Ok(true)
    })?;
    file.flush().map_err(|error| failed(&error))
}

// === impl Staged ===

impl Drop for Staged {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut name = self.path.clone().into_os_string();
            name.push(suffix);
            // Most of them are not there.
            std::fs::remove_file(name).ok();
        }
    }
}

#[cfg(test)]
mod tests;
