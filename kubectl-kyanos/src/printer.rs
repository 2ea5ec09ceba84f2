//! Standard output, written by a thread of its own: a slow reader must not keep the plugin from hearing signals.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proto::v1;
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::render::screen::Screen;
use crate::render::{detail, json};
use crate::stdout::terminal_size;

/// Batches that wait to be printed; what comes beyond waits in the hub, which counts what it drops.
const QUEUED_BATCHES: usize = 8;

/// Bytes gathered before they are written when more is waiting.
const BUFFER_BYTES: usize = 256 * 1024;

/// Longest that printing the rest may take at the end.
const LAST_PRINT_TIMEOUT: Duration = Duration::from_secs(3);

/// How exchanges are written.
#[derive(Debug)]
pub(crate) enum Style {
    /// One JSON object per line.
    Json,
    /// One aligned line each.
    Lines(Screen),
    /// A block each; payload bytes shown.
    Blocks(Screen, Option<usize>),
}

/// What a printer writes and where.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Form on standard output.
    pub(crate) style: Style,
    /// JSON form.
    pub(crate) json: json::JsonRenderer,
    /// File that gets the JSON form too.
    pub(crate) file: Option<(PathBuf, File)>,
}

/// The end of the printing thread.
#[derive(Debug)]
enum Ended {
    /// Everything is written.
    Done,
    /// Nobody reads standard output any more.
    Closed,
    /// Writing failed otherwise.
    Failed(Failure),
}

/// What is printed.
#[derive(Debug)]
enum Item {
    Exchanges(Vec<v1::Exchange>),
    /// A line of JSON, which goes where JSON goes.
    Notice(Vec<u8>),
}

/// Prints exchanges in the order given.
#[derive(Debug)]
pub(crate) struct Printer {
    sender: Option<mpsc::Sender<Item>>,
    ended: tokio::sync::oneshot::Receiver<Ended>,
    printed: Arc<AtomicU64>,
}

// === impl Printer ===

impl Printer {
    /// Starts the thread.
    pub(crate) fn start(settings: Settings) -> Self {
        let (sender, batches) = mpsc::channel(QUEUED_BATCHES);
        let (end, ended) = tokio::sync::oneshot::channel();
        let printed = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&printed);
        std::thread::spawn(move || {
            let how = Writer::new(settings, counter).run(batches);
            end.send(how).ok();
        });
        Self { sender: Some(sender), ended, printed }
    }

    /// Exchanges printed so far.
    pub(crate) fn printed(&self) -> u64 {
        self.printed.load(Ordering::Relaxed)
    }

    /// Waits until a batch can be given; `false` when printing has ended.
    pub(crate) async fn ready(&self) -> bool {
        match &self.sender {
            Some(sender) => sender.reserve().await.is_ok(),
            None => false,
        }
    }

    /// Waits until printing has ended by itself.
    pub(crate) async fn ended(&self) {
        match &self.sender {
            Some(sender) => sender.closed().await,
            None => std::future::pending().await,
        }
    }

    /// Gives a batch, for which there is room after [`Printer::ready`].
    pub(crate) fn print(&self, exchanges: Vec<v1::Exchange>) -> bool {
        self.sender.as_ref().is_some_and(|sender| sender.try_send(Item::Exchanges(exchanges)).is_ok())
    }

    /// Gives a line about what happens to the session; `false` where there is no room for it.
    pub(crate) fn notice(&self, line: Vec<u8>) -> bool {
        self.sender.as_ref().is_some_and(|sender| sender.try_send(Item::Notice(line)).is_ok())
    }

    /// Waits until everything given is written; says whether it was.
    pub(crate) async fn close(&mut self) -> Result<bool, Failure> {
        self.sender = None;
        match tokio::time::timeout(LAST_PRINT_TIMEOUT, &mut self.ended).await {
            Ok(Ok(Ended::Done)) => Ok(true),
            Ok(Ok(Ended::Failed(failure))) => Err(failure),
            Ok(Ok(Ended::Closed) | Err(_)) | Err(_) => Ok(false),
        }
    }
}

struct Writer {
    settings: Settings,
    out: BufWriter<std::io::Stdout>,
    file: Option<(PathBuf, BufWriter<File>)>,
    buffer: Vec<u8>,
    /// Exchanges that are not flushed yet.
    unflushed: u64,
    printed: Arc<AtomicU64>,
}

// === impl Writer ===

impl Writer {
    fn new(mut settings: Settings, printed: Arc<AtomicU64>) -> Self {
        let file =
            settings.file.take().map(|(path, file)| (path, BufWriter::with_capacity(BUFFER_BYTES, file)));
        let out = BufWriter::with_capacity(BUFFER_BYTES, std::io::stdout());
        Self { settings, out, file, buffer: Vec::new(), unflushed: 0, printed }
    }

    fn run(mut self, mut batches: mpsc::Receiver<Item>) -> Ended {
        // A stream that brings nothing yet shows that it is there.
        if let Err(end) = self.begin() {
            return end;
        }
        while let Some(item) = batches.blocking_recv() {
            let written = match item {
                Item::Exchanges(batch) => self.batch(&batch),
                Item::Notice(line) => self.notice(&line),
            };
            if let Err(end) = written {
                return end;
            }
            // Nothing waits: what is there is shown at once.
            if batches.is_empty()
                && let Err(end) = self.flush()
            {
                return end;
            }
        }
        match self.flush() {
            Ok(()) => Ended::Done,
            Err(end) => end,
        }
    }

    fn begin(&mut self) -> Result<(), Ended> {
        self.measure();
        let (Style::Lines(screen) | Style::Blocks(screen, _)) = &mut self.settings.style else {
            return Ok(());
        };
        let Some(titles) = screen.titles("") else { return Ok(()) };
        writeln!(self.out, "{titles}").and_then(|()| self.out.flush()).map_err(|error| ended(&error))
    }

    /// Looks how large the terminal is now.
    fn measure(&mut self) {
        if let Style::Lines(screen) | Style::Blocks(screen, _) = &mut self.settings.style
            && let Some(size) = terminal_size()
        {
            screen.measured(size);
        }
    }

    fn batch(&mut self, batch: &[v1::Exchange]) -> Result<(), Ended> {
        self.measure();
        for exchange in batch {
            self.buffer.clear();
            if self.file.is_some() || matches!(self.settings.style, Style::Json) {
                let rendered = self.settings.json.line(exchange, &mut self.buffer);
                rendered
                    .map_err(|error| Ended::Failed(Failure::new(format!("writing JSON failed: {error}"))))?;
            }
            if let Some((path, file)) = &mut self.file {
                file.write_all(&self.buffer).map_err(|error| file_failed(path, &error))?;
            }
            let out = &mut self.out;
            let written = match &mut self.settings.style {
                Style::Json => out.write_all(&self.buffer),
                Style::Lines(screen) => show(out, screen, &screen.renderer().line(exchange)),
                Style::Blocks(screen, bytes) => {
                    let line = screen.renderer().line(exchange);
                    let block = detail::block(exchange, *bytes, screen.width());
                    show(out, screen, &format!("{line}\n{block}"))
                }
            };
            written.map_err(|error| ended(&error))?;
        }
        self.unflushed += batch.len() as u64;
        Ok(())
    }

    fn notice(&mut self, line: &[u8]) -> Result<(), Ended> {
        if let Some((path, file)) = &mut self.file {
            file.write_all(line).map_err(|error| file_failed(path, &error))?;
        }
        if matches!(self.settings.style, Style::Json) {
            self.out.write_all(line).map_err(|error| ended(&error))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Ended> {
        if let Some((path, file)) = &mut self.file {
            file.flush().map_err(|error| file_failed(path, &error))?;
        }
        self.out.flush().map_err(|error| ended(&error))?;
        self.printed.fetch_add(std::mem::take(&mut self.unflushed), Ordering::Relaxed);
        Ok(())
    }
}

/// Writes a text below the titles, which are repeated where it would push them away.
fn show(out: &mut impl Write, screen: &mut Screen, text: &str) -> std::io::Result<()> {
    if let Some(titles) = screen.titles(text) {
        writeln!(out, "{titles}")?;
    }
    writeln!(out, "{text}")
}

fn ended(error: &std::io::Error) -> Ended {
    if error.kind() == ErrorKind::BrokenPipe {
        return Ended::Closed;
    }
    Ended::Failed(Failure::new(format!("writing to standard output failed: {error}")))
}

fn file_failed(path: &Path, error: &std::io::Error) -> Ended {
    Ended::Failed(
        Failure::io("writing to", path.display(), error).hint("choose another file for `--json-output`"),
    )
}
