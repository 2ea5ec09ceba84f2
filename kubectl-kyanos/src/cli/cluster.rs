//! Which cluster, and who asks: the connection flags of kubectl.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args};

use super::values::{self, PullSecret};
use crate::failure::Failure;

/// Flags that mean nothing on this machine.
const CLUSTER_ONLY: [&str; 31] = [
    "kubeconfig",
    "context",
    "cluster",
    "user",
    "as_user",
    "as_group",
    "as_uid",
    "server",
    "token",
    "certificate_authority",
    "client_certificate",
    "client_key",
    "tls_server_name",
    "insecure_skip_tls_verify",
    "request_timeout",
    "namespace",
    "all_namespaces",
    "selector",
    "workload",
    "container",
    "hub_image",
    "capturer_image",
    "store_image",
    "image_registry",
    "image_pull_policy",
    "image_pull_secret",
    "node_selector",
    "node",
    "hub_replicas",
    "capabilities_only",
    "print_manifests",
];

/// Hubs of one session at most: each is told of all pods, and each has connections to the store.
const MAX_HUBS: i64 = 32;

/// Connection to a cluster's API, as kubectl's flags of the same names.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ClusterArgs {
    /// Kubeconfig file [default: the files of KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Cluster of the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// User of the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// User to act as
    #[arg(long = "as", value_name = "USER")]
    pub(crate) as_user: Option<String>,
    /// Group to act as; may be repeated
    #[arg(long, value_name = "GROUP", requires = "as_user")]
    pub(crate) as_group: Vec<String>,
    /// UID to act as
    #[arg(long, value_name = "UID", requires = "as_user")]
    pub(crate) as_uid: Option<String>,
    /// Address of the API server
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Bearer token
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Certificates of the authorities that the API server's is trusted by
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate_authority: Option<PathBuf>,
    /// Certificate to log in with
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub(crate) client_certificate: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    pub(crate) client_key: Option<PathBuf>,
    /// Name that the API server's certificate must bear
    #[arg(long, value_name = "NAME")]
    pub(crate) tls_server_name: Option<String>,
    /// Do not check the API server's certificate
    #[arg(long, conflicts_with = "certificate_authority")]
    pub(crate) insecure_skip_tls_verify: bool,
    /// Longest wait for one answer of the API server; 0 waits for ever
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) request_timeout: Option<Duration>,
}

/// Which pods' traffic, in a cluster.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Pods")]
pub(crate) struct PodArgs {
    /// Namespaces of the pods [default: the context's]
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', conflicts_with = "all_namespaces")]
    pub(crate) namespace: Vec<String>,
    /// Pods of all namespaces, and processes outside pods
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Labels of the pods, as kubectl selects them
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,
    /// Workloads of the pods, as kubectl names them: deploy/orders, sts/db, job/night
    #[arg(long, value_name = "KIND/NAME", value_delimiter = ',')]
    pub(crate) workload: Vec<String>,
    /// Containers of the pods
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) container: Vec<String>,
}

/// What runs where, in a cluster.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Deployment")]
pub(crate) struct DeployArgs {
    /// Image of the hub [default: of this version]
    #[arg(long, value_name = "IMAGE", conflicts_with = "session")]
    pub(crate) hub_image: Option<String>,
    /// Image of the capturers [default: of this version]
    #[arg(long, value_name = "IMAGE", conflicts_with = "session")]
    pub(crate) capturer_image: Option<String>,
    /// Image of the session's own store, MySQL or MariaDB [default: docker.io/library/mysql:8.4]
    #[arg(long, value_name = "IMAGE", conflicts_with = "session")]
    pub(crate) store_image: Option<String>,
    /// Registry that all three come from, in place of their own
    #[arg(long, value_name = "HOST", conflicts_with = "session")]
    pub(crate) image_registry: Option<String>,
    /// When nodes pull images
    #[arg(long, value_name = "POLICY", value_parser = ["Always", "IfNotPresent", "Never"], conflicts_with = "session")]
    pub(crate) image_pull_policy: Option<String>,
    /// Secret to pull images with, copied for the session
    #[arg(long, value_name = "[NAMESPACE/]NAME", value_parser = values::pull_secret, conflicts_with = "session")]
    pub(crate) image_pull_secret: Option<PullSecret>,
    /// Nodes that capture, by their labels
    #[arg(long, value_name = "SELECTOR", conflicts_with = "session")]
    pub(crate) node_selector: Option<String>,
    /// Nodes that capture, by name; of a session that is joined, those that are shown
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) node: Vec<String>,
    /// Hubs that share the capturers; several need `--store`
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=MAX_HUBS), conflicts_with = "session")]
    pub(crate) hub_replicas: u32,
    /// Capturers with a list of capabilities instead of all privileges
    #[arg(long, conflicts_with = "session")]
    pub(crate) capabilities_only: bool,
    /// Print what would be made, and make nothing
    #[arg(long, conflicts_with = "session")]
    pub(crate) print_manifests: bool,
}

/// Refuses flags of a cluster beside `--local`.
pub(crate) fn refuse_beside_local(matches: &ArgMatches) -> Result<(), Failure> {
    let given = |id: &str| matches.value_source(id) == Some(clap::parser::ValueSource::CommandLine);
    let known = |id: &str| matches.ids().any(|known| known.as_str() == id);
    if !known("local") || !matches.get_one::<bool>("local").copied().unwrap_or_default() {
        return Ok(());
    }
    match CLUSTER_ONLY.into_iter().find(|id| known(id) && given(id)) {
        Some(id) => {
            let flag = if id == "as_user" { "as".to_owned() } else { id.replace('_', "-") };
            Err(Failure::usage(format!("`--{flag}` cannot be used with `--local`"))
                .hint("leave one of them out: `--local` uses no cluster"))
        }
        None => Ok(()),
    }
}
