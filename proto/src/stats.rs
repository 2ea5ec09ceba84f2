//! What sums are made of, for whoever counts: hubs count what they are sent, capturers where sums alone are wanted.

mod distribution;
mod fold;
mod group;
mod metric;

pub use self::distribution::{Distribution, RELATIVE_ERROR, UnlikeSketches};
pub use self::fold::{FoldRules, Folded, FoldingError};
pub use self::group::{GroupField, MAX_KEY_CHARS, UnknownField};
pub use self::metric::{UnknownMetric, read as metrics, value};
