//! The columns of table `hops`: one row per place an exchange was seen at.

use super::found::Found;
use super::{Cell, Column, Field, Kind, SESSION, columns};
use crate::{hop, v1};

/// A hop and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct HopSource<'a> {
    /// Session name.
    pub session: &'a str,
    /// The exchange's identifier.
    pub exchange: u64,
    /// Its number among the exchange's hops.
    pub seq: u64,
    /// The hop.
    pub hop: &'a v1::Hop,
}

/// Takes a cell.
pub type GetHop = for<'a> fn(HopSource<'a>) -> Cell<'a>;

/// Puts a stored value back.
pub type SetHop = fn(&mut v1::Hop, Found<'_>);

/// A column of hops.
pub type HopField = Field<GetHop, SetHop>;

/// The columns with how each is taken and put back.
pub const FIELDS: &[HopField] = &[
    whose(SESSION, |of| Cell::Text(of.session)),
    whose(Column::required("exchange_id", Kind::Id, "Identifier of the exchange"), |of| {
        Cell::Number(of.exchange)
    }),
    whose(Column::required("seq", Kind::Count, "Number among the exchange's hops, from 0"), |of| {
        Cell::Number(of.seq)
    }),
    field(
        Column::required("at_ns", Kind::Signed, "Nanoseconds since the exchange's start"),
        |of| Cell::Signed(of.hop.at_ns),
        |to, found| to.at_ns = found.signed().unwrap_or_default(),
    ),
    field(
        Column::required("place", Kind::Choice(16, &hop::PLACE_WORDS), "Kind of place"),
        |of| Cell::Text(hop::place_word(of.hop.place())),
        |to, found| to.place = hop::place_named(&found.text()).into(),
    ),
    field(
        Column::optional("name", Kind::Name, "Name of the place, such as the interface"),
        |of| Cell::text(&of.hop.name),
        |to, found| to.name = found.text(),
    ),
    field(
        Column::optional("netns", Kind::Positive, "Inode of the network namespace"),
        |of| Cell::known(of.hop.netns.into()),
        |to, found| to.netns = found.small().unwrap_or_default(),
    ),
    field(
        Column::optional("direction", Kind::Choice(8, &hop::DIRECTION_WORDS), "Direction of the bytes"),
        |of| Cell::text(hop::direction_word(of.hop.direction())),
        |to, found| to.direction = hop::direction_named(&found.text()).into(),
    ),
    field(
        Column::optional("message", Kind::Choice(16, &hop::MESSAGE_WORDS), "Which message"),
        |of| Cell::text(hop::message_word(of.hop.message())),
        |to, found| to.message = hop::message_named(&found.text()).into(),
    ),
    field(
        Column::optional("bytes", Kind::Count, "Bytes carried"),
        |of| Cell::Number(of.hop.bytes),
        |to, found| to.bytes = found.number().unwrap_or_default(),
    ),
];

/// The columns alone.
pub const COLUMNS: &[Column] = &columns::<GetHop, SetHop, { FIELDS.len() }>(FIELDS);

const fn field(column: Column, get: GetHop, set: SetHop) -> HopField {
    Field { column, get, set: Some(set) }
}

/// A column that says whose hop it is.
const fn whose(column: Column, get: GetHop) -> HopField {
    Field { column, get, set: None }
}
