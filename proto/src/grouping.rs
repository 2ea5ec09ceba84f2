//! Fields to group by, as statistics are asked for.

use crate::v1::grouping::Field;
use crate::v1::{CommonField, Grouping, ProtocolField};

// === impl Grouping ===

impl Grouping {
    /// Groups by what exchanges of every protocol have.
    #[must_use]
    pub fn common(field: CommonField) -> Self {
        Self { field: Some(Field::Common(field.into())) }
    }

    /// Groups by the attribute `name` of one protocol.
    #[must_use]
    pub fn own(protocol: &str, name: &str) -> Self {
        let field = ProtocolField { protocol: protocol.to_owned(), name: name.to_owned() };
        Self { field: Some(Field::Own(field)) }
    }
}
