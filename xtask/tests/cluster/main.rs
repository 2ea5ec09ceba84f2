//! Sessions on a real cluster; every test is skipped where `cargo xtask e2e` names none.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells its figures"
)]

mod fault;
mod hubs;
mod life;
mod select;
mod store;
mod stream;

use std::time::{Duration, Instant};

use xtask::cluster::{Cluster, Shop};
use xtask::kyanos::{Exchange, Report, Session};
use xtask::process::wait_until;

/// From the command to the first exchange, with images on the nodes.
const START: Duration = Duration::from_secs(5);

/// From the signal until nothing is left.
const TEARDOWN: Duration = Duration::from_secs(7);

/// Longest wait for what has no promised time.
const PATIENCE: Duration = Duration::from_mins(1);

/// The cluster and the workload on it.
struct Stage {
    cluster: Cluster,
    shop: Shop,
}

impl Stage {
    fn open() -> Option<Self> {
        let cluster = Cluster::open().unwrap()?;
        let shop = Shop::at(cluster.kubectl());
        Some(Self { cluster, shop })
    }

    /// Starts `watch` on the shop and waits for `count` exchanges.
    fn watch(&self, arguments: &[&str], count: usize) -> (String, Session) {
        let mut all = vec!["-n", self.shop.namespace()];
        all.extend(arguments);
        let (name, mut session) = self.cluster.session("watch", &all).unwrap();
        let came = wait_until("exchanges", PATIENCE, || {
            session.count(|_| true) >= count || !session.process().is_running()
        });
        let have = session.count(|_| true);
        assert!(came.is_ok() && have >= count, "{have} exchanges of {count}; it said:\n{}", session.stderr());
        (name, session)
    }

    /// Ends a session as Ctrl-C does, fails unless nothing of it is left in time, and returns what it said.
    fn end(&self, name: &str, session: Session) -> Report {
        let from = Instant::now();
        let report = session.stop().unwrap();
        self.cluster.wait_gone(name, PATIENCE).unwrap();
        println!("teardown: {} ms from the signal until nothing was left", from.elapsed().as_millis());
        assert_eq!(report.code(), 130, "{}", report.stderr);
        report
    }
}

/// Fails unless every exchange satisfies a condition, and there are some.
fn all(exchanges: &[Exchange], what: &str, holds: impl Fn(&Exchange) -> bool) {
    assert!(!exchanges.is_empty(), "{what}: no exchange");
    let wrong = exchanges.iter().find(|exchange| !holds(exchange));
    assert!(wrong.is_none(), "{what}: {}", wrong.map(|one| one.value.to_string()).unwrap_or_default());
}
