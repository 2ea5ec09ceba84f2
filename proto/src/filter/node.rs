//! Nodes by name.

use std::sync::Arc;

use super::{Test, among, asked};
use crate::v1;

#[derive(Debug)]
struct Nodes(Vec<String>);

pub(super) fn compile(filter: &v1::Filter) -> Option<Arc<dyn Test>> {
    asked(Nodes(filter.nodes.clone()), !filter.nodes.is_empty())
}

impl Test for Nodes {
    fn passes(&self, exchange: &v1::Exchange) -> bool {
        exchange.origin.as_ref().is_some_and(|origin| among(&self.0, &origin.node))
    }

    fn wants_node(&self, node: &str) -> bool {
        among(&self.0, node)
    }
}
