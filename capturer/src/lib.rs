//! The node agent.
//!
//! Kernel events ([`kernel`]) become contiguous streams per connection ([`tracker`]); the decoders find exchanges in
//! them, [`marks`] and [`segments`] say where their time went, [`identity`] and [`selection`] whose they are; what the session wants
//! ([`filter`]) goes to the hub ([`uplink`]) with the totals of everything that was lost ([`ledger`]). [`agent`] drives
//! it all.

pub mod agent;
pub mod clock;
pub mod direction;
pub mod exchange;
pub mod filter;
#[cfg(test)]
mod fixtures;
pub mod identity;
pub mod kernel;
pub mod ledger;
pub mod marks;
pub mod pod;
pub mod segments;
pub mod selection;
pub mod sequence;
pub mod sessions;
pub mod tracker;
pub mod uplink;
