//! What a store never answered for, given to whoever pulls it: a file is made of it, which needs no store.

use std::sync::Arc;

use proto::v1;
use proto::v1::value::Kind;

use super::Writer;
use super::spool::Read;
use crate::store::row::{self, Cell};
use crate::store::schema::{CAPTURERS, Dialect, EXCHANGES, HOPS, LOSSES, Table};
use crate::store::{CHUNK_BYTES, CHUNK_ROWS, CapturerRow, LossRow, PullSink, Scope, StoreError};

/// All that a session has, since its store has nothing.
struct Held {
    /// Exchanges on disk, which are older.
    spooled: u64,
    /// Exchanges in memory.
    exchanges: Vec<Arc<v1::Exchange>>,
    capturers: Vec<CapturerRow>,
    losses: Vec<LossRow>,
    abandoned: u64,
}

/// The writer leaves what waits alone while this is there.
struct Holding<'a>(&'a Writer);

/// Rows of one table on their way to a sink.
struct Sending<'a> {
    table: &'a Table,
    total_rows: u64,
    rows: Vec<v1::Row>,
    bytes: usize,
    sink: &'a PullSink,
}

/// Whoever pulled is gone.
struct Gone;

// === impl Writer ===

impl Writer {
    /// Streams what waits for a store that never answered, as a pull of that store would; false where it has answered by
    /// now and is to be asked itself. Once all of it was taken it counts as stored where it is `handed_over`, and the
    /// store gets none of it.
    pub async fn pull_waiting(
        &self,
        scope: &Scope,
        handed_over: bool,
        sink: &PullSink,
    ) -> Result<bool, StoreError> {
        let holding = Holding::of(self);
        let Some(held) = holding.held().await else { return Ok(false) };
        let damaged = match self.stream(scope, &held, sink).await {
            Ok(Ok(damaged)) => damaged,
            Ok(Err(Gone)) => return Ok(true),
            Err(error) => return Err(StoreError::Embedded { doing: "reading", reason: error.to_string() }),
        };
        if handed_over {
            let mut queue = self.shared.queue();
            if queue.abandoned == held.abandoned {
                queue.damaged(damaged);
                // What came since goes on waiting.
                queue.totals.stored += queue.hand_over(held.exchanges.len());
                queue.capturers.clear();
                queue.losses.clear();
            }
            drop(queue);
            self.shared.settle();
        }
        Ok(true)
    }

    /// Sends all tables; returns how many exchanges could not be read.
    async fn stream(
        &self,
        scope: &Scope,
        held: &Held,
        sink: &PullSink,
    ) -> std::io::Result<Result<u64, Gone>> {
        let dialect = Dialect::Sqlite;
        let total = held.spooled + held.exchanges.len() as u64;
        let mut exchanges = Sending::of(&EXCHANGES, total, sink);
        let of_exchange = |one: &v1::Exchange| vec![values(row::exchange(scope, dialect, one))];
        let Ok(damaged) = self.each(held, &mut exchanges, of_exchange).await? else { return Ok(Err(Gone)) };
        let mut hops = Sending::of(&HOPS, 0, sink);
        let of_hops =
            |one: &v1::Exchange| row::hops(scope, dialect, one).into_iter().map(values).collect::<Vec<_>>();
        if self.each(held, &mut hops, of_hops).await?.is_err() {
            return Ok(Err(Gone));
        }
        let capturers =
            held.capturers.iter().map(|one| values(row::capturer(scope, dialect, one))).collect::<Vec<_>>();
        let losses = held.losses.iter().map(|one| values(row::loss(scope, dialect, one))).collect::<Vec<_>>();
        for (table, rows) in [(&CAPTURERS, capturers), (&LOSSES, losses)] {
            let mut to = Sending::of(table, rows.len() as u64, sink);
            if to.begin().await.is_err() || to.add(rows).await.is_err() || to.end().await.is_err() {
                return Ok(Err(Gone));
            }
        }
        Ok(Ok(damaged))
    }

    /// Sends the rows that each exchange makes, of those on disk first; returns how many exchanges could not be read.
    async fn each(
        &self,
        held: &Held,
        to: &mut Sending<'_>,
        make: impl Fn(&v1::Exchange) -> Vec<(v1::Row, usize)>,
    ) -> std::io::Result<Result<u64, Gone>> {
        if to.begin().await.is_err() {
            return Ok(Err(Gone));
        }
        let (mut before, mut left, mut unread) = (0, held.spooled, 0);
        while left > 0 {
            let abandoned = held.abandoned;
            let read = self
                .shared
                .on_disk(move |spool| Ok(spool.at(abandoned).and_then(|spool| spool.read(before))));
            let Some(Read { exchanges, damaged }) = read.await? else {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            };
            before += 1;
            unread += damaged as u64;
            left = left.saturating_sub((exchanges.len() + damaged) as u64);
            for exchange in &exchanges {
                if to.add(make(exchange)).await.is_err() {
                    return Ok(Err(Gone));
                }
            }
        }
        for exchange in &held.exchanges {
            if to.add(make(exchange)).await.is_err() {
                return Ok(Err(Gone));
            }
        }
        Ok(to.end().await.map(|()| unread))
    }
}

// === impl Holding ===

impl<'a> Holding<'a> {
    fn of(writer: &'a Writer) -> Self {
        writer.shared.queue().holders += 1;
        Self(writer)
    }

    /// Stops the writer from taking anything; `None` where the store has answered by now.
    async fn held(&self) -> Option<Held> {
        let shared = &self.0.shared;
        let mut settled = shared.settled.subscribe();
        loop {
            settled.mark_unchanged();
            // Nothing is written before this is known: what was taken before it was held was taken of a store that answers.
            if self.0.has_answered() {
                return None;
            }
            {
                let queue = shared.queue();
                if queue.spilling == 0 {
                    return Some(Held {
                        spooled: queue.spooled,
                        exchanges: queue.exchanges.iter().map(|(_, one)| Arc::clone(one)).collect(),
                        capturers: queue.capturers.clone(),
                        losses: queue.losses.iter().cloned().collect(),
                        abandoned: queue.abandoned,
                    });
                }
            }
            settled.changed().await.ok()?;
        }
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        self.0.shared.queue().holders -= 1;
        self.0.shared.filled.notify_one();
    }
}

// === impl Sending ===

impl<'a> Sending<'a> {
    fn of(table: &'a Table, total_rows: u64, sink: &'a PullSink) -> Self {
        Self { table, total_rows, rows: Vec::new(), bytes: 0, sink }
    }

    async fn begin(&self) -> Result<(), Gone> {
        self.send(self.table.column_names().map(str::to_owned).collect(), Vec::new()).await
    }

    async fn add(&mut self, rows: Vec<(v1::Row, usize)>) -> Result<(), Gone> {
        for (row, bytes) in rows {
            self.rows.push(row);
            self.bytes = self.bytes.saturating_add(bytes);
            if self.rows.len() >= CHUNK_ROWS || self.bytes >= CHUNK_BYTES {
                self.end().await?;
            }
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<(), Gone> {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() { Ok(()) } else { self.send(Vec::new(), rows).await }
    }

    async fn send(&self, columns: Vec<String>, rows: Vec<v1::Row>) -> Result<(), Gone> {
        let (table, total_rows) = (self.table.name.to_owned(), self.total_rows);
        let response = v1::PullResponse { table, columns, rows, total_rows };
        self.sink.send(Ok(response)).await.map_err(|_closed| Gone)
    }
}

/// A row as it goes over the wire, and the bytes that it takes.
fn values(cells: Vec<Cell<'_>>) -> (v1::Row, usize) {
    let bytes = row::size(&cells);
    let values = cells.into_iter().map(|cell| {
        let kind = match cell {
            Cell::Null => None,
            Cell::Integer(value) => Some(Kind::Integer(value)),
            Cell::Text(text) => Some(Kind::Text(text.into_owned())),
            Cell::Bytes(bytes) => Some(Kind::Blob(bytes.to_vec())),
        };
        v1::Value { kind }
    });
    (v1::Row { values: values.collect() }, bytes)
}
