//! How much of a database a session takes, roughly.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error};

/// Bytes a row takes beside its payloads.
const ROW_OVERHEAD: u64 = 600;

/// Bytes that the row of a hop takes.
const HOP_ROW_BYTES: u64 = 130;

/// Exchanges at each end of a session whose hops are counted: there may be a hundred times as many rows of hops as
/// exchanges, and counting them all would take as long as writing them.
const COUNTED: u64 = 512;

/// Returns the bytes of a session's exchanges and their hops.
pub(super) async fn of(connection: &mut Conn, session: &str) -> Result<u64, Error> {
    let all = "SELECT COUNT(*), CAST(COALESCE(SUM(COALESCE(OCTET_LENGTH(request), 0)
        + COALESCE(OCTET_LENGTH(response), 0)), 0) AS UNSIGNED) FROM exchanges WHERE session = ?";
    let found: Option<(u64, u64)> = connection.exec_first(all, (session,)).await?;
    let (exchanges, payloads) = found.unwrap_or_default();
    let mut hops = 0_u64;
    for order in ["ASC", "DESC"] {
        let part = format!(
            "SELECT COUNT(*) FROM (SELECT id FROM exchanges WHERE session = ?
             ORDER BY start_ns {order}, id {order} LIMIT {COUNTED}) AS counted
             JOIN hops ON hops.session = ? AND hops.exchange_id = counted.id"
        );
        let found: Option<u64> = connection.exec_first(part, (session, session)).await?;
        hops = hops.saturating_add(found.unwrap_or_default());
    }
    Ok(size(exchanges, payloads, hops))
}

/// The size where so many hops were counted at both ends.
fn size(exchanges: u64, payloads: u64, counted_hops: u64) -> u64 {
    let counted = exchanges.min(COUNTED).saturating_mul(2).max(1);
    let hops = counted_hops.saturating_mul(exchanges) / counted;
    payloads
        .saturating_add(exchanges.saturating_mul(ROW_OVERHEAD))
        .saturating_add(hops.saturating_mul(HOP_ROW_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_count_as_many_as_there_are_at_both_ends() {
        assert_eq!(size(0, 0, 0), 0);
        // Few exchanges are counted twice, each with all of its hops.
        assert_eq!(size(3, 100, 2 * 10), 100 + 3 * ROW_OVERHEAD + 10 * HOP_ROW_BYTES);
        // Of many the oldest have 8 and the newest 64.
        let hops = COUNTED * 8 + COUNTED * 64;
        assert_eq!(size(1_000_000, 0, hops), 1_000_000 * (ROW_OVERHEAD + 36 * HOP_ROW_BYTES));
    }
}
