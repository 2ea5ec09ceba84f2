//! Protocols by name: which are wanted, and which are not.

use std::sync::Arc;

use super::{Test, among, asked};
use crate::v1;

#[derive(Debug)]
struct Protocols {
    /// Those that are asked for; all where it is empty.
    wanted: Vec<String>,
    /// Those that are left out.
    unwanted: Vec<String>,
}

pub(super) fn compile(filter: &v1::Filter) -> Option<Arc<dyn Test>> {
    let v1::Filter { protocols, without_protocols, .. } = filter;
    let asks = !protocols.is_empty() || !without_protocols.is_empty();
    asked(Protocols { wanted: protocols.clone(), unwanted: without_protocols.clone() }, asks)
}

// === impl Protocols ===

impl Test for Protocols {
    fn passes(&self, exchange: &v1::Exchange) -> bool {
        self.wants_protocol(&exchange.protocol)
    }

    fn wants_protocol(&self, protocol: &str) -> bool {
        among(&self.wanted, protocol) && !self.unwanted.iter().any(|name| name == protocol)
    }
}
