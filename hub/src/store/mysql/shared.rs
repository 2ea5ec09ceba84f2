//! What several hubs of a session agree on through their database.

use std::sync::Arc;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, TxOpts};
use proto::id;
use tokio::sync::Mutex;

use super::super::earlier;
use super::super::{StoreError, row};
use super::conflict::Tries;
use super::{Target, migrate, store_error};

/// The tables of a session as all of its hubs see them.
#[derive(Clone, Debug)]
pub struct Shared {
    target: Target,
    session: String,
    /// Held while a slot is claimed.
    turns: Arc<Mutex<()>>,
}

// === impl Shared ===

impl Shared {
    /// Names the database; each call connects anew, since calls are rare.
    pub fn new(url: &str, session: &str) -> Result<Self, StoreError> {
        Ok(Self { target: Target::parse(url)?, session: session.to_owned(), turns: Arc::default() })
    }

    /// Claims a slot that no capturer process of this session had before, and notes it as the node's; `None` when all
    /// were given.
    ///
    /// The unique key over session and slot decides between hubs that claim at once.
    pub async fn claim(&self, node: &str, kernel: &str, version: &str) -> Result<Option<u16>, StoreError> {
        // Of the claims of one hub none loses to another.
        let _turn = self.turns.lock().await;
        let mut connection = self.target.connect().await?;
        migrate(&mut connection).await?;
        let mut tries = Tries::of_key();
        let claimed = loop {
            let claimed = self.claim_once(&mut connection, (node, kernel, version)).await;
            if !tries.again(&claimed) {
                break claimed;
            }
            tries.pause().await;
        };
        let slot = claimed.map_err(|error| store_error(&error))?;
        drop(connection.disconnect().await);
        Ok(slot.and_then(|slot| u16::try_from(slot).ok()))
    }

    async fn claim_once(
        &self,
        connection: &mut Conn,
        (node, kernel, version): (&str, &str, &str),
    ) -> Result<Option<u64>, Error> {
        let session = self.session.as_str();
        let mut transaction = connection.start_transaction(TxOpts::default()).await?;
        let newest = "SELECT MAX(slot) FROM capturers WHERE session = ?";
        let slot = transaction.exec_first::<Option<u64>, _, _>(newest, (session,)).await?.flatten();
        let (first, last) = earlier::signed(&id::ALL).into_inner();
        let newest =
            transaction.exec_first::<Option<u64>, _, _>(earlier::NEWEST_ID, (session, first, last)).await?;
        let used = slot.into_iter().chain(newest.flatten().map(|id| u64::from(id::Base::from(id).slot)));
        let free = used.max().map_or(0, |slot| slot.saturating_add(1));
        if free >= u64::from(id::MAX_SLOTS) {
            return Ok(None);
        }
        let now = row::time(crate::clock::epoch_ns(), super::Dialect::Mysql);
        let old = "SELECT slot FROM capturers WHERE session = ? AND node = ?";
        if transaction.exec_first::<u64, _, _>(old, (session, node)).await?.is_some() {
            let update = "UPDATE capturers SET slot = ?, kernel = ?, version = ?, last_seen = ?
                          WHERE session = ? AND node = ?";
            transaction.exec_drop(update, (free, kernel, version, &now, session, node)).await?;
        } else {
            let insert = "INSERT INTO capturers
                          (session, node, slot, kernel, version, first_seen, last_seen)
                          VALUES (?, ?, ?, ?, ?, ?, ?)";
            transaction.exec_drop(insert, (session, node, free, kernel, version, &now, &now)).await?;
        }
        transaction.commit().await?;
        Ok(Some(free))
    }

    /// Counts the exchanges of some slots.
    pub async fn count(&self, slots: &[u16]) -> Result<u64, StoreError> {
        let mut connection = self.target.connect().await?;
        let mut sum = 0_u64;
        for slot in slots {
            let (first, last) = earlier::signed(&id::of_slot(*slot)).into_inner();
            let sql = "SELECT COUNT(*) FROM exchanges WHERE session = ? AND id BETWEEN ? AND ?";
            let count = connection.exec_first::<u64, _, _>(sql, (self.session.as_str(), first, last)).await;
            sum = sum.saturating_add(count.map_err(|error| store_error(&error))?.unwrap_or(0));
        }
        drop(connection.disconnect().await);
        Ok(sum)
    }
}
