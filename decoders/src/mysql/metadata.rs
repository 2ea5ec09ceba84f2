//! The packet that opens a result: how many columns it has, and whether their definitions follow.

use super::login::Agreed;
use super::packet::Packet;
use crate::sql::cursor::Cursor;

/// The longest packet that opens a result: a number, and whether columns follow.
const MAX_COUNT_BYTES: usize = 10;

/// Reads how many columns a result has, and whether their definitions follow.
///
/// `MySQL` says that ahead of the number and `MariaDB` behind it, where that was agreed on.
pub(super) fn column_count(packet: &Packet<'_>, agreed: &mut Agreed) -> Option<(u64, bool)> {
    if agreed.optional_metadata.is_none() && agreed.cache_metadata.is_none() {
        learn_metadata(packet.head, agreed);
    }
    let mut cursor = Cursor::new(packet.head);
    let mut follow = true;
    if agreed.optional_metadata == Some(true) {
        follow = cursor.byte()? != 0;
    }
    let count = cursor.lenenc().filter(|count| *count > 0 && packet.length <= MAX_COUNT_BYTES)?;
    if agreed.cache_metadata == Some(true) {
        follow = cursor.byte().unwrap_or(1) != 0;
    }
    Some((count, follow))
}

/// Tells from the packet that opens a result what was agreed on in a log-in that was not seen.
fn learn_metadata(head: &[u8], agreed: &mut Agreed) {
    let mut cursor = Cursor::new(head);
    let first = cursor.lenenc();
    match (first, cursor.rest()) {
        // One column, and its definition follows, whoever says so.
        (Some(1), [1]) => {}
        (_, []) => (agreed.optional_metadata, agreed.cache_metadata) = (Some(false), Some(false)),
        (Some(0), _) => agreed.optional_metadata = Some(true),
        (Some(count), [0 | 1]) if count > 1 || cursor.rest() == [0] => agreed.cache_metadata = Some(true),
        (Some(1), _) => agreed.optional_metadata = Some(true),
        (Some(_) | None, _) => {}
    }
}
