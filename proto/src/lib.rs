//! Wire types of `kyanos.v1`, the account, the columns of an exchange, its id and the filter that all ends share, and how
//! local children are launched.

pub mod account;
pub mod causes;
pub mod columns;
mod encoded;
pub mod ends;
pub mod filter;
mod grouping;
pub mod hop;
pub mod id;
pub mod launch;
pub mod reason;
pub mod refusal;
pub mod selector;
pub mod side;
#[cfg(feature = "stats")]
pub mod stats;
pub mod store_state;
mod words;

/// Revision of the wire; raised at every incompatible change of the `.proto` files.
pub const WIRE_REVISION: u32 = 9;

/// Name in every certificate of a session, and the one that clients verify.
pub const SERVER_NAME: &str = "kyanos";

/// Prefix of the URI subject alternative name that carries a certificate's role.
pub const ROLE_URI_PREFIX: &str = "kyanos://role/";

/// Roles that a certificate can carry after [`ROLE_URI_PREFIX`].
pub mod role {
    /// May call the ingest service only.
    pub const CAPTURER: &str = "capturer";
    /// May call the viewer service only.
    pub const VIEWER: &str = "viewer";
    /// Serves both, and may call the peer service of other hubs.
    pub const HUB: &str = "hub";
}

/// Generated types of package `kyanos.v1`; written by `cargo xtask proto`.
#[rustfmt::skip]
#[allow(missing_docs, clippy::all, clippy::pedantic, clippy::allow_attributes_without_reason, clippy::clone_on_ref_ptr, reason = "generated code")]
pub mod v1 {
    include!("generated/kyanos.v1.rs");
}
