//! One batch into the store, however long that takes.

use std::sync::Arc;

use super::{BACK_OFF_PAUSES, Task};
use crate::store::{Batch, Store, Written};

// === impl Task ===

impl<S: Store> Task<S> {
    /// Writes a batch, however long the store is down; what the database refuses is given up alone.
    pub(super) async fn write(&mut self, batch: &Arc<Batch>) -> Written {
        self.unrecorded = false;
        loop {
            match self.store.write(Arc::clone(batch)).await {
                Ok(written) => {
                    self.took_rows();
                    return written;
                }
                Err(error) if error.is_passing() => {
                    self.down(&error);
                    // Long enough for a lock to pass, short enough not to be seen.
                    tokio::time::sleep(BACK_OFF_PAUSES.0).await;
                    if !self.reach().await {
                        self.unrecorded = true;
                        return refused(batch.exchanges.len());
                    }
                }
                Err(error) => {
                    tracing::warn!(
                        reason = error.to_string(),
                        "the store refused a batch, trying its rows alone"
                    );
                    return self.write_alone(batch).await;
                }
            }
        }
    }

    async fn write_alone(&mut self, batch: &Batch) -> Written {
        let mut sum = Written::default();
        for exchange in &batch.exchanges {
            let one = Batch { exchanges: vec![Arc::clone(exchange)], ..Batch::default() };
            let written = match self.store.write(Arc::new(one)).await {
                Ok(written) => written,
                Err(error) => {
                    tracing::warn!(
                        id = exchange.id,
                        reason = error.to_string(),
                        "the store refused an exchange"
                    );
                    refused(1)
                }
            };
            sum.stored += written.stored;
            sum.ignored += written.ignored;
            sum.refused += written.refused;
            sum.bytes += written.bytes;
        }
        let rest = Batch { exchanges: Vec::new(), ..batch.clone() };
        if !rest.is_empty()
            && let Err(error) = self.store.write(Arc::new(rest)).await
        {
            self.unrecorded = true;
            tracing::warn!(reason = error.to_string(), "the store refused capturers or losses");
        }
        sum
    }
}

fn refused(exchanges: usize) -> Written {
    Written { refused: exchanges as u64, ..Written::default() }
}
