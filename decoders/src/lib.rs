//! Protocol decoders: bytes in, exchanges out; no I/O, no clocks, no unsafe.
//!
//! A [`Conversation`] takes the stretches of one connection and gives its [`Exchange`]s. What is the same for every
//! protocol (detection, bounded buffers, losses, resynchronisation, pairing) is written once, in `conversation`; a
//! protocol is one entry in the [`registry()`] and one implementation of the trait in `decoder`.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::string_slice
    )
)]

mod conversation;
mod decoder;
mod dns;
// What `docs/decoders.md` quotes, under the lints of a decoder that is built.
#[cfg(test)]
#[deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::string_slice
)]
mod example;
mod http;
#[cfg(test)]
mod laws;
mod mysql;
mod postgres;
mod queue;
mod reader;
mod redact;
mod redis;
mod registry;
mod sql;
mod tcp;

pub use conversation::{
    Context, Conversation, Direction, Exchange, Message, Outcome, Reason, Transport, Verdict,
};
pub use decoder::{Options, Redaction, Side};
pub use registry::{Comparison, Field, Framing, Protocol, Statuses, registry};
pub use tcp::{Attempt, Ending};
