//! Exchanges and results as text.

pub(crate) mod detail;
pub(crate) mod fit;
pub(crate) mod json;
pub(crate) mod line;
pub(crate) mod path;
pub(crate) mod result;
pub(crate) mod screen;
pub(crate) mod session;
pub(crate) mod stat;
pub(crate) mod stored;
pub(crate) mod summary;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod units;
pub(crate) mod unseen;

#[cfg(test)]
pub(crate) mod samples;
