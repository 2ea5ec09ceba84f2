//! What comes from capturers, on its way to viewers and store.

use std::sync::atomic::Ordering;

use proto::account::{AccountError, Balance};
use proto::v1;

use super::Session;
use super::capturers::{Heard, Judged};

// === impl Session ===

impl Session {
    /// Takes a batch to viewers and store, once; returns the number to acknowledge.
    pub fn take_batch(&self, node: &str, connection: u64, mut batch: v1::Batch) -> Result<u64, AccountError> {
        let (sequence, last) = (batch.sequence, batch.r#final);
        let balances = Balance::read_all(std::mem::take(&mut batch.balances))?;
        let folds = std::mem::take(&mut batch.folds);
        let folded = folds.iter().map(|fold| fold.exchanges).fold(0, u64::saturating_add);
        let exchanges = folded.saturating_add(batch.exchanges.len() as u64);
        let heard = Heard { sequence, last, exchanges, balances };
        if *self.closing.borrow() || self.capturers.judge(node, connection, heard) == Judged::Stale {
            return Ok(self.capturers.taken(node, connection, 0, false));
        }
        if let Some(workloads) = self.workloads.get() {
            workloads.resolve(&mut batch.exchanges);
            // What a hub writes into a store in a watched pod would bring forth more of itself.
            let all = batch.exchanges.len();
            batch.exchanges.retain(|exchange| !workloads.is_about_sessions(exchange));
            let passed_over = (all - batch.exchanges.len()) as u64;
            if passed_over > 0 {
                self.live.pass_over(passed_over);
                if let Some(writer) = &self.writer {
                    writer.pass_over(passed_over);
                }
            }
        }
        let clamped = batch.exchanges.iter().filter(|exchange| exchange.clamped).count();
        self.clamped.fetch_add(clamped as u64, Ordering::Relaxed);
        self.joins.take(batch.exchanges, |exchange| self.remote(exchange), |passed| self.give_on(passed));
        if !folds.is_empty() {
            self.fold(folds);
        }
        Ok(self.capturers.taken(node, connection, sequence, last))
    }

    /// Takes sums to viewers. They are asked for only where nothing is stored.
    fn fold(&self, mut folds: Vec<v1::Fold>) {
        let clamped = folds.iter().map(|fold| fold.clamped).fold(0, u64::saturating_add);
        self.clamped.fetch_add(clamped, Ordering::Relaxed);
        if let Some(workloads) = self.workloads.get() {
            let mut passed_over = 0_u64;
            folds.retain_mut(|fold| {
                let Some(like) = &mut fold.like else { return true };
                workloads.resolve(std::slice::from_mut(like));
                let ours = workloads.is_about_sessions(like);
                passed_over = passed_over.saturating_add(if ours { fold.exchanges } else { 0 });
                !ours
            });
            if passed_over > 0 {
                self.live.pass_over(passed_over);
            }
        }
        self.live.fold(&folds);
    }
}
