//! Which of several hubs leads: the one whose name the Lease bears.

use std::time::Duration;

use tokio::time::Instant;

use super::cluster::{Cluster, Held};
use crate::session::Session;

/// Between two looks at the Lease of another hub, while nothing says that it is gone.
const LEASE_POLL: Duration = Duration::from_secs(5);

/// From the end of its stream to the next look: a pod that ends gives the Lease up meanwhile.
const LEASE_POLL_AFTER_END: Duration = Duration::from_millis(200);

/// How long a Lease may stand unrenewed before another hub takes it: three renewals.
const LEASE_SILENCE: Duration = Duration::from_secs(15);

/// How a hub came to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Won {
    /// Whether another hub had the Lease before.
    pub earlier: bool,
    /// Its turn: higher than that of every leader before.
    pub turn: u64,
}

/// Waits until this hub holds the Lease.
///
/// It is taken from a hub whose pod is gone at once, and from one that does not renew it after a while, counted here:
/// clocks of nodes differ.
pub async fn win(cluster: &Cluster, session: &Session) -> Won {
    let mut silence = Silence::default();
    let mut said = false;
    loop {
        match attempt(cluster, &mut silence, &mut said).await {
            Ok(Some(won)) => return won,
            Ok(None) => {}
            Err(error) => {
                // While the API server is away its holder cannot renew it either.
                silence = Silence::default();
                tracing::warn!(%error, "the Lease cannot be looked at");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LEASE_POLL) => {}
            () = session.leaders.left_alone() => tokio::time::sleep(LEASE_POLL_AFTER_END).await,
        }
    }
}

/// Since when a Lease stands as it is.
#[derive(Debug, Default)]
struct Silence(Option<(String, Instant)>);

// === impl Silence ===

impl Silence {
    fn over(&mut self, version: String) -> bool {
        match &self.0 {
            Some((known, since)) if *known == version => since.elapsed() >= LEASE_SILENCE,
            Some(_) | None => {
                self.0 = Some((version, Instant::now()));
                false
            }
        }
    }
}

async fn attempt(
    cluster: &Cluster,
    silence: &mut Silence,
    said: &mut bool,
) -> Result<Option<Won>, super::LeaseError> {
    let held = cluster.held().await?;
    let Held { by, version, .. } = &held;
    let earlier = held.had_holder();
    let free = by.is_empty()
        || *by == cluster.holder()
        || silence.over(version.clone())
        || cluster.is_gone(by).await?;
    if !free {
        if !std::mem::replace(said, true) {
            tracing::info!(leader = by, "another hub leads");
        }
        return Ok(None);
    }
    Ok(cluster.take(held).await?.map(|turn| Won { earlier, turn }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_silent_only_while_it_stands() {
        let mut silence = Silence::default();
        let almost = LEASE_SILENCE.saturating_sub(LEASE_POLL);
        assert!(!silence.over("1".to_owned()));
        tokio::time::advance(almost).await;
        assert!(!silence.over("1".to_owned()));
        assert!(!silence.over("2".to_owned()));
        tokio::time::advance(almost).await;
        assert!(!silence.over("2".to_owned()));
        tokio::time::advance(LEASE_POLL).await;
        assert!(silence.over("2".to_owned()));
    }
}
