//! Which commands client libraries send by themselves when they connect, to find out what the server can do.
//!
//! Source: the connection code of redis-py 8.1, node-redis 6 and ioredis 6. What go-redis, jedis, lettuce,
//! StackExchange.Redis and `redis-cli` send is as their documentation tells. Servers that are older than the library
//! refuse part of it.

use super::request::Command;

/// What a command says of the connection's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandshakeStep {
    /// It asks what the server can do: that it cannot is no fault.
    Probe,
    /// Libraries send it when they connect, and it must succeed.
    Login,
    /// The connection is in use.
    Other,
}

/// Commands that probe, and with which next words; none: with any, or without.
const PROBE_COMMANDS: &[(&[u8], &[&[u8]])] = &[
    (b"HELLO", &[]),
    (
        b"CLIENT",
        &[
            b"SETINFO",
            b"SETNAME",
            b"MAINT_NOTIFICATIONS",
            b"CAPA",
            b"NO-EVICT",
            b"NO-TOUCH",
            b"TRACKING",
            b"CACHING",
            b"ID",
            b"INFO",
        ],
    ),
    (b"COMMAND", &[]),
    (b"CLUSTER", &[b"INFO", b"MYID", b"MYSHARDID", b"NODES", b"SHARDS", b"SLOTS"]),
    (
        b"SENTINEL",
        &[
            b"GET-MASTER-ADDR-BY-NAME",
            b"MASTER",
            b"MASTERS",
            b"PRIMARIES",
            b"PRIMARY",
            b"REPLICAS",
            b"SENTINELS",
            b"SLAVES",
        ],
    ),
    (b"CONFIG", &[b"GET"]),
    (b"INFO", &[]),
    (b"MODULE", &[b"LIST"]),
    (b"READONLY", &[]),
    (b"READWRITE", &[]),
    (b"ROLE", &[]),
];

/// Commands of the log-in that are no probes.
const LOGIN_COMMANDS: &[&[u8]] = &[b"AUTH", b"CLIENT", b"ECHO", b"PING", b"RESET", b"SELECT"];

/// Errors by which a server says that it does not know what it is asked, or that the user may not ask: the library goes
/// on without. All others, as of a wrong password, are errors also where they answer a probe.
const REFUSALS: &[&str] = &["ERR", "NOPERM", "NOPROTO", "UNKNOWN"];

/// Tells what `command` says of the connection's beginning.
pub(super) fn step(command: &Command) -> HandshakeStep {
    let probe = PROBE_COMMANDS.iter().find(|(name, _)| command.is(0, name));
    if probe.is_some_and(|(_, next)| next.is_empty() || next.iter().any(|word| command.is(1, word))) {
        HandshakeStep::Probe
    } else if LOGIN_COMMANDS.iter().any(|name| command.is(0, name)) {
        HandshakeStep::Login
    } else {
        HandshakeStep::Other
    }
}

/// Tells whether an error with this code means that a server does not offer what it was asked for.
pub(super) fn is_refusal(code: &str) -> bool {
    REFUSALS.contains(&code)
}
