//! The capturer as a pod of a cluster: launched by a mounted Secret, stopped by a signal.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use proto::launch::{CapturerLaunch, NODE_VARIABLE};
use tokio::io::duplex;
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::{Agent, AgentError};
use crate::kernel::{Kernel, KernelFilter, STREAMS, Settings};

/// Why a capturer's pod ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// The launch parameters could not be read: the Secret is not mounted there.
    #[error("cannot read the launch parameters at `{}`", path.display())]
    Unreadable {
        /// Where they were looked for.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The launch parameters are none; plugin and capturer differ in version.
    #[error("`{}` holds no launch parameters", path.display())]
    Malformed {
        /// Where they were read.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Nobody said which node this is.
    #[error("the node has no name: `{NODE_VARIABLE}` is not set")]
    Nameless,
    /// The capture could not start, or ended.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

// === impl PodError ===

impl PodError {
    /// Returns what the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { .. } => Some("the capturer is started by `kubectl kyanos`".to_owned()),
            Self::Malformed { .. } => Some("use images of the plugin's version".to_owned()),
            Self::Nameless => Some(format!("set `{NODE_VARIABLE}` from `spec.nodeName`")),
            Self::Agent(error) => error.hint(),
        }
    }
}

/// Captures until a signal comes, the hub is gone for a lease period, or something fails.
///
/// The hub may come up any time later, since its image may still be on its way. Until then nothing is captured.
pub async fn run(file: &Path) -> Result<(), PodError> {
    // As the first process of its namespace it would otherwise not be ended by the signal.
    let mut terminated = signal(SignalKind::terminate()).map_err(AgentError::Signals)?;
    let launch = launch(file, env::var(NODE_VARIABLE).ok())?;
    // While the hub starts, so that it need not be waited for later, and so that what this kernel lacks is said at once.
    // Most sessions ask the kernel for pods and nothing else.
    let filter = KernelFilter { cgroups: true, packets: true, ..KernelFilter::default() };
    let CapturerLaunch { ring_bytes, btf, .. } = launch.clone();
    let settings = Settings { ring_bytes, streams: STREAMS, btf, source: None, filter };
    let prepared = Kernel::prepare(&settings).map_err(AgentError::Kernel)?;
    let started = tokio::select! {
        started = Agent::start(launch, None, Some(prepared)) => started,
        _ = terminated.recv() => return Ok(()),
    };
    // No parent ends this capture.
    let (parent, _open) = duplex(1);
    let end = started?.run(parent).await?;
    tracing::debug!(?end, "the capture has ended");
    Ok(())
}

/// Reads the launch parameters; `node` names the node where they do not.
fn launch(file: &Path, node: Option<String>) -> Result<CapturerLaunch, PodError> {
    let text = fs::read(file).map_err(|source| PodError::Unreadable { path: file.to_owned(), source })?;
    let mut launch: CapturerLaunch = serde_json::from_slice(&text)
        .map_err(|source| PodError::Malformed { path: file.to_owned(), source })?;
    if launch.node.is_empty() {
        launch.node = node.filter(|node| !node.is_empty()).ok_or(PodError::Nameless)?;
    }
    Ok(launch)
}

#[cfg(test)]
mod tests {
    use proto::launch::Identity;

    use super::*;

    fn file(node: &str) -> tempfile::NamedTempFile {
        let launch = CapturerLaunch {
            session: "demo".to_owned(),
            node: node.to_owned(),
            hub: "10.0.0.1:7440".to_owned(),
            identity: Identity { authority: String::new(), certificate: String::new(), key: String::new() },
            ring_bytes: 1 << 20,
            btf: None,
            sessions: None,
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), serde_json::to_vec(&launch).unwrap()).unwrap();
        file
    }

    #[test]
    fn the_node_is_named_by_the_environment() {
        let named = launch(file("").path(), Some("n7".to_owned())).unwrap();
        assert_eq!((named.node.as_str(), named.session.as_str()), ("n7", "demo"));
        assert_eq!(launch(file("given").path(), Some("n7".to_owned())).unwrap().node, "given");
        for node in [None, Some(String::new())] {
            let error = launch(file("").path(), node).unwrap_err();
            assert!(error.to_string().contains(NODE_VARIABLE) && error.hint().is_some());
        }
    }

    #[test]
    fn what_is_no_launch_is_said_with_its_place() {
        let missing = launch(Path::new("/nonexistent/launch.json"), None).unwrap_err();
        assert!(missing.to_string().contains("/nonexistent/launch.json"));
        let broken = tempfile::NamedTempFile::new().unwrap();
        fs::write(broken.path(), "{}").unwrap();
        let error = launch(broken.path(), None).unwrap_err();
        assert!(matches!(error, PodError::Malformed { .. }) && error.hint().is_some());
    }
}
