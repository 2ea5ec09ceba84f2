//! What a parent tells a child over its standard input, and what the child answers on its standard output.
//!
//! Each is one line of JSON. The child's standard input stays open for as long as the parent lives: its end of file
//! tells the child to stop. Secrets travel here and nowhere else, never by arguments or environment. In a cluster the
//! same structures are read from mounted Secrets.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::v1::{Filter, Redaction, Tracing};

/// Identity of one end of a mutually authenticated connection, PEM encoded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// Certificate of the session's authority.
    pub authority: String,
    /// This end's certificate.
    pub certificate: String,
    /// This end's private key.
    pub key: String,
}

/// Where the hub keeps exchanges.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreChoice {
    /// Nowhere: live streams and statistics only.
    None,
    /// In an embedded database.
    Sqlite {
        /// The file, created when missing.
        path: PathBuf,
    },
    /// In a MySQL-compatible server or cluster.
    Mysql {
        /// `mysql://USER:PASSWORD@HOST:PORT[,HOST:PORT]/DATABASE`.
        url: String,
        /// A login that can only SELECT; the hub makes one where it may when this is absent.
        reader: Option<String>,
    },
}

/// Where a hub runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HubPlace {
    /// On the plugin's machine, as its child, on ports that the system chooses.
    Local {
        /// Session directory (`/run/kyanos/NAME`), removed by the hub when its parent is gone.
        directory: PathBuf,
    },
    /// In a pod of a cluster, on [`INGEST_PORT`] and [`VIEWER_PORT`].
    Cluster {
        /// The session's namespace.
        namespace: String,
    },
}

/// Port of a cluster hub's ingest service, on all addresses of its pod.
pub const INGEST_PORT: u16 = 7440;

/// Port of a cluster hub's viewer service, on its pod's loopback: only a port-forward reaches it.
pub const VIEWER_PORT: u16 = 7441;

/// Where a pod's Secret with its launch is mounted, as the file [`LAUNCH_FILE`].
pub const LAUNCH_FOLDER: &str = "/etc/kyanos";

/// Where a volume of a hub's pod is mounted for what waits for a store that does not answer.
pub const SPOOL_FOLDER: &str = "/var/spool/kyanos";

/// Name of the launch in a Secret.
pub const LAUNCH_FILE: &str = "launch.json";

/// Environment variable with the capturer's node name in a cluster.
pub const NODE_VARIABLE: &str = "KYANOS_NODE";

/// Annotation of a kept session's Lease with the end of its capture (RFC 3339, UTC), from which its time counts.
pub const CAPTURE_ENDED_ANNOTATION: &str = "kyanos.io/capture-ended";

/// Environment variable with the hub's pod name in a cluster.
pub const POD_VARIABLE: &str = "KYANOS_POD";

/// What a hub is told at start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HubLaunch {
    /// Session name.
    pub session: String,
    /// Where it runs.
    pub place: HubPlace,
    /// The hub's identity (role `hub`).
    pub identity: Identity,
    /// Where exchanges are stored.
    pub store: StoreChoice,
    /// Bytes the store may hold; 0 is no limit.
    pub store_limit: u64,
    /// Payload bytes stored per message (`--max-store-bytes`).
    pub max_store_bytes: u32,
    /// Payload bytes capturers keep per message: the larger of the stored and the shown.
    pub payload_bytes: u32,
    /// Whether store and session outlive the plugin (`--keep`).
    pub keep: bool,
    /// Seconds a kept session lives after capture ended.
    pub ttl_seconds: u64,
    /// What the session wants.
    pub filter: Filter,
    /// What capturers hide.
    pub redaction: Redaction,
    /// Capture one connection in N; 0 and 1 capture all.
    pub sample: u32,
    /// What of the kernel is traced.
    pub tracing: Tracing,
    /// Hubs of the session: more than one agree by Lease and database, and one leads.
    pub hubs: u32,
}

/// What a local hub answers once it listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HubReady {
    /// Port of the ingest service on 127.0.0.1.
    pub ingest_port: u16,
    /// Port of the viewer service on 127.0.0.1.
    pub viewer_port: u16,
}

/// What a capturer is told at start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CapturerLaunch {
    /// Session name.
    pub session: String,
    /// Node name to report; empty in a cluster, where [`NODE_VARIABLE`] has it.
    pub node: String,
    /// `HOST:PORT` of the hub's ingest service.
    pub hub: String,
    /// The capturer's identity (role `capturer`).
    pub identity: Identity,
    /// Bytes of each event ring.
    pub ring_bytes: u32,
    /// BTF file of the kernel; `/sys/kernel/btf/vmlinux` when absent.
    pub btf: Option<PathBuf>,
    /// Parent of all local sessions' directories, whose processes are never captured; absent in a cluster, where the hub
    /// tells which pods are a session's.
    pub sessions: Option<PathBuf>,
}

/// What a local capturer answers: attached and streaming, or why not.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CapturerReady {
    /// Programs are attached and the uplink is up.
    Capturing {
        /// Kernel release.
        kernel: String,
        /// Byte source in use: "socket" or "syscall".
        source: String,
    },
    /// Capture cannot start here.
    Failed {
        /// What failed.
        error: String,
        /// What to try.
        hint: Option<String>,
    },
}

/// What a hub that cannot start answers in place of [`HubReady`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HubFailed {
    /// What failed.
    pub error: String,
    /// What to try.
    pub hint: Option<String>,
}

/// The hub's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HubAnswer {
    /// It listens.
    Ready(HubReady),
    /// It cannot start.
    Failed(HubFailed),
}

/// A running local session, as `session.json` in its directory records it for other commands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionFile {
    /// Session name.
    pub session: String,
    /// Version of the plugin that started it.
    pub version: String,
    /// User id of the starter (`SUDO_UID` where set).
    pub owner: u32,
    /// Start, nanoseconds since the Unix epoch.
    pub started_ns: u64,
    /// Process id of the plugin.
    pub plugin_pid: u32,
    /// Process id of the hub.
    pub hub_pid: Option<u32>,
    /// Process id of the capturer.
    pub capturer_pid: Option<u32>,
    /// Port of the viewer service on 127.0.0.1.
    pub viewer_port: Option<u16>,
    /// Store file, where there is one.
    pub store: Option<PathBuf>,
    /// Whether it outlives the plugin.
    pub keep: bool,
    /// When the plugin began, in ticks since the machine booted (field 22 of `/proc/PID/stat`), which no step of a
    /// clock moves; absent in files of versions that did not record it.
    #[serde(default)]
    pub started_ticks: Option<u64>,
}

/// Name of the [`SessionFile`] in a session's directory.
pub const SESSION_FILE: &str = "session.json";

/// Name of the file with the viewer's [`Identity`] (JSON, mode 0600) in a session's directory.
pub const VIEWER_FILE: &str = "viewer.json";
