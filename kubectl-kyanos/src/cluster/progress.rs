//! How a session's pods come up, and on one line why one does not.

mod reason;
mod refused;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::mem::Discriminant;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::{ListParams, LogParams};
use kube::runtime::{WatchStreamExt, watcher};
use proto::{store_state, v1};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::reason::Trouble;
use self::refused::Refuser;
pub(crate) use self::whole::Whole;
use super::{forward, names};
use crate::client::Client;
use crate::failure::Failure;

/// Between two looks at the hub.
const HUB_POLL: Duration = Duration::from_millis(200);

/// Between two questions to a hub that is up and waits for capturers.
const CAPTURERS_POLL: Duration = Duration::from_millis(100);

/// Between two looks at the nodes that were not ready when the session began.
const NODES_POLL: Duration = Duration::from_secs(1);

/// How long after the first capturer the others may take before the session begins without them: on equal nodes they
/// come up within this, and a stream or a `--time` that begins with all of them is easier to read.
const OTHERS_PATIENCE: Duration = Duration::from_secs(1);

/// How long a problem that may pass is watched before it counts: a registry answers badly once in a while, and an
/// account or a quota may appear a moment after the pods that need it.
const PROBLEM_PATIENCE: Duration = Duration::from_secs(12);

/// How long capturers may be away before the store is named as what they may wait for.
const STORE_PATIENCE: Duration = Duration::from_secs(4);

/// How long a workload may have no pods before its events are read.
const NO_PODS_PATIENCE: Duration = Duration::from_secs(3);

/// Last lines of a crashed container's log that are looked at.
const LOG_LINES: i64 = 20;

/// The pods of one session, kept up to date.
pub(crate) struct Pods {
    client: kube::Client,
    session: String,
    known: watch::Receiver<BTreeMap<String, Pod>>,
    task: JoinHandle<()>,
    began: Instant,
    /// Since when a container of a pod has the kind of trouble that it has.
    since: BTreeMap<(String, &'static str), (Instant, Discriminant<Trouble>)>,
}

/// Nodes by how far their capturers are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeProgress {
    /// They capture.
    pub(crate) ready: BTreeSet<String>,
    /// They will not, and why.
    pub(crate) failed: BTreeMap<String, String>,
    /// They may, and what they wait for where that is known.
    pub(crate) waiting: BTreeMap<String, Option<String>>,
}

// === impl Pods ===

impl Pods {
    /// Begins to follow a session's pods.
    pub(crate) fn follow(client: &kube::Client, session: &str) -> Self {
        let (sender, known) = watch::channel(BTreeMap::new());
        let api = Api::<Pod>::namespaced(client.clone(), &names::namespace(session));
        let config = watcher::Config::default().labels(&names::selector(session));
        let task = tokio::spawn(keep(api, config, sender));
        Self {
            client: client.clone(),
            session: session.to_owned(),
            known,
            task,
            began: Instant::now(),
            since: BTreeMap::new(),
        }
    }

    /// Waits until the hub may be tried again; fails where it will not come up.
    pub(crate) async fn hub(&mut self) -> Result<(), Failure> {
        tokio::time::timeout(HUB_POLL, self.known.changed()).await.ok();
        let pods = self.of(names::HUB);
        self.forget_what_passed(&pods, names::HUB);
        let Some((name, trouble)) =
            pods.iter().find_map(|(name, pod)| Some((name, reason::of(pod, names::HUB)?)))
        else {
            if pods.is_empty() && self.began.elapsed() > NO_PODS_PATIENCE {
                self.no_pods(names::HUB).await?;
            }
            return Ok(());
        };
        if self.is_lasting(name, names::HUB, &trouble) {
            let reason = self.told(name, names::HUB, &trouble).await;
            return Err(Failure::new(format!("the hub does not start: {reason}")).hint(trouble.hint()));
        }
        Ok(())
    }

    /// Whether a hub runs that can be connected to.
    pub(crate) fn hub_runs(&self) -> bool {
        !forward::running(self.of(names::HUB).values()).is_empty()
    }

    /// What the hub waits for, where that is known.
    pub(crate) fn hub_waits_for(&self) -> Option<String> {
        self.of(names::HUB).values().find_map(|pod| reason::of(pod, names::HUB)).map(|trouble| trouble.line())
    }

    /// Why the session's own store does not start, and what to try, once that is certain.
    pub(crate) fn store_trouble(&mut self) -> Option<(String, &'static str)> {
        let pods = self.of(names::HUB);
        self.forget_what_passed(&pods, names::STORE);
        let (name, trouble) =
            pods.iter().find_map(|(name, pod)| Some((name, reason::of(pod, names::STORE)?)))?;
        self.is_lasting(name, names::STORE, &trouble).then(|| (trouble.line(), trouble.hint()))
    }

    /// Says which of `nodes` capture; `capturing` are those that the hub hears from.
    pub(crate) async fn capturers(&mut self, nodes: &[String], capturing: &BTreeSet<String>) -> NodeProgress {
        let pods = self.of(names::CAPTURER);
        self.forget_what_passed(&pods, names::CAPTURER);
        let mut progress = NodeProgress { ready: capturing.clone(), ..NodeProgress::default() };
        for node in nodes.iter().filter(|node| !capturing.contains(*node)) {
            let pod = pods.iter().find(|(_, pod)| reason::node(pod) == Some(node.as_str()));
            let Some((name, trouble)) =
                pod.and_then(|(name, pod)| Some((name, reason::of(pod, names::CAPTURER)?)))
            else {
                progress.waiting.insert(node.clone(), None);
                continue;
            };
            if self.is_lasting(name, names::CAPTURER, &trouble) {
                let reason = self.told(name, names::CAPTURER, &trouble).await;
                progress.failed.insert(node.clone(), reason);
            } else {
                progress.waiting.insert(node.clone(), Some(trouble.line()));
            }
        }
        progress
    }

    /// What the control plane says where it makes no pods; an error where it has said so for long.
    async fn no_pods(&self, part: &str) -> Result<(), Failure> {
        match self.refusal(part).await {
            Some(message) if self.began.elapsed() > PROBLEM_PATIENCE => {
                let hint = Refuser::of(&message).hint(part, &names::namespace(&self.session));
                let reason = reason::one_line(&message);
                Err(Failure::new(format!("no pod of the {part} can be made: {reason}")).hint(hint))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What the last `FailedCreate` of a part's pods says, on one line.
    pub(crate) async fn refused_pods(&self, part: &str) -> Option<String> {
        self.refusal(part).await.map(|message| reason::one_line(&message))
    }

    /// The message of the last `FailedCreate` of a part's pods.
    async fn refusal(&self, part: &str) -> Option<String> {
        let events = Api::<Event>::namespaced(self.client.clone(), &names::namespace(&self.session));
        let failed = ListParams::default().fields("reason=FailedCreate");
        let events = events.list(&failed).await.ok()?;
        let of_part = |event: &Event| {
            event.involved_object.name.as_deref().is_some_and(|name| {
                name == part || name.strip_prefix(part).is_some_and(|rest| rest.starts_with('-'))
            })
        };
        events.items.into_iter().rfind(of_part)?.message
    }

    /// Whether a problem is there to stay.
    fn is_lasting(&mut self, pod: &str, container: &'static str, trouble: &Trouble) -> bool {
        let kind = std::mem::discriminant(trouble);
        let now = (Instant::now(), kind);
        let known = self.since.entry((pod.to_owned(), container)).or_insert(now);
        if known.1 != kind {
            *known = now;
        }
        trouble.is_final() || known.0.elapsed() > PROBLEM_PATIENCE
    }

    /// What comes again counts anew.
    fn forget_what_passed(&mut self, pods: &BTreeMap<String, Pod>, container: &'static str) {
        self.since.retain(|(name, of), _| {
            *of != container || pods.get(name).is_some_and(|pod| reason::of(pod, container).is_some())
        });
    }

    /// A problem in words; of a crash, what the container last said.
    async fn told(&self, pod: &str, container: &str, trouble: &Trouble) -> String {
        let Trouble::Crashed { previous, .. } = trouble else {
            return trouble.line();
        };
        let pods = Api::<Pod>::namespaced(self.client.clone(), &names::namespace(&self.session));
        let parameters = LogParams {
            container: Some(container.to_owned()),
            tail_lines: Some(LOG_LINES),
            previous: *previous,
            ..LogParams::default()
        };
        let log = pods.logs(pod, &parameters).await.unwrap_or_default();
        match reason::last_words(&log) {
            Some(words) => format!("{}: {words}", trouble.line()),
            None => trouble.line(),
        }
    }

    fn of(&self, part: &str) -> BTreeMap<String, Pod> {
        let known = self.known.borrow();
        let of_part = |pod: &Pod| {
            let labels = pod.metadata.labels.as_ref();
            labels.and_then(|labels| labels.get(names::COMPONENT_LABEL)).is_some_and(|label| label == part)
                && pod.metadata.deletion_timestamp.is_none()
        };
        known.iter().filter(|(_, pod)| of_part(pod)).map(|(name, pod)| (name.clone(), pod.clone())).collect()
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl NodeProgress ===

impl NodeProgress {
    /// All of them.
    fn nodes(&self) -> Vec<String> {
        self.ready.iter().chain(self.failed.keys()).chain(self.waiting.keys()).cloned().collect()
    }

    /// `capturers 3/5 ready`.
    pub(crate) fn line(&self) -> String {
        let all = self.ready.len() + self.failed.len() + self.waiting.len();
        format!("capturers {}/{all} ready", self.ready.len())
    }

    /// What is waited for, where that is known.
    pub(crate) fn waits_for(&self) -> Option<String> {
        self.waiting.iter().find_map(|(node, reason)| Some(format!("{node}: {}", reason.as_ref()?)))
    }

    /// What failed, with nodes of the same reason together.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (node, reason) in &self.failed {
            by_reason.entry(reason).or_default().push(node);
        }
        by_reason.into_iter().map(|(reason, nodes)| format!("{}: {reason}", nodes.join(", "))).collect()
    }
}

/// Waits until at least one capturer captures, and a moment for the others.
///
/// Nodes that fail do not fail the session unless all do.
pub(crate) async fn first_capturers(
    pods: &mut Pods,
    client: &mut Client,
    nodes: &[String],
    mut say: impl FnMut(String),
) -> Result<NodeProgress, Failure> {
    let mut first = None;
    loop {
        let state = state(client).await.unwrap_or_default();
        let progress = pods.capturers(nodes, &capturing(&state)).await;
        let store = store_waited_for(&state).filter(|_| progress.ready.is_empty());
        let store = store.filter(|_| pods.began.elapsed() > STORE_PATIENCE);
        say(match progress.waits_for().or(store) {
            Some(reason) => format!("{} ({reason})", progress.line()),
            None => progress.line(),
        });
        if !progress.ready.is_empty() {
            let first = first.get_or_insert_with(Instant::now);
            if progress.waiting.is_empty() || first.elapsed() > OTHERS_PATIENCE {
                return Ok(progress);
            }
        } else if progress.waiting.is_empty() && !progress.failed.is_empty() {
            return Err(none(&progress));
        } else if pods.of(names::CAPTURER).is_empty() && pods.began.elapsed() > NO_PODS_PATIENCE {
            pods.no_pods(names::CAPTURER).await?;
        }
        tokio::time::sleep(CAPTURERS_POLL).await;
    }
}

/// Follows what was not ready when the session began until each part is or will not be, at most until `deadline`, and
/// says when it is `whole`.
pub(crate) async fn others(
    mut pods: Pods,
    mut client: Client,
    (mut told, whole): (NodeProgress, Whole),
    deadline: Instant,
    mut say: impl FnMut(String),
) {
    let nodes = told.nodes();
    // The store starts beside the hub, and takes longer.
    let mut store = Some("nothing is known of it".to_owned());
    let mut most = told.ready.len();
    let look = |told: &NodeProgress, say: &mut dyn FnMut(String)| {
        for line in whole.look(told) {
            say(line);
        }
    };
    look(&told, &mut say);
    while Instant::now() < deadline && (!told.waiting.is_empty() || store.is_some()) {
        tokio::time::sleep(if whole.is_told() { NODES_POLL } else { HUB_POLL }).await;
        look(&told, &mut say);
        if store.is_some()
            && let Some((reason, hint)) = pods.store_trouble()
        {
            say(format!("warning: the store does not start, and nothing is stored: {reason}"));
            say(format!("hint: {hint}"));
            store = None;
        }
        // A hub that is away for a moment says nothing of its capturers.
        let Some(state) = state(&mut client).await else { continue };
        let unusable = state.store.as_ref().and_then(store_state::beyond_waiting);
        if let (Some(_), Some(reason)) = (&store, unusable) {
            say(format!("warning: the store cannot be used, and nothing is stored: {reason}"));
        }
        store = store.and_then(|_| waited_for(&state).map(store_state::in_full));
        let now = pods.capturers(&nodes, &capturing(&state)).await;
        let news = NodeProgress {
            failed: now
                .failed
                .iter()
                .filter(|(node, _)| !told.failed.contains_key(*node))
                .map(|(node, reason)| (node.clone(), reason.clone()))
                .collect(),
            ..NodeProgress::default()
        };
        for line in news.failures() {
            say(format!("warning: no capturer on {line}"));
        }
        // A new hub hears of the capturers one by one, which is no news.
        if now.ready.len() > most {
            say(now.line());
            most = now.ready.len();
        }
        told = now;
        look(&told, &mut say);
    }
    if let Some(state) = store {
        say(format!("warning: the store is not there in time: {state}"));
    }
    for (node, reason) in told.waiting {
        let reason = reason.unwrap_or_else(|| "it is not ready in time".to_owned());
        say(format!("warning: no capturer on {node}: {reason}"));
    }
}

fn none(progress: &NodeProgress) -> Failure {
    Failure::new(format!("no capturer starts: {}", progress.failures().join("; "))).hint(
        "choose nodes that can run one with `--node` or `--node-selector`, or images that the nodes can pull",
    )
}

/// What the hub says; `None` while it does not answer.
async fn state(client: &mut Client) -> Option<v1::DescribeResponse> {
    tokio::time::timeout(PROBLEM_PATIENCE, client.describe()).await.ok()?.ok()
}

/// The nodes whose capturers capture, as the hub hears them.
fn capturing(state: &v1::DescribeResponse) -> BTreeSet<String> {
    let live = state.capturers.iter().filter(|capturer| capturer.connected && capturer.capturing);
    live.map(|capturer| capturer.node.clone()).collect()
}

/// Why the store is not there, where capturers may wait for what it alone knows.
fn store_waited_for(state: &v1::DescribeResponse) -> Option<String> {
    waited_for(state)
        .and_then(store_state::reason)
        .map(|reason| format!("the store is not there yet: {reason}"))
}

/// The session's store, while it was never reached.
fn waited_for(state: &v1::DescribeResponse) -> Option<&v1::StoreState> {
    state.store.as_ref().filter(|store| store_state::is_starting(store))
}

async fn keep(api: Api<Pod>, config: watcher::Config, sender: watch::Sender<BTreeMap<String, Pod>>) {
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    let mut listed = BTreeMap::new();
    while let Some(event) = events.next().await {
        let name = |pod: &Pod| pod.metadata.name.clone().unwrap_or_default();
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(pod)) => {
                listed.insert(name(&pod), pod);
            }
            Ok(watcher::Event::InitDone) => drop(sender.send_replace(std::mem::take(&mut listed))),
            Ok(watcher::Event::Apply(pod)) => sender.send_modify(|pods| {
                pods.insert(name(&pod), pod);
            }),
            Ok(watcher::Event::Delete(pod)) => sender.send_modify(|pods| {
                pods.remove(&name(&pod));
            }),
            // What is known stays until the API server answers again.
            Err(error) => tracing::debug!(%error, "watching the session's pods"),
        }
    }
}

#[cfg(test)]
mod tests;
