//! What a session needs of a cluster, checked before anything is made there.

mod rights;

use k8s_openapi::api::core::v1::{Namespace, Node as ClusterNode};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::apply::said;
use super::connect::{self, Connection};
use super::manifests::{self, ARCHITECTURES, Part, Platform, Values};
use super::request::Request;
use super::{names, teardown};
use crate::failure::Failure;
use crate::suggestion::meant;

#[cfg(test)]
pub(super) use rights::NEEDED_RIGHTS;
pub(crate) use rights::may_remove;

/// Oldest minor version of Kubernetes 1 that has everything that is used.
const OLDEST_MINOR: u32 = 30;

/// Oldest kernel that the programs load on.
const OLDEST_KERNEL: (u32, u32) = (5, 10);

/// What to try where the cluster forbids what lies outside namespaces.
const RIGHTS_HINT: &str = "ask for the whole ClusterRole in manifests/deployer.yaml: nobody may grant what they do not hold; an admission policy may stand against it, too";

/// Namespace and name of the API server's Service.
const API_SERVICE: (&str, &str) = ("default", "kubernetes");

/// Port of that Service, which the API server gives it itself.
const API_SERVICE_PORT: u16 = 443;

/// API group by which OpenShift is recognised.
const OPENSHIFT_GROUP: &str = "security.openshift.io";

/// A node that a capturer will run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its name.
    pub(crate) name: String,
    /// Whether its kubelet answers.
    pub(crate) ready: bool,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Nodes that capturers will run on.
    pub(crate) nodes: Vec<Node>,
    /// Lines to tell the user.
    pub(crate) notes: Vec<String>,
    /// What the cluster is.
    pub(crate) platform: Platform,
    /// Ports at which the API server is reached from pods; empty where that could not be read.
    pub(crate) api_ports: Vec<u16>,
    /// Bytes that a hub may need to know such a cluster.
    pub(crate) hub_memory: u64,
}

/// Checks rights, version, nodes and admission, and removes what ended sessions left.
pub(crate) async fn check(connection: &Connection, request: &Request) -> Result<Report, Failure> {
    let client = &connection.client;
    // A wrong selector is told before anything is asked for.
    let values = Values::new(request, &connection.owner)?;
    futures_util::try_join!(version(connection), rights::check(connection, &values.namespace))?;
    let list = ListParams { label_selector: request.node_selector.clone(), ..ListParams::default() };
    let nodes = Api::<ClusterNode>::all(client.clone());
    let (nodes, platform, api_ports, leftovers) = futures_util::try_join!(
        async { nodes.list(&list).await.map_err(|error| connect::failure(&error, &connection.server)) },
        platform(connection),
        async { Ok(api_ports(client).await) },
        teardown::remove_ended(connection),
    )?;
    let hub_memory = manifests::hub_memory(nodes.items.len());
    let mut report = Report { platform, api_ports, hub_memory, notes: leftovers, ..Report::default() };
    choose(nodes.items, request, &mut report)?;
    admission(client, &values).await?;
    Ok(report)
}

/// Checks that the API server is new enough.
async fn version(connection: &Connection) -> Result<(), Failure> {
    let found = connection.client.apiserver_version().await;
    let found = found.map_err(|error| connect::failure(&error, &connection.server))?;
    // Providers write such as `30+`.
    let digits: String = found.minor.chars().take_while(char::is_ascii_digit).collect();
    let old = found.major == "1" && digits.parse::<u32>().is_ok_and(|minor| minor < OLDEST_MINOR);
    if !old {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the cluster runs Kubernetes {}.{}, and 1.{OLDEST_MINOR} or later is needed",
        found.major, found.minor
    ))
    .hint("on its nodes `kubectl-kyanos watch --local` works without Kubernetes"))
}

async fn platform(connection: &Connection) -> Result<Platform, Failure> {
    let groups = connection.client.list_api_groups().await;
    let groups = groups.map_err(|error| connect::failure(&error, &connection.server))?;
    let is_openshift = groups.groups.iter().any(|group| group.name == OPENSHIFT_GROUP);
    Ok(if is_openshift { Platform::OpenShift } else { Platform::Kubernetes })
}

/// The ports of the API server, of its Service and of what is behind that; none where they may not be read.
async fn api_ports(client: &Client) -> Vec<u16> {
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), API_SERVICE.0);
    let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={}", API_SERVICE.1));
    let slices = slices.list(&of_service).await.map(|list| list.items).unwrap_or_default();
    let behind = slices.into_iter().flat_map(|slice| slice.ports.unwrap_or_default());
    let mut ports: Vec<u16> = behind.filter_map(|port| u16::try_from(port.port?).ok()).collect();
    if !ports.is_empty() {
        ports.push(API_SERVICE_PORT);
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Chooses the nodes that can capture, and says why others cannot.
fn choose(nodes: Vec<ClusterNode>, request: &Request, report: &mut Report) -> Result<(), Failure> {
    let names: Vec<String> = nodes.iter().map(ResourceExt::name_any).collect();
    let asked = |node: &ClusterNode| {
        request.nodes.is_empty() || request.nodes.iter().any(|name| *name == node.name_any())
    };
    let asked: Vec<ClusterNode> = nodes.into_iter().filter(asked).collect();
    let found = |name: &&String| asked.iter().any(|node| node.name_any() == **name);
    let absent: Vec<&str> = request.nodes.iter().filter(|name| !found(name)).map(String::as_str).collect();
    if let Some(first) = absent.first()
        && !names.is_empty()
    {
        let known = meant(first, "", &names);
        return Err(Failure::usage(format!("no node that is selected is called {}", absent.join(", ")))
            .hint(known.unwrap_or_else(|| "see `kubectl get nodes`".to_owned())));
    }
    if asked.is_empty() {
        return Err(Failure::usage("no node of the cluster is selected").hint(
            "see `kubectl get nodes --show-labels`, and choose with `--node NAME` or `--node-selector`",
        ));
    }
    let mut refused = Vec::new();
    for node in asked {
        if let Some(reason) = unfit(&node) {
            refused.push(format!("{} ({reason})", node.name_any()));
            continue;
        }
        let ready = is_ready(&node);
        if !ready {
            report.notes.push(format!("node {} is not ready", node.name_any()));
        }
        report.nodes.push(Node { name: node.name_any(), ready });
    }
    if report.nodes.is_empty() {
        return Err(Failure::new(format!("no node can capture: {}", refused.join(", "))).hint(format!(
            "capturers need Linux {}.{} or later on {}",
            OLDEST_KERNEL.0,
            OLDEST_KERNEL.1,
            ARCHITECTURES.join(" or ")
        )));
    }
    if report.nodes.iter().all(|node| !node.ready) {
        let names: Vec<&str> = report.nodes.iter().map(|node| node.name.as_str()).collect();
        return Err(Failure::new(format!("no selected node is ready: {}", names.join(", ")))
            .hint("see `kubectl get nodes`, or choose others with `--node` or `--node-selector`"));
    }
    if !refused.is_empty() {
        report.notes.push(format!("not captured: {}", refused.join(", ")));
    }
    Ok(())
}

/// Says why a capturer cannot run on a node; `None` where it can.
fn unfit(node: &ClusterNode) -> Option<String> {
    let info = node.status.as_ref()?.node_info.as_ref()?;
    if info.operating_system != "linux" {
        return Some(format!("operating system {}", info.operating_system));
    }
    if !ARCHITECTURES.contains(&info.architecture.as_str()) {
        return Some(format!("architecture {}", info.architecture));
    }
    let labels = node.labels();
    let virtual_node = labels.get("type").is_some_and(|kind| kind == "virtual-kubelet")
        || labels.get("eks.amazonaws.com/compute-type").is_some_and(|kind| kind == "fargate");
    if virtual_node {
        return Some("no kernel of its own".to_owned());
    }
    let kernel = kernel(&info.kernel_version)?;
    (kernel < OLDEST_KERNEL).then(|| format!("kernel {}", info.kernel_version))
}

/// Reads major and minor of a kernel's release; `None` where it has no such form.
fn kernel(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn is_ready(node: &ClusterNode) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Asks the API server whether it would take what lies outside namespaces: shows escalation and admission refusals.
async fn admission(client: &Client, values: &Values) -> Result<(), Failure> {
    let rbac = manifests::render(values, Part::Rbac)?;
    let outside: Vec<DynamicObject> =
        rbac.into_iter().filter(|object| object.metadata.namespace.is_none()).collect();
    let of_kind = |kind: &str| {
        outside.iter().find(|object| object.types.as_ref().is_some_and(|types| types.kind == kind)).cloned()
    };
    let namespace = manifests::render(values, Part::Namespace)?.into_iter().next();
    futures_util::try_join!(
        would_make::<Namespace>(client, namespace),
        would_apply::<ClusterRole>(client, of_kind("ClusterRole")),
        would_apply::<ClusterRoleBinding>(client, of_kind("ClusterRoleBinding")),
    )?;
    Ok(())
}

async fn would_make<K>(client: &Client, object: Option<DynamicObject>) -> Result<(), Failure>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let Some(object) = object.and_then(|object| object.try_parse::<K>().ok()) else { return Ok(()) };
    let parameters = PostParams { dry_run: true, field_manager: Some(names::FIELD_MANAGER.to_owned()) };
    match Api::<K>::all(client.clone()).create(&parameters, &object).await {
        Ok(_) => Ok(()),
        // Making it says whose it is.
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => Err(refusal::<K>(&error)),
    }
}

async fn would_apply<K>(client: &Client, object: Option<DynamicObject>) -> Result<(), Failure>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let Some(object) = object else { return Ok(()) };
    let parameters = PatchParams { dry_run: true, ..PatchParams::apply(names::FIELD_MANAGER) };
    let name = object.name_any();
    match Api::<K>::all(client.clone()).patch(&name, &parameters, &Patch::Apply(&object)).await {
        Ok(_) => Ok(()),
        // A role that nobody made cannot be bound except by who may grant at will; whether its rules may be granted
        // the answer about the role says.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(refusal::<K>(&error)),
    }
}

fn refusal<K: kube::Resource<DynamicType = ()>>(error: &kube::Error) -> Failure {
    let kind = K::kind(&()).into_owned();
    let failure = Failure::new(format!("the cluster would refuse the session's {kind}: {}", said(error)));
    // By what it is forbidden, a right that is missing or a policy, the API server says in its message alone.
    failure.hint(if matches!(error, kube::Error::Api(status) if status.is_forbidden()) {
        RIGHTS_HINT
    } else {
        "an admission policy may stand against it; ask who runs the cluster"
    })
}

#[cfg(test)]
mod tests;
