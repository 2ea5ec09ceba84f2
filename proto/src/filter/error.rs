//! Errors, with or without those that client libraries meet by themselves.

use std::sync::Arc;

use super::{FilterError, Test, asked};
use crate::v1;

#[derive(Debug)]
struct Errors(v1::Errors);

pub(super) fn compile(filter: &v1::Filter) -> Result<Option<Arc<dyn Test>>, FilterError> {
    let errors = v1::Errors::try_from(filter.errors).map_err(|error| {
        FilterError::new("errors", &filter.errors, format!("unknown kind of errors ({error})"))
    })?;
    Ok(asked(Errors(errors), errors != v1::Errors::Untested))
}

impl Test for Errors {
    fn passes(&self, exchange: &v1::Exchange) -> bool {
        match self.0 {
            v1::Errors::Untested => true,
            v1::Errors::WithoutHandshake => counts_as_error(exchange),
            v1::Errors::All => exchange.error,
        }
    }
}

/// Says whether an exchange is counted among errors: one that a client library met by itself when it connected is not,
/// though it stays marked as an error.
#[must_use]
pub fn counts_as_error(exchange: &v1::Exchange) -> bool {
    exchange.error && !exchange.handshake
}
