//! `--save`: the session's store into a file, before the session goes.

mod partial;

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proto::v1;

use self::partial::Partial;
use crate::client::{Client, next};
use crate::console::Console;
use crate::failure::Failure;
use crate::platform::{self, Access};
use crate::render::result::Rows;
use crate::render::{json, stored};
use crate::store;

/// The table whose rows JSON and CSV hold.
const EXCHANGES: &str = "exchanges";

/// Ending of a file that is not whole yet.
const PART: &str = "part";

/// Ending of the store that becomes a file of JSON lines: exchanges and their hops come one table after the other.
const STAGE: &str = "stage";

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

/// Where rows go; the database is closed before its file is removed or renamed.
enum Sink {
    Sqlite(store::File, Partial),
    Jsonl { staged: store::File, stage: Partial, lines: Partial },
    Csv(csv::Writer<std::fs::File>, Partial),
}

/// Tells a thread that what it does is not wanted any more, once this is dropped.
struct Wanted(Arc<AtomicBool>);

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
        Ok(match self {
            Self::Sqlite(path) => {
                let part = Partial::beside(path, PART);
                Sink::Sqlite(store::File::create(part.path())?, part)
            }
            Self::Jsonl(path) => {
                let stage = Partial::beside(path, STAGE);
                let lines = Partial::beside(path, PART);
                Sink::Jsonl { staged: store::File::create(stage.path())?, stage, lines }
            }
            Self::Csv(path) => {
                let part = Partial::beside(path, PART);
                Sink::Csv(csv::Writer::from_writer(create(part.path())?), part)
            }
        })
    }
}

fn create(path: &Path) -> Result<std::fs::File, Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    platform::file_for(Access::Owner, &mut options)
        .open(path)
        .map_err(|error| Failure::io("making", path.display(), &error))
}

/// Pulls the store into the file and returns how many exchanges it holds; where that fails there is no file.
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
    finish(sink, target).await?;
    console.clear();
    Ok(saved)
}

fn take(sink: &mut Sink, table: &str, rows: &mut Rows, part: v1::PullResponse) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::new(format!("saving failed: {error}"));
    if let Sink::Sqlite(file, _) | Sink::Jsonl { staged: file, .. } = sink {
        return file.insert(&part);
    }
    if table != EXCHANGES {
        return Ok(());
    }
    let begins = !part.columns.is_empty();
    if begins {
        rows.columns = part.columns;
    }
    if let Sink::Csv(file, _) = sink {
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

/// Completes the file and puts it in its place.
async fn finish(sink: Sink, target: &Target) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::new(format!("saving failed: {error}"));
    let whole = match sink {
        Sink::Sqlite(file, part) => {
            file.finish()?;
            part
        }
        Sink::Jsonl { staged, stage, lines } => {
            staged.finish()?;
            let wanted = Wanted(Arc::new(AtomicBool::new(true)));
            let still = Arc::clone(&wanted.0);
            // Not on this thread, which hears the second Ctrl-C; the files are that thread's, and go with what it does.
            let written = tokio::task::spawn_blocking(move || {
                write_lines(stage.path(), lines.path(), &still).map(|()| lines)
            });
            let written = written.await;
            drop(wanted);
            written.unwrap_or_else(|error| Err(failed(&error)))?
        }
        Sink::Csv(mut file, part) => {
            file.flush().map_err(|error| failed(&error))?;
            part
        }
    };
    platform::give_to_owner(whole.path());
    whole.becomes(target.path())
}

/// Writes a store's exchanges as `watch -o json` prints them.
fn write_lines(from: &Path, to: &Path, wanted: &AtomicBool) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::new(format!("saving failed: {error}"));
    let mut file = BufWriter::new(create(to)?);
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
        Ok(wanted.load(Ordering::Relaxed))
    })?;
    file.flush().map_err(|error| failed(&error))
}

// === impl Wanted ===

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
