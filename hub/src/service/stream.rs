//! What viewers are sent, over one stream after another where they have a place to come back to.

use std::sync::Arc;
use std::time::Duration;

use proto::v1;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::resume::{Place, Sender};
use crate::live::{Stat, Watch};

/// Exchanges of one response.
const RESPONSE_EXCHANGES: usize = 512;

/// Bytes after which a response takes no further exchange.
const RESPONSE_BYTES: usize = 512 << 10;

/// Fastest that aggregates are made.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);

/// What a viewer wants, which stays while its stream breaks and is opened again.
pub(super) trait Viewed: Sync {
    /// What it is sent.
    type Response: Send;

    /// Sends what there is; says whether to the end, rather than until the stream broke.
    fn send(&self, sender: &Sender<Self::Response>) -> impl Future<Output = bool> + Send;

    /// What a viewer that comes again is told first: how it stands.
    fn greeting(&self) -> Self::Response;

    /// Its stream broke.
    fn leave(&self);

    /// It goes on for a viewer that received so many exchanges.
    fn go_on(&self, received: u64);
}

/// A stream of exchanges.
#[derive(Debug)]
pub(super) struct ExchangeStream {
    pub(super) watch: Arc<Watch>,
    /// Random number of this hub's process.
    pub(super) hub: u64,
}

/// A stream of statistics, at every interval and at the end.
#[derive(Debug)]
pub(super) struct CountStream {
    pub(super) stat: Arc<Stat>,
    /// Random number of this hub's process.
    pub(super) hub: u64,
    pub(super) interval: Option<Duration>,
}

/// Sends to the end, over one stream after another where the viewer has a place to come back to.
pub(super) async fn run<V: Viewed>(
    viewed: V,
    mut sender: Sender<V::Response>,
    place: Option<Place<V::Response>>,
) {
    let Some(mut place) = place else {
        viewed.send(&sender).await;
        return;
    };
    loop {
        let back = tokio::select! {
            ended = viewed.send(&sender) => {
                if ended {
                    return;
                }
                None
            }
            back = place.replaced() => Some(back),
        };
        viewed.leave();
        let back = match back {
            Some(back) => Some(back),
            None => place.returned().await,
        };
        let Some(back) = back else { return };
        viewed.go_on(back.received);
        sender = back.sender;
        greet(&sender, &viewed);
    }
}

/// Tells a viewer that comes again how it stands, before anything waits for it on this stream.
pub(super) fn greet<V: Viewed>(sender: &Sender<V::Response>, viewed: &V) {
    if sender.try_send(Ok(viewed.greeting())).is_err() {
        tracing::debug!("a viewer left as soon as it came");
    }
}

// === impl ExchangeStream ===

impl Viewed for ExchangeStream {
    type Response = v1::WatchResponse;

    async fn send(&self, sender: &Sender<v1::WatchResponse>) -> bool {
        send_exchanges(&self.watch, self.hub, sender).await
    }

    fn greeting(&self) -> v1::WatchResponse {
        v1::WatchResponse { hub: self.hub, ..self.watch.greeting() }
    }

    fn leave(&self) {
        self.watch.leave();
    }

    fn go_on(&self, received: u64) {
        self.watch.go_on(received);
    }
}

// === impl CountStream ===

impl CountStream {
    fn response(&self, stat: &Stat, last: bool) -> v1::StatResponse {
        v1::StatResponse { hub: self.hub, ..stat.response(last) }
    }
}

impl Viewed for CountStream {
    type Response = v1::StatResponse;

    async fn send(&self, sender: &Sender<v1::StatResponse>) -> bool {
        send_aggregates(&self.stat, self.interval, sender, |stat, last| self.response(stat, last)).await
    }

    fn greeting(&self) -> v1::StatResponse {
        self.response(&self.stat, false)
    }

    fn leave(&self) {
        self.stat.leave();
    }

    fn go_on(&self, _received: u64) {
        self.stat.go_on();
    }
}

/// Sends exchanges; says whether to the end, rather than until the stream broke.
pub(super) async fn send_exchanges(watch: &Watch, hub: u64, sender: &Sender<v1::WatchResponse>) -> bool {
    loop {
        // A place first: what comes meanwhile goes into the same response.
        let Ok(place) = sender.reserve().await else { return false };
        let response = tokio::select! {
            response = watch.next(RESPONSE_EXCHANGES, RESPONSE_BYTES) => response,
            () = sender.closed() => return false,
        };
        let end = response.end;
        place.send(Ok(v1::WatchResponse { hub, ..response }));
        if end {
            watch.finish();
            return true;
        }
    }
}

/// Sends what `make` makes of the statistics, at every interval and at the end; says whether to the end, rather than
/// until the stream broke.
pub(super) async fn send_aggregates<R>(
    stat: &Stat,
    interval: Option<Duration>,
    sender: &Sender<R>,
    make: impl Fn(&Stat, bool) -> R,
) -> bool {
    let mut ticks = interval.map(|interval| {
        let interval = interval.max(SHORTEST_INTERVAL);
        let mut ticks = interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    });
    loop {
        let tick = async {
            match &mut ticks {
                Some(ticks) => {
                    ticks.tick().await;
                }
                None => std::future::pending().await,
            }
        };
        let last = tokio::select! {
            () = tick => false,
            () = stat.closed() => true,
            () = sender.closed() => return false,
        };
        if sender.send(Ok(make(stat, last))).await.is_err() {
            return false;
        }
        if last {
            stat.finish();
            return true;
        }
    }
}
