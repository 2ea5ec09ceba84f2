//! Protocols by name.

use std::sync::Arc;

use super::{Test, among, asked};
use crate::v1;

#[derive(Debug)]
struct Protocols(Vec<String>);

pub(super) fn compile(filter: &v1::Filter) -> Option<Arc<dyn Test>> {
    asked(Protocols(filter.protocols.clone()), !filter.protocols.is_empty())
}

impl Test for Protocols {
    fn passes(&self, exchange: &v1::Exchange) -> bool {
        among(&self.0, &exchange.protocol)
    }

    fn wants_protocol(&self, protocol: &str) -> bool {
        among(&self.0, protocol)
    }
}
