//! What makes traffic: small clients over std's sockets, whose every byte a test knows.

pub mod dns;
pub mod http;
pub mod mysql;
pub mod paused;
pub mod redis;
pub mod socket;
