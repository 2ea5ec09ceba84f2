//! The side of the connection that the process is.

use std::sync::Arc;

use super::{FilterError, Test, asked};
use crate::v1;

#[derive(Debug)]
struct Side(v1::Side);

pub(super) fn compile(filter: &v1::Filter) -> Result<Option<Arc<dyn Test>>, FilterError> {
    let side = v1::Side::try_from(filter.side)
        .map_err(|error| FilterError::new("side", &filter.side, format!("unknown side ({error})")))?;
    Ok(asked(Side(side), side != v1::Side::Unspecified))
}

impl Test for Side {
    fn passes(&self, exchange: &v1::Exchange) -> bool {
        exchange.side() == self.0
    }
}
