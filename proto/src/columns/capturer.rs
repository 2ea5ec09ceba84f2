//! The columns of table `capturers`: one row per node that had a capturer.

use super::{Cell, Column, Field, Kind, SESSION, columns};

/// A node's capturer and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct CapturerSource<'a> {
    /// Session name.
    pub session: &'a str,
    /// Node name.
    pub node: &'a str,
    /// Slot in the upper bits of the node's exchange ids.
    pub slot: u16,
    /// Kernel release; empty where it is not known.
    pub kernel: &'a str,
    /// Capturer version; empty where it is not known.
    pub version: &'a str,
    /// First heard of, nanoseconds since the Unix epoch.
    pub first_seen_ns: u64,
    /// Last heard of, nanoseconds since the Unix epoch.
    pub last_seen_ns: u64,
}

/// Takes a cell.
pub type GetCapturer = for<'a> fn(CapturerSource<'a>) -> Cell<'a>;

/// A column of capturers; nothing reads them back.
pub type CapturerField = Field<GetCapturer, ()>;

/// The columns with how each is taken.
pub const FIELDS: &[CapturerField] = &[
    field(SESSION, |of| Cell::Text(of.session)),
    field(Column::required("node", Kind::Name, "Node name"), |of| Cell::Text(of.node)),
    field(Column::required("slot", Kind::Count, "Upper 15 bits of the node's exchange identifiers"), |of| {
        Cell::Number(of.slot.into())
    }),
    field(Column::optional("kernel", Kind::Name, "Kernel release"), |of| Cell::text(of.kernel)),
    field(Column::optional("version", Kind::Name, "Capturer version"), |of| Cell::text(of.version)),
    field(Column::required("first_seen", Kind::Time, "When the hub first heard of it"), |of| {
        Cell::Time(of.first_seen_ns)
    }),
    field(Column::required("last_seen", Kind::Time, "When the hub last heard of it"), |of| {
        Cell::Time(of.last_seen_ns)
    }),
];

/// The columns alone.
pub const COLUMNS: &[Column] = &columns::<GetCapturer, (), { FIELDS.len() }>(FIELDS);

const fn field(column: Column, get: GetCapturer) -> CapturerField {
    Field { column, get, set: None }
}
