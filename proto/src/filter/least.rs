//! Times and sizes that an exchange has at least.

use std::sync::Arc;

use super::{Test, asked};
use crate::v1;

/// What is measured of an exchange; `None` where it is unknown.
type Measure = fn(&v1::Exchange) -> Option<u64>;

#[derive(Debug)]
struct AtLeast(Vec<(u64, Measure)>);

pub(super) fn compile(filter: &v1::Filter) -> Option<Arc<dyn Test>> {
    let all: [(u64, Measure); 3] = [
        (filter.min_total_ns, |exchange| exchange.segments.as_ref().map(|segments| segments.total_ns)),
        (filter.min_request_bytes, |exchange| exchange.request.as_ref().map(|message| message.bytes)),
        (filter.min_response_bytes, |exchange| exchange.response.as_ref().map(|message| message.bytes)),
    ];
    let least: Vec<_> = all.into_iter().filter(|(least, _)| *least > 0).collect();
    let asks = !least.is_empty();
    asked(AtLeast(least), asks)
}

impl Test for AtLeast {
    fn passes(&self, exchange: &v1::Exchange) -> bool {
        self.0.iter().all(|(least, of)| of(exchange).is_some_and(|found| found >= *least))
    }
}
