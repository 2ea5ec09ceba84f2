//! The end of capture in a session whose hub and store stay.

use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Preconditions};
use tokio::time::{Instant, sleep};

use crate::cluster::apply::said;
use crate::cluster::names;
use crate::cluster::sessions::SessionRef;

/// Longest wait for the capturers of a kept session to be gone.
const CAPTURERS_END_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two looks at them.
const CAPTURERS_POLL: Duration = Duration::from_millis(250);

/// Removes the capturers of a session whose hub and store stay.
pub(super) async fn remove(client: &kube::Client, session: &SessionRef) -> Vec<String> {
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
    while began.elapsed() < CAPTURERS_END_TIMEOUT {
        if pods.list_metadata(&selector).await.is_ok_and(|pods| pods.items.is_empty()) {
            return Vec::new();
        }
        sleep(CAPTURERS_POLL).await;
    }
    vec![format!("capturers in namespace `{namespace}`")]
}
