//! What a cluster says of a session whose hub does not answer.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;

use super::names;
use crate::session::witness::{Witness, Word};

/// Longest wait for the API server's word.
const API_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the word on a session comes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterWitness(Option<(Api<Namespace>, String)>);

// === impl ClusterWitness ===

impl ClusterWitness {
    /// Asks a cluster about a session by its name.
    pub(crate) fn of(client: &kube::Client, session: &str) -> Self {
        Self(Some((Api::all(client.clone()), names::namespace(session))))
    }
}

impl Witness for ClusterWitness {
    async fn ask(&self) -> Word {
        let Some((namespaces, name)) = &self.0 else { return Word::Unknown };
        match tokio::time::timeout(API_TIMEOUT, namespaces.get_metadata_opt(name)).await {
            Ok(Ok(Some(found))) if found.metadata.deletion_timestamp.is_none() => Word::Stands,
            Ok(Ok(_)) => Word::Gone,
            Ok(Err(_)) | Err(_) => Word::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;
