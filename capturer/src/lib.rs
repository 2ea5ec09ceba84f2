//! The node agent.
//!
//! Kernel events ([`kernel`]) become contiguous streams per connection ([`tracker`]); the decoders find exchanges in
//! them. Where their time went follows from calls ([`marks`]) and [`packets`]: the [`path`] of an exchange is cut into
//! [`segments`]. Whose they are ([`owners`]) follows from processes
//! ([`identity`]) and control groups ([`selection`]), sessions of this program are left out ([`ourselves`]), and what the
//! session wants ([`filter`]) goes to the hub ([`uplink`]) with the totals of everything that was lost ([`ledger`]). The
//! [`pipeline`] is these stages in a row, the [`agent`] drives it.

pub mod agent;
pub mod clock;
pub mod context;
pub mod direction;
pub mod exchange;
pub mod filter;
#[cfg(test)]
mod fixtures;
pub mod folds;
pub mod identity;
pub mod kernel;
pub mod ledger;
pub mod marks;
pub mod ourselves;
pub mod owners;
pub mod packets;
pub mod path;
pub mod pipeline;
pub mod pod;
pub mod segments;
pub mod selection;
pub mod sequence;
pub mod tracker;
pub mod uplink;
