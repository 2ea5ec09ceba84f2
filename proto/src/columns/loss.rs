//! The columns of table `losses`: one row per reading of a loss total that had changed.

use super::{Cell, Column, Field, Kind, SESSION, columns};
use crate::account::{Stage, Unit};

/// A reading and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct LossSource<'a> {
    /// Session name.
    pub session: &'a str,
    /// When the total was read, nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// Node that lost, empty for the hub itself.
    pub node: &'a str,
    /// Where it was lost.
    pub stage: Stage,
    /// What was lost.
    pub unit: Unit,
    /// Total since the session began.
    pub total: u64,
}

/// Takes a cell.
pub type GetLoss = for<'a> fn(LossSource<'a>) -> Cell<'a>;

/// A column of losses; nothing reads them back.
pub type LossField = Field<GetLoss, ()>;

/// The columns with how each is taken.
pub const FIELDS: &[LossField] = &[
    field(SESSION, |of| Cell::Text(of.session)),
    field(
        Column::required("at_ns", Kind::Count, "When it was read, nanoseconds since the Unix epoch"),
        |of| Cell::Number(of.at_ns),
    ),
    field(Column::required("node", Kind::Name, "Node that lost; empty for the hub itself"), |of| {
        Cell::Text(of.node)
    }),
    field(Column::required("stage", Kind::Word(32), "Stage that lost"), |of| Cell::Text(of.stage.word())),
    field(Column::required("total", Kind::Count, "Total since the session began"), |of| {
        Cell::Number(of.total)
    }),
    // Earlier versions added up both units.
    field(
        Column::required(
            "unit",
            Kind::Word(16),
            "What was lost: events, exchanges or seconds; empty in rows of earlier versions where the stage does not tell",
        )
        .since(3),
        |of| Cell::Text(of.unit.plural()),
    ),
];

/// The columns alone.
pub const COLUMNS: &[Column] = &columns::<GetLoss, (), { FIELDS.len() }>(FIELDS);

const fn field(column: Column, get: GetLoss) -> LossField {
    Field { column, get, set: None }
}
