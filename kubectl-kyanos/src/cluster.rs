//! Sessions in a cluster: what is made there, how it is reached, and how it is removed.

pub(crate) mod apply;
pub(crate) mod connect;
pub(crate) mod forward;
pub(crate) mod images;
pub(crate) mod manifests;
pub(crate) mod names;
pub(crate) mod preflight;
pub(crate) mod progress;
pub(crate) mod request;
pub(crate) mod selection;
pub(crate) mod session;
pub(crate) mod sessions;
pub(crate) mod status;
pub(crate) mod teardown;
pub(crate) mod witness;

#[cfg(test)]
mod deployer_tests;
#[cfg(test)]
pub(crate) mod fake_api;

pub(crate) use names::{FIELD_MANAGER, MANAGED_BY, NAMESPACE_PREFIX, SESSION_LABEL};
