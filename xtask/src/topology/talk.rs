//! One conversation between the containers of a topology.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result};

use super::Topology;
use crate::workload::paused::{self, PausedServer, Pauses, Taken, TcpEnd};

/// What both ends of one connection know when it is over.
#[derive(Clone, Debug)]
pub struct Talk {
    /// First part of every request's path.
    pub name: String,
    /// What each exchange took.
    pub taken: Vec<Taken>,
    /// What the kernel says of the client's end.
    pub client: TcpEnd,
    /// What the kernel says of the server's end.
    pub server: TcpEnd,
    /// What the longest rest of each exchange was in fact.
    pub rested: Vec<Duration>,
}

// === impl Talk ===

impl Talk {
    /// Lets the client ask for `/NAME/NUMBER` so often over one connection; `opened` is called once it is open at
    /// both ends.
    pub fn hold(
        topology: &Topology,
        name: &str,
        requests: usize,
        pauses: Pauses,
        opened: impl FnOnce() + Send,
    ) -> Result<Self> {
        let port = topology.server_port();
        let listen = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).context("listening in a container");
        let mut server = PausedServer::serve(topology.server.run(listen)?, pauses);
        let (taken, client) = topology.client.run(|| {
            let mut stream = paused::connect(topology.target())?;
            server.wait_accepted()?;
            let retransmits_before = paused::retransmits(&stream)?;
            opened();
            let taken = paused::ask(&mut stream, name, requests, pauses)?;
            Ok((taken, TcpEnd { retransmits: paused::retransmits(&stream)?, retransmits_before }))
        })?;
        let known = server.finish()?;
        let at_server = known.before_request_read.iter().zip(&known.handler);
        let rests = taken.iter().zip(at_server);
        let rested =
            rests.map(|(taken, (read, handler))| taken.before_response_read.max(*read).max(*handler));
        let rested = rested.collect();
        Ok(Self { name: name.to_owned(), taken, client, server: known.end, rested })
    }

    /// Returns the median of the longest rests, in milliseconds.
    #[must_use]
    pub fn rested_ms(&self) -> f64 {
        median_ms(self.rested.iter().copied())
    }

    /// Returns the median of what exchanges took, in milliseconds.
    #[must_use]
    pub fn median_ms(&self) -> f64 {
        median_ms(self.taken.iter().map(|taken| taken.total))
    }
}

fn median_ms(durations: impl Iterator<Item = Duration>) -> f64 {
    let mut all: Vec<f64> = durations.map(|duration| duration.as_secs_f64() * 1e3).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}
