//! The life of a session in a cluster, from the first object to the last.

mod begun;
mod capturers;
mod credentials;
mod hub;
pub(crate) mod launches;
mod steps;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

pub(crate) use self::begun::Begun;
use self::begun::in_removal;
pub(crate) use self::hub::join;
use self::launches::Launches;
use self::steps::Steps;
use super::apply::{self, Applier};
use super::connect::Connection;
use super::forward::Forward;
use super::progress::{self, Pods, Whole};
use super::request::Request;
use super::sessions::SessionRef;
use super::witness::ClusterWitness;
use super::{names, preflight, teardown};
use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;
use crate::session::{Kept, Remains, Wanted};

/// How long the deletions of a session that is left at once may take to be asked for.
pub(crate) const DELETIONS_TIMEOUT: Duration = Duration::from_secs(1);

/// A session in a cluster that this process started.
///
/// Dropping it leaves the cluster as it is: only [`Cluster::finish`] and [`Cluster::abort`] talk to it. What a dropped
/// start made is removed through its [`Begun`], and what a killed process made by the dead man's switch.
#[derive(Debug)]
pub(crate) struct Cluster {
    connection: Connection,
    session: SessionRef,
    keep: bool,
    ttl: Duration,
    /// Nodes that captured when it began.
    nodes: usize,
    /// Whether all nodes capture, or those that do not are named.
    whole: watch::Receiver<bool>,
    follower: JoinHandle<()>,
}

// === impl Cluster ===

impl Cluster {
    /// Makes a session and waits until its hub answers and at least one node captures.
    ///
    /// What was made is in `begun` from the first request on; a caller that drops this future, or gets an error, removes
    /// it from there.
    pub(crate) async fn start(
        connection: &Connection,
        wanted: &Wanted,
        asked: &Request,
        begun: &Begun,
        console: &mut Console,
    ) -> Result<(Self, Client), Failure> {
        let request = launches::request(wanted, asked)?;
        console.step("checking the cluster …");
        let report = Box::pin(preflight::check(connection, &request)).await?;
        for note in &report.notes {
            console.say(note);
        }
        let launches = Launches::new(&request)?;
        let mut values = launches.values(wanted, &request, &connection.owner)?;
        (values.api_ports, values.platform) = (report.api_ports, report.platform);
        values.hub_memory = report.hub_memory;
        if let Some(secret) = &request.pull_secret {
            values.pull_secret = Some(apply::pull_secret(connection, secret).await?);
        }
        let deadline = Instant::now() + request.timeout;
        console.step(format!("making namespace {} …", values.namespace));
        let session = begun.create(connection, &values).await?;
        let mut pods = Pods::follow(&connection.client, &session.name);
        {
            let console = Mutex::new(&mut *console);
            let tell = |line: &str| console.lock().unwrap_or_else(PoisonError::into_inner).step(line);
            let applier = Applier::new(connection.client.clone(), &values, &session.namespace_uid, &tell);
            launches.write(applier, &mut values, wanted).await?;
        }
        console.done(&format!("made namespace {} with all that is in it", values.namespace));
        let forward = Forward::new(&connection.client, &session.name);
        let mut client =
            hub::wait(&mut pods, &forward, &launches.identities.viewer, deadline, console).await?;
        console.done("hub started");
        let nodes: Vec<String> =
            report.nodes.iter().filter(|node| node.ready).map(|node| node.name.clone()).collect();
        let mut steps = Steps::new(console);
        let capturers = progress::first_capturers(&mut pods, &mut client, &nodes, |line| steps.say(line));
        let witness = match tokio::time::timeout_at(deadline, capturers).await {
            Ok(witness) => witness?,
            Err(_elapsed) => {
                let said = Some(steps.said).filter(|said| !said.is_empty());
                let reason = pods.refused_pods(names::CAPTURER).await.or(said);
                return Err(late("no capturer was", &request, reason));
            }
        };
        console.clear();
        for line in witness.failures() {
            console.warning(&format!("no capturer on {line}"));
        }
        console.say(&format!(
            "capturing on {} {} (session {}, namespace {})",
            witness.ready.len(),
            if witness.ready.len() == 1 { "node" } else { "nodes" },
            session.name,
            values.namespace
        ));
        console.say(&witness.line());
        let ready = witness.ready.len();
        let (waits, whole) = Whole::begin();
        let follower = tokio::spawn(progress::others(pods, client.clone(), (witness, waits), deadline, {
            let console = console.clone();
            move |line| console.say(&line)
        }));
        begun.is_done();
        let (keep, ttl) = (request.keep, request.ttl);
        let cluster =
            Self { connection: connection.clone(), session, keep, ttl, nodes: ready, whole, follower };
        Ok((cluster, client))
    }

    /// The session's name.
    pub(crate) fn name(&self) -> &str {
        &self.session.name
    }

    /// Who knows whether it stands when its hub does not answer.
    pub(crate) fn witness(&self) -> ClusterWitness {
        ClusterWitness::of(&self.connection.client, &self.session.name)
    }

    /// How many nodes captured when it began.
    pub(crate) fn nodes(&self) -> usize {
        self.nodes
    }

    /// Becomes true once all nodes capture, or those that do not are named.
    pub(crate) fn whole(&self) -> watch::Receiver<bool> {
        self.whole.clone()
    }

    /// What there is to say when [`Cluster::finish`] is stopped.
    pub(crate) fn remains(&self) -> Remains {
        if !self.keep {
            return Remains { going: Some(in_removal(&self.session.name)), ..Remains::default() };
        }
        // The hub removes the capturers of a kept session, too.
        Remains { kept: Some(self.kept()), ..Remains::default() }
    }

    /// Follows its pods anew.
    pub(crate) fn pods(&self) -> Pods {
        Pods::follow(&self.connection.client, &self.session.name)
    }

    /// Does not keep it after all: its end removes everything.
    pub(crate) fn forgo_keeping(&mut self) {
        self.keep = false;
    }

    fn kept(&self) -> Kept {
        Kept::Session { name: self.session.name.clone(), ttl: self.ttl }
    }

    /// Asks for the namespace of a session that is not kept to be removed; its pods go on until the cluster comes to it.
    pub(crate) fn announce_end(&self) -> impl Future<Output = ()> + use<> {
        let Self { connection, session, keep, .. } = self;
        let (client, session, keep) = (connection.client.clone(), session.clone(), *keep);
        async move {
            if !keep {
                teardown::announce(&client, &session).await;
            }
        }
    }

    /// Removes the session, or of one that is kept the capturers.
    pub(crate) async fn finish(self) -> Remains {
        self.follower.abort();
        if !self.keep {
            return teardown::remove(&self.connection.client, &self.session).await;
        }
        let left = capturers::remove(&self.connection.client, &self.session).await;
        Remains { kept: Some(self.kept()), left, ..Remains::default() }
    }

    /// Asks for everything to be removed and does not wait for it.
    pub(crate) async fn abort(self) -> Remains {
        self.follower.abort();
        let remains = self.remains();
        timeout(DELETIONS_TIMEOUT, self.finish()).await.unwrap_or(remains)
    }
}

fn late(what: &str, request: &Request, reason: Option<String>) -> Failure {
    let after = request.timeout.as_secs();
    match reason {
        Some(reason) => Failure::new(format!("{what} ready after {after} s: {reason}")),
        None => Failure::new(format!("{what} ready after {after} s")),
    }
    .hint("give it more with `--timeout`")
}

#[cfg(test)]
mod tests;
