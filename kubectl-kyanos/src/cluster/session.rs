//! The life of a session in a cluster, from the first object to the last.

mod credentials;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Preconditions};
use proto::launch::{CapturerLaunch, HubLaunch, HubPlace, INGEST_PORT, Identity, StoreChoice};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use self::credentials::StoreLogins;
use super::apply::{self, Applier, said};
use super::connect::Connection;
use super::forward::Forward;
use super::manifests::{self, GENERATED, Values};
use super::preflight;
use super::progress::{self, Pods};
use super::request::Request;
use super::sessions::SessionRef;
use super::standing::Standing;
use super::{names, teardown};
use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;
use crate::session::certificates::{self, Identities};
use crate::session::{Kept, Remains, Wanted};
use crate::store::without_password;

/// Longest wait, when a start is stopped, for the answer whether its Namespace was made.
const UNDECIDED: Duration = Duration::from_secs(5);

/// How long the deletions of a session that is left at once may take to be asked for.
const FAREWELL: Duration = Duration::from_secs(1);

/// Longest wait for the capturers of a kept session to be gone.
const CAPTURERS_END: Duration = Duration::from_secs(10);

/// Between two looks at them.
const LOOK: Duration = Duration::from_millis(250);

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
    follower: JoinHandle<()>,
}

/// What a start has made so far; outlives the start, so that it can be removed when that fails or is stopped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Begun(Arc<Mutex<Option<Beginning>>>);

#[derive(Clone, Debug)]
struct Beginning {
    connection: Connection,
    name: String,
    /// The UID of the Namespace, once the API server said whether it made one.
    namespace: watch::Receiver<Option<Result<String, Failure>>>,
}

/// What is being waited for, said once each time it changes.
struct Steps<'a> {
    console: &'a mut Console,
    said: String,
}

/// What the parts of a new session are told, beside what the request says.
#[derive(Debug)]
struct Launches {
    identities: Identities,
    logins: Option<StoreLogins>,
}

// === impl Begun ===

impl Begun {
    /// Makes the Namespace; the answer is heard even when the start is dropped meanwhile.
    async fn create(&self, connection: &Connection, values: &Values) -> Result<SessionRef, Failure> {
        let (sender, mut namespace) = watch::channel(None);
        let beginning = Beginning {
            connection: connection.clone(),
            name: values.session.clone(),
            namespace: namespace.clone(),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(beginning);
        let (client, values) = (connection.client.clone(), values.clone());
        let name = values.session.clone();
        tokio::spawn(async move {
            let made = apply::create_namespace(&client, &values).await;
            sender.send_replace(Some(made));
        });
        let lost = || Failure::new("making the Namespace was given up");
        let made = namespace.wait_for(Option::is_some).await.map_err(|_closed| lost())?.clone();
        let namespace_uid = made.unwrap_or_else(|| Err(lost()))?;
        Ok(SessionRef { name, namespace_uid })
    }

    /// The start succeeded; what was made is the session's.
    fn is_done(&self) {
        self.take();
    }

    /// What there is to say when removing is stopped, too.
    pub(crate) fn left(&self) -> Vec<String> {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        begun.iter().map(|beginning| in_removal(&beginning.name)).collect()
    }

    /// The session's name, where something was made.
    pub(crate) fn name(&self) -> Option<String> {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        begun.as_ref().map(|beginning| beginning.name.clone())
    }

    /// Removes what was made.
    pub(crate) async fn remove(&self) -> Remains {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(Beginning { connection, name, mut namespace }) = begun else {
            return Remains::default();
        };
        let decided = timeout(UNDECIDED, namespace.wait_for(Option::is_some)).await;
        let made = match decided {
            Ok(Ok(made)) => made.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        let remains = match made {
            Some(Ok(namespace_uid)) => {
                teardown::remove(&connection.client, &SessionRef { name, namespace_uid }).await
            }
            // Refused: there was nothing, or it is somebody else's.
            Some(Err(_)) => Remains::default(),
            None => {
                let namespace = names::namespace(&name);
                let what = "of which the API server did not say whether it made it";
                Remains { left: vec![format!("namespace `{namespace}`, {what}")], ..Remains::default() }
            }
        };
        self.take();
        remains
    }

    fn take(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
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
        begun: &Begun,
        console: &mut Console,
    ) -> Result<(Self, Client), Failure> {
        let request = request(wanted)?;
        console.step("checking the cluster …");
        let report = Box::pin(preflight::check(connection, &request)).await?;
        for note in &report.notes {
            console.say(note);
        }
        let launches = Launches::new(&request)?;
        let mut values = launches.values(wanted, &request, &connection.owner)?;
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
            launches.write(applier, &mut values, wanted, report.openshift).await?;
        }
        console.done(&format!("made namespace {} with all that is in it", values.namespace));
        let forward = Forward::new(&connection.client, &session.name);
        let mut client = hub(&mut pods, &forward, &launches.identities.viewer, deadline, console).await?;
        console.done("hub started");
        let nodes: Vec<String> =
            report.nodes.iter().filter(|node| node.ready).map(|node| node.name.clone()).collect();
        let mut steps = Steps::new(console);
        let capturers = progress::first_capturers(&mut pods, &mut client, &nodes, |line| steps.say(line));
        let standing = match tokio::time::timeout_at(deadline, capturers).await {
            Ok(standing) => standing?,
            Err(_elapsed) => {
                let said = Some(steps.said).filter(|said| !said.is_empty());
                let reason = pods.refused_pods(names::CAPTURER).await.or(said);
                return Err(late("no capturer was", &request, reason));
            }
        };
        console.clear();
        for line in standing.failures() {
            console.warning(&format!("no capturer on {line}"));
        }
        console.say(&format!(
            "capturing on {} {} (session {}, namespace {})",
            standing.ready.len(),
            if standing.ready.len() == 1 { "node" } else { "nodes" },
            session.name,
            values.namespace
        ));
        let ready = standing.ready.len();
        let follower = tokio::spawn(progress::others(pods, client.clone(), standing, deadline, {
            let console = console.clone();
            move |line| console.say(&line)
        }));
        begun.is_done();
        let (keep, ttl) = (request.keep, request.ttl);
        Ok((Self { connection: connection.clone(), session, keep, ttl, nodes: ready, follower }, client))
    }

    /// The session's name.
    pub(crate) fn name(&self) -> &str {
        &self.session.name
    }

    /// Who knows whether it stands when its hub does not answer.
    pub(crate) fn standing(&self) -> Standing {
        Standing::of(&self.connection.client, &self.session.name)
    }

    /// How many nodes captured when it began.
    pub(crate) fn nodes(&self) -> usize {
        self.nodes
    }

    /// What there is to say when [`Cluster::finish`] is stopped.
    pub(crate) fn remains(&self) -> Remains {
        if !self.keep {
            return Remains { left: vec![in_removal(&self.session.name)], ..Remains::default() };
        }
        // The hub removes the capturers of a kept session, too.
        Remains { kept: Some(self.kept()), ..Remains::default() }
    }

    fn kept(&self) -> Kept {
        Kept::Session { name: self.session.name.clone(), ttl: self.ttl }
    }

    /// Removes the session, or of one that is kept the capturers.
    pub(crate) async fn finish(self) -> Remains {
        self.follower.abort();
        if !self.keep {
            return teardown::remove(&self.connection.client, &self.session).await;
        }
        let left = remove_capturers(&self.connection.client, &self.session).await;
        Remains { kept: Some(self.kept()), left, ..Remains::default() }
    }

    /// Asks for everything to be removed and does not wait for it.
    pub(crate) async fn abort(self) -> Remains {
        self.follower.abort();
        let remains = self.remains();
        timeout(FAREWELL, self.finish()).await.unwrap_or(remains)
    }
}

// === impl Steps ===

impl<'a> Steps<'a> {
    fn new(console: &'a mut Console) -> Self {
        Self { console, said: String::new() }
    }

    fn say(&mut self, doing: String) {
        if doing != self.said {
            self.console.step(doing.as_str());
            self.said = doing;
        }
    }
}

// === impl Launches ===

impl Launches {
    fn new(request: &Request) -> Result<Self, Failure> {
        let identities = certificates::make(&request.name)?;
        let logins = request.own_store.then(StoreLogins::make).transpose()?;
        Ok(Self { identities, logins })
    }

    fn generated() -> Self {
        let identity = || Identity {
            authority: GENERATED.to_owned(),
            certificate: GENERATED.to_owned(),
            key: GENERATED.to_owned(),
        };
        let identities = Identities { hub: identity(), capturer: identity(), viewer: identity() };
        Self { identities, logins: Some(StoreLogins::generated()) }
    }

    /// Everything that the manifests are filled with but the capturers' launch.
    fn values(&self, wanted: &Wanted, request: &Request, owner: &str) -> Result<Values, Failure> {
        let mut values = Values::new(request, owner)?;
        let mut store = wanted.store.clone();
        if let (Some(manifest), Some(logins)) = (&mut values.store, &self.logins) {
            manifest.root_password.clone_from(&logins.root);
            manifest.password.clone_from(&logins.writer);
            manifest.reader_sql = logins.reader_sql();
            store = logins.choice();
        }
        values.hub_launch = json(&HubLaunch {
            session: request.name.clone(),
            place: HubPlace::Cluster { namespace: values.namespace.clone() },
            identity: self.identities.hub.clone(),
            store,
            store_limit: wanted.store_limit,
            max_store_bytes: wanted.max_store_bytes,
            payload_bytes: wanted.payload_bytes,
            keep: wanted.keep,
            ttl_seconds: wanted.ttl.as_secs(),
            filter: wanted.filter.clone(),
            redaction: wanted.redaction.clone(),
            sample: wanted.sample,
            hubs: values.hub_replicas,
        })?;
        values.viewer = json(&self.identities.viewer)?;
        Ok(values)
    }

    fn capturers(&self, wanted: &Wanted, session: &str, hub: &str) -> Result<String, Failure> {
        json(&CapturerLaunch {
            session: session.to_owned(),
            node: String::new(),
            hub: format!("{hub}:{INGEST_PORT}"),
            identity: self.identities.capturer.clone(),
            ring_bytes: wanted.ring_bytes,
            btf: wanted.btf.clone(),
            sessions: None,
        })
    }

    /// Writes all objects, what owns before what is owned and what is read before what reads it.
    async fn write(
        &self,
        mut applier: Applier<'_>,
        values: &mut Values,
        wanted: &Wanted,
        openshift: bool,
    ) -> Result<(), Failure> {
        applier.foundation(values).await?;
        let address = applier.surroundings(values, openshift).await?;
        let address = if address.contains(':') { format!("[{address}]") } else { address };
        values.capturer_launch = self.capturers(wanted, &values.session, &address)?;
        futures_util::try_join!(applier.hub(values), applier.capturers(values))?;
        Ok(())
    }
}

/// Returns what a session would consist of, as YAML, without talking to a cluster.
pub(crate) fn print(wanted: &Wanted) -> Result<String, Failure> {
    let request = request(wanted)?;
    let launches = Launches::generated();
    let mut wanted = wanted.clone();
    if let StoreChoice::Mysql { url, reader } = &mut wanted.store {
        for url in [url].into_iter().chain(reader) {
            *url = without_password(url, GENERATED);
        }
    }
    let wanted = &wanted;
    let mut values = launches.values(wanted, &request, GENERATED)?;
    GENERATED.clone_into(&mut values.started);
    values.capturer_launch = launches.capturers(wanted, &request.name, GENERATED)?;
    manifests::print(&values)
}

/// Connects to the hub of somebody's session, whose Secret `viewer` says whether this user may.
pub(crate) async fn join(connection: &Connection, name: &str) -> Result<Client, Failure> {
    let namespace = names::namespace(name);
    let secrets = Api::<Secret>::namespaced(connection.client.clone(), &namespace);
    let secret = match secrets.get(names::VIEWER).await {
        Ok(secret) => secret,
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            return Err(Failure::new(format!("there is no session `{name}` in this cluster"))
                .hint("list the sessions with `kubectl kyanos status`"));
        }
        Err(kube::Error::Api(status)) if status.is_forbidden() => {
            return Err(Failure::new(format!("joining session `{name}` is forbidden: {}", status.message))
                .hint(format!(
                    "whoever may read Secret `{}` in namespace `{namespace}` may join",
                    names::VIEWER
                )));
        }
        Err(error) => return Err(super::connect::failure(&error, &connection.server)),
    };
    let data = secret.data.unwrap_or_default().remove(names::VIEWER_KEY).unwrap_or_default();
    let identity: Identity = serde_json::from_slice(&data.0).map_err(|error| {
        Failure::new(format!("Secret `{namespace}/{}` is not readable: {error}", names::VIEWER))
            .hint("use the plugin of the version that started the session")
    })?;
    Client::connect_over(&identity, Forward::new(&connection.client, name)).await
}

/// Connects to the hub as soon as it answers.
async fn hub(
    pods: &mut Pods,
    forward: &Forward,
    viewer: &Identity,
    deadline: Instant,
    console: &mut Console,
) -> Result<Client, Failure> {
    let mut last = None;
    let mut steps = Steps::new(console);
    loop {
        steps.say(match pods.hub_waits_for() {
            Some(reason) => format!("waiting for the hub ({reason}) …"),
            None => "waiting for the hub …".to_owned(),
        });
        let attempt = async {
            pods.hub().await?;
            if !pods.hub_runs() {
                return Ok(None);
            }
            let mut client = match Client::connect_over(viewer, forward.clone()).await {
                Ok(client) => client,
                Err(failure) => return Ok(Some(Err(failure))),
            };
            match client.describe().await {
                Ok(_) => Ok(Some(Ok(client))),
                // A hub of another version is not waited for.
                Err(failure) if failure.hint.is_some() => Err(failure),
                Err(failure) => Ok(Some(Err(failure))),
            }
        };
        match tokio::time::timeout_at(deadline, attempt).await {
            Ok(Ok(Some(Ok(client)))) => return Ok(client),
            Ok(Ok(Some(Err(failure)))) => last = Some(forward.trouble().unwrap_or(failure.what)),
            Ok(Ok(None)) => {}
            Ok(Err(failure)) => return Err(failure),
            Err(_elapsed) => {
                let reason = pods.hub_waits_for().or(last);
                return Err(match reason {
                    Some(reason) => Failure::new(format!("the hub was not ready in time: {reason}")),
                    None => Failure::new("the hub was not ready in time"),
                }
                .hint("give it more with `--timeout`, or see what it says with `kubectl get events -A`"));
            }
        }
    }
}

/// What is asked of a cluster, with what the rest of the command line says of it.
fn request(wanted: &Wanted) -> Result<Request, Failure> {
    let own_store = match &wanted.store {
        StoreChoice::Sqlite { path } if path.as_os_str().is_empty() => true,
        StoreChoice::Sqlite { .. } => {
            return Err(Failure::usage("a session in a cluster cannot store in a file of this machine")
                .hint("use `--save FILE.sqlite`, a mysql:// store, or `--local`"));
        }
        StoreChoice::None | StoreChoice::Mysql { .. } => false,
    };
    Ok(Request {
        name: wanted.name.clone().unwrap_or_else(crate::session::made_up_name),
        own_store,
        store_limit: wanted.store_limit,
        keep: wanted.keep,
        ttl: wanted.ttl,
        timeout: wanted.timeout,
        ..wanted.cluster.clone()
    })
}

/// Removes the capturers of a session whose hub and store stay.
async fn remove_capturers(client: &kube::Client, session: &SessionRef) -> Vec<String> {
    let namespace = session.namespace();
    let sets = Api::<DaemonSet>::namespaced(client.clone(), &namespace);
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace);
    let what = format!("DaemonSet `{}` in namespace `{namespace}`", names::CAPTURER);
    let uid = match sets.get_metadata_opt(names::CAPTURER).await {
        Ok(Some(set)) => set.metadata.uid,
        // The hub was faster.
        Ok(None) => None,
        Err(error) => return vec![format!("{what} ({})", said(&error))],
    };
    if uid.is_some() {
        let exactly = Preconditions { uid, resource_version: None };
        let parameters = DeleteParams::background().preconditions(exactly);
        match sets.delete(names::CAPTURER, &parameters).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            Err(error) => return vec![format!("{what} ({})", said(&error))],
        }
    }
    let selector = ListParams::default().labels(&names::part_selector(&session.name, names::CAPTURER));
    let began = Instant::now();
    while began.elapsed() < CAPTURERS_END {
        if pods.list_metadata(&selector).await.is_ok_and(|pods| pods.items.is_empty()) {
            return Vec::new();
        }
        tokio::time::sleep(LOOK).await;
    }
    vec![format!("capturers in namespace `{namespace}`")]
}

fn in_removal(session: &str) -> String {
    format!("namespace `{}`, whose deletion was asked for", names::namespace(session))
}

fn late(what: &str, request: &Request, reason: Option<String>) -> Failure {
    let after = request.timeout.as_secs();
    match reason {
        Some(reason) => Failure::new(format!("{what} ready after {after} s: {reason}")),
        None => Failure::new(format!("{what} ready after {after} s")),
    }
    .hint("give it more with `--timeout`")
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value)
        .map_err(|error| Failure::new(format!("writing what the session's parts are told failed: {error}")))
}

#[cfg(test)]
mod tests;
