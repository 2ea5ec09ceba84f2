//! `--save`: the session's store into a file, before the session goes.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use proto::v1;

use crate::client::{Client, next};
use crate::console::Console;
use crate::failure::Failure;
use crate::render::result::Rows;
use crate::session::local::directory::give_to_owner;
use crate::store;

/// The table whose rows JSON and CSV hold.
const EXCHANGES: &str = "exchanges";

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
    Jsonl(BufWriter<std::fs::File>),
    Csv(csv::Writer<std::fs::File>),
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
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            options.open(path).map_err(|error| Failure::io("making", path.display(), &error))
        };
        Ok(match self {
            Self::Sqlite(path) => Sink::Sqlite(store::File::create(path)?),
            Self::Jsonl(path) => Sink::Jsonl(BufWriter::new(create(path)?)),
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
    finish(sink)?;
    console.clear();
    give_to_owner(target.path());
    Ok(saved)
}

fn take(sink: &mut Sink, table: &str, rows: &mut Rows, part: v1::PullResponse) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::new(format!("saving failed: {error}"));
    if let Sink::Sqlite(file) = sink {
        return file.insert(&part);
    }
    if table != EXCHANGES {
        return Ok(());
    }
    let begins = !part.columns.is_empty();
    if begins {
        rows.columns = part.columns;
    }
    match sink {
        Sink::Sqlite(_) => {}
        Sink::Jsonl(file) => {
            for row in &part.rows {
                serde_json::to_writer(&mut *file, &rows.object(row)).map_err(|error| failed(&error))?;
                file.write_all(b"\n").map_err(|error| failed(&error))?;
            }
        }
        Sink::Csv(file) => {
            if begins {
                file.write_record(&rows.columns).map_err(|error| failed(&error))?;
            }
            for row in &part.rows {
                let cells = row.values.iter().map(crate::render::result::csv_cell);
                file.write_record(cells).map_err(|error| failed(&error))?;
            }
        }
    }
    Ok(())
}

fn finish(sink: Sink) -> Result<(), Failure> {
    let failed = |error: &std::io::Error| Failure::new(format!("saving failed: {error}"));
    match sink {
        Sink::Sqlite(file) => file.finish(),
        Sink::Jsonl(mut file) => file.flush().map_err(|error| failed(&error)),
        Sink::Csv(mut file) => file.flush().map_err(|error| failed(&error)),
    }
}
