//! Processes: ids, command names and containers.

use std::sync::Arc;

use super::{Early, FilterError, Test, among, asked};
use crate::v1;

/// Fewest hex digits of a container id that name one container well enough (what container tools print).
pub const MIN_CONTAINER_DIGITS: usize = 12;

/// Hex digits of a full container id.
pub const MAX_CONTAINER_DIGITS: usize = 64;

/// Bytes of a command name that Linux keeps (`TASK_COMM_LEN` less its zero).
pub const COMM_BYTES: usize = 15;

#[derive(Debug)]
struct Process {
    pids: Vec<u32>,
    /// As given.
    comms: Vec<String>,
    /// What the kernel keeps of them.
    kept_comms: Vec<String>,
    /// Ids or their beginnings.
    containers: Vec<String>,
}

pub(super) fn compile(filter: &v1::Filter) -> Result<Option<Arc<dyn Test>>, FilterError> {
    let v1::Filter { pids, comms, container_ids, .. } = filter;
    let process = Process {
        pids: pids.clone(),
        comms: comms.clone(),
        kept_comms: comms.iter().map(|comm| kept(comm)).collect(),
        containers: container_ids.iter().map(|id| container(id)).collect::<Result<_, _>>()?,
    };
    Ok(asked(process, !(pids.is_empty() && comms.is_empty() && container_ids.is_empty())))
}

impl Test for Process {
    fn passes(&self, exchange: &v1::Exchange) -> bool {
        let Self { pids, comms: _, kept_comms, containers } = self;
        exchange.origin.as_ref().is_some_and(|origin| {
            (pids.is_empty() || pids.contains(&origin.pid))
                && among(kept_comms, &origin.comm)
                && (containers.is_empty()
                    || containers.iter().any(|begin| origin.container_id.starts_with(begin)))
        })
    }

    fn hasten(&self, early: &mut Early) {
        early.pids.clone_from(&self.pids);
        early.comms.clone_from(&self.comms);
    }
}

/// Returns what the kernel keeps of a command name: longer ones are found by their beginning.
fn kept(comm: &str) -> String {
    let bytes = comm.as_bytes();
    // As capturers read it: a character that is cut in two is replaced.
    String::from_utf8_lossy(bytes.get(..COMM_BYTES).unwrap_or(bytes)).into_owned()
}

fn container(id: &str) -> Result<String, FilterError> {
    let digits = id.to_ascii_lowercase();
    let fits = (MIN_CONTAINER_DIGITS..=MAX_CONTAINER_DIGITS).contains(&digits.len());
    if fits && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(digits);
    }
    let reason = format!("a container id has {MIN_CONTAINER_DIGITS} to {MAX_CONTAINER_DIGITS} hex digits");
    Err(FilterError::new("container-id", id, reason))
}
