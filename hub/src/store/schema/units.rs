//! The unit of losses that an earlier version recorded without one.

use proto::account::{Stage, Unit};

use super::{Dialect, LOSSES};

/// Statements that write the unit of stages that lose in one alone; `gap` and `map` lose in both, and their rows are
/// sums that cannot be told apart any more.
pub(super) fn of_stages(dialect: Dialect) -> Vec<String> {
    // A hub of this version may have recorded the same total already.
    let verb = match dialect {
        Dialect::Sqlite => "UPDATE OR IGNORE",
        Dialect::Mysql => "UPDATE IGNORE",
    };
    let of = |unit: Unit| {
        let stages = Stage::ALL.into_iter().filter(|stage| stage.unit() == Some(unit));
        let words: Vec<String> = stages.map(|stage| format!("'{}'", stage.word())).collect();
        let (table, unit, words) = (LOSSES.name, unit.plural(), words.join(", "));
        format!("{verb} {table} SET unit = '{unit}' WHERE unit = '' AND stage IN ({words})")
    };
    // Seconds were not counted before.
    [Unit::Event, Unit::Exchange].into_iter().map(of).collect()
}
