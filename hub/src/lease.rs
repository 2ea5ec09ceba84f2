//! Who keeps time: the hub alone renews the session's Lease, holds off the dead man's switch while plugins live, and
//! ends the session when they are silent.

mod cluster;
mod election;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use proto::launch::HubLaunch;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

pub use self::cluster::{Cluster, LeaseError};
pub use self::election::{Won, win};
use crate::session::{Lag, Session};

/// Silence of all plugins after which a session ends.
pub const LEASE_PERIOD: Duration = Duration::from_mins(1);

/// How often the Lease is renewed and the dead man's switch moved.
pub const RENEW_PERIOD: Duration = Duration::from_secs(20);

/// How often it is renewed where other hubs wait to take it.
pub const RENEW_PERIOD_BEFORE_OTHERS: Duration = Duration::from_secs(5);

/// How far ahead the dead man's switch is held at least.
pub const DEADMAN_AHEAD: Duration = Duration::from_mins(5);

/// How long the first plugin may take: images are pulled while it waits. The dead man's switch is set as far ahead.
pub const FIRST_PLUGIN_TIMEOUT: Duration = Duration::from_mins(5);

/// Between two looks at the plugins, and two attempts to delete.
const PLUGINS_POLL: Duration = Duration::from_secs(1);

/// Between two attempts to delete what an API server did not delete.
const DELETE_PAUSE: Duration = Duration::from_secs(5);

/// Time for the drain of a session that nobody ended.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Who ended a session whose plugins are silent, for whoever asks.
const ENDED_BY_SILENCE: &str = "the hub: no plugin was heard of for 60 s";

/// How a session may end.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long a kept session lives after capture ended; without it nothing is kept.
    pub keep: Option<Duration>,
}

/// Why time is kept no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The session is gone.
    Gone,
    /// Another hub leads.
    Deposed,
}

/// Counts silence on the monotonic clock.
#[derive(Debug)]
struct Silence {
    since: Instant,
    /// Silence that is borne now: longer before the first plugin.
    borne: Duration,
    /// This hub heard of one.
    heard: bool,
}

/// Said once another hub has the Lease.
#[derive(Clone, Debug, Default)]
struct Deposed(Arc<Notify>);

// === impl Terms ===

impl Terms {
    /// Reads a launch.
    #[must_use]
    pub fn of(launch: &HubLaunch) -> Self {
        Self { keep: launch.keep.then(|| Duration::from_secs(launch.ttl_seconds)) }
    }

    /// How far ahead the dead man's switch is held while capture runs: were it to end now, a kept session would have
    /// its whole time.
    fn ahead(self) -> Duration {
        DEADMAN_AHEAD.max(self.keep.unwrap_or_default()) + RENEW_PERIOD * 2
    }
}

// === impl Deposed ===

impl Deposed {
    async fn renew(&self, cluster: &Cluster) {
        let renewed = cluster.renew().await;
        if let Err(LeaseError::Deposed { .. }) = &renewed {
            self.0.notify_one();
        }
        said("renewing the lease", renewed);
    }
}

// === impl Silence ===

impl Silence {
    /// Begins at the hub's start; `earlier` hubs of the session had plugins.
    fn new(earlier: bool) -> Self {
        Self {
            since: Instant::now(),
            borne: if earlier { LEASE_PERIOD } else { FIRST_PLUGIN_TIMEOUT },
            heard: false,
        }
    }

    /// Whether a plugin was heard of within a lease period: one whose heartbeat is over may still ask and pull.
    fn is_short(&self) -> bool {
        self.heard && self.since.elapsed() < LEASE_PERIOD
    }

    /// Is told whether a plugin was heard of since the last look; says whether silence has lasted too long.
    fn over(&mut self, heard: bool) -> bool {
        if heard {
            *self = Self { since: Instant::now(), borne: LEASE_PERIOD, heard: true };
        }
        self.since.elapsed() >= self.borne
    }
}

/// Keeps time for a session until it is to be gone, and then deletes it; returns when the API says that it is, or when
/// another hub leads.
///
/// `earlier` hubs of the session had plugins, where that is known.
pub async fn keep(cluster: Cluster, session: Arc<Session>, terms: Terms, earlier: Option<bool>) -> Over {
    let earlier = match earlier {
        Some(earlier) => earlier,
        None => cluster.had_holder().await,
    };
    let deposed = Deposed::default();
    tokio::select! {
        over = keep_time(&cluster, &session, terms, earlier, &deposed) => over,
        () = deposed.0.notified() => Over::Deposed,
    }
}

async fn keep_time(
    cluster: &Cluster,
    session: &Arc<Session>,
    terms: Terms,
    earlier: bool,
    deposed: &Deposed,
) -> Over {
    // A hub before this one may have seen the end of capture already.
    let ended = match terms.keep {
        Some(_) => cluster.ended_since().await.unwrap_or_default(),
        None => None,
    };
    if ended.is_none() {
        watch_silence(cluster, session, terms, earlier, deposed).await;
    }
    if let Some(ttl) = terms.keep {
        let news = ended.is_none().then(Timestamp::now);
        wait_out(cluster, ttl.saturating_sub(ended.unwrap_or_default()), news, deposed).await;
    }
    tracing::info!("the session ends");
    // A namespace ends in its own time, and a node lost meanwhile would hold it: its pods are looked at again.
    while !until_done(|| cluster.delete_session()).await {
        tokio::time::sleep(DELETE_PAUSE).await;
    }
    Over::Gone
}

/// Runs while capture does; returns once plugins are silent too long or, with `keep`, once capture ended.
async fn watch_silence(
    cluster: &Cluster,
    session: &Arc<Session>,
    terms: Terms,
    earlier: bool,
    deposed: &Deposed,
) {
    let mut silence = Silence::new(earlier);
    let mut ended = session.ended();
    let mut renew = ticks(cluster.renews());
    let mut look = ticks(PLUGINS_POLL);
    loop {
        tokio::select! {
            // In this order: a renewal asks what the look before it has heard.
            biased;
            () = async { drop(ended.wait_for(Option::is_some).await) }, if terms.keep.is_some() => return,
            _ = look.tick() => {
                if silence.over(session.viewers.heard()) {
                    let lag = if terms.keep.is_some() { Lag::Borne } else { Lag::GivenUp };
                    session.drain(ENDED_BY_SILENCE, DRAIN_TIMEOUT, lag).await;
                    return;
                }
            }
            _ = renew.tick() => {
                // Beside the looks: an API server that hangs does not stop the clock.
                let (cluster, alive, ahead) = (cluster.clone(), silence.is_short(), terms.ahead());
                let deposed = deposed.clone();
                tokio::spawn(async move {
                    deposed.renew(&cluster).await;
                    if alive {
                        said("moving the dead man's switch", cluster.extend(ahead).await);
                    }
                });
            }
        }
    }
}

/// Notes the end of capture where that is news, removes the capturers of a kept session, and waits until its time is
/// over.
async fn wait_out(cluster: &Cluster, ttl: Duration, ended: Option<Timestamp>, deposed: &Deposed) {
    let until = Instant::now() + ttl;
    let mut renew = ticks(cluster.renews());
    // Beside each other: whoever may not write the note removes the capturers all the same.
    let noted = async {
        if let Some(at) = ended {
            until_done(|| cluster.note_end(at)).await;
        }
    };
    let removed = until_done(|| cluster.delete_capturers());
    let mut tidied = Box::pin(async { tokio::join!(noted, removed) });
    let mut tidy = false;
    while Instant::now() < until {
        tokio::select! {
            ((), ()) = &mut tidied, if !tidy => tidy = true,
            () = tokio::time::sleep_until(until) => return,
            _ = renew.tick() => {
                deposed.renew(cluster).await;
                let left = until.saturating_duration_since(Instant::now());
                said("moving the dead man's switch", cluster.extend(left + RENEW_PERIOD).await);
            }
        }
    }
}

async fn until_done<T, F: Future<Output = Result<T, LeaseError>>>(mut attempt: impl FnMut() -> F) -> T {
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => said("ending the session", Err(error)),
        }
        tokio::time::sleep(DELETE_PAUSE).await;
    }
}

fn said(doing: &'static str, result: Result<(), LeaseError>) {
    if let Err(error) = result {
        tracing::warn!(%error, doing, "the cluster's API did not do it, it is tried again");
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

#[cfg(test)]
mod tests;
